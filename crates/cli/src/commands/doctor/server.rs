//! Goes through a client's steps to a server.

use gatekey_client::{Client, Error, Protocol};
use gatekey_outbound::Proxies;

use super::{
    address,
    connection::{STEP_TIMEOUT, Target},
    discovery,
    encoded_key::{self, Held},
    gate::{self, Seen},
    login,
    report::{Report, Step},
    tls,
    upstream::{self, Upstream},
};
use crate::{args::ServerCheck, client, settings};

const CONNECT: &str = "RPC over Connect";
const GRPC: &str = "RPC over gRPC";
const ENCODED_KEY: &str = "encoded key";

/// Runs the steps in order, and skips the steps that depend on a failed one.
pub(super) async fn check(mut arguments: ServerCheck) -> anyhow::Result<Report> {
    let upstreams = upstreams(&mut arguments)?;
    let client = client_of(&arguments, arguments.url.as_deref(), Protocol::Connect);
    let (url, client) = match (&arguments.url, client) {
        (Some(url), client) => (url.clone(), client),
        (None, Ok(client)) => (client.url(), Ok(client)),
        (None, Err(error)) => return Err(error.into()),
    };
    if let Ok(client) = &client {
        client::print_notices(client);
    }
    // Prefers the client's CA file: a config file of Flyte may name one.
    let ca_file = client.as_ref().ok().and_then(Client::ca_file);
    let ca_file = ca_file.or(arguments.ca_file.as_deref()).or(arguments.ssl_cert_file.as_deref());
    let proxies = client
        .as_ref()
        .map_or_else(|_| proxies_of_environment(), |client| client.proxies().clone());
    let mut target = Target::new(&url, ca_file, proxies)?;
    let mut report = Report::new(target.issuer());
    let reached = reach(&mut target, &mut report).await;
    let seen = match reached {
        Reached::Nothing => Seen::Nothing,
        // A gate that is missing matters more than a login that fails.
        Reached::Server => ask_gate(&target, None, &mut report).await,
        Reached::Login => log_in(&arguments, &target, client, &mut report).await,
    };
    for one in &upstreams {
        report.add(upstream::check(one, &target, seen).await?);
    }
    let held = [
        ("FLYTE_API_KEY", arguments.flyte_api_key),
        ("UNION_API_KEY", arguments.union_api_key),
        ("GATEKEY_API_KEY", arguments.gatekey_api_key),
    ];
    let held = held
        .into_iter()
        .filter_map(|(variable, encoded)| Some(Held { variable, encoded: encoded? }));
    let held: Vec<_> = held.collect();
    if held.is_empty() {
        report.add(encoded_key::check(ENCODED_KEY, None, target.endpoint()));
    }
    for held in &held {
        report.add(encoded_key::check(ENCODED_KEY, Some(held), target.endpoint()));
    }
    Ok(report)
}

/// How far the first steps came.
enum Reached {
    Nothing,
    Server,
    /// What a client must know to log in.
    Login,
}

/// Runs the steps from the name to login discovery.
async fn reach(target: &mut Target, report: &mut Report) -> Reached {
    const REST: [&str; 8] = [
        "TCP",
        "TLS",
        "ALPN",
        "discovery over HTTPS",
        "discovery over RPC",
        "token",
        CONNECT,
        GRPC,
    ];
    let (step, addresses) = address::look_up(target).await;
    if !report.add(step) {
        report.skip(&REST, "the server's name does not resolve");
        return Reached::Nothing;
    }
    let step = if let Some(proxy) = target.proxy() {
        address::connect_through(target, proxy).await
    } else {
        let (step, address) = address::connect(&addresses).await;
        target.address = address;
        step
    };
    if !report.add(step) {
        report.skip(&REST[1..], "the server cannot be reached");
        return Reached::Nothing;
    }
    if target.is_plaintext() {
        report.add(Step::warning(
            "TLS",
            "not used: anyone on the network can read secrets and tokens, and Flyte's clients do not log in",
            "use https://; plain HTTP is only for a proxy on the same machine",
        ));
    } else {
        if !report.add(tls::shake_hands(target).await) {
            report.skip(&REST[2..], "there is no TLS connection");
            return Reached::Nothing;
        }
        report.add(tls::offered_protocols(target).await);
    }
    let over_https = report.add(discovery::over_https(target).await);
    let over_rpc = report.add(discovery::over_rpc(target).await);
    if !over_https || !over_rpc {
        report.skip(&REST[5..], "clients cannot discover how to log in");
    }
    if over_https && over_rpc { Reached::Login } else { Reached::Server }
}

/// Fetches a token, and makes calls with it. Returns what the gate does.
async fn log_in(
    arguments: &ServerCheck,
    target: &Target,
    connect: Result<Client, Error>,
    report: &mut Report,
) -> Seen {
    let rest = ["token", CONNECT, GRPC];
    let connect = match connect {
        Ok(connect) => connect,
        Err(error) => {
            report.skip(&rest, &format!("no login: {error}"));
            return ask_gate(target, None, report).await;
        }
    };
    if !report.add(login::fetch_token(&connect).await) {
        report.skip(&rest[1..], "there is no token");
        return ask_gate(target, None, report).await;
    }
    report.add(login::call(CONNECT, &connect).await);
    let seen = ask_gate(target, Some(&connect), report).await;
    let grpc = match client_of(arguments, Some(target.issuer()), Protocol::Grpc) {
        Ok(grpc) => login::call(GRPC, &grpc).await,
        Err(error) => Step::skipped(GRPC, error.to_string()),
    };
    report.add(grpc);
    seen
}

async fn ask_gate(target: &Target, client: Option<&Client>, report: &mut Report) -> Seen {
    let (step, seen) = gate::check(target, client).await;
    if let Some(step) = step {
        report.add(step);
    }
    seen
}

/// Returns the upstreams of the flags and of the configuration file, which also names the server if
/// no argument does.
fn upstreams(arguments: &mut ServerCheck) -> anyhow::Result<Vec<Upstream>> {
    let given = arguments.upstream.iter();
    let mut upstreams: Vec<_> =
        given.map(|url| Upstream { url: url.clone(), ca_file: None }).collect();
    if arguments.settings.has_file() {
        let settings = arguments.settings.clone().read_and_warn()?;
        let config = settings::resolve(&settings, settings.listen())?;
        arguments.url.get_or_insert_with(|| config.server.public_url.to_string());
        upstreams.extend(
            config.gate.upstreams.into_iter().map(|upstream| Upstream {
                url: upstream.url.to_string(),
                ca_file: upstream.ca_file,
            }),
        );
    }
    Ok(upstreams)
}

fn proxies_of_environment() -> Proxies {
    #[expect(clippy::disallowed_methods, reason = "there is no client that has read them")]
    let variable = |name: &str| std::env::var(name).ok();
    Proxies::from_variables(&variable)
}

/// A client like that of the other commands, but without retries.
fn client_of(
    arguments: &ServerCheck,
    url: Option<&str>,
    protocol: Protocol,
) -> Result<Client, Error> {
    let mut builder = Client::builder()
        .user_agent(concat!("gatekey-doctor/", env!("CARGO_PKG_VERSION")))
        .protocol(protocol)
        .timeout(STEP_TIMEOUT)
        .plaintext(arguments.plaintext)
        .retries(0);
    if let Some(url) = url {
        builder = builder.endpoint(url);
    }
    if let Some(ca_file) = &arguments.ca_file {
        builder = builder.ca_file(ca_file);
    }
    builder.fill_from_env()?.build()
}
