//! Removes rows that no longer matter.

use std::time::Duration;

use super::Operations;
use crate::{StoreError, api_key::REPLAY_WINDOW, env::CLOCK_ERROR};

/// How long expired secrets stay on record.
const KEEP_EXPIRED_SECRETS: Duration = Duration::from_hours(720);

impl Operations {
    /// Removes denials of expired tokens, creates that can no longer be repeated, signing keys that
    /// left the JWKS, secrets that expired more than 30 days ago, and archived entries that an
    /// interrupted archive left.
    ///
    /// # Errors
    /// When the store cannot write.
    pub async fn purge(&self) -> Result<(), StoreError> {
        let now = self.env.now();
        // The clock may be ahead and later be set back: keep whatever could become valid again.
        let surely_expired = now.before(CLOCK_ERROR);
        self.directory.remove_expired(surely_expired);
        let (replays, secrets) = (now.before(REPLAY_WINDOW), now.before(KEEP_EXPIRED_SECRETS));
        self.store.purge(surely_expired, replays, secrets).await?;
        self.delete_archived().await
    }
}
