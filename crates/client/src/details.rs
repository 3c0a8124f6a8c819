//! [`KeyDetails`]: an API key, as a Gatekey server describes it.

use std::time::SystemTime;

use buffa::EnumValue;
use buffa_types::google::protobuf::Timestamp;
use gatekey_credentials::Role;
use gatekey_proto::gatekey::v1;
use serde::{Serialize, Serializer};

use crate::{Error, error::no_key_in_response};

/// All that a Gatekey server knows about a key: `gatekey.v1.ApiKey`.
///
/// It serializes to JSON with names in camelCase, dates in RFC 3339, and without unset fields.
///
/// ```no_run
/// # async fn example(client: gatekey_client::Client) -> Result<(), gatekey_client::Error> {
/// let key = gatekey_client::ApiKey::details(&client, "ci-pipeline").await?;
/// for secret in &key.secrets {
///     println!("{} last used {:?}", secret.id, secret.last_used_at);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct KeyDetails {
    /// The OAuth client id.
    pub client_id: String,
    /// The human-readable name, 1 to 200 characters.
    pub client_name: String,
    /// A random id, assigned at creation: if a key is deleted and its client id is used again, the
    /// new key has another key id.
    pub key_id: String,
    /// The role. A key without a role can only look up and rotate itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// The redirect URIs of the authorization code grant.
    pub redirect_uris: Vec<String>,
    /// The grants that the key may use, by their OAuth names (RFC 6749 section 1.3).
    pub grant_types: Vec<String>,
    /// The time of creation.
    #[serde(serialize_with = "date", skip_serializing_if = "Option::is_none")]
    pub created_at: Option<SystemTime>,
    /// The time of the last change.
    #[serde(serialize_with = "date", skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<SystemTime>,
    /// The time from which the key is rejected; `None` means never.
    #[serde(serialize_with = "date", skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<SystemTime>,
    /// The time at which the key was disabled; `None` while it is enabled.
    #[serde(serialize_with = "date", skip_serializing_if = "Option::is_none")]
    pub disabled_at: Option<SystemTime>,
    /// A counter that every token of the key carries. Raising it revokes all earlier tokens.
    pub epoch: u64,
    /// The secrets of the key, without their values.
    pub secrets: Vec<SecretDetails>,
    /// The server's organization; may be empty.
    pub organization: String,
    /// The networks that the key may be used from; empty means any.
    pub allow_from: Vec<String>,
    /// How often the key may be used, such as `100/s`; `None` means any rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<String>,
    /// The Flyte projects that the gate admits the key for; empty means any.
    pub projects: Vec<String>,
    /// The Flyte domains that the gate admits the key for; empty means any.
    pub domains: Vec<String>,
}

/// A secret of a key, without its value: `gatekey.v1.Secret`.
///
/// ```no_run
/// # fn example(secret: gatekey_client::SecretDetails) {
/// println!("{} ({})", secret.id, secret.label);
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SecretDetails {
    /// The id, to pass to [`ApiKey::retire_secret`](crate::ApiKey::retire_secret).
    pub id: String,
    /// Free text, at most 200 characters.
    pub label: String,
    /// The time of creation.
    #[serde(serialize_with = "date", skip_serializing_if = "Option::is_none")]
    pub created_at: Option<SystemTime>,
    /// The time before which the secret is rejected; `None` means that it is valid from its
    /// creation.
    #[serde(serialize_with = "date", skip_serializing_if = "Option::is_none")]
    pub not_before: Option<SystemTime>,
    /// The time from which the secret is rejected; `None` means never.
    #[serde(serialize_with = "date", skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<SystemTime>,
    /// The last time at which the secret fetched a token; `None` means never. It may lag by a
    /// minute.
    #[serde(serialize_with = "date", skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<SystemTime>,
}

impl KeyDetails {
    pub(crate) fn from_response(key: Option<v1::ApiKey>, operation: &str) -> Result<Self, Error> {
        key.map(Self::from).ok_or_else(|| no_key_in_response(operation))
    }
}

impl From<v1::ApiKey> for KeyDetails {
    fn from(key: v1::ApiKey) -> Self {
        Self {
            role: key.role.as_known().and_then(role_from_wire),
            grant_types: key
                .grant_types
                .iter()
                .filter_map(EnumValue::as_known)
                .filter_map(grant_name)
                .collect(),
            created_at: time_from_wire(key.created_at.as_option()),
            updated_at: time_from_wire(key.updated_at.as_option()),
            expires_at: time_from_wire(key.expires_at.as_option()),
            disabled_at: time_from_wire(key.disabled_at.as_option()),
            client_id: key.client_id,
            client_name: key.client_name,
            key_id: key.key_id,
            redirect_uris: key.redirect_uris,
            epoch: key.epoch,
            secrets: key.secrets.into_iter().map(SecretDetails::from).collect(),
            organization: key.organization,
            allow_from: key.allow_from,
            rate: Some(key.rate).filter(|rate| !rate.is_empty()),
            projects: key.projects,
            domains: key.domains,
        }
    }
}

impl From<v1::Secret> for SecretDetails {
    fn from(secret: v1::Secret) -> Self {
        Self {
            created_at: time_from_wire(secret.created_at.as_option()),
            not_before: time_from_wire(secret.not_before.as_option()),
            expires_at: time_from_wire(secret.expires_at.as_option()),
            last_used_at: time_from_wire(secret.last_used_at.as_option()),
            id: secret.id,
            label: secret.label,
        }
    }
}

pub(crate) fn role_to_wire(role: Role) -> v1::Role {
    match role {
        Role::Admin => v1::Role::ROLE_ADMIN,
        Role::Contributor => v1::Role::ROLE_CONTRIBUTOR,
        Role::Viewer => v1::Role::ROLE_VIEWER,
        Role::Verifier => v1::Role::ROLE_VERIFIER,
    }
}

fn role_from_wire(role: v1::Role) -> Option<Role> {
    match role {
        v1::Role::ROLE_UNSPECIFIED => None,
        v1::Role::ROLE_ADMIN => Some(Role::Admin),
        v1::Role::ROLE_CONTRIBUTOR => Some(Role::Contributor),
        v1::Role::ROLE_VIEWER => Some(Role::Viewer),
        v1::Role::ROLE_VERIFIER => Some(Role::Verifier),
    }
}

fn grant_name(grant: v1::GrantType) -> Option<String> {
    let name = match grant {
        v1::GrantType::GRANT_TYPE_UNSPECIFIED => return None,
        v1::GrantType::GRANT_TYPE_AUTHORIZATION_CODE => "authorization_code",
        v1::GrantType::GRANT_TYPE_CLIENT_CREDENTIALS => "client_credentials",
        v1::GrantType::GRANT_TYPE_REFRESH_TOKEN => "refresh_token",
        v1::GrantType::GRANT_TYPE_DEVICE_CODE => "urn:ietf:params:oauth:grant-type:device_code",
    };
    Some(name.to_owned())
}

/// Treats a timestamp outside the range of [`SystemTime`] as unset.
fn time_from_wire(timestamp: Option<&Timestamp>) -> Option<SystemTime> {
    timestamp.and_then(|timestamp| timestamp.clone().try_into().ok())
}

/// Writes a date in RFC 3339, as proto3 JSON does.
#[expect(clippy::ref_option, reason = "serde passes the field by reference")]
fn date<S: Serializer>(date: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    date.map(Timestamp::from).serialize(serializer)
}
