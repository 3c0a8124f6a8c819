//! [`ApiKey`]: an API key as it is stored.

use gatekey_credentials::{ClientId, Role};

use super::{Application, Limits, Roles, StoredSecret};
use crate::{KeyId, Timestamp};

/// An API key: an OAuth 2.0 application for headless use (wire message `cloudidl.identity.App`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Random: a key that is deleted and created again under the same client id has another.
    pub key_id: KeyId,
    /// Unique on the server.
    pub client_id: ClientId,
    /// The server's organization when the key was created; empty by default.
    pub organization: String,
    /// None for a key that can only view and rotate itself.
    pub roles: Roles,
    pub application: Application,
    pub limits: Limits,
    pub created_at: Timestamp,
    /// The last change to the key or its secrets.
    pub updated_at: Timestamp,
    /// The key is refused from this instant on.
    pub expires_at: Option<Timestamp>,
    pub disabled_at: Option<Timestamp>,
    /// Included in the key's tokens; raising it revokes all earlier ones.
    pub epoch: u64,
    /// In the order they were created. Never empty.
    pub secrets: Vec<StoredSecret>,
}

impl ApiKey {
    /// The highest role.
    pub fn role(&self) -> Option<Role> {
        self.roles.highest()
    }
}
