//! One file per command.

use std::fs;

use gatekey_client::PlainSecret;
use gatekey_server::{
    config::Settings as ServerSettings,
    telemetry::traces::variables::{self, InvalidVariable, Variables},
};
use http::HeaderMap;

use crate::{
    args::{Arguments, Command, Otlp, RootKey, Settings},
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

/// What flags and file say.
fn settings(flags: Settings) -> anyhow::Result<ServerSettings> {
    let file = match &flags.config {
        None => ServerSettings::default(),
        Some(path) => {
            let shown = path.display();
            let text = fs::read_to_string(path).map_err(|error| {
                exit::usage(format!("the configuration file {shown} cannot be read: {error}"))
            })?;
            ServerSettings::from_toml(&text)
                .map_err(|error| exit::usage(format!("the configuration file {shown} is wrong:\n{error}")))?
        }
    };
    let said = ServerSettings {
        listen: flags.listen,
        public_url: flags.public_url,
        tls_cert: flags.tls_cert,
        tls_key: flags.tls_key,
        plaintext: flags.plaintext.then_some(true),
        organization: flags.organization,
        root_key_file: flags.root_key_file,
        admin_listen: flags.admin_listen,
        ..ServerSettings::default()
    };
    Ok(said.or(file))
}

/// What flags and environment say of traces. A variable that is set and empty counts as unset.
fn otlp(flags: Otlp) -> anyhow::Result<(ServerSettings, Variables)> {
    let said = |text: Option<String>| text.filter(|text| !text.is_empty());
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
    let settings = ServerSettings {
        otlp_endpoint: said(flags.endpoint),
        otlp_traces_endpoint: said(flags.traces_endpoint),
        otlp_ca_file: flags.ca_file.filter(|path| !path.as_os_str().is_empty()),
        otlp_service_name: said(flags.service_name),
        ..ServerSettings::default()
    };
    Ok((settings, Variables { headers, attributes }))
}

/// What flags and file say, of a command that needs the root key's place alone.
fn settings_of(flags: RootKey) -> anyhow::Result<ServerSettings> {
    let RootKey { config, root_key_file } = flags;
    settings(Settings { config, root_key_file, ..Settings::default() })
}
