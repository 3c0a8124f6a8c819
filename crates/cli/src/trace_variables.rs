//! OpenTelemetry's environment variables.

use gatekey_outbound::Proxies;
use gatekey_server::config::{Origin, Settings};
use gatekey_telemetry::traces::{
    config::Config,
    export,
    variables::{Ignored, Variables},
};

use crate::exit;

/// Reads the variables that are not settings, and returns those that are ignored.
pub(crate) fn read() -> (Variables, Vec<Ignored>) {
    #[expect(clippy::disallowed_methods, reason = "the command line reads the environment")]
    let get = |name: &str| std::env::var_os(name);
    let (mut variables, ignored) = Variables::read(get);
    variables.proxies = Proxies::from_variables(&|name| get(name)?.into_string().ok());
    (variables, ignored)
}

/// Checks the CA certificates for the collector. A variable that names no usable file is ignored.
///
/// # Errors
/// When a flag or the file names no usable one.
pub(crate) fn check_authorities(
    settings: &Settings,
    config: &mut Config,
) -> anyhow::Result<Option<Ignored>> {
    let Some(Err(invalid)) = config.ca_file.as_deref().map(export::authorities) else {
        return Ok(None);
    };
    let invalid = settings.locate(invalid.into());
    match invalid.origin {
        Some(Origin::Variable(variable)) => {
            config.ca_file = None;
            Ok(Some(Ignored { variable, rule: invalid.rule }))
        }
        Some(_) | None => Err(exit::usage(invalid.to_string())),
    }
}
