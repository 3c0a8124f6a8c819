//! Token introspection (RFC 7662): a key about its own tokens, an admin or verifier about any.

use axum::{Extension, Json, extract::State, http::HeaderMap};
use gatekey_core::tokens::TokenError;
use serde_json::{Value, json};

use super::{client_authentication, error::OAuthError, form::Form};
use crate::{App, authenticate::Principal, call::Call};

/// Tells whether a token is in force and what it says. What the asker may not know is `{"active": false}`.
pub async fn handle(
    State(app): State<App>,
    Extension(call): Extension<Call>,
    Extension(principal): Extension<Principal>,
    headers: HeaderMap,
    form: Form,
) -> Result<Json<Value>, OAuthError> {
    // RFC 7662 section 2.1 leaves the method open: a key's secret or a token of the key.
    let asking = match &principal {
        Principal::Key(token) => {
            if form.get("client_secret").is_some() {
                let description = "two authentications at once: a Bearer token and client_secret in the body";
                return Err(OAuthError::invalid_request(description));
            }
            app.tokens.verify_again(token).map_err(|_| TokenError::InvalidClient)?.facts
        }
        Principal::Refused(_) => return Err(TokenError::InvalidClient.into()),
        Principal::Nobody => client_authentication::authenticate(&app, &call, &headers, &form)?.facts,
    };
    let Some(token) = app.tokens.introspect(&asking, form.require("token")?) else {
        return Ok(Json(json!({ "active": false })));
    };
    let claims = token.claims;
    let mut answer = json!({
        "active": true,
        "token_type": "Bearer",
        "scope": claims.scope,
        "client_id": claims.client_id,
        "username": claims.sub,
        "sub": claims.sub,
        "iss": claims.iss,
        "aud": claims.aud,
        "exp": claims.exp,
        "iat": claims.iat,
        "nbf": claims.nbf,
        "jti": claims.jti,
        "org": claims.org,
    });
    // The token carries no role; whoever asks should not need a second call to know it.
    if let Some(role) = token.facts.role {
        answer["role"] = json!(role);
    }
    Ok(Json(answer))
}
