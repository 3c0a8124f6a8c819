//! Where log lines go: standard error, as text for people or JSON for programs.

use std::io::{IsTerminal as _, stderr};

use tracing_subscriber::{EnvFilter, fmt};

use crate::args::LogFormat;

/// Starts logging. The filter is that of `GATEKEY_LOG`, by default `info`.
pub(crate) fn start(format: LogFormat, default_level: &str) {
    let filter = EnvFilter::try_from_env("GATEKEY_LOG").unwrap_or_else(|_| EnvFilter::new(default_level));
    let builder = fmt().with_env_filter(filter).with_writer(stderr);
    let text = match format {
        LogFormat::Auto => stderr().is_terminal(),
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    // A second start, in a test of the whole, changes nothing.
    let _ = if text {
        builder.with_ansi(stderr().is_terminal()).try_init()
    } else {
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    };
}
