//! [`OwnChanges`]: limits how often a key changes itself.
//!
//! Every key may revoke its tokens and rotate itself, and each change has an entry in the ledger,
//! which is append-only. Without a limit, a key without a role could fill the disk, and then nobody
//! could revoke anything.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::{KeyId, Timestamp};

const MINUTE: Duration = Duration::from_mins(1);
/// Maximum number of keys to remember. Beyond it, the keys with a full bucket are purged, and if
/// there are none, all: there are so many keys then that each could make as many changes again.
const REMEMBERED: usize = 10_000;

/// A token bucket for each key. It holds the changes of one minute, and is filled continuously.
#[derive(Debug)]
pub(crate) struct OwnChanges {
    /// 0 for any number.
    per_minute: u16,
    /// When the bucket of a key will be full again.
    full_at: Mutex<HashMap<KeyId, Timestamp>>,
}

/// A key has changed itself too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyChanges {
    /// Whole seconds until the next change is allowed; at least one.
    pub retry_after: Duration,
}

impl OwnChanges {
    pub(crate) fn new(per_minute: u16) -> Self {
        Self { per_minute, full_at: Mutex::default() }
    }

    /// Takes a change from the bucket of a key.
    pub(crate) fn count(&self, key: KeyId, now: Timestamp) -> Result<(), TooManyChanges> {
        let Some(interval) = MINUTE.checked_div(u32::from(self.per_minute)) else { return Ok(()) };
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        if full_at.len() >= REMEMBERED && !full_at.contains_key(&key) {
            full_at.retain(|_, at| now < *at);
            if full_at.len() >= REMEMBERED {
                full_at.clear();
            }
        }
        // A bucket is full within a minute. If the clock was set back, it starts full again.
        let known = full_at.get(&key).copied().filter(|at| *at <= now.after(MINUTE));
        let next = known.map_or(now, |at| at.max(now)).after(interval);
        if next <= now.after(MINUTE) {
            full_at.insert(key, next);
            return Ok(());
        }
        let micros = next.as_micros() - now.after(MINUTE).as_micros();
        let seconds = u64::try_from(micros).unwrap_or_default().div_ceil(1_000_000).max(1);
        Err(TooManyChanges { retry_after: Duration::from_secs(seconds) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Env;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(1_767_225_600 + seconds)
    }

    #[test]
    fn a_bucket_refills_continuously() {
        let (changes, key) = (OwnChanges::new(10), KeyId::generate(&Env::system()));
        for _ in 0..10 {
            assert_eq!(changes.count(key, at(0)), Ok(()));
        }
        let wait = |seconds| Err(TooManyChanges { retry_after: Duration::from_secs(seconds) });
        assert_eq!(changes.count(key, at(0)), wait(6));
        assert_eq!(changes.count(key, at(5)), wait(1));
        assert_eq!(changes.count(key, at(6)), Ok(()));
        assert_eq!(changes.count(key, at(6)), wait(6));
        assert_eq!(changes.count(KeyId::generate(&Env::system()), at(6)), Ok(()), "another key");
        assert_eq!(changes.count(key, at(-9999)), Ok(()), "the clock was set back");
    }

    #[test]
    fn zero_sets_no_limit() {
        let (changes, key) = (OwnChanges::new(0), KeyId::generate(&Env::system()));
        assert!((0..1000).all(|_| changes.count(key, at(0)).is_ok()));
    }

    #[test]
    fn the_number_of_remembered_keys_is_bounded() {
        let (changes, env) = (OwnChanges::new(10), Env::system());
        for _ in 0..REMEMBERED + 10 {
            changes.count(KeyId::generate(&env), at(0)).unwrap();
        }
        assert!(changes.full_at.lock().unwrap().len() <= REMEMBERED);
    }
}
