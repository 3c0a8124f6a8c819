//! [`ApiKey`]: an API key, and what can be done with one over the wire of Union's public clients.

use std::{
    collections::HashSet,
    fmt, mem,
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll, ready},
    time::SystemTime,
    vec,
};

use futures::{Stream, StreamExt, TryFutureExt, stream::BoxStream};
use gatekey_credentials::{ClientId, EncodedCredentials, PlainSecret, Role};
use gatekey_proto::cloudidl::{
    common::ListRequest,
    identity::{
        App, AppsServiceClient, ConsentMethod, CreateAppRequest, DeleteAppRequest, GetAppRequest, GrantTypes,
        ListAppsRequest, ResponseTypes, TokenEndpointAuthMethod, UpdateAppRequest,
    },
};
use serde_json::{Map, Value};
use zeroize::Zeroize;

use crate::{
    Client, Error,
    error::{self, Kind, one_line},
    json,
};

/// Most keys asked for in one page, as the public class does.
const PAGE_SIZE: usize = 100;
/// Where the authorization-code grant of a key leads when nothing else is said, as in the public class.
const DEFAULT_REDIRECT_URI: &str = "http://localhost:8080/authorization-code/callback";

/// An API key: an OAuth application for headless use, `cloudidl.identity.App` on the wire.
///
/// The operations are functions that take a [`Client`]; there is no global one. `create`, `get`, `listall`,
/// `update` and `delete` speak the wire of Union's public clients (`cloudidl.identity.AppsService`) and so
/// work against Union as well; `rotate`, `disable` and the like need a Gatekey server, and are
/// [`is_unimplemented`](Error::is_unimplemented) elsewhere.
///
/// `Debug` shows no secret; the secret's memory is cleared when the key is dropped.
///
/// ```no_run
/// use gatekey_client::{ApiKey, Client};
///
/// # async fn example() -> Result<(), gatekey_client::Error> {
/// let client = Client::from_env()?;
/// let key = ApiKey::create(&client, "ci-pipeline").await?;
/// println!("export FLYTE_API_KEY={}", key.encoded_credentials().unwrap_or_default());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq)]
pub struct ApiKey {
    pb2: App,
    organization: Option<String>,
    encoded_credentials: Option<PlainSecret>,
}

/// What [`ApiKey::create_with`] makes a key of.
///
/// ```
/// use gatekey_client::{CreateOptions, Role};
///
/// let options = CreateOptions { role: Some(Role::Viewer), ..CreateOptions::new("dashboard") };
/// assert_eq!(options.name, "dashboard");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CreateOptions {
    /// The name; required. The client id derives from it: lower case, and every run of characters other
    /// than `0-9 A-Z a-z` becomes one `-`. The key is then named by its client id, as the public class does.
    pub name: String,
    /// The client id, in place of the derived one; the key then keeps `name` as its name.
    pub client_id: Option<String>,
    /// Where the authorization-code grant may lead; none means
    /// `http://localhost:8080/authorization-code/callback`.
    pub redirect_uris: Vec<String>,
    /// Attach no default policy to the key; on a Gatekey server: give it no role.
    pub skip_default_policy_assignments: bool,
    /// What the key may do; none means the server's default, which is contributor. Gatekey servers only.
    pub role: Option<Role>,
    /// The key is refused from then on; none means never. Gatekey servers only.
    pub expires_at: Option<SystemTime>,
    /// Free text kept with the first secret. Gatekey servers only.
    pub secret_label: Option<String>,
}

impl CreateOptions {
    /// A name, and the defaults for the rest.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Whether the wire of the public clients cannot say this.
    fn needs_gatekey(&self) -> bool {
        self.role.is_some() || self.expires_at.is_some() || self.secret_label.is_some()
    }
}

/// What [`ApiKey::update`] changes; what is left out stays as it is.
///
/// ```
/// use gatekey_client::UpdateOptions;
///
/// let options = UpdateOptions { client_name: Some("deploy".into()), ..UpdateOptions::default() };
/// assert!(options.redirect_uris.is_empty());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpdateOptions {
    /// A new name. An empty one counts as left out: the wire cannot say "clear it".
    pub client_name: Option<String>,
    /// New redirect URIs, in place of all earlier ones; none leaves them as they are.
    pub redirect_uris: Vec<String>,
}

/// A client id and a name, as a request for a new key says them.
pub(crate) struct Naming {
    pub(crate) client_id: String,
    pub(crate) client_name: String,
    /// The caller's, on a serverless endpoint.
    pub(crate) organization: String,
}

impl ApiKey {
    /// Makes a key with the defaults; see [`ApiKey::create_with`].
    ///
    /// ```no_run
    /// # async fn example(client: gatekey_client::Client) -> Result<(), gatekey_client::Error> {
    /// let key = gatekey_client::ApiKey::create(&client, "CI Pipeline").await?;
    /// assert_eq!(key.client_id(), "ci-pipeline");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create(client: &Client, name: &str) -> Result<Self, Error> {
        Self::create_with(client, CreateOptions::new(name)).await
    }

    /// Makes a key. The answer has the secret, this once: keep [`ApiKey::encoded_credentials`] somewhere.
    ///
    /// A role, an expiry or a label of the secret is said to Gatekey's own service, everything else to
    /// `AppsService/Create`. On the serverless endpoints of Union the client id is
    /// `tenant-userhandle-name` and the organization that of the caller, as in the public class.
    ///
    /// # Errors
    /// [`is_already_exists`](Error::is_already_exists) when the client id is taken, and
    /// [`is_invalid_argument`](Error::is_invalid_argument) when a value breaks a rule. When an answer is lost
    /// on the way the call is repeated, and a Gatekey server answers that with a fresh secret; elsewhere it
    /// may say that the key exists.
    ///
    /// ```no_run
    /// use gatekey_client::{ApiKey, CreateOptions, Role};
    ///
    /// # async fn example(client: gatekey_client::Client) -> Result<(), gatekey_client::Error> {
    /// let options = CreateOptions { role: Some(Role::Viewer), ..CreateOptions::new("dashboard") };
    /// let key = ApiKey::create_with(&client, options).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create_with(client: &Client, options: CreateOptions) -> Result<Self, Error> {
        if options.role.is_some() && options.skip_default_policy_assignments {
            return Err(Error::new(
                Kind::InvalidArgument,
                "a key cannot have a role and skip_default_policy_assignments, which gives it none",
            ));
        }
        let naming = Self::naming(client, &options).await?;
        if options.needs_gatekey() {
            return Self::create_on_gatekey(client, options, naming).await;
        }
        let request = CreateAppRequest {
            organization: naming.organization,
            client_id: naming.client_id.clone(),
            client_name: naming.client_name,
            redirect_uris: redirect_uris_or_default(options.redirect_uris),
            response_types: vec![ResponseTypes::CODE.into()],
            grant_types: vec![GrantTypes::CLIENT_CREDENTIALS.into(), GrantTypes::AUTHORIZATION_CODE.into()],
            token_endpoint_auth_method: TokenEndpointAuthMethod::CLIENT_SECRET_BASIC.into(),
            consent_method: ConsentMethod::CONSENT_METHOD_REQUIRED.into(),
            skip_default_policy_assignments: options.skip_default_policy_assignments,
            ..CreateAppRequest::default()
        };
        let organization = request.organization.clone();
        let operation = describe("create", &naming.client_id);
        let apps = apps(client);
        let answer = client
            .call(&operation, |options| apps.create_with_options(request.clone(), options))
            .await?
            .into_owned();
        Self::from_answer(answer.app.into_option(), &operation, &organization)?.encoded_for(client)
    }

    async fn naming(client: &Client, options: &CreateOptions) -> Result<Naming, Error> {
        if let Some(client_id) = &options.client_id {
            let named = [&options.name, client_id].into_iter().find(|name| !name.is_empty());
            return Ok(Naming {
                client_id: client_id.clone(),
                client_name: named.cloned().unwrap_or_default(),
                organization: client.request_organization().await?,
            });
        }
        let derived = ClientId::derive_from_name(&options.name).map_err(|error| {
            Error::new(Kind::InvalidArgument, format!("the name {:?} {error}", one_line(&options.name)))
                .caused_by(error)
        })?;
        let client_id = match client.serverless_tenant() {
            Some(tenant) => format!("{tenant}-{}-{derived}", client.user_handle().await?),
            None => derived.to_string(),
        };
        Ok(Naming {
            client_name: client_id.clone(),
            client_id,
            organization: client.request_organization().await?,
        })
    }

    /// Looks a key up; it has no secret.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found) when there is none.
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
        let answer = client
            .call(&operation, |options| apps.get_with_options(request.clone(), options))
            .await?
            .into_owned();
        Self::from_answer(answer.app.into_option(), &operation, &organization)
    }

    /// Lists keys, at most `limit` of them; `None` lists all. Pages are fetched as the stream is read.
    ///
    /// A limit of 0 sends nothing. An error ends the stream; a server that repeats a page token would send
    /// the same keys for ever, which is such an error.
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
        let pages = Pages::new(limit.into(), PAGE_SIZE, move |page_size, page_token| {
            let client = client.clone();
            async move { Self::page(&client, page_size, page_token).await }
        });
        Listing::new(pages.follow())
    }

    async fn page(client: &Client, page_size: u32, page_token: String) -> Result<Page<Self>, Error> {
        let organization = client.request_organization().await?;
        let list = ListRequest { limit: page_size, token: page_token, ..ListRequest::default() };
        let request = ListAppsRequest {
            organization: organization.clone(),
            request: list.into(),
            ..ListAppsRequest::default()
        };
        let operation = "list API keys";
        let apps = apps(client);
        let answer = client
            .call(operation, |options| apps.list_with_options(request.clone(), options))
            .await?
            .into_owned();
        let keys = answer.apps.into_iter().map(|app| Self::from_answer(Some(app), operation, &organization));
        Ok(Page { items: keys.collect::<Result<_, _>>()?, next_token: answer.token })
    }

    /// Changes the name or the redirect URIs of a key; everything else, the secret too, stays.
    ///
    /// The key is looked up first and sent back whole, because the wire has no field mask: somebody else's
    /// change in between is undone.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found) when there is none, and
    /// [`is_invalid_argument`](Error::is_invalid_argument) when a value breaks a rule.
    ///
    /// ```no_run
    /// use gatekey_client::{ApiKey, UpdateOptions};
    ///
    /// # async fn example(client: gatekey_client::Client) -> Result<(), gatekey_client::Error> {
    /// let options = UpdateOptions { client_name: Some("deploy".into()), ..UpdateOptions::default() };
    /// let key = ApiKey::update(&client, "ci-pipeline", options).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn update(client: &Client, client_id: &str, options: UpdateOptions) -> Result<Self, Error> {
        let current = Self::get(client, client_id).await?.pb2.clone();
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
            client_name: options.client_name.filter(|name| !name.is_empty()).unwrap_or(current.client_name),
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
        let answer = client
            .call(&operation, |options| apps.update_with_options(request.clone(), options))
            .await?
            .into_owned();
        Self::from_answer(answer.app.into_option(), &operation, &organization)
    }

    /// Deletes a key for good; on a Gatekey server its tokens die at once.
    ///
    /// When the connection breaks off and the key is gone at the next attempt, it counts as deleted by this
    /// call.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found) when there is none.
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
        let apps = apps(client);
        let operation = describe("delete", client_id);
        let broke_off = AtomicBool::new(false);
        let outcome = client
            .call(&operation, |options| {
                apps.delete_with_options(request.clone(), options).inspect_err(|error| {
                    if error::broke_off(error) {
                        broke_off.store(true, Ordering::Relaxed);
                    }
                })
            })
            .await;
        match outcome {
            Err(error) if error.is_not_found() && broke_off.into_inner() => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    /// The message of the wire; its own `Debug` shows the secret, when there is one.
    ///
    /// ```no_run
    /// # fn example(key: gatekey_client::ApiKey) {
    /// println!("{:?}", key.pb2().redirect_uris);
    /// # }
    /// ```
    pub fn pb2(&self) -> &App {
        &self.pb2
    }

    /// The organization that was asked for: the client's, or on a serverless endpoint the caller's.
    pub fn organization(&self) -> Option<&str> {
        self.organization.as_deref()
    }

    /// base64 of `endpoint:client_id:client_secret:organization`, for `FLYTE_API_KEY`; only where there is a
    /// secret, which is in the answers to `create` and `rotate`. It is a secret itself.
    pub fn encoded_credentials(&self) -> Option<&str> {
        self.encoded_credentials.as_ref().map(PlainSecret::expose)
    }

    /// What names the key: field `client_id`.
    pub fn client_id(&self) -> &str {
        &self.pb2.client_id
    }

    /// The name that people read: field `client_name`.
    pub fn client_name(&self) -> &str {
        &self.pb2.client_name
    }

    /// The secret; empty but in the answers to `create` and `rotate`. Field `client_secret`.
    pub fn client_secret(&self) -> &str {
        &self.pb2.client_secret
    }

    /// The message as proto3 JSON: what protobuf's `MessageToDict` gives. It holds the secret, if any.
    ///
    /// ```no_run
    /// # fn example(key: gatekey_client::ApiKey) {
    /// assert_eq!(key.to_dict()["clientId"], key.client_id());
    /// # }
    /// ```
    pub fn to_dict(&self) -> Map<String, Value> {
        // The dates, which alone can fail, were checked when the message came.
        json::to_dict(&self.pb2).unwrap_or_default()
    }

    /// The message as proto3 JSON text: what protobuf's `MessageToJson` prints, to the character.
    ///
    /// ```no_run
    /// # fn example(key: gatekey_client::ApiKey) {
    /// assert!(key.to_json().starts_with("{\n  "));
    /// # }
    /// ```
    pub fn to_json(&self) -> String {
        // As above.
        json::to_json(&self.pb2).unwrap_or_else(|_| "{}".to_owned())
    }

    /// A key from an answer, checked for what the accessors rely on.
    pub(crate) fn from_answer(app: Option<App>, operation: &str, organization: &str) -> Result<Self, Error> {
        let broken =
            |what: &str| Error::internal(format!("could not {operation}: the server's answer has {what}"));
        let pb2 = app.ok_or_else(|| broken("no API key"))?;
        json::to_json(&pb2).map_err(|error| broken("a date out of range").caused_by(error))?;
        let organization = Some(organization).filter(|name| !name.is_empty()).map(str::to_owned);
        Ok(Self { pb2, organization, encoded_credentials: None })
    }

    /// Puts in a secret that came by another answer.
    pub(crate) fn with_secret(mut self, secret: String) -> Self {
        self.pb2.client_secret.zeroize();
        self.pb2.client_secret = secret;
        self
    }

    /// Adds the encoded credentials, for the endpoint as the client's user wrote it.
    pub(crate) fn encoded_for(mut self, client: &Client) -> Result<Self, Error> {
        let encoded = EncodedCredentials::new(
            client.endpoint(),
            &self.pb2.client_id,
            PlainSecret::new(self.pb2.client_secret.as_str()),
            self.organization.as_deref().unwrap_or_default(),
        );
        let encoded = encoded.map_err(|error| {
            Error::internal(format!("the server's answer makes no encoded API key: {error}")).caused_by(error)
        })?;
        self.encoded_credentials = Some(encoded.encode());
        Ok(self)
    }
}

impl Drop for ApiKey {
    fn drop(&mut self) {
        self.pb2.client_secret.zeroize();
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ApiKey")
            .field("client_id", &self.pb2.client_id)
            .field("client_name", &self.pb2.client_name)
            .field("organization", &self.organization)
            .finish_non_exhaustive()
    }
}

/// API keys as they come, page by page: a [`Stream`].
pub type ApiKeys = Listing<ApiKey>;

/// Items of a listing as they come, page by page: a [`Stream`] that may be moved freely.
///
/// ```no_run
/// use futures::TryStreamExt;
///
/// # async fn example(client: gatekey_client::Client) -> Result<(), gatekey_client::Error> {
/// let keys: Vec<_> = gatekey_client::ApiKey::listall(&client, 10).try_collect().await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a stream does nothing before it is read"]
pub struct Listing<T> {
    pages: BoxStream<'static, Result<Vec<T>, Error>>,
    /// What came with the last page and was not asked for yet.
    ready: vec::IntoIter<T>,
}

impl<T> Listing<T> {
    pub(crate) fn new(pages: impl Stream<Item = Result<Vec<T>, Error>> + Send + 'static) -> Self {
        Self { pages: pages.boxed(), ready: Vec::new().into_iter() }
    }

    /// What is left of the page at hand, else the next page from the server; none at the end. A server may
    /// send an empty page in between.
    ///
    /// ```no_run
    /// # async fn example(client: gatekey_client::Client) -> Result<(), gatekey_client::Error> {
    /// let mut keys = gatekey_client::ApiKey::listall(&client, None);
    /// while let Some(page) = keys.next_page().await {
    ///     println!("{} more", page?.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn next_page(&mut self) -> Option<Result<Vec<T>, Error>> {
        if self.ready.len() > 0 {
            return Some(Ok(mem::take(&mut self.ready).collect()));
        }
        self.pages.next().await
    }
}

// Nothing in it is pinned in place.
impl<T> Unpin for Listing<T> {}

impl<T> Stream for Listing<T> {
    type Item = Result<T, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(item) = self.ready.next() {
                return Poll::Ready(Some(Ok(item)));
            }
            match ready!(self.pages.poll_next_unpin(context)) {
                Some(Ok(items)) => self.ready = items.into_iter(),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }
}

impl<T> fmt::Debug for Listing<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Listing")
    }
}

/// One page of a listing.
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    /// Empty on the last page.
    pub(crate) next_token: String,
}

/// Follows the pages of a listing.
pub(crate) struct Pages<Fetch> {
    remaining: usize,
    page_size: usize,
    /// None once the last page came.
    token: Option<String>,
    seen: HashSet<String>,
    fetch: Fetch,
}

impl<Fetch> Pages<Fetch> {
    pub(crate) fn new(limit: Option<usize>, page_size: usize, fetch: Fetch) -> Self {
        let remaining = limit.unwrap_or(usize::MAX);
        Self { remaining, page_size, token: Some(String::new()), seen: HashSet::new(), fetch }
    }

    pub(crate) fn follow<T, F>(self) -> impl Stream<Item = Result<Vec<T>, Error>>
    where
        Fetch: Fn(u32, String) -> F,
        F: Future<Output = Result<Page<T>, Error>>,
    {
        futures::stream::unfold(self, |mut pages| async {
            let items = pages.next().await?;
            Some((items, pages))
        })
    }

    /// The items of the next page; none at the end.
    async fn next<T, F>(&mut self) -> Option<Result<Vec<T>, Error>>
    where
        Fetch: Fn(u32, String) -> F,
        F: Future<Output = Result<Page<T>, Error>>,
    {
        if self.remaining == 0 {
            return None;
        }
        let token = self.token.take()?;
        let page_size = u32::try_from(self.page_size.min(self.remaining)).unwrap_or(u32::MAX);
        let mut page = match (self.fetch)(page_size, token).await {
            Ok(page) => page,
            Err(error) => return Some(Err(error)),
        };
        // A server may send more than was asked for.
        page.items.truncate(self.remaining);
        self.remaining -= page.items.len();
        if !page.next_token.is_empty() {
            if self.seen.contains(&page.next_token) {
                return Some(Err(Error::internal(
                    "could not list API keys: the server repeats a page token",
                )));
            }
            self.seen.insert(page.next_token.clone());
            self.token = Some(page.next_token);
        }
        Some(Ok(page.items))
    }
}

pub(crate) fn redirect_uris_or_default(redirect_uris: Vec<String>) -> Vec<String> {
    if redirect_uris.is_empty() { vec![DEFAULT_REDIRECT_URI.to_owned()] } else { redirect_uris }
}

/// What completes "could not ..." for an operation on one key.
pub(crate) fn describe(verb: &str, client_id: &str) -> String {
    format!("{verb} API key {:?}", one_line(client_id))
}

fn apps(client: &Client) -> AppsServiceClient<connectrpc::client::HttpClient> {
    AppsServiceClient::new(client.http(), client.calls())
}

#[cfg(test)]
mod tests {
    use super::*;
    use buffa::Message;
    use serde::Deserialize;

    /// Made by protobuf for Python 7.36.2: `MessageToJson` and `MessageToDict` of the bytes in `wire`.
    const GOLDEN: &str = include_str!("../tests/golden/apps.json");

    #[derive(Deserialize)]
    struct Golden {
        name: String,
        wire: String,
        json: String,
        dict: Map<String, Value>,
    }

    fn bytes_of(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    fn key_of(app: App) -> ApiKey {
        ApiKey::from_answer(Some(app), "try", "").unwrap()
    }

    #[test]
    fn json_is_what_protobuf_for_python_writes() {
        let golden: Vec<Golden> = serde_json::from_str(GOLDEN).unwrap();
        assert!(golden.len() > 20);
        for Golden { name, wire, json, dict } in golden {
            let key = key_of(App::decode_from_slice(&bytes_of(&wire)).unwrap());
            assert_eq!(key.to_json(), json, "{name}");
            assert_eq!(key.to_dict(), dict, "{name}");
        }
    }

    #[test]
    fn a_date_out_of_range_is_an_error_when_it_comes_and_not_when_it_is_shown() {
        let far = buffa_types::google::protobuf::Timestamp { seconds: i64::MAX, ..Default::default() };
        let app = App { client_id_issued_at: far.into(), ..App::default() };
        let error = ApiKey::from_answer(Some(app), "get API key", "").unwrap_err();
        assert!(error.to_string().contains("a date out of range"), "{error}");
        assert!(ApiKey::from_answer(None, "get API key", "").is_err());
    }

    #[test]
    fn keys_are_equal_when_all_they_say_is() {
        let app = App { client_id: "ci".into(), ..App::default() };
        let key = key_of(app.clone());
        assert_eq!(key, key.clone());
        assert_ne!(key, key_of(App { client_name: "other".into(), ..app }));
        assert_ne!(key, key.clone().with_secret("s".into()));
    }

    #[tokio::test]
    async fn serverless_names_are_made_as_the_public_class_makes_them() {
        let client = Client::builder()
            .endpoint("https://serverless-1.us-east-2.s.union.ai")
            .credentials("me", PlainSecret::new("s"))
            .build()
            .unwrap();
        client.know_user_handle("ada");
        let naming = ApiKey::naming(&client, &CreateOptions::new("CI Pipeline")).await.unwrap();
        assert_eq!(naming.client_id, "serverless-1-ada-ci-pipeline");
        assert_eq!(naming.client_name, naming.client_id);
        assert_eq!(naming.organization, "ada");

        let app = App { client_id: naming.client_id, client_secret: "s3cret".into(), ..App::default() };
        let key = ApiKey::from_answer(Some(app), "create", &naming.organization).unwrap();
        let key = key.encoded_for(&client).unwrap();
        assert_eq!(key.organization(), Some("ada"));
        let encoded = EncodedCredentials::decode(key.encoded_credentials().unwrap()).unwrap();
        assert_eq!(encoded.endpoint(), "serverless-1.us-east-2.s.union.ai");
        assert_eq!(encoded.organization(), "ada");
    }
}
