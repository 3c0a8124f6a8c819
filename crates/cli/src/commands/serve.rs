//! `gatekey serve`.

use std::io::ErrorKind;

use anyhow::Context as _;
use gatekey_core::Env;
use gatekey_server::{
    Config,
    config::{Settings, TlsMode},
};
use gatekey_telemetry::traces::{
    Traces,
    variables::{Ignored, Variables},
};
use tracing::level_filters::LevelFilter;

use crate::{
    args, atomic_file, certificates,
    data_dir::{self, DataDir},
    exit,
    instance::{Instance, OpenMode, OpenOptions},
    last_start::LastStart,
    logging,
    process::{self, StopSignals},
    root_key_file::RootKeyPath,
    running_server::{self, RunningServer},
    settings, trace_variables,
};

pub(crate) async fn run(arguments: args::Serve) -> anyhow::Result<()> {
    let (settings, exposure) = arguments.settings.read()?;
    let (variables, ignored) = trace_variables::read();
    // Checked before anything changes on disk. With port 0, settings that depend on the port are
    // checked again below.
    let config = settings::resolve(&settings, settings.listen())?;
    let logging = logging::start(config.log.format, LevelFilter::INFO);
    if let Some(exposure) = exposure {
        exposure.log();
    }
    for deprecated in settings.flat_names() {
        tracing::warn!(
            setting = deprecated.old,
            new_name = deprecated.new.path,
            origin = %deprecated.origin,
            "the configuration file has a setting outside of its section; the next release refuses it"
        );
    }
    for warning in config.warnings() {
        tracing::warn!(warning, "the configuration may have a mistake");
    }
    for ignored in settings.ignored_variables().iter().chain(&ignored) {
        log_ignored(ignored);
    }
    // Not later: it would end a server that is loading its keys.
    let hangups = process::catch_hangups()?;
    let data_dir = arguments.data_dir.path();
    // Everything that can be wrong without the data directory is checked before it is created.
    data_dir::refuse_in_use(&data_dir)?;
    if let TlsMode::Files { cert, key } = &config.tls {
        certificates::read(cert, key)?;
    }
    if let Some(ready_file) = &arguments.ready_file
        && let Err(error) = std::fs::remove_file(ready_file)
        && error.kind() != ErrorKind::NotFound
    {
        let shown = ready_file.display();
        return Err(error)
            .with_context(|| format!("cannot remove the ready file {shown} of an earlier run"));
    }
    let listener = running_server::bind(settings.listen(), "--listen").await?;
    let config = settings::resolve(&settings, listener.local_addr()?)?;
    let admin = match config.server.admin_listen {
        Some(address) => Some(running_server::bind(address, "--admin-listen").await?),
        None => None,
    };
    let env = Env::system();
    let traces = traces(&settings, &config, variables, &env)?;
    let data_dir = DataDir::open(&data_dir, "gatekey serve")?;
    refuse_other_database(&config, &data_dir)?;
    let root_key_file = RootKeyPath::new(settings.root_key_file(), data_dir.path());
    let options = OpenOptions {
        config,
        root_key_file: &root_key_file,
        mode: OpenMode::Serve,
        env,
        request_log: logging.request_log(),
        traces,
    };
    let instance = Instance::open(data_dir, options).await?;
    let signals = StopSignals::catch()?;
    let server = RunningServer::start(instance, listener, admin, Some(hangups))?;
    if let Some(ready_file) = &arguments.ready_file {
        atomic_file::write_public(ready_file, &serde_json::to_vec(&server.address)?)?;
    }
    server.run_until(signals).await
}

/// Refuses to begin a new, embedded database where the last server had its data elsewhere.
fn refuse_other_database(config: &Config, data_dir: &DataDir) -> anyhow::Result<()> {
    match LastStart::read(data_dir.path()).and_then(|last| last.database) {
        Some(database) if config.database.is_none() => Err(exit::usage(format!(
            "the last server with this data directory used {database}; start it with --database {database}"
        ))),
        Some(_) | None => Ok(()),
    }
}

fn log_ignored(Ignored { variable, rule }: &Ignored) {
    tracing::warn!(variable, rule, "ignored an environment variable of OpenTelemetry");
}

/// Starts sending traces, unless they are disabled.
fn traces(
    settings: &Settings,
    config: &Config,
    variables: Variables,
    env: &Env,
) -> anyhow::Result<Option<Traces>> {
    let Some(mut traces) = config.traces.clone() else { return Ok(None) };
    if let Some(variable) = variables.disabled_by {
        tracing::info!(variable, "traces are disabled by the environment");
        return Ok(None);
    }
    if let Some(ignored) = trace_variables::check_authorities(settings, &mut traces)? {
        log_ignored(&ignored);
    }
    let started = Traces::start(&traces, variables, &config.server.public_url, env.clone());
    started.map(Some).map_err(|invalid| exit::usage(settings.locate(invalid.into()).to_string()))
}
