//! The ledger: a stored, append-only, chained record of every change and of refusals of known callers.

mod chain;
mod key;
mod refusals;

pub use chain::{
    Action, Actor, BrokenChain, Caller, ChainCheck, InvalidHead, LedgerEntry, LedgerFault, LedgerHead,
    NewEntry, PAGE, verify, verify_chain,
};
pub use key::{LedgerKey, LedgerKeys};
pub(crate) use refusals::Refusals;
