//! [`Credentials`]: a client id and its secret.

use gatekey_credentials::PlainSecret;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) client_id: String,
    pub(crate) client_secret: PlainSecret,
}
