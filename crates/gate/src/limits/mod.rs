//! Limits of a key at the gate: the projects and domains that its requests may name.
//! [`gatekey_authn`] checks its networks and rate.
//!
//! - [`projects`]: whether a request stays within a key's projects and domains.
//! - `places`: where the request of each procedure names them.
//! - `body`: the message in a body, whatever the protocol and the compression.
//! - `unreadable`: why a request cannot be read.
//! - `protobuf`, `json`: reads the named fields of a message, and refuses two readings.

mod body;
mod json;
mod places;
pub mod projects;
mod protobuf;
mod unreadable;

/// The longest body, and the longest message after decompression, that is read of a limited key, in
/// bytes, by default. Flyte's own servers take messages of this size by default.
pub const MAX_MESSAGE: usize = 4 << 20;
/// The highest value that the limit can be set to: half of what is read of all bodies.
pub const HIGHEST_MAX_MESSAGE: usize = 32 << 20;

pub use self::{
    projects::{Body, Named, ProjectDenial, Seen, named},
    unreadable::Unreadable,
};
