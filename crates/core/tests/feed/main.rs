//! Simulates nodes on a database with a standby, from a seed, with faults.
//!
//! # Layout
//! - `world`: the scheduler, and the messages between nodes and servers.
//! - `node`: the feed, freshness and catch-up of the core, as a node uses them.
//! - `database`: a model of a primary and its standby.
//! - `faults`: what goes wrong.
//! - `checker`: which decisions are right.
//! - `rules`: the tests.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod checker;
mod clock;
mod database;
mod faults;
mod node;
mod random;
mod rules;
mod world;
