//! `gatekey quickstart`: serves, and goes through the life of a key step by step.

use std::{io, net::SocketAddr};

use anyhow::Context as _;
use gatekey_core::Env;
use tokio::net::TcpListener;
use tracing::level_filters::LevelFilter;

use self::steps::{ADMIN_SECRET, step};
use crate::{
    args,
    data_dir::{self, DataDir},
    exit::{self, Coded},
    instance::{Instance, OpenMode, OpenOptions},
    logging, output,
    process::StopSignals,
    root_key_file::RootKeyPath,
    running_server::{self, RunningServer},
    settings,
};

mod backend;
mod instructions;
mod steps;

/// Serves, goes through the steps, and prints lines to paste for Flyte's tools.
pub(crate) async fn run(arguments: args::Quickstart) -> anyhow::Result<()> {
    let logging = logging::start_plain(LevelFilter::WARN);
    output::check_stdout()?;
    let data_dir = arguments.data_dir.path();
    data_dir::refuse_in_use(&data_dir)?;
    // Before the data directory is created.
    let listener = listen(arguments.listen).await?;
    let data_dir = DataDir::open(&data_dir, "gatekey quickstart")?;
    let database = arguments.settings.read_and_warn()?;
    if data_dir.database().exists() && !data_dir.file(ADMIN_SECRET).exists() {
        let message = format!(
            "the data directory {} was not created by quickstart; choose another with --data-dir, or \
             start its server with `gatekey serve`",
            data_dir.path().display()
        );
        return Err(exit::usage(message));
    }
    let root_key_file = RootKeyPath::new(database.root_key_file(), data_dir.path());
    let backend = backend::serve().await?;
    let options = OpenOptions {
        config: settings::resolve(
            &backend::settings(backend)?.or(database),
            listener.local_addr()?,
        )?,
        root_key_file: &root_key_file,
        mode: OpenMode::Serve,
        env: Env::system(),
        request_log: logging.request_log(),
        traces: None,
    };
    let instance = Instance::open(data_dir, options).await?;
    let running = RunningServer::start(instance, listener, None, None)?;
    step(&format!(
        "Serving on {} with a certificate from a private CA; data is stored in {}",
        running.address.url,
        running.data_dir.path().display()
    ))?;
    let secret = match Box::pin(steps::run(&running)).await {
        Ok(secret) => secret,
        Err(error) => {
            running.stop().await;
            return Err(not_printed(error));
        }
    };
    let lines = instructions::write(&running, &secret, !arguments.once)?;
    let made = format!("the key {} has a new secret, which", steps::KEY);
    output::print_once(&lines, &made, "run `gatekey quickstart` again")?;
    if arguments.once {
        running.stop().await;
        return Ok(());
    }
    let next = format!(
        "{} serve --data-dir {} --listen {}",
        instructions::program(),
        output::shell_quoted(&running.data_dir.path().display().to_string()),
        running.server.config.server.listen
    );
    let signals = StopSignals::catch_with_hangup()?;
    say!("\nServing until Ctrl-C. Next time: {}", output::bold(&next))?;
    running.run_until(signals).await
}

/// Keeps the loss of the output from passing for a reader that has read enough: the new secret was
/// not shown.
fn not_printed(error: anyhow::Error) -> anyhow::Error {
    if !output::is_closed_pipe(&error) {
        return error;
    }
    let message = "standard output was closed before the new secret was shown; run `gatekey \
                   quickstart` again";
    Coded { code: exit::NOT_PRINTED, message: message.to_owned() }.into()
}

/// Listens on the given address, or on port 443 where that is allowed: Flyte's tools need keys
/// without a port.
async fn listen(asked: Option<SocketAddr>) -> anyhow::Result<TcpListener> {
    if let Some(address) = asked {
        return running_server::bind(address, "--listen").await;
    }
    let best = SocketAddr::from(([127, 0, 0, 1], 443));
    match TcpListener::bind(best).await {
        Ok(listener) => Ok(listener),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::AddrInUse
            ) =>
        {
            running_server::bind(SocketAddr::from(([127, 0, 0, 1], 8443)), "--listen").await
        }
        Err(error) => Err(error).context(format!("cannot listen on {best}")),
    }
}
