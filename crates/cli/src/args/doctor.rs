//! Arguments of `gatekey doctor`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use gatekey_client::PlainSecret;

use super::{data_dir::DataDir, help, output::Output, value::plain_secret};
use crate::settings::{ConfigFile, SettingFlags};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Doctor {
    #[command(subcommand)]
    pub(crate) check: Option<Check>,
    #[command(flatten)]
    pub(crate) server: ServerCheck,
    #[command(flatten)]
    pub(crate) store: ShortStoreCheck,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Check {
    /// Check a server and a key; same as `gatekey doctor [URL]`
    #[command(after_help = help::examples(&[
        "gatekey doctor server https://keys.example.com",
        "gatekey doctor server --config /etc/gatekey/gatekey.toml",
    ]))]
    Server(Box<ServerCheck>),
    /// Check a data directory; same as `gatekey doctor --data-dir DIR`
    #[command(after_help = help::examples(&["gatekey doctor store --data-dir /var/lib/gatekey"]))]
    Store(StoreCheck),
    /// Check which package provides flyteplugins.union.remote.ApiKey
    #[command(after_help = help::examples(&["gatekey doctor python --python .venv/bin/python"]))]
    Python(PythonCheck),
}

#[derive(Debug, Args)]
pub(crate) struct PythonCheck {
    /// Python interpreter [default: the one next to this command, else python3]
    #[arg(long, value_name = "PATH")]
    pub(crate) python: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct ServerCheck {
    /// URL of the server [default: the public URL of --config, or from the environment]
    pub(crate) url: Option<String>,
    /// URL of Flyte behind the gate: check whether it answers past the gate; can be repeated
    #[arg(long, value_name = "URL")]
    pub(crate) upstream: Vec<String>,
    #[command(flatten)]
    pub(crate) settings: SettingFlags<ConfigFile>,
    /// Log in over plain HTTP to any host; http:// alone is only for loopback addresses
    #[arg(long)]
    pub(crate) plaintext: bool,
    /// PEM file of CA certificates to trust in addition to the system's
    #[arg(long, value_name = "FILE", env = "GATEKEY_CA_FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    #[arg(long, hide = true, env = "SSL_CERT_FILE")]
    pub(crate) ssl_cert_file: Option<PathBuf>,
    #[arg(long, hide = true, hide_env_values = true, env = "GATEKEY_API_KEY", value_parser = plain_secret)]
    pub(crate) gatekey_api_key: Option<PlainSecret>,
    #[arg(long, hide = true, hide_env_values = true, env = "FLYTE_API_KEY", value_parser = plain_secret)]
    pub(crate) flyte_api_key: Option<PlainSecret>,
    #[arg(long, hide = true, hide_env_values = true, env = "UNION_API_KEY", value_parser = plain_secret)]
    pub(crate) union_api_key: Option<PlainSecret>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct ShortStoreCheck {
    /// Check this data directory instead of a server
    #[arg(long, value_name = "DIR", conflicts_with_all = ["url", "upstream", "config"])]
    pub(crate) data_dir: Option<PathBuf>,
    /// Root key file [default: root.key in the data directory]
    #[arg(long, value_name = "FILE", requires = "data_dir")]
    pub(crate) root_key_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct StoreCheck {
    #[command(flatten)]
    pub(crate) data_dir: DataDir,
    /// Root key file [default: root.key in the data directory]
    #[arg(long, value_name = "FILE")]
    pub(crate) root_key_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: Output,
}
