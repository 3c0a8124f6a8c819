//! `client_secret_post`: the secret in the form (RFC 6749 section 2.3.1).

use crate::credentials::{ClientCredentials, FormCredentials};

/// Returns the credentials in a form, if it has both parts.
pub fn credentials(form: &FormCredentials<'_>) -> Option<ClientCredentials> {
    let (client_id, client_secret) = form.client_id.zip(form.client_secret)?;
    Some(ClientCredentials::trimmed(client_id, client_secret))
}
