//! The ledger: a stored, append-only, chained record of every change and every refused call of an
//! authenticated caller.

mod action;
mod archive;
mod base;
mod caller;
mod chain;
mod entry;
mod head;
mod key;
mod line;
mod refusals;

pub use action::Action;
pub use archive::{
    ArchiveDraft, ArchiveError, ArchiveHeader, ArchiveReader, ArchivedRange, ContentDigest,
};
pub use base::LedgerBase;
pub use caller::{Actor, Caller};
pub use chain::{BrokenChain, LedgerFault, PAGE, verify, verify_chain};
pub use entry::{LedgerEntry, NewEntry};
pub use head::{InvalidHead, LedgerHead};
pub use key::{LedgerKey, LedgerKeys};
pub use line::EntryLine;
pub(crate) use refusals::Refusals;
