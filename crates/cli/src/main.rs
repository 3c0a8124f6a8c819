//! `gatekey`: the server and the command line in one binary.
//!
//! # Layout
//! - [`args`]: arguments and flags. [`settings`]: the flags that are settings of a server.
//!   [`trace_variables`]: OpenTelemetry's environment.
//! - [`commands`]: one file per command.
//! - [`client`]: the client of the commands that talk to a server.
//! - [`administration`]: operations on a data directory, by its server or in this process.
//! - [`instance`]: the composition root, which opens a data directory. [`running_server`]: its
//!   sockets and background work. [`certificates`], [`control_socket`], [`last_start`]: parts of
//!   both.
//! - [`data_dir`]: a data directory and its lock. [`root_key_file`]: the root key in its file.
//!   [`atomic_file`]: files that are written whole or not at all. [`trusted`]: whose files are
//!   used.
//! - [`process`]: the operating system's view of this process. [`logging`]: log lines.
//! - [`output`]: text, JSON and YAML on standard output, and errors. [`exit`]: exit codes.

#![expect(clippy::print_stderr, reason = "a command line prints")]

/// Prints a line to standard output. Fails, where `println!` would panic, when the reader is gone.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        writeln!(crate::output::stdout(), $($text)*)
    }};
}

mod administration;
mod args;
mod atomic_file;
mod certificates;
mod client;
mod clock;
mod commands;
mod control_socket;
mod data_dir;
mod database;
mod exit;
mod instance;
mod last_start;
mod logging;
mod output;
mod process;
#[cfg(test)]
mod reference;
mod root_key_file;
mod running_server;
mod settings;
mod trace_variables;
mod trusted;

fn main() -> std::process::ExitCode {
    // Before there is a secret in memory.
    if let Err(error) = process::forbid_dumps() {
        eprintln!("warning: cannot disable core dumps, which would contain secrets: {error}");
    }
    logging::report_panics();
    let arguments = args::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start the async runtime: {error}");
            return exit::FAILURE.into();
        }
    };
    match runtime.block_on(commands::run(arguments)) {
        Ok(()) => exit::SUCCESS.into(),
        // A reader such as `head` may stop early; that is not a failure.
        Err(error) if output::is_closed_pipe(&error) => exit::SUCCESS.into(),
        Err(error) => {
            output::print_error(&error);
            exit::code(&error).into()
        }
    }
}
