//! [`Config`]: the destination and sampling of spans.

use std::path::PathBuf;

use url::Url;

#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Complete URL.
    pub endpoint: Url,
    /// CA certificates to trust in addition to the system's, PEM.
    pub ca_file: Option<PathBuf>,
    /// Name of the server, if it is configured.
    pub service_name: Option<String>,
    /// Fraction of the traces started here that is recorded, from 0 to 1.
    pub ratio: f64,
}

/// An invalid tracing configuration. Each message continues the name of the setting.
#[derive(Debug, thiserror::Error)]
pub enum InvalidConfig {
    #[error("{0}")]
    Endpoint(String),
    #[error("{0}")]
    CaFile(String),
}
