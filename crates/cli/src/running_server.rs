//! A running server: its sockets and its background work, from start to stop.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::bail;
use gatekey_core::network::Networks;
use gatekey_listener::{
    Limits, Listener, serve,
    tls::{Reload, ServedCertificate},
};
use gatekey_server::{Server, control};
use tokio::{
    net::TcpListener,
    signal::unix::Signal,
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    certificates::Tls,
    control_socket,
    data_dir::DataDir,
    database::TakenOver,
    instance::Instance,
    last_start::{Address, LastStart},
    output,
    process::{self, StopSignals},
};

/// How long requests in progress may take once the server stops.
const DRAIN: Duration = Duration::from_secs(20);

/// How long the gate may take to end its streams, once they have had their time.
const GATE_END: Duration = Duration::from_secs(5);

/// Connections of the admin listener. Their descriptors are among those that clients cannot use up.
const ADMIN_CONNECTIONS: usize = 16;
/// Share of them that one address may have.
const ADMIN_SHARE: f64 = 0.5;

/// A server that accepts connections.
pub(crate) struct RunningServer {
    pub(crate) server: Server,
    pub(crate) data_dir: DataDir,
    pub(crate) address: Address,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
    background: Vec<JoinHandle<()>>,
    taken_over: TakenOver,
}

impl RunningServer {
    /// Serves clients on `listener`, and probes and metrics on `admin`. Each of `hangups` reloads
    /// the certificate.
    pub(crate) fn start(
        instance: Instance,
        listener: TcpListener,
        admin: Option<TcpListener>,
        hangups: Option<Signal>,
    ) -> anyhow::Result<Self> {
        if let Err(error) = process::raise_descriptor_limit() {
            tracing::warn!(%error, "cannot raise the limit on open files");
        }
        let mut address = instance.address();
        address.admin_url = admin.as_ref().map(admin_url).transpose()?;
        let Instance { server, data_dir, ca, taken_over } = instance;
        let Tls { served, acceptor, renewal, reload } = Tls::new(&server.config, ca, &server.env)?;
        let control = control_socket::bind(&data_dir)?;
        let organization = server.config.server.organization.clone();
        let database = server.config.database.as_ref().map(|database| database.url.clone());
        LastStart { address: address.clone(), organization, database }.write(&data_dir)?;

        let mut background = vec![
            tokio::spawn(control::serve(server.control(), control, process::own_uid())),
            tokio::spawn(server.jobs().run(served.clone(), renewal)),
        ];
        background.extend(reload_on_hangup(reload, hangups));
        if let Some(socket) = admin {
            background.push(serve_probes(&server, socket, served));
        }
        let (stop, stopped) = oneshot::channel();
        let serving = serve_clients(&server, listener, acceptor, stopped);
        tracing::info!(
            url = address.url,
            admin_url = address.admin_url,
            listen = %server.config.server.listen,
            data_dir = %data_dir.path().display(),
            keys = server.caches.directory.len(),
            signing_algorithm = %server.config.keys.signing_algorithm,
            "serving"
        );
        if server.caches.directory.is_empty() {
            let data_dir = output::shell_quoted(&data_dir.path().display().to_string());
            let command = format!("gatekey init --data-dir {data_dir}");
            tracing::info!(command, "there is no API key yet: create the first one, for an admin");
        }
        Ok(Self { server, data_dir, address, stop, serving, background, taken_over })
    }

    /// Serves until a stop signal, and then drains connections until a second one.
    ///
    /// # Errors
    /// When another server takes the database over. Then nothing is drained: what this one has in
    /// memory is out of date.
    pub(crate) async fn run_until(mut self, mut signals: StopSignals) -> anyhow::Result<()> {
        tokio::select! {
            () = signals.wait() => {}
            () = &mut self.taken_over => bail!("another server took the database over; stopping"),
        }
        tokio::select! {
            () = self.stop() => {}
            () = signals.wait() => tracing::warn!("second stop signal: dropping requests in progress"),
        }
        Ok(())
    }

    /// Drains connections, flushes last uses and traces, and releases the data directory.
    pub(crate) async fn stop(self) {
        self.server.announce_stop();
        let _ = self.stop.send(());
        if let Err(error) = self.serving.await {
            tracing::error!(%error, "the accept loop panicked");
        }
        self.server.tunnels_closed().await;
        for task in self.background {
            task.abort();
        }
        self.server.jobs().finish().await;
        if let Some(traces) = &self.server.telemetry.traces {
            traces.stop().await;
        }
        control_socket::remove(&self.data_dir);
        tracing::info!("stopped");
    }
}

/// Binds a listening socket. `flag` is the flag to choose another address.
pub(crate) async fn bind(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse => {
                format!(": another process uses the port; choose another with {flag}")
            }
            io::ErrorKind::PermissionDenied => {
                format!(": ports below 1024 need a privilege; choose another with {flag}")
            }
            _ => String::new(),
        };
        anyhow::Error::new(error).context(format!("cannot listen on {address}{hint}"))
    })
}

fn admin_url(admin: &TcpListener) -> io::Result<String> {
    let listening = admin.local_addr()?;
    if !listening.ip().is_loopback() {
        tracing::warn!(%listening, "probes and metrics are served unencrypted to other machines");
    }
    Ok(format!("http://{listening}"))
}

fn serve_clients(
    server: &Server,
    socket: TcpListener,
    tls: Option<TlsAcceptor>,
    stopped: oneshot::Receiver<()>,
) -> JoinHandle<()> {
    let config = &server.config.server;
    // Plain HTTP from other machines is accepted only from trusted proxies.
    let only_from = if tls.is_none() && !config.listen.ip().is_loopback() {
        config.trusted_proxies.clone()
    } else {
        Networks::default()
    };
    let limits = Limits {
        connections: Limits::connections_of_process(),
        share_per_address: config.connection_share_per_address,
        unlimited: config.trusted_proxies.clone(),
        idle: config.idle_timeout,
        age: config.max_connection_age,
    };
    let gate = &server.config.gate;
    // The gate ends its streams a moment before the listener drops them.
    let drain = if gate.upstreams.is_empty() { DRAIN } else { DRAIN.max(gate.drain + GATE_END) };
    let listener = Listener { socket, tls, only_from, limits, drain };
    tokio::spawn(serve(listener, server.service(), async move {
        let _ = stopped.await;
    }))
}

/// Serves probes until the task is aborted, so that they report while clients are drained that the
/// server is stopping.
fn serve_probes(
    server: &Server,
    socket: TcpListener,
    served: Option<Arc<ServedCertificate>>,
) -> JoinHandle<()> {
    let limits = Limits {
        connections: ADMIN_CONNECTIONS,
        share_per_address: ADMIN_SHARE,
        unlimited: Networks::default(),
        idle: server.config.server.idle_timeout,
        age: server.config.server.max_connection_age,
    };
    let listener = Listener {
        socket,
        tls: None,
        only_from: Networks::default(),
        limits,
        drain: Duration::ZERO,
    };
    tokio::spawn(serve(listener, server.admin(served), std::future::pending()))
}

/// Reloads a certificate when its files change and on SIGHUP. Without files, SIGHUP is only logged:
/// one unit file or script fits every configuration.
fn reload_on_hangup(reload: Option<Reload>, hangups: Option<Signal>) -> Vec<JoinHandle<()>> {
    let (notify, notified) = mpsc::channel(1);
    let has_files = reload.is_some();
    let mut tasks = Vec::new();
    if let Some(reload) = reload {
        tasks.push(tokio::spawn(reload.run(notified)));
    }
    if let Some(mut hangups) = hangups {
        tasks.push(tokio::spawn(async move {
            while hangups.recv().await.is_some() {
                if has_files {
                    let _ = notify.send(()).await;
                } else {
                    tracing::info!("nothing to reload at SIGHUP: there are no certificate files");
                }
            }
        }));
    }
    tasks
}
