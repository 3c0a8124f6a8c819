//! The stored names of the domain's enums. Each is written once here and never changes: databases hold it.

use gatekey_core::api_key::{
    ApplicationType, ConsentMethod, GrantType, ResponseType, TokenEndpointAuthMethod,
};

/// A value that is stored by its name.
pub(crate) trait Named: Copy {
    /// Its name.
    fn name(self) -> &'static str;

    /// The value of that name, if one is called so.
    fn from_name(name: &str) -> Option<Self>;
}

macro_rules! stored_names {
    ($type:ident { $($variant:ident = $name:literal,)* }) => {
        impl Named for $type {
            fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

stored_names! {
    ResponseType {
        Code = "code",
        Token = "token",
        IdToken = "id_token",
    }
}

stored_names! {
    GrantType {
        AuthorizationCode = "authorization_code",
        Implicit = "implicit",
        Password = "password",
        ClientCredentials = "client_credentials",
        RefreshToken = "refresh_token",
        DeviceCode = "device_code",
    }
}

stored_names! {
    ApplicationType {
        Web = "web",
        Native = "native",
    }
}

stored_names! {
    TokenEndpointAuthMethod {
        ClientSecretPost = "client_secret_post",
        ClientSecretBasic = "client_secret_basic",
    }
}

stored_names! {
    ConsentMethod {
        None = "none",
        Trusted = "trusted",
        Required = "required",
    }
}

/// The names of a list, separated by blanks.
pub(crate) fn join<T: Named>(list: &[T]) -> String {
    list.iter().map(|value| value.name()).collect::<Vec<_>>().join(" ")
}

/// The values of names separated by blanks; `None` when one of them is unknown.
pub(crate) fn split<T: Named>(names: &str) -> Option<Vec<T>> {
    names.split_ascii_whitespace().map(T::from_name).collect()
}
