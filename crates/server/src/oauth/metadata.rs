//! Serves the [`metadata`](crate::metadata) documents.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::OAuth;
use crate::metadata::{AuthorizationServer, OpenIdConfiguration, PublicClientConfig};

/// `/.well-known/oauth-authorization-server`.
pub async fn authorization_server(State(oauth): State<Arc<OAuth>>) -> Response {
    cached(AuthorizationServer::new(&oauth.config))
}

/// `/.well-known/openid-configuration`.
pub async fn openid_configuration(State(oauth): State<Arc<OAuth>>) -> Response {
    let algorithms = oauth.key_ring.algorithms(oauth.env.now());
    cached(OpenIdConfiguration::new(&oauth.config, &algorithms))
}

/// `/config/v1/flyte_client`.
pub async fn flyte_client(State(oauth): State<Arc<OAuth>>) -> Response {
    cached(PublicClientConfig::new(&oauth.config))
}

fn cached(body: impl Serialize) -> Response {
    ([(header::CACHE_CONTROL, "public, max-age=300")], Json(body)).into_response()
}
