//! The token endpoint: `client_credentials` (RFC 6749 section 4.4), read in the order of the RFC.

use std::fmt::Write as _;

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use gatekey_core::token::{IssuedToken, TokenError};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    client_authentication,
    error::OAuthError,
    form::{Form, FormRequest},
};
use crate::{App, endpoint::Parameter, path};

/// RFC 6749 section 5.1. Public clients fail without `expires_in`.
#[derive(Serialize, JsonSchema)]
pub struct TokenResponse<'a> {
    /// A JWT (RFC 9068).
    access_token: &'a str,
    /// Always `Bearer`.
    token_type: &'static str,
    /// Seconds.
    expires_in: i64,
    /// The granted scopes, separated by blanks; may be empty.
    scope: &'a str,
}

impl TokenResponse<'_> {
    /// As JSON. A token is base64url and dots, so it is copied whole: a serializer would look at each of its hundreds
    /// of bytes for what to escape.
    fn to_json(&self) -> String {
        let Self { access_token, token_type, expires_in, scope } = self;
        let mut json = String::with_capacity(1024);
        // Writing to a string does not fail.
        let _ = write!(
            json,
            r#"{{"access_token":"{access_token}","token_type":"{token_type}","expires_in":{expires_in},"scope":"{scope}"}}"#
        );
        json
    }
}

/// What a token request may say (RFC 6749 section 4.4.2).
pub const PARAMETERS: &[Parameter] = &[
    Parameter::required("grant_type", "`client_credentials`"),
    Parameter::optional(
        "scope",
        "What the token may do, separated by blanks; all that the key may, when empty",
    ),
    Parameter::optional(
        "resource",
        "Whom the token is for (RFC 8707); the server's first audience, when empty",
    ),
    Parameter::optional("audience", "The same, as Flyte's clients call it"),
];

/// Exchanges a key's secret for a token. [`FormRequest`] has checked the body's limit, type and
/// parameters; every response is `no-store`.
pub async fn handle(State(app): State<App>, request: FormRequest) -> Result<Response, OAuthError> {
    let key = client_authentication::authenticate(&app, &request)?;
    let FormRequest { record, form, .. } = request;
    if form.require("grant_type")? != "client_credentials" {
        return Err(TokenError::UnsupportedGrantType.into());
    }
    let audiences = requested_audiences(&form);
    let issued = app.tokens.issue(&key, form.get("scope").unwrap_or_default(), &audiences);
    if let Err(
        refusal @ (TokenError::UnauthorizedClient(_)
        | TokenError::InvalidScope(_)
        | TokenError::InvalidTarget(_)
        | TokenError::InvalidClient),
    ) = &issued
    {
        app.record_refusal(&record.caller(key.facts.actor()), path::TOKEN, &refusal.to_string()).await;
    }
    let IssuedToken { access_token, expires_in, scope } = issued?;
    app.telemetry.metrics.count_token();
    let body = TokenResponse { access_token: &access_token, token_type: "Bearer", expires_in, scope: &scope };
    Ok(([(header::CONTENT_TYPE, "application/json")], body.to_json()).into_response())
}

/// RFC 8707 `resource`, and `audience` as Flyte's clients call it.
fn requested_audiences(form: &Form) -> Vec<String> {
    form.all("resource").chain(form.all("audience")).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_response_equals_its_serialized_fields() {
        let response =
            TokenResponse { access_token: "e.y-.J_", token_type: "Bearer", expires_in: 3600, scope: "all" };
        assert_eq!(response.to_json(), serde_json::to_string(&response).unwrap());
    }
}
