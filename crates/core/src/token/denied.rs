//! The deny-list: [`DeniedToken`], and the limits of [`Denials`].

use crate::{ApiKey, KeyId, Timestamp};

/// The limit of a key's denials in total, as a multiple of the limit of those whose tokens have not
/// expired. Denials stay for a while after their tokens expire, and must be bounded too.
const TOTAL_PER_UNEXPIRED: usize = 10;

/// A token that was revoked individually, on the deny-list until it expires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeniedToken {
    pub jti: String,
    /// The key that fetched the token.
    pub key_id: KeyId,
    /// When the token expires.
    pub expires_at: Timestamp,
}

impl DeniedToken {
    /// Whether a key fetched the token, and not an earlier key with the same client id.
    pub fn is_of(&self, key: &ApiKey) -> bool {
        self.key_id == key.key_id
    }
}

/// The denials of a key when one of its tokens is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denials {
    /// Whether the token is on the deny-list.
    pub is_denied: bool,
    /// Denials of tokens that have not expired.
    pub unexpired: usize,
    pub total: usize,
}

/// How a token is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revocation {
    /// The token is already on the deny-list.
    AlreadyDenied,
    /// Add the token to the deny-list.
    Deny,
    /// The key has too many denials: [`ApiKey::revoke_tokens`] revokes all its tokens.
    RaiseEpoch,
}

impl Denials {
    /// Decides how to revoke the token of a key with at most `max_denials` unexpired denials.
    pub fn revoke(self, max_denials: usize) -> Revocation {
        if self.is_denied {
            Revocation::AlreadyDenied
        } else if self.unexpired >= max_denials
            || self.total >= max_denials.saturating_mul(TOTAL_PER_UNEXPIRED)
        {
            Revocation::RaiseEpoch
        } else {
            Revocation::Deny
        }
    }
}

/// The outcome of [`Store::revoke_token`](crate::store::TokenStore::revoke_token).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revoked {
    /// The token is on the deny-list.
    Denied,
    /// The key had too many denials, so its epoch was raised instead and they were dropped.
    EpochRaised,
    /// The key does not exist any more, so the token is invalid anyway.
    Absent,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_denials_raise_the_epoch() {
        let revoke =
            |is_denied, unexpired, total| Denials { is_denied, unexpired, total }.revoke(3);
        assert_eq!(revoke(false, 2, 29), Revocation::Deny);
        assert_eq!(revoke(false, 3, 3), Revocation::RaiseEpoch);
        assert_eq!(revoke(false, 0, 30), Revocation::RaiseEpoch);
        assert_eq!(revoke(true, 3, 30), Revocation::AlreadyDenied);
    }
}
