//! `gatekey config check`.

use crate::{args::Config, running};

/// Tells what follows from flags and file. Touches nothing.
pub(crate) fn run(arguments: Config) -> anyhow::Result<()> {
    let Config::Check { settings } = arguments;
    let settings = super::settings(settings)?;
    let listen = settings.listen();
    let config = running::resolve(settings, listen)?;
    println!("listen                      {}", config.listen);
    println!("public_url                  {}", config.issuer());
    println!("tls                         {:?}", config.tls);
    println!("organization                {:?}", config.organization);
    println!("token_lifetime_seconds      {}", config.token_lifetime.as_secs());
    println!("signing_algorithm           {}", config.signing_algorithm);
    println!("audiences                   {}", config.audiences.join(" "));
    println!("authorization_metadata_key  {}", config.authorization_metadata_key);
    Ok(())
}
