//! The credentials of a client, and the form parameters that carry them.

use zeroize::Zeroizing;

/// A client id and a secret, as they were sent.
pub struct ClientCredentials {
    pub client_id: String,
    pub client_secret: Zeroizing<String>,
}

/// The parameters of a form that concern client authentication.
#[derive(Default, Clone, Copy)]
pub struct FormCredentials<'f> {
    pub client_id: Option<&'f str>,
    pub client_secret: Option<&'f str>,
    /// Whether the form has a client assertion (RFC 7521 section 4.2).
    pub has_assertion: bool,
}
