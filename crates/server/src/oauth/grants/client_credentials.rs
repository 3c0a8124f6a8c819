//! The client credentials grant (RFC 6749 section 4.4).

use gatekey_core::token::{AuthenticatedKey, IssuedToken, PersonClaims, TokenError};

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
    let person = person(oauth, key).await;
    let scope = form.get("scope").unwrap_or_default();
    let issued = oauth.tokens.issue_with(key, scope, &audiences, person.as_ref());
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

/// The claims about a person, if tokens carry them. If the store cannot be read, the name is the
/// client id: tokens are issued without the store.
async fn person(oauth: &OAuth, key: &AuthenticatedKey) -> Option<PersonClaims> {
    let identity = &oauth.config.identity;
    if !identity.in_tokens {
        return None;
    }
    let client_id = &key.facts.client_id;
    let stored = oauth.api_keys.get(client_id.as_str()).await;
    let name = stored.map(|key| key.application.client_name);
    let name = name.unwrap_or_else(|_| client_id.to_string());
    Some(identity.persona.claims(client_id.as_str(), &name))
}
