//! [`Primary`]: when an answer of a server that was still the primary was applied.

use std::collections::VecDeque;

use super::{Beat, Moment, ServerId};

/// The beats after the one that a poll saw, until a standby has acknowledged the server after the
/// poll.
///
/// One is not enough. The next beat may have been acknowledged before the poll's snapshot, and
/// become visible only after it: a transaction is invisible while its server process is stalled.
/// The beat after that locked the row later than the poll saw it.
const BEATS: u64 = 2;

/// Polls that are remembered while none can be proven.
const MAX_WAITING: usize = 16;

/// Polls that were answered by one server, and when the last one was sent that is proven to be
/// answered by the primary.
///
/// A partitioned server that was the primary goes on answering. But with synchronous replication
/// it commits nothing, so its beats end.
#[derive(Debug, Default)]
pub(super) struct Primary {
    server: Option<ServerId>,
    /// The last poll that saw each beat, in the order of the beats.
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    sent: Moment,
    /// The last change that the poll saw.
    head: u64,
    beat: u64,
}

impl Primary {
    /// Notes the answer to a poll. Polls of another server count for nothing: a beat that another
    /// server makes says nothing about the one that answered them.
    pub(super) fn note(&mut self, server: ServerId, sent: Moment, head: u64, beat: Beat) {
        let goes_on = self.waiting.back().is_none_or(|last| last.beat <= beat.number);
        if self.server != Some(server) || !goes_on {
            self.server = Some(server);
            self.waiting.clear();
        }
        if self.waiting.back().is_some_and(|last| last.beat == beat.number) {
            self.waiting.pop_back();
        }
        if self.waiting.len() == MAX_WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back(Waiting { sent, head, beat: beat.number });
    }

    /// When the last poll was sent that is proven, and whose changes up to `applied` are all it
    /// saw.
    pub(super) fn proven(&mut self, applied: u64) -> Option<Moment> {
        let newest = self.waiting.back()?.beat;
        let mut proven = None;
        while let Some(first) = self.waiting.front()
            && first.beat.saturating_add(BEATS) <= newest
            && first.head <= applied
        {
            proven = Some(first.sent);
            self.waiting.pop_front();
        }
        proven
    }

    /// Whether the server was the primary after the first of its polls that are remembered.
    pub(super) fn is_proven(&self) -> bool {
        match (self.waiting.front(), self.waiting.back()) {
            (Some(first), Some(last)) => first.beat.saturating_add(BEATS) <= last.beat,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Timestamp;

    const FORMER: ServerId = ServerId([1; 16]);
    const LATER: ServerId = ServerId([2; 16]);

    fn moment(seconds: u64) -> Moment {
        let wall = Timestamp::from_seconds(1_767_225_600).after(Duration::from_secs(seconds));
        Moment { since_boot: Duration::from_secs(seconds), wall }
    }

    fn note(primary: &mut Primary, server: ServerId, second: u64, beat: u64) -> Option<Moment> {
        primary.note(server, moment(second), second, Beat { number: beat, at: Timestamp::MIN });
        primary.proven(second)
    }

    #[test]
    fn the_second_later_beat_proves_a_poll() {
        let mut primary = Primary::default();
        for (second, beat, proven) in
            [(1, 7, None), (2, 7, None), (3, 8, None), (4, 9, Some(2)), (5, 12, Some(4))]
        {
            assert_eq!(note(&mut primary, FORMER, second, beat), proven.map(moment), "{second}");
        }
    }

    /// The server that made the beats may itself be a former primary by the time of the poll.
    #[test]
    fn beats_of_another_server_prove_nothing() {
        let mut primary = Primary::default();
        assert_eq!(note(&mut primary, FORMER, 1, 7), None);
        assert_eq!(note(&mut primary, LATER, 2, 9), None);
        assert_eq!(note(&mut primary, FORMER, 3, 11), None);
        assert_eq!(note(&mut primary, FORMER, 4, 13), Some(moment(3)));
    }

    #[test]
    fn an_unapplied_poll_is_not_proven() {
        let mut primary = Primary::default();
        let beat = |number| Beat { number, at: Timestamp::MIN };
        primary.note(FORMER, moment(1), 100, beat(7));
        primary.note(FORMER, moment(2), 100, beat(9));
        assert_eq!(primary.proven(99), None);
        assert_eq!(primary.proven(100), Some(moment(1)));
    }

    #[test]
    fn few_polls_are_remembered() {
        let mut primary = Primary::default();
        for second in 0..1000 {
            primary.note(
                FORMER,
                moment(second),
                u64::MAX,
                Beat { number: second, at: Timestamp::MIN },
            );
            assert_eq!(primary.proven(0), None);
        }
        assert_eq!(primary.waiting.len(), MAX_WAITING);
    }
}
