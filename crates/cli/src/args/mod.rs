//! Arguments and flags. A file per group of commands; the settings of a server are in
//! [`crate::settings`].

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

mod connection;
mod data_dir;
mod doctor;
mod gate;
mod help;
mod key;
mod output;
mod server;
mod value;

pub(crate) use self::{
    connection::Client,
    data_dir::{Backup, DataDir, Ledger, Restore, RootKeys, SigningKey},
    doctor::{Check, Doctor, PythonCheck, ServerCheck, StoreCheck},
    gate::Gate,
    key::{Key, OneKey},
    output::{Format, Output},
    server::{Ca, Config, Init, Quickstart, Serve},
    value::TimeOrAge,
};

/// API keys for the Flyte you host yourself
#[derive(Debug, Parser)]
#[command(name = "gatekey", version, max_term_width = 100)]
#[command(after_help = help::overview(), after_long_help = help::long_overview())]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Returns the definition of the command line.
pub(crate) fn command() -> clap::Command {
    help::with_groups(Arguments::command())
}

/// Parses the process's arguments. Prints help or an error and exits if necessary.
pub(crate) fn parse() -> Arguments {
    let parsed = Arguments::from_arg_matches(&command().get_matches());
    parsed.unwrap_or_else(|error| error.format(&mut command()).exit())
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Try Gatekey: start a local server, create a key and use it
    ///
    /// Prints each step, and then lines to paste for Flyte's tools. It can be run again on the same
    /// data directory.
    #[command(after_help = help::examples(&[
        "gatekey quickstart",
        "gatekey quickstart --once --data-dir demo",
    ]))]
    Quickstart(Quickstart),
    /// Run the server until SIGTERM or SIGINT
    #[command(after_help = help::examples(&[
        "gatekey serve",
        "gatekey serve --config gatekey.toml --data-dir /var/lib/gatekey",
        "gatekey serve --listen 0.0.0.0:443 --public-url https://keys.example.com",
    ]))]
    Serve(Serve),
    /// Create an admin key, or give a lost one a new secret
    ///
    /// Works whether or not the server runs. Before the first start, use the same flags or
    /// --config as for `gatekey serve`: the key contains the server's address.
    #[command(after_help = help::examples(&[
        "gatekey init --data-dir /var/lib/gatekey",
        "gatekey init --rotate --output env",
    ]))]
    Init(Init),
    /// Print the certificate that clients of this server must trust
    ///
    /// It is the certificate of the private CA, in PEM format, and contains nothing secret: copy it
    /// to the clients, and name it there with --ca-file or `GATEKEY_CA_FILE`.
    #[command(after_help = help::examples(&[
        "gatekey ca --data-dir /var/lib/gatekey > ca.pem",
        "gatekey ca --bundle > ca-bundle.pem",
    ]))]
    Ca(Ca),
    /// Create, list, change, rotate and delete API keys
    #[command(subcommand, after_help = help::client_examples(&[
        "gatekey key create ci-pipeline --expires-in 90d",
        "gatekey key rotate ci-pipeline --grace 24h",
        "gatekey key list",
    ]))]
    Key(Key),
    /// Print an access token
    #[command(after_help = help::client_examples(&[
        "gatekey token",
        "gatekey token --endpoint keys.example.com --output json",
    ]))]
    Token {
        #[command(flatten)]
        client: Client,
        #[command(flatten)]
        output: Output,
    },
    /// Show the current identity, and the server
    #[command(after_help = help::client_examples(&["gatekey whoami", "gatekey whoami --output json"]))]
    Whoami {
        #[command(flatten)]
        client: Client,
        #[command(flatten)]
        output: Output,
    },
    /// Check a configuration, or print the schema of its file
    #[command(subcommand, after_help = help::examples(&[
        "gatekey config check --config gatekey.toml",
        "gatekey config schema",
    ]))]
    Config(Config),
    /// Print the rules of the gate, or explain a decision of it
    #[command(subcommand, after_help = help::examples(&[
        "gatekey gate rules --config gatekey.toml",
        "gatekey gate explain GET /api/v1/projects --as ci-pipeline",
    ]))]
    Gate(Gate),
    /// Rotate, list and retire the keys that sign tokens
    #[command(subcommand, after_help = help::examples(&["gatekey signing-key list", "gatekey signing-key rotate"]))]
    SigningKey(SigningKey),
    /// Rotate, list and retire versions of the root key
    ///
    /// The root key is kept in a file outside the database. It decrypts the signing keys in the
    /// database, and secrets are hashed with it.
    #[command(subcommand, after_help = help::examples(&["gatekey root-key list", "gatekey root-key rotate"]))]
    RootKey(RootKeys),
    /// List, follow, verify and export the record of changes
    ///
    /// Every change, and every refused call of a known key, is an entry. Entries are chained, so
    /// that a changed or removed entry is detected.
    #[command(subcommand, after_help = help::examples(&[
        "gatekey ledger list --key ci-pipeline --since 24h",
        "gatekey ledger verify",
        "gatekey ledger export ledger.jsonl",
        "gatekey ledger archive old.archive --before 90d",
    ]))]
    Ledger(Ledger),
    /// Find out why a connection, a key or a data directory fails
    #[command(after_help = help::examples(&[
        "gatekey doctor https://keys.example.com",
        "gatekey doctor --data-dir /var/lib/gatekey",
        "gatekey doctor python",
    ]))]
    Doctor(Box<Doctor>),
    /// Print a script for command completion in a shell
    #[command(after_help = help::examples(&[
        "gatekey completions bash > /etc/bash_completion.d/gatekey",
        "gatekey completions fish > ~/.config/fish/completions/gatekey.fish",
    ]))]
    Completions {
        /// Shell that runs the script
        shell: clap_complete::Shell,
    },
    /// Write a backup, also while the server runs
    ///
    /// The root key is not part of a backup, and is needed to restore it.
    #[command(after_help = help::examples(&[
        "gatekey backup keys.backup",
        "gatekey backup keys.backup --passphrase-file passphrase.txt",
    ]))]
    Backup(Backup),
    /// Restore a backup into a new data directory
    ///
    /// All tokens that were issued before are revoked there.
    #[command(after_help = help::examples(&[
        "gatekey restore keys.backup --data-dir new --root-key-file root.key",
        "gatekey restore keys.backup --data-dir new --compare old",
    ]))]
    Restore(Restore),
}
