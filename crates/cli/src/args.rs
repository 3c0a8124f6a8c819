//! The flags.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use gatekey_client::{PlainSecret, Role};
use gatekey_core::ledger::LedgerHead;

use crate::{
    exit,
    settings::{Initializing, RootKeyFile, Serving, SettingFlags},
};

/// API keys for the Flyte you host yourself.
#[derive(Debug, Parser)]
#[command(name = "gatekey", version, max_term_width = 100, after_help = exit::HELP)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Starts a server, makes a key, uses it, and tells how Flyte's own tools use it
    Quickstart(Quickstart),
    /// Serves until SIGTERM or SIGINT
    Serve(Serve),
    /// Makes an admin key, before the server's first start or while it runs
    Init(Init),
    /// Manages API keys
    #[command(subcommand)]
    Key(Key),
    /// Prints an access token
    Token(Client),
    /// Tells who the credentials belong to
    Whoami {
        #[command(flatten)]
        client: Client,
        #[command(flatten)]
        output: Output,
    },
    /// Checks a configuration
    #[command(subcommand)]
    Config(Config),
    /// Manages the keys that sign tokens
    #[command(subcommand)]
    SigningKey(SigningKey),
    /// Manages the versions of the root key, which is outside the database and opens everything in it
    #[command(subcommand)]
    RootKey(RootKeys),
    /// Shows who did what to which key: the chained record of changes and refusals
    #[command(subcommand)]
    Ledger(Ledger),
    /// Tells what is wrong between a client and a server, or with a data directory, and how to mend it
    Doctor(Box<Doctor>),
    /// Prints a script that completes commands and flags in a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Writes a backup, also while the server serves; the root key is not in it
    Backup(Backup),
    /// Puts a backup into a new data directory; every token from before is refused there
    Restore(Restore),
}

#[derive(Debug, Args)]
pub(crate) struct Quickstart {
    /// Exits after the tour instead of serving on
    #[arg(long)]
    pub(crate) once: bool,
    #[command(flatten)]
    pub(crate) data_dir: DataDir,
    /// Address and port; by default 127.0.0.1:443 where that may be bound, else 127.0.0.1:8443
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
}

#[derive(Debug, Args)]
pub(crate) struct DataDir {
    /// Where keys, root key and certificates are kept
    #[arg(long, value_name = "DIR", default_value = "gatekey-data", env = "GATEKEY_DATA_DIR")]
    pub(crate) data_dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) data_dir: DataDir,
    #[command(flatten)]
    pub(crate) settings: SettingFlags<Serving>,
    #[command(flatten)]
    pub(crate) traces: TraceVariables,
    /// File to write once the port accepts connections: JSON with url, `ca_file` and pid
    #[arg(long, value_name = "FILE")]
    pub(crate) ready_file: Option<PathBuf>,
}

/// What is sent to the collector beyond the settings. It may contain a credential, so it is read
/// only from the environment; the flags are hidden.
#[derive(Debug, Args)]
pub(crate) struct TraceVariables {
    /// Headers sent to the collector, such as authorization=Bearer%20...
    #[arg(long = "otlp-headers", id = "otlp_headers", hide = true, hide_env_values = true)]
    #[arg(env = "OTEL_EXPORTER_OTLP_HEADERS", value_parser = plain_secret)]
    pub(crate) headers: Option<PlainSecret>,
    /// Headers sent to the collector; override `OTEL_EXPORTER_OTLP_HEADERS`
    #[arg(long = "otlp-traces-headers", id = "otlp_traces_headers", hide = true, hide_env_values = true)]
    #[arg(env = "OTEL_EXPORTER_OTLP_TRACES_HEADERS", value_parser = plain_secret)]
    pub(crate) traces_headers: Option<PlainSecret>,
    /// Attributes of the server in traces, such as deployment.environment.name=production
    #[arg(long = "otlp-resource-attributes", id = "otlp_resource_attributes", hide = true)]
    #[arg(env = "OTEL_RESOURCE_ATTRIBUTES")]
    pub(crate) resource_attributes: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    #[command(flatten)]
    pub(crate) data_dir: DataDir,
    #[command(flatten)]
    pub(crate) settings: SettingFlags<Initializing>,
    /// Name of the admin key
    #[arg(long, default_value = "admin")]
    pub(crate) name: String,
    /// When the key exists, gives it a new secret instead of refusing: its other secrets and tokens die
    #[arg(long)]
    pub(crate) rotate: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Client {
    /// The server's URL
    #[arg(long, value_name = "URL", global = true)]
    pub(crate) endpoint: Option<String>,
    /// Certificates to trust besides the system's, PEM
    #[arg(long, value_name = "F", global = true)]
    pub(crate) ca_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Output {
    /// How to print
    #[arg(long, short, value_enum, default_value_t = Format::Text)]
    pub(crate) output: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// For programs
    Json,
    /// The same as YAML, one document
    Yaml,
    /// Lines for a shell; where there is a secret
    Env,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Makes a key; its secret is shown this once
    Create {
        /// Name; the client id derives from it
        name: String,
        /// What the key may do [default: contributor]
        #[arg(long)]
        role: Option<Role>,
        /// Makes a key that may only look at and rotate itself
        #[arg(long, conflicts_with = "role")]
        no_role: bool,
        /// Where an authorization code may be sent; may be repeated
        #[arg(long = "redirect-uri", value_name = "U")]
        redirect_uris: Vec<String>,
        /// The key is refused after so long, such as 90d or 12h
        #[arg(long, value_name = "TIME", value_parser = duration)]
        expires_in: Option<Duration>,
        #[command(flatten)]
        client: Client,
        #[command(flatten)]
        output: Output,
    },
    /// Shows a key
    Get {
        /// The key
        client_id: String,
        /// With --output json or yaml: role, dates and secrets as well
        #[arg(long)]
        details: bool,
        #[command(flatten)]
        client: Client,
        #[command(flatten)]
        output: Output,
    },
    /// Lists keys
    List {
        /// At most so many
        #[arg(long)]
        limit: Option<usize>,
        /// With --output json or yaml: role, dates and secrets as well
        #[arg(long)]
        details: bool,
        #[command(flatten)]
        client: Client,
        #[command(flatten)]
        output: Output,
    },
    /// Changes a key; what is not named stays
    Update {
        /// The key
        client_id: String,
        /// New name
        #[arg(long)]
        name: Option<String>,
        /// New role
        #[arg(long)]
        role: Option<Role>,
        /// Takes the role away
        #[arg(long, conflicts_with = "role")]
        no_role: bool,
        /// New redirect URIs, in place of all earlier ones; may be repeated
        #[arg(long = "redirect-uri", value_name = "U")]
        redirect_uris: Vec<String>,
        /// The key is refused after so long from now
        #[arg(long, value_name = "TIME", value_parser = duration)]
        expires_in: Option<Duration>,
        /// The key does not expire any more
        #[arg(long, conflicts_with = "expires_in")]
        no_expiry: bool,
        #[command(flatten)]
        client: Client,
        #[command(flatten)]
        output: Output,
    },
    /// Gives a key a new secret, shown this once
    Rotate {
        /// The key
        client_id: String,
        /// How long the other secrets stay valid; 0 retires them at once and kills the key's tokens
        #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration)]
        grace: Duration,
        /// The new secret is refused after so long
        #[arg(long, value_name = "TIME", value_parser = duration)]
        expires_in: Option<Duration>,
        /// Kept with the new secret
        #[arg(long)]
        label: Option<String>,
        #[command(flatten)]
        client: Client,
        #[command(flatten)]
        output: Output,
    },
    /// Ends one secret of a key at once, and the tokens that it fetched
    Retire {
        /// The key
        client_id: String,
        /// The secret, as `key get` shows it
        secret_id: String,
        #[command(flatten)]
        client: Client,
        #[command(flatten)]
        output: Output,
    },
    /// Refuses a key and its tokens until it is enabled
    Disable(OneKey),
    /// Accepts a disabled key again
    Enable(OneKey),
    /// Deletes a key for good; its tokens die at once
    Delete {
        /// The key
        client_id: String,
        #[command(flatten)]
        client: Client,
    },
}

#[derive(Debug, Args)]
pub(crate) struct OneKey {
    /// The key
    pub(crate) client_id: String,
    #[command(flatten)]
    pub(crate) client: Client,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Prints the JSON Schema of a configuration file
    Schema,
    /// Tells what follows from flags and file, or what is wrong with them
    Check {
        #[command(flatten)]
        settings: Box<SettingFlags<Serving>>,
        #[command(flatten)]
        traces: Box<TraceVariables>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum SigningKey {
    /// Makes a new key sign from now on; the old one is published until its last token has expired
    Rotate {
        #[command(flatten)]
        data_dir: DataDir,
        #[command(flatten)]
        settings: SettingFlags<Initializing>,
    },
    /// Lists the key that signs, and those that are published until their last token has expired
    List {
        #[command(flatten)]
        data_dir: DataDir,
        #[command(flatten)]
        root_key: SettingFlags<RootKeyFile>,
        #[command(flatten)]
        output: Output,
    },
    /// Publishes a key that signs no more not any longer: the tokens that it signed die at once
    Retire {
        /// The key, as `signing-key list` shows it
        kid: String,
        #[command(flatten)]
        data_dir: DataDir,
        #[command(flatten)]
        root_key: SettingFlags<RootKeyFile>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum RootKeys {
    /// Replaces the root key, also while the server serves; secrets and tokens stay valid. Finishes what was interrupted
    Rotate {
        #[command(flatten)]
        data_dir: DataDir,
        #[command(flatten)]
        root_key: SettingFlags<RootKeyFile>,
        #[command(flatten)]
        output: Output,
    },
    /// Lists the versions: since when each is in use, and how many secrets need it still
    List {
        #[command(flatten)]
        data_dir: DataDir,
        #[command(flatten)]
        root_key: SettingFlags<RootKeyFile>,
        #[command(flatten)]
        output: Output,
    },
    /// Ends an older version, and takes it out of the file; refused while secrets need it
    Retire {
        /// The version, as `root-key list` shows it
        version: u32,
        #[command(flatten)]
        data_dir: DataDir,
        #[command(flatten)]
        root_key: SettingFlags<RootKeyFile>,
    },
    /// Writes a file with a new version and those before, to be put in place by hand where the server may not write
    New {
        /// Where to; must not exist yet
        file: PathBuf,
        /// File of the root key as it is now
        #[arg(long, value_name = "F")]
        root_key_file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Ledger {
    /// Lists the newest entries: when, who, what, to which key, from where, with which client
    List {
        /// At most so many
        #[arg(long, default_value_t = 50)]
        limit: usize,
        /// Only what this key did, or what was done to it
        #[arg(long, value_name = "CLIENT_ID")]
        key: Option<String>,
        /// Only what happened within this time, such as 24h
        #[arg(long, value_name = "TIME", value_parser = duration)]
        since: Option<Duration>,
        #[command(flatten)]
        data_dir: DataDir,
        #[command(flatten)]
        root_key: SettingFlags<RootKeyFile>,
        #[command(flatten)]
        output: Output,
    },
    /// Walks the chain from the first entry; exits with 8 at the first that does not follow
    Verify {
        /// A head printed or logged earlier, SEQUENCE:LINK: the ledger must still hold it
        #[arg(long, value_name = "HEAD")]
        known_head: Option<LedgerHead>,
        #[command(flatten)]
        data_dir: DataDir,
        #[command(flatten)]
        root_key: SettingFlags<RootKeyFile>,
        #[command(flatten)]
        output: Output,
    },
    /// Writes all entries, one JSON object a line
    Export {
        /// Where to; must not exist yet [default: standard output]
        file: Option<PathBuf>,
        /// Only entries after this sequence number
        #[arg(long, value_name = "SEQUENCE", default_value_t = 0)]
        after: i64,
        #[command(flatten)]
        data_dir: DataDir,
        #[command(flatten)]
        root_key: SettingFlags<RootKeyFile>,
    },
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Doctor {
    #[command(subcommand)]
    pub(crate) check: Option<Check>,
    #[command(flatten)]
    pub(crate) server: ServerCheck,
    #[command(flatten)]
    pub(crate) store: ShortStoreCheck,
}

/// What can be checked.
#[derive(Debug, Subcommand)]
pub(crate) enum Check {
    /// Goes a client's way to a server, step by step; the same as `doctor [URL]`
    Server(ServerCheck),
    /// Looks at a data directory without changing it; the same as `doctor --data-dir DIR`
    Store(StoreCheck),
    /// Tells which package owns flyteplugins.union.remote.ApiKey in a Python environment
    Python(PythonCheck),
}

#[derive(Debug, Args)]
pub(crate) struct PythonCheck {
    /// The environment's interpreter; by default the one beside this command, else python3
    #[arg(long, value_name = "PATH")]
    pub(crate) python: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct ServerCheck {
    /// The server's URL; by default what the environment says
    pub(crate) url: Option<String>,
    /// Certificates to trust besides the system's, PEM
    #[arg(long, value_name = "F", env = "GATEKEY_CA_FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    #[arg(long, hide = true, env = "SSL_CERT_FILE")]
    pub(crate) ssl_cert_file: Option<PathBuf>,
    #[arg(long, hide = true, hide_env_values = true, env = "GATEKEY_API_KEY", value_parser = plain_secret)]
    pub(crate) gatekey_api_key: Option<PlainSecret>,
    #[arg(long, hide = true, hide_env_values = true, env = "FLYTE_API_KEY", value_parser = plain_secret)]
    pub(crate) flyte_api_key: Option<PlainSecret>,
    #[arg(long, hide = true, hide_env_values = true, env = "UNION_API_KEY", value_parser = plain_secret)]
    pub(crate) union_api_key: Option<PlainSecret>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct ShortStoreCheck {
    /// Checks this data directory instead of a server
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    pub(crate) data_dir: Option<PathBuf>,
    /// File of the root key [default: root.key in the data directory]
    #[arg(long, value_name = "F", requires = "data_dir")]
    pub(crate) root_key_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct StoreCheck {
    /// Where keys, root key and certificates are kept
    #[arg(long, value_name = "DIR", default_value = "gatekey-data", env = "GATEKEY_DATA_DIR")]
    pub(crate) data_dir: PathBuf,
    /// File of the root key [default: root.key in the data directory]
    #[arg(long, value_name = "F")]
    pub(crate) root_key_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[expect(clippy::unnecessary_wraps, reason = "the signature that clap asks for")]
fn plain_secret(text: &str) -> Result<PlainSecret, std::convert::Infallible> {
    Ok(PlainSecret::new(text))
}

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// Where to; must not exist yet
    pub(crate) file: PathBuf,
    /// File of a passphrase that the backup is sealed under besides the root key
    #[arg(long, value_name = "F")]
    pub(crate) passphrase_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) data_dir: DataDir,
    #[command(flatten)]
    pub(crate) root_key: SettingFlags<RootKeyFile>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The backup
    pub(crate) file: PathBuf,
    /// The new data directory: absent, empty, or with the root key alone
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// File of the passphrase that the backup was sealed under
    #[arg(long, value_name = "F")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// File of the root key that the backup was made under, or of a newer version [default: root.key in the new
    /// data directory]
    #[arg(long, value_name = "F")]
    pub(crate) root_key_file: Option<PathBuf>,
    /// The old data directory, if there is one still: tells what became of keys after the backup
    #[arg(long, value_name = "DIR")]
    pub(crate) compare: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// `90d`, `24h`, `15m`, `30s`, or `0`.
fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let duration =
        humantime::parse_duration(text).map_err(|error| format!("{error}; write 90d, 24h or 15m"))?;
    if duration > LONGEST {
        return Err("is longer than a thousand years; leave it out for never".to_owned());
    }
    Ok(duration)
}

/// Longer than anybody means, and short enough to be added to today.
const LONGEST: Duration = Duration::from_hours(1000 * 366 * 24);
