//! [`Recount`]: computes the digest again from stored rows, and [`SealReport`], its result.

use std::{collections::HashMap, fmt};

use gatekey_credentials::{ClientId, Role};

use super::{Digest, Seal, SealKeys, SealedRow, State, Table};
use crate::{
    ApiKey, Caller, Env, Timestamp,
    ledger::{Action, LedgerBase, LedgerEntry, LedgerHead, NewEntry},
};

/// The most keys that a report names in one place.
const NAMED: usize = 5;

/// Verifies the seals of rows while they are read, and computes their digest.
pub struct Recount<'k> {
    keys: &'k SealKeys,
    /// For the content of rows.
    buffer: Vec<u8>,
    digest: Digest,
    refused: Named,
    /// Denials and signing keys whose seals do not match.
    mismatched: [u64; Table::ALL.len()],
}

impl<'k> Recount<'k> {
    pub fn new(keys: &'k SealKeys) -> Self {
        let digest = Digest::default();
        Self {
            keys,
            buffer: Vec::new(),
            digest,
            refused: Named::default(),
            mismatched: [0; Table::ALL.len()],
        }
    }

    /// Counts a row with its stored seal. Returns the seal if they match: a row that does not must
    /// not take effect.
    pub fn add(&mut self, row: SealedRow<'_>, stored: Option<&[u8]>) -> Option<Seal> {
        let seal = stored.and_then(Seal::from_bytes);
        if let Some(seal) = &seal {
            self.digest.add(self.keys, row.table(), seal);
        }
        let matching = seal.filter(|seal| row.verify_in(&mut self.buffer, self.keys, seal));
        match row {
            _ if matching.is_some() => {}
            SealedRow::ApiKey(key) => self.refused.add(key.client_id.as_str()),
            SealedRow::Denial(_) | SealedRow::SigningKey(_) => {
                self.mismatched[usize::from(row.table().number()) - 1] += 1;
            }
        }
        matching
    }

    /// The digest of the rows so far.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Compares the rows with the stored state, and the ledger's base and head.
    pub fn finish(self, state: &State, base: LedgerBase, head: LedgerHead) -> SealReport {
        let mut differences = Vec::new();
        if state.base != base {
            differences.push(StateDifference::Base {
                recorded: state.base.sequence(),
                found: base.sequence(),
            });
        }
        if state.head != head {
            differences.push(StateDifference::Head {
                recorded: state.head.sequence,
                found: head.sequence,
            });
        }
        for table in Table::ALL {
            let mismatched = self.mismatched[usize::from(table.number()) - 1];
            if mismatched > 0 {
                differences.push(StateDifference::Seals { table, rows: mismatched });
            }
            if !self.digest.is_same(&state.digest, table) {
                let (recorded, found) = (state.digest.rows(table), self.digest.rows(table));
                differences.push(StateDifference::Rows { table, recorded, found });
            }
        }
        SealReport { refused: self.refused, differences, missing: None, earlier: None }
    }
}

/// A difference between the stored rows and the state. A store with one is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateDifference {
    /// Rows were added, removed or replaced by other sealed ones.
    Rows { table: Table, recorded: u64, found: u64 },
    /// Denials or signing keys do not match their seals.
    Seals { table: Table, rows: u64 },
    /// The ledger and the state have different heads.
    Head { recorded: i64, found: i64 },
    /// The ledger begins where nothing was archived, or not where it was.
    Base { recorded: i64, found: i64 },
}

impl fmt::Display for StateDifference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rows { table, recorded, found } if recorded == found => {
                write!(formatter, "{} were replaced by earlier versions of them", table.plural())
            }
            Self::Rows { table, recorded, found } => {
                write!(formatter, "{found} sealed {} instead of {recorded}", table.plural())
            }
            Self::Seals { table, rows } => {
                write!(formatter, "{rows} of the {} were changed", table.plural())
            }
            Self::Head { recorded, found } => write!(
                formatter,
                "the ledger ends at entry {found}, but the state belongs to entry {recorded}"
            ),
            Self::Base { recorded, found } if recorded == found => {
                write!(formatter, "entry {found}, after which the ledger begins, was changed")
            }
            Self::Base { recorded, found } => write!(
                formatter,
                "the ledger begins after entry {found}, but was archived up to entry {recorded}"
            ),
        }
    }
}

impl Table {
    fn plural(self) -> &'static str {
        match self {
            Self::ApiKeys => "API keys",
            Self::Denials => "revoked tokens",
            Self::SigningKeys => "signing keys",
        }
    }
}

/// Names, of which only the first are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Named {
    first: Vec<String>,
    count: u64,
}

impl Named {
    fn add(&mut self, name: &str) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(name.to_owned());
        }
    }

    fn of(mut names: Vec<&str>) -> Option<Self> {
        names.sort_unstable();
        let mut named = Self::default();
        for name in names {
            named.add(name);
        }
        (named.count > 0).then_some(named)
    }
}

impl fmt::Display for Named {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.first.join(", "))?;
        match self.count - self.first.len() as u64 {
            0 => Ok(()),
            more => write!(formatter, " and {more} more"),
        }
    }
}

/// The result of verifying every seal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealReport {
    /// Keys that do not match their seals, and are therefore refused.
    refused: Named,
    differences: Vec<StateDifference>,
    /// Keys that the ledger created, but the store does not have.
    missing: Option<Named>,
    /// Keys that lack their last change in the ledger.
    earlier: Option<Named>,
}

impl SealReport {
    /// Whether the API keys as a set differ from the state, so that [`Self::name_keys`] can tell
    /// which.
    pub fn keys_differ(&self) -> bool {
        let of_keys = |difference: &StateDifference| {
            matches!(difference, StateDifference::Rows { table: Table::ApiKeys, .. })
        };
        self.differences.iter().any(of_keys)
    }

    /// How the beginning of the ledger differs from the state.
    pub fn moved_base(&self) -> Option<String> {
        let is_base =
            |difference: &&StateDifference| matches!(difference, StateDifference::Base { .. });
        self.differences.iter().find(is_base)?;
        self.mismatch()
    }

    /// Names the keys that the ledger knows otherwise. `found` has the last change of each key.
    pub fn name_keys(&mut self, history: &History, found: &HashMap<ClientId, Timestamp>) {
        let (mut missing, mut earlier) = (Vec::new(), Vec::new());
        for (client_id, at) in &history.changed {
            match client_id.parse::<ClientId>().ok().and_then(|id| found.get(&id)) {
                None => missing.push(client_id.as_str()),
                Some(updated_at) if updated_at < at => earlier.push(client_id.as_str()),
                Some(_) => {}
            }
        }
        self.missing = Named::of(missing);
        self.earlier = Named::of(earlier);
    }

    /// The keys that are refused, for the log.
    pub fn refused(&self) -> Option<String> {
        (self.refused.count > 0).then(|| self.refused.to_string())
    }

    /// Why the store must not be served; `None` if nothing is missing or was put back.
    pub fn mismatch(&self) -> Option<String> {
        if self.differences.is_empty() {
            return None;
        }
        let mut parts: Vec<_> = self.differences.iter().map(ToString::to_string).collect();
        parts.extend(self.missing.iter().map(|names| format!("missing: {names}")));
        parts.extend(self.earlier.iter().map(|names| format!("without later changes: {names}")));
        Some(format!("rows were changed without the root key: {}", parts.join("; ")))
    }

    /// Everything that is wrong; empty if every seal matches.
    pub fn faults(&self) -> Vec<String> {
        let refused = self.refused().map(|names| {
            format!(
                "API keys were changed without the root key and are refused: {names}; delete and \
                 create them again"
            )
        });
        self.mismatch().into_iter().chain(refused).collect()
    }
}

/// The number of rows that were sealed when a store was sealed for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed {
    pub api_keys: u64,
    pub denials: u64,
    pub signing_keys: u64,
}

impl Sealed {
    /// The rows of a digest.
    pub fn of(digest: &Digest) -> Self {
        Self {
            api_keys: digest.rows(Table::ApiKeys),
            denials: digest.rows(Table::Denials),
            signing_keys: digest.rows(Table::SigningKeys),
        }
    }

    fn action(self) -> Action<'static> {
        let Self { api_keys, denials, signing_keys } = self;
        Action::StoreSeal { api_keys, denials, signing_keys }
    }

    /// The ledger entry of sealing a store at `env`'s time, without the numbers.
    pub fn new_entry(env: &Env, caller: &Caller) -> NewEntry {
        let none = Self { api_keys: 0, denials: 0, signing_keys: 0 };
        NewEntry::new(env.now(), caller, none.action(), "store")
    }

    /// Completes the ledger entry, with the numbers of rows.
    pub fn entry(self, entry: &NewEntry) -> NewEntry {
        NewEntry { detail: self.action().detail(), ..entry.clone() }
    }
}

/// What the ledger records of each key, to find keys that are not as it says.
#[derive(Debug, Default)]
pub struct History {
    /// The last change.
    changed: HashMap<String, Timestamp>,
    granted: HashMap<String, Granted>,
}

/// The values of an entry's detail.
#[derive(Debug)]
struct Granted {
    key_id: String,
    role: String,
}

impl History {
    /// Reads the next entry.
    pub fn read(&mut self, entry: &LedgerEntry) {
        let entry = &entry.entry;
        if entry.action == Action::ApiKeyDelete.name() {
            self.changed.remove(&entry.target);
            self.granted.remove(&entry.target);
        } else if Action::changes_key(&entry.action) {
            self.changed.insert(entry.target.clone(), entry.at);
            self.grant(&entry.target, &entry.detail);
        }
    }

    /// Only a creation names the key's id; a change of the role names the role.
    fn grant(&mut self, client_id: &str, detail: &str) {
        let value = |name: &str| detail.split(' ').find_map(|pair| pair.strip_prefix(name));
        match (value("key_id="), value("role=")) {
            (Some(key_id), Some(role)) => {
                let granted = Granted { key_id: key_id.to_owned(), role: role.to_owned() };
                self.granted.insert(client_id.to_owned(), granted);
            }
            (None, Some(role)) => {
                if let Some(granted) = self.granted.get_mut(client_id) {
                    role.clone_into(&mut granted.role);
                }
            }
            (_, None) => {}
        }
    }

    /// Whether a key has the id and the role that the ledger says.
    pub fn agrees_with(&self, key: &ApiKey) -> bool {
        self.granted.get(key.client_id.as_str()).is_some_and(|granted| {
            granted.key_id == key.key_id.to_string()
                && granted.role == key.role().map_or("none", Role::as_str)
        })
    }
}
