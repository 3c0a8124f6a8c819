//! The arguments of a measurement.

use std::{
    num::{NonZeroU64, NonZeroUsize},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, ValueEnum};
use gatekey_credentials::jwt::Algorithm;

/// Signature algorithms of tokens; the first is Gatekey's default.
pub(crate) const ALGORITHMS: [Algorithm; 3] =
    [Algorithm::ES256, Algorithm::EdDSA, Algorithm::RS256];

#[derive(Args)]
pub(crate) struct Options {
    /// Case to measure [default: all]
    pub(crate) case: Option<Case>,
    /// Number of keys [default: 20,000; 100,000 for `list`]
    #[arg(long)]
    pub(crate) keys: Option<NonZeroUsize>,
    /// Seconds per round
    #[arg(long, default_value = "4")]
    pub(crate) seconds: NonZeroU64,
    /// Rounds, each measuring every server once, after one that warms up
    #[arg(long, default_value = "5")]
    pub(crate) rounds: NonZeroUsize,
    /// Concurrent connections
    #[arg(long, default_value = "16")]
    pub(crate) connections: NonZeroUsize,
    /// Write docs/performance.md and its plots
    #[arg(long, conflicts_with = "case")]
    pub(crate) write: bool,
    /// Date on the page [default: the date of the commit]
    #[arg(long, requires = "write")]
    pub(crate) date: Option<String>,
    /// Directory of the page and its plots
    #[arg(long, default_value = "docs", hide = true)]
    pub(crate) docs: PathBuf,
    /// Another build of Gatekey to compare with, instead of floors and peers
    #[arg(long, value_name = "PROGRAM", conflicts_with = "write")]
    pub(crate) against: Option<PathBuf>,
    /// Directory of the peers
    #[arg(long, default_value = "bench/peers", hide = true)]
    pub(crate) peers: PathBuf,
    /// Virtual environment with the proxies of tests/proxy/requirements.txt
    #[arg(long, default_value = ".venvs/proxies", hide = true)]
    pub(crate) proxies: PathBuf,
}

impl Options {
    pub(crate) fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds.get())
    }

    /// The number of keys, or a default.
    pub(crate) fn keys_or(&self, default: usize) -> usize {
        self.keys.map_or(default, NonZeroUsize::get)
    }

    /// The number of keys for every case but `list`.
    pub(crate) fn keys(&self) -> usize {
        self.keys_or(20_000)
    }

    /// Round 0, which warms up, and the rounds that count.
    pub(crate) fn rounds(&self) -> impl Iterator<Item = usize> + use<> {
        0..=self.rounds.get()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Case {
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
    /// Calls through the gate, and its decisions for other proxies
    Gate,
}

impl Case {
    /// As the command line names it.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

#[expect(clippy::print_stderr, reason = "progress goes to standard error")]
pub(crate) fn eprint_progress(name: &str) {
    eprintln!("measuring {name} ...");
}
