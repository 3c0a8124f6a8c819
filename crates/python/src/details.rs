//! [`KeyDetails`] and [`SecretDetails`]: an API key, as a Gatekey server describes it.

use std::time::SystemTime;

use pyo3::prelude::*;

/// All that a Gatekey server knows about a key. Dates are in UTC, or None if unset.
#[pyclass(frozen, get_all, eq, module = "gatekey")]
#[derive(PartialEq)]
pub(crate) struct KeyDetails {
    client_id: String,
    client_name: String,
    key_id: String,
    role: Option<String>,
    redirect_uris: Vec<String>,
    grant_types: Vec<String>,
    created_at: Option<SystemTime>,
    updated_at: Option<SystemTime>,
    expires_at: Option<SystemTime>,
    disabled_at: Option<SystemTime>,
    epoch: u64,
    secrets: Vec<SecretDetails>,
    organization: String,
    allow_from: Vec<String>,
    rate: Option<String>,
    projects: Vec<String>,
    domains: Vec<String>,
}

/// A secret of a key, without its value.
#[pyclass(frozen, get_all, eq, from_py_object, module = "gatekey")]
#[derive(Clone, PartialEq)]
pub(crate) struct SecretDetails {
    id: String,
    label: String,
    created_at: Option<SystemTime>,
    not_before: Option<SystemTime>,
    expires_at: Option<SystemTime>,
    last_used_at: Option<SystemTime>,
}

impl From<gatekey_client::KeyDetails> for KeyDetails {
    fn from(key: gatekey_client::KeyDetails) -> Self {
        Self {
            client_id: key.client_id,
            client_name: key.client_name,
            key_id: key.key_id,
            role: key.role.map(|role| role.to_string()),
            redirect_uris: key.redirect_uris,
            grant_types: key.grant_types,
            created_at: key.created_at,
            updated_at: key.updated_at,
            expires_at: key.expires_at,
            disabled_at: key.disabled_at,
            epoch: key.epoch,
            secrets: key.secrets.into_iter().map(SecretDetails::from).collect(),
            organization: key.organization,
            allow_from: key.allow_from,
            rate: key.rate,
            projects: key.projects,
            domains: key.domains,
        }
    }
}

impl From<gatekey_client::SecretDetails> for SecretDetails {
    fn from(secret: gatekey_client::SecretDetails) -> Self {
        Self {
            id: secret.id,
            label: secret.label,
            created_at: secret.created_at,
            not_before: secret.not_before,
            expires_at: secret.expires_at,
            last_used_at: secret.last_used_at,
        }
    }
}

#[pymethods]
impl KeyDetails {
    fn __repr__(&self) -> String {
        let state = if self.disabled_at.is_some() { "disabled" } else { "enabled" };
        let role = self.role.as_deref().unwrap_or("none");
        format!(
            "<KeyDetails {:?}, {state}, role {role}, {} secrets>",
            self.client_id,
            self.secrets.len()
        )
    }
}

#[pymethods]
impl SecretDetails {
    fn __repr__(&self) -> String {
        format!("<SecretDetails {:?}>", self.id)
    }
}
