//! A client id and its secret.

/// A client id and its secret.
#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
}

impl Credentials {
    /// As encoded credentials.
    pub(crate) fn encoded(&self, endpoint: &str) -> String {
        let secret = gatekey_client::PlainSecret::new(&self.client_secret);
        let encoded =
            gatekey_client::EncodedCredentials::new(endpoint, &self.client_id, secret, "").unwrap();
        encoded.encode().expose().to_owned()
    }

    /// As an HTTP Basic header.
    pub(crate) fn basic(&self) -> String {
        basic(&self.client_id, &self.client_secret)
    }
}

/// An HTTP Basic header with a user and a password that need no form encoding.
pub(crate) fn basic(user: &str, password: &str) -> String {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}
