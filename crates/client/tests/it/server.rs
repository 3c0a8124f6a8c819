//! A minimal server to test the client against, which records the requests.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::post,
};
use buffa_types::google::protobuf::{Struct, Timestamp};
use connectrpc::{ConnectError, RequestContext, ServiceRequest, ServiceResult};
use gatekey_client::{Client, ClientBuilder, PlainSecret};
use gatekey_proto::{
    cloudidl::identity::{
        App, AppsService, AppsServiceExt, CreateAppRequest, CreateAppResponse, DeleteAppRequest,
        DeleteAppResponse, GetAppRequest, GetAppResponse, ListAppsRequest, ListAppsResponse,
        UpdateAppRequest, UpdateAppResponse,
    },
    flyteidl::service as flyte_1,
    flyteidl2::auth as flyte_2,
    gatekey::v1,
};
use tokio::net::TcpListener;

pub(crate) const CLIENT_ID: &str = "client!+ID";
pub(crate) const SECRET: &str = "SECRET?%G";
/// Client id and secret, form-encoded (RFC 6749 section 2.3.1).
const BASIC: &str = "client%21%2BID:SECRET%3F%25G";

/// How the server behaves; tests change it while it runs.
#[expect(clippy::struct_excessive_bools, reason = "each is one fault that a test switches on")]
pub(crate) struct Behavior {
    pub(crate) lifetime: Option<u64>,
    pub(crate) scopes: Vec<String>,
    pub(crate) audience: String,
    pub(crate) header: String,
    /// The advertised token endpoint, instead of the server's own.
    pub(crate) token_endpoint: Option<String>,
    /// The number of calls that fail with UNAVAILABLE before the next one is served.
    pub(crate) unavailable: usize,
    /// The same for token requests, which fail with an HTML page, as from a proxy.
    pub(crate) busy: usize,
    /// How long a token request takes.
    pub(crate) login_takes: Duration,
    /// Serves only the services of Flyte 1.
    pub(crate) flyte_1_only: bool,
    /// Returns the same page token with every page.
    pub(crate) repeats_page_token: bool,
    /// Returns more keys in a page than requested.
    pub(crate) ignores_limit: bool,
    /// The caller's handle, in `additional_claims`.
    pub(crate) user_handle: String,
    /// `AppsService/Get` fails with INTERNAL.
    pub(crate) get_is_broken: bool,
    /// The number of issued tokens that are revoked, oldest first.
    pub(crate) revoked: usize,
}

impl Default for Behavior {
    fn default() -> Self {
        Self {
            lifetime: Some(3600),
            scopes: vec!["all".into(), "offline".into()],
            audience: String::new(),
            header: "authorization".into(),
            token_endpoint: None,
            unavailable: 0,
            busy: 0,
            login_takes: Duration::ZERO,
            flyte_1_only: false,
            repeats_page_token: false,
            ignores_limit: false,
            user_handle: String::new(),
            get_is_broken: false,
            revoked: 0,
        }
    }
}

/// The recorded requests.
#[derive(Default)]
pub(crate) struct Record {
    /// Path and request id of each call that needs a token.
    pub(crate) calls: Vec<(String, String)>,
    pub(crate) user_agents: Vec<String>,
    /// The form of each token request.
    pub(crate) logins: Vec<String>,
    /// The request id of each token request.
    pub(crate) login_ids: Vec<String>,
    pub(crate) discoveries: usize,
    pub(crate) creates: Vec<CreateAppRequest>,
    pub(crate) updates: Vec<UpdateAppRequest>,
    /// Limit and token of each page.
    pub(crate) pages: Vec<(u32, String)>,
    pub(crate) organizations: Vec<String>,
    pub(crate) gatekey_creates: Vec<v1::CreateRequest>,
    pub(crate) gatekey_updates: Vec<v1::UpdateRequest>,
    pub(crate) rotations: Vec<v1::RotateSecretRequest>,
}

pub(crate) struct Shared {
    address: SocketAddr,
    behavior: Mutex<Behavior>,
    record: Mutex<Record>,
    apps: Mutex<BTreeMap<String, App>>,
}

impl Shared {
    pub(crate) fn behavior(&self) -> MutexGuard<'_, Behavior> {
        self.behavior.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn apps(&self) -> MutexGuard<'_, BTreeMap<String, App>> {
        self.apps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn app(&self, client_id: &str) -> Result<App, ConnectError> {
        self.apps()
            .get(client_id)
            .cloned()
            .ok_or_else(|| ConnectError::not_found("there is no such API key"))
    }
}

/// A running server, which stops with the runtime of its test.
#[derive(Clone)]
pub(crate) struct Server(pub(crate) Arc<Shared>);

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(Behavior::default()).await
    }

    pub(crate) async fn start_with(behavior: Behavior) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self::new(listener.local_addr().unwrap(), behavior);
        tokio::spawn(axum::serve(listener, server.router()).into_future());
        server
    }

    pub(crate) fn new(address: SocketAddr, behavior: Behavior) -> Self {
        Self(Arc::new(Shared {
            address,
            behavior: behavior.into(),
            record: Mutex::default(),
            apps: Mutex::default(),
        }))
    }

    pub(crate) fn router(&self) -> axum::Router {
        let shared = &self.0;
        let flyte_1_only = shared.behavior().flyte_1_only;
        let handler = Arc::new(Handler(Arc::clone(shared)));
        let mut calls = connectrpc::Router::new();
        calls = AppsServiceExt::register(Arc::clone(&handler), calls);
        calls = v1::ApiKeyServiceExt::register(Arc::clone(&handler), calls);
        if flyte_1_only {
            calls = flyte_1::AuthMetadataServiceExt::register(Arc::clone(&handler), calls);
            calls = flyte_1::IdentityServiceExt::register(handler, calls);
        } else {
            calls = flyte_2::AuthMetadataServiceExt::register(Arc::clone(&handler), calls);
            calls = flyte_2::IdentityServiceExt::register(handler, calls);
        }
        axum::Router::new()
            .route("/token", post(token))
            .fallback_service(calls.into_axum_service())
            .layer(middleware::from_fn_with_state(Arc::clone(shared), admit))
            .with_state(Arc::clone(shared))
    }

    pub(crate) fn endpoint(&self) -> String {
        self.0.address.to_string()
    }

    pub(crate) fn builder(&self) -> ClientBuilder {
        Client::builder()
            .endpoint(&self.endpoint())
            .credentials(CLIENT_ID, PlainSecret::new(SECRET))
            .plaintext(true)
    }

    pub(crate) fn client(&self) -> Client {
        self.builder().build().unwrap()
    }

    pub(crate) fn add_apps(&self, count: usize) {
        for number in 0..count {
            let client_id = format!("key-{number:04}");
            let app = App { client_id: client_id.clone(), ..App::default() };
            self.0.apps().insert(client_id, app);
        }
    }
}

async fn token(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: String) -> Response {
    let takes = shared.behavior().login_takes;
    tokio::time::sleep(takes).await;
    shared.record().logins.push(body);
    let id = headers.get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
    shared.record().login_ids.push(id.to_owned());
    let number = shared.record().logins.len();
    let mut behavior = shared.behavior();
    if behavior.busy > 0 {
        behavior.busy -= 1;
        return (StatusCode::SERVICE_UNAVAILABLE, "<html>busy</html>").into_response();
    }
    let expected =
        format!("Basic {}", base64::Engine::encode(&base64::prelude::BASE64_STANDARD, BASIC));
    if headers.get(header::AUTHORIZATION).is_none_or(|value| value != expected.as_str()) {
        let body = r#"{"error":"invalid_client","error_description":"no key has this secret"}"#;
        return (StatusCode::UNAUTHORIZED, body).into_response();
    }
    let lifetime =
        behavior.lifetime.map(|seconds| format!(r#","expires_in":{seconds}"#)).unwrap_or_default();
    format!(r#"{{"access_token":"token-{number}","token_type":"bearer"{lifetime}}}"#)
        .into_response()
}

/// Checks the token, and records the call.
async fn admit(State(shared): State<Arc<Shared>>, request: Request<Body>, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let headers = request.headers();
    if path == "/token" {
        return next.run(request).await;
    }
    if path.contains("AuthMetadataService") {
        shared.record().discoveries += 1;
        return next.run(request).await;
    }
    let text = |name: &str| {
        headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned()
    };
    shared.record().calls.push((path, text("x-request-id")));
    shared.record().user_agents.push(text("user-agent"));
    let refusal = {
        let mut behavior = shared.behavior();
        let number = text(&behavior.header)
            .strip_prefix("Bearer token-")
            .and_then(|n| n.parse::<usize>().ok());
        if number.is_none_or(|number| number <= behavior.revoked) {
            Some(ConnectError::unauthenticated("the token is not valid"))
        } else if behavior.unavailable > 0 {
            behavior.unavailable -= 1;
            Some(ConnectError::unavailable("try later"))
        } else {
            None
        }
    };
    match refusal {
        Some(error) => error.into_http_response(headers).map(Body::new),
        None => next.run(request).await,
    }
}

struct Handler(Arc<Shared>);

impl AppsService for Handler {
    async fn create(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, CreateAppRequest>,
    ) -> ServiceResult<CreateAppResponse> {
        let request = request.to_owned_message();
        self.0.record().creates.push(request.clone());
        if self.0.apps().contains_key(&request.client_id) {
            return Err(ConnectError::already_exists("an API key with this client id exists"));
        }
        let app = App {
            organization: request.organization,
            client_id: request.client_id.clone(),
            client_name: request.client_name,
            redirect_uris: request.redirect_uris,
            grant_types: request.grant_types,
            response_types: request.response_types,
            client_id_issued_at: Timestamp { seconds: 1_700_000_000, ..Timestamp::default() }
                .into(),
            token_endpoint_auth_method: request.token_endpoint_auth_method,
            ..App::default()
        };
        self.0.apps().insert(request.client_id, app.clone());
        let app = App { client_secret: "s3cret".into(), ..app };
        connectrpc::Response::ok(CreateAppResponse {
            app: app.into(),
            ..CreateAppResponse::default()
        })
    }

    async fn get(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, GetAppRequest>,
    ) -> ServiceResult<GetAppResponse> {
        self.0.record().organizations.push(request.organization.to_owned());
        if self.0.behavior().get_is_broken {
            return Err(ConnectError::internal("internal error"));
        }
        let app = self.0.app(request.client_id)?;
        connectrpc::Response::ok(GetAppResponse { app: app.into(), ..GetAppResponse::default() })
    }

    async fn update(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, UpdateAppRequest>,
    ) -> ServiceResult<UpdateAppResponse> {
        let request = request.to_owned_message();
        self.0.record().organizations.push(request.organization.clone());
        self.0.record().updates.push(request.clone());
        let app = App { client_name: request.client_name, ..self.0.app(&request.client_id)? };
        connectrpc::Response::ok(UpdateAppResponse {
            app: app.into(),
            ..UpdateAppResponse::default()
        })
    }

    async fn delete(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, DeleteAppRequest>,
    ) -> ServiceResult<DeleteAppResponse> {
        self.0.record().organizations.push(request.organization.to_owned());
        self.0.app(request.client_id)?;
        self.0.apps().remove(request.client_id);
        connectrpc::Response::ok(DeleteAppResponse::default())
    }

    async fn list(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, ListAppsRequest>,
    ) -> ServiceResult<ListAppsResponse> {
        let request = request.to_owned_message();
        let list = request.request.into_option().unwrap_or_default();
        self.0.record().organizations.push(request.organization);
        self.0.record().pages.push((list.limit, list.token.clone()));
        let (apps, mut token) = self.page(list.limit, &list.token);
        if self.0.behavior().repeats_page_token {
            token = "again".into();
        }
        connectrpc::Response::ok(ListAppsResponse { apps, token, ..ListAppsResponse::default() })
    }
}

impl Handler {
    fn page(&self, limit: u32, after: &str) -> (Vec<App>, String) {
        let limit = if self.0.behavior().ignores_limit { u32::MAX } else { limit };
        let apps = self.0.apps();
        let rest: Vec<_> = apps.values().filter(|app| app.client_id.as_str() > after).collect();
        let page: Vec<App> = rest.iter().take(limit as usize).map(|app| (*app).clone()).collect();
        let more = page.len() < rest.len();
        let token =
            page.last().filter(|_| more).map(|app| app.client_id.clone()).unwrap_or_default();
        (page, token)
    }

    fn key(&self, client_id: &str) -> Result<v1::ApiKey, ConnectError> {
        let app = self.0.app(client_id)?;
        Ok(v1::ApiKey {
            client_id: app.client_id,
            client_name: app.client_name,
            key_id: "k1".into(),
            role: v1::Role::ROLE_VIEWER.into(),
            grant_types: vec![v1::GrantType::GRANT_TYPE_CLIENT_CREDENTIALS.into()],
            created_at: Timestamp { seconds: 1_700_000_000, ..Timestamp::default() }.into(),
            epoch: 7,
            secrets: vec![v1::Secret {
                id: "s1".into(),
                label: "first".into(),
                ..v1::Secret::default()
            }],
            ..v1::ApiKey::default()
        })
    }

    fn user(&self) -> Struct {
        let handle = self.0.behavior().user_handle.clone();
        serde_json::from_value(serde_json::json!({"userhandle": handle, "level": 3})).unwrap()
    }
}

impl v1::ApiKeyService for Handler {
    async fn create(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, v1::CreateRequest>,
    ) -> ServiceResult<v1::CreateResponse> {
        let request = request.to_owned_message();
        self.0.record().gatekey_creates.push(request.clone());
        let app = App {
            client_id: request.client_id.clone(),
            client_name: request.client_name,
            jwks_uri: "https://only.the.public.api/has-this".into(),
            ..App::default()
        };
        self.0.apps().insert(request.client_id.clone(), app);
        connectrpc::Response::ok(v1::CreateResponse {
            api_key: self.key(&request.client_id)?.into(),
            client_secret: "s3cret".into(),
            ..v1::CreateResponse::default()
        })
    }

    async fn get(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, v1::GetRequest>,
    ) -> ServiceResult<v1::GetResponse> {
        let api_key = self.key(request.client_id)?.into();
        connectrpc::Response::ok(v1::GetResponse { api_key, ..v1::GetResponse::default() })
    }

    async fn list(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, v1::ListRequest>,
    ) -> ServiceResult<v1::ListResponse> {
        self.0.record().pages.push((request.page_size, request.page_token.to_owned()));
        let (apps, next_page_token) = self.page(request.page_size, request.page_token);
        let api_keys = apps.iter().map(|app| self.key(&app.client_id)).collect::<Result<_, _>>()?;
        connectrpc::Response::ok(v1::ListResponse {
            api_keys,
            next_page_token,
            ..v1::ListResponse::default()
        })
    }

    async fn update(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, v1::UpdateRequest>,
    ) -> ServiceResult<v1::UpdateResponse> {
        let request = request.to_owned_message();
        let api_key = self.key(&request.api_key.client_id)?.into();
        self.0.record().gatekey_updates.push(request);
        connectrpc::Response::ok(v1::UpdateResponse { api_key, ..v1::UpdateResponse::default() })
    }

    async fn delete(
        &self,
        _: RequestContext,
        _: ServiceRequest<'_, v1::DeleteRequest>,
    ) -> ServiceResult<v1::DeleteResponse> {
        Err::<connectrpc::Response<v1::DeleteResponse>, _>(ConnectError::unimplemented("not here"))
    }

    async fn rotate_secret(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, v1::RotateSecretRequest>,
    ) -> ServiceResult<v1::RotateSecretResponse> {
        let request = request.to_owned_message();
        let api_key = self.key(&request.client_id)?.into();
        self.0.record().rotations.push(request);
        connectrpc::Response::ok(v1::RotateSecretResponse {
            api_key,
            client_secret: "n3w".into(),
            ..v1::RotateSecretResponse::default()
        })
    }

    async fn retire_secret(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, v1::RetireSecretRequest>,
    ) -> ServiceResult<v1::RetireSecretResponse> {
        let mut key = self.key(request.client_id)?;
        key.secrets.retain(|secret| secret.id != request.secret_id);
        connectrpc::Response::ok(v1::RetireSecretResponse {
            api_key: key.into(),
            ..v1::RetireSecretResponse::default()
        })
    }

    async fn disable(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, v1::DisableRequest>,
    ) -> ServiceResult<v1::DisableResponse> {
        let mut key = self.key(request.client_id)?;
        key.disabled_at = Timestamp { seconds: 1_800_000_000, ..Timestamp::default() }.into();
        connectrpc::Response::ok(v1::DisableResponse {
            api_key: key.into(),
            ..v1::DisableResponse::default()
        })
    }

    async fn enable(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, v1::EnableRequest>,
    ) -> ServiceResult<v1::EnableResponse> {
        let api_key = self.key(request.client_id)?.into();
        connectrpc::Response::ok(v1::EnableResponse { api_key, ..v1::EnableResponse::default() })
    }
}

impl Handler {
    fn token_endpoint(&self) -> String {
        let own = || format!("http://{}/token", self.0.address);
        self.0.behavior().token_endpoint.clone().unwrap_or_else(own)
    }
}

impl flyte_2::AuthMetadataService for Handler {
    async fn get_o_auth2_metadata(
        &self,
        _: RequestContext,
        _: ServiceRequest<'_, flyte_2::GetOAuth2MetadataRequest>,
    ) -> ServiceResult<flyte_2::GetOAuth2MetadataResponse> {
        let token_endpoint = self.token_endpoint();
        connectrpc::Response::ok(flyte_2::GetOAuth2MetadataResponse {
            token_endpoint,
            ..flyte_2::GetOAuth2MetadataResponse::default()
        })
    }

    async fn get_public_client_config(
        &self,
        _: RequestContext,
        _: ServiceRequest<'_, flyte_2::GetPublicClientConfigRequest>,
    ) -> ServiceResult<flyte_2::GetPublicClientConfigResponse> {
        let behavior = self.0.behavior();
        connectrpc::Response::ok(flyte_2::GetPublicClientConfigResponse {
            scopes: behavior.scopes.clone(),
            audience: behavior.audience.clone(),
            authorization_metadata_key: behavior.header.clone(),
            ..flyte_2::GetPublicClientConfigResponse::default()
        })
    }
}

impl flyte_1::AuthMetadataService for Handler {
    async fn get_o_auth2_metadata(
        &self,
        _: RequestContext,
        _: ServiceRequest<'_, flyte_1::OAuth2MetadataRequest>,
    ) -> ServiceResult<flyte_1::OAuth2MetadataResponse> {
        let token_endpoint = self.token_endpoint();
        connectrpc::Response::ok(flyte_1::OAuth2MetadataResponse {
            token_endpoint,
            ..flyte_1::OAuth2MetadataResponse::default()
        })
    }

    async fn get_public_client_config(
        &self,
        _: RequestContext,
        _: ServiceRequest<'_, flyte_1::PublicClientAuthConfigRequest>,
    ) -> ServiceResult<flyte_1::PublicClientAuthConfigResponse> {
        // Flyte 1 servers may leave the header's name empty.
        connectrpc::Response::ok(flyte_1::PublicClientAuthConfigResponse {
            scopes: self.0.behavior().scopes.clone(),
            ..flyte_1::PublicClientAuthConfigResponse::default()
        })
    }
}

impl flyte_2::IdentityService for Handler {
    async fn user_info(
        &self,
        _: RequestContext,
        _: ServiceRequest<'_, flyte_2::UserInfoRequest>,
    ) -> ServiceResult<flyte_2::UserInfoResponse> {
        connectrpc::Response::ok(flyte_2::UserInfoResponse {
            subject: "ci".into(),
            name: "CI".into(),
            additional_claims: self.user().into(),
            ..flyte_2::UserInfoResponse::default()
        })
    }
}

impl flyte_1::IdentityService for Handler {
    async fn user_info(
        &self,
        _: RequestContext,
        _: ServiceRequest<'_, flyte_1::UserInfoRequest>,
    ) -> ServiceResult<flyte_1::UserInfoResponse> {
        connectrpc::Response::ok(flyte_1::UserInfoResponse {
            subject: "ci".into(),
            ..flyte_1::UserInfoResponse::default()
        })
    }
}
