//! Client authentication: `client_secret_basic` and `client_secret_post` (RFC 6749 section 2.3.1).

use axum::http::{HeaderMap, header};
use base64::{Engine, prelude::BASE64_STANDARD};
use gatekey_core::token::{AuthenticatedKey, TokenError};
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::{
    error::OAuthError,
    form::{Form, FormRequest, needs_decoding},
};
use crate::App;

/// A client id and a secret, as they were sent.
pub struct ClientCredentials {
    client_id: String,
    client_secret: Zeroizing<String>,
}

/// Authenticates the key that calls, by exactly one method.
///
/// # Errors
/// `invalid_request` for two methods at once or a malformed header. `invalid_client` for any wrong
/// credential, whatever the reason, or `slow_down` when one address sends too many of them.
pub fn authenticate(app: &App, request: &FormRequest) -> Result<AuthenticatedKey, OAuthError> {
    let FormRequest { record, headers, form } = request;
    let ClientCredentials { client_id, client_secret } =
        read(headers, form)?.ok_or(TokenError::InvalidClient)?;
    let authenticated = app.tokens.authenticate(&client_id, &client_secret, record.peer);
    if let (Err(TokenError::TooManyFailures { first: true, .. }), Some(peer)) = (&authenticated, record.peer)
    {
        let limit = app.config.limits.failed_authentications_per_minute;
        tracing::warn!(%peer, limit, "throttled an address: it sent too many wrong secrets");
    }
    let key = authenticated?;
    record.set_client_id(&key.facts.client_id);
    Ok(key)
}

/// Reads the credentials; `None` when there are none.
///
/// # Errors
/// See [`authenticate`].
pub fn read(headers: &HeaderMap, form: &Form) -> Result<Option<ClientCredentials>, OAuthError> {
    let mut authorizations = headers.get_all(header::AUTHORIZATION).iter();
    let authorization = authorizations.next();
    if authorizations.next().is_some() {
        return Err(OAuthError::invalid_request("more than one authorization header"));
    }
    if form.get("client_assertion").is_some() || form.get("client_assertion_type").is_some() {
        return Err(OAuthError::invalid_request(
            "client assertions are not supported; use client_secret_basic or client_secret_post",
        ));
    }
    let Some(authorization) = authorization else {
        return match (form.get("client_id"), form.get("client_secret")) {
            (Some(client_id), Some(client_secret)) => Ok(Some(ClientCredentials {
                client_id: client_id.to_owned(),
                client_secret: Zeroizing::new(client_secret.to_owned()),
            })),
            (Some(_) | None, Some(_) | None) => Ok(None),
        };
    };
    if form.get("client_secret").is_some() {
        return Err(OAuthError::invalid_request(
            "two client authentications at once: an authorization header and client_secret in the body",
        ));
    }
    let malformed = || OAuthError::invalid_request("the authorization header is not well-formed Basic");
    let value = authorization.to_str().map_err(|_| malformed())?;
    let (scheme, encoded) = value.split_once(' ').ok_or_else(malformed)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Ok(None);
    }
    let credentials = decode_basic(encoded).ok_or_else(malformed)?;
    if form.get("client_id").is_some_and(|client_id| client_id != credentials.client_id) {
        return Err(OAuthError::invalid_request("client_id in the body differs from the one in the header"));
    }
    Ok(Some(credentials))
}

/// Strict base64 of two form-encoded parts around the first colon.
fn decode_basic(encoded: &str) -> Option<ClientCredentials> {
    let bytes = Zeroizing::new(BASE64_STANDARD.decode(encoded.trim()).ok()?);
    let text = std::str::from_utf8(&bytes).ok()?;
    let (client_id, client_secret) = text.split_once(':')?;
    Some(ClientCredentials {
        client_id: form_decode(client_id)?,
        client_secret: Zeroizing::new(form_decode(client_secret)?),
    })
}

fn form_decode(text: &str) -> Option<String> {
    if !needs_decoding(text) {
        return Some(text.to_owned());
    }
    // As a form's only name: `&` and `=` are what the decoder gives a meaning, and a part has neither.
    if text.contains(['&', '=']) && !text.contains('%') {
        return Some(text.to_owned());
    }
    let shielded = Zeroizing::new(text.replace('&', "%26").replace('=', "%3D"));
    let decoded = form_urlencoded::parse(shielded.as_bytes()).next().map(|(name, _)| name.into_owned());
    let decoded = decoded.unwrap_or_default();
    (!decoded.contains('\u{fffd}')).then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(text: &str) -> Option<(String, String)> {
        let decoded = decode_basic(&BASE64_STANDARD.encode(text))?;
        Some((decoded.client_id, decoded.client_secret.to_string()))
    }

    #[test]
    fn both_parts_are_split_and_form_decoded() {
        assert_eq!(decode("ci:adm%2Bin%2Fs3cret%2520%3D"), Some(("ci".into(), "adm+in/s3cret%20=".into())));
        assert_eq!(decode("a+b:c:d"), Some(("a b".into(), "c:d".into())));
        assert_eq!(decode("ci:a&b=c%26"), Some(("ci".into(), "a&b=c&".into())));
        assert_eq!(decode("ci:"), Some(("ci".into(), String::new())));
        assert_eq!(decode("no colon"), None);
        assert_eq!(decode("ci:%ff"), None);
    }

    #[test]
    fn loose_base64_is_refused() {
        assert!(decode_basic("Y2k6eA").is_none());
        assert!(decode_basic("Y2k6eA==\u{20}x").is_none());
        assert!(decode_basic("Y2k6eB==").is_none());
    }
}
