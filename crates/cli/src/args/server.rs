//! Arguments of the commands that run or configure a server.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Subcommand};
use gatekey_client::PlainSecret;

use super::{
    data_dir::DataDir,
    help,
    output::Output,
    value::{plain_secret, socket_address},
};
use crate::settings::{Initializing, Serving, SettingFlags};

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
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) data_dir: DataDir,
    #[command(flatten)]
    pub(crate) settings: SettingFlags<Serving>,
    #[command(flatten)]
    pub(crate) traces: TraceVariables,
    /// File to write once the port accepts connections; JSON with the URL, CA file and process id
    #[arg(long, value_name = "FILE")]
    pub(crate) ready_file: Option<PathBuf>,
}

/// What is sent to the collector beyond the settings. It may contain a credential, so it is read
/// only from the environment; the flags are hidden.
#[derive(Debug, Args)]
pub(crate) struct TraceVariables {
    /// Headers sent to the collector, such as authorization=Bearer%20...
    #[arg(long = "otlp-headers", id = "otlp_headers", hide = true, hide_env_values = true)]
    #[arg(env = "OTEL_EXPORTER_OTLP_HEADERS", value_parser = plain_secret)]
    pub(crate) headers: Option<PlainSecret>,
    /// Headers sent to the collector; override `OTEL_EXPORTER_OTLP_HEADERS`
    #[arg(long = "otlp-traces-headers", id = "otlp_traces_headers", hide = true, hide_env_values = true)]
    #[arg(env = "OTEL_EXPORTER_OTLP_TRACES_HEADERS", value_parser = plain_secret)]
    pub(crate) traces_headers: Option<PlainSecret>,
    /// Attributes of the server in traces, such as deployment.environment.name=production
    #[arg(long = "otlp-resource-attributes", id = "otlp_resource_attributes", hide = true)]
    #[arg(env = "OTEL_RESOURCE_ATTRIBUTES")]
    pub(crate) resource_attributes: Option<String>,
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
    pub(crate) output: Output,
    #[command(flatten, next_help_heading = "Settings of the server, before its first start")]
    pub(crate) settings: SettingFlags<Initializing>,
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
        traces: Box<TraceVariables>,
    },
}
