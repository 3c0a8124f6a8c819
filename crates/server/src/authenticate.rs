//! Credential to [`Principal`]: who is calling.
//!
//! A refused credential does not end a request here: the login metadata must stay open to a client whose token
//! has just expired. Whoever needs a key asks the principal.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, header},
    middleware::Next,
    response::Response,
};
use gatekey_core::token::{TokenRefusal, VerifiedToken};

use crate::{App, call::CallingKey};

/// Who is calling.
#[derive(Debug, Clone)]
pub enum Principal {
    /// No credential was sent.
    Nobody,
    /// A key, by a token in force.
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
    /// The token is not in force.
    #[error(transparent)]
    Token(#[from] TokenRefusal),
}

impl Principal {
    /// Finds out who is calling.
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
            tracing::debug!(%refusal, "a credential was refused");
        }
        principal
    }

    /// The key that calls.
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

/// Leaves in each request's extensions who is calling.
pub async fn middleware(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let principal = Principal::of(&app, request.headers());
    let calling = match &principal {
        Principal::Key(token) => Some(CallingKey(token.facts.client_id.clone())),
        Principal::Nobody | Principal::Refused(_) => None,
    };
    request.extensions_mut().insert(principal);
    let mut response = next.run(request).await;
    if let Some(calling) = calling {
        response.extensions_mut().insert(calling);
    }
    response
}

/// The one Bearer token, from `authorization` or the advertised header. `Basic` in `authorization` is for the
/// OAuth endpoints and no principal.
fn bearer_token<'h>(app: &App, headers: &'h HeaderMap) -> Result<Option<&'h str>, Refusal> {
    let advertised = app.config.authorization_metadata_key.as_str();
    let further = (advertised != header::AUTHORIZATION.as_str()).then(|| headers.get_all(advertised));
    let mut values = headers.get_all(header::AUTHORIZATION).iter().chain(further.into_iter().flatten());
    let Some(value) = values.next() else { return Ok(None) };
    // The same credential in both headers says nothing contradictory.
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
