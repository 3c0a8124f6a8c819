//! The operations that only a Gatekey server has: `gatekey.v1.ApiKeyService`.

use std::time::{Duration, SystemTime};

use buffa::EnumValue;
use buffa_types::google::protobuf::{self as well_known, FieldMask, Timestamp};
use gatekey_credentials::Role;
use gatekey_proto::{
    cloudidl::identity::{App, GrantTypes, ResponseTypes, TokenEndpointAuthMethod},
    gatekey::v1,
};

use crate::{
    ApiKey, Client, Error,
    api_key::describe,
    details::{KeyDetails, role_to_wire},
    error::{no_key_in_response, one_line},
    listing::{Listing, Page},
    transport::Http,
};

/// The largest page that a Gatekey server returns.
const PAGE_SIZE: u32 = 1000;

/// Options of [`ApiKey::rotate`].
///
/// ```
/// use std::time::Duration;
/// use gatekey_client::RotateOptions;
///
/// let grace = Duration::from_secs(24 * 60 * 60);
/// let options = RotateOptions { grace, ..RotateOptions::default() };
/// assert_eq!(options.label, None);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RotateOptions {
    /// How long the current secrets stay valid, at most 90 days. Defaults to zero, which retires
    /// them at once and revokes every token of the key.
    pub grace: Duration,
    /// Free text stored with the new secret, at most 200 characters.
    pub label: Option<String>,
    /// The time from which the new secret is rejected. `None` means never.
    pub expires_at: Option<SystemTime>,
}

/// The changes that [`ApiKey::update_settings`] makes. `None` keeps the current value.
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
    /// The new name.
    pub client_name: Option<String>,
    /// The new role; `Some(None)` removes the role.
    pub role: Option<Option<Role>>,
    /// The new redirect URIs; an empty list sets the default one.
    pub redirect_uris: Option<Vec<String>>,
    /// The new expiry; `Some(None)` means never.
    pub expires_at: Option<Option<SystemTime>>,
    /// The new networks that the key may be used from; an empty list permits any.
    pub allow_from: Option<Vec<String>>,
    /// The new rate; `Some(None)` permits any.
    pub rate: Option<Option<String>>,
    /// The new projects that the gate admits the key for; an empty list permits any.
    pub projects: Option<Vec<String>>,
    /// The new domains that the gate admits the key for; an empty list permits any.
    pub domains: Option<Vec<String>>,
    /// Permits a change after which no admin key works. Only `gatekey init` on the server can then
    /// create one.
    pub force: bool,
}

impl ApiKey {
    /// Adds a secret to a key, and retires the other secrets after a grace period. Needs a Gatekey
    /// server.
    ///
    /// Only this response contains the new secret. A key may rotate itself: the client then sends
    /// its current secret as well, because a token is not enough.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found) if the key does not exist, and
    /// [`is_invalid_argument`](Error::is_invalid_argument) if the grace is longer than 90 days or
    /// the expiry is in the past.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use gatekey_client::{ApiKey, RotateOptions};
    ///
    /// # async fn example(client: gatekey_client::Client) -> Result<(), gatekey_client::Error> {
    /// let grace = Duration::from_secs(3600);
    /// let options = RotateOptions { grace, ..RotateOptions::default() };
    /// let key = ApiKey::rotate(&client, "ci-pipeline", options).await?;
    /// println!("the new secret: {}", key.client_secret());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn rotate(
        client: &Client,
        client_id: &str,
        options: RotateOptions,
    ) -> Result<Self, Error> {
        let request = v1::RotateSecretRequest {
            client_id: client_id.to_owned(),
            grace: well_known::Duration::from(options.grace).into(),
            secret_label: options.label.unwrap_or_default(),
            expires_at: options.expires_at.map(Timestamp::from).into(),
            current_secret: client.own_secret(client_id).to_owned(),
            ..v1::RotateSecretRequest::default()
        };
        let operation = describe("rotate", client_id);
        let service = service(client);
        let response = client.call(&operation, |options| {
            service.rotate_secret_with_options(request.clone(), options)
        });
        let response = response.await?.into_owned();
        with_new_secret(client, response.api_key.into_option(), response.client_secret, &operation)
            .await
    }

    /// Disables a key: the server rejects the key, and revokes its tokens. Needs a Gatekey server.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found) if the key does not exist.
    ///
    /// ```no_run
    /// # async fn example(client: gatekey_client::Client) -> Result<(), gatekey_client::Error> {
    /// let key = gatekey_client::ApiKey::disable(&client, "ci-pipeline").await?;
    /// assert!(key.disabled_at.is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn disable(client: &Client, client_id: &str) -> Result<KeyDetails, Error> {
        Self::disable_with(client, client_id, false).await
    }

    /// As [`ApiKey::disable`]. With `force`, also if no admin key works afterwards: only `gatekey
    /// init` on the server can then create one.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found) if the key does not exist, and
    /// [`is_failed_precondition`](Error::is_failed_precondition) for the last admin key without
    /// `force`.
    pub async fn disable_with(
        client: &Client,
        client_id: &str,
        force: bool,
    ) -> Result<KeyDetails, Error> {
        let request = v1::DisableRequest {
            client_id: client_id.to_owned(),
            force,
            ..v1::DisableRequest::default()
        };
        let operation = describe("disable", client_id);
        let service = service(client);
        let response = client
            .call(&operation, |options| service.disable_with_options(request.clone(), options));
        KeyDetails::from_response(response.await?.into_owned().api_key.into_option(), &operation)
    }

    /// Enables a disabled key. Tokens from before it was disabled stay revoked. Needs a Gatekey
    /// server.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found) if the key does not exist.
    ///
    /// ```no_run
    /// # async fn example(client: gatekey_client::Client) -> Result<(), gatekey_client::Error> {
    /// let key = gatekey_client::ApiKey::enable(&client, "ci-pipeline").await?;
    /// assert_eq!(key.disabled_at, None);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn enable(client: &Client, client_id: &str) -> Result<KeyDetails, Error> {
        let request =
            v1::EnableRequest { client_id: client_id.to_owned(), ..v1::EnableRequest::default() };
        let operation = describe("enable", client_id);
        let service = service(client);
        let response = client
            .call(&operation, |options| service.enable_with_options(request.clone(), options));
        KeyDetails::from_response(response.await?.into_owned().api_key.into_option(), &operation)
    }

    /// Retires one secret of a key at once, and revokes the tokens that the secret fetched. Needs a
    /// Gatekey server.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found) if the key or the secret does not exist.
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
        Self::retire_secret_with(client, client_id, secret_id, false).await
    }

    /// As [`ApiKey::retire_secret`]. With `force`, also if no admin key works afterwards: only
    /// `gatekey init` on the server can then create one.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found) if the key or the secret does not exist, and
    /// [`is_failed_precondition`](Error::is_failed_precondition) for the last secret of the last
    /// admin key without `force`.
    pub async fn retire_secret_with(
        client: &Client,
        client_id: &str,
        secret_id: &str,
        force: bool,
    ) -> Result<KeyDetails, Error> {
        let request = v1::RetireSecretRequest {
            client_id: client_id.to_owned(),
            secret_id: secret_id.to_owned(),
            force,
            ..v1::RetireSecretRequest::default()
        };
        let operation = describe("retire a secret of", client_id);
        let service = service(client);
        let response = client.call(&operation, |options| {
            service.retire_secret_with_options(request.clone(), options)
        });
        KeyDetails::from_response(response.await?.into_owned().api_key.into_option(), &operation)
    }

    /// Deletes a key, even if no admin key works afterwards: only `gatekey init` on the server can
    /// then create one. Needs a Gatekey server.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found) if the key does not exist.
    pub async fn force_delete(client: &Client, client_id: &str) -> Result<(), Error> {
        let request = v1::DeleteRequest {
            client_id: client_id.to_owned(),
            force: true,
            ..v1::DeleteRequest::default()
        };
        let operation = describe("delete", client_id);
        let service = service(client);
        let response = client
            .call(&operation, |options| service.delete_with_options(request.clone(), options));
        response.await.map(drop)
    }

    /// Looks up all that a Gatekey server knows about a key. A key may look up itself.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found) if the key does not exist.
    ///
    /// ```no_run
    /// # async fn example(client: gatekey_client::Client) -> Result<(), gatekey_client::Error> {
    /// let key = gatekey_client::ApiKey::details(&client, "ci-pipeline").await?;
    /// println!("{:?}, epoch {}", key.role, key.epoch);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn details(client: &Client, client_id: &str) -> Result<KeyDetails, Error> {
        let request =
            v1::GetRequest { client_id: client_id.to_owned(), ..v1::GetRequest::default() };
        let operation = describe("get", client_id);
        let service = service(client);
        let response =
            client.call(&operation, |options| service.get_with_options(request.clone(), options));
        KeyDetails::from_response(response.await?.into_owned().api_key.into_option(), &operation)
    }

    /// Lists the details of at most `limit` keys; see [`ApiKey::listall`]. Needs a Gatekey server.
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
        Listing::new(limit.into(), PAGE_SIZE, move |page_size, page_token| {
            let client = client.clone();
            async move { details_page(&client, page_size, page_token).await }
        })
    }

    /// Changes the name, role, redirect URIs, expiry or limits of a key, and nothing else. Needs a
    /// Gatekey server.
    ///
    /// Unlike [`ApiKey::update`], it sends a field mask. It therefore keeps a change that another
    /// caller makes at the same time, and can remove a role or an expiry.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found) if the key does not exist, and
    /// [`is_invalid_argument`](Error::is_invalid_argument) if a value breaks a rule.
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
        let response = client
            .call(&operation, |options| service.update_with_options(request.clone(), options));
        KeyDetails::from_response(response.await?.into_owned().api_key.into_option(), &operation)
    }
}

/// Creates a key by `ApiKeyService/Create`.
///
/// Fails if the key was to have limits and has none: a server that is older than limits ignores
/// them.
pub(crate) async fn create(
    client: &Client,
    request: v1::CreateRequest,
    has_limits: bool,
) -> Result<ApiKey, Error> {
    let operation = describe("create", &request.client_id);
    let service = service(client);
    let response =
        client.call(&operation, |options| service.create_with_options(request.clone(), options));
    let response = response.await?.into_owned();
    if has_limits && response.api_key.as_option().is_some_and(is_unlimited) {
        let client_id = one_line(&request.client_id);
        return Err(Error::internal(format!(
            "the server is too old for limits, and created API key {client_id:?} without any; delete the key"
        )));
    }
    with_new_secret(client, response.api_key.into_option(), response.client_secret, &operation)
        .await
}

fn is_unlimited(key: &v1::ApiKey) -> bool {
    let v1::ApiKey { allow_from, rate, projects, domains, .. } = key;
    allow_from.is_empty() && rate.is_empty() && projects.is_empty() && domains.is_empty()
}

/// Joins a key and its new secret into an [`ApiKey`], the shape of the public API.
///
/// The server returns a secret only once, so no later failure may lose it: if the key cannot be
/// looked up on the public API, the result has the fields that `key` has.
async fn with_new_secret(
    client: &Client,
    key: Option<v1::ApiKey>,
    secret: String,
    operation: &str,
) -> Result<ApiKey, Error> {
    let key = key.ok_or_else(|| no_key_in_response(operation))?;
    let details = KeyDetails::from(key.clone());
    let key = if let Ok(complete) = ApiKey::get(client, &key.client_id).await {
        complete
    } else {
        let organization = client.organization().unwrap_or_default();
        ApiKey::from_response(Some(app_of(key)), operation, organization)?
    };
    key.with_secret(secret).with_details(details).encoded_for(client)
}

async fn details_page(
    client: &Client,
    page_size: u32,
    page_token: String,
) -> Result<Page<KeyDetails>, Error> {
    let request = v1::ListRequest { page_size, page_token, ..v1::ListRequest::default() };
    let service = service(client);
    let response =
        client.call("list API keys", |options| service.list_with_options(request.clone(), options));
    let response = response.await?.into_owned();
    Ok(Page {
        items: response.api_keys.into_iter().map(KeyDetails::from).collect(),
        next_token: response.next_page_token,
    })
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
    if let Some(allow_from) = update.allow_from {
        key.allow_from = allow_from;
        paths.push("allow_from");
    }
    if let Some(rate) = update.rate {
        key.rate = rate.unwrap_or_default();
        paths.push("rate");
    }
    if let Some(projects) = update.projects {
        key.projects = projects;
        paths.push("projects");
    }
    if let Some(domains) = update.domains {
        key.domains = domains;
        paths.push("domains");
    }
    v1::UpdateRequest {
        api_key: key.into(),
        update_mask: FieldMask::from_paths(paths).into(),
        force: update.force,
        ..v1::UpdateRequest::default()
    }
}

/// Converts a key to the message of the public API, without the fields that `gatekey.v1` lacks.
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

fn app_grant(grant: v1::GrantType) -> Option<GrantTypes> {
    match grant {
        v1::GrantType::GRANT_TYPE_UNSPECIFIED => None,
        v1::GrantType::GRANT_TYPE_AUTHORIZATION_CODE => Some(GrantTypes::AUTHORIZATION_CODE),
        v1::GrantType::GRANT_TYPE_CLIENT_CREDENTIALS => Some(GrantTypes::CLIENT_CREDENTIALS),
        v1::GrantType::GRANT_TYPE_REFRESH_TOKEN => Some(GrantTypes::REFRESH_TOKEN),
        v1::GrantType::GRANT_TYPE_DEVICE_CODE => Some(GrantTypes::DEVICE_CODE),
    }
}

fn service(client: &Client) -> v1::ApiKeyServiceClient<Http> {
    v1::ApiKeyServiceClient::new(client.http(), client.calls())
}
