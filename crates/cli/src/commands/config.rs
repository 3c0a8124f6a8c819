//! `gatekey config`.

use gatekey_server::{
    config::{DEFAULT_SERVICE_NAME, Settings, TlsMode},
    telemetry::traces,
};

use crate::{
    args::{self, Config},
    exit, running,
};

/// Checks a configuration, or tells what it may be.
pub(crate) fn run(arguments: Config) -> anyhow::Result<()> {
    match arguments {
        Config::Schema => Ok(say!("{:#}", Settings::schema())?),
        Config::Check { settings, otlp } => check(*settings, *otlp),
    }
}

/// Tells what follows from flags and file. Reads certificate files, and touches nothing.
fn check(settings: args::Settings, otlp: args::Otlp) -> anyhow::Result<()> {
    let (otlp, _variables) = super::otlp(otlp)?;
    let settings = otlp.or(super::settings(settings)?);
    let listen = settings.listen();
    let root_key_file = settings.root_key_file.clone();
    let config = running::resolve(settings, listen)?;
    if let TlsMode::Files { cert, key } = &config.tls {
        running::certificate(cert, key)?;
    }
    if let Some(ca_file) = config.traces.as_ref().and_then(|traces| traces.ca_file.as_ref()) {
        traces::export::authorities(ca_file).map_err(|broken| exit::usage(broken.to_string()))?;
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
    let max_age = config.signing_key_max_age.map_or("never".to_owned(), |age| age.as_secs().to_string());
    say!("signing_key_max_age_seconds        {max_age}")?;
    say!("audiences                          {}", config.audiences.join(" "))?;
    say!("authorization_metadata_key         {}", config.authorization_metadata_key)?;
    say!("failed_authentications_per_minute  {}", config.failed_authentications_per_minute)?;
    say!("trusted_proxies                    {}", proxies.join(" "))?;
    say!("root_key_file                      {root_key_file}")?;
    let admin_listen =
        config.admin_listen.map_or_else(|| "nowhere".to_owned(), |address| address.to_string());
    say!("admin_listen                       {admin_listen}")?;
    let Some(traces) = config.traces else {
        say!("otlp_traces_endpoint               nowhere")?;
        return Ok(());
    };
    let ca_file =
        traces.ca_file.map_or_else(|| "the system's alone".to_owned(), |path| path.display().to_string());
    say!("otlp_traces_endpoint               {}", traces.endpoint)?;
    say!("otlp_ca_file                       {ca_file}")?;
    say!(
        "otlp_service_name                  {}",
        traces.service_name.as_deref().unwrap_or(DEFAULT_SERVICE_NAME)
    )?;
    say!("otlp_trace_ratio                   {}", traces.ratio)?;
    Ok(())
}
