//! Tokens by `client_credentials` over keep-alive connections without TLS, beside a floor that
//! signs once.

use gatekey_credentials::jwt::Algorithm;

use crate::{
    contest::{self, Entrant, Figures},
    floor::Work,
    gatekey::{Bench, Settings, answer_length},
    options::ALGORITHMS,
    peers::{self, Peer},
    report::{Bar, Line, Plot, Section},
    unit::Unit,
};

/// Relative to the floor's CPU time.
const BAR: Bar = Bar::AtMost(1.25);
/// In milliseconds, for the default algorithm only: at this load, RSA signatures alone take longer.
const P99_BAR: Bar = Bar::AtMost(3.0);

/// Measures each algorithm, and the default one beside peers.
pub(crate) async fn measure(bench: &Bench) -> anyhow::Result<Section> {
    let (peers, left_out) = peers::start(&bench.options.peers);
    let mut section = Section::new("Tokens over keep-alive connections");
    section.notes.push(format!("{} distinct keys, HTTP/1.1 without TLS.", bench.options.keys()));
    section.notes.extend(left_out);
    for algorithm in ALGORITHMS {
        let beside = if algorithm == ALGORITHMS[0] { peers.as_slice() } else { &[] };
        let figures = run(bench, algorithm, beside).await?;
        let (floor, ours, theirs) = (&figures[1], &figures[2], &figures[3..]);
        section.lines.push(Line::cost(format!("A token, {algorithm}"), ours, floor, BAR));
        if algorithm == ALGORITHMS[0] {
            let what = format!("A token, {algorithm}, p99");
            section.lines.push(Line::alone(what, &ours.p99, Unit::Milliseconds, P99_BAR));
        }
        for (peer, theirs) in beside.iter().zip(theirs) {
            let bar = Bar::AtLeast(peer.known.token_rate);
            section.lines.push(Line::rate("Tokens per second", ours, theirs, bar));
        }
        section
            .plots
            .push(Plot::cost(format!("tokens-{}", algorithm.as_str().to_lowercase()), &figures));
        section.figures.extend(figures);
    }
    Ok(section)
}

/// Measures a floor that does nothing, one that signs, Gatekey, and the peers, in this order.
async fn run(bench: &Bench, algorithm: Algorithm, peers: &[Peer]) -> anyhow::Result<Vec<Figures>> {
    let own;
    let home = if algorithm == ALGORITHMS[0] {
        bench.home().await?
    } else {
        own = bench.home_with_keys(None, algorithm).await?;
        &own
    };
    let requests = home.token_requests();
    let server = home.serve(&Settings::default())?;
    let body = answer_length(&server, &requests.all[0]).await?;
    let (nothing, sign) = (Work::nothing(body).start()?, Work::sign(body, algorithm).start()?);
    let mut entrants = vec![
        Entrant::new(format!("floor, nothing, as for {algorithm}"), &nothing, requests.clone()),
        Entrant::new(format!("floor, one signature, {algorithm}"), &sign, requests.clone()),
        Entrant::new(format!("Gatekey, a token, {algorithm}"), &server, requests),
    ];
    for peer in peers {
        let name = format!("{}, a token", peer.description.name);
        let address = &peer.description.token.address;
        entrants.push(Entrant::new(name, &peer.server, peer.token_requests()).at(address));
    }
    contest::run(&mut entrants, &bench.options).await?;
    Ok(entrants.into_iter().map(|entrant| entrant.figures).collect())
}
