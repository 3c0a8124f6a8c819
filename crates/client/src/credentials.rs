//! [`Credentials`]: a client id and its secret.

use gatekey_credentials::PlainSecret;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) client_id: String,
    pub(crate) client_secret: PlainSecret,
}

impl Credentials {
    /// Removes white space around both parts, such as the line break at the end of a file or of a
    /// Kubernetes Secret. Neither can contain white space.
    pub(crate) fn new(client_id: &str, client_secret: PlainSecret) -> Self {
        Self { client_id: client_id.trim().to_owned(), client_secret: trimmed(client_secret) }
    }
}

fn trimmed(secret: PlainSecret) -> PlainSecret {
    let text = secret.expose().trim();
    if text.len() == secret.expose().len() { secret } else { PlainSecret::new(text) }
}
