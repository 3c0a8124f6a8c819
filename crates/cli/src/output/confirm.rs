//! Questions before something is destroyed.

use std::io::{self, IsTerminal as _, Write as _, stderr, stdin};

use super::text::{printable, warning_word};
use crate::exit;

/// Asks on a terminal whether to go on. Scripts, which have no terminal, are not asked.
///
/// # Errors
/// When the answer is anything but yes.
pub(crate) fn confirm(consequence: &str, yes: bool) -> anyhow::Result<()> {
    if yes || !stdin().is_terminal() || !stderr().is_terminal() {
        return Ok(());
    }
    let _ = write!(stderr(), "{} {}. Continue? [y/N] ", warning_word(), printable(consequence));
    let _ = stderr().flush();
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    if matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(exit::Coded { code: exit::FAILURE, message: "cancelled; nothing was changed".to_owned() }
        .into())
}
