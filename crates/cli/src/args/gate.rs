//! Arguments of `gatekey gate`.

use std::path::PathBuf;

use clap::Subcommand;

use super::{data_dir::DataDir, help, output::Output};
use crate::settings::{ConfigFile, Places, SettingFlags};

#[derive(Debug, Subcommand)]
pub(crate) enum Gate {
    /// Print every rule: which access a path needs, and where the rule comes from
    ///
    /// Paths with access `own` are answered by Gatekey itself. A path without a rule is denied.
    #[command(after_help = help::examples(&[
        "gatekey gate rules",
        "gatekey gate rules --config gatekey.toml --output json",
    ]))]
    Rules {
        #[command(flatten)]
        config: SettingFlags<ConfigFile>,
        #[command(flatten)]
        output: Output,
    },
    /// Show which rule decides about a request, and who is allowed
    ///
    /// Without --as, shows the decision for each role. A token with less scope than its key has
    /// less access.
    #[command(after_help = help::examples(&[
        "gatekey gate explain POST /flyteidl2.workflow.RunService/CreateRun",
        "gatekey gate explain GET /api/v1/projects --as ci-pipeline",
        "gatekey gate explain POST /flyteidl2.app.AppService/Create --as ci --body F",
    ]))]
    Explain {
        /// HTTP method
        method: String,
        /// Path as it is sent, possibly with a query
        path: String,
        /// Client id of the key that sends the request
        #[arg(long = "as", value_name = "CLIENT_ID")]
        caller: Option<String>,
        /// File with the body, for a key that is limited to projects or domains: JSON, or the
        /// message in protobuf
        #[arg(long, value_name = "FILE", requires = "caller")]
        body: Option<PathBuf>,
        #[command(flatten)]
        data_dir: DataDir,
        #[command(flatten)]
        settings: SettingFlags<Places>,
        #[command(flatten)]
        output: Output,
    },
}
