//! A model of a primary database with a standby: transactions, visibility, replication, failover.

use std::collections::{BTreeMap, VecDeque};

use gatekey_core::{
    ApiKey, KeyId, Timestamp,
    api_key::Switch,
    feed::{
        Answer, Beat, Changed, Found, KeyState, LostHistory, Named, Position, Question, RepairStep,
        Revocation, Row, ServerId, Tag,
    },
    token::DeniedToken,
};
use gatekey_credentials::ClientId;

use crate::{clock, random::Random, world::Micros};

/// Rows that an answer has at most.
const PAGE: usize = 4;
/// How long rows of changes are kept; an hour in reality.
const KEPT: Micros = 12_000_000;

/// What one server shows to a transaction that begins now.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) keys: BTreeMap<ClientId, KeyState>,
    pub(crate) rows: BTreeMap<u64, (Row, Micros)>,
    pub(crate) head: Position,
    pub(crate) repaired: Option<Tag>,
    pub(crate) beat: (u64, Micros),
}

impl Default for State {
    fn default() -> Self {
        Self {
            keys: BTreeMap::new(),
            rows: BTreeMap::new(),
            head: Position::START,
            repaired: None,
            beat: (0, 0),
        }
    }
}

/// A committed transaction, as it is written to the log.
#[derive(Clone)]
pub(crate) enum Record {
    Change { row: Row, at: Micros, client_id: ClientId, key: Option<Box<KeyState>> },
    Repair { row: Row, at: Micros, keys: BTreeMap<ClientId, KeyState> },
    Beat { number: u64, at: Micros },
}

impl State {
    fn apply(&mut self, record: &Record) {
        match record {
            Record::Change { row, at, client_id, key } => {
                match key {
                    Some(key) => self.keys.insert(client_id.clone(), (**key).clone()),
                    None => self.keys.remove(client_id),
                };
                self.add(row, *at);
            }
            Record::Repair { row, at, keys } => {
                self.keys.clone_from(keys);
                self.repaired = Some(row.position.tag);
                self.add(row, *at);
            }
            Record::Beat { number, at } => self.beat = (*number, *at),
        }
    }

    fn add(&mut self, row: &Row, at: Micros) {
        if self.head.sequence < row.position.sequence {
            self.head = row.position;
        }
        self.rows.insert(row.position.sequence, (row.clone(), at));
    }

    fn oldest(&self, now: Micros) -> u64 {
        let kept = self.rows.iter().find(|(_, (_, at))| at + KEPT > now);
        kept.map_or(self.head.sequence, |(sequence, _)| *sequence)
    }

    fn tag(&self, sequence: u64) -> Option<Tag> {
        self.rows.get(&sequence).map(|(row, _)| row.position.tag)
    }
}

/// A change that a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Operation {
    Create(Box<ApiKey>),
    Disable,
    Delete,
    RaiseEpoch,
    Deny(String),
}

/// A transaction of a node.
#[derive(Debug, Clone)]
pub(crate) enum Work {
    Write { client_id: ClientId, key_id: Option<KeyId>, operation: Operation },
    Beat { from: u64 },
    Repair { lost: LostHistory, revoked: BTreeMap<KeyId, (ClientId, Revocation)> },
}

pub(crate) struct Transaction {
    pub(crate) node: usize,
    pub(crate) number: u64,
    pub(crate) work: Work,
    /// Its number, if it draws one before it has the lock.
    drawn: Option<u64>,
}

/// A commit that waits to become visible.
struct Waiting {
    transaction: Transaction,
    record: Record,
    length: usize,
}

pub(crate) struct Server {
    pub(crate) run: u64,
    pub(crate) is_alive: bool,
    pub(crate) is_primary: bool,
    log: Vec<Record>,
    /// Whether a standby acknowledges that the model does not have.
    pub(crate) has_another_standby: bool,
    /// The length of the log that the standby acknowledged.
    pub(crate) acknowledged: usize,
    pub(crate) state: State,
    locks: [VecDeque<Transaction>; 2],
    waiting: BTreeMap<u64, Waiting>,
    drawn: u64,
}

/// What the model leaves out, to see that the checker notices.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Sabotage {
    #[default]
    None,
    /// Changes are numbered when they begin, not under the lock of the one before.
    Lock,
    /// Any beat counts as proof.
    Beats,
    /// One beat counts as two.
    SecondBeat,
    /// Every history looks like the node's.
    Tags,
    /// A request is refused without a catch-up.
    CatchUp,
    /// A request is refused even if the catch-up failed.
    CatchUpInTime,
}

impl Server {
    pub(crate) fn new(run: u64, is_primary: bool) -> Self {
        Self {
            run,
            is_alive: true,
            is_primary,
            has_another_standby: false,
            log: Vec::new(),
            acknowledged: 0,
            state: State::default(),
            locks: Default::default(),
            waiting: BTreeMap::new(),
            drawn: 0,
        }
    }

    pub(crate) fn written(&self) -> usize {
        self.log.len()
    }

    /// Receives the log of the primary.
    pub(crate) fn follow(&mut self, primary: &Self, length: usize) {
        let length = length.min(primary.log.len());
        if self.log.len() < length {
            self.log.extend_from_slice(&primary.log[self.log.len()..length]);
            self.replay();
        }
    }

    /// Becomes a standby of another server.
    pub(crate) fn rejoin(&mut self, run: u64, primary: &Self) {
        *self = Self::new(run, false);
        self.log.clone_from(&primary.log);
        self.replay();
    }

    /// Starts again, or as the primary. Everything written is visible, replicated or not.
    pub(crate) fn start(&mut self, run: u64, is_primary: bool) {
        let log = std::mem::take(&mut self.log);
        let acknowledged = self.acknowledged;
        *self = Self::new(run, is_primary);
        self.acknowledged = acknowledged.min(log.len());
        self.log = log;
        self.replay();
    }

    fn replay(&mut self) {
        self.state = State::default();
        for record in &self.log {
            self.state.apply(record);
        }
        self.drawn = self.state.head.sequence;
    }

    /// Begins a transaction. Returns the one to commit next, if it has its lock.
    pub(crate) fn begin(
        &mut self,
        mut transaction: Transaction,
        sabotage: Sabotage,
    ) -> Option<u64> {
        let number = transaction.number;
        let is_beat = matches!(transaction.work, Work::Beat { .. });
        if sabotage == Sabotage::Lock && !is_beat {
            self.drawn = self.drawn.max(self.state.head.sequence) + 1;
            transaction.drawn = Some(self.drawn);
            self.locks[0].push_back(transaction);
            return Some(number);
        }
        let lock = &mut self.locks[usize::from(is_beat)];
        lock.push_back(transaction);
        (lock.len() == 1).then_some(number)
    }

    /// The node that holds a lock with a transaction.
    pub(crate) fn holder(&self, number: u64) -> Option<usize> {
        let holds = |transaction: &&Transaction| transaction.number == number;
        self.locks.iter().flatten().find(holds).map(|transaction| transaction.node)
    }

    /// Ends a transaction that holds a lock, and returns the next one to commit.
    fn release(&mut self, number: u64) -> (Option<Transaction>, Option<u64>) {
        for lock in &mut self.locks {
            if let Some(place) = lock.iter().position(|held| held.number == number) {
                let ended = lock.remove(place);
                let next = lock.front().filter(|next| place == 0 && next.drawn.is_none());
                return (ended, next.map(|next| next.number));
            }
        }
        (None, None)
    }

    /// Ends a transaction without a commit.
    pub(crate) fn abort(&mut self, number: u64) -> (Option<Transaction>, Option<u64>) {
        self.release(number)
    }

    /// Writes the commit of a transaction that has its lock.
    pub(crate) fn commit(&mut self, number: u64, now: Micros, random: &mut Random) -> Option<bool> {
        let place = |lock: &VecDeque<Transaction>| lock.iter().position(|one| one.number == number);
        let lock = self.locks.iter().position(|lock| place(lock).is_some())?;
        let transaction = &self.locks[lock][place(&self.locks[lock])?];
        let Some(record) = self.record(transaction, now, random) else { return Some(false) };
        self.log.push(record.clone());
        let transaction = Transaction {
            node: transaction.node,
            number,
            work: transaction.work.clone(),
            drawn: transaction.drawn,
        };
        self.waiting.insert(number, Waiting { transaction, record, length: self.log.len() });
        Some(true)
    }

    /// The transactions that the standby acknowledged.
    pub(crate) fn replicated(&self) -> Vec<u64> {
        let is_done = |(_, waiting): &(&u64, &Waiting)| waiting.length <= self.acknowledged;
        self.waiting.iter().filter(is_done).map(|(number, _)| *number).collect()
    }

    /// Shows a commit to others, and releases its lock. Returns the transaction with the position
    /// of its change, and the next one to commit.
    pub(crate) fn show(
        &mut self,
        number: u64,
    ) -> Option<(Transaction, Option<Position>, Option<u64>)> {
        let Waiting { transaction, record, .. } = self.waiting.remove(&number)?;
        self.state.apply(&record);
        let position = match &record {
            Record::Change { row, .. } | Record::Repair { row, .. } => Some(row.position),
            Record::Beat { .. } => None,
        };
        let (_, next) = self.release(number);
        Some((transaction, position, next))
    }

    fn record(
        &self,
        transaction: &Transaction,
        now: Micros,
        random: &mut Random,
    ) -> Option<Record> {
        let sequence = transaction.drawn.unwrap_or(self.state.head.sequence + 1);
        let position = Position { sequence, tag: Tag(random.bytes()) };
        match &transaction.work {
            Work::Beat { from } => {
                let is_current = self.state.beat.0 == *from;
                is_current.then_some(Record::Beat { number: from + 1, at: now })
            }
            Work::Write { client_id, key_id, operation } => {
                let earlier = self.state.keys.get(client_id);
                let key_id = match operation {
                    Operation::Create(key) if earlier.is_none() => key.key_id,
                    // On the branch of a former primary, it can be another key.
                    _ => (*key_id)
                        .filter(|id| earlier.is_some_and(|earlier| earlier.key.key_id == *id))?,
                };
                let key = change(earlier, operation, clock::wall(now)).map(Box::new);
                let changed = Changed::Key { client_id: client_id.clone(), key_id };
                let row = Row { position, changed };
                Some(Record::Change { row, at: now, client_id: client_id.clone(), key })
            }
            Work::Repair { lost, revoked } => {
                let at_ours = self.state.tag(lost.ours.sequence);
                let repair = lost.repair(at_ours, self.state.repaired, revoked.clone())?;
                let at = clock::wall(now);
                let least = u64::try_from(at.as_micros()).expect("after 1970");
                let mut keys = self.state.keys.clone();
                keys.retain(|_, state| match repair.step(&state.key, least, at) {
                    RepairStep::Leave => true,
                    RepairStep::Delete => false,
                    RepairStep::Change(change) => {
                        if change.epoch_raised {
                            state.denials.clear();
                        }
                        state.key = change.key;
                        true
                    }
                });
                if keys == self.state.keys {
                    return None;
                }
                Some(Record::Repair {
                    row: Row { position, changed: Changed::Everything },
                    at: now,
                    keys,
                })
            }
        }
    }

    /// What a poll reads in one snapshot.
    pub(crate) fn answer(&self, question: &Question, now: Micros, sabotage: Sabotage) -> Answer {
        let state = &self.state;
        let found = match question.after {
            None => Found::All {
                keys: state.keys.values().cloned().collect(),
                signing_keys: Vec::new(),
                root_keys: Vec::new(),
            },
            Some(after) => {
                let oldest = state.oldest(now);
                let at_cursor = state.tag(after.sequence).filter(|_| after.sequence >= oldest);
                let later = state.rows.range(after.sequence.max(oldest - oldest.min(1)) + 1..);
                let rows: Vec<_> = later.take(PAGE).map(|(_, (row, _))| row.clone()).collect();
                let mut named = Named::default();
                for row in &rows {
                    if let Changed::Key { client_id, .. } = &row.changed
                        && let Some(key) = state.keys.get(client_id)
                    {
                        named.keys.insert(client_id.clone(), key.clone());
                    }
                }
                let at_cursor =
                    if sabotage == Sabotage::Tags { Some(after.tag) } else { at_cursor };
                Found::Changes { at_cursor, oldest, rows, named }
            }
        };
        let (number, at) = state.beat;
        let number = match sabotage {
            Sabotage::Beats => question.number * 2,
            Sabotage::SecondBeat => number * 2,
            _ => number,
        };
        let mut server = [0; 16];
        server[..8].copy_from_slice(&self.run.to_be_bytes());
        Answer {
            server: ServerId(server),
            is_primary: self.is_primary,
            at: clock::wall(now),
            head: state.head,
            repaired: state.repaired,
            beat: Beat { number, at: clock::wall(at) },
            found,
        }
    }

    pub(crate) fn transaction(node: usize, number: u64, work: Work) -> Transaction {
        Transaction { node, number, work, drawn: None }
    }
}

/// Applies an operation with the rules of the core.
fn change(earlier: Option<&KeyState>, operation: &Operation, at: Timestamp) -> Option<KeyState> {
    let (key, denials) = match (operation, earlier.cloned()) {
        (Operation::Create(key), _) => ((**key).clone(), Vec::new()),
        (Operation::Delete, _) | (_, None) => return None,
        (Operation::Disable, Some(state)) => {
            (state.key.switch(Switch::Disable, at).key, Vec::new())
        }
        (Operation::RaiseEpoch, Some(state)) => (state.key.revoke_tokens(at).key, Vec::new()),
        (Operation::Deny(jti), Some(mut state)) => {
            let key_id = state.key.key_id;
            let expires_at = Timestamp::MAX;
            state.denials.push(DeniedToken { jti: jti.clone(), key_id, expires_at });
            (state.key, state.denials)
        }
    };
    Some(KeyState { key, denials })
}
