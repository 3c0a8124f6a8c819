//! The store on any SQL database: everything but connections, schemas and commits.
//!
//! # Layout
//! - `access`: the interface to a database, and the differences between databases.
//! - `store`: `SqlStore`, through which the files below reach writer and readers.
//! - `writer`: the thread that owns the writing connection and commits calls in groups.
//! - `transaction`: the unit of work.
//! - `api_key`, `token`, `signing_key`, `root_key`, `ledger`: one of the store's traits each, with
//!   its statements.
//! - `state`, `seal`, `known_seals`: the seals of rows. `denial`: the rows of the deny-list.
//! - `whole`, with `load`, `purge` and `copy`: the calls that concern the whole store.
//! - `columns`, `failure`, `touched`: values, errors and what a transaction changed.

pub(crate) mod access;
pub(crate) mod api_key;
pub(crate) mod columns;
pub(crate) mod copy;
pub(crate) mod denial;
pub(crate) mod failure;
pub(crate) mod known_seals;
pub(crate) mod ledger;
pub(crate) mod load;
pub(crate) mod purge;
pub(crate) mod root_key;
pub(crate) mod seal;
pub(crate) mod signing_key;
pub(crate) mod state;
pub(crate) mod store;
pub(crate) mod token;
pub(crate) mod touched;
pub(crate) mod transaction;
mod whole;
pub(crate) mod writer;
