//! [`ServerState`]: the states of all endpoints. Each handler extracts only its own part.

use std::sync::Arc;

use axum::extract::FromRef;

use crate::{oauth::OAuth, openapi::LazyDocument};

#[derive(Clone)]
pub struct ServerState {
    pub oauth: Arc<OAuth>,
    pub openapi: Arc<LazyDocument>,
}

impl FromRef<ServerState> for Arc<OAuth> {
    fn from_ref(state: &ServerState) -> Self {
        state.oauth.clone()
    }
}

impl FromRef<ServerState> for Arc<LazyDocument> {
    fn from_ref(state: &ServerState) -> Self {
        state.openapi.clone()
    }
}
