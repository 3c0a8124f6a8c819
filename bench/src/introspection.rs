//! Token introspection (RFC 7662): new tokens beside a floor that verifies one signature, and
//! tokens seen before beside a floor that does nothing.

use std::iter;

use crate::{
    contest::{self, Entrant},
    floor::Work,
    gatekey::{Bench, CALLERS, Home, Settings, answer_length, fetch_tokens},
    load::Requests,
    options::ALGORITHMS,
    peers,
    process::Server,
    report::{Bar, Line, Plot, Section},
    request,
};

/// Relative to a floor that does nothing, for a token seen before.
const SEEN_BAR: Bar = Bar::AtMost(1.3);
/// Relative to a floor that verifies a signature, for a new token.
const FIRST_SIGHT_BAR: Bar = Bar::AtMost(1.25);
/// Relative to a peer's rate, for a token seen before.
const RATE_BAR: Bar = Bar::AtLeast(10.0);
/// Tokens that are introspected repeatedly: fewer than the server caches.
pub(crate) const SEEN: usize = 4096;
/// New tokens of each key per round.
pub(crate) const FRESH: usize = 3;
/// Tokens of a peer, which stores them and keeps at most a thousand.
const KEPT_BY_PEER: usize = 500;

pub(crate) async fn measure(bench: &Bench) -> anyhow::Result<Section> {
    let home = bench.home().await?;
    let options = &bench.options;
    let server = home.serve(&Settings::default())?;
    let seen = Requests::again(fresh(home, &server, SEEN).await?);
    let body = answer_length(&server, &seen.all[0]).await?;
    let (nothing, verify) =
        (Work::nothing(body).start()?, Work::verify(body, ALGORITHMS[0]).start()?);
    let (peers, left_out) = peers::start(&options.peers);

    let mut entrants = vec![
        Entrant::new("floor, nothing", &nothing, seen.clone()),
        Entrant::new("Gatekey, a token seen before", &server, seen),
    ];
    for peer in &peers {
        let address = &peer.description.introspected_token.address;
        let asked = peer.introspected_token_requests(KEPT_BY_PEER);
        let tokens = fetch_tokens(address, options.connections.get(), asked.into_iter()).await?;
        let name = format!("{}, a token", peer.description.name);
        let entrant = Entrant::new(name, &peer.server, peer.introspection_requests(&tokens)?);
        entrants.push(entrant.at(&peer.description.introspection.address));
    }
    contest::run(&mut entrants, options).await?;
    let again: Vec<_> = entrants.into_iter().map(|entrant| entrant.figures).collect();

    let mut entrants = [
        Entrant::without_requests(format!("floor, one verification, {}", ALGORITHMS[0]), &verify),
        Entrant::without_requests("Gatekey, a token at first sight", &server),
    ];
    for number in options.rounds() {
        let requests = Requests::once(fresh(home, &server, home.clients.len() * FRESH).await?);
        for entrant in &mut entrants {
            entrant.requests = requests.clone();
        }
        contest::round(&mut entrants, options, number).await?;
    }
    let first: Vec<_> = entrants.into_iter().map(|entrant| entrant.figures).collect();

    let mut section = Section::new("Introspection");
    section.lines.push(Line::cost(
        "A token introspected, at first sight",
        &first[1],
        &first[0],
        FIRST_SIGHT_BAR,
    ));
    section.lines.push(Line::cost(
        "A token introspected, seen before",
        &again[1],
        &again[0],
        SEEN_BAR,
    ));
    for theirs in &again[2..] {
        section.lines.push(Line::rate("Introspections per second", &again[1], theirs, RATE_BAR));
    }
    section.notes.push(format!(
        "The caller is the admin key, with its secret. At first sight: each token is introspected once. Seen \
         before: {SEEN} tokens; {KEPT_BY_PEER} for a peer, because peers store tokens."
    ));
    section.notes.push(
        "The floor of a token seen before reads the request and copies an answer. Gatekey adds a MAC of the \
         caller's secret, a digest of the token, form parsing, look-ups of key, secret and deny-list, an answer \
         and a log line. None of it can be cached, because a revocation takes effect at once. \
         [The profile](performance/profile.md) has the share of each."
            .to_owned(),
    );
    section.notes.extend(left_out);
    section.figures = first.into_iter().chain(again).collect();
    section.plots.push(Plot::cost("introspection", &section.figures));
    Ok(section)
}

/// Introspection requests for new tokens.
pub(crate) async fn fresh(
    home: &Home,
    server: &Server,
    count: usize,
) -> anyhow::Result<Vec<Vec<u8>>> {
    let requests: Vec<_> = home.clients.iter().map(request::token).collect();
    let requests = iter::repeat(requests).flatten().take(count);
    let tokens = fetch_tokens(&server.address, CALLERS, requests).await?;
    let asking = home.admin()?;
    Ok(tokens.iter().map(|token| request::introspection(asking, token)).collect())
}
