//! An API key as text, JSON and YAML: one shape in all commands, documented in
//! `docs/reference/output.md`.

use std::time::SystemTime;

use gatekey_client::{ApiKey, KeyDetails, Role, SecretDetails};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{
    table,
    text::{bold, date, dim, printable, rfc_3339},
};
use crate::args::Format;

/// An API key.
///
/// Members are named as in OAuth's client registration (RFC 7591) where that has them. A member is
/// never left out: what does not apply, or what a server without Gatekey's API does not return, is
/// null. Later versions may add members.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[expect(clippy::struct_field_names, reason = "members are named as in the API")]
pub(crate) struct Key {
    /// The OAuth client id
    pub(crate) client_id: String,
    /// The human-readable name
    pub(crate) client_name: String,
    /// A random id: a key that is deleted and created again under its client id has another
    key_id: Option<String>,
    /// The organization of the server; may be empty
    organization: String,
    /// The role; null for a key without one
    pub(crate) role: Option<Role>,
    /// Whether the server accepts the key
    pub(crate) state: KeyState,
    /// The grants that the key may use
    grant_types: Vec<String>,
    /// The redirect URIs of the authorization code grant
    redirect_uris: Vec<String>,
    /// When the key was created
    #[serde(serialize_with = "at")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub(crate) created_at: Option<SystemTime>,
    /// When the key or a secret of it last changed
    #[serde(serialize_with = "at")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    updated_at: Option<SystemTime>,
    /// When the server begins to reject the key; null for never
    #[serde(serialize_with = "at")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub(crate) expires_at: Option<SystemTime>,
    /// When the key was disabled; null while it is enabled
    #[serde(serialize_with = "at")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    disabled_at: Option<SystemTime>,
    /// A counter that the key's tokens carry; raising it revokes earlier ones
    epoch: Option<u64>,
    /// The networks that the key may be used from; empty for any
    allow_from: Vec<String>,
    /// How often the key may be used, such as `100/s`; null for any rate
    rate: Option<String>,
    /// The Flyte projects that the gate admits the key for; empty for any
    projects: Vec<String>,
    /// The Flyte domains that the gate admits the key for; empty for any
    domains: Vec<String>,
    /// The secrets, oldest first
    secrets: Vec<KeySecret>,
}

/// A secret of a key, without its value.
#[derive(Debug, Clone, Serialize, JsonSchema)]
struct KeySecret {
    /// The id that `gatekey key retire` takes
    id: String,
    /// Free text
    label: String,
    /// Whether the secret gets tokens, if its key does
    state: SecretState,
    /// When the secret was created
    #[serde(serialize_with = "at")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    created_at: Option<SystemTime>,
    /// When the secret becomes valid
    #[serde(serialize_with = "at")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    not_before: Option<SystemTime>,
    /// When the server begins to reject the secret; null for never
    #[serde(serialize_with = "at")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    expires_at: Option<SystemTime>,
    /// When it last fetched a token, up to a minute late; null for never
    #[serde(serialize_with = "at")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    last_used_at: Option<SystemTime>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum KeyState {
    Enabled,
    Disabled,
    Expired,
}

impl KeyState {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Expired => "expired",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum SecretState {
    Valid,
    NotYetValid,
    Expired,
}

impl SecretState {
    fn name(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::NotYetValid => "not yet valid",
            Self::Expired => "expired",
        }
    }
}

#[expect(clippy::ref_option, reason = "serde passes the field by reference")]
fn at<S: serde::Serializer>(
    instant: &Option<SystemTime>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    instant.map(|instant| rfc_3339(instant, true)).serialize(serializer)
}

impl Key {
    pub(crate) fn of_details(key: KeyDetails, now: SystemTime) -> Self {
        let state = if key.disabled_at.is_some() {
            KeyState::Disabled
        } else if key.expires_at.is_some_and(|at| at <= now) {
            KeyState::Expired
        } else {
            KeyState::Enabled
        };
        Self {
            state,
            client_id: key.client_id,
            client_name: key.client_name,
            key_id: Some(key.key_id),
            organization: key.organization,
            role: key.role,
            grant_types: key.grant_types,
            redirect_uris: key.redirect_uris,
            created_at: key.created_at,
            updated_at: key.updated_at,
            expires_at: key.expires_at,
            disabled_at: key.disabled_at,
            epoch: Some(key.epoch),
            allow_from: key.allow_from,
            rate: key.rate,
            projects: key.projects,
            domains: key.domains,
            secrets: key.secrets.into_iter().map(|secret| KeySecret::of(secret, now)).collect(),
        }
    }

    /// A key of the public API, which has no role, states and secrets.
    pub(crate) fn of_public_api(key: &ApiKey) -> Self {
        let fields = key.to_dict();
        let texts = |name: &str| {
            let values = fields.get(name).and_then(Value::as_array);
            values.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned)
        };
        let instant = |name: &str| {
            fields
                .get(name)
                .and_then(Value::as_str)
                .and_then(|text| humantime::parse_rfc3339(text).ok())
        };
        Self {
            client_id: key.client_id().to_owned(),
            client_name: key.client_name().to_owned(),
            key_id: None,
            organization: key.organization().unwrap_or_default().to_owned(),
            role: None,
            state: KeyState::Enabled,
            grant_types: texts("grantTypes").map(|grant| grant.to_ascii_lowercase()).collect(),
            redirect_uris: texts("redirectUris").collect(),
            created_at: instant("clientIdIssuedAt"),
            updated_at: None,
            expires_at: instant("clientSecretExpiresAt"),
            disabled_at: None,
            epoch: None,
            allow_from: Vec::new(),
            rate: None,
            projects: Vec::new(),
            domains: Vec::new(),
            secrets: Vec::new(),
        }
    }

    pub(crate) fn print(&self, format: Format) -> anyhow::Result<()> {
        if let Some(notation) = format.notation() {
            return notation.print(self);
        }
        for (title, value) in [
            ("client id", bold(&printable(&self.client_id))),
            ("name", printable(&self.client_name).into_owned()),
            ("key id", printable(self.key_id.as_deref().unwrap_or_default()).into_owned()),
            ("role", self.role_name()),
            ("state", self.state.name().to_owned()),
            ("created", date(self.created_at, "")),
            ("changed", date(self.updated_at, "")),
            ("expires", date(self.expires_at, "never")),
            ("grants", printable(&self.grant_types.join(" ")).into_owned()),
            ("redirect URIs", printable(&self.redirect_uris.join(" ")).into_owned()),
        ] {
            say!("{}  {value}", dim(&format!("{title:<13}")))?;
        }
        for (title, value) in [
            ("networks", self.allow_from.join(" ")),
            ("rate", self.rate.clone().unwrap_or_default()),
            ("projects", self.projects.join(" ")),
            ("domains", self.domains.join(" ")),
        ] {
            if !value.is_empty() {
                say!("{}  {}", dim(&format!("{title:<13}")), printable(&value))?;
            }
        }
        if self.secrets.is_empty() {
            return Ok(());
        }
        let rows = self.secrets.iter().map(|secret| {
            vec![
                secret.id.clone(),
                secret.label.clone(),
                secret.state.name().to_owned(),
                date(secret.created_at, ""),
                date(secret.expires_at, "never"),
                date(secret.last_used_at, "never"),
            ]
        });
        let header = ["SECRET", "LABEL", "STATE", "CREATED", "EXPIRES", "LAST USED"];
        say!("\n{}", table(&header, rows))?;
        Ok(())
    }

    pub(crate) fn role_name(&self) -> String {
        self.role.map_or_else(|| "none".to_owned(), |role| role.to_string())
    }

    /// The last time that one of its secrets fetched a token.
    pub(crate) fn last_used_at(&self) -> Option<SystemTime> {
        self.secrets.iter().filter_map(|secret| secret.last_used_at).max()
    }
}

impl KeySecret {
    fn of(secret: SecretDetails, now: SystemTime) -> Self {
        let state = if secret.expires_at.is_some_and(|at| at <= now) {
            SecretState::Expired
        } else if secret.not_before.is_some_and(|at| now < at) {
            SecretState::NotYetValid
        } else {
            SecretState::Valid
        };
        Self {
            state,
            id: secret.id,
            label: secret.label,
            created_at: secret.created_at,
            not_before: secret.not_before,
            expires_at: secret.expires_at,
            last_used_at: secret.last_used_at,
        }
    }
}
