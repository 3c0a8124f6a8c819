//! The output format.

use clap::{Args, ValueEnum};

#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Output {
    /// Output format
    #[arg(long, short, value_name = "FORMAT", value_enum, default_value_t = Format::Text)]
    pub(crate) output: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Text, for reading
    Text,
    /// JSON, for programs
    Json,
    /// YAML, for programs; one document
    Yaml,
    /// Shell exports, from commands that return a secret
    Env,
}
