//! The operations of the public API, `cloudidl.identity.AppsService`.

use std::sync::atomic::{AtomicBool, Ordering};

use futures::TryFutureExt;
use gatekey_proto::cloudidl::{
    common::ListRequest,
    identity::{
        AppsServiceClient, CreateAppRequest, DeleteAppRequest, GetAppRequest, ListAppsRequest,
        UpdateAppRequest,
    },
};

use crate::{
    ApiKey, Client, Error,
    api_key::describe,
    error::connection_was_lost,
    listing::{Listing, Page},
    transport::Http,
};

/// The largest page to request, as in Union's client.
const PAGE_SIZE: u32 = 100;

/// A [`Stream`](futures::Stream) of API keys, which fetches each page when it is needed.
pub type ApiKeys = Listing<ApiKey>;

/// The changes that [`ApiKey::update`] makes.
///
/// ```
/// use gatekey_client::UpdateOptions;
///
/// let options = UpdateOptions { client_name: Some("deploy".into()), ..UpdateOptions::default() };
/// assert!(options.redirect_uris.is_empty());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpdateOptions {
    /// The new name. `None` or empty keeps the current name, because the API cannot clear it.
    pub client_name: Option<String>,
    /// The new redirect URIs, which replace all current ones. Empty keeps the current ones.
    pub redirect_uris: Vec<String>,
}

impl ApiKey {
    /// Looks up a key. The result has no secret.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found) if the key does not exist.
    ///
    /// ```no_run
    /// # async fn example(client: gatekey_client::Client) -> Result<(), gatekey_client::Error> {
    /// let key = gatekey_client::ApiKey::get(&client, "ci-pipeline").await?;
    /// println!("{}", key.to_json());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get(client: &Client, client_id: &str) -> Result<Self, Error> {
        let organization = client.request_organization().await?;
        let request = GetAppRequest {
            organization: organization.clone(),
            client_id: client_id.to_owned(),
            ..GetAppRequest::default()
        };
        let operation = describe("get", client_id);
        let apps = apps(client);
        let response =
            client.call(&operation, |options| apps.get_with_options(request.clone(), options));
        Self::from_response(
            response.await?.into_owned().app.into_option(),
            &operation,
            &organization,
        )
    }

    /// Lists at most `limit` keys, or all keys if `limit` is `None`.
    ///
    /// Pages are fetched as the stream is read; a limit of 0 sends no request. An error ends the
    /// stream. A server that repeats a page token is such an error, because the list would never
    /// end.
    ///
    /// ```no_run
    /// use futures::TryStreamExt;
    /// use gatekey_client::ApiKey;
    ///
    /// # async fn example(client: gatekey_client::Client) -> Result<(), gatekey_client::Error> {
    /// let mut keys = ApiKey::listall(&client, 10);
    /// while let Some(key) = keys.try_next().await? {
    ///     println!("{}", key.client_id());
    /// }
    /// let all: Vec<ApiKey> = ApiKey::listall(&client, None).try_collect().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn listall(client: &Client, limit: impl Into<Option<usize>>) -> ApiKeys {
        let client = client.clone();
        Listing::new(limit.into(), PAGE_SIZE, move |page_size, page_token| {
            let client = client.clone();
            async move { Self::page(&client, page_size, page_token).await }
        })
    }

    async fn page(
        client: &Client,
        page_size: u32,
        page_token: String,
    ) -> Result<Page<Self>, Error> {
        let organization = client.request_organization().await?;
        let list = ListRequest { limit: page_size, token: page_token, ..ListRequest::default() };
        let request = ListAppsRequest {
            organization: organization.clone(),
            request: list.into(),
            ..ListAppsRequest::default()
        };
        let operation = "list API keys";
        let apps = apps(client);
        let response =
            client.call(operation, |options| apps.list_with_options(request.clone(), options));
        let response = response.await?.into_owned();
        let keys = response
            .apps
            .into_iter()
            .map(|app| Self::from_response(Some(app), operation, &organization));
        Ok(Page { items: keys.collect::<Result<_, _>>()?, next_token: response.token })
    }

    /// Changes the name or the redirect URIs of a key. The other fields and the secrets stay as
    /// they are.
    ///
    /// The API has no field mask, so the key is looked up first and sent back whole. A change that
    /// another caller makes in between is lost; [`ApiKey::update_settings`] has no such gap.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found) if the key does not exist, and
    /// [`is_invalid_argument`](Error::is_invalid_argument) if a value breaks a rule.
    ///
    /// ```no_run
    /// use gatekey_client::{ApiKey, UpdateOptions};
    ///
    /// # async fn example(client: gatekey_client::Client) -> Result<(), gatekey_client::Error> {
    /// let client_name = Some("deploy".into());
    /// let options = UpdateOptions { client_name, ..UpdateOptions::default() };
    /// let key = ApiKey::update(&client, "ci-pipeline", options).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn update(
        client: &Client,
        client_id: &str,
        options: UpdateOptions,
    ) -> Result<Self, Error> {
        let current = Self::get(client, client_id).await?.pb2().clone();
        let organization = client.request_organization().await?;
        let request = UpdateAppRequest {
            organization: organization.clone(),
            client_id: client_id.to_owned(),
            redirect_uris: if options.redirect_uris.is_empty() {
                current.redirect_uris
            } else {
                options.redirect_uris
            },
            response_types: current.response_types,
            grant_types: current.grant_types,
            application_type: current.application_type,
            contacts: current.contacts,
            client_name: options
                .client_name
                .filter(|name| !name.is_empty())
                .unwrap_or(current.client_name),
            logo_uri: current.logo_uri,
            client_uri: current.client_uri,
            policy_uri: current.policy_uri,
            tos_uri: current.tos_uri,
            jwks_uri: current.jwks_uri,
            token_endpoint_auth_method: current.token_endpoint_auth_method,
            ..UpdateAppRequest::default()
        };
        let operation = describe("update", client_id);
        let apps = apps(client);
        let response =
            client.call(&operation, |options| apps.update_with_options(request.clone(), options));
        Self::from_response(
            response.await?.into_owned().app.into_option(),
            &operation,
            &organization,
        )
    }

    /// Deletes a key permanently. A Gatekey server also revokes the key's tokens at once.
    ///
    /// If the connection is lost and a retry finds no key, this call counts as the one that deleted
    /// it, and succeeds.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found) if the key does not exist.
    ///
    /// ```no_run
    /// # async fn example(client: gatekey_client::Client) -> Result<(), gatekey_client::Error> {
    /// gatekey_client::ApiKey::delete(&client, "ci-pipeline").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete(client: &Client, client_id: &str) -> Result<(), Error> {
        let request = DeleteAppRequest {
            organization: client.request_organization().await?,
            client_id: client_id.to_owned(),
            ..DeleteAppRequest::default()
        };
        let operation = describe("delete", client_id);
        let apps = apps(client);
        let may_be_deleted = AtomicBool::new(false);
        let outcome = client.call(&operation, |options| {
            apps.delete_with_options(request.clone(), options).inspect_err(|error| {
                if connection_was_lost(error) {
                    may_be_deleted.store(true, Ordering::Relaxed);
                }
            })
        });
        match outcome.await {
            Err(error) if error.is_not_found() && may_be_deleted.into_inner() => Ok(()),
            outcome => outcome.map(drop),
        }
    }
}

/// Creates a key by `AppsService/Create`.
pub(crate) async fn create(client: &Client, request: CreateAppRequest) -> Result<ApiKey, Error> {
    let operation = describe("create", &request.client_id);
    let apps = apps(client);
    let response =
        client.call(&operation, |options| apps.create_with_options(request.clone(), options));
    let app = response.await?.into_owned().app.into_option();
    ApiKey::from_response(app, &operation, &request.organization)?.encoded_for(client)
}

fn apps(client: &Client) -> AppsServiceClient<Http> {
    AppsServiceClient::new(client.http(), client.calls())
}
