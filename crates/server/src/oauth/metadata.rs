//! Serves the [`metadata`](crate::metadata) documents.

use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::{
    App,
    metadata::{AuthorizationServer, OpenIdConfiguration, PublicClientConfig},
};

/// `/.well-known/oauth-authorization-server`.
pub async fn authorization_server(State(app): State<App>) -> Response {
    cached(AuthorizationServer::new(&app.config))
}

/// `/.well-known/openid-configuration`.
pub async fn openid_configuration(State(app): State<App>) -> Response {
    cached(OpenIdConfiguration::new(&app.config))
}

/// `/config/v1/flyte_client`.
pub async fn flyte_client(State(app): State<App>) -> Response {
    cached(PublicClientConfig::new(&app.config))
}

fn cached(body: impl Serialize) -> Response {
    ([(header::CACHE_CONTROL, "public, max-age=300")], Json(body)).into_response()
}
