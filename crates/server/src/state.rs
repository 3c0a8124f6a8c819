//! [`ServerState`]: the states of all endpoints. Each handler extracts only its own part.

use std::sync::Arc;

use axum::extract::FromRef;
use gatekey_gate::{ForwardAuth, Proxy};

use crate::{oauth::OAuth, openapi::LazyDocument};

#[derive(Clone)]
pub struct ServerState {
    pub oauth: Arc<OAuth>,
    pub openapi: Arc<LazyDocument>,
    /// Answers what no endpoint does; `None` if there is no upstream.
    pub proxy: Option<Arc<Proxy>>,
    /// Answers proxies that ask about requests; `None` if they are not answered.
    pub forward_auth: Option<Arc<ForwardAuth>>,
}

impl FromRef<ServerState> for Arc<OAuth> {
    fn from_ref(state: &ServerState) -> Self {
        state.oauth.clone()
    }
}

impl FromRef<ServerState> for Option<Arc<Proxy>> {
    fn from_ref(state: &ServerState) -> Self {
        state.proxy.clone()
    }
}

impl FromRef<ServerState> for Option<Arc<ForwardAuth>> {
    fn from_ref(state: &ServerState) -> Self {
        state.forward_auth.clone()
    }
}

impl FromRef<ServerState> for Arc<LazyDocument> {
    fn from_ref(state: &ServerState) -> Self {
        state.openapi.clone()
    }
}
