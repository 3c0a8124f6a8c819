//! Benchmarks of Gatekey: each performance goal (bar) beside a floor in the same run.
//!
//! # Layout
//! - Cases: [`tokens`], [`handshakes`], [`introspection`], [`create`], [`list`], [`memory`],
//!   [`gate`].
//! - [`against`]: two builds beside each other.
//! - [`contest`]: measures servers in turn, round by round, by CPU time.
//! - [`load`]: a closed loop of connections; [`grpc_connection`]: those with gRPC.
//! - [`process`]: servers pinned to one CPU, and their CPU time as the kernel accounts it.
//! - [`gatekey`], [`floor`], [`forwarder`], [`nginx`], [`proxies`], [`peers`]: the servers;
//!   [`certificate`]: their TLS certificate. [`upstream`]: where proxies lead. [`streams`]: long
//!   bodies and open streams through the gate.
//! - [`request`]: the HTTP requests.
//! - [`options`]: the arguments. [`report`], [`page`], [`plot`], [`unit`](mod@unit), [`machine`]:
//!   the table, and docs/performance.md.

#![expect(clippy::print_stdout, reason = "figures are printed")]

mod against;
mod certificate;
mod contest;
mod create;
mod floor;
mod forwarder;
mod gate;
mod gatekey;
mod grpc_connection;
mod handshakes;
mod introspection;
mod list;
mod load;
mod machine;
mod memory;
mod nginx;
mod options;
mod page;
mod peers;
mod plot;
mod process;
mod proxies;
mod report;
mod request;
mod streams;
mod tokens;
mod unit;
mod upstream;

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum as _};

use crate::{
    gatekey::Bench,
    options::{Case, Options, eprint_progress},
    report::Section,
};

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
    /// Forward to an upstream until killed
    #[command(hide = true)]
    Forwarder(forwarder::Upstream),
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(served) = arguments.served {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        return runtime.block_on(async {
            match served {
                Served::Floor(work) => floor::run(work).await,
                Served::Forwarder(upstream) => forwarder::run(upstream).await,
            }
        });
    }
    process::pin_self(process::GENERATOR_CPU)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(arguments.options))
}

async fn measure(options: Options) -> anyhow::Result<()> {
    let bench = Bench::new(options)?;
    let cases =
        bench.options.case.map_or_else(|| Case::value_variants().to_vec(), |case| vec![case]);
    if let Some(other) = &bench.options.against {
        let pairs = against::measure(&bench, other, &cases).await?;
        println!("\n{}", against::table(&pairs));
        return Ok(());
    }
    let mut sections = Vec::new();
    for case in cases {
        eprint_progress(&case.name());
        let section =
            measure_case(case, &bench).await.with_context(|| format!("{} failed", case.name()))?;
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

async fn measure_case(case: Case, bench: &Bench) -> anyhow::Result<Section> {
    match case {
        Case::Tokens => tokens::measure(bench).await,
        Case::Handshakes => handshakes::measure(bench).await,
        Case::Introspection => introspection::measure(bench).await,
        Case::Create => create::measure(bench).await,
        Case::List => list::measure(bench).await,
        Case::Memory => memory::measure(bench).await,
        Case::Gate => gate::measure(bench).await,
    }
}
