//! `gatekey config check`.

use gatekey_server::config::TlsMode;

use crate::{args::Config, running};

/// Tells what follows from flags and file. Reads certificate files, and touches nothing.
pub(crate) fn run(arguments: Config) -> anyhow::Result<()> {
    let Config::Check { settings } = arguments;
    let settings = super::settings(settings)?;
    let listen = settings.listen();
    let root_key_file = settings.root_key_file.clone();
    let config = running::resolve(settings, listen)?;
    if let TlsMode::Files { cert, key } = &config.tls {
        running::certificate(cert, key)?;
    }
    let proxies: Vec<_> = config.trusted_proxies.iter().map(ToString::to_string).collect();
    let root_key_file = root_key_file
        .map_or_else(|| "root.key in the data directory".to_owned(), |path| path.display().to_string());
    say!("listen                             {}", config.listen)?;
    say!("public_url                         {}", config.issuer())?;
    say!("tls                                {:?}", config.tls)?;
    say!("organization                       {:?}", config.organization)?;
    say!("token_lifetime_seconds             {}", config.token_lifetime.as_secs())?;
    say!("signing_algorithm                  {}", config.signing_algorithm)?;
    say!("audiences                          {}", config.audiences.join(" "))?;
    say!("authorization_metadata_key         {}", config.authorization_metadata_key)?;
    say!("failed_authentications_per_minute  {}", config.failed_authentications_per_minute)?;
    say!("trusted_proxies                    {}", proxies.join(" "))?;
    say!("root_key_file                      {root_key_file}")?;
    let admin_listen =
        config.admin_listen.map_or_else(|| "nowhere".to_owned(), |address| address.to_string());
    say!("admin_listen                       {admin_listen}")?;
    Ok(())
}
