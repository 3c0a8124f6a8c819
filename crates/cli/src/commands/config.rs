//! `gatekey config`.

use gatekey_core::Env;
use gatekey_server::config::{self, TlsMode};
use serde_json::{Value, json};
use tracing::level_filters::LevelFilter;

use crate::{
    args::{Config, Format},
    certificates, logging, output,
    root_key_file::{self, RootKeyPath},
    settings::{self, Serving, SettingFlags},
    trace_variables,
};

/// Checks a configuration, or prints the schema of a configuration file.
pub(crate) fn run(arguments: Config) -> anyhow::Result<()> {
    match arguments {
        Config::Schema => Ok(say!("{:#}", config::schema())?),
        Config::Check { settings, output } => check(*settings, output.output),
    }
}

/// Prints the effective configuration as a configuration file, with the origin of each value. Reads
/// certificate files, and changes nothing.
fn check(flags: SettingFlags<Serving>, format: Format) -> anyhow::Result<()> {
    // The same warnings about files as of `gatekey serve`.
    let _logging = logging::start_plain(LevelFilter::WARN);
    let (variables, mut ignored) = trace_variables::read();
    let settings = flags.read_and_warn()?;
    let mut config = settings::resolve(&settings, settings.listen())?;
    if let TlsMode::Files { cert, key } = &config.tls {
        let served = certificates::read(cert, key)?;
        let now = Env::system().now();
        for problem in certificates::judge(&config).problems(&served.chain(), now) {
            let warning = output::warning_word();
            eprintln!("{warning} clients may reject {}: {problem}", cert.display());
        }
    }
    if let Some(root_key_file) = settings.root_key_file() {
        root_key_file::open(&RootKeyPath::Named(root_key_file))?;
    }
    if let Some(traces) = &mut config.traces {
        ignored.extend(trace_variables::check_authorities(&settings, traces)?);
        if let Some(variable) = variables.disabled_by {
            eprintln!("{} {variable} disables traces", output::warning_word());
        }
    }
    for ignored in ignored {
        eprintln!("{} {ignored}; it is ignored", output::warning_word());
    }
    if let Some(note) = config.audience_note() {
        eprintln!("note: {note}");
    }
    for warning in config.warnings() {
        eprintln!("warning: {warning}");
    }
    if let Some(notation) = format.notation() {
        let effective = config::settings().map(|setting| {
            let origin = settings.origin(&setting.path).map(ToString::to_string);
            json!({
                "setting": setting.path,
                "value": config.value(setting),
                "origin": origin.as_deref().unwrap_or("default"),
            })
        });
        return notation.print(&effective.collect::<Value>());
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
    say!("\n# ok: the configuration is valid")?;
    Ok(())
}
