//! Arguments of the commands that run or configure a server.

use std::{net::SocketAddr, path::PathBuf};

use clap::{
    Args, Subcommand,
    builder::{OsStringValueParser, TypedValueParser as _},
};

use super::{
    data_dir::DataDir,
    help,
    output::{Output, SecretOutput},
    value::{new_file, socket_address},
};
use crate::settings::{Initializing, Places, Serving, SettingFlags};

#[derive(Debug, Args)]
pub(crate) struct Quickstart {
    /// Exit after the steps instead of serving until Ctrl-C
    #[arg(long)]
    pub(crate) once: bool,
    #[command(flatten)]
    pub(crate) data_dir: DataDir,
    /// Address and port to listen on [default: 127.0.0.1:443 where allowed, else 127.0.0.1:8443]
    #[arg(long, value_name = "ADDR", value_parser = socket_address)]
    pub(crate) listen: Option<SocketAddr>,
    #[command(flatten)]
    pub(crate) settings: SettingFlags<Places>,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) data_dir: DataDir,
    #[command(flatten)]
    pub(crate) settings: SettingFlags<Serving>,
    /// File to write once the port accepts connections; JSON with the URL, CA file and process id
    #[arg(long, value_name = "FILE", value_parser = OsStringValueParser::new().try_map(new_file))]
    pub(crate) ready_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    #[command(flatten)]
    pub(crate) data_dir: DataDir,
    /// Name of the admin key
    #[arg(long, default_value = "admin")]
    pub(crate) name: String,
    /// If the key exists, give it a new secret, and revoke its other secrets and its tokens
    #[arg(long)]
    pub(crate) rotate: bool,
    #[command(flatten)]
    pub(crate) output: SecretOutput,
    #[command(flatten, next_help_heading = "Settings of the server, before its first start")]
    pub(crate) settings: SettingFlags<Initializing>,
}

#[derive(Debug, Args)]
pub(crate) struct Ca {
    /// With the CA certificates of this system, for `SSL_CERT_FILE`, which replaces the client's
    #[arg(long)]
    pub(crate) bundle: bool,
    #[command(flatten)]
    pub(crate) data_dir: DataDir,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Print the JSON Schema of a configuration file
    #[command(after_help = help::examples(&["gatekey config schema > gatekey.schema.json"]))]
    Schema,
    /// Show the effective configuration, or what is wrong with it
    #[command(after_help = help::examples(&["gatekey config check --config gatekey.toml"]))]
    Check {
        #[command(flatten)]
        settings: Box<SettingFlags<Serving>>,
        #[command(flatten)]
        output: Output,
    },
}
