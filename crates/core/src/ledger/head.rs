//! [`LedgerHead`]: the sequence number and link of the last entry.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::id::Hex;

/// The sequence number and link of the last entry. Save it outside the server to detect a truncated
/// ledger.
///
/// Formatted as `SEQUENCE:LINK`, the link as 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct LedgerHead {
    /// 0 for an empty ledger.
    pub sequence: i64,
    /// Zeros for an empty ledger.
    pub link: [u8; 32],
}

impl LedgerHead {
    /// The head of an empty ledger.
    pub const EMPTY: Self = Self { sequence: 0, link: [0; 32] };
}

impl fmt::Display for LedgerHead {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.sequence, Hex(&self.link))
    }
}

/// The text is not the head of a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected SEQUENCE:LINK, with 64 hexadecimal digits as the link")]
pub struct InvalidHead;

impl FromStr for LedgerHead {
    type Err = InvalidHead;

    fn from_str(text: &str) -> Result<Self, InvalidHead> {
        let (sequence, hex) = text.split_once(':').ok_or(InvalidHead)?;
        let sequence =
            sequence.parse().ok().filter(|sequence| *sequence >= 0).ok_or(InvalidHead)?;
        Ok(Self { sequence, link: unhex(hex).ok_or(InvalidHead)? })
    }
}

impl From<LedgerHead> for String {
    fn from(head: LedgerHead) -> Self {
        head.to_string()
    }
}

impl TryFrom<String> for LedgerHead {
    type Error = InvalidHead;

    fn try_from(text: String) -> Result<Self, InvalidHead> {
        text.parse()
    }
}

/// Reads hexadecimal digits; `None` if they are not `N` bytes.
pub(super) fn unhex<const N: usize>(hex: &str) -> Option<[u8; N]> {
    if hex.len() != 2 * N || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * place..2 * place + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_survives_a_round_trip() {
        let head = LedgerHead { sequence: 7, link: [0xa5; 32] };
        assert_eq!(head.to_string().parse(), Ok(head));
        for junk in [
            "",
            "7",
            "7:",
            "x:00",
            "-1:00",
            &format!("7:{}", "g".repeat(64)),
            &format!("7:{}", "é".repeat(32)),
        ] {
            assert_eq!(junk.parse::<LedgerHead>(), Err(InvalidHead), "{junk}");
        }
    }
}
