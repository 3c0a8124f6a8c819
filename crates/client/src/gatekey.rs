//! What only a Gatekey server can do: `gatekey.v1.ApiKeyService`.

use std::time::{Duration, SystemTime};

use buffa::EnumValue;
use buffa_types::google::protobuf::{FieldMask, Timestamp};
use gatekey_credentials::Role;
use gatekey_proto::{
    cloudidl::identity::{App, GrantTypes, ResponseTypes, TokenEndpointAuthMethod},
    gatekey::v1,
};
use serde::{Serialize, Serializer};

use crate::{
    ApiKey, Client, CreateOptions, Error,
    api_key::{Listing, Naming, Page, Pages, describe, redirect_uris_or_default},
};

/// Most keys asked for in one page: what a Gatekey server serves at most.
const PAGE_SIZE: usize = 1000;

type Service = v1::ApiKeyServiceClient<connectrpc::client::HttpClient>;

/// Everything a Gatekey server knows about a key: `gatekey.v1.ApiKey`.
///
/// As JSON (it is [`Serialize`]) names are in camelCase, dates in RFC 3339, and what is unset is left out.
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
    /// What names the key.
    pub client_id: String,
    /// The name that people read.
    pub client_name: String,
    /// Random, given at creation: a key deleted and made again under its client id is another key.
    pub key_id: String,
    /// What the key may do; none lets it do nothing but look at and rotate itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Where the authorization-code grant may lead.
    pub redirect_uris: Vec<String>,
    /// The grants that the key may use, as OAuth writes them (RFC 6749 section 1.3).
    pub grant_types: Vec<String>,
    /// When the key was made.
    #[serde(serialize_with = "date", skip_serializing_if = "Option::is_none")]
    pub created_at: Option<SystemTime>,
    /// When the key was changed last.
    #[serde(serialize_with = "date", skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<SystemTime>,
    /// The key is refused from then on; none means never.
    #[serde(serialize_with = "date", skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<SystemTime>,
    /// Since when the key is disabled; none while it is enabled.
    #[serde(serialize_with = "date", skip_serializing_if = "Option::is_none")]
    pub disabled_at: Option<SystemTime>,
    /// Tokens carry it; raising it kills every earlier token of the key.
    pub epoch: u64,
    /// The secrets that prove the key, without the secrets themselves.
    pub secrets: Vec<SecretDetails>,
    /// The organization that the server serves; may be empty.
    pub organization: String,
}

/// One of a key's secrets, without the secret itself: `gatekey.v1.Secret`.
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
    /// Identifies the secret; [`ApiKey::retire_secret`] takes it.
    pub id: String,
    /// Free text for people, at most 200 characters.
    pub label: String,
    /// When the secret was made.
    #[serde(serialize_with = "date", skip_serializing_if = "Option::is_none")]
    pub created_at: Option<SystemTime>,
    /// The secret is refused before then; none means from its creation on it is good.
    #[serde(serialize_with = "date", skip_serializing_if = "Option::is_none")]
    pub not_before: Option<SystemTime>,
    /// The secret is refused from then on; none means never.
    #[serde(serialize_with = "date", skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<SystemTime>,
    /// When the secret last fetched a token, seconds late; none means never.
    #[serde(serialize_with = "date", skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<SystemTime>,
}

/// How [`ApiKey::rotate`] rotates.
///
/// ```
/// use std::time::Duration;
/// use gatekey_client::RotateOptions;
///
/// let options = RotateOptions { grace: Duration::from_secs(24 * 60 * 60), ..RotateOptions::default() };
/// assert_eq!(options.label, None);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RotateOptions {
    /// How long the secrets that are valid now stay valid, at most 90 days; the default, zero, retires them
    /// at once and kills every token of the key.
    pub grace: Duration,
    /// Free text kept with the new secret, at most 200 characters.
    pub label: Option<String>,
    /// The new secret is refused from then on; none means never.
    pub expires_at: Option<SystemTime>,
}

/// What [`ApiKey::update_settings`] changes; what is left out (`None`) stays as it is.
///
/// ```
/// use gatekey_client::{Role, SettingsUpdate};
///
/// let promote = SettingsUpdate { role: Some(Some(Role::Admin)), ..SettingsUpdate::default() };
/// let never_expire = SettingsUpdate { expires_at: Some(None), ..SettingsUpdate::default() };
/// assert_ne!(promote, never_expire);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SettingsUpdate {
    /// A new name.
    pub client_name: Option<String>,
    /// A new role; `Some(None)` takes it away.
    pub role: Option<Option<Role>>,
    /// New redirect URIs; an empty list stands for the default one.
    pub redirect_uris: Option<Vec<String>>,
    /// A new expiry; `Some(None)` means never.
    pub expires_at: Option<Option<SystemTime>>,
}

impl ApiKey {
    /// Gives a key a new secret, and retires the others after a grace. Needs a Gatekey server.
    ///
    /// The answer has the new secret, this once. A key may rotate itself.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found) when there is no such key, and
    /// [`is_invalid_argument`](Error::is_invalid_argument) when the grace is longer than 90 days or the
    /// expiry past.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use gatekey_client::{ApiKey, RotateOptions};
    ///
    /// # async fn example(client: gatekey_client::Client) -> Result<(), gatekey_client::Error> {
    /// let options = RotateOptions { grace: Duration::from_secs(3600), ..RotateOptions::default() };
    /// let key = ApiKey::rotate(&client, "ci-pipeline", options).await?;
    /// println!("the new secret: {}", key.client_secret());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn rotate(client: &Client, client_id: &str, options: RotateOptions) -> Result<Self, Error> {
        let request = v1::RotateSecretRequest {
            client_id: client_id.to_owned(),
            grace: buffa_types::google::protobuf::Duration::from(options.grace).into(),
            secret_label: options.label.unwrap_or_default(),
            expires_at: options.expires_at.map(Timestamp::from).into(),
            ..v1::RotateSecretRequest::default()
        };
        let operation = describe("rotate", client_id);
        let service = service(client);
        let answer = client
            .call(&operation, |options| service.rotate_secret_with_options(request.clone(), options))
            .await?
            .into_owned();
        Self::with_new_secret(client, answer.api_key.into_option(), answer.client_secret, &operation).await
    }

    /// Refuses a key and its tokens until it is enabled again. Needs a Gatekey server.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found) when there is none.
    ///
    /// ```no_run
    /// # async fn example(client: gatekey_client::Client) -> Result<(), gatekey_client::Error> {
    /// let key = gatekey_client::ApiKey::disable(&client, "ci-pipeline").await?;
    /// assert!(key.disabled_at.is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn disable(client: &Client, client_id: &str) -> Result<KeyDetails, Error> {
        let request = v1::DisableRequest { client_id: client_id.to_owned(), ..v1::DisableRequest::default() };
        let operation = describe("disable", client_id);
        let service = service(client);
        let answer = client
            .call(&operation, |options| service.disable_with_options(request.clone(), options))
            .await?
            .into_owned();
        KeyDetails::from_answer(answer.api_key.into_option(), &operation)
    }

    /// Lets a disabled key in again; tokens from before stay dead. Needs a Gatekey server.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found) when there is none.
    ///
    /// ```no_run
    /// # async fn example(client: gatekey_client::Client) -> Result<(), gatekey_client::Error> {
    /// let key = gatekey_client::ApiKey::enable(&client, "ci-pipeline").await?;
    /// assert_eq!(key.disabled_at, None);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn enable(client: &Client, client_id: &str) -> Result<KeyDetails, Error> {
        let request = v1::EnableRequest { client_id: client_id.to_owned(), ..v1::EnableRequest::default() };
        let operation = describe("enable", client_id);
        let service = service(client);
        let answer = client
            .call(&operation, |options| service.enable_with_options(request.clone(), options))
            .await?
            .into_owned();
        KeyDetails::from_answer(answer.api_key.into_option(), &operation)
    }

    /// Retires one secret of a key at once, and with it the tokens that it fetched. Needs a Gatekey server.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found) when there is no such key or secret.
    ///
    /// ```no_run
    /// # async fn example(client: gatekey_client::Client) -> Result<(), gatekey_client::Error> {
    /// use gatekey_client::ApiKey;
    ///
    /// let key = ApiKey::details(&client, "ci-pipeline").await?;
    /// if let [_newest, oldest] = key.secrets.as_slice() {
    ///     ApiKey::retire_secret(&client, "ci-pipeline", &oldest.id).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn retire_secret(
        client: &Client,
        client_id: &str,
        secret_id: &str,
    ) -> Result<KeyDetails, Error> {
        let request = v1::RetireSecretRequest {
            client_id: client_id.to_owned(),
            secret_id: secret_id.to_owned(),
            ..v1::RetireSecretRequest::default()
        };
        let operation = describe("retire a secret of", client_id);
        let service = service(client);
        let answer = client
            .call(&operation, |options| service.retire_secret_with_options(request.clone(), options))
            .await?
            .into_owned();
        KeyDetails::from_answer(answer.api_key.into_option(), &operation)
    }

    /// Looks up everything that a Gatekey server knows about a key. A key may look at itself.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found) when there is none.
    ///
    /// ```no_run
    /// # async fn example(client: gatekey_client::Client) -> Result<(), gatekey_client::Error> {
    /// let key = gatekey_client::ApiKey::details(&client, "ci-pipeline").await?;
    /// println!("{:?}, epoch {}", key.role, key.epoch);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn details(client: &Client, client_id: &str) -> Result<KeyDetails, Error> {
        let request = v1::GetRequest { client_id: client_id.to_owned(), ..v1::GetRequest::default() };
        let operation = describe("get", client_id);
        let service = service(client);
        let answer = client
            .call(&operation, |options| service.get_with_options(request.clone(), options))
            .await?
            .into_owned();
        KeyDetails::from_answer(answer.api_key.into_option(), &operation)
    }

    /// Lists everything that a Gatekey server knows about its keys, as [`ApiKey::listall`] lists keys.
    ///
    /// ```no_run
    /// use futures::TryStreamExt;
    ///
    /// # async fn example(client: gatekey_client::Client) -> Result<(), gatekey_client::Error> {
    /// let mut keys = gatekey_client::ApiKey::list_details(&client, None);
    /// while let Some(key) = keys.try_next().await? {
    ///     println!("{} {:?}", key.client_id, key.expires_at);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn list_details(client: &Client, limit: impl Into<Option<usize>>) -> Listing<KeyDetails> {
        let client = client.clone();
        let pages = Pages::new(limit.into(), PAGE_SIZE, move |page_size, page_token| {
            let client = client.clone();
            async move { KeyDetails::page(&client, page_size, page_token).await }
        });
        Listing::new(pages.follow())
    }

    /// Changes name, role, redirect URIs or expiry of a key, and nothing else. Needs a Gatekey server.
    ///
    /// Unlike [`ApiKey::update`] it sends a field mask, so that a change by somebody else is not undone, and
    /// a role or an expiry can be taken away.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found) when there is none, and
    /// [`is_invalid_argument`](Error::is_invalid_argument) when a value breaks a rule.
    ///
    /// ```no_run
    /// use gatekey_client::{ApiKey, Role, SettingsUpdate};
    ///
    /// # async fn example(client: gatekey_client::Client) -> Result<(), gatekey_client::Error> {
    /// let update = SettingsUpdate { role: Some(Some(Role::Viewer)), ..SettingsUpdate::default() };
    /// let key = ApiKey::update_settings(&client, "ci-pipeline", update).await?;
    /// assert_eq!(key.role, Some(Role::Viewer));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn update_settings(
        client: &Client,
        client_id: &str,
        update: SettingsUpdate,
    ) -> Result<KeyDetails, Error> {
        let request = update_request(client_id, update);
        let operation = describe("update", client_id);
        let service = service(client);
        let answer = client
            .call(&operation, |options| service.update_with_options(request.clone(), options))
            .await?
            .into_owned();
        KeyDetails::from_answer(answer.api_key.into_option(), &operation)
    }

    /// Makes a key with what the wire of the public clients cannot say.
    pub(crate) async fn create_on_gatekey(
        client: &Client,
        options: CreateOptions,
        naming: Naming,
    ) -> Result<Self, Error> {
        let operation = describe("create", &naming.client_id);
        let request = v1::CreateRequest {
            client_id: naming.client_id,
            client_name: naming.client_name,
            role: options.role.map_or(v1::Role::ROLE_UNSPECIFIED, role_to_wire).into(),
            without_role: options.skip_default_policy_assignments,
            redirect_uris: redirect_uris_or_default(options.redirect_uris),
            expires_at: options.expires_at.map(Timestamp::from).into(),
            secret_label: options.secret_label.unwrap_or_default(),
            ..v1::CreateRequest::default()
        };
        let service = service(client);
        let answer = client
            .call(&operation, |options| service.create_with_options(request.clone(), options))
            .await?
            .into_owned();
        Self::with_new_secret(client, answer.api_key.into_option(), answer.client_secret, &operation).await
    }

    /// The key of an answer that has a secret, in the shape of the public wire.
    ///
    /// The secret is shown once, so no failure from here on may lose it: when the key cannot be looked up,
    /// what the answer says of it must do.
    async fn with_new_secret(
        client: &Client,
        key: Option<v1::ApiKey>,
        secret: String,
        operation: &str,
    ) -> Result<Self, Error> {
        let key = key.ok_or_else(|| {
            Error::internal(format!("could not {operation}: the server's answer has no API key"))
        })?;
        let found = if let Ok(found) = Self::get(client, &key.client_id).await {
            found
        } else {
            let organization = client.organization().unwrap_or_default();
            Self::from_answer(Some(app_of(key)), operation, organization)?
        };
        found.with_secret(secret).encoded_for(client)
    }
}

impl KeyDetails {
    async fn page(client: &Client, page_size: u32, page_token: String) -> Result<Page<Self>, Error> {
        let request = v1::ListRequest { page_size, page_token, ..v1::ListRequest::default() };
        let service = service(client);
        let answer = client
            .call("list API keys", |options| service.list_with_options(request.clone(), options))
            .await?
            .into_owned();
        Ok(Page {
            items: answer.api_keys.into_iter().map(Self::from).collect(),
            next_token: answer.next_page_token,
        })
    }

    fn from_answer(key: Option<v1::ApiKey>, operation: &str) -> Result<Self, Error> {
        key.map(Self::from).ok_or_else(|| {
            Error::internal(format!("could not {operation}: the server's answer has no API key"))
        })
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
            created_at: time_of(key.created_at.as_option()),
            updated_at: time_of(key.updated_at.as_option()),
            expires_at: time_of(key.expires_at.as_option()),
            disabled_at: time_of(key.disabled_at.as_option()),
            client_id: key.client_id,
            client_name: key.client_name,
            key_id: key.key_id,
            redirect_uris: key.redirect_uris,
            epoch: key.epoch,
            secrets: key.secrets.into_iter().map(SecretDetails::from).collect(),
            organization: key.organization,
        }
    }
}

impl From<v1::Secret> for SecretDetails {
    fn from(secret: v1::Secret) -> Self {
        Self {
            created_at: time_of(secret.created_at.as_option()),
            not_before: time_of(secret.not_before.as_option()),
            expires_at: time_of(secret.expires_at.as_option()),
            last_used_at: time_of(secret.last_used_at.as_option()),
            id: secret.id,
            label: secret.label,
        }
    }
}

fn update_request(client_id: &str, update: SettingsUpdate) -> v1::UpdateRequest {
    let mut key = v1::ApiKey { client_id: client_id.to_owned(), ..v1::ApiKey::default() };
    let mut paths = Vec::new();
    if let Some(client_name) = update.client_name {
        key.client_name = client_name;
        paths.push("client_name");
    }
    if let Some(role) = update.role {
        key.role = role.map_or(v1::Role::ROLE_UNSPECIFIED, role_to_wire).into();
        paths.push("role");
    }
    if let Some(redirect_uris) = update.redirect_uris {
        key.redirect_uris = redirect_uris;
        paths.push("redirect_uris");
    }
    if let Some(expires_at) = update.expires_at {
        key.expires_at = expires_at.map(Timestamp::from).into();
        paths.push("expires_at");
    }
    v1::UpdateRequest {
        api_key: key.into(),
        update_mask: FieldMask::from_paths(paths).into(),
        ..v1::UpdateRequest::default()
    }
}

/// The same key in the shape of the public wire, as far as our own service describes it.
fn app_of(key: v1::ApiKey) -> App {
    let grant_types = key.grant_types.iter().filter_map(EnumValue::as_known).filter_map(app_grant);
    App {
        grant_types: grant_types.map(Into::into).collect(),
        organization: key.organization,
        client_id: key.client_id,
        client_id_issued_at: key.created_at,
        redirect_uris: key.redirect_uris,
        response_types: vec![ResponseTypes::CODE.into()],
        client_name: key.client_name,
        token_endpoint_auth_method: TokenEndpointAuthMethod::CLIENT_SECRET_BASIC.into(),
        ..App::default()
    }
}

fn role_to_wire(role: Role) -> v1::Role {
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

fn app_grant(grant: v1::GrantType) -> Option<GrantTypes> {
    match grant {
        v1::GrantType::GRANT_TYPE_UNSPECIFIED => None,
        v1::GrantType::GRANT_TYPE_AUTHORIZATION_CODE => Some(GrantTypes::AUTHORIZATION_CODE),
        v1::GrantType::GRANT_TYPE_CLIENT_CREDENTIALS => Some(GrantTypes::CLIENT_CREDENTIALS),
        v1::GrantType::GRANT_TYPE_REFRESH_TOKEN => Some(GrantTypes::REFRESH_TOKEN),
        v1::GrantType::GRANT_TYPE_DEVICE_CODE => Some(GrantTypes::DEVICE_CODE),
    }
}

/// Converts a timestamp of the wire; one that the clock's type cannot hold counts as unset.
fn time_of(timestamp: Option<&Timestamp>) -> Option<SystemTime> {
    timestamp.and_then(|timestamp| timestamp.clone().try_into().ok())
}

/// A date in RFC 3339, as proto3 JSON writes it.
#[expect(clippy::ref_option, reason = "serde passes the field by reference")]
fn date<S: Serializer>(date: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    date.map(Timestamp::from).serialize(serializer)
}

fn service(client: &Client) -> Service {
    Service::new(client.http(), client.calls())
}
