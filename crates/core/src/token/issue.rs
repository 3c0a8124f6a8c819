//! Issue a token (RFC 6749 section 4.4, RFC 9068).

use std::{
    fmt::{self, Write as _},
    iter,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use gatekey_credentials::AccessTokenClaims;
use serde::Serialize;

use super::{AuthenticatedKey, PersonClaims, TokenError, Tokens};
use crate::{
    SecretId,
    api_key::{KeyFacts, Scope},
};

/// `iat` and `nbf` are this many seconds in the past, for verifiers whose clocks are behind.
pub(super) const BACKDATED: i64 = 5;

/// A token that was just issued. `Debug` does not print the token.
pub struct IssuedToken {
    /// The JWT.
    pub access_token: String,
    /// Seconds until it expires.
    pub expires_in: i64,
    /// The granted scopes, separated by spaces.
    pub scope: String,
}

impl fmt::Debug for IssuedToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "IssuedToken({} s)", self.expires_in)
    }
}

/// The claims of a token that also carries claims about a person.
#[derive(Serialize)]
struct WithPerson<'a> {
    #[serde(flatten)]
    claims: AccessTokenClaims<&'a str>,
    #[serde(flatten)]
    person: &'a PersonClaims,
}

impl Tokens {
    /// Issues a token to an authenticated key. An empty scope requests everything that the key may
    /// have; without an audience the token is for the issuer.
    ///
    /// # Errors
    /// [`TokenError::UnauthorizedClient`] if the key may not use the grant,
    /// [`TokenError::InvalidScope`], [`TokenError::InvalidTarget`].
    pub fn issue(
        &self,
        key: &AuthenticatedKey,
        scope: &str,
        audiences: &[String],
    ) -> Result<IssuedToken, TokenError> {
        self.issue_with(key, scope, audiences, None)
    }

    /// Issues a token that carries claims about a person, too.
    ///
    /// # Errors
    /// See [`Self::issue`].
    pub fn issue_with(
        &self,
        key: &AuthenticatedKey,
        scope: &str,
        audiences: &[String],
        person: Option<&PersonClaims>,
    ) -> Result<IssuedToken, TokenError> {
        if !key.facts.client_credentials {
            let reason = "this API key may not use the client_credentials grant";
            return Err(TokenError::UnauthorizedClient(reason.to_owned()));
        }
        let scopes = grant_scopes(&key.facts, scope)?;
        let aud = self.grant_audiences(audiences)?;
        let now = self.env.now();
        let ends =
            [Some(now.after(self.settings.lifetime)), key.facts.expires_at, key.secret.expires_at];
        let exp = ends.into_iter().flatten().min().unwrap_or(now).as_seconds();
        if exp <= now.as_seconds() {
            // The key or secret expires within this second, and a token's lifetime is in whole
            // seconds.
            return Err(TokenError::InvalidClient);
        }
        let scope = scopes.join(" ");
        let (jti, key_id) = (self.token_id(key.secret.id), key.facts.key_id.to_string());
        let claims = AccessTokenClaims {
            iss: self.settings.issuer.as_str(),
            sub: key.facts.client_id.as_str(),
            client_id: key.facts.client_id.as_str(),
            aud,
            exp,
            iat: now.as_seconds() - BACKDATED,
            nbf: now.as_seconds() - BACKDATED,
            jti: &jti,
            scope: &scope,
            scp: scopes,
            org: &self.settings.organization,
            epoch: key.facts.epoch,
            key: &key_id,
        };
        let signing_key = self
            .key_ring
            .signing_key(now)
            .ok_or_else(|| TokenError::Internal("no signing key".into()))?;
        let signed = match person {
            None => signing_key.sign(&claims),
            Some(person) => signing_key.sign(&WithPerson { claims, person }),
        };
        let access_token = signed.map_err(|error| TokenError::Internal(error.into()))?;
        self.last_used.note(key.secret.id, now);
        Ok(IssuedToken { access_token, expires_in: exp - now.as_seconds(), scope })
    }

    /// A `jti` that begins with the id of the secret that fetches the token, so that the token is
    /// refused once that secret is.
    fn token_id(&self, secret_id: SecretId) -> String {
        let mut jti = String::with_capacity(64);
        // Writing to a string does not fail.
        let _ = write!(jti, "{secret_id}.");
        BASE64URL.encode_string(self.env.random::<16>(), &mut jti);
        jti
    }

    fn grant_audiences(&self, requested: &[String]) -> Result<Vec<&str>, TokenError> {
        if requested.is_empty() {
            return Ok(vec![&self.settings.issuer]);
        }
        let known = || iter::once(&self.settings.issuer).chain(&self.settings.audiences);
        let mut granted: Vec<&str> = Vec::new();
        for audience in requested {
            let same =
                |known: &&String| known.trim_end_matches('/') == audience.trim_end_matches('/');
            let known = known().find(same).ok_or_else(|| {
                let known: Vec<_> = known().map(String::as_str).collect();
                TokenError::InvalidTarget(format!(
                    "resource and audience must be one of: {}",
                    known.join(" ")
                ))
            })?;
            if !granted.contains(&known.as_str()) {
                granted.push(known);
            }
        }
        Ok(granted)
    }
}

/// RFC 6749 section 3.3 lets the server grant less than was requested, if it says so. A key that
/// requests more than its roles permit gets all that they permit.
fn grant_scopes(facts: &KeyFacts, requested: &str) -> Result<Vec<&'static str>, TokenError> {
    let widest = Scope::of(facts.roles);
    let mut scopes = Vec::new();
    for name in requested.split_ascii_whitespace() {
        let scope = Scope::NAMED.into_iter().find(|scope| scope.as_str() == name);
        let scope = scope.ok_or_else(|| {
            let names = Scope::NAMED.map(Scope::as_str).join(" and ");
            TokenError::InvalidScope(format!("the supported scopes are {names}"))
        })?;
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    scopes.retain(|scope| *scope <= widest);
    if scopes.is_empty() && widest > Scope::None {
        scopes.push(widest);
    }
    Ok(scopes.into_iter().map(Scope::as_str).collect())
}
