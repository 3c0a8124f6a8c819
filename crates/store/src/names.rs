//! The stored names of the core's enums. A name never changes: databases contain it.

use gatekey_core::api_key::{
    ApplicationType, ConsentMethod, GrantType, ResponseType, TokenEndpointAuthMethod,
};
use gatekey_credentials::Role;

/// A value that is stored by its name.
pub(crate) trait Named: Copy {
    fn name(self) -> &'static str;

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
        None = "none",
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

impl Named for Role {
    fn name(self) -> &'static str {
        self.as_str()
    }

    fn from_name(name: &str) -> Option<Self> {
        name.parse().ok()
    }
}

/// The names of the values, separated by spaces.
pub(crate) fn join<T: Named>(list: &[T]) -> String {
    list.iter().map(|value| value.name()).collect::<Vec<_>>().join(" ")
}

/// The values of names separated by spaces; `None` if a name is unknown.
pub(crate) fn split<T: Named>(names: &str) -> Option<Vec<T>> {
    names.split_ascii_whitespace().map(T::from_name).collect()
}
