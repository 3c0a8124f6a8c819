//! Encoded credentials: an API key as one string (`FLYTE_API_KEY`), sent as a Bearer token.

use gatekey_core::token::{AuthenticatedKey, TokenError};
use gatekey_credentials::EncodedCredentials;
use gatekey_telemetry::Record;

use crate::{authenticator::Authenticator, principal::Refusal};

/// Authenticates a key by its encoded credentials, as the token endpoint does by their parts.
///
/// # Errors
/// Why the credentials are refused. For wrong ones, one reason whatever is wrong with them.
pub(crate) fn authenticate(
    authenticator: &Authenticator,
    record: &Record,
    encoded: &str,
) -> Result<AuthenticatedKey, Refusal> {
    let tokens = authenticator.tokens();
    let key = if let Some(key) = tokens.recall(encoded) {
        key
    } else {
        let credentials = EncodedCredentials::decode(encoded)?;
        authenticator.encoded().check(&credentials)?;
        let secret = credentials.client_secret().expose();
        let key = authenticator.authenticate(record, credentials.client_id(), secret);
        let key = key.map_err(|error| match error {
            TokenError::TooManyFailures { retry_after, first: _ } => {
                Refusal::TooManyFailures { retry_after }
            }
            TokenError::CannotDecide => Refusal::Unavailable,
            _ => Refusal::ApiKey,
        })?;
        tokens.remember(encoded, &key);
        key
    };
    with_grant(key)
}

/// Refuses a key that may not use the grant that its secret is for.
pub(crate) fn with_grant(key: AuthenticatedKey) -> Result<AuthenticatedKey, Refusal> {
    if key.facts.client_credentials { Ok(key) } else { Err(Refusal::Grant) }
}
