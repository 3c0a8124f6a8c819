//! `gatekey completions`.

use clap::CommandFactory as _;

use crate::args::Arguments;

/// Prints a script for a shell.
pub(crate) fn run(shell: clap_complete::Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "gatekey", &mut script);
    say!("{}", String::from_utf8_lossy(&script).trim_end())?;
    Ok(())
}
