//! Administration of a whole server, rather than of one key.

pub mod backup;
