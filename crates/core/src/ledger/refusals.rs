//! [`Refusals`]: limits the entries of repeated refusals.
//!
//! The ledger is append-only, so a refused caller must not be able to fill it: the same refusal
//! gets at most one entry a minute, and an actor at most `MAX_ENTRIES`.

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

/// Maximum number of entries of one actor in a minute, whatever it is refused.
const MAX_ENTRIES: u32 = 30;

/// The refusals of the last minute.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<Recent>);

#[derive(Debug, Default)]
struct Recent {
    refusals: HashMap<[String; 3], Repeated>,
    actors: HashMap<String, Entries>,
}

#[derive(Debug)]
struct Repeated {
    recorded_at: Timestamp,
    /// Number of repetitions without an entry.
    unrecorded: u64,
}

/// The entries of an actor.
#[derive(Debug)]
struct Entries {
    /// When the first entry of this minute was made.
    since: Timestamp,
    count: u32,
}

impl Recent {
    /// Removes what is older than a minute; everything, if still too much is left.
    fn purge(&mut self, now: Timestamp) {
        if self.refusals.len() >= REMEMBERED {
            self.refusals.retain(|_, repeated| now < repeated.recorded_at.after(MINUTE));
            if self.refusals.len() >= REMEMBERED {
                self.refusals.clear();
            }
        }
        if self.actors.len() >= REMEMBERED {
            self.actors.retain(|_, entries| now < entries.since.after(MINUTE));
            if self.actors.len() >= REMEMBERED {
                self.actors.clear();
            }
        }
    }

    /// Counts an entry of an actor, if it may have another.
    fn count(&mut self, now: Timestamp, actor: &str) -> bool {
        if let Some(entries) = self.actors.get_mut(actor)
            && (entries.since..entries.since.after(MINUTE)).contains(&now)
        {
            entries.count = entries.count.saturating_add(1);
            return entries.count <= MAX_ENTRIES;
        }
        self.actors.insert(actor.to_owned(), Entries { since: now, count: 1 });
        true
    }
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
        recent.purge(now);
        let key = [actor, target, reason].map(str::to_owned);
        if let Some(repeated) = recent.refusals.get_mut(&key)
            // If the clock was set back, the refusal is recorded.
            && (repeated.recorded_at..repeated.recorded_at.after(MINUTE)).contains(&now)
        {
            repeated.unrecorded += 1;
            return None;
        }
        if !recent.count(now, actor) {
            return None;
        }
        let last = recent.refusals.insert(key, Repeated { recorded_at: now, unrecorded: 0 });
        Some(last.map_or(0, |repeated| repeated.unrecorded))
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

    #[test]
    fn an_actors_refusals_are_recorded_within_a_limit() {
        let refusals = Refusals::default();
        let at = |seconds: i64| Timestamp::from_seconds(1_000_000 + seconds);
        let recorded = |seconds: i64, actor: &str| {
            let targets = (0..1000).map(|target| target.to_string());
            targets.filter(|to| refusals.note(at(seconds), actor, to, "role").is_some()).count()
        };
        assert_eq!(recorded(0, "ci"), 30);
        assert_eq!(recorded(1, "ci"), 0);
        assert_eq!(recorded(1, "other"), 30);
        assert_eq!(recorded(61, "ci"), 30);
    }
}
