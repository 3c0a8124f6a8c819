//! `gatekey`: the server and the command line in one binary.
//!
//! # Layout
//! - [`args`]: the flags. [`commands`]: one file a command.
//! - [`administration`]: of a data directory, by its server or directly. [`data_dir`]: what lies in a data directory, and the lock on it.
//! - [`running`]: the composition root: store, application, certificates, sockets.
//! - [`process`]: what the process asks of the operating system for itself.
//! - [`output`]: for people on a terminal, and for programs. [`exit`]: what the exit codes mean.

#![expect(clippy::print_stderr, reason = "a command line prints")]

/// Prints a line to standard output; fails, rather than panics, when nobody reads any more.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        writeln!(std::io::stdout(), $($text)*)
    }};
}

mod administration;
mod args;
mod clock;
mod commands;
mod control_client;
mod data_dir;
mod exit;
mod logging;
mod output;
mod process;
#[cfg(test)]
mod reference;
mod running;

use clap::Parser as _;

fn main() -> std::process::ExitCode {
    // Before there is a secret in memory.
    if let Err(error) = process::forbid_dumps() {
        eprintln!("warning: a core dump would hold secrets, and cannot be forbidden: {error}");
    }
    logging::report_panics();
    let arguments = args::Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the runtime cannot start: {error}");
            return exit::FAILURE.into();
        }
    };
    match runtime.block_on(commands::run(arguments)) {
        Ok(()) => exit::SUCCESS.into(),
        // Whoever reads has had enough, as `head` does; that is no failure.
        Err(error) if output::nobody_reads(&error) => exit::SUCCESS.into(),
        Err(error) => {
            output::print_error(&error);
            exit::code(&error).into()
        }
    }
}
