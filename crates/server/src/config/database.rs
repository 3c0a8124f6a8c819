//! `[database]`: where the data is, if not in the data directory.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::invalid_setting::Problems;

/// A PostgreSQL database instead of the embedded one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Section {
    /// URL of a PostgreSQL database, such as `postgres://gatekey@db.example.com/gatekey`, without a
    /// password.
    ///
    /// The server's certificate is verified, unless the server is on this machine. The file of the
    /// root key must exist.
    #[schemars(extend(
        "x-flag" = "--database",
        "x-value" = "URL",
        "x-unset" = "the file gatekey.db in the data directory"
    ))]
    pub(super) url: Option<String>,
    /// File that contains the password of the database.
    ///
    /// The variable `GATEKEY_DATABASE_PASSWORD` contains the password itself.
    #[schemars(extend(
        "x-flag" = "--database-password-file",
        "x-value" = "FILE",
        "x-unset" = "no password"
    ))]
    pub(super) password_file: Option<PathBuf>,
}

/// A PostgreSQL database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// Not parsed yet: this crate knows no store.
    pub url: String,
    pub password_file: Option<PathBuf>,
}

impl Section {
    pub(super) fn check(&self, problems: &mut Problems) -> Option<Database> {
        if self.url.is_none() && self.password_file.is_some() {
            problems.add("database.password_file", "needs database.url");
        }
        self.database()
    }

    /// The database, before it is checked.
    pub(super) fn database(&self) -> Option<Database> {
        let password_file = self.password_file.clone();
        self.url.clone().map(|url| Database { url, password_file })
    }
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{broken, resolve};

    #[test]
    fn a_password_file_needs_a_database() {
        assert_eq!(broken("[database]\npassword_file = \"p\""), ["database.password_file"]);
        let config =
            resolve("[database]\nurl = \"postgres://g@/g\"\npassword_file = \"p\"").unwrap();
        assert_eq!(config.database.unwrap().url, "postgres://g@/g");
    }
}
