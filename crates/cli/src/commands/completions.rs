//! `gatekey completions`.

use crate::args;

pub(crate) fn run(shell: clap_complete::Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::command(), "gatekey", &mut script);
    say!("{}", String::from_utf8_lossy(&script).trim_end())?;
    Ok(())
}
