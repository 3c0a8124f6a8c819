//! The seal: detects changes to the store that were made without the root key.
//!
//! The ledger proves what happened; the seal proves what is stored. Each row that grants something
//! has a [`Seal`], an HMAC over the content that [`SealedRow`] defines. A row whose content and
//! seal do not match was changed by someone without the root key.
//!
//! A seal alone cannot tell whether a row is the latest, or whether a row is missing. The
//! [`Digest`] can: it is the sum of one secret number for each seal. Each transaction updates the
//! sum, and stores it, encrypted and with the ledger's head, as the [`State`]. Each ledger entry
//! carries a MAC of it. A store computes the sum again when it loads its rows.
//!
//! To seal another column, add it to `row.rs`, the only place that defines what is sealed.
//!
//! # Layout
//! - `keys`: [`SealKey`], derived from one version of the root key.
//! - `row`: the content of a row that its seal covers.
//! - `digest`: the sum over all seals, and the stored state.
//! - `report`: what [`Store::verify_seals`](crate::store::Store::verify_seals) finds.

mod digest;
mod keys;
mod report;
mod row;

pub use digest::{Digest, InvalidState, State, Table};
pub use keys::{Seal, SealKey, SealKeys};
pub use report::{History, Recount, SealReport, Sealed, StateDifference};
pub use row::SealedRow;
