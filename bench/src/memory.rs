//! Resident memory, idle and with keys in use, and time from start to first token.

use std::{
    net::{SocketAddr, TcpListener},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};

use crate::{
    gatekey::{Bench, CALLERS, Home, Settings, fetch_tokens},
    load::{self, Connection},
    plot::Row,
    report::{Bar, Line, Plot, Section},
    request,
    unit::Unit,
};

/// Resident memory of an idle server, in MiB.
const IDLE_BAR: Bar = Bar::AtMost(20.0);
/// Resident memory with the keys in use, in MiB.
const IN_USE_BAR: Bar = Bar::AtMost(40.0);
/// Time from start to first token, in milliseconds.
const START_BAR: Bar = Bar::AtMost(100.0);
const START_TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) async fn measure(bench: &Bench) -> anyhow::Result<Section> {
    let home = bench.home().await?;
    let keys = home.clients.len();
    let mut starts = Vec::new();
    // The first warms up.
    for round in bench.options.rounds() {
        let took = start_to_first_token(home).await?;
        if round > 0 {
            starts.push(took.as_secs_f64() * 1e3);
        }
    }
    let idle = idle(&mut bench.new_home("idle", None)?, true).await?;
    let Resident { loaded, in_use } = in_use(home).await?;

    let mut section = Section::new("Memory and start");
    let (unit, lines) = (Unit::Mebibytes, &mut section.lines);
    lines.push(Line::alone("Resident, idle", &[idle], unit, IDLE_BAR));
    lines.push(Line::alone(format!("Resident, {keys} keys in use"), &[in_use], unit, IN_USE_BAR));
    lines.push(Line::alone(
        "Resident per key",
        &[bytes_a_key(idle, loaded, keys)],
        Unit::Bytes,
        Bar::None,
    ));
    let what = format!("Start to first token, {keys} keys");
    lines.push(Line::alone(what, &starts, Unit::Milliseconds, START_BAR));
    section.notes.push(
        "Idle: after the admin's first token. In use: after a token of each key and its introspection, by 64 \
         callers. Per key: the difference between an idle server with and without keys. Start: from exec, \
         through taskset, to the answer, with files in the page cache and the previous server killed."
            .to_owned(),
    );
    let rows = [
        Row::new("Gatekey, idle", idle, unit),
        Row::new(&format!("Gatekey, {keys} keys"), loaded, unit),
        Row::new(&format!("Gatekey, {keys} keys in use"), in_use, unit),
    ];
    section.plots.push(Plot::of("memory", "Resident memory", &rows));
    Ok(section)
}

/// Resident memory without keys after the admin's first token, in MiB. `init` creates the admin.
pub(crate) async fn idle(home: &mut Home, init: bool) -> anyhow::Result<f64> {
    let server = home.serve(&Settings::default())?;
    if init {
        home.init()?;
    }
    home.log_in(&server).await?;
    Ok(mebibytes(server.resident()?))
}

/// Resident memory of a server with keys, in MiB.
pub(crate) struct Resident {
    /// After the admin's first token.
    loaded: f64,
    /// After a token of each key and its introspection.
    pub(crate) in_use: f64,
}

/// Uses each key of the data directory once.
pub(crate) async fn in_use(home: &Home) -> anyhow::Result<Resident> {
    let server = home.serve(&Settings::default())?;
    home.log_in(&server).await?;
    let loaded = mebibytes(server.resident()?);
    let requests: Vec<_> = home.clients.iter().map(request::token).collect();
    let tokens = fetch_tokens(&server.address, CALLERS, requests.into_iter()).await?;
    let asking = home.admin()?.clone();
    let asked = tokens.into_iter().map(move |token| request::introspection(&asking, &token));
    load::collect(&server.address, CALLERS, asked, |_| Ok(())).await?;
    Ok(Resident { loaded, in_use: mebibytes(server.resident()?) })
}

/// The time from exec, through `taskset`, to the answer with a token.
pub(crate) async fn start_to_first_token(home: &Home) -> anyhow::Result<Duration> {
    let request = request::token(home.clients.last().context("there are keys")?);
    let listen = free_address()?.to_string();
    let settings = Settings { listen: listen.clone(), ..Settings::default() };
    let started = Instant::now();
    let _server = home.serve_unready(&settings)?;
    let mut connection = loop {
        if let Ok(connection) = Connection::open(&listen).await {
            break connection;
        }
        ensure!(
            started.elapsed() < START_TIMEOUT,
            "the server did not start within {} s",
            START_TIMEOUT.as_secs()
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    connection.call(&request).await?;
    Ok(started.elapsed())
}

fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

#[expect(clippy::cast_precision_loss, reason = "memory is far below 2^52")]
fn mebibytes(kibibytes: u64) -> f64 {
    kibibytes as f64 / 1024.0
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn bytes_a_key(idle: f64, loaded: f64, keys: usize) -> f64 {
    (loaded - idle) * 1024.0 * 1024.0 / keys as f64
}
