//! [`Authenticator`]: authenticates the caller of a request, and records it.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, header},
    middleware::Next,
    response::Response,
};
use gatekey_core::{
    Actor, ApiKeys, Caller, Tokens,
    api_key::{KeyFacts, Rate, Remaining},
    token::{AuthenticatedKey, FailureCause, Limited, TokenError},
};
use gatekey_issuers::Issuers;
use gatekey_telemetry::Record;

use crate::{
    accepted::AcceptedCredentials,
    bearer, client_secret,
    credentials::{ClientCredentials, FormCredentials},
    principal::Principal,
};

/// Authenticates callers, and adds their keys to the request records.
pub struct Authenticator {
    tokens: Arc<Tokens>,
    /// Records the use of secrets that are not valid any more.
    api_keys: ApiKeys,
    /// A header other than `authorization` that can contain a token.
    token_header: Option<HeaderName>,
    encoded: AcceptedCredentials,
    /// Others whose tokens are accepted at the gate.
    issuers: Option<Arc<Issuers>>,
}

impl Authenticator {
    /// `token_header` is the header that clients are told to send their token in.
    pub fn new(tokens: Arc<Tokens>, api_keys: ApiKeys, token_header: HeaderName) -> Self {
        let token_header = (token_header != header::AUTHORIZATION).then_some(token_header);
        let encoded = AcceptedCredentials::of(tokens.settings());
        Self { tokens, api_keys, token_header, encoded, issuers: None }
    }

    /// Accepts tokens of other issuers at the gate, too.
    #[must_use]
    pub fn with_issuers(self, issuers: Arc<Issuers>) -> Self {
        Self { issuers: Some(issuers), ..self }
    }

    /// The issuers whose tokens are accepted at the gate.
    pub fn issuers(&self) -> Option<&Issuers> {
        self.issuers.as_deref()
    }

    pub(crate) fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    pub(crate) fn token_header(&self) -> Option<&HeaderName> {
        self.token_header.as_ref()
    }

    /// The encoded credentials that are for this server.
    pub(crate) fn encoded(&self) -> &AcceptedCredentials {
        &self.encoded
    }

    /// Authenticates by an access token, and counts the use of its key.
    pub fn principal(&self, record: &Record, headers: &HeaderMap) -> Principal {
        let principal = match bearer::token(headers, self.token_header.as_ref()) {
            Ok(None) => Principal::Nobody,
            Ok(Some(token)) => match self.tokens.verify(token) {
                Ok(verified) => match self.admit(record, &verified.facts, verified.actor()) {
                    Ok(_) => Principal::Key(verified),
                    Err(limited) => Principal::Limited(verified, limited),
                },
                Err(refusal) => Principal::Refused(refusal.into()),
            },
            Err(refusal) => Principal::Refused(refusal),
        };
        match &principal {
            Principal::Key(token) | Principal::Limited(token, _) => {
                record.set_client_id(&token.facts.client_id);
            }
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
    /// [`TokenError::Limited`] for a right one, when the key's limits do not permit its use.
    /// [`TokenError::CannotDecide`] while the state in memory is not fresh.
    pub fn client(
        &self,
        record: &Record,
        headers: &HeaderMap,
        form: &FormCredentials<'_>,
    ) -> Result<AuthenticatedKey, TokenError> {
        let ClientCredentials { client_id, client_secret } =
            client_secret::read(headers, form)?.ok_or(TokenError::InvalidClient)?;
        let key = self.authenticate(record, &client_id, &client_secret)?;
        self.admit(record, &key.facts, key.actor())?;
        Ok(key)
    }

    /// Counts a use of an authenticated key, if its limits permit it. Returns the rest of its rate,
    /// if it has one. A use that exceeds a limit is recorded in the ledger, at most once a minute
    /// for each key and limit.
    ///
    /// # Errors
    /// [`Limited`].
    pub fn admit(
        &self,
        record: &Record,
        key: &KeyFacts,
        actor: Actor,
    ) -> Result<Option<(Rate, Remaining)>, Limited> {
        let admitted = self.tokens.admit(key, record.peer);
        if let Err(limited) = &admitted {
            tracing::debug!(client_id = %key.client_id, %limited, "refused a key by its limits");
            self.record_denial(record, actor, limited.reason());
        }
        admitted
    }

    /// Records in the ledger that a key was denied a request, at most once a minute for each key
    /// and reason.
    pub fn record_denial(&self, record: &Record, actor: Actor, reason: &str) {
        self.record_refusal(record.caller(actor), reason.to_owned());
    }

    /// Authenticates by a key's secret, and records the caller or the failure.
    ///
    /// # Errors
    /// See [`Self::client`].
    pub(crate) fn authenticate(
        &self,
        record: &Record,
        client_id: &str,
        client_secret: &str,
    ) -> Result<AuthenticatedKey, TokenError> {
        let authenticated = self.tokens.authenticate(client_id, client_secret, record.peer);
        let authenticated = authenticated.map_err(|failed| {
            record.set_failure(client_id, failed.cause);
            if let Some(actor) = failed.actor {
                self.record_use(record.caller(actor), failed.cause);
            }
            failed.error
        });
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

    /// Records in the ledger that a key's own secret was refused, which a leak may be the reason
    /// for: at most once a minute for each key and cause. Does not delay the response, whose time
    /// would tell that the secret was right.
    fn record_use(&self, caller: Caller, cause: FailureCause) {
        self.record_refusal(caller, format!("right secret, but {cause}"));
    }

    fn record_refusal(&self, caller: Caller, reason: String) {
        let Actor::Key { client_id, .. } = &caller.actor else { return };
        let target = client_id.to_string();
        let api_keys = self.api_keys.clone();
        tokio::spawn(async move {
            if let Err(error) = api_keys.record_refusal(&caller, &target, &reason).await {
                tracing::error!(%error, target, "failed to record a refusal in the ledger");
            }
        });
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
