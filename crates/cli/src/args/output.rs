//! The output format.

use clap::{
    Args, ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser},
};

/// The format of a command that returns no new secret.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Output {
    /// Output format
    #[arg(long, short, value_name = "FORMAT", value_parser = without_env(), default_value = "text")]
    pub(crate) output: Format,
}

/// The format of a command that returns a new secret.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct SecretOutput {
    /// Output format
    #[arg(long, short, value_name = "FORMAT", value_enum, default_value_t = Format::Text)]
    pub(crate) output: Format,
}

/// There is nothing to export without a secret.
fn without_env() -> impl TypedValueParser<Value = Format> {
    let formats = Format::value_variants().iter().filter(|format| **format != Format::Env);
    let names = formats.filter_map(ValueEnum::to_possible_value);
    PossibleValuesParser::new(names).try_map(|name| Format::from_str(&name, false))
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
