//! Mint a token for an upstream of the gate.

use std::{fmt, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use serde::Serialize;

use super::{PersonClaims, TokenError, Tokens, issue::BACKDATED};
use crate::{Timestamp, api_key::Scope};

/// The longest lifetime of a token for an upstream.
pub const MAX_UPSTREAM_LIFETIME: Duration = Duration::from_mins(5);
/// A token is replaced this long before it expires, so that the upstream receives none that expires
/// on the way.
const REPLACED_BEFORE: Duration = Duration::from_mins(1);

/// A token by which an upstream of the gate learns who calls. `Debug` does not print the token.
///
/// It is not an access token: its header says so, and no endpoint of this server accepts it.
pub struct UpstreamToken {
    /// The JWT.
    pub token: String,
    /// When it has to be replaced.
    pub replace_at: Timestamp,
}

impl fmt::Debug for UpstreamToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("UpstreamToken")
    }
}

/// The claims of a token for an upstream.
#[derive(Serialize)]
struct UpstreamClaims<'a> {
    iss: &'a str,
    sub: &'a str,
    client_id: &'a str,
    aud: [&'a str; 1],
    exp: i64,
    iat: i64,
    nbf: i64,
    jti: &'a str,
    org: &'a str,
    scope: &'static str,
    scp: [&'static str; 1],
    #[serde(flatten)]
    person: &'a PersonClaims,
}

impl Tokens {
    /// Mints a token for an upstream about a caller whose credential is valid until then.
    ///
    /// Its scope is `all`, the only one that flyteadmin knows: what the caller may do is decided
    /// before.
    ///
    /// # Errors
    /// [`TokenError::InvalidClient`] if the credential expires within this second,
    /// [`TokenError::Internal`] if signing fails.
    pub fn mint_for_upstream(
        &self,
        user: &str,
        person: &PersonClaims,
        audience: &str,
        valid_until: Timestamp,
    ) -> Result<UpstreamToken, TokenError> {
        let now = self.env.now();
        let full = now.after(MAX_UPSTREAM_LIFETIME);
        let exp = full.min(valid_until).as_seconds();
        if exp <= now.as_seconds() {
            return Err(TokenError::InvalidClient);
        }
        let jti = BASE64URL.encode(self.env.random::<16>());
        let scope = Scope::All.as_str();
        let claims = UpstreamClaims {
            iss: &self.settings.issuer,
            sub: user,
            client_id: user,
            aud: [audience],
            exp,
            iat: now.as_seconds() - BACKDATED,
            nbf: now.as_seconds() - BACKDATED,
            jti: &jti,
            org: &self.settings.organization,
            scope,
            scp: [scope],
            person,
        };
        let signing_key = self
            .key_ring
            .signing_key(now)
            .ok_or_else(|| TokenError::Internal("no signing key".into()))?;
        let token = signing_key
            .sign_for_upstream(&claims)
            .map_err(|error| TokenError::Internal(error.into()))?;
        // A token that ends with its credential cannot be replaced by a longer one.
        let replace_at = if valid_until < full {
            Timestamp::from_seconds(exp)
        } else {
            now.after(MAX_UPSTREAM_LIFETIME.saturating_sub(REPLACED_BEFORE))
        };
        Ok(UpstreamToken { token, replace_at })
    }
}
