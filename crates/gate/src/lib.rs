//! The gate in front of a Flyte backend: every request needs a valid API key with a sufficient
//! role.
//!
//! # Layout
//! - [`access`]: what a request needs, and what a caller may do.
//! - [`path`]: the path of a request, after checks that no upstream can read it differently.
//! - [`rules`]: which path needs which access.
//! - [`mod@decide`]: the decision, a pure function. Every protocol asks it.

pub mod access;
pub mod decide;
pub mod path;
pub mod rules;

pub use self::{
    access::Access,
    decide::{Caller, Denial, decide},
    path::{InvalidPath, Path},
    rules::{Rule, Rules},
};
