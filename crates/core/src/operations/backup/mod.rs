//! Backups: the format of the file, and how one is taken.

mod format;
mod take;

pub use format::{BackupError, Header, Opener, Passphrase, Sealer};
pub use take::{Backup, Snapshot};
