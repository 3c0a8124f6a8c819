//! The format of an archive: a file with entries that the stored ledger no longer has.
//!
//! The first line names the format, the second is JSON ([`ArchiveHeader`]). Then each entry is a
//! line of JSON as in an export ([`EntryLine`]).
//!
//! The links of the entries are verified as they are in the ledger, from the link that the header
//! names. A MAC under the newest ledger key covers the header, which has the SHA-256 of all lines
//! after it: an archive cannot be truncated without the root key either.

use std::{
    fmt::Write as _,
    io::{self, BufRead},
};

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use super::{
    BrokenChain, EntryLine, LedgerBase, LedgerEntry, LedgerHead, LedgerKey, LedgerKeys,
    chain::verify_links, head::unhex,
};
use crate::{Timestamp, id::Hex};

/// The first line.
const FORMAT: &str = "gatekey-ledger-archive-1\n";
/// The longest second line, in bytes.
const MAX_HEADER: u64 = 4096;
/// The longest line of an entry, in bytes. An entry that a server writes is far shorter.
const MAX_LINE: u64 = 1024 * 1024;
const HEADER_MAC: &[u8; 40] = b"gatekey ledger archive, header, format 1";
const KEY_CHECK: &[u8; 40] = b"gatekey ledger archive, key check, fmt 1";

/// Why an archive cannot be verified.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("this is not an archive of a Gatekey ledger")]
    NotAnArchive,
    #[error(
        "the archive needs version {0} of the root key, which is not in its file; use a copy of the file that has \
         this version"
    )]
    MissingRootKey(u32),
    #[error("the archive was written under another root key; use that of the server that wrote it")]
    AnotherRootKey,
    /// It is truncated, or was changed.
    #[error("the archive is damaged: {0}")]
    Damaged(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl ArchiveError {
    /// Whether the file itself is damaged, so that it verifies with no key.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::NotAnArchive | Self::Damaged(_))
    }

    fn damaged(reason: impl Into<String>) -> Self {
        Self::Damaged(reason.into())
    }
}

/// The entries after `base`, up to and including `end`. Not empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchivedRange {
    pub base: LedgerBase,
    /// The last entry, which becomes the base of the stored ledger.
    pub end: LedgerBase,
}

impl ArchivedRange {
    /// The sequence number of the first entry.
    pub fn first(&self) -> i64 {
        self.base.sequence() + 1
    }

    /// The sequence number of the last entry.
    pub fn last(&self) -> i64 {
        self.end.sequence()
    }
}

/// The second line of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveHeader {
    pub range: ArchivedRange,
    pub created_at: Timestamp,
    /// The version of the program that wrote it.
    pub written_by: String,
    /// The version of the root key that the header's MAC is made under.
    pub root_key_version: u32,
    /// Identifies the root key, without revealing it. 32 hexadecimal digits.
    root_key_check: String,
    /// The SHA-256 of the lines of all entries. 64 hexadecimal digits.
    sha256: String,
    /// 64 hexadecimal digits.
    mac: String,
}

impl ArchiveHeader {
    /// The first two lines of the file.
    pub fn lines(&self) -> String {
        let json = serde_json::to_string(self).expect("a header can be written as JSON");
        format!("{FORMAT}{json}\n")
    }

    /// Whether `content` is the digest of the entries of this archive.
    pub fn is_of(&self, content: ContentDigest) -> bool {
        self.sha256 == content.finish()
    }

    /// Verifies the MAC over the header.
    ///
    /// # Errors
    /// When the header was changed, or belongs to another root key.
    pub fn verify(&self, keys: &LedgerKeys) -> Result<(), ArchiveError> {
        let missing = ArchiveError::MissingRootKey(self.root_key_version);
        let key = keys.find(self.root_key_version).ok_or(missing)?;
        if self.root_key_check != key_check(key) {
            return Err(ArchiveError::AnotherRootKey);
        }
        let changed = || ArchiveError::damaged("its second line was changed");
        let mac = unhex(&self.mac).ok_or_else(changed)?;
        if Hex(&mac).to_string() != self.mac || !key.is_mac(HEADER_MAC, &self.covered(), &mac) {
            return Err(changed());
        }
        if self.range.first() < 1 || self.range.last() < self.range.first() {
            return Err(changed());
        }
        Ok(())
    }

    /// The bytes that the MAC covers. Each text is prefixed with its length.
    fn covered(&self) -> Vec<u8> {
        let Self {
            range,
            created_at,
            written_by,
            root_key_version,
            root_key_check,
            sha256,
            mac: _,
        } = self;
        let mut bytes = Vec::with_capacity(512);
        for LedgerBase { head, root_key_version } in [range.base, range.end] {
            bytes.extend(head.sequence.to_be_bytes());
            bytes.extend(head.link);
            bytes.extend(root_key_version.to_be_bytes());
        }
        bytes.extend(created_at.as_micros().to_be_bytes());
        bytes.extend(root_key_version.to_be_bytes());
        for text in [written_by, root_key_check, sha256] {
            bytes.extend((text.len() as u64).to_be_bytes());
            bytes.extend(text.as_bytes());
        }
        bytes
    }
}

/// Identifies a key, without revealing it.
fn key_check(key: &LedgerKey) -> String {
    Hex(&key.mac(KEY_CHECK, &[])[..16]).to_string()
}

/// The SHA-256 of the lines of entries.
#[derive(Clone)]
pub struct ContentDigest(digest::Context);

impl Default for ContentDigest {
    fn default() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }
}

impl ContentDigest {
    /// Returns the lines of entries, after those that were written before.
    pub fn write(&mut self, entries: &[LedgerEntry]) -> String {
        let mut lines = String::with_capacity(512 * entries.len());
        for entry in entries {
            let line = serde_json::to_string(&EntryLine::of(entry)).expect("an entry is JSON");
            let _ = writeln!(lines, "{line}");
        }
        self.0.update(lines.as_bytes());
        lines
    }

    fn read(&mut self, line: &[u8]) {
        self.0.update(line);
    }

    fn finish(self) -> String {
        Hex(self.0.finish().as_ref()).to_string()
    }
}

/// Verifies entries that are to be archived, and makes the header of their archive.
pub struct ArchiveDraft {
    keys: LedgerKeys,
    base: LedgerBase,
    end: LedgerBase,
    content: ContentDigest,
}

impl ArchiveDraft {
    /// Begins after the base of a ledger.
    pub fn new(keys: LedgerKeys, base: LedgerBase) -> Self {
        Self { keys, base, end: base, content: ContentDigest::default() }
    }

    /// The sequence number of the last entry so far.
    pub fn last(&self) -> i64 {
        self.end.sequence()
    }

    /// Adds the next entries.
    ///
    /// # Errors
    /// At the first one that does not follow from the one before it.
    pub fn add(&mut self, entries: &[LedgerEntry]) -> Result<(), BrokenChain> {
        let LedgerBase { head, root_key_version } = &mut self.end;
        *head = verify_links(&self.keys, *head, root_key_version, entries)?;
        self.content.write(entries);
        Ok(())
    }

    /// The header; `None` if there are no entries.
    pub fn finish(self, created_at: Timestamp, written_by: &str) -> Option<ArchiveHeader> {
        if self.end == self.base {
            return None;
        }
        let key = self.keys.newest();
        let mut header = ArchiveHeader {
            range: ArchivedRange { base: self.base, end: self.end },
            created_at,
            written_by: written_by.to_owned(),
            root_key_version: key.version(),
            root_key_check: key_check(key),
            sha256: self.content.finish(),
            mac: String::new(),
        };
        header.mac = Hex(&key.mac(HEADER_MAC, &header.covered())).to_string();
        Some(header)
    }
}

/// Reads an archive.
pub struct ArchiveReader<R> {
    input: R,
    header: ArchiveHeader,
}

impl<R: BufRead> ArchiveReader<R> {
    /// Reads the first two lines.
    ///
    /// # Errors
    /// When they are not those of an archive. They are not verified yet.
    pub fn new(mut input: R) -> Result<Self, ArchiveError> {
        let format = read_line(&mut input, FORMAT.len() as u64)?;
        if format.as_deref() != Some(FORMAT.as_bytes()) {
            return Err(ArchiveError::NotAnArchive);
        }
        let header = read_line(&mut input, MAX_HEADER)?;
        let header = header.ok_or_else(|| ArchiveError::damaged("its second line is missing"))?;
        let line = header.strip_suffix(b"\n").unwrap_or(&header);
        let header: ArchiveHeader = serde_json::from_slice(line).map_err(|error| {
            ArchiveError::damaged(format!("its second line is invalid: {error}"))
        })?;
        // The MAC covers values: the same values must not be written in another way.
        if serde_json::to_vec(&header).ok().as_deref() != Some(line) {
            return Err(ArchiveError::damaged("its second line was changed"));
        }
        Ok(Self { input, header })
    }

    pub fn header(&self) -> &ArchiveHeader {
        &self.header
    }

    /// Verifies that the entries are those that the header was made for, without the root key, and
    /// not that the header is authentic.
    ///
    /// # Errors
    /// When they are not.
    pub fn check_content(mut self) -> Result<ArchiveHeader, ArchiveError> {
        let mut content = ContentDigest::default();
        while let Some(line) = read_line(&mut self.input, MAX_LINE)? {
            content.read(&line);
        }
        if !self.header.is_of(content) {
            return Err(ArchiveError::damaged("it is truncated, or an entry was changed"));
        }
        Ok(self.header)
    }

    /// Verifies the header and every entry, and passes the head after each entry to `visit`.
    ///
    /// # Errors
    /// When the archive was changed, or a version of the root key is missing.
    pub fn verify(
        mut self,
        keys: &LedgerKeys,
        mut visit: impl FnMut(LedgerHead),
    ) -> Result<ArchiveHeader, ArchiveError> {
        self.header.verify(keys)?;
        let ArchivedRange { base, end } = self.header.range;
        let LedgerBase { mut head, root_key_version: mut version } = base;
        let mut content = ContentDigest::default();
        while head.sequence < end.sequence() {
            let sequence = head.sequence + 1;
            let line = read_line(&mut self.input, MAX_LINE)?;
            let line = line
                .ok_or_else(|| ArchiveError::damaged(format!("it ends before entry {sequence}")))?;
            content.read(&line);
            let entry = serde_json::from_slice::<EntryLine<'_>>(&line).ok();
            let entry = entry
                .and_then(|line| line.entry())
                .ok_or_else(|| ArchiveError::damaged(format!("entry {sequence} cannot be read")))?;
            if keys.find(entry.root_key_version).is_none() {
                // A version that never was is one that is missing, too.
                return Err(ArchiveError::MissingRootKey(entry.root_key_version));
            }
            head = verify_links(keys, head, &mut version, &[entry]).map_err(|BrokenChain(_)| {
                ArchiveError::damaged(format!("it is broken at entry {sequence}"))
            })?;
            visit(head);
        }
        if (LedgerBase { head, root_key_version: version }) != end {
            return Err(ArchiveError::damaged("its last entry is not the one that it names"));
        }
        if !self.input.fill_buf()?.is_empty() {
            return Err(ArchiveError::damaged("it has more entries than it names"));
        }
        if !self.header.is_of(content) {
            return Err(ArchiveError::damaged("an outcome was changed"));
        }
        Ok(self.header)
    }
}

/// Reads a line with its end; `None` at the end of the input.
fn read_line(input: &mut impl BufRead, limit: u64) -> Result<Option<Vec<u8>>, ArchiveError> {
    let mut line = Vec::new();
    if io::Read::take(&mut *input, limit).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    match line.last() {
        Some(b'\n') => Ok(Some(line)),
        Some(_) | None if line.len() as u64 == limit => {
            Err(ArchiveError::damaged("a line is too long"))
        }
        Some(_) | None => Err(ArchiveError::damaged("it ends within a line")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{RootKey, ledger::NewEntry};

    fn keys() -> LedgerKeys {
        RootKey::new(&[1; 32]).ledger_keys()
    }

    fn entries(keys: &LedgerKeys, base: LedgerBase, count: i64) -> Vec<LedgerEntry> {
        let mut head = base.head;
        let entries = (0..count).map(|number| {
            let entry = NewEntry {
                at: Timestamp::from_seconds(number),
                actor: "local:uid=0".to_owned(),
                action: "refuse".to_owned(),
                target: format!("\"key\n{number}"),
                detail: String::new(),
                request_id: String::new(),
                peer: "127.0.0.1".to_owned(),
                user_agent: "ключ".to_owned(),
            };
            let state = (number % 2 == 0).then_some([7; 32]);
            head = head.follow(keys.newest(), &entry, state.as_ref());
            let (sequence, link) = (head.sequence, head.link);
            LedgerEntry { sequence, entry, root_key_version: 1, state, link }
        });
        entries.collect()
    }

    fn archive_after(base: LedgerBase, count: i64) -> Vec<u8> {
        let keys = keys();
        let entries = entries(&keys, base, count);
        let mut draft = ArchiveDraft::new(keys, base);
        draft.add(&entries).unwrap();
        let header = draft.finish(Timestamp::from_seconds(9), "a test").unwrap();
        let mut content = ContentDigest::default();
        let lines = content.write(&entries);
        assert!(header.is_of(content));
        format!("{}{lines}", header.lines()).into_bytes()
    }

    fn archive() -> Vec<u8> {
        let head = LedgerHead { sequence: 4, link: [3; 32] };
        archive_after(LedgerBase { head, root_key_version: 1 }, 6)
    }

    fn verify(archive: &[u8]) -> Result<Vec<i64>, ArchiveError> {
        let mut sequences = Vec::new();
        ArchiveReader::new(archive)?.verify(&keys(), |head| sequences.push(head.sequence))?;
        Ok(sequences)
    }

    #[test]
    fn an_archive_verifies_from_its_base() {
        assert_eq!(verify(&archive()).unwrap(), [5, 6, 7, 8, 9, 10]);
        assert_eq!(verify(&archive_after(LedgerBase::EMPTY, 1)).unwrap(), [1]);
        let header = ArchiveReader::new(&*archive()).unwrap().check_content().unwrap();
        assert_eq!((header.range.first(), header.range.last()), (5, 10));
        let nothing = ArchiveDraft::new(keys(), LedgerBase::EMPTY);
        assert_eq!(nothing.finish(Timestamp::from_seconds(9), "a test"), None);
    }

    #[test]
    fn a_truncated_archive_is_refused() {
        let archive = archive();
        for end in 0..archive.len() {
            assert!(verify(&archive[..end]).is_err(), "cut at {end}");
        }
        let line = archive.split_inclusive(|byte| *byte == b'\n').next_back().unwrap();
        assert!(matches!(verify(&[&archive, line].concat()), Err(ArchiveError::Damaged(_))));
    }

    #[test]
    fn a_wrong_root_key_is_named() {
        let archive = archive();
        let verify = |keys: &LedgerKeys| {
            ArchiveReader::new(&*archive).unwrap().verify(keys, |_| ()).unwrap_err()
        };
        let other = RootKey::new(&[2; 32]).ledger_keys();
        assert!(matches!(verify(&other), ArchiveError::AnotherRootKey));
        let second = LedgerKey::new(2, zeroize::Zeroizing::new([2; 32]));
        let later = LedgerKeys::new(vec![second]);
        assert!(matches!(verify(&later), ArchiveError::MissingRootKey(1)));
        // The header verifies, and an entry needs an older version.
        let newest = keys().with_newest(later.newest());
        let base = LedgerBase::EMPTY;
        let mut draft = ArchiveDraft::new(newest, base);
        let entries = entries(&keys(), base, 1);
        draft.add(&entries).unwrap();
        let header = draft.finish(Timestamp::from_seconds(9), "a test").unwrap();
        let lines = ContentDigest::default().write(&entries);
        let file = format!("{}{lines}", header.lines());
        let refused = ArchiveReader::new(file.as_bytes()).unwrap().verify(&later, |_| ());
        assert!(matches!(refused, Err(ArchiveError::MissingRootKey(1))));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn a_changed_byte_is_detected(at: prop::sample::Index, flip in 1..=u8::MAX) {
            let mut archive = archive();
            let at = at.index(archive.len());
            archive[at] ^= flip;
            prop_assert!(verify(&archive).is_err(), "byte {}", at);
        }

        #[test]
        fn no_input_makes_the_reader_panic(bytes: Vec<u8>) {
            for input in [&*bytes, &[FORMAT.as_bytes(), &bytes].concat()] {
                if let Ok(reader) = ArchiveReader::new(input) {
                    prop_assert!(reader.verify(&keys(), |_| ()).is_err());
                }
            }
        }
    }
}
