//! [`DeniedToken`]: an entry of the deny-list.

use crate::{KeyId, Timestamp};

/// A token that was revoked individually, on the deny-list until it expires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeniedToken {
    pub jti: String,
    /// The key that fetched the token.
    pub key_id: KeyId,
    /// When the token expires.
    pub expires_at: Timestamp,
}

/// The outcome of [`Store::revoke_token`](crate::Store::revoke_token).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revoked {
    /// The token is on the deny-list.
    Denied,
    /// The key had too many denials, so its epoch was raised instead and they were dropped.
    EpochRaised,
    /// The key does not exist any more, so the token is invalid anyway.
    Absent,
}
