//! `gatekey.v1.ApiKey` and its requests.

use buffa::EnumValue;
use gatekey_core::{
    ApiKey, ApiKeyPatch, Application, Error, StoredSecret,
    api_key::{
        CreateApiKey, DEFAULT_REDIRECT_URI, GrantType, InvalidRate, LastAdmin, Limits, Rate,
        RotateSecret,
    },
    network::{Network, Networks},
};
use gatekey_credentials::Role;
use gatekey_proto::gatekey::v1 as wire;

use super::{known, timestamp};

/// Converts a key, without its secrets.
pub fn from_key(key: &ApiKey) -> wire::ApiKey {
    wire::ApiKey {
        client_id: key.client_id.to_string(),
        client_name: key.application.client_name.clone(),
        key_id: key.key_id.to_string(),
        role: role(key.role()).into(),
        redirect_uris: key.application.redirect_uris.clone(),
        grant_types: key
            .application
            .grant_types
            .iter()
            .map(|kind| grant_type(*kind).into())
            .collect(),
        created_at: timestamp::to_wire(key.created_at).into(),
        updated_at: timestamp::to_wire(key.updated_at).into(),
        expires_at: key.expires_at.map(timestamp::to_wire).into(),
        disabled_at: key.disabled_at.map(timestamp::to_wire).into(),
        epoch: key.epoch,
        secrets: key.secrets.iter().map(from_secret).collect(),
        organization: key.organization.clone(),
        allow_from: key.limits.allow_from.iter().map(ToString::to_string).collect(),
        rate: key.limits.rate.map(|rate| rate.to_string()).unwrap_or_default(),
        projects: key.limits.projects.clone(),
        domains: key.limits.domains.clone(),
        ..Default::default()
    }
}

fn from_secret(secret: &StoredSecret) -> wire::Secret {
    wire::Secret {
        id: secret.id.to_string(),
        label: secret.label.clone(),
        created_at: timestamp::to_wire(secret.created_at).into(),
        not_before: timestamp::to_wire(secret.not_before).into(),
        expires_at: secret.expires_at.map(timestamp::to_wire).into(),
        last_used_at: secret.last_used_at.map(timestamp::to_wire).into(),
        ..Default::default()
    }
}

/// Converts a Create.
///
/// # Errors
/// [`Error::Invalid`] for an unknown enum number, an invalid expiry or limit, or a role together
/// with `without_role`.
pub fn create(request: wire::CreateRequest) -> Result<CreateApiKey, Error> {
    let role = match (role_from(request.role)?, request.without_role) {
        (Some(_), true) => return Err(Error::invalid("without_role", "excludes role")),
        (None, true) => None,
        (role, false) => role.or(Some(Role::Contributor)),
    };
    let mut application = Application::named(request.client_name);
    if !request.redirect_uris.is_empty() {
        application.redirect_uris = request.redirect_uris;
    }
    Ok(CreateApiKey {
        client_id: request.client_id,
        application,
        role,
        expires_at: request
            .expires_at
            .as_option()
            .map(|at| timestamp::from_wire("expires_at", at))
            .transpose()?,
        secret_label: request.secret_label,
        limits: Limits {
            allow_from: networks(&request.allow_from)?,
            rate: rate(&request.rate)?,
            projects: request.projects,
            domains: request.domains,
        },
    })
}

fn networks(texts: &[String]) -> Result<Networks, Error> {
    let networks =
        texts.iter().map(|text| text.parse::<Network>()).collect::<Result<Networks, _>>();
    networks.map_err(|rule| Error::invalid("allow_from", rule.to_string()))
}

/// Converts a rate; empty is none.
fn rate(text: &str) -> Result<Option<Rate>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|rule: InvalidRate| Error::invalid("rate", rule.to_string()))
}

/// The fields that an Update can change.
const CHANGEABLE: &str =
    "client_name, role, redirect_uris, expires_at, allow_from, rate, projects and domains";

/// Converts an Update: the client id of the key, and the changes.
///
/// # Errors
/// [`Error::Invalid`] for a missing key or mask, or a path that cannot be changed.
pub fn patch(request: wire::UpdateRequest) -> Result<(String, ApiKeyPatch), Error> {
    let key =
        request.api_key.into_option().ok_or_else(|| Error::invalid("api_key", "must be set"))?;
    let mask = request.update_mask.into_option().unwrap_or_default();
    if mask.paths.is_empty() {
        let rule = format!("must name the fields to change, of {CHANGEABLE}");
        return Err(Error::invalid("update_mask", rule));
    }
    let mut patch = ApiKeyPatch::default();
    for path in &mask.paths {
        match path.as_str() {
            "client_name" => patch.client_name = Some(key.client_name.clone()),
            "role" => patch.role = Some(role_from(key.role)?),
            "redirect_uris" => {
                let uris = key.redirect_uris.clone();
                let defaults = vec![DEFAULT_REDIRECT_URI.to_owned()];
                patch.redirect_uris = Some(if uris.is_empty() { defaults } else { uris });
            }
            "expires_at" => {
                let at =
                    key.expires_at.as_option().map(|at| timestamp::from_wire("expires_at", at));
                patch.expires_at = Some(at.transpose()?);
            }
            "allow_from" => patch.allow_from = Some(networks(&key.allow_from)?),
            "rate" => patch.rate = Some(rate(&key.rate)?),
            "projects" => patch.projects = Some(key.projects.clone()),
            "domains" => patch.domains = Some(key.domains.clone()),
            _ => {
                let rule = format!("must contain only {CHANGEABLE}");
                return Err(Error::invalid("update_mask", rule));
            }
        }
    }
    Ok((key.client_id, patch))
}

/// Converts a `RotateSecret`.
///
/// # Errors
/// [`Error::Invalid`] for a negative grace or an invalid expiry.
pub fn rotate(request: wire::RotateSecretRequest) -> Result<RotateSecret, Error> {
    let grace =
        request.grace.as_option().map(|grace| timestamp::duration_from_wire("grace", grace));
    let expires_at =
        request.expires_at.as_option().map(|at| timestamp::from_wire("expires_at", at));
    Ok(RotateSecret {
        grace: grace.transpose()?.unwrap_or_default(),
        label: request.secret_label,
        expires_at: expires_at.transpose()?,
        only_key: None,
        proven_by: None,
    })
}

/// Converts the `force` of a request.
pub fn last_admin(force: bool) -> LastAdmin {
    if force { LastAdmin::Release } else { LastAdmin::Keep }
}

fn role(role: Option<Role>) -> wire::Role {
    match role {
        None => wire::Role::ROLE_UNSPECIFIED,
        Some(Role::Admin) => wire::Role::ROLE_ADMIN,
        Some(Role::Contributor) => wire::Role::ROLE_CONTRIBUTOR,
        Some(Role::Viewer) => wire::Role::ROLE_VIEWER,
        Some(Role::Verifier) => wire::Role::ROLE_VERIFIER,
    }
}

fn role_from(role: EnumValue<wire::Role>) -> Result<Option<Role>, Error> {
    Ok(match known("role", role)? {
        wire::Role::ROLE_UNSPECIFIED => None,
        wire::Role::ROLE_ADMIN => Some(Role::Admin),
        wire::Role::ROLE_CONTRIBUTOR => Some(Role::Contributor),
        wire::Role::ROLE_VIEWER => Some(Role::Viewer),
        wire::Role::ROLE_VERIFIER => Some(Role::Verifier),
    })
}

/// Omits grants that only the public API has a name for.
fn grant_type(kind: GrantType) -> wire::GrantType {
    match kind {
        GrantType::AuthorizationCode => wire::GrantType::GRANT_TYPE_AUTHORIZATION_CODE,
        GrantType::ClientCredentials => wire::GrantType::GRANT_TYPE_CLIENT_CREDENTIALS,
        GrantType::RefreshToken => wire::GrantType::GRANT_TYPE_REFRESH_TOKEN,
        GrantType::DeviceCode => wire::GrantType::GRANT_TYPE_DEVICE_CODE,
        GrantType::Implicit | GrantType::Password => wire::GrantType::GRANT_TYPE_UNSPECIFIED,
    }
}
