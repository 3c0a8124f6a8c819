//! Benchmarks of Gatekey: a real server beside a floor in the same run, ratios printed.
//!
//! # Layout
//! - [`tokens`]: `client_credentials` against a floor that signs once.
//! - [`floor`]: servers of the same HTTP stack whose handlers do only the named work.
//! - [`load`]: a closed loop of keep-alive connections.
//! - [`process`]: servers pinned to one processor, and what they cost by the kernel's account.

#![expect(clippy::print_stdout, reason = "figures are printed")]

mod floor;
mod load;
mod process;
mod tokens;

use clap::{Parser, Subcommand};

/// Measures Gatekey beside floors in the same run.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// `client_credentials` to ES256 JWT over plain keep-alive
    Tokens(tokens::Tokens),
    /// Serves as a floor, until killed
    #[command(hide = true)]
    Floor {
        /// Bytes of the answer's body
        #[arg(long)]
        body: usize,
        /// Signatures a request
        #[arg(long)]
        signatures: usize,
    },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Tokens(arguments) => {
            process::pin_self(process::GENERATOR_CPU)?;
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?
                .block_on(tokens::run(arguments))
        }
        Command::Floor { body, signatures } => tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?
            .block_on(floor::run(body, signatures)),
    }
}
