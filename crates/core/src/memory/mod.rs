//! State held in memory, so that issuing and verifying a token never reads the store.

mod directory;
mod last_used;
mod lookups;

pub use directory::{Directory, KeyCounts};
pub use last_used::LastUsed;
pub use lookups::Lookups;
