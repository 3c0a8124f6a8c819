//! [`ApiKey`]: what the server knows of a key, and the rules its fields obey.

use std::collections::HashSet;

use gatekey_credentials::{ClientId, Role};
use serde::{Deserialize, Serialize};

use crate::{Error, KeyId, SecretId, Timestamp, error::Violation, memory::SecretFacts, root_key::SecretHash};

use super::redirect_uri;

/// The longest client name and label, in characters.
pub const MAX_NAME_LENGTH: usize = 200;
/// The longest URI, in bytes.
pub const MAX_URI_LENGTH: usize = 2048;
/// The most redirect URIs, contacts, grants or response types of a key.
pub const MAX_LIST_LENGTH: usize = 50;
/// The most secrets of a key that are not expired.
pub const MAX_SECRETS: usize = 10;
/// What a key without redirect URIs gets; the public class sends the same.
pub const DEFAULT_REDIRECT_URI: &str = "http://localhost:8080/authorization-code/callback";

/// An API key: an OAuth 2.0 application for headless use (wire message `cloudidl.identity.App`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Random, given at creation.
    pub key_id: KeyId,
    /// Unique on the server.
    pub client_id: ClientId,
    /// Whom the server serves; empty by default.
    pub organization: String,
    /// What it may do; `None` may look at and rotate itself.
    pub role: Option<Role>,
    /// What an administrator or a client may change.
    pub application: Application,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed, its secrets included.
    pub updated_at: Timestamp,
    /// Refused from then on.
    pub expires_at: Option<Timestamp>,
    /// Disabled since then.
    pub disabled_at: Option<Timestamp>,
    /// Raised to kill every earlier token.
    pub epoch: u64,
    /// In order of creation; never empty.
    pub secrets: Vec<StoredSecret>,
}

/// The descriptive part of a key: OAuth client metadata (RFC 7591 section 2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Application {
    /// The name people read, 1 to 200 characters.
    pub client_name: String,
    /// Where an authorization code may be sent.
    pub redirect_uris: Vec<String>,
    /// What an authorization endpoint may answer.
    pub response_types: Vec<ResponseType>,
    /// The grants it may use.
    pub grant_types: Vec<GrantType>,
    /// Web or native.
    pub application_type: ApplicationType,
    /// Whom to ask about it.
    pub contacts: Vec<String>,
    /// Its logo; never fetched.
    pub logo_uri: String,
    /// Its home page.
    pub client_uri: String,
    /// Its privacy policy.
    pub policy_uri: String,
    /// Its terms of service.
    pub tos_uri: String,
    /// Its public keys; never fetched.
    pub jwks_uri: String,
    /// How it authenticates; Basic and the body are both accepted whichever is named.
    pub token_endpoint_auth_method: TokenEndpointAuthMethod,
    /// Whether a person would be asked.
    pub consent_method: ConsentMethod,
}

/// One of the secrets of a key, as it is stored: without the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSecret {
    /// Identifies it.
    pub id: SecretId,
    /// Free text, at most 200 characters.
    pub label: String,
    /// What the secret is compared with.
    pub hash: SecretHash,
    /// When it was made.
    pub created_at: Timestamp,
    /// Refused before; from its creation on, the clock does not matter.
    pub not_before: Timestamp,
    /// Refused from then on. Not after `not_before` when the secret was retired: then it is valid at no time.
    pub expires_at: Option<Timestamp>,
    /// When it last fetched a token, some seconds late.
    pub last_used_at: Option<Timestamp>,
}

impl StoredSecret {
    /// Whether the secret is within its dates.
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        SecretFacts::of(self).is_some_and(|facts| facts.is_valid_at(now))
    }
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
    /// RFC 6749 section 3.1.1 and OpenID Connect.
    ResponseType {
        /// An authorization code.
        Code,
        /// An access token; never served, only remembered.
        Token,
        /// An ID token; never served, only remembered.
        IdToken,
    }
}

named_enum! {
    /// RFC 6749 section 1.3 and RFC 8628.
    GrantType {
        /// A code fetched through a browser.
        AuthorizationCode,
        /// A token fetched through a browser; never served.
        Implicit,
        /// A person's password; never served.
        Password,
        /// The key's own secret.
        ClientCredentials,
        /// A refresh token.
        RefreshToken,
        /// A code typed on another device.
        DeviceCode,
    }
}

named_enum! {
    /// Kind of the application.
    ApplicationType {
        /// Runs on a server.
        Web,
        /// Runs at a person's.
        Native,
    }
}

named_enum! {
    /// How a key authenticates (RFC 6749 section 2.3.1).
    TokenEndpointAuthMethod {
        /// In the form.
        ClientSecretPost,
        /// In the header.
        ClientSecretBasic,
    }
}

named_enum! {
    /// Whether a person is asked.
    ConsentMethod {
        /// Not said.
        None,
        /// Never.
        Trusted,
        /// Always.
        Required,
    }
}

impl Application {
    /// An application of that name with every default of Create on the public wire.
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

    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Invalid`] with each broken rule.
    pub fn validate(&self) -> Result<(), Error> {
        let mut broken = Vec::new();
        check_name("client_name", &self.client_name, &mut broken);
        check_list("redirect_uris", &self.redirect_uris, MAX_URI_LENGTH, &mut broken);
        for uri in &self.redirect_uris {
            if let Err(rule) = redirect_uri::validate(uri) {
                broken.push(Violation { field: "redirect_uris", rule: rule.to_string() });
            }
        }
        check_list("contacts", &self.contacts, 320, &mut broken);
        for (field, uri) in [
            ("logo_uri", &self.logo_uri),
            ("client_uri", &self.client_uri),
            ("policy_uri", &self.policy_uri),
            ("tos_uri", &self.tos_uri),
            ("jwks_uri", &self.jwks_uri),
        ] {
            if !uri.is_empty() && (uri.len() > MAX_URI_LENGTH || !is_web_address(uri)) {
                let rule = format!("must be an absolute http or https URL of at most {MAX_URI_LENGTH} bytes");
                broken.push(Violation { field, rule });
            }
        }
        check_distinct("grant_types", &self.grant_types, &mut broken);
        check_distinct("response_types", &self.response_types, &mut broken);
        if broken.is_empty() { Ok(()) } else { Err(Error::Invalid(broken)) }
    }
}

/// What Update changes; `None` keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApiKeyPatch {
    /// See [`Application`], as all up to `token_endpoint_auth_method`.
    pub client_name: Option<String>,
    /// Overwrites the whole list.
    pub redirect_uris: Option<Vec<String>>,
    /// Overwrites the whole list.
    pub response_types: Option<Vec<ResponseType>>,
    /// Overwrites the whole list.
    pub grant_types: Option<Vec<GrantType>>,
    /// Web or native.
    pub application_type: Option<ApplicationType>,
    /// Overwrites the whole list.
    pub contacts: Option<Vec<String>>,
    /// Its logo.
    pub logo_uri: Option<String>,
    /// Its home page.
    pub client_uri: Option<String>,
    /// Its privacy policy.
    pub policy_uri: Option<String>,
    /// Its terms of service.
    pub tos_uri: Option<String>,
    /// Its public keys.
    pub jwks_uri: Option<String>,
    /// How it authenticates.
    pub token_endpoint_auth_method: Option<TokenEndpointAuthMethod>,
    /// The role, `Some(None)` to take it away.
    pub role: Option<Option<Role>>,
    /// The expiry, `Some(None)` for never.
    pub expires_at: Option<Option<Timestamp>>,
}

impl ApiKeyPatch {
    /// Puts the changes into a key. The store calls it inside its transaction.
    pub fn apply(&self, key: &mut ApiKey, at: Timestamp) {
        self.apply_to_application(&mut key.application);
        set(&mut key.role, self.role.as_ref());
        set(&mut key.expires_at, self.expires_at.as_ref());
        key.updated_at = at;
    }

    /// Puts the changes into the descriptive part alone.
    pub fn apply_to_application(&self, application: &mut Application) {
        set(&mut application.client_name, self.client_name.as_ref());
        set(&mut application.redirect_uris, self.redirect_uris.as_ref());
        set(&mut application.response_types, self.response_types.as_ref());
        set(&mut application.grant_types, self.grant_types.as_ref());
        set(&mut application.application_type, self.application_type.as_ref());
        set(&mut application.contacts, self.contacts.as_ref());
        set(&mut application.logo_uri, self.logo_uri.as_ref());
        set(&mut application.client_uri, self.client_uri.as_ref());
        set(&mut application.policy_uri, self.policy_uri.as_ref());
        set(&mut application.tos_uri, self.tos_uri.as_ref());
        set(&mut application.jwks_uri, self.jwks_uri.as_ref());
        set(&mut application.token_endpoint_auth_method, self.token_endpoint_auth_method.as_ref());
    }

    /// Whether the change takes a key's role away: its tokens say `all`, which it then may not have.
    pub fn takes_role_from(&self, key: &ApiKey) -> bool {
        key.role.is_some() && self.role == Some(None)
    }

    /// The fields that change, for the ledger.
    pub fn changed_fields(&self) -> Vec<&'static str> {
        [
            ("client_name", self.client_name.is_some()),
            ("redirect_uris", self.redirect_uris.is_some()),
            ("response_types", self.response_types.is_some()),
            ("grant_types", self.grant_types.is_some()),
            ("application_type", self.application_type.is_some()),
            ("contacts", self.contacts.is_some()),
            ("logo_uri", self.logo_uri.is_some()),
            ("client_uri", self.client_uri.is_some()),
            ("policy_uri", self.policy_uri.is_some()),
            ("tos_uri", self.tos_uri.is_some()),
            ("jwks_uri", self.jwks_uri.is_some()),
            ("token_endpoint_auth_method", self.token_endpoint_auth_method.is_some()),
            ("role", self.role.is_some()),
            ("expires_at", self.expires_at.is_some()),
        ]
        .into_iter()
        .filter_map(|(field, changes)| changes.then_some(field))
        .collect()
    }
}

fn set<T: Clone>(field: &mut T, change: Option<&T>) {
    if let Some(change) = change {
        field.clone_from(change);
    }
}

/// Notes it when a name is empty, over-long, or holds control characters.
pub(crate) fn check_name(field: &'static str, name: &str, broken: &mut Vec<Violation>) {
    let rule = if name.trim().is_empty() {
        "must not be empty".to_owned()
    } else {
        match label_rule(name) {
            Some(rule) => rule,
            None => return,
        }
    };
    broken.push(Violation { field, rule });
}

/// The rule that a label breaks, if any: at most 200 characters, none of them a control character.
pub(crate) fn label_rule(label: &str) -> Option<String> {
    if label.chars().count() > MAX_NAME_LENGTH {
        Some(format!("must be at most {MAX_NAME_LENGTH} characters long"))
    } else if label.chars().any(char::is_control) {
        Some("must not hold control characters".to_owned())
    } else {
        None
    }
}

fn check_list(field: &'static str, list: &[String], longest: usize, broken: &mut Vec<Violation>) {
    if list.len() > MAX_LIST_LENGTH {
        broken.push(Violation { field, rule: format!("must have at most {MAX_LIST_LENGTH} entries") });
    }
    if list
        .iter()
        .any(|entry| entry.is_empty() || entry.len() > longest || entry.chars().any(char::is_control))
    {
        let rule = format!("must have entries of 1 to {longest} bytes without control characters");
        broken.push(Violation { field, rule });
    }
    check_distinct(field, list, broken);
}

fn check_distinct<T: Eq + std::hash::Hash>(field: &'static str, list: &[T], broken: &mut Vec<Violation>) {
    if list.iter().collect::<HashSet<_>>().len() < list.len() {
        broken.push(Violation { field, rule: "must not name the same thing twice".to_owned() });
    }
}

fn is_web_address(uri: &str) -> bool {
    !uri.chars().any(|c| c.is_control() || c.is_whitespace())
        && url::Url::parse(uri).is_ok_and(|url| matches!(url.scheme(), "https" | "http") && url.has_host())
}
