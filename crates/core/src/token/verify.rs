//! Verify a token (RFC 9068 section 4), and introspect it (RFC 7662).

use std::sync::Arc;

use gatekey_credentials::{AccessTokenClaims, jwt::InvalidToken};

use super::{TokenRefusal, Tokens};
use crate::{
    Actor, SecretId, Timestamp,
    api_key::KeyFacts,
    feed::Unavailable,
    policy::{Action, Principal, Resource, decide},
};

/// A valid token, with its key in its present state.
#[derive(Debug, Clone)]
pub struct VerifiedToken {
    pub claims: Arc<AccessTokenClaims>,
    /// The key that fetched the token.
    pub facts: Arc<KeyFacts>,
}

impl VerifiedToken {
    /// The key as the actor of a ledger entry.
    pub fn actor(&self) -> Actor {
        self.facts.actor(secret_of(&self.claims.jti))
    }

    /// The instant from which the token is refused even if nothing changes.
    pub fn valid_until(&self) -> Timestamp {
        let secret = secret_of(&self.claims.jti);
        let secret = secret.and_then(|id| self.facts.secrets.iter().find(|known| known.id == id));
        let ends = [self.facts.expires_at, secret.and_then(|secret| secret.expires_at)];
        let exp = Timestamp::from_seconds(self.claims.exp);
        ends.into_iter().flatten().min().map_or(exp, |end| end.min(exp))
    }
}

/// The secret that fetched a token.
fn secret_of(jti: &str) -> Option<SecretId> {
    jti.split('.').next()?.parse().ok()
}

impl Tokens {
    /// Verifies a token for the server's own endpoints: valid, and for this server.
    ///
    /// Every service that a token is sent to could use it here, so no other audience implies this
    /// one (RFC 9700 section 2.3).
    ///
    /// # Errors
    /// [`TokenRefusal`], by the first rule that the token breaks.
    pub fn verify(&self, token: &str) -> Result<VerifiedToken, TokenRefusal> {
        let verified = self.verify_for_any_audience(token)?;
        if verified.claims.aud.contains(&self.settings.issuer) {
            Ok(verified)
        } else {
            Err(TokenRefusal::Audience)
        }
    }

    /// Verifies again, at the end of a long request, a token that was verified at its beginning.
    ///
    /// # Errors
    /// [`TokenRefusal`], by the first rule that the token now breaks.
    pub fn verify_again(&self, token: &VerifiedToken) -> Result<VerifiedToken, TokenRefusal> {
        self.verify_claims(Arc::clone(&token.claims), self.env.now())
    }

    /// A token, if it is valid and `caller` may introspect it (RFC 7662 section 2.2).
    ///
    /// # Errors
    /// While the state in memory is not fresh: caches would keep that the token is not active.
    pub fn introspect(
        &self,
        caller: &KeyFacts,
        token: &str,
    ) -> Result<Option<VerifiedToken>, Unavailable> {
        let verified = match self.verify_for_any_audience(token) {
            Ok(verified) => verified,
            Err(TokenRefusal::CannotDecide(unavailable)) => return Err(unavailable),
            Err(_) => return Ok(None),
        };
        let resource = Resource::TokenOf(verified.facts.key_id);
        let decision = decide(Principal::Key(caller), Action::IntrospectToken, resource);
        Ok(decision.is_allowed().then_some(verified))
    }

    fn verify_for_any_audience(&self, token: &str) -> Result<VerifiedToken, TokenRefusal> {
        let now = self.env.now();
        self.verify_claims(self.claims_of(token, now)?, now)
    }

    /// The claims of a token that this server signed.
    pub(super) fn claims_of(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<Arc<AccessTokenClaims>, TokenRefusal> {
        // A signing key that is unknown here may be new.
        self.freshness.check()?;
        let claims = self.key_ring.verify(token, now)?;
        if claims.iss == self.settings.issuer { Ok(claims) } else { Err(TokenRefusal::Issuer) }
    }

    /// The key that fetched a token, if it still exists in the same epoch.
    pub(super) fn key_of(&self, claims: &AccessTokenClaims) -> Result<Arc<KeyFacts>, TokenRefusal> {
        self.directory
            .find(&claims.client_id)
            .filter(|facts| claims.key.parse() == Ok(facts.key_id) && facts.epoch == claims.epoch)
            .ok_or(TokenRefusal::Key)
    }

    /// Checks everything that can change after a token was signed.
    pub(super) fn verify_claims(
        &self,
        claims: Arc<AccessTokenClaims>,
        now: Timestamp,
    ) -> Result<VerifiedToken, TokenRefusal> {
        self.freshness.check()?;
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
        if secret_of(&claims.jti).and_then(|id| facts.valid_secret(id, now)).is_none() {
            return Err(TokenRefusal::Secret);
        }
        if self.directory.is_denied(facts.key_id, &claims.jti) {
            return Err(TokenRefusal::Revoked);
        }
        Ok(VerifiedToken { claims, facts })
    }
}
