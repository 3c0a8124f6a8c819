//! The server while its machine fails: killed processes, broken disks and wrong clocks.

mod clock;
mod crash;
pub(crate) mod disk;
mod stale_node;
