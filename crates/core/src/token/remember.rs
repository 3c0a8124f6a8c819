//! Remember encoded credentials, and recall the key that they authenticated.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use aws_lc_rs::digest;

use super::{AuthenticatedKey, Tokens, remembered::Entry};
use crate::{SecretId, api_key::KeyFacts, feed::Unavailable};

impl Tokens {
    /// Remembers that encoded credentials authenticated a key.
    pub fn remember(&self, encoded: &str, key: &AuthenticatedKey) {
        let now = self.env.now();
        self.last_used.note(key.secret.id, now);
        let entry = Entry {
            client_id: key.facts.client_id.clone(),
            key_id: key.facts.key_id,
            epoch: key.facts.epoch,
            secret: key.secret.id,
            noted_at: AtomicI64::new(now.as_seconds()),
        };
        self.remembered.entries.insert(sha256(encoded), Arc::new(entry));
    }

    /// The key of encoded credentials that authenticated it before, if they still do. Notes the use
    /// of their secret.
    ///
    /// `None` for credentials that must authenticate: unknown ones, those of a key that was changed
    /// since, and those whose secret must be hashed under a newer version of the root key. Also
    /// while the state in memory is not fresh, which [`Self::authenticate`] reports.
    pub fn recall(&self, encoded: &str) -> Option<AuthenticatedKey> {
        self.freshness.check().ok()?;
        let digest = sha256(encoded);
        let entry = self.remembered.lookups.count(self.remembered.entries.get(&digest))?;
        let now = self.env.now();
        let same = self
            .directory
            .find(entry.client_id.as_str())
            .filter(|facts| facts.key_id == entry.key_id && facts.epoch == entry.epoch);
        let key = same.and_then(|facts| self.usable(facts, entry.secret));
        let Some(key) = key.filter(|key| key.secret.hash.pepper_version == self.root_key.version())
        else {
            self.remembered.entries.remove(&digest);
            return None;
        };
        // Uses are written at most once a minute anyway.
        if entry.noted_at.swap(now.as_seconds(), Ordering::Relaxed) != now.as_seconds() {
            self.last_used.note(key.secret.id, now);
        }
        Some(key)
    }

    /// Checks again, during a long call, a key that authenticated by its secret at the beginning.
    /// `None` if it is not valid any more.
    ///
    /// # Errors
    /// While the state in memory is not fresh.
    pub fn authenticate_again(
        &self,
        key: &AuthenticatedKey,
    ) -> Result<Option<AuthenticatedKey>, Unavailable> {
        self.freshness.check()?;
        let present = self.directory.find(key.facts.client_id.as_str());
        let same = present.filter(|present| present.key_id == key.facts.key_id);
        Ok(same.and_then(|present| self.usable(present, key.secret.id)))
    }

    /// A key with one of its secrets, if both are valid now.
    fn usable(&self, facts: Arc<KeyFacts>, secret: SecretId) -> Option<AuthenticatedKey> {
        let now = self.env.now();
        let secret = facts.valid_secret(secret, now).copied()?;
        facts.is_usable_at(now).then_some(AuthenticatedKey { facts, secret })
    }
}

fn sha256(text: &str) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}
