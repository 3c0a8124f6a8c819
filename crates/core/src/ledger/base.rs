//! [`LedgerBase`]: the last archived entry, after which the stored ledger begins.

use serde::{Deserialize, Serialize};

use super::LedgerHead;

/// The last archived entry, after which the stored ledger begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerBase {
    pub head: LedgerHead,
    /// The root key's version that linked the entry; 0 if nothing was archived. Later entries are
    /// linked under this version or a newer one.
    pub root_key_version: u32,
}

impl LedgerBase {
    /// The base of a ledger of which nothing was archived.
    pub const EMPTY: Self = Self { head: LedgerHead::EMPTY, root_key_version: 0 };

    /// The sequence number of the last archived entry; 0 for none.
    pub fn sequence(&self) -> i64 {
        self.head.sequence
    }
}
