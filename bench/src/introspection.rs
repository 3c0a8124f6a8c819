//! Token introspection (RFC 7662), of tokens at first sight beside a floor that verifies one signature, and of
//! tokens seen before beside one that does nothing.

use std::iter;

use crate::{
    ALGORITHMS,
    contest::{self, Entrant},
    floor::Work,
    gatekey::{Bench, CALLERS, Home, Settings, answer_length, fetch_tokens},
    load::Requests,
    peers,
    process::Server,
    report::{Bar, Line, Plot, Section},
    request,
};

/// Of the processor time of a floor that does nothing, for a token seen before.
const SEEN_BAR: Bar = Bar::AtMost(1.3);
/// Of the processor time of a floor that verifies a signature, for a token at first sight.
const FIRST_SIGHT_BAR: Bar = Bar::AtMost(1.25);
/// Of a peer's rate, for a token seen before.
const RATE_BAR: Bar = Bar::AtLeast(10.0);
/// Tokens that come again: fewer than the server remembers.
pub(crate) const SEEN: usize = 4096;
/// Tokens of each key that are seen once, in a round.
pub(crate) const FRESH: usize = 3;
/// Tokens of a peer: it keeps them, and no more than a thousand.
const KEPT_BY_PEER: usize = 500;

/// Measures both.
pub(crate) async fn measure(bench: &Bench) -> anyhow::Result<Section> {
    let home = bench.home().await?;
    let options = &bench.options;
    let server = home.serve(&Settings::default())?;
    let seen = Requests::again(fresh(home, &server, SEEN).await?);
    let body = answer_length(&server, &seen.all[0]).await?;
    let (nothing, verify) = (Work::nothing(body).start()?, Work::verify(body, ALGORITHMS[0]).start()?);
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
    section.lines.push(Line::cost("A token introspected, seen before", &again[1], &again[0], SEEN_BAR));
    for theirs in &again[2..] {
        section.lines.push(Line::rate("Introspections a second", &again[1], theirs, RATE_BAR));
    }
    section.notes.push(format!(
        "The admin key asks, with its secret. Tokens at first sight: each asked about once. Seen before: {SEEN} \
         tokens; of a peer, which keeps them, {KEPT_BY_PEER}."
    ));
    section.notes.push(
        "The floor of a token seen before reads the request and copies an answer. What Gatekey adds to it is a MAC of the \
         asker's secret, a digest of the token, the form taken apart, key and secret and deny-list looked at, an answer \
         written and a line logged; none of it can be remembered, because a revocation is in force at once. \
         [The profile](performance/profile.md) has the share of each."
            .to_owned(),
    );
    section.notes.extend(left_out);
    section.figures = first.into_iter().chain(again).collect();
    section.plots.push(Plot::cost("introspection", &section.figures));
    Ok(section)
}

/// Asks about tokens that nobody has asked about yet.
pub(crate) async fn fresh(home: &Home, server: &Server, count: usize) -> anyhow::Result<Vec<Vec<u8>>> {
    let requests: Vec<_> = home.clients.iter().map(request::token).collect();
    let requests = iter::repeat(requests).flatten().take(count);
    let tokens = fetch_tokens(&server.address, CALLERS, requests).await?;
    let asking = home.admin()?;
    Ok(tokens.iter().map(|token| request::introspection(asking, token)).collect())
}
