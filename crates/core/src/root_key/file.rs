//! [`RootKeyVersions`]: the content of a root key's file.
//!
//! One line for each version, the newest first: `gatekey-root-key-VERSION:KEY`, the key as base64
//! of 32 bytes. The first line may end in ` pending`: a rotation to that version has begun, and the
//! store need not know it yet. Without the mark, a store that does not know the newest version is
//! refused as an older one.

use std::{fmt::Write as _, str::FromStr};

use async_trait::async_trait;
use base64::{Engine, prelude::BASE64_STANDARD};
use zeroize::Zeroizing;

use super::LENGTH;
use crate::Env;

const PREFIX: &str = "gatekey-root-key-";
const PENDING: &str = " pending";

/// Every version of a root key, the newest first. No `Display`, no `Debug`, zeroed when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct RootKeyVersions {
    keys: Vec<(u32, Zeroizing<[u8; LENGTH]>)>,
    pending: bool,
}

/// The text is not the content of a root key's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "is not a root key; expected a line gatekey-root-key-VERSION:KEY for each version, the newest first, and no \
     version or key twice"
)]
pub struct InvalidRootKeyFile;

/// Why the file of a root key could not be read or replaced. Its text says which file, and what to
/// do.
pub type FileError = Box<dyn std::error::Error + Send + Sync>;

/// The storage of a root key's file.
#[async_trait]
pub trait RootKeyFile: Send + Sync {
    /// The file's name, for messages.
    fn place(&self) -> String;

    /// Reads the file.
    ///
    /// # Errors
    /// When it cannot be read, or is not a root key.
    async fn read(&self) -> Result<RootKeyVersions, FileError>;

    /// Replaces the file: completely or not at all, and durably once this returns.
    ///
    /// # Errors
    /// When it cannot be replaced; then it is unchanged.
    async fn replace(&self, keys: &RootKeyVersions) -> Result<(), FileError>;
}

impl RootKeyVersions {
    /// A root key of one version.
    pub fn generate(env: &Env) -> Self {
        Self { keys: vec![(1, Zeroizing::new(env.random()))], pending: false }
    }

    /// The newest version.
    pub fn newest(&self) -> u32 {
        self.keys[0].0
    }

    /// Whether a rotation to the newest version has begun, and may not be finished.
    pub fn is_pending(&self) -> bool {
        self.pending
    }

    /// Adds a pending version, newer than these and than `newer_than`.
    #[must_use]
    pub fn with_new(&self, env: &Env, newer_than: u32) -> Self {
        let version = self.newest().max(newer_than).saturating_add(1);
        let mut keys = vec![(version, Zeroizing::new(env.random()))];
        keys.extend_from_slice(&self.keys);
        Self { keys, pending: true }
    }

    /// Removes the pending mark.
    #[must_use]
    pub fn settled(&self) -> Self {
        Self { keys: self.keys.clone(), pending: false }
    }

    /// Removes a version; `None` if there is no such version, or if it is the newest.
    pub fn without(&self, version: u32) -> Option<Self> {
        let mut less = self.clone();
        less.keys.retain(|(other, _)| *other != version);
        (version != self.newest() && less.keys.len() < self.keys.len()).then_some(less)
    }

    /// The content of the file.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(self.keys.len() * 80));
        for (place, (version, key)) in self.keys.iter().enumerate() {
            let encoded = Zeroizing::new(BASE64_STANDARD.encode(key.as_slice()));
            let mark = if place == 0 && self.pending { PENDING } else { "" };
            writeln!(text, "{PREFIX}{version}:{}{mark}", *encoded)
                .expect("a string takes any text");
        }
        text
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &[u8; LENGTH])> {
        self.keys.iter().map(|(version, key)| (*version, &**key))
    }
}

impl FromStr for RootKeyVersions {
    type Err = InvalidRootKeyFile;

    fn from_str(text: &str) -> Result<Self, InvalidRootKeyFile> {
        let mut read = Self { keys: Vec::new(), pending: false };
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let line = match line.strip_suffix(PENDING) {
                Some(line) if read.keys.is_empty() => {
                    read.pending = true;
                    line
                }
                Some(_) | None => line,
            };
            let (version, key) = parse_line(line).ok_or(InvalidRootKeyFile)?;
            let fits = read.keys.iter().all(|(newer, other)| version < *newer && key != *other);
            if !fits {
                return Err(InvalidRootKeyFile);
            }
            read.keys.push((version, key));
        }
        if read.keys.is_empty() { Err(InvalidRootKeyFile) } else { Ok(read) }
    }
}

fn parse_line(line: &str) -> Option<(u32, Zeroizing<[u8; LENGTH]>)> {
    let (version, encoded) = line.strip_prefix(PREFIX)?.split_once(':')?;
    let canonical =
        version.bytes().all(|digit| digit.is_ascii_digit()) && !version.starts_with('0');
    let version = version.parse().ok().filter(|_| canonical)?;
    let bytes = Zeroizing::new(BASE64_STANDARD.decode(encoded).ok()?);
    Some((version, Zeroizing::new(bytes.as_slice().try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(version: &str, byte: u8) -> String {
        format!("{PREFIX}{version}:{}", BASE64_STANDARD.encode([byte; LENGTH]))
    }

    /// Covers every state of the versions.
    #[test]
    fn a_file_survives_a_round_trip() {
        let env = Env::system();
        let first = RootKeyVersions::generate(&env);
        let begun = first.with_new(&env, 1);
        let rotated = begun.settled();
        for (keys, newest, pending) in [(&first, 1, false), (&begun, 2, true), (&rotated, 2, false)]
        {
            assert!(keys.to_text().parse::<RootKeyVersions>().is_ok_and(|read| read == *keys));
            assert_eq!((keys.newest(), keys.is_pending()), (newest, pending));
        }
        assert!(rotated.without(2).is_none() && rotated.without(3).is_none());
        let alone = rotated.without(1).unwrap();
        assert_eq!(alone.newest(), 2);
        assert_eq!(alone.to_text().lines().count(), 1);
        assert_eq!(alone.with_new(&env, 7).newest(), 8);
    }

    #[test]
    fn an_unversioned_file_is_version_1() {
        let keys: RootKeyVersions = format!("{}\n", line("1", 7)).parse().unwrap();
        assert_eq!((keys.newest(), keys.is_pending()), (1, false));
    }

    #[test]
    fn a_malformed_root_key_file_is_refused() {
        let wrong = [
            String::new(),
            "\n\n".to_owned(),
            line("0", 1),
            line("01", 1),
            line("+1", 1),
            line("4294967296", 1),
            line("", 1),
            format!("{}!", line("1", 1)),
            format!("{}\n{}", line("1", 1), line("2", 2)),
            format!("{}\n{}", line("2", 1), line("2", 2)),
            format!("{}\n{}", line("2", 1), line("1", 1)),
            format!("{}\n{} pending", line("2", 1), line("1", 2)),
            format!("{}\nnote", line("2", 1)),
        ];
        for text in wrong {
            assert!(text.parse::<RootKeyVersions>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "(gatekey-root-key-[0-9]{0,3}:[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=( pending)?\n?|.{0,9}){0,4}") {
            if let Ok(keys) = text.parse::<RootKeyVersions>() {
                prop_assert!(keys.to_text().parse::<RootKeyVersions>().is_ok_and(|again| again == keys));
            }
        }
    }
}
