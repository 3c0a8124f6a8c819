//! The gate: its decisions for other proxies beside a bare handler, and its own proxy beside a
//! forwarder that checks nothing and beside nginx.

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
    report::{Bar, Line, Plot, Section},
    request, upstream,
};

/// A decision, relative to a floor that does nothing.
const DECISION_BAR: Bar = Bar::AtMost(1.3);
/// A call through the proxy, relative to a forwarder that checks nothing.
const PROXY_BAR: Bar = Bar::AtMost(1.15);
/// A call through the proxy, relative to nginx without a check.
const NGINX_BAR: Bar = Bar::AtMost(2.0);
/// A call through the proxy, relative to nginx that asks us, with our part.
const ASKING_BAR: Bar = Bar::AtMost(0.3);

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
    let h1 = over_http1(bench, upstream, &server, &tokens).await?;
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
    let [forwarder, ours, ..] = &h1[..] else { unreachable!("two were measured") };
    section.lines.push(Line::cost("A small call through the gate", ours, forwarder, PROXY_BAR));
    if let [_, _, unchecked, asking, asking_floor] = &h1[..] {
        section.lines.push(Line::cost("A small call through the gate", ours, unchecked, NGINX_BAR));
        section.lines.push(Line::cost("A small call through the gate", ours, asking, ASKING_BAR));
        section.lines.push(Line::cost(
            "nginx and us, asked about each call",
            asking,
            asking_floor,
            Bar::None,
        ));
    } else {
        section.notes.push("Left out: nginx is not installed.".to_owned());
    }
    let [forwarder, ours] = &grpc[..] else { unreachable!("two were measured") };
    section.lines.push(Line::cost(
        "A small gRPC call through the gate",
        ours,
        forwarder,
        PROXY_BAR,
    ));
    section.notes.push(format!(
        "{CALLERS} keys, each with a token that was seen before, call a method that answers {} bytes. The \
         upstream runs in the process of the load. Beside nginx, the CPU is that of everything between \
         client and upstream.",
        upstream::ANSWER.len()
    ));
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

/// Calls over HTTP/1.1: the forwarder, Gatekey, and if nginx is installed: nginx without a check,
/// nginx that asks Gatekey, nginx that asks a bare handler.
async fn over_http1(
    bench: &Bench,
    upstream: SocketAddr,
    server: &Server,
    tokens: &[String],
) -> anyhow::Result<Vec<Figures>> {
    let body = json!({ "id": { "name": "flytesnacks" } }).to_string();
    let call = |token: &String| request::post(PROCEDURE, &bearer(token), "application/json", &body);
    let calls = Requests::again(tokens.iter().map(call).collect());
    let forwarder = forwarder::start(upstream, false)?;
    let handler = Work::nothing(0).start()?;
    let start =
        |name: &str, check: &Check<'_>| nginx::start(bench.directory(), name, upstream, check);
    let asks = |address| Check::Asks { address, path: DECISION_PATH };
    let proxies = [
        start("unchecked", &Check::Nothing),
        start("asking", &asks(&server.address)),
        start("asking-floor", &asks(&handler.address)),
    ];
    let mut entrants = vec![
        Entrant::new("floor, forwarder", &forwarder, calls.clone()),
        Entrant::new("Gatekey, proxy", server, calls.clone()),
    ];
    if let [Ok(unchecked), Ok(asking), Ok(asking_floor)] = &proxies {
        entrants.extend([
            Entrant::new("nginx, no check", unchecked, calls.clone()),
            Entrant::new("nginx asking Gatekey", asking, calls.clone()).with_help_of(server),
            Entrant::new("nginx asking a floor", asking_floor, calls).with_help_of(&handler),
        ]);
    }
    contest::run(&mut entrants, &bench.options).await?;
    Ok(entrants.into_iter().map(|entrant| entrant.figures).collect())
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
