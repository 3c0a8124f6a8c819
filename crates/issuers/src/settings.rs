//! [`IssuerSettings`]: what is configured about an issuer.

use std::path::PathBuf;

use gatekey_credentials::{Role, jwt::Algorithm};
use serde_json::Value;
use url::{Host, Url};

/// What is configured about an issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerSettings {
    /// The `iss` of its tokens, exactly.
    pub issuer: String,
    /// Stands for the issuer in the names of its subjects: `alias|sub`.
    pub alias: String,
    /// A token must be for one of them.
    pub audiences: Vec<String>,
    pub algorithms: Vec<Algorithm>,
    /// `None` to find it by the issuer's discovery document.
    pub jwks_url: Option<Url>,
    /// The clients whose tokens are accepted; empty for all.
    pub authorized_parties: Vec<String>,
    /// A PEM file with CA certificates for its certificate, in addition to the system's.
    pub ca_file: Option<PathBuf>,
    pub roles: Vec<RoleRule>,
}

/// Gives a role to subjects whose tokens have a claim with a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleRule {
    /// The name of a claim, or a JSON Pointer (RFC 6901) such as `/realm_access/roles`.
    pub claim: String,
    /// The claim is this text, or a list that has it. `scope` is a list separated by spaces.
    pub value: String,
    pub role: Role,
}

impl RoleRule {
    /// Whether a token's claims have the value.
    pub fn matches(&self, claims: &Value) -> bool {
        let claim = if self.claim.starts_with('/') {
            claims.pointer(&self.claim)
        } else {
            claims.get(&self.claim)
        };
        match claim {
            Some(Value::String(text)) if self.claim == "scope" => {
                text.split(' ').any(|scope| scope == self.value)
            }
            Some(Value::String(text)) => *text == self.value,
            Some(Value::Array(list)) => list.iter().any(|item| item == &self.value),
            _ => false,
        }
    }
}

/// Whether keys may be fetched from a URL: by `https`, or from this machine.
pub fn is_secure(url: &Url) -> bool {
    let is_bare = url.username().is_empty() && url.password().is_none();
    match url.scheme() {
        "https" => is_bare && url.has_host(),
        "http" => is_bare && is_loopback(url),
        _ => false,
    }
}

pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_claim_matches_by_text_list_or_pointer() {
        let claims = json!({
            "groups": ["flyte-users", "flyte-admins"],
            "department": "data science",
            "scope": "openid flyte.write",
            "realm_access": { "roles": ["flyte"] },
            "https://example.com/roles": ["flyte"],
            "level": 3,
            "nested": [["flyte"]],
        });
        let matches = |claim: &str, value: &str| {
            let (claim, value) = (claim.to_owned(), value.to_owned());
            RoleRule { claim, value, role: Role::Viewer }.matches(&claims)
        };
        for (claim, value, expected) in [
            ("groups", "flyte-admins", true),
            ("groups", "flyte", false),
            ("department", "data science", true),
            ("department", "data", false),
            ("scope", "flyte.write", true),
            ("scope", "flyte", false),
            ("/realm_access/roles", "flyte", true),
            ("realm_access.roles", "flyte", false),
            ("https://example.com/roles", "flyte", true),
            ("level", "3", false),
            ("nested", "flyte", false),
            ("missing", "", false),
        ] {
            assert_eq!(matches(claim, value), expected, "{claim} {value}");
        }
    }

    #[test]
    fn keys_are_fetched_by_https_or_locally() {
        for (url, secure) in [
            ("https://id.example.com/jwks", true),
            ("https://10.0.0.7/jwks", true),
            ("http://127.0.0.1:8080/jwks", true),
            ("http://[::1]:8080/jwks", true),
            ("http://localhost/jwks", true),
            ("http://id.example.com/jwks", false),
            ("http://10.0.0.7/jwks", false),
            ("http://localhost.evil.example/jwks", false),
            ("https://user:secret@id.example.com/jwks", false),
            ("file:///etc/passwd", false),
        ] {
            assert_eq!(is_secure(&url.parse().unwrap()), secure, "{url}");
        }
    }
}
