//! [`Setting`]: the definition of a setting, which flags, file, JSON Schema and reference page
//! share.
//!
//! A setting is defined once: it is a field of the `Section` in the file of its section. The type,
//! the doc comment and the default of the field are read from the JSON Schema that schemars
//! derives. The first paragraph of the comment is the help of the flag. What a type cannot express
//! is added to the field by `#[schemars(extend(...))]`:
//!
//! | keyword | meaning |
//! |---|---|
//! | `x-flag` | command-line flag, such as `--listen` |
//! | `x-variable` | environment variable of the flag |
//! | `x-value` | placeholder of the flag's value; `ADDR`, `FILE`, `NETWORK`, `URL` are also types |
//! | `x-bare` | value of the flag when it is given without one |
//! | `x-unset` | what applies when an optional setting is not set |
//! | `x-group` | settings that override lower layers together, such as certificate and key |

use std::sync::LazyLock;

use serde::Deserialize as _;
use serde_json::Value as Json;
use toml::{Table, Value};

use super::{schema, sections::Sections};

/// A section of the configuration file.
#[derive(Debug)]
pub struct Section {
    pub name: String,
    /// One or more paragraphs of Markdown.
    pub description: String,
    /// In the order of their definition.
    pub settings: Vec<Setting>,
}

/// The definition of a setting.
#[derive(Debug)]
pub struct Setting {
    /// Section and name, such as `server.listen`.
    pub path: String,
    section: String,
    name: String,
    /// Its JSON Schema, with the additional keywords.
    schema: Json,
}

/// Returns the sections, in the order of their definition.
pub fn sections() -> &'static [Section] {
    static SECTIONS: LazyLock<Vec<Section>> = LazyLock::new(|| {
        let schema = schema::annotated();
        let describe = |(name, schema): (String, Json)| Section {
            description: text(&schema, "description").unwrap_or_default().to_owned(),
            settings: members(&schema)
                .map(|(setting, schema)| Setting {
                    path: format!("{name}.{setting}"),
                    section: name.clone(),
                    name: setting,
                    schema,
                })
                .collect(),
            name,
        };
        members(&schema).map(describe).collect()
    });
    &SECTIONS
}

/// Returns every setting, in the order of their definition.
pub fn settings() -> impl Iterator<Item = &'static Setting> {
    sections().iter().flat_map(|section| &section.settings)
}

/// Returns the setting with a path such as `server.listen`.
///
/// # Panics
/// If there is none: paths are written in code.
pub fn setting(path: &str) -> &'static Setting {
    settings()
        .find(|setting| setting.path == path)
        .unwrap_or_else(|| panic!("no setting has the path {path}"))
}

impl Setting {
    /// Returns the name of the section.
    pub fn section(&self) -> &str {
        &self.section
    }

    /// Returns the name of the setting in its section.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the whole description, as Markdown.
    pub fn description(&self) -> &str {
        text(&self.schema, "description").unwrap_or_default()
    }

    /// Returns the first paragraph of the description, without a period at the end.
    pub fn summary(&self) -> &str {
        let first = self.description().split("\n\n").next().unwrap_or_default();
        first.trim_end_matches('.')
    }

    /// Returns the default as JSON, which is also TOML; `None` for an optional setting.
    pub fn default(&self) -> Option<&Json> {
        self.schema.get("default")
    }

    /// Returns what applies when an optional setting is not set.
    pub fn when_unset(&self) -> Option<&str> {
        text(&self.schema, "x-unset")
    }

    /// Returns the flag, such as `--listen`.
    pub fn flag(&self) -> Option<&str> {
        text(&self.schema, "x-flag")
    }

    /// Returns the environment variable of the flag.
    pub fn variable(&self) -> Option<&str> {
        text(&self.schema, "x-variable")
    }

    /// Returns the placeholder of the flag's value.
    pub fn value_name(&self) -> Option<&str> {
        text(&self.schema, "x-value")
    }

    /// Returns the value of the flag when it is given without one.
    pub fn bare_value(&self) -> Option<&str> {
        text(&self.schema, "x-bare")
    }

    /// Returns the group whose settings override lower layers together.
    pub(super) fn group(&self) -> Option<&str> {
        text(&self.schema, "x-group")
    }

    /// Returns whether the flag is a switch, without a value.
    pub fn is_switch(&self) -> bool {
        self.schema["type"] == "boolean"
    }

    /// Returns whether the value is a table whose names are not settings but values of the
    /// operator, such as patterns.
    pub fn is_table(&self) -> bool {
        self.schema["additionalProperties"].is_object()
    }

    /// Returns whether the value is a list of tables, such as `[[gate.issuers]]`.
    pub fn is_list_of_tables(&self) -> bool {
        self.schema["items"]["type"] == "object"
    }

    /// Returns the path of a member of a table, such as `gate.rules."/path"`.
    pub fn member(&self, name: &str) -> String {
        format!("{}.{}", self.path, Value::from(name))
    }

    /// Returns the possible values, each with its description, if there are only some.
    pub fn choices(&self) -> Vec<(&str, &str)> {
        choices(&self.schema)
    }

    /// Describes the values that are allowed, such as `a whole number from 60 to 86400`.
    pub fn kind(&self) -> String {
        kind(&self.schema)
    }

    /// Reads the value of a flag or an environment variable.
    ///
    /// # Errors
    /// If the setting cannot have the value; the message follows the setting's name.
    pub fn parse(&self, text: &str) -> Result<Value, String> {
        let value = match self.schema["type"].as_str() {
            Some("boolean" | "integer" | "number" | "array") => Value::deserialize(
                toml::de::ValueDeserializer::parse(text).map_err(|_| self.must_be())?,
            )
            .map_err(|_| self.must_be())?,
            _ => Value::from(text),
        };
        self.check_type(&value)?;
        Ok(value)
    }

    /// Checks that the field of the setting can hold a value.
    pub(super) fn check_type(&self, value: &Value) -> Result<(), String> {
        let section = Table::from_iter([(self.name.clone(), value.clone())]);
        let file = Table::from_iter([(self.section.clone(), section.into())]);
        Sections::deserialize(file).map(drop).map_err(|error| {
            if self.is_list_of_tables() && value.is_array() {
                // The tables are more than one value, so say which part of them is wrong.
                format!("{}: {}", self.must_be(), error.message())
            } else {
                self.must_be()
            }
        })
    }

    /// Checks that a table can hold a member.
    pub(super) fn check_member(&self, name: &str, value: &Value) -> Result<(), String> {
        let table = Table::from_iter([(name.to_owned(), value.clone())]);
        let rule = || format!("must be {}", kind(&self.schema["additionalProperties"]));
        self.check_type(&table.into()).map_err(|_| rule())
    }

    /// Checks a value of the right type against the bounds in the schema.
    pub(super) fn check_bounds(&self, value: &Value) -> Result<(), String> {
        if is_within(&self.schema, value) { Ok(()) } else { Err(self.must_be()) }
    }

    /// Returns the value of this setting in a configuration.
    pub(super) fn of<'a>(&self, configuration: &'a Table) -> Option<&'a Value> {
        configuration.get(&self.section)?.get(&self.name)
    }

    fn must_be(&self) -> String {
        format!("must be {}", self.kind())
    }
}

fn text<'a>(schema: &'a Json, keyword: &str) -> Option<&'a str> {
    schema.get(keyword)?.as_str()
}

fn choices(schema: &Json) -> Vec<(&str, &str)> {
    let described = schema["oneOf"].as_array().into_iter().flatten();
    described
        .filter_map(|choice| {
            Some((text(choice, "const")?, text(choice, "description").unwrap_or_default()))
        })
        .collect()
}

fn kind(schema: &Json) -> String {
    let names: Vec<_> = choices(schema).iter().map(|(name, _)| format!("\"{name}\"")).collect();
    if let Some((last, others)) = names.split_last() {
        return format!("{} or {last}", others.join(", "));
    }
    let bounds = match (&schema["minimum"], &schema["maximum"]) {
        (Json::Null, _) | (_, Json::Null) => String::new(),
        (least, most) => format!(" from {least} to {most}"),
    };
    match schema["type"].as_str().unwrap_or_default() {
        "boolean" => "true or false".to_owned(),
        "integer" => match &schema["not"]["maximum"] {
            Json::Number(gap) => format!(
                "{}, or a whole number from {} to {}",
                schema["minimum"],
                gap.as_u64().unwrap_or_default() + 1,
                schema["maximum"]
            ),
            _ => format!("a whole number{bounds}"),
        },
        "number" => format!("a number{bounds}"),
        "object" => {
            format!("a table, in which each value is {}", kind(&schema["additionalProperties"]))
        }
        "array" => {
            if text(schema, "x-value") == Some("NETWORK") {
                return "a list of IP addresses and networks, such as 10.42.0.0/16".to_owned();
            }
            if schema["items"]["type"] == "object" {
                let names: Vec<_> = members(&schema["items"]).map(|(name, _)| name).collect();
                return format!("a list of tables with {}", names.join(", "));
            }
            let least = schema["minItems"].as_u64().map(|least| format!(", at least {least}"));
            format!("a list of strings{}", least.unwrap_or_default())
        }
        _ => match text(schema, "x-value") {
            Some("ADDR") => "an IP address with a port, such as 127.0.0.1:8443".to_owned(),
            Some("FILE") => "a path".to_owned(),
            Some("URL") => "a URL".to_owned(),
            _ if schema.get("minLength").is_some() => "a string that is not empty".to_owned(),
            _ => "a string".to_owned(),
        },
    }
}

fn is_within(schema: &Json, value: &Value) -> bool {
    let is_at_least = |length: usize, keyword: &str| {
        schema[keyword]
            .as_u64()
            .is_none_or(|least| u64::try_from(length).is_ok_and(|length| length >= least))
    };
    match value {
        Value::Integer(number) => {
            schema["minimum"].as_i64().is_none_or(|least| *number >= least)
                && schema["maximum"].as_i64().is_none_or(|most| *number <= most)
        }
        Value::Float(number) => {
            schema["minimum"].as_f64().is_none_or(|least| *number >= least)
                && schema["maximum"].as_f64().is_none_or(|most| *number <= most)
        }
        Value::String(text) => is_at_least(text.chars().count(), "minLength"),
        Value::Array(items) => is_at_least(items.len(), "minItems"),
        Value::Boolean(_) | Value::Datetime(_) | Value::Table(_) => true,
    }
}

/// Returns the members of an object in the order of the struct's fields. `properties` is sorted by
/// name, but `required` lists all fields in order, because serialization writes all of them.
fn members(schema: &Json) -> impl Iterator<Item = (String, Json)> {
    let names = schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str);
    names.map(|name| (name.to_owned(), schema["properties"][name].clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_those_of_the_table() {
        const KEYWORDS: [&str; 6] =
            ["x-flag", "x-variable", "x-value", "x-bare", "x-unset", "x-group"];
        for setting in settings() {
            let keywords = setting.schema.as_object().unwrap().keys();
            for keyword in keywords.filter(|keyword| keyword.starts_with("x-")) {
                assert!(KEYWORDS.contains(&keyword.as_str()), "{}: {keyword}", setting.path);
            }
        }
    }

    #[test]
    fn a_flag_is_parsed_by_its_type() {
        let parse = |path: &str, text: &str| setting(path).parse(text);
        assert_eq!(parse("server.organization", "1").unwrap(), Value::from("1"));
        assert_eq!(parse("tokens.lifetime_seconds", "60").unwrap(), Value::from(60));
        assert_eq!(parse("traces.sample_ratio", "0.5").unwrap(), Value::from(0.5));
        let must_be = parse("tokens.lifetime_seconds", "1h").unwrap_err();
        assert_eq!(must_be, "must be a whole number from 60 to 86400");
        let must_be = parse("log.format", "xml").unwrap_err();
        assert_eq!(must_be, "must be \"auto\", \"text\" or \"json\"");
    }
}
