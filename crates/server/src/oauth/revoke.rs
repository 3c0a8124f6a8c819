//! Token revocation (RFC 7009): a key revokes its own tokens.

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use gatekey_core::token::TokenError;

use super::{client_authentication, error::OAuthError, form::FormRequest};
use crate::{App, endpoint::Parameter, path};

/// The parameters of a revocation request (RFC 7009 section 2.1).
pub const PARAMETERS: &[Parameter] = &[
    Parameter::required("token", "The access token"),
    Parameter::optional("token_type_hint", "Not needed: only access tokens exist"),
];

/// Revokes a token. An invalid token is no error (RFC 7009 section 2.2).
pub async fn handle(State(app): State<App>, request: FormRequest) -> Result<Response, OAuthError> {
    let key = client_authentication::authenticate(&app, &request)?;
    let FormRequest { record, form, .. } = request;
    let caller = record.caller(key.facts.actor());
    let revoked = app.tokens.revoke(&caller, &key.facts, form.require("token")?).await;
    if let Err(refusal @ TokenError::UnauthorizedClient(_)) = &revoked {
        app.record_refusal(&caller, path::REVOKE, &refusal.to_string()).await;
    }
    revoked?;
    Ok(StatusCode::OK.into_response())
}
