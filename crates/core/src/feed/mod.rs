//! How a node follows a database that several nodes share: its polls, the freshness of its state in
//! memory, and the repair after the database lost changes.
//!
//! Nothing here does I/O. A store sends a [`Question`] and passes the [`Answer`] to [`Feed`], which
//! notifies the state in memory and publishes its age in [`Freshness`]. Every decision about a
//! credential consults [`Freshness`], and a refusal that a newer state could turn around waits for
//! [`CatchUp`] first. `crates/core/tests/feed` runs all of it against a model of a database with a
//! standby, with faults.
//!
//! The embedded store has one process, whose memory is current after every commit:
//! [`Freshness::current`] costs nothing.

mod answer;
mod catch_up;
mod cursor;
mod fold;
mod freshness;
mod history;
mod moment;
mod position;
mod primary;
mod revoked;
mod skew;

pub use answer::{Answer, BEAT_INTERVAL, Beat, Changed, Found, KeyState, Named, Row, ServerId};
pub use catch_up::{CATCH_UP_INTERVAL, CATCH_UP_WAIT, CatchUp, Ticket};
pub use cursor::{Feed, Ignored, Outcome, Question};
pub use freshness::{Freshness, FreshnessLimits, NodeState, Proof, Published, Unavailable};
pub use history::{LostHistory, Repair, RepairStep};
pub use moment::{Moment, Moments, SystemMoments};
pub use position::{Position, Tag};
pub use revoked::{Revocation, Revoked};
pub use skew::{ClockSkew, SKEW_UNFIT, SKEW_WARNING};
