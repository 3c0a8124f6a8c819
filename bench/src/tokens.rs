//! `client_credentials` to ES256 JWT over plain keep-alive, beside a floor that signs once and one that does
//! nothing, in the same run.

use std::{
    path::{Path, PathBuf},
    process::Command,
    rc::Rc,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use clap::Args;
use serde_json::{Value, json};
use tokio::task::LocalSet;

use crate::{
    load::{self, Connection, Measured},
    process::Server,
};

/// How to measure tokens.
#[derive(Args)]
pub(crate) struct Tokens {
    /// Distinct keys
    #[arg(long, default_value_t = 20_000)]
    keys: usize,
    /// Seconds of each round
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Rounds; each measures every server once
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Connections at the same time
    #[arg(long, default_value_t = 16)]
    connections: usize,
}

/// The design's bar: the server's processor time a token, over the floor's with one signature.
const BAR: f64 = 1.25;

/// A server's figures, one a round.
struct Row {
    name: &'static str,
    server: Server,
    micros: Vec<f64>,
    rates: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
}

/// Measures and prints.
pub(crate) async fn run(arguments: Tokens) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let own = std::env::current_exe()?;
    let gatekey = own.with_file_name("gatekey");
    let data_dir = directory.path().join("data");
    let logging = start_gatekey(&gatekey, &data_dir)?;
    println!("making {} keys ...", arguments.keys);
    let requests = Rc::new(make_keys(&gatekey, &data_dir, &logging.address, arguments.keys).await?);
    let resident = logging.resident()?;
    let body = Connection::open(&logging.address).await?.call(&requests[0]).await?.len().to_string();
    let floor = |signatures: &str| {
        let arguments = ["floor", "--body", &body, "--signatures", signatures];
        Server::start(own.to_str().context("the path is text")?, &arguments, "floor on ")
    };
    let mut rows = [
        Row::new("floor, nothing", floor("0")?),
        Row::new("floor, one P-256 signature", floor("1")?),
        Row::new("gatekey, a token", logging),
    ];
    let duration = Duration::from_secs(arguments.seconds);
    for round in 0..=arguments.rounds {
        for row in &mut rows {
            let before = row.server.cpu_time()?;
            let measured = load::run(&row.server.address, &requests, arguments.connections, duration).await?;
            let spent = row.server.cpu_time()?.saturating_sub(before);
            // The first round warms up.
            if round > 0 {
                row.note(&measured, spent);
            }
        }
    }
    print(&rows, &arguments);
    println!(
        "memory of gatekey: {} MiB after making {} keys, {} MiB after the load",
        resident / 1024,
        arguments.keys,
        rows[2].server.resident()? / 1024
    );
    Ok(())
}

fn start_gatekey(gatekey: &Path, data_dir: &Path) -> anyhow::Result<Server> {
    let data_dir = data_dir.to_str().context("the path is text")?;
    let arguments =
        ["serve", "--plaintext", "--listen", "127.0.0.1:0", "--log-format", "json", "--data-dir", data_dir];
    Server::start(gatekey.to_str().context("the path is text")?, &arguments, "\"url\":\"http://")
}

/// Makes keys through the front door; gives the token request of each.
async fn make_keys(
    gatekey: &PathBuf,
    data_dir: &Path,
    address: &str,
    keys: usize,
) -> anyhow::Result<Vec<Vec<u8>>> {
    let init =
        Command::new(gatekey).args(["init", "--output", "json", "--data-dir"]).arg(data_dir).output()?;
    ensure!(init.status.success(), "{}", String::from_utf8_lossy(&init.stderr));
    let admin: Value = serde_json::from_slice(&init.stdout)?;
    let text = |value: &Value| value.as_str().map(str::to_owned).context("a string");
    let login = token_request(address, &text(&admin["client_id"])?, &text(&admin["client_secret"])?);
    let mut connection = Connection::open(address).await?;
    let token: Value = serde_json::from_slice(connection.call(&login).await?)?;
    let token = text(&token["access_token"])?;
    let tasks = LocalSet::new();
    let mut running = Vec::new();
    for worker in 0..64 {
        let (address, token) = (address.to_owned(), token.clone());
        running.push(tasks.spawn_local(async move {
            let mut connection = Connection::open(&address).await?;
            let mut requests = Vec::new();
            for number in (worker..keys).step_by(64) {
                let name = format!("bench-{number:06}");
                let body = json!({ "clientId": name, "clientName": name }).to_string();
                let request = format!(
                    "POST /cloudidl.identity.AppsService/Create HTTP/1.1\r\nhost: {address}\r\n\
                     content-type: application/json\r\nauthorization: Bearer {token}\r\n\
                     content-length: {}\r\n\r\n{body}",
                    body.len()
                );
                let answer: Value = serde_json::from_slice(connection.call(request.as_bytes()).await?)?;
                let secret = answer["app"]["clientSecret"].as_str().context("a secret")?;
                requests.push(token_request(&address, &name, secret));
            }
            anyhow::Ok(requests)
        }));
    }
    tasks.await;
    let mut requests = Vec::new();
    for task in running {
        requests.extend(task.await??);
    }
    Ok(requests)
}

/// As public clients send it.
fn token_request(address: &str, client_id: &str, secret: &str) -> Vec<u8> {
    let body = "grant_type=client_credentials&scope=all";
    let basic = BASE64_STANDARD.encode(format!("{client_id}:{secret}"));
    format!(
        "POST /oauth2/token HTTP/1.1\r\nhost: {address}\r\nauthorization: Basic {basic}\r\n\
         accept: application/json\r\ncontent-type: application/x-www-form-urlencoded\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

impl Row {
    fn new(name: &'static str, server: Server) -> Self {
        Self { name, server, micros: Vec::new(), rates: Vec::new(), p50: Vec::new(), p99: Vec::new() }
    }

    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    fn note(&mut self, measured: &Measured, spent: Duration) {
        self.micros.push(spent.as_secs_f64() * 1e6 / measured.requests() as f64);
        self.rates.push(measured.rate());
        self.p50.push(measured.percentile(0.5));
        self.p99.push(measured.percentile(0.99));
    }
}

fn print(rows: &[Row; 3], arguments: &Tokens) {
    println!(
        "\n{} keys, {} keep-alive connections, plain HTTP/1.1, {} rounds of {} s, medians; \
         server on one processor, load on another\n",
        arguments.keys, arguments.connections, arguments.rounds, arguments.seconds
    );
    println!(
        "{:<28} {:>14} {:>12} {:>9} {:>9}",
        "server", "CPU us/request", "requests/s", "p50 ms", "p99 ms"
    );
    for row in rows {
        println!(
            "{:<28} {:>14.1} {:>12.0} {:>9.2} {:>9.2}",
            row.name,
            median(&row.micros),
            median(&row.rates),
            median(&row.p50),
            median(&row.p99)
        );
    }
    let ratios: Vec<f64> =
        rows[2].micros.iter().zip(&rows[1].micros).map(|(ours, floor)| ours / floor).collect();
    let ratio = median(&ratios);
    println!(
        "\nCPU of a token / floor with one signature: {ratio:.2} (rounds {:.2} to {:.2}); bar {BAR}: {}",
        ratios.iter().copied().fold(f64::INFINITY, f64::min),
        ratios.iter().copied().fold(0.0, f64::max),
        if ratio <= BAR { "met" } else { "missed" }
    );
}

fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}
