//! This build of Gatekey beside another one: what each measured request costs here, over what it
//! costs there.
//!
//! Both builds serve at the same time, each on its own data directory, and take turns. Every round
//! measures both and pairs the two figures, so that whatever slows the machine slows both. Which
//! build goes first alternates.

use std::{
    fmt,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::ensure;
use gatekey_credentials::jwt::Algorithm;

use crate::{
    certificate::Certificate,
    contest::{self, Entrant, Figures, ratios},
    create, gatekey,
    gatekey::{Bench, CALLERS, Home, Settings},
    introspection, list,
    load::{Connection, Requests, Transport},
    memory,
    options::{ALGORITHMS, Case, Options, eprint_progress},
    process::Server,
    report, request,
    unit::Unit,
};

/// The most that this build may cost of what the other costs, where the difference is certain.
const BAR: f64 = 1.03;
/// How likely the interval holds the true median.
const CONFIDENCE: f64 = 0.95;

/// One figure of both builds, one value a round.
pub(crate) struct Pair {
    what: String,
    unit: Unit,
    ours: Vec<f64>,
    theirs: Vec<f64>,
}

/// Both builds of one thing: this one, then the other.
type Both<T> = [T; 2];

/// Measures the given cases on both builds.
///
/// # Errors
/// When a server does not start, or answers anything but 200.
pub(crate) async fn measure(
    bench: &Bench,
    other: &Path,
    cases: &[Case],
) -> anyhow::Result<Vec<Pair>> {
    ensure!(other.is_file(), "--against: {} is not a file", other.display());
    let homes = homes_with_keys(bench, other, ALGORITHMS[0]).await?;
    let mut pairs = Vec::new();
    for case in cases {
        eprint_progress(&case.name());
        let found = match case {
            Case::Tokens => tokens(bench, &homes, other).await?,
            Case::Handshakes => handshakes(bench, &homes).await?,
            Case::Introspection => introspections(bench, &homes).await?,
            Case::Create => creates(bench, other).await?,
            Case::List => lists(bench, other).await?,
            Case::Memory => memory(bench, &homes, other).await?,
            // Releases before this one have no gate.
            Case::Gate => Vec::new(),
        };
        pairs.extend(found);
    }
    Ok(pairs)
}

/// The pairs as a table that is Markdown as well.
pub(crate) fn table(pairs: &[Pair]) -> String {
    let header = ["what", "this build", "the other", "ratio (95 % interval)", ""];
    report::table(header, pairs.iter().map(Pair::cells))
}

impl Pair {
    fn new(what: impl Into<String>, unit: Unit, [ours, theirs]: Both<Vec<f64>>) -> Self {
        Self { what: what.into(), unit, ours, theirs }
    }

    fn cost(what: impl Into<String>, figures: Both<&Figures>) -> Self {
        Self::new(what, Unit::CpuMicroseconds, figures.map(|figures| figures.micros.clone()))
    }

    fn cells(&self) -> [String; 5] {
        let compared = Interval::of_median(&ratios(&self.ours, &self.theirs));
        [
            self.what.clone(),
            self.unit.show(contest::median(&self.ours)),
            self.unit.show(contest::median(&self.theirs)),
            compared.to_string(),
            compared.verdict().to_owned(),
        ]
    }
}

/// A median with the interval that holds the true one.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Interval {
    low: f64,
    median: f64,
    high: f64,
}

impl Interval {
    /// By order statistics (the sign test's interval), which assumes nothing about how figures
    /// are distributed. Too few figures for that confidence give their whole range.
    fn of_median(figures: &[f64]) -> Self {
        let mut sorted = figures.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let outside = outside(sorted.len());
        let at = |place: usize| sorted.get(place).copied().unwrap_or(f64::NAN);
        Self {
            low: at(outside),
            median: contest::median(figures),
            high: at(sorted.len().wrapping_sub(1 + outside)),
        }
    }

    fn verdict(self) -> &'static str {
        if self.median <= BAR || (self.low..=self.high).contains(&1.0) { "met" } else { "MISSED" }
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:.3} ({:.3} to {:.3})", self.median, self.low, self.high)
    }
}

/// The number of sorted figures below the interval, of `count`; the same number is above it.
///
/// Each figure is below the true median with probability 1/2, so this is the largest number that
/// keeps the binomial tail within half of the allowed error.
fn outside(count: usize) -> usize {
    let mut probability = 0.5_f64.powi(i32::try_from(count).unwrap_or(i32::MAX));
    let mut below = 0.0;
    for heads in 0..count {
        below += probability;
        if below > (1.0 - CONFIDENCE) / 2.0 {
            return heads.saturating_sub(1);
        }
        probability *= ratio(count - heads, heads + 1);
    }
    0
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn ratio(count: usize, of: usize) -> f64 {
    count as f64 / of as f64
}

/// Measures both servers in each round, the first first in even rounds and last in odd ones.
async fn alternate(
    entrants: &mut Both<Entrant<'_>>,
    options: &Options,
    round: usize,
) -> anyhow::Result<()> {
    if round % 2 == 1 {
        entrants.reverse();
    }
    let measured = contest::round(entrants, options, round).await;
    if round % 2 == 1 {
        entrants.reverse();
    }
    measured
}

async fn cost(
    what: impl Into<String>,
    mut entrants: Both<Entrant<'_>>,
    options: &Options,
) -> anyhow::Result<(Pair, Both<Figures>)> {
    for round in options.rounds() {
        alternate(&mut entrants, options, round).await?;
    }
    let figures = entrants.map(|entrant| entrant.figures);
    Ok((Pair::cost(what, [&figures[0], &figures[1]]), figures))
}

fn serve(homes: &Both<Home>, settings: &Settings) -> anyhow::Result<Both<Server>> {
    Ok([homes[0].serve(settings)?, homes[1].serve(settings)?])
}

fn entrants(servers: &Both<Server>, requests: Both<Requests>) -> Both<Entrant<'_>> {
    let [ours, theirs] = requests;
    [Entrant::new("this build", &servers[0], ours), Entrant::new("the other", &servers[1], theirs)]
}

async fn homes_with_keys(
    bench: &Bench,
    other: &Path,
    algorithm: Algorithm,
) -> anyhow::Result<Both<Home>> {
    let ours = bench.home_with_keys(None, algorithm).await?;
    Ok([ours, bench.home_with_keys(Some(other), algorithm).await?])
}

async fn tokens(bench: &Bench, homes: &Both<Home>, other: &Path) -> anyhow::Result<Vec<Pair>> {
    let mut pairs = Vec::new();
    for algorithm in ALGORITHMS {
        let own;
        let homes = if algorithm == ALGORITHMS[0] {
            homes
        } else {
            own = homes_with_keys(bench, other, algorithm).await?;
            &own
        };
        let servers = serve(homes, &Settings::default())?;
        let requests = homes.each_ref().map(Home::token_requests);
        let what = format!("A token, {algorithm}");
        let (pair, figures) =
            cost(what.clone(), entrants(&servers, requests), &bench.options).await?;
        pairs.push(pair);
        if algorithm == ALGORITHMS[0] {
            let p99 = figures.map(|figures| figures.p99);
            pairs.push(Pair::new(format!("{what}, p99"), Unit::Milliseconds, p99));
        }
    }
    Ok(pairs)
}

async fn handshakes(bench: &Bench, homes: &Both<Home>) -> anyhow::Result<Vec<Pair>> {
    let certificate = Certificate::make(bench.directory())?;
    let servers = serve(homes, &Settings { tls: Some(certificate), ..Settings::default() })?;
    let requests = homes.each_ref().map(Home::token_requests);
    let entrants =
        entrants(&servers, requests).map(|entrant| entrant.over(Transport::FullHandshake));
    let what = "A token over a new full TLS 1.3 handshake";
    Ok(vec![cost(what, entrants, &bench.options).await?.0])
}

async fn introspections(bench: &Bench, homes: &Both<Home>) -> anyhow::Result<Vec<Pair>> {
    let servers = serve(homes, &Settings::default())?;
    let fresh = async |build: usize, count| {
        introspection::fresh(&homes[build], &servers[build], count).await
    };
    let seen = introspection::SEEN;
    let seen = [fresh(0, seen).await?, fresh(1, seen).await?].map(Requests::again);
    let (again, _) =
        cost("A token introspected, seen before", entrants(&servers, seen), &bench.options).await?;
    let mut entrants = entrants(&servers, [Requests::default(), Requests::default()]);
    for round in bench.options.rounds() {
        for (build, entrant) in entrants.iter_mut().enumerate() {
            let count = homes[build].clients.len() * introspection::FRESH;
            entrant.requests = Requests::once(fresh(build, count).await?);
        }
        alternate(&mut entrants, &bench.options, round).await?;
    }
    let first = entrants.each_ref().map(|entrant| &entrant.figures);
    Ok(vec![Pair::cost("A token introspected, at first sight", first), again])
}

async fn creates(bench: &Bench, other: &Path) -> anyhow::Result<Vec<Pair>> {
    let options = &bench.options;
    let mut homes = [bench.new_home("create", None)?, bench.new_home("create-other", Some(other))?];
    let servers = serve(&homes, &Settings::default())?;
    let mut tokens = Vec::new();
    for (home, server) in homes.iter_mut().zip(&servers) {
        home.init()?;
        tokens.push(home.log_in(server).await?);
    }
    let mut one = [Vec::new(), Vec::new()];
    let mut many = entrants(&servers, [Requests::default(), Requests::default()])
        .map(|entrant| entrant.with_connections(CALLERS));
    for round in options.rounds() {
        let taken = one_caller(&servers, &tokens, options.duration() * 2, round).await?;
        for (build, entrant) in many.iter_mut().enumerate() {
            entrant.requests = create::many(&tokens[build], options, round)?;
            if round > 0 {
                one[build].push(create::median_micros(&taken[build]));
            }
        }
        alternate(&mut many, options, round).await?;
    }
    let many = many.map(|entrant| entrant.figures);
    let each = |figures: &Figures| figures.rates.iter().map(|rate| 1e6 / rate).collect();
    let what = format!("A key created, {CALLERS} callers");
    Ok(vec![
        Pair::new("A key created, one caller", Unit::Microseconds, one),
        Pair::new(format!("{what}, time"), Unit::Microseconds, many.each_ref().map(each)),
        Pair::cost(format!("{what}, CPU"), many.each_ref()),
    ])
}

/// Creates keys on both servers in turn, key by key: so both meet the disk in the same state.
async fn one_caller(
    servers: &Both<Server>,
    tokens: &[String],
    duration: Duration,
    round: usize,
) -> anyhow::Result<Both<Vec<Duration>>> {
    let mut connections = [
        Connection::open(&servers[0].address).await?,
        Connection::open(&servers[1].address).await?,
    ];
    let mut taken = [Vec::new(), Vec::new()];
    let prefix = format!("one-{round}");
    let started = Instant::now();
    for number in 0.. {
        if started.elapsed() >= duration {
            break;
        }
        for turn in 0..2 {
            let build = (number + turn) % 2;
            let request = request::create(&tokens[build], &gatekey::name(&prefix, number));
            let sent = Instant::now();
            connections[build].call(&request).await?;
            taken[build].push(sent.elapsed());
        }
    }
    Ok(taken)
}

async fn lists(bench: &Bench, other: &Path) -> anyhow::Result<Vec<Pair>> {
    let mut homes = [bench.new_home("list", None)?, bench.new_home("list-other", Some(other))?];
    let servers = serve(&homes, &Settings::default())?;
    let (mut first, mut deep) = (Vec::new(), Vec::new());
    for (home, server) in homes.iter_mut().zip(&servers) {
        let pages = list::Pages::prepare(home, server, &bench.options).await?;
        first.push(pages.first);
        deep.push(pages.deep);
    }
    let mut pairs = Vec::new();
    for (what, requests) in
        [("The first page of 100 keys", first), ("A deep page of 100 keys", deep)]
    {
        let [ours, theirs] = &requests[..] else { unreachable!("there are two builds") };
        let requests = [ours.clone(), theirs.clone()];
        pairs.push(cost(what, entrants(&servers, requests), &bench.options).await?.0);
    }
    Ok(pairs)
}

async fn memory(bench: &Bench, homes: &Both<Home>, other: &Path) -> anyhow::Result<Vec<Pair>> {
    let mut empty = [bench.new_home("idle", None)?, bench.new_home("idle-other", Some(other))?];
    let (mut starts, mut idle, mut in_use) = (both(), both(), both());
    for round in bench.options.rounds() {
        for turn in 0..2 {
            let build = (round + turn) % 2;
            let took = memory::start_to_first_token(&homes[build]).await?;
            let resident_idle = memory::idle(&mut empty[build], round == 0).await?;
            let resident_in_use = memory::in_use(&homes[build]).await?.in_use;
            if round > 0 {
                starts[build].push(took.as_secs_f64() * 1e3);
                idle[build].push(resident_idle);
                in_use[build].push(resident_in_use);
            }
        }
    }
    let keys = homes[0].clients.len();
    Ok(vec![
        Pair::new("Resident, idle", Unit::Mebibytes, idle),
        Pair::new(format!("Resident, {keys} keys in use"), Unit::Mebibytes, in_use),
        Pair::new(format!("Start to first token, {keys} keys"), Unit::Milliseconds, starts),
    ])
}

fn both() -> Both<Vec<f64>> {
    [Vec::new(), Vec::new()]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tables of the sign test have these numbers.
    #[test]
    fn the_interval_follows_the_sign_test() {
        let expected = [(5, 0), (6, 0), (9, 1), (12, 2), (15, 3), (20, 5), (25, 7)];
        for (count, left_out) in expected {
            assert_eq!(outside(count), left_out, "{count} figures");
        }
    }

    #[test]
    fn a_certain_slowdown_misses_the_bar() {
        let slower: Vec<f64> = (0..15).map(|round| 1.05 + f64::from(round) / 1000.0).collect();
        assert_eq!(Interval::of_median(&slower).verdict(), "MISSED");
    }

    #[test]
    fn an_interval_around_one_meets_the_bar() {
        let noisy: Vec<f64> = (0..15).map(|round| 0.85 + f64::from(round) / 33.0).collect();
        let interval = Interval::of_median(&noisy);
        assert!(interval.median > BAR && interval.low < 1.0, "{interval}");
        assert_eq!(interval.verdict(), "met");
    }
}
