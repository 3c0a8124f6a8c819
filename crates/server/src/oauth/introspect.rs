//! Token introspection (RFC 7662): a key about its own tokens, an admin or verifier about any.

use axum::{Extension, Json, extract::State, http::HeaderMap};
use gatekey_core::tokens::TokenError;
use gatekey_credentials::Role;
use schemars::JsonSchema;
use serde::Serialize;

use super::{client_authentication, error::OAuthError, form::Form};
use crate::{App, authenticate::Principal, call::Call, endpoints::Parameter};

/// RFC 7662 section 2.2.
#[derive(Default, Serialize, JsonSchema)]
pub struct Introspection {
    /// Whether the token is in force. When it is not, nothing else is said.
    active: bool,
    #[serde(flatten)]
    told: Option<Told>,
}

/// What is told of a token that is in force.
#[derive(Serialize, JsonSchema)]
pub struct Told {
    /// Always `Bearer`.
    token_type: &'static str,
    /// The granted scopes, separated by blanks.
    scope: String,
    /// The key that fetched it.
    client_id: String,
    /// The same as `sub`.
    username: String,
    /// The subject.
    sub: String,
    /// The issuer.
    iss: String,
    /// Whom it is for.
    aud: Vec<String>,
    /// Refused from this second since 1970 on.
    exp: i64,
    /// When it was issued, in seconds since 1970.
    iat: i64,
    /// Refused before this second since 1970.
    nbf: i64,
    /// Identifies it.
    jti: String,
    /// The organization; may be empty.
    org: String,
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
pub async fn handle(
    State(app): State<App>,
    Extension(call): Extension<Call>,
    Extension(principal): Extension<Principal>,
    headers: HeaderMap,
    form: Form,
) -> Result<Json<Introspection>, OAuthError> {
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
        return Ok(Json(Introspection::default()));
    };
    let claims = token.claims;
    let told = Told {
        token_type: "Bearer",
        scope: claims.scope.clone(),
        client_id: claims.client_id.clone(),
        username: claims.sub.clone(),
        sub: claims.sub.clone(),
        iss: claims.iss.clone(),
        aud: claims.aud.clone(),
        exp: claims.exp,
        iat: claims.iat,
        nbf: claims.nbf,
        jti: claims.jti.clone(),
        org: claims.org.clone(),
        role: token.facts.role,
    };
    Ok(Json(Introspection { active: true, told: Some(told) }))
}
