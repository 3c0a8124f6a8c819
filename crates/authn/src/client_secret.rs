//! A client id and its secret, sent by exactly one method.

use axum::http::{HeaderMap, header};
use gatekey_core::token::TokenError;

use crate::{
    basic,
    credentials::{ClientCredentials, FormCredentials},
    post,
};

/// Reads the credentials of a request; `None` when there are none.
///
/// # Errors
/// [`TokenError::InvalidRequest`] for two methods at once, a malformed header, or a secret with
/// white space inside, which no secret has: this is a mistake of copying, and not a guess.
pub fn read(
    headers: &HeaderMap,
    form: &FormCredentials<'_>,
) -> Result<Option<ClientCredentials>, TokenError> {
    let credentials = read_any(headers, form)?;
    if credentials.as_ref().is_some_and(|sent| has_blank(&sent.client_secret)) {
        return Err(invalid(
            "the client secret contains white space or control characters; was it copied whole and alone?",
        ));
    }
    Ok(credentials)
}

fn read_any(
    headers: &HeaderMap,
    form: &FormCredentials<'_>,
) -> Result<Option<ClientCredentials>, TokenError> {
    let mut authorizations = headers.get_all(header::AUTHORIZATION).iter();
    let authorization = authorizations.next();
    if authorizations.next().is_some() {
        return Err(invalid("more than one authorization header"));
    }
    if form.has_assertion {
        return Err(invalid(
            "client assertions are not supported; use client_secret_basic or client_secret_post",
        ));
    }
    let Some(authorization) = authorization else { return Ok(post::credentials(form)) };
    if form.client_secret.is_some() {
        return Err(invalid(
            "two client authentications at once: an authorization header and client_secret in the body",
        ));
    }
    let credentials = basic::credentials(authorization);
    let credentials =
        credentials.map_err(|_| invalid("the authorization header is not well-formed Basic"))?;
    let another = |sent: &ClientCredentials| form.client_id.is_some_and(|id| id != sent.client_id);
    if credentials.as_ref().is_some_and(another) {
        return Err(invalid("client_id in the body differs from the one in the header"));
    }
    Ok(credentials)
}

/// Whether a secret contains white space or control characters.
fn has_blank(secret: &str) -> bool {
    if secret.is_ascii() {
        // `is_ascii_whitespace` lacks the vertical tab, which is a control character.
        return secret.bytes().any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control());
    }
    secret.chars().any(|character| character.is_whitespace() || character.is_control())
}

fn invalid(description: &str) -> TokenError {
    TokenError::InvalidRequest(description.to_owned())
}
