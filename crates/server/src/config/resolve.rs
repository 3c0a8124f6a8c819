//! [`Config`]: the validated configuration of a server.

use std::{iter, net::SocketAddr};

use gatekey_telemetry::traces::config as traces;
use toml::{Table, Value};

use super::{
    InvalidSetting, Setting, Settings, database::Database, gate::Gate, identity::Identity,
    invalid_setting::Problems, keys::Keys, limits::Limits, log::Log, sections::Sections,
    server::Server, tls::TlsMode, tokens::Tokens,
};

#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub server: Server,
    pub tls: TlsMode,
    pub tokens: Tokens,
    pub keys: Keys,
    /// `None` for the embedded database.
    pub database: Option<Database>,
    pub identity: Identity,
    pub limits: Limits,
    pub log: Log,
    /// `None` if traces are disabled.
    pub traces: Option<traces::Config>,
    pub gate: Gate,
    pub(super) effective: Sections,
}

impl Config {
    /// Returns the value of a setting, also if it is a default; `None` for an optional setting that
    /// is not set.
    pub fn value(&self, setting: &Setting) -> Option<Value> {
        let effective = Table::try_from(&self.effective).expect("every setting has a form in TOML");
        setting.of(&effective).cloned()
    }

    /// Describes settings that are valid but probably a mistake.
    pub fn warnings(&self) -> Vec<String> {
        self.server.warnings().collect()
    }
}

impl Config {
    /// Explains `tokens.audiences` to those who set it: earlier versions issued tokens for the
    /// first audience by default, and accepted them to manage keys.
    pub fn audience_note(&self) -> Option<String> {
        let issuer = self.server.issuer();
        let others =
            self.tokens.audiences.iter().any(|audience| audience.trim_end_matches('/') != issuer);
        others.then(|| {
            format!(
                "tokens.audiences lists what a client may request in addition to {issuer}; a token that was \
                 requested without an audience is for {issuer}, and only such a token manages keys: an API that \
                 receives it, such as flyteadmin by `allowedAudience`, must accept {issuer}"
            )
        })
    }
}

impl Settings {
    /// Fills the defaults in and checks everything. `listening` is the address to listen on; after
    /// binding port 0 it has the real port.
    ///
    /// # Errors
    /// Every invalid setting.
    pub fn resolve(&self, listening: SocketAddr) -> Result<Config, Vec<InvalidSetting>> {
        let mut problems = Problems::default();
        let mut sections = self.read();
        sections.server.listen = listening;
        let tls = sections.tls.check(sections.server.is_shielded(), &mut problems);
        let server = sections.server.check(&tls, &mut problems);
        let tokens = sections.tokens.check(&mut problems);
        let keys = sections.keys.check(&mut problems);
        let database = sections.database.check(&mut problems);
        let identity = sections.identity.check(&mut problems);
        let traces = sections.traces.check(&mut problems);
        let gate = {
            let audiences = tokens.audiences.iter().map(String::as_str);
            let others: Vec<_> = iter::once(server.issuer()).chain(audiences).collect();
            sections.gate.check(&server.trusted_proxies, &others, &mut problems)
        };
        let problems = problems.into_vec().into_iter().map(|problem| self.locate(problem));
        let invalid: Vec<_> = self.out_of_bounds().chain(problems).collect();
        if !invalid.is_empty() {
            return Err(invalid);
        }
        let (limits, log) = (sections.limits, sections.log);
        Ok(Config {
            server,
            tls,
            tokens,
            keys,
            database,
            identity,
            limits,
            log,
            traces,
            gate,
            effective: sections,
        })
    }
}
