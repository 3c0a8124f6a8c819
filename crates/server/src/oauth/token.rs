//! The token endpoint (RFC 6749 section 3.2): authenticates the client, then dispatches by grant.

use std::{fmt::Write as _, sync::Arc};

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use gatekey_core::token::{IssuedToken, TokenError};
use schemars::JsonSchema;
use serde::Serialize;

use super::{OAuth, error::OAuthError, form::FormRequest, grants::client_credentials};
use crate::endpoint::Parameter;

/// RFC 6749 section 5.1. Public clients fail without `expires_in`.
#[derive(Serialize, JsonSchema)]
pub struct TokenResponse<'a> {
    /// A JWT (RFC 9068).
    access_token: &'a str,
    /// Always `Bearer`.
    token_type: &'static str,
    /// Seconds.
    expires_in: i64,
    /// The granted scopes, separated by spaces; may be empty.
    scope: &'a str,
}

impl TokenResponse<'_> {
    /// Writes JSON by hand. A token is base64url and dots, so it needs no escaping, and a
    /// serializer would check each of its hundreds of bytes.
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

/// The parameters of a token request (RFC 6749 section 4.4.2).
pub const PARAMETERS: &[Parameter] = &[
    Parameter::required("grant_type", "`client_credentials`"),
    Parameter::optional(
        "scope",
        "The requested scopes, separated by spaces; empty for all that the key has",
    ),
    Parameter::optional("resource", "The audience (RFC 8707); empty for the server's public URL"),
    Parameter::optional("audience", "The same, under the name that Flyte's clients use"),
];

/// Exchanges a key's secret for a token. [`FormRequest`] has checked the body's size, type and
/// parameters; every response is `no-store`.
pub async fn handle(
    State(oauth): State<Arc<OAuth>>,
    request: FormRequest,
) -> Result<Response, OAuthError> {
    let key = request.authenticate(&oauth.authenticator)?;
    let issued = match request.form.require("grant_type")? {
        client_credentials::GRANT_TYPE => client_credentials::issue(&oauth, &key, &request).await?,
        _ => return Err(TokenError::UnsupportedGrantType.into()),
    };
    oauth.telemetry.metrics.count_token();
    let IssuedToken { access_token, expires_in, scope } = issued;
    let body = TokenResponse {
        access_token: &access_token,
        token_type: "Bearer",
        expires_in,
        scope: &scope,
    };
    Ok(([(header::CONTENT_TYPE, "application/json")], body.to_json()).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_response_equals_its_serialized_fields() {
        let response = TokenResponse {
            access_token: "e.y-.J_",
            token_type: "Bearer",
            expires_in: 3600,
            scope: "all",
        };
        assert_eq!(response.to_json(), serde_json::to_string(&response).unwrap());
    }
}
