//! Revoke a token (RFC 7009).

use super::{DeniedToken, TokenError, Tokens};
use crate::{
    Caller, Timestamp,
    api_key::KeyFacts,
    env::CLOCK_ERROR,
    ledger::{self, NewEntry},
    policy::{Action, Decision, Principal, Resource, decide},
};

/// A key with this many denials of unexpired tokens gets a higher epoch instead of another one.
pub const MAX_DENIALS: usize = 1000;

impl Tokens {
    /// Revokes a token of `key`. Succeeds for a token that will never be valid again. An expired
    /// token may be, if the clock is set back, and is revoked.
    ///
    /// # Errors
    /// [`TokenError::UnauthorizedClient`] for a valid token of another key,
    /// [`TokenError::TooManyChanges`] if the key revokes too often, [`TokenError::Unavailable`] if
    /// the revocation could not be stored, [`TokenError::CannotDecide`] while the state in memory
    /// is not fresh.
    pub async fn revoke(
        &self,
        caller: &Caller,
        key: &KeyFacts,
        token: &str,
    ) -> Result<(), TokenError> {
        self.freshness.check()?;
        let now = self.env.now();
        let known =
            self.claims_of(token, now).and_then(|claims| Ok((self.key_of(&claims)?, claims)));
        let Ok((facts, claims)) = known else { return Ok(()) };
        let expires_at = Timestamp::from_seconds(claims.exp);
        if expires_at.after(CLOCK_ERROR) <= now
            || self.directory.is_denied(facts.key_id, &claims.jti)
        {
            return Ok(());
        }
        let resource = Resource::TokenOf(facts.key_id);
        if let Decision::Deny(reason) = decide(Principal::Key(key), Action::RevokeToken, resource) {
            return match self.verify_claims(claims, now) {
                Ok(_) => Err(TokenError::UnauthorizedClient(reason.to_owned())),
                Err(_) => Ok(()),
            };
        }
        self.count_own_change(key.key_id)?;
        let action = ledger::Action::TokenRevoke { jti: &claims.jti };
        let entry = NewEntry::new(now, caller, action, &facts.client_id);
        let denied = DeniedToken { jti: claims.jti.clone(), key_id: facts.key_id, expires_at };
        self.store.revoke_token(&facts.client_id, denied, MAX_DENIALS, entry).await?;
        Ok(())
    }
}
