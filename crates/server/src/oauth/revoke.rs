//! Token revocation (RFC 7009): a key revokes its own tokens.

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use gatekey_core::token::TokenError;

use super::{client_authentication, error::OAuthError, form::Sent, path};
use crate::{App, call::CallingKey, endpoints::Parameter};

/// What a revocation may say (RFC 7009 section 2.1).
pub const PARAMETERS: &[Parameter] = &[
    Parameter::required("token", "The access token"),
    Parameter::optional("token_type_hint", "Not needed: there are access tokens alone"),
];

/// Revokes a token. A token that is not in force is no error (RFC 7009 section 2.2).
pub async fn handle(State(app): State<App>, sent: Sent) -> Result<Response, OAuthError> {
    let key = client_authentication::authenticate(&app, &sent)?;
    let Sent { call, form, .. } = sent;
    let caller = call.by(key.facts.actor());
    let revoked = app.tokens.revoke(&caller, &key.facts, form.require("token")?).await;
    if let Err(refusal @ TokenError::UnauthorizedClient(_)) = &revoked {
        app.record_refusal(&caller, path::REVOKE, &refusal.to_string()).await;
    }
    revoked?;
    let mut response = StatusCode::OK.into_response();
    response.extensions_mut().insert(CallingKey(key.facts.client_id.clone()));
    Ok(response)
}
