//! Reads a configuration file.

use std::{
    collections::BTreeMap,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Deserialize as _;
use toml::{
    Spanned, Table, Value,
    de::{DeTable, DeValue, ValueDeserializer},
};

use super::{FlatName, InvalidSetting, Origin, Setting, Settings, definition, flat_names};

/// An error in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFile {
    #[error("{} is not a TOML file:\n{error}", path.display())]
    Syntax { path: PathBuf, error: toml::de::Error },
    /// Settings that do not exist or cannot have their value.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Settings(Vec<InvalidSetting>),
}

impl Settings {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// If the text is not TOML, or every setting that does not exist or cannot have its value.
    pub fn from_toml(path: &Path, text: &str) -> Result<Self, InvalidFile> {
        let syntax = |error| InvalidFile::Syntax { path: path.to_owned(), error };
        let document = DeTable::parse(text).map_err(syntax)?;
        let mut reader =
            Reader { path: path.into(), text, settings: Self::default(), problems: Vec::new() };
        let mut flat = BTreeMap::new();
        for (key, value) in document.into_inner() {
            let (name, at) = (key.get_ref().as_ref(), key.span());
            if let Some((old, new)) = flat_names::find(name) {
                flat.insert(old, (new, at, value));
            } else if let Some(section) =
                definition::sections().iter().find(|section| section.name == name)
            {
                reader.read_section(section, at, value);
            } else {
                let sections =
                    definition::sections().iter().map(|section| format!("[{}]", section.name));
                let rule = format!("is not a setting; sections are {}", list(sections));
                reader.refuse(name, at, rule);
            }
        }
        for (old, (new, at, value)) in flat {
            reader.read_flat(old, new, at, value);
        }
        if reader.problems.is_empty() {
            return Ok(reader.settings);
        }
        reader.problems.extend(reader.settings.out_of_bounds());
        reader.problems.sort_by_key(|problem| match &problem.origin {
            Some(Origin::File { line, .. }) => *line,
            _ => 0,
        });
        Err(InvalidFile::Settings(reader.problems))
    }
}

struct Reader<'a> {
    path: Arc<Path>,
    text: &'a str,
    settings: Settings,
    problems: Vec<InvalidSetting>,
}

impl Reader<'_> {
    fn read_section(
        &mut self,
        section: &'static definition::Section,
        at: Range<usize>,
        value: Spanned<DeValue<'_>>,
    ) {
        let DeValue::Table(members) = value.into_inner() else {
            let rule = format!("is a section; write [{0}] and its settings below", section.name);
            return self.refuse(&section.name, at, rule);
        };
        for (key, value) in members {
            let (name, at) = (key.get_ref().as_ref(), key.span());
            if let Some(setting) = section.settings.iter().find(|setting| setting.name() == name) {
                self.set(setting, at, value);
            } else {
                let names = section.settings.iter().map(|setting| setting.name().to_owned());
                let rule =
                    format!("is not a setting; settings of [{}] are {}", section.name, list(names));
                self.refuse(&format!("{}.{name}", section.name), at, rule);
            }
        }
    }

    fn read_flat(
        &mut self,
        old: &'static str,
        new: &'static Setting,
        at: Range<usize>,
        value: Spanned<DeValue<'_>>,
    ) {
        if let Some(origin) = self.settings.origin(&new.path) {
            let rule = format!(
                "is the old name of {}, which is set as well ({origin}); remove {old}",
                new.path
            );
            return self.refuse(old, at, rule);
        }
        let origin = self.origin(&at);
        self.set(new, at, value);
        self.settings.flat_names.push(FlatName { old, new, origin });
    }

    fn set(&mut self, setting: &'static Setting, at: Range<usize>, value: Spanned<DeValue<'_>>) {
        if setting.is_table() && value.get_ref().is_table() {
            return self.set_table(setting, at, value);
        }
        let origin = self.origin(&at);
        let set = if let Ok(value) = Value::deserialize(ValueDeserializer::from(value)) {
            self.settings.set(setting, value, origin)
        } else {
            // A number that does not fit in 64 bits.
            let rule = format!("must be {}", setting.kind());
            Err(InvalidSetting { setting: setting.path.clone(), rule, origin: Some(origin) })
        };
        self.problems.extend(set.err());
    }

    /// Sets a table, whose members are refused one by one.
    fn set_table(
        &mut self,
        setting: &'static Setting,
        at: Range<usize>,
        value: Spanned<DeValue<'_>>,
    ) {
        let DeValue::Table(members) = value.into_inner() else { return };
        let mut table = Table::new();
        for (key, value) in members {
            let (name, at) = (key.get_ref().to_string(), key.span());
            let value = Value::deserialize(ValueDeserializer::from(value)).ok();
            let checked = setting.check_member(&name, value.as_ref().unwrap_or(&Value::from("")));
            match (value, checked) {
                (Some(value), Ok(())) => {
                    self.settings.members.insert(setting.member(&name), self.origin(&at));
                    table.insert(name, value);
                }
                (_, checked) => {
                    let rule = checked.err().unwrap_or_else(|| "has an invalid value".to_owned());
                    self.refuse(&setting.member(&name), at, rule);
                }
            }
        }
        let origin = self.origin(&at);
        self.problems.extend(self.settings.set(setting, table, origin).err());
    }

    fn refuse(&mut self, name: &str, at: Range<usize>, rule: String) {
        let origin = Some(self.origin(&at));
        self.problems.push(InvalidSetting { setting: name.to_owned(), rule, origin });
    }

    fn origin(&self, at: &Range<usize>) -> Origin {
        let line = self.text[..at.start].matches('\n').count() + 1;
        Origin::File { path: self.path.clone(), line }
    }
}

fn list(names: impl Iterator<Item = String>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::settings;

    fn errors(text: &str) -> String {
        Settings::from_toml(Path::new("gatekey.toml"), text).unwrap_err().to_string()
    }

    #[test]
    fn every_error_is_reported_with_its_line() {
        let text = "lisen = 1\nserver = 1\n[tokens]\nlifetime_seconds = \"x\"\nlife = 1\n\
                    [keys]\nsigning_algorithm = \"none\"\nsigning_key_max_age_seconds = 99999999999999999999\n\
                    [limits]\nfailed_authentications_per_minute = 10001";
        assert_eq!(
            errors(text),
            "gatekey.toml, line 1: lisen is not a setting; sections are [server], [tls], [tokens], [keys], [database], \
             [identity], [limits], [log], [traces], [gate]\n\
             gatekey.toml, line 2: server is a section; write [server] and its settings below\n\
             gatekey.toml, line 4: tokens.lifetime_seconds must be a whole number from 60 to 86400\n\
             gatekey.toml, line 5: tokens.life is not a setting; settings of [tokens] are lifetime_seconds, \
             audiences, authorization_metadata_key\n\
             gatekey.toml, line 7: keys.signing_algorithm must be \"ES256\", \"RS256\" or \"EdDSA\"\n\
             gatekey.toml, line 8: keys.signing_key_max_age_seconds must be 0, or a whole number from 3600 to 315360000\n\
             gatekey.toml, line 10: limits.failed_authentications_per_minute must be a whole number from 0 to 10000"
        );
    }

    #[test]
    fn a_text_that_is_not_toml_is_shown() {
        let error = errors("= = =");
        assert!(
            error.starts_with("gatekey.toml is not a TOML file:\n") && error.contains("line 1"),
            "{error}"
        );
    }

    #[test]
    fn a_flat_name_sets_its_sections_setting() {
        let flat = "token_lifetime_seconds = 60\ntls_cert = \"c\"\ntls_key = \"k\"\notlp_trace_ratio = 0.5";
        let sections = "[tokens]\nlifetime_seconds = 60\n[tls]\ncert_file = \"c\"\nkey_file = \"k\"\n\
                        [traces]\nsample_ratio = 0.5";
        let (flat, sections) = (settings(flat), settings(sections));
        assert_eq!(flat.read(), sections.read());
        assert!(sections.flat_names().is_empty());
        let warnings: Vec<_> = flat.flat_names().iter().map(ToString::to_string).collect();
        assert_eq!(warnings.len(), 4);
        assert!(
            warnings.contains(
                &"gatekey.toml, line 1: token_lifetime_seconds is now lifetime_seconds in section [tokens]; \
              the next release refuses token_lifetime_seconds"
                    .to_owned()
            )
        );
    }

    #[test]
    fn a_setting_by_both_names_is_refused() {
        let error = errors("listen = \"127.0.0.1:1\"\n[server]\nlisten = \"127.0.0.1:1\"");
        assert_eq!(
            error,
            "gatekey.toml, line 1: listen is the old name of server.listen, which is set as well \
             (gatekey.toml, line 3); remove listen"
        );
    }

    #[test]
    fn every_flat_name_has_a_setting() {
        for (old, new) in flat_names::FLAT_NAMES {
            assert_eq!(flat_names::find(old).unwrap().1.path, new);
        }
    }
}
