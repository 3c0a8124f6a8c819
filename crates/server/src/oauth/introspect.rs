//! Token introspection (RFC 7662): a key about its own tokens, an admin or verifier about any.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use gatekey_core::{api_key::KeyFacts, token::TokenError};
use gatekey_credentials::Role;
use schemars::JsonSchema;
use serde::Serialize;

use super::{client_authentication, error::OAuthError, form::Sent};
use crate::{App, authenticate::Principal, call::CallingKey, endpoints::Parameter};

/// RFC 7662 section 2.2.
#[derive(Serialize, JsonSchema)]
pub struct Introspection<'t> {
    /// Whether the token is in force. When it is not, nothing else is said.
    active: bool,
    #[serde(flatten)]
    told: Option<Told<'t>>,
}

/// What is told of a token that is in force.
#[derive(Serialize, JsonSchema)]
pub struct Told<'t> {
    /// Always `Bearer`.
    token_type: &'static str,
    /// The granted scopes, separated by blanks.
    scope: &'t str,
    /// The key that fetched it.
    client_id: &'t str,
    /// The same as `sub`.
    username: &'t str,
    /// The subject.
    sub: &'t str,
    /// The issuer.
    iss: &'t str,
    /// Whom it is for.
    aud: &'t [String],
    /// Refused from this second since 1970 on.
    exp: i64,
    /// When it was issued, in seconds since 1970.
    iat: i64,
    /// Refused before this second since 1970.
    nbf: i64,
    /// Identifies it.
    jti: &'t str,
    /// The organization; may be empty.
    org: &'t str,
    /// What its key may do now. The token carries no role; whoever asks should not need a second call to know it.
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<Role>,
}

/// What an introspection may say (RFC 7662 section 2.1).
pub const PARAMETERS: &[Parameter] = &[
    Parameter::required("token", "The access token"),
    Parameter::optional("token_type_hint", "Not needed: there are access tokens alone"),
];

/// Tells whether a token is in force and what it says. What the asker may not know is `{"active": false}`.
pub async fn handle(State(app): State<App>, sent: Sent) -> Result<Response, OAuthError> {
    let asking = asking(&app, &sent)?;
    let mut response = answer(&app, &asking, &sent).unwrap_or_else(OAuthError::into_response);
    response.extensions_mut().insert(CallingKey(asking.client_id.clone()));
    Ok(response)
}

/// The key that asks.
fn asking(app: &App, sent: &Sent) -> Result<Arc<KeyFacts>, OAuthError> {
    // RFC 7662 section 2.1 leaves the method open: a key's secret or a token of the key.
    match Principal::of(app, &sent.headers) {
        Principal::Key(_) if sent.form.get("client_secret").is_some() => Err(OAuthError::invalid_request(
            "two authentications at once: a Bearer token and client_secret in the body",
        )),
        Principal::Key(token) => Ok(token.facts),
        Principal::Refused(_) => Err(TokenError::InvalidClient.into()),
        Principal::Nobody => Ok(client_authentication::authenticate(app, sent)?.facts),
    }
}

fn answer(app: &App, asking: &KeyFacts, sent: &Sent) -> Result<Response, OAuthError> {
    let token = app.tokens.introspect(asking, sent.form.require("token")?);
    let told = token.as_ref().map(|token| Told {
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
        role: token.facts.role,
    });
    Ok(Json(Introspection { active: told.is_some(), told }).into_response())
}
