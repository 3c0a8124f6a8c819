//! [`Limits`]: where a key may be used from, how often, and for what.

use std::{collections::HashSet, fmt, num::NonZeroU32, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::network::Networks;

/// A key can have at most this many networks, projects or domains.
pub const MAX_LIMIT_ENTRIES: usize = 32;
/// The longest name of a project or domain: Flyte makes Kubernetes namespaces of them.
const MAX_LABEL_LENGTH: usize = 63;

/// What limits the use of a key beside its roles. By default, nothing does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// The networks that the key may be used from; empty for any.
    #[serde(default, skip_serializing_if = "Networks::is_empty")]
    pub allow_from: Networks,
    /// How often the key may be used; `None` for any rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// The Flyte projects that the key may be used for; empty for any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub projects: Vec<String>,
    /// The Flyte domains that the key may be used for; empty for any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<String>,
}

impl Limits {
    /// Whether nothing is limited.
    pub fn is_none(&self) -> bool {
        let Self { allow_from, rate, projects, domains } = self;
        allow_from.is_empty() && rate.is_none() && projects.is_empty() && domains.is_empty()
    }

    /// Whether the key may be used for some projects or domains only.
    pub fn has_scope(&self) -> bool {
        !self.projects.is_empty() || !self.domains.is_empty()
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn some(list: &[String]) -> Option<&[String]> {
            (!list.is_empty()).then_some(list)
        }
        let Self { allow_from, rate, projects, domains } = self;
        let networks = (!allow_from.is_empty()).then_some(allow_from);
        let rate = rate.as_ref().map(std::slice::from_ref);
        formatter.write_str(&words(networks, rate, some(projects), some(domains)))
    }
}

/// Limits as name-value pairs. What is `None` is left out, and what is empty limits nothing.
pub(super) fn words(
    allow_from: Option<&Networks>,
    rate: Option<&[Rate]>,
    projects: Option<&[String]>,
    domains: Option<&[String]>,
) -> String {
    let networks = allow_from.map(|list| list.iter().map(ToString::to_string).collect::<Vec<_>>());
    let rate = rate.map(|rate| rate.iter().map(ToString::to_string).collect::<Vec<_>>());
    let pairs = [
        ("allow_from", networks.as_deref()),
        ("rate", rate.as_deref()),
        ("projects", projects),
        ("domains", domains),
    ];
    let words = pairs.into_iter().filter_map(|(name, values)| {
        let values = values?.join(",");
        Some(format!("{name}={}", if values.is_empty() { "any" } else { &values }))
    });
    words.collect::<Vec<_>>().join(" ")
}

/// How often a key may be used: a number of requests in each second, minute or hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Rate {
    count: NonZeroU32,
    unit: Unit,
}

/// The time in which a [`Rate`] counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Second,
    Minute,
    Hour,
}

/// Text that is not a [`Rate`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a number from 1 to {} and a unit, such as 100/s, 600/m or 5000/h", Rate::MAX)]
pub struct InvalidRate;

impl Rate {
    /// The largest number of requests.
    pub const MAX: u32 = 1_000_000;

    /// The number of requests.
    pub fn count(self) -> u32 {
        self.count.get()
    }

    /// The time for that number.
    pub fn window(self) -> Duration {
        match self.unit {
            Unit::Second => Duration::from_secs(1),
            Unit::Minute => Duration::from_mins(1),
            Unit::Hour => Duration::from_hours(1),
        }
    }
}

impl FromStr for Rate {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        let (count, unit) = text.split_once('/').ok_or(InvalidRate)?;
        // A number's parser would also accept a sign and leading zeros.
        let is_number = (1..=7).contains(&count.len())
            && count.bytes().all(|byte| byte.is_ascii_digit())
            && !count.starts_with('0');
        let count = count.parse().ok().filter(|count: &NonZeroU32| count.get() <= Self::MAX);
        let count = count.filter(|_| is_number).ok_or(InvalidRate)?;
        let unit = match unit {
            "s" => Unit::Second,
            "m" => Unit::Minute,
            "h" => Unit::Hour,
            _ => return Err(InvalidRate),
        };
        Ok(Self { count, unit })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.unit {
            Unit::Second => 's',
            Unit::Minute => 'm',
            Unit::Hour => 'h',
        };
        write!(formatter, "{}/{unit}", self.count)
    }
}

impl TryFrom<String> for Rate {
    type Error = InvalidRate;

    fn try_from(text: String) -> Result<Self, InvalidRate> {
        text.parse()
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> Self {
        rate.to_string()
    }
}

/// Checks the networks of a key, and returns the rule that they break.
pub(super) fn check_networks(networks: &Networks) -> Result<(), String> {
    check_list(networks.iter())
}

/// Checks the names of projects or domains, and returns the rule that they break.
pub(super) fn check_labels(names: &[String]) -> Result<(), String> {
    check_list(names.iter())?;
    if names.iter().all(|name| is_label(name)) {
        return Ok(());
    }
    Err(format!(
        "must have names of 1 to {MAX_LABEL_LENGTH} of a-z 0-9 -, which neither begin nor end with a dash"
    ))
}

fn check_list<T: Eq + std::hash::Hash>(
    list: impl ExactSizeIterator<Item = T>,
) -> Result<(), String> {
    let length = list.len();
    if length > MAX_LIMIT_ENTRIES {
        return Err(format!("must have at most {MAX_LIMIT_ENTRIES} entries"));
    }
    if list.collect::<HashSet<_>>().len() < length {
        return Err("must not name the same thing twice".to_owned());
    }
    Ok(())
}

/// Whether a text is a label of the DNS, as the names of Flyte's projects are.
fn is_label(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=MAX_LABEL_LENGTH).contains(&text.len())
        && text.bytes().all(allowed)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_rate_has_one_spelling() {
        for (text, seconds) in [("1/s", 1), ("600/m", 60), ("1000000/h", 3600)] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!((rate.to_string().as_str(), rate.window().as_secs()), (text, seconds));
        }
        for text in [
            "",
            "/",
            "100",
            "100/",
            "/s",
            "0/s",
            "01/s",
            "+1/s",
            "-1/s",
            "1 /s",
            "1/S",
            "1/d",
            "1/ss",
            "1/s ",
            "1000001/h",
            "1.5/s",
            "9999999999/s",
        ] {
            assert_eq!(text.parse::<Rate>(), Err(InvalidRate), "{text}");
        }
    }

    #[test]
    fn names_are_labels_of_the_dns() {
        let names = |names: &[&str]| {
            check_labels(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(names(&["flytesnacks", "a", "team-2", &"x".repeat(63)]), Ok(()));
        for name in ["", "-a", "a-", "A", "a_b", "a b", "a.b", "ü", "a/b", &"x".repeat(64)] {
            assert!(names(&[name]).is_err(), "{name}");
        }
        assert!(names(&["a", "b", "a"]).is_err());
        let many: Vec<_> = (0..=MAX_LIMIT_ENTRIES).map(|number| format!("p{number}")).collect();
        assert!(check_labels(&many).is_err() && check_labels(&many[1..]).is_ok());
    }

    #[test]
    fn stored_limits_are_read_back() {
        let limits = Limits {
            allow_from: ["10.0.0.0/8".parse().unwrap()].into_iter().collect(),
            rate: Some("100/s".parse().unwrap()),
            projects: vec!["flytesnacks".to_owned()],
            domains: vec!["development".to_owned()],
        };
        let text = r#"{"allow_from":["10.0.0.0/8"],"rate":"100/s","projects":["flytesnacks"],"domains":["development"]}"#;
        assert_eq!(serde_json::to_string(&limits).unwrap(), text);
        assert_eq!(serde_json::from_str::<Limits>(text).unwrap(), limits);
        assert_eq!(serde_json::to_string(&Limits::default()).unwrap(), "{}");
        assert!(serde_json::from_str::<Limits>(r#"{"rate":"1/s","hours":"9-17"}"#).is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_the_rate_parser_panic(text in "[0-9]{0,9}/[smhd]|\\PC{0,20}") {
            if let Ok(rate) = text.parse::<Rate>() {
                prop_assert_eq!(rate.to_string(), text);
            }
        }
    }
}
