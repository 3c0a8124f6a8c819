//! [`Action`]: the action that an entry records.

use std::fmt::{self, Display};

use gatekey_credentials::{Role, jwt::Algorithm};

use super::LedgerHead;
use crate::{KeyId, SecretId, id::Hex};

/// The action that an entry records, with its details.
///
/// Names and details are stored as text, and each entry's link covers them. Change neither: users
/// search their ledgers and exports for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'d> {
    ApiKeyCreate {
        key_id: KeyId,
        role: Option<Role>,
        /// The limits of the key as name-value pairs; empty without any.
        limits: &'d str,
    },
    /// A create was repeated; the key got one more secret.
    ApiKeyCreateReplay {
        secret: SecretId,
    },
    ApiKeyUpdate {
        /// The names of the changed fields.
        fields: &'d [&'static str],
        /// The new role, if the role changed.
        role: Option<Option<Role>>,
        /// The new limits as name-value pairs; empty if none changed.
        limits: &'d str,
    },
    ApiKeyAssignRole {
        role: Role,
    },
    ApiKeyUnassignRole {
        role: Role,
    },
    ApiKeyDelete,
    ApiKeyRotateSecret {
        secret: SecretId,
        grace_seconds: u64,
    },
    ApiKeyRetireSecret {
        secret: SecretId,
    },
    ApiKeyDisable,
    ApiKeyEnable,
    TokenRevoke {
        jti: &'d str,
    },
    SigningKeyRotate {
        algorithm: Algorithm,
        /// Whether the key is published first and signs later.
        is_next: bool,
    },
    SigningKeyRetire,
    RootKeyRotate {
        /// The version that was in use before.
        after: u32,
    },
    RootKeyRetire,
    /// Secrets that were hashed under an older version of the root key were hashed again.
    RootKeyRehashSecrets {
        secrets: u64,
    },
    StoreBackUp {
        has_passphrase: bool,
    },
    /// The rows of a store that is older than seals were sealed, once.
    StoreSeal {
        api_keys: u64,
        denials: u64,
        signing_keys: u64,
    },
    StoreRestore {
        /// When the backup was taken, in the format of RFC 3339.
        backup_of: &'d str,
    },
    /// Entries were moved to an archive.
    LedgerArchive {
        /// The sequence number of the first one.
        first: i64,
        /// The last one.
        last: LedgerHead,
    },
    /// An authenticated caller was refused.
    Refuse {
        reason: &'d str,
        /// Number of identical refusals without an entry since the last entry.
        unrecorded: u64,
    },
}

impl Action<'_> {
    /// Whether an action of that name changes the key that its entry names, and the time of the
    /// key's last change.
    pub(crate) fn changes_key(name: &str) -> bool {
        name.starts_with("api_key.")
    }

    /// The name of [`Self::Refuse`].
    pub(super) const REFUSE: &'static str = "refuse";

    /// The stored name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ApiKeyCreate { .. } => "api_key.create",
            Self::ApiKeyCreateReplay { .. } => "api_key.create_replay",
            Self::ApiKeyUpdate { .. } => "api_key.update",
            Self::ApiKeyAssignRole { .. } => "api_key.assign_role",
            Self::ApiKeyUnassignRole { .. } => "api_key.unassign_role",
            Self::ApiKeyDelete => "api_key.delete",
            Self::ApiKeyRotateSecret { .. } => "api_key.rotate_secret",
            Self::ApiKeyRetireSecret { .. } => "api_key.retire_secret",
            Self::ApiKeyDisable => "api_key.disable",
            Self::ApiKeyEnable => "api_key.enable",
            Self::TokenRevoke { .. } => "token.revoke",
            Self::SigningKeyRotate { .. } => "signing_key.rotate",
            Self::SigningKeyRetire => "signing_key.retire",
            Self::RootKeyRotate { .. } => "root_key.rotate",
            Self::RootKeyRetire => "root_key.retire",
            Self::RootKeyRehashSecrets { .. } => "root_key.rehash_secrets",
            Self::StoreBackUp { .. } => "store.back_up",
            Self::StoreSeal { .. } => "store.seal",
            Self::StoreRestore { .. } => "store.restore",
            Self::LedgerArchive { .. } => "ledger.archive",
            Self::Refuse { .. } => Self::REFUSE,
        }
    }

    /// The stored details: name-value pairs, or a sentence.
    pub fn detail(&self) -> String {
        match self {
            Self::ApiKeyCreate { key_id, role, limits } => {
                let created = format!("key_id={key_id} role={}", RoleName(*role));
                with_limits(created, limits)
            }
            Self::ApiKeyCreateReplay { secret } | Self::ApiKeyRetireSecret { secret } => {
                format!("secret={secret}")
            }
            Self::ApiKeyUpdate { fields, role, limits } => {
                let role = role.map(|role| format!(" role={}", RoleName(role)));
                let role = role.unwrap_or_default();
                with_limits(format!("fields={}{role}", fields.join(",")), limits)
            }
            Self::ApiKeyAssignRole { role } | Self::ApiKeyUnassignRole { role } => {
                format!("role={role}")
            }
            Self::ApiKeyRotateSecret { secret, grace_seconds } => {
                format!("secret={secret} grace={grace_seconds}s")
            }
            Self::TokenRevoke { jti } => format!("jti={jti}"),
            Self::SigningKeyRotate { algorithm, is_next: false } => algorithm.as_str().to_owned(),
            Self::SigningKeyRotate { algorithm, is_next: true } => format!("{algorithm} next"),
            Self::RootKeyRotate { after } => format!("after={after}"),
            Self::RootKeyRehashSecrets { secrets } => format!("secrets={secrets}"),
            Self::StoreBackUp { has_passphrase: true } => "with a passphrase".to_owned(),
            Self::StoreSeal { api_keys, denials, signing_keys } => {
                format!("api_keys={api_keys} denials={denials} signing_keys={signing_keys}")
            }
            Self::StoreRestore { backup_of } => format!("backup of {backup_of}"),
            Self::LedgerArchive { first, last: LedgerHead { sequence, link } } => {
                format!("first={first} last={sequence} link={}", Hex(link))
            }
            Self::Refuse { reason, unrecorded: 0 } => (*reason).to_owned(),
            Self::Refuse { reason, unrecorded } => {
                format!("{reason} ({unrecorded} more since the last entry)")
            }
            Self::ApiKeyDelete
            | Self::ApiKeyDisable
            | Self::ApiKeyEnable
            | Self::SigningKeyRetire
            | Self::RootKeyRetire
            | Self::StoreBackUp { has_passphrase: false } => String::new(),
        }
    }
}

fn with_limits(detail: String, limits: &str) -> String {
    if limits.is_empty() { detail } else { format!("{detail} {limits}") }
}

struct RoleName(Option<Role>);

impl Display for RoleName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.map_or("none", Role::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_names_and_details_never_change() {
        let (key_id, secret) = ("00".repeat(16).parse().unwrap(), "11".repeat(8).parse().unwrap());
        let fields = &["client_name", "role"];
        for (action, name, detail) in [
            (
                Action::ApiKeyCreate { key_id, role: Some(Role::Admin), limits: "" },
                "api_key.create",
                "key_id=00000000000000000000000000000000 role=admin",
            ),
            (
                Action::ApiKeyCreate { key_id, role: None, limits: "rate=1/s projects=a,b" },
                "api_key.create",
                "key_id=00000000000000000000000000000000 role=none rate=1/s projects=a,b",
            ),
            (
                Action::ApiKeyCreateReplay { secret },
                "api_key.create_replay",
                "secret=1111111111111111",
            ),
            (
                Action::ApiKeyUpdate { fields, role: Some(None), limits: "" },
                "api_key.update",
                "fields=client_name,role role=none",
            ),
            (
                Action::ApiKeyUpdate { fields: &fields[..1], role: None, limits: "" },
                "api_key.update",
                "fields=client_name",
            ),
            (
                Action::ApiKeyUpdate { fields: &["rate"], role: None, limits: "rate=any" },
                "api_key.update",
                "fields=rate rate=any",
            ),
            (Action::ApiKeyAssignRole { role: Role::Viewer }, "api_key.assign_role", "role=viewer"),
            (
                Action::ApiKeyUnassignRole { role: Role::Admin },
                "api_key.unassign_role",
                "role=admin",
            ),
            (Action::ApiKeyDelete, "api_key.delete", ""),
            (
                Action::ApiKeyRotateSecret { secret, grace_seconds: 60 },
                "api_key.rotate_secret",
                "secret=1111111111111111 grace=60s",
            ),
            (
                Action::ApiKeyRetireSecret { secret },
                "api_key.retire_secret",
                "secret=1111111111111111",
            ),
            (Action::ApiKeyDisable, "api_key.disable", ""),
            (Action::ApiKeyEnable, "api_key.enable", ""),
            (Action::TokenRevoke { jti: "1.2" }, "token.revoke", "jti=1.2"),
            (
                Action::SigningKeyRotate { algorithm: Algorithm::ES256, is_next: false },
                "signing_key.rotate",
                "ES256",
            ),
            (
                Action::SigningKeyRotate { algorithm: Algorithm::ES256, is_next: true },
                "signing_key.rotate",
                "ES256 next",
            ),
            (Action::SigningKeyRetire, "signing_key.retire", ""),
            (Action::RootKeyRotate { after: 1 }, "root_key.rotate", "after=1"),
            (Action::RootKeyRetire, "root_key.retire", ""),
            (Action::RootKeyRehashSecrets { secrets: 2 }, "root_key.rehash_secrets", "secrets=2"),
            (Action::StoreBackUp { has_passphrase: true }, "store.back_up", "with a passphrase"),
            (Action::StoreBackUp { has_passphrase: false }, "store.back_up", ""),
            (
                Action::StoreSeal { api_keys: 3, denials: 2, signing_keys: 1 },
                "store.seal",
                "api_keys=3 denials=2 signing_keys=1",
            ),
            (
                Action::StoreRestore { backup_of: "2026-01-01T00:00:00Z" },
                "store.restore",
                "backup of 2026-01-01T00:00:00Z",
            ),
            (
                Action::LedgerArchive {
                    first: 1,
                    last: LedgerHead { sequence: 9, link: [0xab; 32] },
                },
                "ledger.archive",
                concat!(
                    "first=1 last=9 link=abababababababababababababababab",
                    "abababababababababababababababab"
                ),
            ),
            (Action::Refuse { reason: "role", unrecorded: 0 }, "refuse", "role"),
            (
                Action::Refuse { reason: "role", unrecorded: 3 },
                "refuse",
                "role (3 more since the last entry)",
            ),
        ] {
            assert_eq!((action.name(), &*action.detail()), (name, detail));
        }
    }
}
