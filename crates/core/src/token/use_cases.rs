//! [`Tokens`]: authenticate a key, issue, verify, introspect and revoke its access tokens.
//!
//! No token has a row: what kills one is its dates, its key's state and epoch, the secret that fetched it, or
//! the deny-list, all of them in memory.

use std::{fmt, fmt::Write as _, net::IpAddr, sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use gatekey_credentials::{AccessTokenClaims, Role, jwt::InvalidToken};

use crate::{
    Caller, Directory, Env, KeyRing, LastUsed, RootKey, SecretId, Store, StoreError, Timestamp,
    api_key::{KeyFacts, MAX_SECRETS, SecretFacts},
    ledger::{Action, NewEntry},
};

use super::{
    DeniedToken,
    throttle::{Throttle, Throttled},
};

/// The scope of a key that has a role: all that its role allows.
pub const SCOPE_ALL: &str = "all";
/// How far `iat` and `nbf` are dated back, for verifiers whose clock is late.
const BACKDATED: i64 = 5;
/// How wrong the clock may be, and then be set right, without a revoked token coming back: so long a denial is kept
/// once its token has expired.
pub const CLOCK_ERROR: Duration = Duration::from_hours(24);
/// Live denials of one key, beyond which its epoch is raised instead.
pub const MAX_DENIALS: usize = 1000;

/// Why no token was given, or a token request was refused; by the names of RFC 6749 section 5.2.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The request lacks something, says something twice, or is malformed.
    #[error("{0}")]
    InvalidRequest(String),
    /// The key did not prove itself, whatever the reason.
    #[error("client authentication failed")]
    InvalidClient,
    /// The key did not prove itself, and neither did too many from the same address within the last minute. Of our
    /// own making: what an HTTP server says to who asks too often (RFC 6585 section 4).
    #[error(
        "client authentication failed, too often from this address: the secret was checked and is wrong, and a right \
         one is always accepted; try again in {} s",
        retry_after.as_secs()
    )]
    TooManyFailures {
        /// Until failures are let through again; whole seconds, at least one.
        retry_after: Duration,
        /// Whether it is the first failure too many of the address in this minute.
        first: bool,
    },
    /// The key may not use the grant, or the token is not its own.
    #[error("{0}")]
    UnauthorizedClient(String),
    /// The server does not know the grant.
    #[error("grant_type must be client_credentials")]
    UnsupportedGrantType,
    /// The scope is malformed or unknown.
    #[error("{0}")]
    InvalidScope(String),
    /// The resource or audience is not one of the server's (RFC 8707 section 2).
    #[error("{0}")]
    InvalidTarget(String),
    /// The store is unavailable; the same call may succeed later.
    #[error("the server is temporarily unavailable, try again")]
    Unavailable(#[source] StoreError),
    /// A fault of ours; the cause is for the log.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenRefusal {
    /// Malformed, wrongly signed or out of its dates.
    #[error(transparent)]
    Invalid(#[from] InvalidToken),
    /// Of another issuer than this server.
    #[error("the token is of another issuer")]
    Issuer,
    /// For somebody else than this server.
    #[error("the token is for another audience")]
    Audience,
    /// Its key is gone, disabled, expired, or had its tokens killed.
    #[error("the token's key was deleted, disabled or rotated, or has expired")]
    Key,
    /// The secret that fetched it is no longer valid.
    #[error("the secret that fetched the token was retired or has expired")]
    Secret,
    /// It was revoked.
    #[error("the token was revoked")]
    Revoked,
}

/// What is configured of authentication, and what every token of the server has in common.
#[derive(Debug, Clone)]
pub struct TokenPolicy {
    /// The public URL.
    pub issuer: String,
    /// Whom tokens may be for; the first is the default.
    pub audiences: Vec<String>,
    /// How long a token lives at most.
    pub lifetime: Duration,
    /// Whom the server serves.
    pub organization: String,
    /// How many failed authentications of one address a minute are told so without being told to wait; 0 for any
    /// number.
    pub failed_authentications_per_minute: u16,
}

/// A key that has proven itself with one of its secrets.
#[derive(Debug, Clone)]
pub struct AuthenticatedKey {
    /// The key.
    pub facts: Arc<KeyFacts>,
    /// The secret.
    pub secret: SecretFacts,
}

/// A token of ours that is in force, with its key as it is now.
#[derive(Debug, Clone)]
pub struct VerifiedToken {
    /// What it says.
    pub claims: Arc<AccessTokenClaims>,
    /// The key that fetched it.
    pub facts: Arc<KeyFacts>,
}

/// A token just issued. `Debug` does not print the token.
pub struct IssuedToken {
    /// The JWT.
    pub access_token: String,
    /// Seconds until it expires.
    pub expires_in: i64,
    /// The granted scopes, separated by blanks.
    pub scope: String,
}

impl fmt::Debug for IssuedToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "IssuedToken({} s)", self.expires_in)
    }
}

/// Authenticates keys; issues, verifies, introspects and revokes their tokens.
pub struct Tokens {
    policy: TokenPolicy,
    directory: Arc<Directory>,
    key_ring: Arc<KeyRing>,
    last_used: Arc<LastUsed>,
    store: Arc<dyn Store>,
    root_key: Arc<RootKey>,
    throttle: Throttle,
    /// What is compared with when there is no key, or no further secret.
    nobody: Arc<KeyFacts>,
    env: Env,
}

impl Tokens {
    /// Over what is held in memory; the store is for revocations alone.
    pub fn new(
        policy: TokenPolicy,
        directory: Arc<Directory>,
        key_ring: Arc<KeyRing>,
        last_used: Arc<LastUsed>,
        store: Arc<dyn Store>,
        root_key: Arc<RootKey>,
        env: Env,
    ) -> Self {
        let throttle = Throttle::new(policy.failed_authentications_per_minute, &env);
        let nobody = Arc::new(KeyFacts::nobody(&env));
        Self { policy, directory, key_ring, last_used, store, root_key, throttle, nobody, env }
    }

    /// What is configured.
    pub fn policy(&self) -> &TokenPolicy {
        &self.policy
    }

    /// Checks a key's secret. A refusal costs the same work whatever its reason, so that the time it takes tells
    /// nothing. A right secret is accepted however many wrong ones came from the same address.
    ///
    /// # Errors
    /// [`TokenError::InvalidClient`] whatever is wrong: unknown, disabled or expired key, wrong, retired or
    /// expired secret. [`TokenError::TooManyFailures`] instead, when that happens too often to one address.
    pub fn authenticate(
        &self,
        client_id: &str,
        secret: &str,
        from: Option<IpAddr>,
    ) -> Result<AuthenticatedKey, TokenError> {
        let now = self.env.now();
        let facts = self.directory.find(client_id).unwrap_or_else(|| self.nobody.clone());
        let (mut fitting, mut newest) = (None, None);
        // As many hashes and comparisons for every key as for one with the most secrets, and none of them cut short.
        self.root_key.each_hash(secret, |given| {
            for place in 0..facts.secrets.len().max(MAX_SECRETS) {
                let candidate = facts.secrets.get(place).unwrap_or(&self.nobody.secrets[0]);
                let fits = candidate.hash.matches(&given) & candidate.is_valid_at(now);
                fitting = if fits { Some(place) } else { fitting };
            }
            newest.get_or_insert(given);
        });
        let fitting = fitting.and_then(|place| facts.secrets.get(place)).filter(|_| facts.is_usable_at(now));
        match fitting.copied() {
            Some(secret) => {
                self.root_key.note_use(secret.id, secret.hash, newest);
                Ok(AuthenticatedKey { facts, secret })
            }
            None => Err(match from.and_then(|from| self.throttle.note(from, now)) {
                Some(Throttled { retry_after, first }) => TokenError::TooManyFailures { retry_after, first },
                None => TokenError::InvalidClient,
            }),
        }
    }

    /// Issues a token to a key that has proven itself (RFC 6749 section 4.4). An empty scope asks for all
    /// that the key may have; no audience asks for the server's first.
    ///
    /// # Errors
    /// [`TokenError::UnauthorizedClient`] when the key may not use the grant, [`TokenError::InvalidScope`],
    /// [`TokenError::InvalidTarget`].
    pub fn issue(
        &self,
        key: &AuthenticatedKey,
        scope: &str,
        audiences: &[String],
    ) -> Result<IssuedToken, TokenError> {
        if !key.facts.client_credentials {
            let reason = "this API key may not use the client_credentials grant";
            return Err(TokenError::UnauthorizedClient(reason.to_owned()));
        }
        let scopes = Self::grant_scopes(&key.facts, scope)?;
        let aud = self.grant_audiences(audiences)?;
        let now = self.env.now();
        let ends = [Some(now.after(self.policy.lifetime)), key.facts.expires_at, key.secret.expires_at];
        let exp = ends.into_iter().flatten().min().unwrap_or(now).as_seconds();
        if exp <= now.as_seconds() {
            // Less than a second is left of the key or the secret, and a token counts whole ones.
            return Err(TokenError::InvalidClient);
        }
        let scope = scopes.join(" ");
        let (jti, key_id) = (self.token_id(key.secret.id), key.facts.key_id.to_string());
        let claims = AccessTokenClaims {
            iss: self.policy.issuer.as_str(),
            sub: key.facts.client_id.as_str(),
            client_id: key.facts.client_id.as_str(),
            aud,
            exp,
            iat: now.as_seconds() - BACKDATED,
            nbf: now.as_seconds() - BACKDATED,
            jti: &jti,
            scope: &scope,
            scp: scopes,
            org: &self.policy.organization,
            epoch: key.facts.epoch,
            key: &key_id,
        };
        let signing_key =
            self.key_ring.signing_key().ok_or_else(|| TokenError::Internal("no signing key".into()))?;
        let access_token = signing_key.sign(&claims).map_err(|error| TokenError::Internal(error.into()))?;
        self.last_used.note(key.secret.id, now);
        Ok(IssuedToken { access_token, expires_in: exp - now.as_seconds(), scope })
    }

    /// Checks that a token is ours, in force now, and for this server (RFC 9068 section 4): what our own
    /// endpoints accept.
    ///
    /// # Errors
    /// [`TokenRefusal`], by the first rule that it breaks.
    pub fn verify(&self, token: &str) -> Result<VerifiedToken, TokenRefusal> {
        let verified = self.verify_for_anybody(token)?;
        let ours = |audience: &String| {
            *audience == self.policy.issuer || self.policy.audiences.first() == Some(audience)
        };
        if verified.claims.aud.iter().any(ours) { Ok(verified) } else { Err(TokenRefusal::Audience) }
    }

    /// Checks again, at the end of a long request, that a token verified at its beginning is in force.
    ///
    /// # Errors
    /// [`TokenRefusal`], by the first rule that it breaks now.
    pub fn verify_again(&self, token: &VerifiedToken) -> Result<VerifiedToken, TokenRefusal> {
        self.in_force(Arc::clone(&token.claims), self.env.now())
    }

    /// Checks that a token is ours and in force now, whomever it is for.
    fn verify_for_anybody(&self, token: &str) -> Result<VerifiedToken, TokenRefusal> {
        let now = self.env.now();
        self.in_force(self.issued_here(token, now)?, now)
    }

    /// Checks that we signed a token, and gives what it says.
    fn issued_here(&self, token: &str, now: Timestamp) -> Result<Arc<AccessTokenClaims>, TokenRefusal> {
        let claims = self.key_ring.verify(token, now)?;
        if claims.iss == self.policy.issuer { Ok(claims) } else { Err(TokenRefusal::Issuer) }
    }

    /// The key of a token, if it is still the one, in the same epoch, that fetched it.
    fn key_of(&self, claims: &AccessTokenClaims) -> Result<Arc<KeyFacts>, TokenRefusal> {
        self.directory
            .find(&claims.client_id)
            .filter(|facts| claims.key.parse() == Ok(facts.key_id) && facts.epoch == claims.epoch)
            .ok_or(TokenRefusal::Key)
    }

    fn in_force(
        &self,
        claims: Arc<AccessTokenClaims>,
        now: Timestamp,
    ) -> Result<VerifiedToken, TokenRefusal> {
        if claims.nbf > now.as_seconds() {
            return Err(InvalidToken::NotYetValid.into());
        }
        if claims.exp <= now.as_seconds() {
            return Err(InvalidToken::Expired.into());
        }
        let facts = self.key_of(&claims)?;
        if !facts.is_usable_at(now) {
            return Err(TokenRefusal::Key);
        }
        let secret_id = claims.jti.split('.').next().and_then(|id| id.parse::<SecretId>().ok());
        if secret_id.and_then(|id| facts.valid_secret(id, now)).is_none() {
            return Err(TokenRefusal::Secret);
        }
        if self.directory.is_denied(facts.key_id, &claims.jti) {
            return Err(TokenRefusal::Revoked);
        }
        Ok(VerifiedToken { claims, facts })
    }

    /// What a key may learn of a token (RFC 7662 section 2.2): its own tokens, or every token when its role is
    /// admin or verifier. `None` for a token that is not in force or not to be told about.
    pub fn introspect(&self, asking: &KeyFacts, token: &str) -> Option<VerifiedToken> {
        let verified = self.verify_for_anybody(token).ok()?;
        let may = verified.facts.key_id == asking.key_id
            || matches!(asking.role, Some(Role::Admin | Role::Verifier));
        may.then_some(verified)
    }

    /// Revokes a token of the key that asks (RFC 7009). A token that will not be in force again needs no revoking;
    /// one that is only out of its dates may be, when the clock is set right.
    ///
    /// # Errors
    /// [`TokenError::UnauthorizedClient`] when the token is another key's, [`TokenError::Unavailable`] when
    /// the revocation could not be stored.
    pub async fn revoke(&self, caller: &Caller, asking: &KeyFacts, token: &str) -> Result<(), TokenError> {
        let now = self.env.now();
        let issued = self.issued_here(token, now).and_then(|claims| Ok((self.key_of(&claims)?, claims)));
        let Ok((facts, claims)) = issued else { return Ok(()) };
        let expires_at = Timestamp::from_seconds(claims.exp);
        if expires_at.after(CLOCK_ERROR) <= now || self.directory.is_denied(facts.key_id, &claims.jti) {
            return Ok(());
        }
        if facts.key_id != asking.key_id {
            if self.in_force(claims, now).is_err() {
                return Ok(());
            }
            let reason = "the token was issued to another API key";
            return Err(TokenError::UnauthorizedClient(reason.to_owned()));
        }
        let action = Action::TokenRevoke { jti: &claims.jti };
        let entry = NewEntry::new(now, caller, action, &facts.client_id);
        let denied = DeniedToken { jti: claims.jti.clone(), key_id: facts.key_id, expires_at };
        match self.store.revoke_token(&facts.client_id, denied, MAX_DENIALS, entry).await {
            Ok(_) => Ok(()),
            Err(error @ (StoreError::Unavailable(_) | StoreError::Unreadable(_))) => {
                Err(TokenError::Unavailable(error))
            }
            Err(error @ (StoreError::Conflict | StoreError::Corrupt(_))) => {
                Err(TokenError::Internal(Box::new(error)))
            }
        }
    }

    /// Names a token after the secret that fetches it.
    fn token_id(&self, secret_id: SecretId) -> String {
        let mut jti = String::with_capacity(64);
        // Writing to a string does not fail.
        let _ = write!(jti, "{secret_id}.");
        BASE64URL.encode_string(self.env.random::<16>(), &mut jti);
        jti
    }

    fn grant_scopes(facts: &KeyFacts, asked: &str) -> Result<Vec<&'static str>, TokenError> {
        if asked.split_ascii_whitespace().any(|scope| scope != SCOPE_ALL) {
            return Err(TokenError::InvalidScope(format!("the only scope here is {SCOPE_ALL}")));
        }
        // RFC 6749 section 3.3 lets the server grant less than was asked, if it says so.
        Ok(facts.role.iter().map(|_| SCOPE_ALL).collect())
    }

    fn grant_audiences(&self, asked: &[String]) -> Result<Vec<&str>, TokenError> {
        if asked.is_empty() {
            return Ok(self.policy.audiences.first().map(String::as_str).into_iter().collect());
        }
        let mut granted: Vec<&str> = Vec::new();
        for audience in asked {
            let same = |known: &&String| known.trim_end_matches('/') == audience.trim_end_matches('/');
            let known = self.policy.audiences.iter().find(same).ok_or_else(|| {
                TokenError::InvalidTarget(format!(
                    "resource and audience must be one of: {}",
                    self.policy.audiences.join(" ")
                ))
            })?;
            if !granted.contains(&known.as_str()) {
                granted.push(known);
            }
        }
        Ok(granted)
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Tokens")
    }
}
