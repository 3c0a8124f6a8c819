//! [`Refusals`]: limits the entries of repeated refusals.
//!
//! The ledger is append-only, so a refused caller must not be able to fill it: the same refusal
//! gets at most one entry a minute.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::Timestamp;

const MINUTE: Duration = Duration::from_mins(1);
/// Maximum number of distinct refusals to count. Beyond it, all counts are purged, and refusals get
/// entries again.
const REMEMBERED: usize = 10_000;

/// The refusals of the last minute.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<HashMap<[String; 3], Repeated>>);

#[derive(Debug)]
struct Repeated {
    recorded_at: Timestamp,
    /// Number of repetitions without an entry.
    unrecorded: u64,
}

impl Refusals {
    /// Returns `None` if a refusal needs no entry. Otherwise returns the number of identical
    /// refusals without an entry since the last entry.
    pub(crate) fn note(
        &self,
        now: Timestamp,
        actor: &str,
        target: &str,
        reason: &str,
    ) -> Option<u64> {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() >= REMEMBERED {
            recent.retain(|_, repeated| now < repeated.recorded_at.after(MINUTE));
            if recent.len() >= REMEMBERED {
                recent.clear();
            }
        }
        let key = [actor, target, reason].map(str::to_owned);
        match recent.get_mut(&key) {
            // If the clock was set back, the refusal is recorded.
            Some(repeated)
                if (repeated.recorded_at..repeated.recorded_at.after(MINUTE)).contains(&now) =>
            {
                repeated.unrecorded += 1;
                None
            }
            Some(repeated) => {
                let unrecorded = repeated.unrecorded;
                *repeated = Repeated { recorded_at: now, unrecorded: 0 };
                Some(unrecorded)
            }
            None => {
                recent.insert(key, Repeated { recorded_at: now, unrecorded: 0 });
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The others are counted.
    #[test]
    fn a_repeated_refusal_is_recorded_once_a_minute() {
        let refusals = Refusals::default();
        let at = |seconds: i64| Timestamp::from_seconds(1_000_000 + seconds);
        assert_eq!(refusals.note(at(0), "ci", "Create", "role"), Some(0));
        assert_eq!(refusals.note(at(1), "ci", "Create", "role"), None);
        assert_eq!(refusals.note(at(2), "ci", "Delete", "role"), Some(0));
        assert_eq!(refusals.note(at(59), "ci", "Create", "role"), None);
        assert_eq!(refusals.note(at(60), "ci", "Create", "role"), Some(2));
        assert_eq!(refusals.note(at(61), "ci", "Create", "role"), None);
        assert_eq!(
            refusals.note(at(-3600), "ci", "Create", "role"),
            Some(1),
            "the clock was set back"
        );
    }
}
