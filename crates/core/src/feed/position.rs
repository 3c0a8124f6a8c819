//! [`Position`]: a place in the history of changes.

use std::fmt;

/// Identifies the transaction that made a change: drawn at random for each.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub [u8; 16]);

impl fmt::Debug for Tag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// A place in the history of changes. Two histories with the same tag at a sequence number are
/// equal up to there, because a change is numbered under the lock of the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The number of changes up to here.
    pub sequence: u64,
    /// The tag of the last of them.
    pub tag: Tag,
}

impl Position {
    /// Before the first change.
    pub const START: Self = Self { sequence: 0, tag: Tag([0; 16]) };
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({:?})", self.sequence, self.tag)
    }
}
