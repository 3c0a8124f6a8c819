//! Arguments of `gatekey key`.

use std::time::Duration;

use clap::{Args, Subcommand};
use gatekey_client::Role;

use super::{
    connection::Client,
    help,
    output::{Output, SecretOutput},
    value::{count, duration, role},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Create a key and print its secret, which is shown only once
    #[command(after_help = help::examples(&[
        "gatekey key create ci-pipeline --expires-in 90d",
        "gatekey key create dashboard --role viewer --output env",
        "gatekey key create deploy --allow-from 10.0.0.0/8 --projects web",
    ]))]
    Create {
        /// Name of the key; its client id is derived from it
        name: String,
        /// Role of the key [default: contributor]
        #[arg(long, value_parser = role())]
        role: Option<Role>,
        /// Create a key without a role, which can only view and rotate itself
        #[arg(long, conflicts_with = "role")]
        no_role: bool,
        /// Redirect URI for authorization codes; can be repeated
        #[arg(long = "redirect-uri", value_name = "URI")]
        redirect_uris: Vec<String>,
        /// Lifetime of the key, e.g. 90d or 12h [default: as the server sets it, else unlimited]
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        expires_in: Option<Duration>,
        #[command(flatten)]
        limits: Limits,
        #[command(flatten)]
        client: Client,
        #[command(flatten)]
        output: SecretOutput,
    },
    /// Show a key
    #[command(after_help = help::examples(&[
        "gatekey key get ci-pipeline",
        "gatekey key get ci-pipeline --output json",
    ]))]
    Get {
        /// Client id of the key
        client_id: String,
        /// No effect: JSON and YAML always include role, dates and secrets
        #[arg(long, hide = true)]
        details: bool,
        #[command(flatten)]
        client: Client,
        #[command(flatten)]
        output: Output,
    },
    /// List keys
    #[command(after_help = help::examples(&["gatekey key list", "gatekey key list --output json"]))]
    List {
        /// Maximum number of keys [default: as the server sets it, else unlimited]
        #[arg(long, value_name = "NUMBER", value_parser = count)]
        limit: Option<usize>,
        /// No effect: JSON and YAML always include role, dates and secrets
        #[arg(long, hide = true)]
        details: bool,
        #[command(flatten)]
        client: Client,
        #[command(flatten)]
        output: Output,
    },
    /// Change a key's name, role, redirect URIs, expiry or limits
    #[command(after_help = help::examples(&[
        "gatekey key update ci-pipeline --role viewer",
        "gatekey key update ci-pipeline --expires-in 30d",
        "gatekey key update ci-pipeline --rate 100/s --no-allow-from",
    ]))]
    Update {
        /// Client id of the key
        client_id: String,
        /// New name
        #[arg(long)]
        name: Option<String>,
        /// New role
        #[arg(long, value_parser = role())]
        role: Option<Role>,
        /// Remove the role
        #[arg(long, conflicts_with = "role")]
        no_role: bool,
        /// New redirect URI, which replaces all earlier ones; can be repeated
        #[arg(long = "redirect-uri", value_name = "URI")]
        redirect_uris: Vec<String>,
        /// New lifetime of the key, counted from now, e.g. 90d
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        expires_in: Option<Duration>,
        /// Remove the expiry
        #[arg(long, conflicts_with = "expires_in")]
        no_expiry: bool,
        #[command(flatten)]
        limits: Limits,
        #[command(flatten)]
        lifted: Lifted,
        /// Proceed even if no admin key works afterwards; then only `gatekey init` creates one
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        client: Client,
        #[command(flatten)]
        output: Output,
    },
    /// Give a key a new secret, which is shown only once
    #[command(after_help = help::examples(&[
        "gatekey key rotate ci-pipeline --grace 24h",
        "gatekey key rotate ci-pipeline --output env",
    ]))]
    Rotate {
        /// Client id of the key
        client_id: String,
        /// Grace period of the other secrets, e.g. 24h; 0 revokes them and all tokens at once
        #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
        grace: Duration,
        /// Lifetime of the new secret, e.g. 90d [default: as the server sets it, else unlimited]
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        expires_in: Option<Duration>,
        /// Label to store with the new secret
        #[arg(long)]
        label: Option<String>,
        /// Do not ask on a terminal before secrets are revoked without a grace
        #[arg(long, short)]
        yes: bool,
        #[command(flatten)]
        client: Client,
        #[command(flatten)]
        output: SecretOutput,
    },
    /// Revoke one secret of a key and the tokens issued for it
    #[command(after_help = help::examples(&["gatekey key retire ci-pipeline 0b5c9e1f2a7d4683"]))]
    Retire {
        /// Client id of the key
        client_id: String,
        /// Id of the secret, as `gatekey key get` shows it
        secret_id: String,
        /// Proceed even if no admin key works afterwards; then only `gatekey init` creates one
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        client: Client,
        #[command(flatten)]
        output: Output,
    },
    /// Reject a key until it is enabled, and revoke its tokens
    #[command(after_help = help::examples(&["gatekey key disable ci-pipeline"]))]
    Disable {
        #[command(flatten)]
        key: OneKey,
        /// Proceed even if no admin key works afterwards; then only `gatekey init` creates one
        #[arg(long)]
        force: bool,
    },
    /// Accept a disabled key again
    #[command(after_help = help::examples(&["gatekey key enable ci-pipeline"]))]
    Enable(OneKey),
    /// Delete a key permanently, and revoke its tokens
    #[command(after_help = help::examples(&[
        "gatekey key delete ci-pipeline",
        "gatekey key delete ci-pipeline --yes --output json",
    ]))]
    Delete {
        /// Client id of the key
        client_id: String,
        /// Do not ask on a terminal
        #[arg(long, short)]
        yes: bool,
        /// Proceed even if no admin key works afterwards; then only `gatekey init` creates one
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        client: Client,
        #[command(flatten)]
        output: Output,
    },
}

/// What limits the use of a key.
#[derive(Debug, Args)]
pub(crate) struct Limits {
    /// Network that the key may be used from, e.g. 10.0.0.0/8 or 192.0.2.7; can be repeated
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub(crate) allow_from: Vec<String>,
    /// How often the key may be used, e.g. 100/s, 600/m or 5000/h
    #[arg(long, value_name = "COUNT/UNIT")]
    pub(crate) rate: Option<String>,
    /// Flyte projects that the gate admits the key for, e.g. web,data
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) projects: Vec<String>,
    /// Flyte domains that the gate admits the key for, e.g. development,staging
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) domains: Vec<String>,
}

/// The limits to lift.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct Lifted {
    /// Let the key be used from any network
    #[arg(long, conflicts_with = "allow_from")]
    pub(crate) no_allow_from: bool,
    /// Let the key be used at any rate
    #[arg(long, conflicts_with = "rate")]
    pub(crate) no_rate: bool,
    /// Let the gate admit the key for any project
    #[arg(long, conflicts_with = "projects")]
    pub(crate) no_projects: bool,
    /// Let the gate admit the key for any domain
    #[arg(long, conflicts_with = "domains")]
    pub(crate) no_domains: bool,
}

#[derive(Debug, Args)]
pub(crate) struct OneKey {
    /// Client id of the key
    pub(crate) client_id: String,
    #[command(flatten)]
    pub(crate) client: Client,
    #[command(flatten)]
    pub(crate) output: Output,
}
