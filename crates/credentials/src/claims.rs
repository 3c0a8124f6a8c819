//! [`AccessTokenClaims`]: what an access token says (RFC 9068 section 2.2).

use serde::{Deserialize, Serialize};

/// The claims of an access token of ours. Times are whole seconds since 1970 (RFC 7519 section 2). Texts are owned where
/// a token is read, and borrowed where one is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessTokenClaims<Text = String> {
    /// The issuer: the server's public URL.
    pub iss: Text,
    /// The subject: for an API key its client id.
    pub sub: Text,
    /// The client id of the API key that fetched the token.
    pub client_id: Text,
    /// Whom the token is for.
    pub aud: Vec<Text>,
    /// Refused from this second on.
    pub exp: i64,
    /// When the token was issued, dated back a few seconds for verifiers whose clock is late.
    pub iat: i64,
    /// Refused before this second.
    pub nbf: i64,
    /// Identifies the token: the id of the secret that fetched it, a dot, and random characters.
    pub jti: Text,
    /// The granted scopes, separated by blanks (RFC 8693 section 4.2).
    pub scope: Text,
    /// The granted scopes as a list: what flyteadmin reads.
    pub scp: Vec<Text>,
    /// The organization that the server serves; may be empty.
    pub org: Text,
    /// The key's epoch when the token was issued; a raised epoch kills the token.
    pub epoch: u64,
    /// The key id: a key deleted and made again under its client id is another key.
    pub key: Text,
}
