//! Benchmarks of Gatekey: each performance goal (bar) beside a floor in the same run.
//!
//! # Layout
//! - Cases: [`tokens`], [`handshakes`], [`introspection`], [`create`], [`list`], [`memory`].
//! - [`against`]: two builds beside each other.
//! - [`contest`]: measures servers in turn, round by round, by CPU time.
//! - [`load`]: a closed loop of connections.
//! - [`process`]: servers pinned to one CPU, and their CPU time as the kernel accounts it.
//! - [`gatekey`], [`floor`], [`peers`]: the servers; [`certificate`]: their TLS certificate.
//! - [`request`]: the HTTP requests.
//! - [`report`], [`page`], [`plot`], [`machine`]: the table, and docs/performance.md.

#![expect(clippy::print_stdout, reason = "figures are printed")]

mod against;
mod certificate;
mod contest;
mod create;
mod floor;
mod gatekey;
mod handshakes;
mod introspection;
mod list;
mod load;
mod machine;
mod memory;
mod page;
mod peers;
mod plot;
mod process;
mod report;
mod request;
mod tokens;

use std::{
    num::{NonZeroU64, NonZeroUsize},
    path::PathBuf,
    time::Duration,
};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use gatekey_credentials::jwt::Algorithm;

use crate::{gatekey::Bench, report::Section};

/// Signature algorithms of tokens; the first is Gatekey's default.
const ALGORITHMS: [Algorithm; 3] = [Algorithm::ES256, Algorithm::EdDSA, Algorithm::RS256];

/// Measure Gatekey beside floors in the same run.
#[derive(Parser)]
#[command(bin_name = "bench/run", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    served: Option<Served>,
    #[command(flatten)]
    options: Options,
}

#[derive(Subcommand)]
enum Served {
    /// Serve as a floor until killed
    #[command(hide = true)]
    Floor(floor::Work),
}

#[derive(Args)]
struct Options {
    /// Case to measure [default: all]
    case: Option<Case>,
    /// Number of keys [default: 20,000; 100,000 for `list`]
    #[arg(long)]
    keys: Option<NonZeroUsize>,
    /// Seconds per round
    #[arg(long, default_value = "4")]
    seconds: NonZeroU64,
    /// Rounds, each measuring every server once, after one that warms up
    #[arg(long, default_value = "5")]
    rounds: NonZeroUsize,
    /// Concurrent connections
    #[arg(long, default_value = "16")]
    connections: NonZeroUsize,
    /// Write docs/performance.md and its plots
    #[arg(long, conflicts_with = "case")]
    write: bool,
    /// Date on the page [default: the date of the commit]
    #[arg(long, requires = "write")]
    date: Option<String>,
    /// Directory of the page and its plots
    #[arg(long, default_value = "docs", hide = true)]
    docs: PathBuf,
    /// Another build of Gatekey to compare with, instead of floors and peers
    #[arg(long, value_name = "PROGRAM", conflicts_with = "write")]
    against: Option<PathBuf>,
    /// Directory of the peers
    #[arg(long, default_value = "bench/peers", hide = true)]
    peers: PathBuf,
}

impl Options {
    fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds.get())
    }

    /// The number of keys, or a default.
    fn keys_or(&self, default: usize) -> usize {
        self.keys.map_or(default, NonZeroUsize::get)
    }

    /// The number of keys for every case but `list`.
    fn keys(&self) -> usize {
        self.keys_or(20_000)
    }

    /// Round 0, which warms up, and the rounds that count.
    fn rounds(&self) -> impl Iterator<Item = usize> + use<> {
        0..=self.rounds.get()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Case {
    /// Tokens over keep-alive connections
    Tokens,
    /// Tokens over new TLS connections
    Handshakes,
    /// Introspection of new tokens and of tokens seen before
    Introspection,
    /// Durable key creation
    Create,
    /// Pages of keys, first and deep
    List,
    /// Memory, and time from start to first token
    Memory,
}

impl Case {
    /// As the command line names it.
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    async fn measure(self, bench: &Bench) -> anyhow::Result<Section> {
        match self {
            Self::Tokens => tokens::measure(bench).await,
            Self::Handshakes => handshakes::measure(bench).await,
            Self::Introspection => introspection::measure(bench).await,
            Self::Create => create::measure(bench).await,
            Self::List => list::measure(bench).await,
            Self::Memory => memory::measure(bench).await,
        }
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(Served::Floor(work)) = arguments.served {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        return runtime.block_on(floor::run(work));
    }
    process::pin_self(process::GENERATOR_CPU)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(arguments.options))
}

async fn measure(options: Options) -> anyhow::Result<()> {
    let bench = Bench::new(options)?;
    let cases = bench.options.case.map_or_else(|| Case::value_variants().to_vec(), |case| vec![case]);
    if let Some(other) = &bench.options.against {
        let pairs = against::measure(&bench, other, &cases).await?;
        println!("\n{}", against::table(&pairs));
        return Ok(());
    }
    let mut sections = Vec::new();
    for case in cases {
        eprint_progress(&case.name());
        let section = case.measure(&bench).await.with_context(|| format!("{} failed", case.name()))?;
        // Printed at once, so that it is not lost when a later case fails.
        println!("\n{}\n\n{}", section.title, section.paragraphs().join("\n\n"));
        sections.push(section);
    }
    println!("\n{}", report::bars(&sections));
    if let Some(disturbance) = report::disturbance(&sections) {
        println!("\n{disturbance}");
    }
    if bench.options.write {
        page::write(&sections, &bench.options)?;
    }
    Ok(())
}

#[expect(clippy::print_stderr, reason = "progress goes to standard error")]
fn eprint_progress(name: &str) {
    eprintln!("measuring {name} ...");
}
