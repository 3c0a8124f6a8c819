//! `[log]`: the format of the log.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The log, which is written to standard error.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// Format of the log.
    #[schemars(extend("x-flag" = "--log-format", "x-value" = "FORMAT"))]
    pub format: LogFormat,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise
    #[default]
    Auto,
    /// Text
    Text,
    /// One JSON object per line
    Json,
}
