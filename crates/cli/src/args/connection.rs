//! Arguments of the commands that talk to a server.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Client {
    /// URL of the server [default: from the environment]
    #[arg(long, value_name = "URL")]
    pub(crate) endpoint: Option<String>,
    /// Allow plain HTTP to any host; http:// alone is only for loopback addresses
    #[arg(long)]
    pub(crate) plaintext: bool,
    /// PEM file of CA certificates to trust in addition to the system's
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
}
