//! [`AccessTokenClaims`]: the claims of Gatekey's access tokens (RFC 9068 section 2.2).

use serde::{Deserialize, Serialize};

/// The claims of an access token that Gatekey issues. Times are whole seconds since 1970 (RFC 7519
/// section 2).
///
/// `Text` is `String` in a token that is read, and `&str` in one that is issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessTokenClaims<Text = String> {
    /// The issuer: the server's public URL.
    pub iss: Text,
    /// The subject: for an API key, its client id.
    pub sub: Text,
    /// The client id of the API key that fetched the token.
    pub client_id: Text,
    /// The audiences.
    pub aud: Vec<Text>,
    /// The time from which the token is rejected.
    pub exp: i64,
    /// The time of issue, backdated by a few seconds for verifiers whose clocks are slow.
    pub iat: i64,
    /// The time before which the token is rejected.
    pub nbf: i64,
    /// The token's id: the id of the secret that fetched it, a dot, and random characters.
    pub jti: Text,
    /// The granted scopes, separated by spaces (RFC 8693 section 4.2).
    pub scope: Text,
    /// The granted scopes as a list, which flyteadmin reads.
    pub scp: Vec<Text>,
    /// The server's organization; may be empty.
    pub org: Text,
    /// The key's epoch at the time of issue. Raising the key's epoch revokes the token.
    pub epoch: u64,
    /// The key id. If a key is deleted and its client id is used again, the new key has another
    /// key id.
    pub key: Text,
}
