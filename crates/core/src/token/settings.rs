//! [`TokenSettings`]: the settings of tokens.

use std::time::Duration;

/// The settings of tokens and of client authentication.
#[derive(Debug, Clone)]
pub struct TokenSettings {
    /// The server's public URL. It is the audience of a token that was requested without one, and
    /// the only audience that this server's own endpoints accept.
    pub issuer: String,
    /// The audiences that a client may request in addition to the issuer.
    pub audiences: Vec<String>,
    /// The longest lifetime of a token.
    pub lifetime: Duration,
    pub organization: String,
    /// An address that fails to authenticate more often is throttled; 0 for no limit.
    pub failed_authentications_per_minute: u16,
    /// How often a key may revoke its tokens and rotate itself; 0 for no limit.
    pub own_changes_per_minute: u16,
}
