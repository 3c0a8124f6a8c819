//! Token introspection (RFC 7662). Any key can introspect its own tokens; admins and verifiers can
//! introspect all tokens.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use gatekey_authn::{Authenticator, Principal, Refusal};
use gatekey_core::{api_key::KeyFacts, token::TokenError};
use gatekey_credentials::Role;
use schemars::JsonSchema;
use serde::Serialize;

use super::{OAuth, error::OAuthError, form::FormRequest};
use crate::endpoint::Parameter;

/// RFC 7662 section 2.2.
#[derive(Serialize, JsonSchema)]
pub struct Introspection<'t> {
    /// Whether the token is valid. The response for an invalid token contains nothing else.
    active: bool,
    #[serde(flatten)]
    token: Option<ActiveToken<'t>>,
}

/// The facts of a valid token.
#[derive(Serialize, JsonSchema)]
pub struct ActiveToken<'t> {
    /// Always `Bearer`.
    token_type: &'static str,
    /// The granted scopes, separated by spaces.
    scope: &'t str,
    /// The key that requested the token.
    client_id: &'t str,
    /// The same as `sub`.
    username: &'t str,
    /// The subject.
    sub: &'t str,
    /// The issuer.
    iss: &'t str,
    /// The audiences.
    aud: &'t [String],
    /// The token expires at this second since 1970.
    exp: i64,
    /// When it was issued, in seconds since 1970.
    iat: i64,
    /// The token is not valid before this second since 1970.
    nbf: i64,
    /// The token's id.
    jti: &'t str,
    /// The organization; may be empty.
    org: &'t str,
    /// The current role of the key. A token carries none; this saves the caller a second request.
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<Role>,
}

/// The parameters of an introspection request (RFC 7662 section 2.1).
pub const PARAMETERS: &[Parameter] = &[
    Parameter::required("token", "The access token"),
    Parameter::optional("token_type_hint", "Not needed: only access tokens exist"),
];

/// Reports whether a token is valid, and its claims. For a token that the caller may not see, the
/// response is `{"active": false}`.
pub async fn handle(
    State(oauth): State<Arc<OAuth>>,
    request: FormRequest,
) -> Result<Response, OAuthError> {
    let caller = authenticate(&oauth.authenticator, &request)?;
    let token = oauth.tokens.introspect(&caller, request.form.require("token")?);
    let token = token.map_err(TokenError::from)?;
    let token = token.as_ref().map(|token| ActiveToken {
        token_type: "Bearer",
        scope: &token.claims.scope,
        client_id: &token.claims.client_id,
        username: &token.claims.sub,
        sub: &token.claims.sub,
        iss: &token.claims.iss,
        aud: &token.claims.aud,
        exp: token.claims.exp,
        iat: token.claims.iat,
        nbf: token.claims.nbf,
        jti: &token.claims.jti,
        org: &token.claims.org,
        role: token.facts.role(),
    });
    Ok(Json(Introspection { active: token.is_some(), token }).into_response())
}

/// Authenticates the key that calls. RFC 7662 section 2.1 leaves the method open: the key's secret,
/// or a token of the key.
fn authenticate(
    authenticator: &Authenticator,
    request: &FormRequest,
) -> Result<Arc<KeyFacts>, OAuthError> {
    match authenticator.principal(&request.record, &request.headers) {
        Principal::Key(_) if request.form.get("client_secret").is_some() => {
            Err(OAuthError::invalid_request(
                "two authentications at once: a Bearer token and client_secret in the body",
            ))
        }
        Principal::Key(token) => Ok(token.facts),
        Principal::Limited(_, limited) => Err(TokenError::from(limited).into()),
        Principal::Refused(Refusal::Unavailable) => Err(TokenError::CannotDecide.into()),
        Principal::Refused(_) => Err(TokenError::InvalidClient.into()),
        Principal::Nobody => Ok(request.authenticate(authenticator)?.facts),
    }
}
