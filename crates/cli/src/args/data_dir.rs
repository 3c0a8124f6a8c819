//! Arguments of the commands that administer a data directory.

use std::{path::PathBuf, time::Duration};

use clap::{
    Args, Subcommand,
    builder::{OsStringValueParser, TypedValueParser as _},
};
use gatekey_core::ledger::LedgerHead;

use super::{
    help,
    output::Output,
    value::{TimeOrAge, count, duration, new_file, time_or_age, version},
};
use crate::data_dir::DataDirPath;
use crate::settings::{Initializing, Places, SettingFlags};

#[derive(Debug, Args)]
pub(crate) struct DataDir {
    /// Directory of the database, the root key and certificates [default: gatekey-data]
    #[arg(long, value_name = "DIR", env = "GATEKEY_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

impl DataDir {
    pub(crate) fn path(self) -> DataDirPath {
        self.data_dir.map_or(DataDirPath::Default, DataDirPath::Named)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum SigningKey {
    /// Publish the next key, which signs later
    ///
    /// The next key signs once verifiers that cache the JWKS have fetched it (setting
    /// `keys.signing_key_publish_ahead_seconds`). The old key stays published until its last token
    /// has expired.
    #[command(after_help = help::examples(&[
        "gatekey signing-key rotate --data-dir /var/lib/gatekey",
        "gatekey signing-key rotate --now",
    ]))]
    Rotate {
        /// Sign with a new key at once, after a leak; verifiers that cache the JWKS reject its
        /// tokens until they fetch it again
        #[arg(long)]
        now: bool,
        #[command(flatten)]
        data_dir: DataDir,
        #[command(flatten)]
        output: Output,
        #[command(flatten, next_help_heading = "Settings of the server, before its first start")]
        settings: SettingFlags<Initializing>,
    },
    /// List the key that signs, the next one, and the old keys that are still published
    #[command(after_help = help::examples(&["gatekey signing-key list --data-dir /var/lib/gatekey"]))]
    List {
        #[command(flatten)]
        data_dir: DataDir,
        #[command(flatten)]
        root_key: SettingFlags<Places>,
        #[command(flatten)]
        output: Output,
    },
    /// Remove an old key from the JWKS now; tokens it signed stop verifying
    #[command(after_help = help::examples(&["gatekey signing-key retire 488077b8813c3a16"]))]
    Retire {
        /// Id of the key, as `gatekey signing-key list` shows it
        kid: String,
        #[command(flatten)]
        data_dir: DataDir,
        #[command(flatten)]
        root_key: SettingFlags<Places>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum RootKeys {
    /// Replace the root key, also while the server runs
    ///
    /// Secrets and tokens stay valid. Also finishes an interrupted rotation.
    #[command(after_help = help::examples(&["gatekey root-key rotate --data-dir /var/lib/gatekey"]))]
    Rotate {
        #[command(flatten)]
        data_dir: DataDir,
        #[command(flatten)]
        root_key: SettingFlags<Places>,
        #[command(flatten)]
        output: Output,
    },
    /// List the versions, with the number of secrets that need each
    #[command(after_help = help::examples(&["gatekey root-key list --data-dir /var/lib/gatekey"]))]
    List {
        #[command(flatten)]
        data_dir: DataDir,
        #[command(flatten)]
        root_key: SettingFlags<Places>,
        #[command(flatten)]
        output: Output,
    },
    /// Remove an old version that no secret needs
    #[command(after_help = help::examples(&["gatekey root-key retire 1 --data-dir /var/lib/gatekey"]))]
    Retire {
        /// Version, as `gatekey root-key list` shows it
        #[arg(value_parser = version)]
        version: u32,
        #[command(flatten)]
        data_dir: DataDir,
        #[command(flatten)]
        root_key: SettingFlags<Places>,
    },
    /// Write a root key file with a new version, to install by hand
    ///
    /// For a server that cannot write its root key file, such as a mounted secret, and for a new
    /// PostgreSQL database.
    #[command(after_help = help::examples(&["gatekey root-key new new.key --root-key-file root.key"]))]
    New {
        /// File to write; must not exist yet
        #[arg(value_parser = OsStringValueParser::new().try_map(new_file))]
        file: PathBuf,
        /// Current root key file; without one, the first version is written
        #[arg(long, value_name = "FILE")]
        root_key_file: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Ledger {
    /// List the newest entries
    #[command(after_help = help::examples(&[
        "gatekey ledger list --key ci-pipeline --since 24h",
        "gatekey ledger list --limit 1000 --output json",
    ]))]
    List {
        /// Maximum number of entries
        #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = count)]
        limit: usize,
        /// Only entries with this key as actor or target
        #[arg(long, value_name = "CLIENT_ID")]
        key: Option<String>,
        /// Only entries of this last period, e.g. 24h
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        since: Option<Duration>,
        #[command(flatten)]
        data_dir: DataDir,
        #[command(flatten)]
        root_key: SettingFlags<Places>,
        #[command(flatten)]
        output: Output,
    },
    /// Print entries as they are added, until Ctrl-C
    ///
    /// Continues while the server stops and starts again. With `--output json`, each entry is one
    /// line.
    #[command(after_help = help::examples(&[
        "gatekey ledger follow --data-dir /var/lib/gatekey",
        "gatekey ledger follow --after 1200 --output json | logger -t gatekey-ledger",
    ]))]
    Follow {
        /// Begin after this sequence number [default: the last 10 entries]
        #[arg(long, value_name = "SEQUENCE")]
        after: Option<i64>,
        /// Only entries with this key as actor or target
        #[arg(long, value_name = "CLIENT_ID")]
        key: Option<String>,
        #[command(flatten)]
        data_dir: DataDir,
        #[command(flatten)]
        output: Output,
    },
    /// Verify the chain of entries; exit with 8 if it is broken
    ///
    /// With archives, verifies each of them, that none is missing between them, and that the ledger
    /// continues where the last one ends.
    #[command(after_help = help::examples(&[
        "gatekey ledger verify --data-dir /var/lib/gatekey",
        "gatekey ledger verify 2026-q1.archive 2026-q2.archive",
        "gatekey ledger verify --archives-only --root-key-file root.key q1.archive",
    ]))]
    Verify {
        /// Archives, in any order
        #[arg(value_name = "ARCHIVE")]
        archives: Vec<PathBuf>,
        /// Verify only the archives, without the ledger; needs only the root key
        #[arg(long, requires = "archives")]
        archives_only: bool,
        /// Head that was printed or logged earlier, and that the ledger or an archive must contain
        #[arg(long, value_name = "SEQUENCE:LINK")]
        known_head: Option<LedgerHead>,
        #[command(flatten)]
        data_dir: DataDir,
        #[command(flatten)]
        root_key: SettingFlags<Places>,
        #[command(flatten)]
        output: Output,
    },
    /// Move old entries to a file, and delete them from the ledger once it is durable
    ///
    /// The file is JSON lines, and verifies with the root key. After an interruption, run the same
    /// command again: it finishes the work with a file that is complete.
    #[command(after_help = help::examples(&[
        "gatekey ledger archive 2026-q3.archive --before 2026-10-01",
        "gatekey ledger archive old.archive --before 90d",
        "gatekey ledger archive old.archive --through 120000",
    ]))]
    Archive {
        /// File to write; must not exist yet
        #[arg(value_parser = OsStringValueParser::new().try_map(new_file))]
        file: PathBuf,
        /// Archive entries from before this date, time, or age, such as 90d
        #[arg(
            long,
            value_name = "TIME",
            value_parser = time_or_age,
            required_unless_present = "through",
            conflicts_with = "through"
        )]
        before: Option<TimeOrAge>,
        /// Archive entries up to this sequence number
        #[arg(long, value_name = "SEQUENCE", value_parser = clap::value_parser!(i64).range(1..))]
        through: Option<i64>,
        #[command(flatten)]
        data_dir: DataDir,
        #[command(flatten)]
        root_key: SettingFlags<Places>,
        #[command(flatten)]
        output: Output,
    },
    /// Write all entries, one JSON object per line
    #[command(after_help = help::examples(&[
        "gatekey ledger export ledger.jsonl",
        "gatekey ledger export --after 1200 > new-entries.jsonl",
    ]))]
    Export {
        /// File to write, or - for standard output; must not exist yet [default: -]
        file: Option<PathBuf>,
        /// Only entries after this sequence number
        #[arg(long, value_name = "SEQUENCE", default_value_t = 0)]
        after: i64,
        #[command(flatten)]
        data_dir: DataDir,
        #[command(flatten)]
        root_key: SettingFlags<Places>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// File to write; must not exist yet
    #[arg(value_parser = OsStringValueParser::new().try_map(new_file))]
    pub(crate) file: PathBuf,
    /// File with a passphrase that restoring needs in addition to the root key
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) data_dir: DataDir,
    #[command(flatten)]
    pub(crate) root_key: SettingFlags<Places>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// Backup to restore
    pub(crate) file: PathBuf,
    /// New data directory: absent, empty, or with only root.key
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// File with the passphrase of the backup
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Root key file of the backup, or a later one [default: root.key in the data directory]
    #[arg(long, value_name = "FILE")]
    pub(crate) root_key_file: Option<PathBuf>,
    /// Old data directory: list the keys that were created, deleted or changed after the backup
    #[arg(long, value_name = "DIR")]
    pub(crate) compare: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: Output,
}
