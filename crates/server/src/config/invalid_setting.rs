//! [`InvalidSetting`]: an error, with the place where the value was set.

use std::{fmt, path::Path, sync::Arc};

/// Where a value was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// In the configuration file.
    File { path: Arc<Path>, line: usize },
    /// By a flag, such as `--listen`.
    Flag(&'static str),
    /// By an environment variable.
    Variable(&'static str),
    /// Saved by the last start of the server on the same data directory.
    LastStart,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(formatter, "{}, line {line}", path.display()),
            Self::Flag(name) | Self::Variable(name) => formatter.write_str(name),
            Self::LastStart => formatter.write_str("the server's last start"),
        }
    }
}

/// A setting with a value that it cannot have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{setting} {rule}", self.prefix())]
pub struct InvalidSetting {
    /// Path of the setting, such as `server.listen`.
    pub setting: String,
    /// The rule, which follows the path in a sentence.
    pub rule: String,
    pub origin: Option<Origin>,
}

impl InvalidSetting {
    pub fn new(setting: impl Into<String>, rule: impl Into<String>) -> Self {
        Self { setting: setting.into(), rule: rule.into(), origin: None }
    }

    fn prefix(&self) -> String {
        self.origin.as_ref().map(|origin| format!("{origin}: ")).unwrap_or_default()
    }
}

/// The invalid settings found so far.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<InvalidSetting>);

impl Problems {
    pub(super) fn add(&mut self, setting: &str, rule: impl Into<String>) {
        self.0.push(InvalidSetting::new(setting, rule));
    }

    pub(super) fn into_vec(self) -> Vec<InvalidSetting> {
        self.0
    }
}
