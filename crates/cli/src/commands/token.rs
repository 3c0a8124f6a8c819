//! `gatekey token`.

use crate::{args::Client, client};

/// Prints an access token, and nothing else, on standard output.
pub(crate) async fn run(flags: Client) -> anyhow::Result<()> {
    say!("{}", client::from_flags(&flags)?.access_token().await?)?;
    Ok(())
}
