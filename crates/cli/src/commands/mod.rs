//! One file per command.

use crate::args::{Arguments, Command};

mod backup;
mod ca;
mod completions;
mod config;
mod doctor;
mod gate;
mod init;
mod key;
mod ledger;
mod quickstart;
mod restore;
mod root_key;
mod serve;
mod signing_key;
mod token;
mod whoami;

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.command {
        Command::Quickstart(arguments) => Box::pin(quickstart::run(arguments)).await,
        Command::Serve(arguments) => serve::run(arguments).await,
        Command::Init(arguments) => init::run(arguments).await,
        Command::Ca(arguments) => ca::run(arguments),
        Command::Key(arguments) => key::run(arguments).await,
        Command::Token { client, output } => token::run(client, output.output).await,
        Command::Whoami { client, output } => whoami::run(client, output.output).await,
        Command::Config(arguments) => config::run(arguments),
        Command::Gate(arguments) => gate::run(arguments).await,
        Command::SigningKey(arguments) => signing_key::run(arguments).await,
        Command::Completions { shell } => completions::run(shell),
        Command::Doctor(arguments) => doctor::run(*arguments).await,
        Command::Backup(arguments) => backup::run(arguments).await,
        Command::Restore(arguments) => restore::run(arguments).await,
        Command::RootKey(arguments) => root_key::run(arguments).await,
        Command::Ledger(arguments) => ledger::run(arguments).await,
    }
}
