//! [`Authenticator`]: authenticates the caller of a request, and records it.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, header},
    middleware::Next,
    response::Response,
};
use gatekey_core::{
    Tokens,
    token::{AuthenticatedKey, TokenError},
};
use gatekey_telemetry::Record;

use crate::{
    bearer, client_secret,
    credentials::{ClientCredentials, FormCredentials},
    principal::Principal,
};

/// Authenticates callers, and adds their keys to the request records.
pub struct Authenticator {
    tokens: Arc<Tokens>,
    /// A header other than `authorization` that can contain a token.
    token_header: Option<HeaderName>,
}

impl Authenticator {
    /// `token_header` is the header that clients are told to send their token in.
    pub fn new(tokens: Arc<Tokens>, token_header: HeaderName) -> Self {
        let token_header = (token_header != header::AUTHORIZATION).then_some(token_header);
        Self { tokens, token_header }
    }

    /// Authenticates by an access token.
    pub fn principal(&self, record: &Record, headers: &HeaderMap) -> Principal {
        let principal = match bearer::token(headers, self.token_header.as_ref()) {
            Ok(None) => Principal::Nobody,
            Ok(Some(token)) => match self.tokens.verify(token) {
                Ok(verified) => Principal::Key(verified),
                Err(refusal) => Principal::Refused(refusal.into()),
            },
            Err(refusal) => Principal::Refused(refusal),
        };
        match &principal {
            Principal::Key(token) => record.set_client_id(&token.facts.client_id),
            Principal::Refused(refusal) => tracing::debug!(%refusal, "refused a credential"),
            Principal::Nobody => {}
        }
        principal
    }

    /// Authenticates by a key's secret, in the header or in the form.
    ///
    /// # Errors
    /// [`TokenError::InvalidRequest`] for two methods at once or a malformed header.
    /// [`TokenError::InvalidClient`] for any wrong credential, whatever the reason, or
    /// [`TokenError::TooManyFailures`] when one address sends too many of them.
    pub fn client(
        &self,
        record: &Record,
        headers: &HeaderMap,
        form: &FormCredentials<'_>,
    ) -> Result<AuthenticatedKey, TokenError> {
        let ClientCredentials { client_id, client_secret } =
            client_secret::read(headers, form)?.ok_or(TokenError::InvalidClient)?;
        let authenticated = self.tokens.authenticate(&client_id, &client_secret, record.peer);
        if let (Err(TokenError::TooManyFailures { first: true, .. }), Some(peer)) =
            (&authenticated, record.peer)
        {
            let limit = self.tokens.settings().failed_authentications_per_minute;
            tracing::warn!(%peer, limit, "throttled an address: it sent too many wrong secrets");
        }
        let key = authenticated?;
        record.set_client_id(&key.facts.client_id);
        Ok(key)
    }
}

/// Puts the [`Principal`] into the request's extensions.
pub async fn middleware(
    State(authenticator): State<Arc<Authenticator>>,
    mut request: Request,
    next: Next,
) -> Response {
    let record = request.extensions().get::<Arc<Record>>().cloned().unwrap_or_default();
    let principal = authenticator.principal(&record, request.headers());
    request.extensions_mut().insert(principal);
    next.run(request).await
}
