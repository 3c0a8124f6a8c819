//! [`Settings`]: values that were set, each with its origin.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use gatekey_telemetry::traces::variables::Ignored;
use serde::Deserialize as _;
use toml::{Table, Value};

use super::{
    FlatName, InvalidSetting, Origin, Setting, database::Database, definition, sections::Sections,
    traces,
};

/// How the names of OpenTelemetry's variables begin.
const OPENTELEMETRY: &str = "OTEL_";

/// Values that were set by one or more layers: flags and environment, file, last start. Each can be
/// read; whether they fit together is checked by [`Settings::resolve`].
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// By the path of the setting.
    values: BTreeMap<&'static str, (Value, Origin)>,
    /// Where the members of tables were set, by their path.
    pub(super) members: BTreeMap<String, Origin>,
    pub(super) flat_names: Vec<FlatName>,
    ignored: Vec<Ignored>,
}

impl Settings {
    /// Sets a value.
    ///
    /// # Errors
    /// If the setting cannot have such a value.
    pub fn set(
        &mut self,
        setting: &'static Setting,
        value: impl Into<Value>,
        origin: Origin,
    ) -> Result<(), InvalidSetting> {
        let value = value.into();
        if let Err(rule) = setting.check_type(&value) {
            let (setting, origin) = (setting.path.clone(), Some(origin));
            return Err(InvalidSetting { setting, rule, origin });
        }
        self.values.insert(&setting.path, (value, origin));
        Ok(())
    }

    /// Adds the values of a lower layer for what this one does not set. Settings of a group, such
    /// as certificate and key, come from one layer: if this layer sets one of them, the lower one
    /// sets none.
    #[must_use]
    pub fn or(mut self, lower: Self) -> Self {
        let groups: Vec<_> = self.iter().filter_map(|(setting, _)| setting.group()).collect();
        for (path, value) in lower.values {
            if definition::setting(path).group().is_none_or(|group| !groups.contains(&group)) {
                self.values.entry(path).or_insert(value);
            }
        }
        // Only a file sets tables, and there is one file.
        self.members.extend(lower.members);
        self.flat_names.extend(lower.flat_names);
        self.ignored.extend(lower.ignored);
        self
    }

    /// Returns where a setting, or a member of a table, was set; `None` for a default.
    pub fn origin(&self, path: &str) -> Option<&Origin> {
        self.values.get(path).map(|(_, origin)| origin).or_else(|| self.members.get(path))
    }

    /// Returns whether a setting is set.
    pub fn contains(&self, path: &str) -> bool {
        self.values.contains_key(path)
    }

    /// Returns the file of the root key, if one is named.
    pub fn root_key_file(&self) -> Option<PathBuf> {
        self.read().keys.root_key_file
    }

    /// Returns the PostgreSQL database, if one is named.
    pub fn database(&self) -> Option<Database> {
        self.read().database.database()
    }

    /// Returns the address to listen on.
    pub fn listen(&self) -> SocketAddr {
        self.read().server.listen
    }

    /// Returns the names without a section that the file still uses.
    pub fn flat_names(&self) -> &[FlatName] {
        &self.flat_names
    }

    /// Removes the values of OpenTelemetry's variables that are malformed, as its specification
    /// demands. They are often set for every program on a machine.
    #[must_use]
    pub fn without_malformed_variables(mut self) -> Self {
        self.values.retain(|path, (value, origin)| {
            let Origin::Variable(variable) = *origin else { return true };
            if !variable.starts_with(OPENTELEMETRY) {
                return true;
            }
            let setting = definition::setting(path);
            let checked =
                traces::check(setting.name(), value).and_then(|()| setting.check_bounds(value));
            let Err(rule) = checked else { return true };
            self.ignored.push(Ignored { variable, rule });
            false
        });
        self
    }

    /// Returns the variables that are malformed, and were removed.
    pub fn ignored_variables(&self) -> &[Ignored] {
        &self.ignored
    }

    /// Returns an error about a setting, with its origin.
    #[must_use]
    pub fn locate(&self, mut invalid: InvalidSetting) -> InvalidSetting {
        invalid.origin = self.origin(&invalid.setting).cloned();
        invalid
    }

    /// Fills the defaults in.
    pub(super) fn read(&self) -> Sections {
        let mut sections = BTreeMap::<_, Table>::new();
        for (setting, value) in self.iter() {
            let section = sections.entry(setting.section().to_owned()).or_default();
            section.insert(setting.name().to_owned(), value.clone());
        }
        let sections: Table =
            sections.into_iter().map(|(name, section)| (name, section.into())).collect();
        Sections::deserialize(sections).expect("the type of each value was checked")
    }

    /// Returns the values that are not within the bounds of their setting.
    pub(super) fn out_of_bounds(&self) -> impl Iterator<Item = InvalidSetting> {
        self.iter().filter_map(|(setting, value)| {
            let rule = setting.check_bounds(value).err()?;
            Some(self.locate(InvalidSetting::new(&setting.path, rule)))
        })
    }

    fn iter(&self) -> impl Iterator<Item = (&'static Setting, &Value)> {
        self.values.iter().map(|(path, (value, _))| (definition::setting(path), value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{setting, tests::settings};

    fn flag(path: &str, value: impl Into<Value>) -> Settings {
        let mut flags = Settings::default();
        flags.set(setting(path), value, Origin::Flag("--flag")).unwrap();
        flags
    }

    #[test]
    fn a_layer_overrides_the_layers_below() {
        let file = settings("[server]\npublic_url = \"https://file\"\norganization = \"file\"");
        let merged = flag("server.public_url", "https://flag").or(file);
        let config = merged.resolve(merged.listen()).unwrap();
        assert_eq!(config.server.issuer(), "https://flag");
        assert_eq!(config.server.organization, "file");
        assert_eq!(merged.origin("server.public_url").unwrap().to_string(), "--flag");
        assert_eq!(
            merged.origin("server.organization").unwrap().to_string(),
            "gatekey.toml, line 3"
        );
        assert_eq!(merged.origin("server.listen"), None);
    }

    #[test]
    fn an_endpoint_flag_overrides_both_file_endpoints() {
        let file = settings("[traces]\nfull_endpoint = \"http://file/t\"");
        let merged = flag("traces.endpoint", "http://flag").or(file);
        let config = merged.resolve(merged.listen()).unwrap();
        assert_eq!(config.traces.unwrap().endpoint.as_str(), "http://flag/v1/traces");
    }

    #[test]
    fn a_tls_flag_overrides_the_files_certificate() {
        let file = settings("[tls]\ncert_file = \"c.pem\"\nkey_file = \"k.pem\"");
        let merged = flag("tls.plaintext", true).or(file);
        let config = merged.resolve(merged.listen()).unwrap();
        assert_eq!(config.tls, crate::config::TlsMode::Plaintext);
    }

    #[test]
    fn a_value_of_another_type_is_refused() {
        let mut settings = Settings::default();
        let invalid = settings
            .set(setting("server.listen"), "nowhere", Origin::Flag("--listen"))
            .unwrap_err();
        assert_eq!(
            invalid.to_string(),
            "--listen: server.listen must be an IP address with a port, such as 127.0.0.1:8443"
        );
        assert!(!settings.contains("server.listen"));
    }
}
