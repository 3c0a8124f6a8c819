//! [`Application`]: the OAuth client metadata of a key.

use serde::{Deserialize, Serialize};

/// The redirect URI of a key that was created without one. The public class uses the same default.
pub const DEFAULT_REDIRECT_URI: &str = "http://localhost:8080/authorization-code/callback";

/// The descriptive part of a key: OAuth client metadata (RFC 7591 section 2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Application {
    /// The human-readable name, 1 to 200 characters.
    pub client_name: String,
    pub redirect_uris: Vec<String>,
    pub response_types: Vec<ResponseType>,
    /// Empty for client credentials only: see [`Application::may_use`].
    pub grant_types: Vec<GrantType>,
    pub application_type: ApplicationType,
    pub contacts: Vec<String>,
    /// Never fetched.
    pub logo_uri: String,
    pub client_uri: String,
    pub policy_uri: String,
    pub tos_uri: String,
    /// Never fetched.
    pub jwks_uri: String,
    /// Metadata only: the server accepts both methods for every key.
    pub token_endpoint_auth_method: TokenEndpointAuthMethod,
    pub consent_method: ConsentMethod,
}

macro_rules! named_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }
    };
}

named_enum! {
    /// A response of the authorization endpoint (RFC 6749 section 3.1.1, OpenID Connect).
    ResponseType {
        Code,
        /// Stored, but never served.
        Token,
        /// Stored, but never served.
        IdToken,
    }
}

named_enum! {
    /// A way to get a token (RFC 6749 section 1.3, RFC 8628).
    GrantType {
        AuthorizationCode,
        /// Stored, but never served.
        Implicit,
        /// Stored, but never served.
        Password,
        ClientCredentials,
        RefreshToken,
        DeviceCode,
    }
}

named_enum! {
    /// Where the application runs: on a server, or on a person's device.
    ApplicationType {
        Web,
        Native,
    }
}

named_enum! {
    /// How a key authenticates at the token endpoint (RFC 6749 section 2.3.1).
    TokenEndpointAuthMethod {
        /// Not specified.
        None,
        ClientSecretPost,
        ClientSecretBasic,
    }
}

named_enum! {
    /// Whether a person is asked for consent.
    ConsentMethod {
        /// Not specified.
        None,
        /// Never asked.
        Trusted,
        /// Always asked.
        Required,
    }
}

impl Application {
    /// Returns an application with this name and the public API's defaults for everything else.
    pub fn named(client_name: impl Into<String>) -> Self {
        Self {
            client_name: client_name.into(),
            redirect_uris: vec![DEFAULT_REDIRECT_URI.to_owned()],
            response_types: vec![ResponseType::Code],
            grant_types: vec![GrantType::ClientCredentials, GrantType::AuthorizationCode],
            application_type: ApplicationType::Web,
            contacts: Vec::new(),
            logo_uri: String::new(),
            client_uri: String::new(),
            policy_uri: String::new(),
            tos_uri: String::new(),
            jwks_uri: String::new(),
            token_endpoint_auth_method: TokenEndpointAuthMethod::ClientSecretBasic,
            consent_method: ConsentMethod::Required,
        }
    }

    /// Whether the key may use a grant.
    pub fn may_use(&self, grant: GrantType) -> bool {
        match self.grant_types.as_slice() {
            // Terraform and other clients leave the grants of a headless application out.
            [] => grant == GrantType::ClientCredentials,
            grants => grants.contains(&grant),
        }
    }
}
