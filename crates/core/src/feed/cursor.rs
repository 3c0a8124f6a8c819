//! [`Feed`]: makes the polls of a node, and applies their answers.

use std::time::Duration;

use super::{
    Answer, BEAT_INTERVAL, Changed, ClockSkew, Found, Freshness, LostHistory, Moment, Position,
    Published, SKEW_UNFIT, ServerId, Tag, answer::Row, fold, primary::Primary,
};
use crate::{Timestamp, root_key::StoredRootKey, store::ChangeObserver};

/// A poll: it reads the head, the beat, the changes after the cursor and the rows that they name,
/// all in one snapshot of the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// Rises with each poll.
    pub number: u64,
    /// When the poll is sent.
    pub sent: Moment,
    /// The last change that was applied. `None` asks for everything.
    pub after: Option<Position>,
}

/// What came of an answer.
#[derive(Debug)]
pub enum Outcome {
    /// Memory was notified of everything that the answer has.
    Applied {
        /// The versions of the root key, if they changed. A node that lacks the newest one cannot
        /// serve.
        root_keys: Option<Vec<StoredRootKey>>,
        /// Whether the database has further changes: poll again at once.
        has_more: bool,
        /// The beat to advance, on the server that answered, if nobody did in time.
        beat: Option<u64>,
    },
    /// The rows do not connect to what was applied: the next poll asks for everything.
    Reload,
    /// The database lost changes that were applied. The node has stopped.
    Lost {
        lost: LostHistory,
        /// Whether the server is proven to be the primary. Only then may the node repair.
        may_repair: bool,
        /// As in [`Self::Applied`].
        beat: Option<u64>,
    },
    /// Nothing was applied.
    Ignored(Ignored),
}

/// Why an answer was ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ignored {
    /// Another poll was sent since; it may have been answered by an earlier snapshot.
    Superseded,
    /// A standby answered.
    Standby,
}

/// Follows the changes of a database.
///
/// One poll is in flight at a time. Memory is notified before the age is published, and the age of
/// a state is that of the poll which read it: the instant before it was sent.
#[derive(Debug)]
pub struct Feed {
    freshness: Freshness,
    /// The last poll; `None` once it was answered.
    asked: Option<Question>,
    number: u64,
    applied: Option<Position>,
    /// The last repair that memory has.
    repaired: Option<Tag>,
    primary: Primary,
    /// When the last proven poll was sent, and the server that proved it.
    fresh_as_of: Option<(Moment, ServerId)>,
    skew: Option<ClockSkew>,
}

impl Feed {
    /// Publishes the age of memory in `freshness`.
    pub fn new(freshness: Freshness) -> Self {
        Self {
            freshness,
            asked: None,
            number: 0,
            applied: None,
            repaired: None,
            primary: Primary::default(),
            fresh_as_of: None,
            skew: None,
        }
    }

    /// The next poll, to be sent now. The answer to an earlier one will be ignored.
    pub fn ask(&mut self, now: Moment) -> Question {
        self.number += 1;
        let question = Question { number: self.number, sent: now, after: self.applied };
        self.asked = Some(question);
        question
    }

    /// The last change that memory has.
    pub fn applied(&self) -> Option<Position> {
        self.applied
    }

    /// This machine's clock, compared with the database's by the last answer.
    pub fn skew(&self) -> Option<ClockSkew> {
        self.skew
    }

    /// Asks for everything at the next poll, for example after a repair by this node.
    pub fn reload(&mut self) {
        self.applied = None;
        self.asked = None;
    }

    /// Applies the answer to a poll, which arrived at `now`.
    pub fn apply(
        &mut self,
        number: u64,
        answer: Answer,
        now: Moment,
        memory: &dyn ChangeObserver,
    ) -> Outcome {
        let Some(asked) = self.asked.take_if(|asked| asked.number == number) else {
            return Outcome::Ignored(Ignored::Superseded);
        };
        if !answer.is_primary {
            return Outcome::Ignored(Ignored::Standby);
        }
        let Answer { server, is_primary: _, at, head, repaired, beat, found } = answer;
        self.skew = Some(ClockSkew::of(asked.sent, now, at));
        let next_beat = is_due(beat.at, at).then_some(beat.number);
        self.primary.note(server, asked.sent, head.sequence, beat);
        let (changes, root_keys, applied) = match found {
            Found::All { keys, signing_keys, root_keys } => {
                // Another server may lack what memory has, and is not proven yet.
                self.fresh_as_of = self.fresh_as_of.filter(|(_, proven_by)| *proven_by == server);
                self.publish();
                (fold::everything(&keys, signing_keys), Some(root_keys), head)
            }
            Found::Changes { at_cursor, oldest, rows, named } => {
                let Some(ours) = asked.after else { return Outcome::Reload };
                match Connection::of(ours, head, at_cursor, oldest, &rows) {
                    Connection::Lost => return self.lose(ours, head, next_beat),
                    Connection::None => {
                        self.applied = None;
                        return Outcome::Reload;
                    }
                    Connection::Extends(applied) => {
                        (fold::changes(&rows, &named), named.root_keys, applied)
                    }
                }
            }
        };
        if !changes.is_empty() {
            memory.observe(&changes);
        }
        self.applied = Some(applied);
        let has_more = applied.sequence < head.sequence;
        if !has_more {
            self.repaired = repaired;
        }
        if let Some(proven) = self.primary.proven(applied.sequence) {
            self.fresh_as_of = Some((proven, server));
        }
        self.publish();
        Outcome::Applied { root_keys, has_more, beat: next_beat }
    }

    fn publish(&self) {
        let skew = self.skew.map(ClockSkew::at_least).filter(|skew| *skew > SKEW_UNFIT);
        self.freshness.publish(match (skew, self.fresh_as_of) {
            (Some(skew), _) => Published::ClockSkew(skew),
            (None, Some((moment, _))) => Published::FreshAsOf(moment),
            (None, None) => Published::Starting,
        });
    }

    /// Stops. A later answer can show that the server was a former primary, which lacks what the
    /// present one has; so nothing is discarded, and nothing is repaired before the server proved
    /// to be the primary.
    fn lose(&mut self, ours: Position, theirs: Position, beat: Option<u64>) -> Outcome {
        self.freshness.publish(Published::HistoryLost);
        let lost = LostHistory { ours, theirs, repaired: self.repaired };
        Outcome::Lost { lost, may_repair: self.primary.is_proven(), beat }
    }
}

fn is_due(beat: Timestamp, now: Timestamp) -> bool {
    let age = now.as_micros().saturating_sub(beat.as_micros());
    // Also if the database's clock was set back.
    age < 0 || Duration::from_micros(age.unsigned_abs()) >= BEAT_INTERVAL
}

/// How an answer connects to what was applied.
enum Connection {
    /// It has the change that was applied last, and goes on from there to here.
    Extends(Position),
    /// It lacks that change.
    Lost,
    /// It cannot be told from the rows, or they are not enough.
    None,
}

impl Connection {
    fn of(
        ours: Position,
        head: Position,
        at_cursor: Option<Tag>,
        oldest: u64,
        rows: &[Row],
    ) -> Self {
        let at_cursor = if ours == Position::START { Some(ours.tag) } else { at_cursor };
        if head.sequence < ours.sequence || at_cursor.is_some_and(|tag| tag != ours.tag) {
            return Self::Lost;
        }
        if at_cursor.is_none() {
            // The newest row is always kept.
            return if ours.sequence >= oldest { Self::Lost } else { Self::None };
        }
        let numbers = rows.iter().map(|row| row.position.sequence);
        if !numbers.eq((ours.sequence + 1..).take(rows.len()))
            || rows.iter().any(|row| row.changed == Changed::Everything)
        {
            return Self::None;
        }
        let last = rows.last().map_or(ours, |row| row.position);
        // An answer without rows ends at the cursor.
        if rows.is_empty() && head != ours { Self::None } else { Self::Extends(last) }
    }
}
