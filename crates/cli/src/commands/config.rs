//! `gatekey config`.

use gatekey_core::Env;
use gatekey_server::config::{self, TlsMode};
use gatekey_telemetry::traces;

use crate::{
    args::{Config, TraceVariables},
    certificates, exit, output,
    settings::{self, Serving, SettingFlags},
};

/// Checks a configuration, or prints the schema of a configuration file.
pub(crate) fn run(arguments: Config) -> anyhow::Result<()> {
    match arguments {
        Config::Schema => Ok(say!("{:#}", config::schema())?),
        Config::Check { settings, traces } => check(*settings, *traces),
    }
}

/// Prints the effective configuration as a configuration file, with the origin of each value. Reads
/// certificate files, and changes nothing.
fn check(flags: SettingFlags<Serving>, variables: TraceVariables) -> anyhow::Result<()> {
    variables.parse()?;
    let settings = flags.read_and_warn()?;
    let config = settings::resolve(&settings, settings.listen())?;
    if let TlsMode::Files { cert, key } = &config.tls {
        let served = certificates::read(cert, key)?;
        let now = Env::system().now();
        for problem in certificates::judge(&config).problems(&served.chain(), now) {
            let warning = output::warning_word();
            eprintln!("{warning} clients may reject {}: {problem}", cert.display());
        }
    }
    if let Some(ca_file) = config.traces.as_ref().and_then(|traces| traces.ca_file.as_ref()) {
        traces::export::authorities(ca_file)
            .map_err(|invalid| exit::usage(settings.locate(invalid.into()).to_string()))?;
    }
    if let Some(note) = config.audience_note() {
        eprintln!("note: {note}");
    }
    for warning in config.warnings() {
        eprintln!("warning: {warning}");
    }
    say!("# The configuration is valid. These are the effective settings and where each is set.")?;
    for section in config::sections() {
        say!("\n[{}]", section.name)?;
        for setting in &section.settings {
            let name = setting.name();
            match config.value(setting) {
                Some(value) => {
                    let origin = settings.origin(&setting.path).map(ToString::to_string);
                    say!("{name} = {value} # {}", origin.as_deref().unwrap_or("default"))?;
                }
                None => say!("# {name}: {}", setting.when_unset().unwrap_or("not set"))?,
            }
        }
    }
    Ok(())
}
