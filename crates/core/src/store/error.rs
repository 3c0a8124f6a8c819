//! [`StoreError`]: why a store call failed.

/// Why a store call failed. An absent key is not an error, but `None`.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the client id is taken")]
    Conflict,
    /// The change would leave no usable admin key. It had no effect.
    #[error("no usable admin key would be left")]
    LastAdmin,
    /// The store cannot be reached or written; the same call may succeed later.
    #[error("the store is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A part of the store is damaged, or the disk failed to read it: SQLite reports both alike.
    #[error("a part of the store is damaged, or the disk cannot read it: {0}")]
    Unreadable(String),
    /// Rows were changed by someone without the root key, see [`seal`](crate::seal).
    #[error("the store does not match its seal: {0}")]
    Tampered(String),
    /// The store holds data that this program cannot read.
    #[error("the store is corrupt: {0}")]
    Corrupt(String),
}
