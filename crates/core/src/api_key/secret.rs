//! [`StoredSecret`] and [`SecretFacts`]: a secret as it is stored, and as it is held in memory.

use crate::{SecretHash, SecretId, Timestamp};

/// A key can have at most this many secrets that have not expired.
pub const MAX_SECRETS: usize = 10;

/// A secret of a key as it is stored: its hash and its dates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSecret {
    pub id: SecretId,
    /// Free text, at most 200 characters.
    pub label: String,
    pub hash: SecretHash,
    pub created_at: Timestamp,
    /// The secret is rejected before this instant. A value at or before `created_at` sets no
    /// limit.
    pub not_before: Timestamp,
    /// The secret is rejected from this instant on. In a retired secret it is at or before
    /// `not_before`, so the secret is never valid, even if the clock is set back.
    pub expires_at: Option<Timestamp>,
    /// The expiry that an admin set, or `None` for none: a secret that the key gives itself by this
    /// one expires no later.
    pub admin_expiry: Option<Timestamp>,
    /// When it last fetched a token; written with a delay of up to a minute.
    pub last_used_at: Option<Timestamp>,
}

impl StoredSecret {
    /// Whether the secret is within its dates.
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        SecretFacts::of(self).is_some_and(|facts| facts.is_valid_at(now))
    }

    pub(super) fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= now)
    }

    /// Ends the secret at an instant, unless it ends earlier.
    pub(super) fn end(&mut self, at: Timestamp, now: Timestamp) {
        let end = self.expires_at.map_or(at, |expires_at| expires_at.min(at));
        self.expires_at = Some(end);
        if at <= now {
            // Keeps the secret invalid even if the clock is set back.
            self.not_before = self.not_before.max(end);
        }
    }

    /// The dates that a change of the key can move.
    pub(super) fn dates(&self) -> (Timestamp, Option<Timestamp>, Option<Timestamp>) {
        (self.not_before, self.expires_at, self.admin_expiry)
    }
}

/// The part of a secret that authentication needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretFacts {
    pub id: SecretId,
    pub hash: SecretHash,
    /// Refused before this instant.
    pub not_before: Timestamp,
    /// Refused from this instant on.
    pub expires_at: Option<Timestamp>,
}

impl SecretFacts {
    /// The facts of a secret; `None` if it is never valid.
    pub fn of(secret: &StoredSecret) -> Option<Self> {
        let StoredSecret { id, hash, created_at, not_before, expires_at, .. } = *secret;
        if expires_at.is_some_and(|expires_at| expires_at <= not_before) {
            return None;
        }
        // No one has a secret before it is created. If the clock now reads earlier than
        // `created_at`, it was ahead at creation and has since been corrected.
        let not_before = if not_before <= created_at { Timestamp::MIN } else { not_before };
        Some(Self { id, hash, not_before, expires_at })
    }

    /// Whether the secret is within its dates.
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        let ends = self.expires_at.map_or(i64::MAX, Timestamp::as_micros);
        // `&`, not `&&`: the time taken must not show which of the two dates excludes it.
        (self.not_before <= now) & (now.as_micros() < ends)
    }
}

/// A secret that is never valid again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndedSecret {
    pub id: SecretId,
    pub hash: SecretHash,
    /// Whether it was retired, rather than left to expire.
    pub retired: bool,
}

impl EndedSecret {
    pub(super) fn of(secret: &StoredSecret) -> Self {
        let retired = SecretFacts::of(secret).is_none();
        Self { id: secret.id, hash: secret.hash, retired }
    }
}
