//! Authenticates a Bearer token: from a request's headers to a [`Principal`].
//!
//! A refused credential does not end a request here: the login metadata must stay open to a client
//! whose token has just expired. Endpoints that need a key ask the principal for it.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, header},
    middleware::Next,
    response::Response,
};
use gatekey_core::token::{TokenRefusal, VerifiedToken};
use gatekey_telemetry::Record;

use crate::App;

/// The challenge to a request without a credential (RFC 6750 section 3).
pub const CHALLENGE: HeaderValue = HeaderValue::from_static(r#"Bearer realm="gatekey""#);

/// The caller of a request.
#[derive(Debug, Clone)]
pub enum Principal {
    /// No credential was sent.
    Nobody,
    /// A key, by a valid token.
    Key(VerifiedToken),
    /// The credential was refused.
    Refused(Refusal),
}

/// Why a credential was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Several credentials, which may contradict each other.
    #[error("more than one credential was sent")]
    Several,
    /// Not `Bearer` and a token (RFC 6750 section 2.1).
    #[error("the credential is not a Bearer token")]
    NotBearer,
    /// The token is not valid.
    #[error(transparent)]
    Token(#[from] TokenRefusal),
}

impl Principal {
    /// Authenticates the caller by the headers of its request.
    pub fn of(app: &App, headers: &HeaderMap) -> Self {
        let principal = match bearer_token(app, headers) {
            Ok(None) => Self::Nobody,
            Ok(Some(token)) => match app.tokens.verify(token) {
                Ok(verified) => Self::Key(verified),
                Err(refusal) => Self::Refused(refusal.into()),
            },
            Err(refusal) => Self::Refused(refusal),
        };
        if let Self::Refused(refusal) = &principal {
            tracing::debug!(%refusal, "refused a credential");
        }
        principal
    }

    /// Returns the key that calls.
    ///
    /// # Errors
    /// Why there is none, as a clause for the caller.
    pub fn key(&self) -> Result<&VerifiedToken, String> {
        match self {
            Self::Key(token) => Ok(token),
            Self::Nobody => Err("no credential was sent".to_owned()),
            Self::Refused(refusal) => Err(refusal.to_string()),
        }
    }
}

/// Puts the [`Principal`] into the request's extensions and its key into the request's [`Record`].
pub async fn middleware(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let principal = Principal::of(&app, request.headers());
    if let (Principal::Key(token), Some(record)) = (&principal, request.extensions().get::<Arc<Record>>()) {
        record.set_client_id(&token.facts.client_id);
    }
    request.extensions_mut().insert(principal);
    next.run(request).await
}

/// Returns the one Bearer token, from `authorization` or the advertised header. `Basic` in
/// `authorization` is for the OAuth endpoints and yields no principal.
fn bearer_token<'h>(app: &App, headers: &'h HeaderMap) -> Result<Option<&'h str>, Refusal> {
    let advertised = app.config.tokens.authorization_metadata_key.as_str();
    let further = (advertised != header::AUTHORIZATION.as_str()).then(|| headers.get_all(advertised));
    let mut values = headers.get_all(header::AUTHORIZATION).iter().chain(further.into_iter().flatten());
    let Some(value) = values.next() else { return Ok(None) };
    // Some clients send the same credential in both headers.
    if values.any(|other| other != value) {
        return Err(Refusal::Several);
    }
    let value = value.to_str().map_err(|_| Refusal::NotBearer)?;
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token.trim())),
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("basic") => Ok(None),
        Some(_) | None => Err(Refusal::NotBearer),
    }
}
