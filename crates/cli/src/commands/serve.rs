//! `gatekey serve`.

use std::io::ErrorKind;

use anyhow::Context as _;
use gatekey_core::Env;
use gatekey_server::{Config, config::Settings};
use gatekey_telemetry::traces::{Traces, variables::Variables};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    args, data_dir,
    data_dir::DataDir,
    exit, logging,
    running::{self, Opened, Purpose, Running},
};

/// Serves until SIGTERM or SIGINT, then drains.
pub(crate) async fn run(arguments: args::Serve) -> anyhow::Result<()> {
    let variables = super::trace_variables(arguments.traces)?;
    let settings = arguments.settings.read()?;
    // Checked before anything changes on disk. With port 0, what depends on the port is checked
    // again below.
    let config = running::resolve(&settings, settings.listen())?;
    let logging = logging::start(config.log.format, "info");
    for deprecated in settings.flat_names() {
        tracing::warn!(
            setting = deprecated.old,
            new_name = deprecated.new.path,
            origin = %deprecated.origin,
            "the configuration file has a setting outside of its section; the next release refuses it"
        );
    }
    let data_dir = DataDir::open(&arguments.data_dir.data_dir, "gatekey serve")?;
    let root_key_file = settings.root_key_path(data_dir.path());
    if let Some(ready_file) = &arguments.ready_file
        && let Err(error) = std::fs::remove_file(ready_file)
        && error.kind() != ErrorKind::NotFound
    {
        let shown = ready_file.display();
        return Err(error).with_context(|| format!("cannot remove the ready file {shown} of an earlier run"));
    }
    let listener = running::bind(settings.listen(), "--listen").await?;
    let config = running::resolve(&settings, listener.local_addr()?)?;
    let admin = match config.server.admin_listen {
        Some(address) => Some(running::bind(address, "--admin-listen").await?),
        None => None,
    };
    let env = Env::system();
    let traces = traces(&settings, &config, variables, &env)?;
    let request_log = logging.request_log();
    let opened =
        Opened::open(data_dir, config, &root_key_file, env, Purpose::Serve, request_log, traces).await?;
    let mut signals = StopSignals::catch()?;
    let running = opened.start(listener, admin)?;
    if let Some(ready_file) = &arguments.ready_file {
        data_dir::write_public(ready_file, &serde_json::to_vec(&running.address)?)?;
    }
    signals.wait().await;
    stop(running, signals).await;
    Ok(())
}

/// Starts sending traces, unless they are disabled.
fn traces(
    settings: &Settings,
    config: &Config,
    variables: Variables,
    env: &Env,
) -> anyhow::Result<Option<Traces>> {
    let Some(traces) = &config.traces else { return Ok(None) };
    let started = Traces::start(traces, variables, &config.server.public_url, env.clone());
    started.map(Some).map_err(|invalid| exit::usage(settings.locate(invalid.into()).to_string()))
}

/// Drains connections, until a second signal.
pub(crate) async fn stop(running: Running, mut signals: StopSignals) {
    tokio::select! {
        () = running.stop() => {}
        () = signals.wait() => tracing::warn!("second stop signal: dropping requests in progress"),
    }
}

/// SIGTERM and SIGINT. They must be caught before the server reports that it is ready, so that
/// neither kills it.
pub(crate) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    pub(crate) fn catch() -> anyhow::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    pub(crate) async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
