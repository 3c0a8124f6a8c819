//! The client credentials grant (RFC 6749 section 4.4).

use gatekey_core::token::{AuthenticatedKey, IssuedToken, TokenError};

use crate::{
    oauth::{OAuth, form::FormRequest},
    path, refusals,
};

pub const GRANT_TYPE: &str = "client_credentials";

/// Issues a token to the key that called.
///
/// # Errors
/// When the key may not use the grant, or not with this scope or audience.
pub async fn issue(
    oauth: &OAuth,
    key: &AuthenticatedKey,
    request: &FormRequest,
) -> Result<IssuedToken, TokenError> {
    let FormRequest { record, form, .. } = request;
    // RFC 8707 calls the audience `resource`; Flyte's clients call it `audience`.
    let audiences: Vec<_> =
        form.all("resource").chain(form.all("audience")).map(str::to_owned).collect();
    let issued = oauth.tokens.issue(key, form.get("scope").unwrap_or_default(), &audiences);
    if let Err(
        refusal @ (TokenError::UnauthorizedClient(_)
        | TokenError::InvalidScope(_)
        | TokenError::InvalidTarget(_)
        | TokenError::InvalidClient),
    ) = &issued
    {
        let caller = record.caller(key.actor());
        refusals::record(&oauth.api_keys, &caller, path::TOKEN, &refusal.to_string()).await;
    }
    issued
}
