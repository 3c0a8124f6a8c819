//! [`TokenSettings`]: the settings of tokens.

use std::time::Duration;

/// The settings of tokens and of client authentication.
#[derive(Debug, Clone)]
pub struct TokenSettings {
    /// The server's public URL.
    pub issuer: String,
    /// The allowed audiences; the first is the default.
    pub audiences: Vec<String>,
    /// The longest lifetime of a token.
    pub lifetime: Duration,
    pub organization: String,
    /// An address that fails to authenticate more often is throttled; 0 for no limit.
    pub failed_authentications_per_minute: u16,
}
