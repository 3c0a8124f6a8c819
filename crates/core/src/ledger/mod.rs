//! The ledger: a stored, append-only, chained record of every change and every refused call of an
//! authenticated caller.

mod action;
mod caller;
mod chain;
mod entry;
mod head;
mod key;
mod refusals;

pub use action::Action;
pub use caller::{Actor, Caller};
pub use chain::{BrokenChain, LedgerFault, PAGE, verify, verify_chain};
pub use entry::{LedgerEntry, NewEntry};
pub use head::{InvalidHead, LedgerHead};
pub use key::{LedgerKey, LedgerKeys};
pub(crate) use refusals::Refusals;
