//! Token revocation (RFC 7009): a key revokes its own tokens.

use std::sync::Arc;

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use gatekey_core::token::TokenError;

use super::{OAuth, error::OAuthError, form::FormRequest};
use crate::{endpoint::Parameter, path, refusals};

/// The parameters of a revocation request (RFC 7009 section 2.1).
pub const PARAMETERS: &[Parameter] = &[
    Parameter::required("token", "The access token"),
    Parameter::optional("token_type_hint", "Not needed: only access tokens exist"),
];

/// Revokes a token. Succeeds for an invalid token too (RFC 7009 section 2.2).
pub async fn handle(
    State(oauth): State<Arc<OAuth>>,
    request: FormRequest,
) -> Result<Response, OAuthError> {
    let key = request.authenticate(&oauth.authenticator)?;
    let FormRequest { record, form, .. } = request;
    let caller = record.caller(key.actor());
    let revoked = oauth.tokens.revoke(&caller, &key.facts, form.require("token")?).await;
    if let Err(refusal @ TokenError::UnauthorizedClient(_)) = &revoked {
        refusals::record(&oauth.api_keys, &caller, path::REVOKE, &refusal.to_string()).await;
    }
    revoked?;
    Ok(StatusCode::OK.into_response())
}
