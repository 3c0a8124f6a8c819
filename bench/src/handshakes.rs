//! Tokens over a new TLS connection each, as for clients that fetch one token, beside a TLS floor
//! that signs once.

use crate::{
    certificate::Certificate,
    contest::{self, Entrant},
    floor::Work,
    gatekey::{Bench, Settings, answer_length},
    load::Transport,
    options::ALGORITHMS,
    report::{Bar, Line, Plot, Section},
};

/// Relative to the floor's CPU time, over full handshakes.
const BAR: Bar = Bar::AtMost(1.15);

/// Measures full handshakes and resumed sessions.
pub(crate) async fn measure(bench: &Bench) -> anyhow::Result<Section> {
    let home = bench.home().await?;
    let requests = home.token_requests();
    let algorithm = ALGORITHMS[0];
    let body = {
        let plain = home.serve(&Settings::default())?;
        answer_length(&plain, &requests.all[0]).await?
    };
    let certificate = Certificate::make(bench.directory())?;
    let settings = Settings { tls: Some(certificate.clone()), ..Settings::default() };
    let server = home.serve(&settings)?;
    let floor = Work::sign(body, algorithm).over_tls(&certificate).start()?;
    let mut entrants = Vec::new();
    for (transport, how) in
        [(Transport::FullHandshake, "full handshake"), (Transport::Resumed, "resumed session")]
    {
        for (server, name) in [(&floor, "floor, one signature"), (&server, "Gatekey, a token")] {
            let name = format!("{name}, {algorithm}, {how}");
            entrants.push(Entrant::new(name, server, requests.clone()).over(transport));
        }
    }
    contest::run(&mut entrants, &bench.options).await?;
    let figures: Vec<_> = entrants.into_iter().map(|entrant| entrant.figures).collect();
    let mut section = Section::new("Tokens over new TLS connections");
    let (full, resumed) = (&figures[..2], &figures[2..]);
    section.lines.push(Line::cost(
        "A token over a new full TLS 1.3 handshake",
        &full[1],
        &full[0],
        BAR,
    ));
    section.lines.push(Line::cost(
        "A token over a resumed session",
        &resumed[1],
        &resumed[0],
        Bar::None,
    ));
    section.notes.push(
        "TLS 1.3, X25519 and a self-signed certificate on P-256, for the floor as well. The client skips \
         verification, so that it costs less than the server."
            .to_owned(),
    );
    section.plots.push(Plot::cost("handshakes", &figures));
    section.figures = figures;
    Ok(section)
}
