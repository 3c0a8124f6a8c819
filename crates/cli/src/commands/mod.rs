//! One file per command.

use gatekey_client::PlainSecret;
use gatekey_telemetry::traces::variables::{self, InvalidVariable, Variables};
use http::HeaderMap;

use crate::{
    args::{Arguments, Command, TraceVariables},
    exit,
};

mod backup;
mod completions;
mod config;
mod doctor;
mod init;
mod key;
mod ledger;
mod quickstart;
mod restore;
mod root_key;
mod serve;
mod signing_key;
mod token;
mod whoami;

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.command {
        Command::Quickstart(arguments) => Box::pin(quickstart::run(arguments)).await,
        Command::Serve(arguments) => serve::run(arguments).await,
        Command::Init(arguments) => init::run(arguments).await,
        Command::Key(arguments) => key::run(arguments).await,
        Command::Token(client) => token::run(client).await,
        Command::Whoami { client, output } => whoami::run(client, output.output).await,
        Command::Config(arguments) => config::run(arguments),
        Command::SigningKey(arguments) => signing_key::run(arguments).await,
        Command::Completions { shell } => completions::run(shell),
        Command::Doctor(arguments) => doctor::run(*arguments).await,
        Command::Backup(arguments) => backup::run(arguments).await,
        Command::Restore(arguments) => restore::run(arguments).await,
        Command::RootKey(arguments) => root_key::run(arguments).await,
        Command::Ledger(arguments) => ledger::run(arguments).await,
    }
}

/// Returns what the environment says about traces beyond the settings. An empty variable counts as not set.
fn trace_variables(flags: TraceVariables) -> anyhow::Result<Variables> {
    let secret = |secret: Option<PlainSecret>| secret.filter(|secret| !secret.expose().is_empty());
    let invalid = |name: &'static str| move |error: InvalidVariable| exit::usage(format!("{name} {error}"));
    let headers = match (secret(flags.traces_headers), secret(flags.headers)) {
        (Some(headers), _) => {
            variables::headers(headers.expose()).map_err(invalid("OTEL_EXPORTER_OTLP_TRACES_HEADERS"))?
        }
        (None, Some(headers)) => {
            variables::headers(headers.expose()).map_err(invalid("OTEL_EXPORTER_OTLP_HEADERS"))?
        }
        (None, None) => HeaderMap::new(),
    };
    let attributes = flags.resource_attributes.unwrap_or_default();
    let attributes = variables::pairs(&attributes).map_err(invalid("OTEL_RESOURCE_ATTRIBUTES"))?;
    Ok(Variables { headers, attributes })
}
