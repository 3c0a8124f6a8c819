//! [`Digest`]: the sum over all seals, and [`State`], which is stored.

use std::fmt;

use super::{
    Seal, SealKey, SealKeys,
    keys::{STATE_NAME, STATE_WITHOUT_BASE},
};
use crate::ledger::{LedgerBase, LedgerHead};

/// A table whose rows have seals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    ApiKeys,
    Denials,
    SigningKeys,
}

impl Table {
    pub const ALL: [Self; 3] = [Self::ApiKeys, Self::Denials, Self::SigningKeys];

    /// Begins the content of the table's rows.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::ApiKeys => 1,
            Self::Denials => 2,
            Self::SigningKeys => 3,
        }
    }

    fn place(self) -> usize {
        usize::from(self.number()) - 1
    }
}

/// The number of a table's rows, and the sum of their terms modulo 2^128.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    rows: u64,
    sum: u128,
}

impl Tally {
    /// The arithmetic wraps: rows that are taken away without having been added only make the
    /// digest wrong, which is what it is for.
    fn add(&mut self, term: u128) {
        self.rows = self.rows.wrapping_add(1);
        self.sum = self.sum.wrapping_add(term);
    }

    fn remove(&mut self, term: u128) {
        self.rows = self.rows.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(term);
    }
}

/// A keyed digest of a set of seals, for each table and each version of the root key.
///
/// It can be updated row by row, in any order: it is a sum of terms, each an encryption of one
/// seal. `Debug` prints only the number of rows: whoever knew the sums could compute terms.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Digest(Vec<OfVersion>);

/// The rows that are sealed under one version. There is none without rows.
#[derive(Clone, Copy, PartialEq, Eq)]
struct OfVersion {
    version: u32,
    tallies: [Tally; Table::ALL.len()],
}

impl Digest {
    /// Adds the seal of a row.
    pub fn add(&mut self, keys: &SealKeys, table: Table, seal: &Seal) {
        // No key for the version: the row is refused when it is loaded.
        if let Some(key) = keys.find(seal.version) {
            self.of(seal.version).tallies[table.place()].add(key.term(seal));
        }
    }

    /// Removes the seal of a row.
    pub fn remove(&mut self, keys: &SealKeys, table: Table, seal: &Seal) {
        if let Some(key) = keys.find(seal.version) {
            self.of(seal.version).tallies[table.place()].remove(key.term(seal));
            let empty = [Tally::default(); Table::ALL.len()];
            self.0.retain(|of| of.tallies != empty);
        }
    }

    /// The number of a table's rows.
    pub fn rows(&self, table: Table) -> u64 {
        self.0.iter().map(|of| of.tallies[table.place()].rows).fold(0, u64::wrapping_add)
    }

    /// The number of rows that are not sealed under that version.
    pub fn rows_except(&self, version: u32) -> u64 {
        let others = self.0.iter().filter(|of| of.version != version);
        others.flat_map(|of| of.tallies).map(|tally| tally.rows).fold(0, u64::wrapping_add)
    }

    /// Whether two digests are of the same rows of a table.
    pub fn is_same(&self, other: &Self, table: Table) -> bool {
        let of_table = |digest: &Self| -> Vec<(u32, Tally)> {
            let tallies = digest.0.iter().map(|of| (of.version, of.tallies[table.place()]));
            tallies.filter(|(_, tally)| *tally != Tally::default()).collect()
        };
        of_table(self) == of_table(other)
    }

    /// The MAC that a ledger entry carries.
    pub fn entry_mac(&self, key: &SealKey) -> [u8; 32] {
        let mut bytes = Vec::new();
        self.write(&mut bytes);
        key.entry_mac(&bytes)
    }

    fn of(&mut self, version: u32) -> &mut OfVersion {
        let place = match self.0.binary_search_by_key(&version, |of| of.version) {
            Ok(place) => place,
            Err(place) => {
                let tallies = [Tally::default(); Table::ALL.len()];
                self.0.insert(place, OfVersion { version, tallies });
                place
            }
        };
        &mut self.0[place]
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        for of in &self.0 {
            bytes.extend(of.version.to_be_bytes());
            for tally in of.tallies {
                bytes.extend(tally.rows.to_be_bytes());
                bytes.extend(tally.sum.to_be_bytes());
            }
        }
    }

    fn read(mut bytes: &[u8]) -> Option<Self> {
        let mut versions = Vec::new();
        while !bytes.is_empty() {
            let (version, rest) = bytes.split_first_chunk::<4>()?;
            bytes = rest;
            let mut tallies = [Tally::default(); Table::ALL.len()];
            for tally in &mut tallies {
                let (rows, rest) = bytes.split_first_chunk::<8>()?;
                let (sum, rest) = rest.split_first_chunk::<16>()?;
                bytes = rest;
                *tally = Tally { rows: u64::from_be_bytes(*rows), sum: u128::from_be_bytes(*sum) };
            }
            versions.push(OfVersion { version: u32::from_be_bytes(*version), tallies });
        }
        let sorted = versions.is_sorted_by(|left, right| left.version < right.version);
        sorted.then_some(Self(versions))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = Table::ALL.map(|table| self.rows(table));
        formatter.debug_tuple("Digest").field(&rows).finish()
    }
}

/// The stored state cannot be decrypted with the newest version of the root key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the state was changed, or belongs to another root key")]
pub struct InvalidState;

/// The digest of all rows, bound to the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The head of the ledger when the digest was last updated.
    pub head: LedgerHead,
    /// Where the ledger begins.
    pub base: LedgerBase,
    pub digest: Digest,
}

impl State {
    /// The state of a store without rows.
    pub fn empty() -> Self {
        Self { head: LedgerHead::EMPTY, base: LedgerBase::EMPTY, digest: Digest::default() }
    }

    /// The stored bytes, encrypted.
    pub fn encrypt(&self, key: &SealKey) -> Vec<u8> {
        key.encrypt(&self.to_bytes())
    }

    /// Decrypts the stored bytes.
    ///
    /// # Errors
    /// When they were changed, or encrypted under another root key.
    pub fn decrypt(key: &SealKey, sealed: &[u8]) -> Result<Self, InvalidState> {
        if let Some(bytes) = key.decrypt(STATE_NAME, sealed) {
            return Self::from_bytes(&bytes).ok_or(InvalidState);
        }
        // From a version that could not archive. The next transaction replaces it.
        let bytes = key.decrypt(STATE_WITHOUT_BASE, sealed).ok_or(InvalidState)?;
        let (head, bytes) = read_head(&bytes).ok_or(InvalidState)?;
        let digest = Digest::read(bytes).ok_or(InvalidState)?;
        Ok(Self { head, base: LedgerBase::EMPTY, digest })
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256);
        for head in [self.head, self.base.head] {
            bytes.extend(head.sequence.to_be_bytes());
            bytes.extend(head.link);
        }
        bytes.extend(self.base.root_key_version.to_be_bytes());
        self.digest.write(&mut bytes);
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (head, bytes) = read_head(bytes)?;
        let (base, bytes) = read_head(bytes)?;
        let (version, bytes) = bytes.split_first_chunk::<4>()?;
        let base = LedgerBase { head: base, root_key_version: u32::from_be_bytes(*version) };
        Some(Self { head, base, digest: Digest::read(bytes)? })
    }
}

fn read_head(bytes: &[u8]) -> Option<(LedgerHead, &[u8])> {
    let (sequence, bytes) = bytes.split_first_chunk::<8>()?;
    let (link, bytes) = bytes.split_first_chunk::<32>()?;
    Some((LedgerHead { sequence: i64::from_be_bytes(*sequence), link: *link }, bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::RootKey;

    fn keys() -> SealKeys {
        let second = SealKey::derive(2, |_| zeroize::Zeroizing::new([2; 32]));
        RootKey::new(&[1; 32]).seal_keys().with_newest(&second)
    }

    fn row() -> impl Strategy<Value = (Table, Seal)> {
        let content = proptest::collection::vec(any::<u8>(), 0..9);
        (0..Table::ALL.len(), 1..3_u32, content).prop_map(|(table, version, content)| {
            (Table::ALL[table], keys().find(version).unwrap().seal(&content))
        })
    }

    fn of(rows: &[(Table, Seal)]) -> Digest {
        let mut digest = Digest::default();
        for (table, seal) in rows {
            digest.add(&keys(), *table, seal);
        }
        digest
    }

    proptest! {
        #[test]
        fn a_digest_depends_on_the_set_only(
            rows in proptest::collection::vec(row(), 0..9),
            extra in row(),
        ) {
            let digest = of(&rows);
            let mut other = of(&rows.iter().rev().copied().collect::<Vec<_>>());
            prop_assert!(digest == other);
            other.add(&keys(), extra.0, &extra.1);
            prop_assert!(digest != other && !digest.is_same(&other, extra.0));
            other.remove(&keys(), extra.0, &extra.1);
            prop_assert!(digest == other);
        }

        #[test]
        fn a_state_survives_a_round_trip(
            rows in proptest::collection::vec(row(), 0..9),
            sequence in 0..i64::MAX,
            place in any::<prop::sample::Index>(),
        ) {
            let head = LedgerHead { sequence, link: [7; 32] };
            let base = LedgerBase { head: LedgerHead { sequence: 3, ..head }, root_key_version: 2 };
            let state = State { head, base, digest: of(&rows) };
            let (keys, mut sealed) = (keys(), state.encrypt(keys().find(1).unwrap()));
            prop_assert_eq!(State::decrypt(keys.find(1).unwrap(), &sealed), Ok(state));
            prop_assert!(State::decrypt(keys.find(2).unwrap(), &sealed).is_err());
            let place = place.index(sealed.len());
            sealed[place] ^= 1;
            prop_assert!(State::decrypt(keys.find(1).unwrap(), &sealed).is_err());
        }

        #[test]
        fn any_state_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Some(state) = State::from_bytes(&bytes) {
                prop_assert_eq!(state.to_bytes(), bytes.clone());
            }
            prop_assert!(State::decrypt(keys().find(1).unwrap(), &bytes).is_err());
            if let Some(seal) = Seal::from_bytes(&bytes) {
                prop_assert_eq!(&seal.to_bytes()[..], &bytes[..]);
            }
        }
    }
}
