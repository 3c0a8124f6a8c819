//! Token revocation (RFC 7009): a key revokes its own tokens.

use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use gatekey_core::Actor;

use super::{client_authentication, error::OAuthError, form::Form};
use crate::{App, call::Call};

/// Revokes a token. A token that is not in force is no error (RFC 7009 section 2.2).
pub async fn handle(
    State(app): State<App>,
    Extension(call): Extension<Call>,
    headers: HeaderMap,
    form: Form,
) -> Result<StatusCode, OAuthError> {
    let key = client_authentication::authenticate(&app, &headers, &form)?;
    let actor = Actor::Key { client_id: key.facts.client_id.clone(), key_id: key.facts.key_id };
    app.tokens.revoke(&call.by(actor), &key.facts, form.require("token")?).await?;
    Ok(StatusCode::OK)
}
