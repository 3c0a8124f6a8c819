//! [`Sections`]: the configuration file as a type.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{database, gate, identity, keys, limits, log, server, tls, tokens, traces};

/// The sections of a configuration file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Sections {
    pub(super) server: server::Section,
    pub(super) tls: tls::Section,
    pub(super) tokens: tokens::Section,
    pub(super) keys: keys::Section,
    pub(super) database: database::Section,
    pub(super) identity: identity::Section,
    pub(super) limits: limits::Limits,
    pub(super) log: log::Log,
    pub(super) traces: traces::Section,
    pub(super) gate: gate::Section,
}
