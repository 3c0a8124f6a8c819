//! Local administration of a running server, over a socket in the data directory.
//!
//! Anyone who can open the socket can also read the root key beside it, so a request needs no
//! further proof. Only the server's own user and root are accepted, according to the kernel.

mod protocol;
mod socket;

use std::sync::Arc;

use gatekey_core::{Env, Operations};

pub use protocol::{
    BackUp, BackupHeader, CloseLedger, Failure, Init, KeyRights, ListRootKeys, ListSigningKeys,
    NewKey, Operation, PrepareArchive, ReadKey, ReadLedger, Request, RetireRootKey,
    RetireSigningKey, RootKeyRetired, RootKeyRotated, RotateRootKey, RotateSigningKey,
    VerifyLedger,
};
pub use socket::{SOCKET, serve};

/// The state that operations need.
#[derive(Clone)]
pub struct Control {
    pub operations: Arc<Operations>,
    /// Host and port of the server, for new credentials.
    pub endpoint: String,
    pub organization: String,
    pub env: Env,
}
