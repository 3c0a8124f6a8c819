//! `gatekey token`.

use crate::args::Client;

/// Prints an access token, and nothing else, on standard output.
pub(crate) async fn run(flags: Client) -> anyhow::Result<()> {
    say!("{}", super::client(&flags)?.access_token().await?)?;
    Ok(())
}
