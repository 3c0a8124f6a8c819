//! [`Refusals`]: one ledger entry a minute for the same refusal, however often it is asked for.
//!
//! The ledger is append-only, so a refused caller must not be able to fill it.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::Timestamp;

const MINUTE: Duration = Duration::from_mins(1);
/// Refusals that are told apart within a minute; beyond them each is entered anew.
const REMEMBERED: usize = 10_000;

/// What was refused within the last minute.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<HashMap<[String; 3], Repeated>>);

#[derive(Debug)]
struct Repeated {
    entered_at: Timestamp,
    since: u64,
}

impl Refusals {
    /// Whether a refusal wants an entry, and if so how many like it had none since the last.
    pub(crate) fn note(&self, now: Timestamp, actor: &str, target: &str, reason: &str) -> Option<u64> {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() >= REMEMBERED {
            recent.retain(|_, repeated| now < repeated.entered_at.after(MINUTE));
            if recent.len() >= REMEMBERED {
                recent.clear();
            }
        }
        let key = [actor, target, reason].map(str::to_owned);
        match recent.get_mut(&key) {
            // A clock that was set back makes no refusal go without an entry for longer than that.
            Some(repeated) if (repeated.entered_at..repeated.entered_at.after(MINUTE)).contains(&now) => {
                repeated.since += 1;
                None
            }
            Some(repeated) => {
                let since = repeated.since;
                *repeated = Repeated { entered_at: now, since: 0 };
                Some(since)
            }
            None => {
                recent.insert(key, Repeated { entered_at: now, since: 0 });
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
        assert_eq!(refusals.note(at(-3600), "ci", "Create", "role"), Some(1), "the clock was set back");
    }
}
