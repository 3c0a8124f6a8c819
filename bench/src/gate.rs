//! The gate: its decisions for other proxies beside a bare handler, and its own proxy beside a
//! forwarder that checks nothing and beside other proxies.

use std::net::SocketAddr;

use serde_json::json;

use crate::{
    contest::{self, Entrant, Figures},
    floor::Work,
    forwarder,
    gatekey::{Bench, Settings, fetch_tokens},
    load::{Requests, Transport},
    nginx::{self, Check},
    process::Server,
    proxies::{Place, Proxy},
    report::{Bar, Line, Plot, Section},
    request, streams, upstream,
};

/// A decision, relative to a floor that does nothing.
const DECISION_BAR: Bar = Bar::AtMost(1.3);
/// A call through the proxy, relative to a forwarder that checks nothing.
const PROXY_BAR: Bar = Bar::AtMost(1.15);
/// A call through the proxy, relative to nginx without a check.
const NGINX_BAR: Bar = Bar::AtMost(2.0);
/// A call through the proxy, relative to nginx that asks us, with our part.
const ASKING_BAR: Bar = Bar::AtMost(0.3);
/// A call through the proxy, relative to Envoy without a check.
const ENVOY_BAR: Bar = Bar::AtMost(1.0);
/// A call through the proxy, relative to oauth2-proxy.
const OAUTH2_PROXY_BAR: Bar = Bar::AtMost(0.1);

/// Where nginx asks about a request.
const DECISION_PATH: &str = "/gate/nginx";
/// A procedure that a viewer may call.
const PROCEDURE: &str = "/flyteidl2.project.ProjectService/GetProject";
/// Keys that call: fewer than the gate remembers.
const CALLERS: usize = 1000;

pub(crate) async fn measure(bench: &Bench) -> anyhow::Result<Section> {
    let home = bench.home().await?;
    let upstream = upstream::start().await?;
    let settings = Settings { upstream: Some(format!("http://{upstream}")), ..Settings::default() };
    let server = home.serve(&settings)?;
    let callers = home.clients.iter().take(CALLERS);
    let asked: Vec<_> = callers.clone().map(request::token).collect();
    let tokens =
        fetch_tokens(&server.address, bench.options.connections.get(), asked.into_iter()).await?;
    let raw: Vec<_> =
        callers.map(|caller| request::encoded_credentials("127.0.0.1", caller)).collect();

    let decisions = decisions(bench, &server, &tokens, &raw).await?;
    let (h1, left_out) = over_http1(bench, upstream, &server, &tokens).await?;
    let grpc = over_grpc(bench, upstream, &server, &tokens).await?;

    let mut section = Section::new("The gate");
    let [floor, token, key] = &decisions[..] else { unreachable!("three were measured") };
    section.lines.push(Line::cost(
        "A decision for a proxy, a token seen before",
        token,
        floor,
        DECISION_BAR,
    ));
    section.lines.push(Line::cost(
        "A decision for a proxy, encoded credentials seen before",
        key,
        floor,
        DECISION_BAR,
    ));
    section.lines.extend(beside_proxies(&h1));
    section.notes.extend(left_out);
    let [forwarder, ours] = &grpc[..] else { unreachable!("two were measured") };
    section.lines.push(Line::cost(
        "A small gRPC call through the gate",
        ours,
        forwarder,
        PROXY_BAR,
    ));
    section.notes.push(format!(
        "{CALLERS} keys, each with a token that was seen before, call a method that answers {} bytes. The \
         upstream runs in the process of the load. Beside other proxies, the CPU is that of everything \
         between client and upstream.",
        upstream::ANSWER.len()
    ));
    let unchecked = nginx::start(bench.directory(), "streams", upstream, &Check::Nothing);
    let (calls, bearer) = (small_calls(&tokens), bearer(&tokens[0]));
    let nginx = unchecked.as_ref().ok();
    match streams::long_bodies(&bench.options, PROCEDURE, &bearer, &server, nginx).await {
        Ok(lines) => section.lines.extend(lines),
        Err(error) => section.notes.push(format!("Left out: long bodies: {error:#}.")),
    }
    match streams::open_streams(&bench.options, PROCEDURE, &bearer, &server, &calls).await {
        Ok(line) => section.lines.push(line),
        Err(error) => section.notes.push(format!("Left out: open streams: {error:#}.")),
    }
    section.figures = decisions.into_iter().chain(h1).chain(grpc).collect();
    section.plots.push(Plot::cost("gate", &section.figures));
    Ok(section)
}

/// Decisions for a proxy: the floor, a token, encoded credentials.
async fn decisions(
    bench: &Bench,
    server: &Server,
    tokens: &[String],
    raw: &[String],
) -> anyhow::Result<Vec<Figures>> {
    let nothing = Work::nothing(0).start()?;
    let asks = |credentials: &[String]| {
        let asked = |credential: &String| request::decision(DECISION_PATH, PROCEDURE, credential);
        Requests::again(credentials.iter().map(asked).collect())
    };
    let mut entrants = [
        Entrant::new("floor, a decision", &nothing, asks(tokens)),
        Entrant::new("Gatekey decides, a token", server, asks(tokens)),
        Entrant::new("Gatekey decides, encoded credentials", server, asks(raw)),
    ];
    contest::run(&mut entrants, &bench.options).await?;
    Ok(entrants.into_iter().map(|entrant| entrant.figures).collect())
}

/// Calls over HTTP/1.1: the forwarder, Gatekey, and the proxies that are installed, each without a
/// check and asking Gatekey. nginx asks a bare handler as well, and oauth2-proxy asks nobody.
/// Also returns notes about servers that were left out.
async fn over_http1(
    bench: &Bench,
    upstream: SocketAddr,
    server: &Server,
    tokens: &[String],
) -> anyhow::Result<(Vec<Figures>, Vec<String>)> {
    let calls = small_calls(tokens);
    let forwarder = forwarder::start(upstream, false)?;
    let handler = Work::nothing(0).start()?;
    let start =
        |name: &str, check: &Check<'_>| nginx::start(bench.directory(), name, upstream, check);
    let asks = |address| Check::Asks { address, path: DECISION_PATH };
    // A name, a process, and another that takes part.
    let mut started: Vec<(String, anyhow::Result<Server>, Option<&Server>)> = vec![
        ("nginx, no check".to_owned(), start("unchecked", &Check::Nothing), None),
        ("nginx asking Gatekey".to_owned(), start("asking", &asks(&server.address)), Some(server)),
        (
            "nginx asking a floor".to_owned(),
            start("asking-floor", &asks(&handler.address)),
            Some(&handler),
        ),
    ];
    let upstream = upstream.to_string();
    let place = Place {
        directory: bench.directory(),
        installed: &bench.options.proxies,
        peers: &bench.options.peers,
        upstream: &upstream,
        gatekey: &server.address,
        call: &calls.all[0],
    };
    for proxy in Proxy::ASKING {
        let name = proxy.name();
        started.push((format!("{name}, no check"), proxy.start(&place, false).await, None));
        let asking = proxy.start(&place, true).await;
        started.push((format!("{name} asking Gatekey"), asking, Some(server)));
    }
    let checking = Proxy::OAuth2Proxy;
    started.push((checking.name().to_owned(), checking.start(&place, true).await, None));

    let mut entrants = vec![
        Entrant::new("floor, forwarder", &forwarder, calls.clone()),
        Entrant::new("Gatekey, proxy", server, calls.clone()),
    ];
    let mut left_out = Vec::new();
    for (name, proxy, helper) in &started {
        match proxy {
            Ok(proxy) => {
                let entrant = Entrant::new(name, proxy, calls.clone());
                entrants.push(match helper {
                    Some(helper) => entrant.with_help_of(helper),
                    None => entrant,
                });
            }
            Err(error) => left_out.push(format!("Left out: {name}: {error:#}.")),
        }
    }
    contest::run(&mut entrants, &bench.options).await?;
    Ok((entrants.into_iter().map(|entrant| entrant.figures).collect(), left_out))
}

/// Our proxy beside those that were measured.
fn beside_proxies(figures: &[Figures]) -> Vec<Line> {
    let named = |name: &str| figures.iter().find(|figures| figures.name == name);
    let ours = named("Gatekey, proxy");
    let rows = [
        ("floor, forwarder", PROXY_BAR),
        ("nginx, no check", NGINX_BAR),
        ("Envoy, no check", ENVOY_BAR),
        ("Traefik, no check", Bar::None),
        ("Caddy, no check", Bar::None),
        ("nginx asking Gatekey", ASKING_BAR),
        ("Envoy asking Gatekey", Bar::None),
        ("Traefik asking Gatekey", Bar::None),
        ("Caddy asking Gatekey", Bar::None),
        ("oauth2-proxy", OAUTH2_PROXY_BAR),
    ];
    let line =
        |(name, bar)| Some(Line::cost("A small call through the gate", ours?, named(name)?, bar));
    let mut lines: Vec<_> = rows.into_iter().filter_map(line).collect();
    if let (Some(asking), Some(floor)) =
        (named("nginx asking Gatekey"), named("nginx asking a floor"))
    {
        let what = "nginx and us, asked about each call";
        lines.push(Line::cost(what, asking, floor, Bar::None));
    }
    lines
}

/// A small call with each token, in Connect's JSON.
fn small_calls(tokens: &[String]) -> Requests {
    let body = json!({ "id": { "name": "flytesnacks" } }).to_string();
    let call = |token: &String| request::post(PROCEDURE, &bearer(token), "application/json", &body);
    Requests::again(tokens.iter().map(call).collect())
}

/// gRPC over HTTP/2 on both sides: the forwarder, Gatekey.
async fn over_grpc(
    bench: &Bench,
    upstream: SocketAddr,
    server: &Server,
    tokens: &[String],
) -> anyhow::Result<Vec<Figures>> {
    // GetProjectRequest with a project id.
    let body = String::from_utf8(upstream::grpc_message(b"\x0a\x05\x12\x03foo").to_vec())?;
    let call = |token: &String| request::post(PROCEDURE, &bearer(token), "application/grpc", &body);
    let calls = Requests::again(tokens.iter().map(call).collect());
    let forwarder = forwarder::start(upstream, true)?;
    let mut entrants = [
        Entrant::new("floor, gRPC forwarder", &forwarder, calls.clone()).over(Transport::Grpc),
        Entrant::new("Gatekey, gRPC proxy", server, calls).over(Transport::Grpc),
    ];
    contest::run(&mut entrants, &bench.options).await?;
    Ok(entrants.into_iter().map(|entrant| entrant.figures).collect())
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}
