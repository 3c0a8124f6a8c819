//! Measures servers in turn, round by round, by the CPU time of a request.

use std::time::Duration;

use crate::{
    load::{self, Measured, Requests, Transport},
    options::Options,
    process::{self, Server},
};

/// Below this share of its CPU, a server was waiting for requests: its rate is the generator's.
const BUSY: f64 = 0.9;
/// Above this share of a CPU used by other processes, the figures count as disturbed.
const DISTURBED: f64 = 0.1;

/// A server and the load it gets.
pub(crate) struct Entrant<'s> {
    server: &'s Server,
    /// Other processes that take part in each request.
    helpers: Vec<&'s Server>,
    address: &'s str,
    transport: Transport,
    connections: Option<usize>,
    pub(crate) requests: Requests,
    pub(crate) figures: Figures,
}

/// The results, one value per round.
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    pub(crate) name: String,
    /// Server CPU per request, in microseconds.
    pub(crate) micros: Vec<f64>,
    pub(crate) rates: Vec<f64>,
    /// Median latency, in milliseconds.
    pub(crate) p50: Vec<f64>,
    /// 99th percentile of the latency, in milliseconds.
    pub(crate) p99: Vec<f64>,
    /// The share of its CPU that the server used.
    pub(crate) busy: Vec<f64>,
    /// The larger share of the server's or the load's CPU that other processes used.
    others: Vec<f64>,
}

impl<'s> Entrant<'s> {
    /// A server over keep-alive connections without TLS.
    pub(crate) fn new(name: impl Into<String>, server: &'s Server, requests: Requests) -> Self {
        Self {
            server,
            helpers: Vec::new(),
            address: &server.address,
            transport: Transport::Kept,
            connections: None,
            requests,
            figures: Figures::new(name.into()),
        }
    }

    /// A server whose requests change every round and are set before it.
    pub(crate) fn without_requests(name: impl Into<String>, server: &'s Server) -> Self {
        Self::new(name, server, Requests::default())
    }

    /// Sends the load to another address of the server.
    pub(crate) fn at(self, address: &'s str) -> Self {
        Self { address, ..self }
    }

    /// Adds another process's CPU time to that of the server.
    pub(crate) fn with_help_of(mut self, server: &'s Server) -> Self {
        self.helpers.push(server);
        self
    }

    /// Overrides the number of connections.
    pub(crate) fn with_connections(self, connections: usize) -> Self {
        Self { connections: Some(connections), ..self }
    }

    pub(crate) fn over(self, transport: Transport) -> Self {
        Self { transport, ..self }
    }
}

/// Measures every entrant once per round. The first round warms up and is not counted.
///
/// # Errors
/// When a server answers with a status other than 200.
pub(crate) async fn run(entrants: &mut [Entrant<'_>], options: &Options) -> anyhow::Result<()> {
    for number in options.rounds() {
        round(entrants, options, number).await?;
    }
    Ok(())
}

/// Measures every entrant once, for callers that change the requests between rounds.
///
/// # Errors
/// As for [`run`].
pub(crate) async fn round(
    entrants: &mut [Entrant<'_>],
    options: &Options,
    number: usize,
) -> anyhow::Result<()> {
    for entrant in entrants {
        let before = Account::now(entrant)?;
        let measured = load::run(
            entrant.address,
            entrant.transport,
            &entrant.requests,
            entrant.connections.unwrap_or(options.connections.get()),
            options.duration(),
        )
        .await?;
        let spent = Account::now(entrant)?.since(&before);
        if number > 0 {
            entrant.figures.note(&measured, &spent);
        }
    }
    Ok(())
}

/// CPU time used so far.
struct Account {
    server: Duration,
    /// Of other processes on the server's CPU.
    beside_server: Duration,
    /// Of other processes on the load's CPU.
    beside_load: Duration,
}

impl Account {
    fn now(entrant: &Entrant<'_>) -> anyhow::Result<Self> {
        let mut server = entrant.server.cpu_time()?;
        for helper in &entrant.helpers {
            server += helper.cpu_time()?;
        }
        let beside_server = process::busy_time(process::SERVER_CPU)?.saturating_sub(server);
        let beside_load =
            process::busy_time(process::GENERATOR_CPU)?.saturating_sub(process::own_cpu_time()?);
        Ok(Self { server, beside_server, beside_load })
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            server: self.server.saturating_sub(before.server),
            beside_server: self.beside_server.saturating_sub(before.beside_server),
            beside_load: self.beside_load.saturating_sub(before.beside_load),
        }
    }
}

impl Figures {
    fn new(name: String) -> Self {
        let none = Vec::new;
        Self {
            name,
            micros: none(),
            rates: none(),
            p50: none(),
            p99: none(),
            busy: none(),
            others: none(),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    fn note(&mut self, measured: &Measured, spent: &Account) {
        let share = |time: Duration| time.as_secs_f64() / measured.elapsed.as_secs_f64();
        self.micros.push(spent.server.as_secs_f64() * 1e6 / measured.requests() as f64);
        self.rates.push(measured.rate());
        self.p50.push(measured.percentile(0.5));
        self.p99.push(measured.percentile(0.99));
        self.busy.push(share(spent.server));
        self.others.push(share(spent.beside_server.max(spent.beside_load)));
    }

    /// Whether the server's CPU limited its rate.
    pub(crate) fn was_busy(&self) -> bool {
        median(&self.busy) >= BUSY
    }

    /// The share of a CPU that other processes used, if it is enough to disturb the figures.
    pub(crate) fn disturbance(&self) -> Option<f64> {
        let others = median(&self.others);
        (others > DISTURBED).then_some(others)
    }
}

/// The median; 0 for no figures.
pub(crate) fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    match (sorted.get(sorted.len().saturating_sub(1) / 2), sorted.get(sorted.len() / 2)) {
        (Some(low), Some(high)) => f64::midpoint(*low, *high),
        _ => 0.0,
    }
}

/// The ratio of both figures of each round.
pub(crate) fn ratios(ours: &[f64], theirs: &[f64]) -> Vec<f64> {
    ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::float_cmp, reason = "these are exact")]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[]), 0.0);
    }
}
