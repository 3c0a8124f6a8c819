//! The credentials of a client, and the form parameters that carry them.

use zeroize::Zeroizing;

/// A client id and a secret, as they were sent.
pub struct ClientCredentials {
    pub client_id: String,
    pub client_secret: Zeroizing<String>,
}

impl ClientCredentials {
    /// Removes white space around both parts, such as the line break at the end of a file.
    pub(crate) fn trimmed(client_id: &str, client_secret: &str) -> Self {
        let blank = |character: char| character.is_ascii_whitespace();
        Self {
            client_id: client_id.trim_matches(blank).to_owned(),
            client_secret: Zeroizing::new(client_secret.trim_matches(blank).to_owned()),
        }
    }
}

/// The parameters of a form that concern client authentication.
#[derive(Default, Clone, Copy)]
pub struct FormCredentials<'f> {
    pub client_id: Option<&'f str>,
    pub client_secret: Option<&'f str>,
    /// Whether the form has a client assertion (RFC 7521 section 4.2).
    pub has_assertion: bool,
}
