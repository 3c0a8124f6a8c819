//! `gatekey config check`.

use crate::{args::Config, running};

/// Tells what follows from flags and file. Touches nothing.
pub(crate) fn run(arguments: Config) -> anyhow::Result<()> {
    let Config::Check { settings } = arguments;
    let settings = super::settings(settings)?;
    let listen = settings.listen();
    let config = running::resolve(settings, listen)?;
    say!("listen                      {}", config.listen)?;
    say!("public_url                  {}", config.issuer())?;
    say!("tls                         {:?}", config.tls)?;
    say!("organization                {:?}", config.organization)?;
    say!("token_lifetime_seconds      {}", config.token_lifetime.as_secs())?;
    say!("signing_algorithm           {}", config.signing_algorithm)?;
    say!("audiences                   {}", config.audiences.join(" "))?;
    say!("authorization_metadata_key  {}", config.authorization_metadata_key)?;
    Ok(())
}
