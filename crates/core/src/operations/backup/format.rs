//! The format of a backup: one file, sealed under the root key and, optionally, a passphrase.
//!
//! The first line names the format, the second is JSON ([`Header`]). Then follows the database in
//! chunks of 64 KiB, each sealed with AES-256-GCM.
//!
//! Each backup has its own key: HKDF-SHA-256 (RFC 5869) of a key derived from the root key and,
//! with a passphrase, of PBKDF2-HMAC-SHA-256 (RFC 8018 section 5.2) of the passphrase, both salted
//! by the header. A chunk's nonce contains its place and whether it is the last one, so that chunks
//! cannot be removed, inserted or moved. Both lines are authenticated with every chunk.

use std::{
    fmt,
    io::{self, Read, Write},
    num::NonZeroU32,
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    constant_time, hkdf, pbkdf2,
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{Env, RootKey, Timestamp, id::Hex};

/// The first line.
const FORMAT: &str = "gatekey-backup-1\n";
/// Bytes of the database per chunk, except the last one.
const CHUNK: usize = 64 * 1024;
const TAG: usize = 16;
/// The longest second line, in bytes.
const MAX_HEADER: usize = 4096;
/// Rounds of PBKDF2-HMAC-SHA-256 for a new backup, by the OWASP Password Storage Cheat Sheet.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(600_000).expect("600,000 is not zero");
/// The highest accepted number of rounds. A crafted file with more could keep the machine busy for
/// minutes.
const MAX_ITERATIONS: u32 = 10_000_000;

/// The passphrase of a backup. No `Display`, a `Debug` that prints only the type's name, zeroed
/// when dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Passphrase")
    }
}

/// The readable part of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// When the copy was taken. It contains every change that was acknowledged before.
    pub created_at: Timestamp,
    /// The version of the program that wrote it.
    pub written_by: String,
    /// The rounds of PBKDF2, if there is a passphrase.
    pub iterations: Option<NonZeroU32>,
    /// The version of the root key that it is sealed under.
    #[serde(default = "first_version")]
    pub root_key_version: u32,
    /// 32 hexadecimal digits.
    salt: String,
    /// Identifies the root key, without revealing it.
    root_key_check: String,
    /// Identifies root key and passphrase together.
    check: String,
}

/// The version of a backup that is older than versions.
fn first_version() -> u32 {
    1
}

/// Why a backup cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("this is not a Gatekey backup")]
    NotABackup,
    #[error(
        "the backup needs version {0} of the root key, which is not in its file; use a copy of the file that has \
         this version"
    )]
    MissingRootKey(u32),
    #[error(
        "the backup was created under another root key; use that of the server that created it"
    )]
    AnotherRootKey,
    #[error("the backup is sealed under a passphrase; name the file that contains it")]
    NoPassphrase,
    #[error("the backup was sealed under another passphrase")]
    AnotherPassphrase,
    /// It is truncated, or was changed.
    #[error("the backup is damaged: {0}")]
    Damaged(String),
    /// It cannot be read, or its content cannot be written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl BackupError {
    /// Whether the file itself is damaged, so that no key opens it.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::NotABackup | Self::Damaged(_))
    }
}

/// The keys of one backup.
struct Keys {
    root_key_check: String,
    check: String,
    sealing: LessSafeKey,
}

impl Keys {
    /// Takes a few tenths of a second with a passphrase.
    fn derive(
        root_key: &[u8; 32],
        passphrase: Option<(&Passphrase, NonZeroU32)>,
        salt: &str,
    ) -> Self {
        let mut material = Zeroizing::new(root_key.to_vec());
        let salted = hkdf::Salt::new(hkdf::HKDF_SHA256, salt.as_bytes());
        let root_key_check = checksum(&salted.extract(&material), b"root key check");
        if let Some((passphrase, iterations)) = passphrase {
            let mut stretched = Zeroizing::new([0; 32]);
            let (salt, passphrase) = (salt.as_bytes(), passphrase.0.as_bytes());
            pbkdf2::derive(
                pbkdf2::PBKDF2_HMAC_SHA256,
                iterations,
                salt,
                passphrase,
                stretched.as_mut(),
            );
            material.extend_from_slice(stretched.as_ref());
        }
        let pseudorandom = salted.extract(&material);
        let mut key = Zeroizing::new([0; 32]);
        expand(&pseudorandom, b"sealing", &mut key);
        let sealing = UnboundKey::new(&AES_256_GCM, key.as_ref()).expect("AES-256 takes 32 bytes");
        Self {
            root_key_check,
            check: checksum(&pseudorandom, b"check"),
            sealing: LessSafeKey::new(sealing),
        }
    }
}

fn checksum(pseudorandom: &hkdf::Prk, purpose: &[u8]) -> String {
    let mut bytes = [0; 32];
    expand(pseudorandom, purpose, &mut bytes);
    Hex(&bytes[..16]).to_string()
}

fn expand(pseudorandom: &hkdf::Prk, purpose: &[u8], key: &mut [u8; 32]) {
    let expanded = pseudorandom.expand(&[purpose], hkdf::HKDF_SHA256).and_then(|okm| okm.fill(key));
    expanded.expect("HKDF-SHA-256 gives 32 bytes for any purpose");
}

/// The nonce of a chunk. Every backup has its own key, so no nonce is used twice.
fn nonce(place: u32, last: bool) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce[..4].copy_from_slice(&place.to_be_bytes());
    nonce[4] = u8::from(last);
    Nonce::assume_unique_for_key(nonce)
}

/// Reads until the buffer is full or the input ends.
fn fill(input: &mut impl Read, buffer: &mut Vec<u8>, length: usize) -> io::Result<()> {
    buffer.clear();
    input.take(length as u64).read_to_end(buffer)?;
    Ok(())
}

/// Seals a backup.
pub struct Sealer {
    keys: Keys,
    header: Header,
    lines: Vec<u8>,
}

impl Sealer {
    /// Takes a few tenths of a second with a passphrase.
    pub fn new(
        root_key: &RootKey,
        passphrase: Option<&Passphrase>,
        env: &Env,
        created_at: Timestamp,
        written_by: &str,
    ) -> Self {
        let salt = Hex(&env.random::<16>()).to_string();
        let (root_key_version, root_key) = root_key.newest_backup_key();
        let keys =
            Keys::derive(&root_key, passphrase.map(|passphrase| (passphrase, ITERATIONS)), &salt);
        let header = Header {
            created_at,
            written_by: written_by.to_owned(),
            iterations: passphrase.map(|_| ITERATIONS),
            root_key_version,
            salt,
            root_key_check: keys.root_key_check.clone(),
            check: keys.check.clone(),
        };
        let json = serde_json::to_string(&header).expect("a header can be written as JSON");
        Self { keys, header, lines: format!("{FORMAT}{json}\n").into_bytes() }
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Returns the size of the backup of a database with `length` bytes.
    pub fn sealed_length(&self, length: u64) -> u64 {
        let chunks = length.div_ceil(CHUNK as u64).max(1);
        self.lines.len() as u64 + length + chunks * TAG as u64
    }

    /// Seals everything that the input contains.
    ///
    /// # Errors
    /// When the input cannot be read, or the output cannot be written.
    pub fn seal(self, input: &mut impl Read, output: &mut impl Write) -> io::Result<()> {
        output.write_all(&self.lines)?;
        let (mut chunk, mut next) = (Vec::new(), Vec::new());
        fill(input, &mut chunk, CHUNK)?;
        for place in 0..=u32::MAX {
            fill(input, &mut next, CHUNK)?;
            let last = next.is_empty();
            let sealed = self.keys.sealing.seal_in_place_append_tag(
                nonce(place, last),
                Aad::from(self.lines.as_slice()),
                &mut chunk,
            );
            sealed.expect("AES-GCM seals 64 KiB");
            output.write_all(&chunk)?;
            if last {
                return output.flush();
            }
            std::mem::swap(&mut chunk, &mut next);
        }
        Err(io::Error::other("a backup has at most 256 TiB"))
    }
}

/// Opens a backup.
pub struct Opener {
    keys: Keys,
    header: Header,
    lines: Vec<u8>,
}

impl Opener {
    /// Reads the two lines, and checks root key and passphrase. Takes a few tenths of a second with
    /// a passphrase.
    ///
    /// # Errors
    /// When the input is not a backup, or was sealed under another root key or passphrase.
    pub fn new(
        root_key: &RootKey,
        passphrase: Option<&Passphrase>,
        input: &mut impl Read,
    ) -> Result<Self, BackupError> {
        let lines = read_lines(input)?;
        let json = &lines[FORMAT.len()..];
        let header: Header = serde_json::from_slice(json).map_err(|error| {
            BackupError::Damaged(format!("its second line cannot be parsed: {error}"))
        })?;
        if header.iterations.is_some_and(|iterations| iterations.get() > MAX_ITERATIONS) {
            return Err(BackupError::Damaged(
                "its number of PBKDF2 rounds is out of range".to_owned(),
            ));
        }
        let version = header.root_key_version;
        let root_key =
            &*root_key.backup_key(version).ok_or(BackupError::MissingRootKey(version))?;
        let bare = Keys::derive(root_key, None, &header.salt);
        let is = |one: &str, other: &str| {
            constant_time::verify_slices_are_equal(one.as_bytes(), other.as_bytes()).is_ok()
        };
        if !is(&bare.root_key_check, &header.root_key_check) {
            return Err(BackupError::AnotherRootKey);
        }
        let keys = match (passphrase, header.iterations) {
            // A passphrase that is not needed is ignored.
            (_, None) => bare,
            (None, Some(_)) => return Err(BackupError::NoPassphrase),
            (Some(passphrase), Some(iterations)) => {
                Keys::derive(root_key, Some((passphrase, iterations)), &header.salt)
            }
        };
        if !is(&keys.check, &header.check) {
            return Err(if header.iterations.is_some() {
                BackupError::AnotherPassphrase
            } else {
                BackupError::Damaged("its second line was changed".to_owned())
            });
        }
        Ok(Self { keys, header, lines })
    }

    /// The header. It is authentic only after [`Self::open`] has succeeded.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Writes the content of the backup. The input begins after the two lines. Do not use the
    /// output before this has succeeded.
    ///
    /// # Errors
    /// When a chunk was changed or is missing, the input cannot be read, or the output cannot be
    /// written.
    pub fn open(&self, input: &mut impl Read, output: &mut impl Write) -> Result<(), BackupError> {
        let (mut chunk, mut next) = (Vec::new(), Vec::new());
        fill(input, &mut chunk, CHUNK + TAG)?;
        for place in 0..=u32::MAX {
            fill(input, &mut next, CHUNK + TAG)?;
            let last = next.is_empty();
            let aad = Aad::from(self.lines.as_slice());
            let plain =
                self.keys.sealing.open_in_place(nonce(place, last), aad, &mut chunk).map_err(
                    |_| {
                        BackupError::Damaged(if last {
                            "it is truncated, or its last part was changed".to_owned()
                        } else {
                            format!(
                                "one of the 65,552 bytes from byte {} on was changed",
                                self.begins(place)
                            )
                        })
                    },
                )?;
            output.write_all(plain)?;
            if last {
                return Ok(output.flush()?);
            }
            std::mem::swap(&mut chunk, &mut next);
        }
        Err(BackupError::Damaged("it is longer than a backup can be".to_owned()))
    }

    /// Reads the two lines again, so that [`Self::open`] can follow after a file was rewound.
    ///
    /// # Errors
    /// When they have changed.
    pub fn skip_lines(&self, input: &mut impl Read) -> Result<(), BackupError> {
        let changed = || BackupError::Damaged("it was changed while it was read".to_owned());
        if read_lines(input)? == self.lines { Ok(()) } else { Err(changed()) }
    }

    fn begins(&self, place: u32) -> u64 {
        self.lines.len() as u64 + u64::from(place) * (CHUNK + TAG) as u64
    }
}

/// Reads the two lines, including their line ends.
fn read_lines(input: &mut impl Read) -> Result<Vec<u8>, BackupError> {
    let mut lines = Vec::new();
    fill(input, &mut lines, FORMAT.len())?;
    if lines != FORMAT.as_bytes() {
        return Err(BackupError::NotABackup);
    }
    let mut byte = [0];
    while lines.len() < FORMAT.len() + MAX_HEADER {
        if input.read(&mut byte)? == 0 {
            break;
        }
        lines.extend(byte);
        if byte == *b"\n" {
            return Ok(lines);
        }
    }
    Err(BackupError::Damaged("its second line does not end".to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn root_key() -> RootKey {
        RootKey::new(&[1; 32])
    }

    fn sealed(plain: &[u8], passphrase: Option<&Passphrase>) -> Vec<u8> {
        let env = Env::system();
        let sealer =
            Sealer::new(&root_key(), passphrase, &env, Timestamp::from_seconds(9), "a test");
        let length = sealer.sealed_length(plain.len() as u64);
        let mut backup = Vec::new();
        sealer.seal(&mut &*plain, &mut backup).unwrap();
        assert_eq!(backup.len() as u64, length);
        backup
    }

    fn opened(
        root_key: &RootKey,
        passphrase: Option<&Passphrase>,
        backup: &[u8],
    ) -> Result<Vec<u8>, BackupError> {
        let mut input = backup;
        let opener = Opener::new(root_key, passphrase, &mut input)?;
        let mut plain = Vec::new();
        opener.open(&mut input, &mut plain)?;
        Ok(plain)
    }

    #[test]
    fn sealing_works_for_every_length() {
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 7] {
            let plain: Vec<u8> = (0..length).map(|at| at.to_le_bytes()[0]).collect();
            assert_eq!(
                opened(&root_key(), None, &sealed(&plain, None)).unwrap(),
                plain,
                "{length}"
            );
        }
    }

    #[test]
    fn an_unversioned_backup_needs_the_first_root_key() {
        let sealer =
            Sealer::new(&root_key(), None, &Env::system(), Timestamp::from_seconds(9), "a test");
        let mut header = serde_json::to_value(sealer.header()).unwrap();
        header.as_object_mut().unwrap().remove("root_key_version").unwrap();
        assert_eq!(serde_json::from_value::<Header>(header).unwrap().root_key_version, 1);
    }

    #[test]
    fn both_root_key_and_passphrase_are_needed() {
        let passphrase = Passphrase::new("correct horse".to_owned());
        let backup = sealed(b"all", Some(&passphrase));
        assert_eq!(opened(&root_key(), Some(&passphrase), &backup).unwrap(), b"all");
        assert!(matches!(opened(&root_key(), None, &backup), Err(BackupError::NoPassphrase)));
        let wrong = Passphrase::new("battery staple".to_owned());
        assert!(matches!(
            opened(&root_key(), Some(&wrong), &backup),
            Err(BackupError::AnotherPassphrase)
        ));
        let other = RootKey::new(&[2; 32]);
        assert!(matches!(
            opened(&other, Some(&passphrase), &backup),
            Err(BackupError::AnotherRootKey)
        ));
    }

    #[test]
    fn two_identical_backups_share_no_bytes() {
        let (one, other) = (sealed(&[0; 64], None), sealed(&[0; 64], None));
        assert_ne!(one[one.len() - 80..], other[other.len() - 80..]);
    }

    #[test]
    fn a_truncated_backup_is_refused() {
        let backup = sealed(&vec![7; 2 * CHUNK + 100], None);
        let edges = [CHUNK, CHUNK + TAG, 2 * (CHUNK + TAG)];
        let begins = backup.len() - 2 * (CHUNK + TAG) - 100 - TAG;
        let ends =
            (0..begins + 40).chain(edges.map(|edge| begins + edge)).chain([backup.len() - 1]);
        for end in ends {
            assert!(opened(&root_key(), None, &backup[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn moved_and_trailing_chunks_are_refused() {
        let backup = sealed(&vec![7; 3 * CHUNK], None);
        let begins = backup.len() - 3 * (CHUNK + TAG);
        let mut moved = backup.clone();
        moved[begins..begins + 2 * (CHUNK + TAG)].rotate_left(CHUNK + TAG);
        assert!(matches!(opened(&root_key(), None, &moved), Err(BackupError::Damaged(_))));
        let longer = [&*backup, b"x"].concat();
        assert!(matches!(opened(&root_key(), None, &longer), Err(BackupError::Damaged(_))));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn a_changed_byte_is_detected(at: prop::sample::Index, flip in 1..=u8::MAX) {
            let mut backup = sealed(&[7; 1000], None);
            let at = at.index(backup.len());
            backup[at] ^= flip;
            prop_assert!(opened(&root_key(), None, &backup).is_err(), "byte {}", at);
        }

        #[test]
        fn no_input_makes_the_opener_panic(bytes: Vec<u8>) {
            prop_assert!(opened(&root_key(), None, &bytes).is_err());
            prop_assert!(opened(&root_key(), None, &[FORMAT.as_bytes(), &bytes].concat()).is_err());
        }
    }
}
