//! OpenTelemetry's environment variables that are not settings.
//!
//! As the specification of the environment has it
//! (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>), an empty
//! variable counts as not set, and what is malformed or unknown is reported and ignored: these
//! variables are often set for every program on a machine.

use std::{ffi::OsString, fmt};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use gatekey_outbound::Proxies;
use percent_encoding::percent_decode_str;

const SDK_DISABLED: &str = "OTEL_SDK_DISABLED";
const EXPORTER: &str = "OTEL_TRACES_EXPORTER";
const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const SAMPLER_ARGUMENT: &str = "OTEL_TRACES_SAMPLER_ARG";
const PROPAGATORS: &str = "OTEL_PROPAGATORS";
const RESOURCE_ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
const TRACES_HEADERS: &str = "OTEL_EXPORTER_OTLP_TRACES_HEADERS";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
const TRACES_PROTOCOL: &str = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL";

/// The variables that are read, with their meaning.
pub const MEANINGS: [(&str, &str); 10] = [
    (SDK_DISABLED, "`true` disables traces"),
    (EXPORTER, "`otlp`, or `none`, which disables traces"),
    (
        SAMPLER,
        "Which requests are recorded: `always_on`, `always_off`, `traceidratio`, or one of these with \
         `parentbased_` before it, for which the caller's trace decides; overrides \
         `traces.sample_ratio`",
    ),
    (SAMPLER_ARGUMENT, "The ratio of `traceidratio`, from 0 to 1"),
    (PROPAGATORS, "A list without `tracecontext`, such as `none`, ignores callers' traces"),
    (
        RESOURCE_ATTRIBUTES,
        "Attributes of the server in traces, such as deployment.environment.name=production",
    ),
    (HEADERS, "Headers sent to the collector, such as authorization=Bearer%20..."),
    (TRACES_HEADERS, "Headers sent to the collector; override `OTEL_EXPORTER_OTLP_HEADERS`"),
    (PROTOCOL, "`http/protobuf`; others are reported and ignored"),
    (TRACES_PROTOCOL, "`http/protobuf`; overrides `OTEL_EXPORTER_OTLP_PROTOCOL`"),
];

/// Variables that are reported when they are set, because they are not supported.
const UNSUPPORTED: [(&str, &str); 9] = [
    ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "is not read; set OTEL_EXPORTER_OTLP_CERTIFICATE"),
    ("OTEL_EXPORTER_OTLP_CLIENT_KEY", CLIENT_CERTIFICATE),
    ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", CLIENT_CERTIFICATE),
    ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", CLIENT_CERTIFICATE),
    ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", CLIENT_CERTIFICATE),
    ("OTEL_EXPORTER_OTLP_COMPRESSION", COMPRESSION),
    ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", COMPRESSION),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", TIMEOUT),
    ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", TIMEOUT),
];
const CLIENT_CERTIFICATE: &str = "is not supported: no client certificate is sent";
const COMPRESSION: &str = "is not supported: spans are sent without compression";
const TIMEOUT: &str = "is not supported: each export times out after 10 seconds";

/// The values of the variables.
#[derive(Clone, Default)]
pub struct Variables {
    /// The variable that disables traces, if one does.
    pub disabled_by: Option<&'static str>,
    /// Sent with every batch. Marked as sensitive, and never printed.
    pub headers: HeaderMap,
    /// Attributes of the server.
    pub attributes: Vec<(String, String)>,
    /// Overrides the configuration.
    pub sampling: Option<Sampling>,
    /// Whether callers' traces are ignored.
    pub ignores_callers: bool,
    /// The proxies that lead to the collector. Read apart: their variables are not
    /// OpenTelemetry's.
    pub proxies: Proxies,
}

/// Which requests are recorded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Whether a caller's trace decides for its requests.
    pub parent_based: bool,
    /// The fraction of the others, from 0 to 1.
    pub ratio: f64,
}

/// A variable that is ignored. Does not repeat the value: it may contain a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignored {
    pub variable: &'static str,
    /// Follows the name of the variable.
    pub rule: String,
}

/// A value that is not a list of pairs. The message does not repeat it: it may contain a
/// credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidVariable {
    #[error("must be NAME=VALUE pairs separated by commas, with percent-encoded values")]
    Pairs,
    #[error("must name headers, with values that a header may have")]
    Header,
}

impl fmt::Debug for Variables {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Variables")
    }
}

impl fmt::Display for Ignored {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.variable, self.rule)
    }
}

impl Variables {
    /// Reads the variables, and returns those that are ignored.
    ///
    /// ```
    /// use gatekey_telemetry::traces::variables::Variables;
    ///
    /// let (variables, ignored) = Variables::read(|name| {
    ///     let value = if name == "OTEL_SDK_DISABLED" { "True" } else { "a;b" };
    ///     Some(value.into())
    /// });
    /// assert_eq!(variables.disabled_by, Some("OTEL_SDK_DISABLED"));
    /// assert!(ignored.iter().any(|ignored| ignored.variable == "OTEL_RESOURCE_ATTRIBUTES"));
    /// ```
    pub fn read(get: impl Fn(&'static str) -> Option<OsString>) -> (Self, Vec<Ignored>) {
        let mut reader = Reader { get, ignored: Vec::new() };
        let variables = Self {
            disabled_by: reader.disabled_by(),
            headers: reader.headers(),
            attributes: reader.parse(RESOURCE_ATTRIBUTES, pairs).unwrap_or_default(),
            sampling: reader.sampling(),
            ignores_callers: reader.ignores_callers(),
            proxies: Proxies::default(),
        };
        reader.check_protocol();
        reader.check_unsupported();
        (variables, reader.ignored)
    }
}

/// Reads variables, and collects those that are ignored.
struct Reader<G> {
    get: G,
    ignored: Vec<Ignored>,
}

impl<G: Fn(&'static str) -> Option<OsString>> Reader<G> {
    /// Returns the text of a variable that is set.
    fn text(&mut self, variable: &'static str) -> Option<String> {
        let text = (self.get)(variable)?;
        match text.into_string() {
            Ok(text) if text.trim().is_empty() => None,
            Ok(text) => Some(text.trim().to_owned()),
            Err(_) => {
                self.ignore(variable, "must be UTF-8");
                None
            }
        }
    }

    /// Parses a variable that is set. If it is malformed, its whole value is ignored.
    fn parse<T, E: fmt::Display>(
        &mut self,
        variable: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(variable)?;
        parse(&text).map_err(|rule| self.ignore(variable, &rule.to_string())).ok()
    }

    fn ignore(&mut self, variable: &'static str, rule: &str) {
        self.ignored.push(Ignored { variable, rule: rule.to_owned() });
    }

    fn disabled_by(&mut self) -> Option<&'static str> {
        let is_disabled = self.parse(SDK_DISABLED, |text| match &*text.to_ascii_lowercase() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("must be true or false"),
        });
        let exporters = self.parse(EXPORTER, |text| {
            let names = list(text);
            let has_only = |only: &str| names.iter().all(|name| name == only);
            if has_only("otlp") || has_only("none") {
                Ok(names)
            } else {
                Err("must be otlp or none")
            }
        });
        if is_disabled == Some(true) {
            return Some(SDK_DISABLED);
        }
        exporters.is_some_and(|names| names.iter().any(|name| name == "none")).then_some(EXPORTER)
    }

    fn headers(&mut self) -> HeaderMap {
        let specific = self.parse(TRACES_HEADERS, headers);
        let general = self.parse(HEADERS, headers);
        specific.or(general).unwrap_or_default()
    }

    fn sampling(&mut self) -> Option<Sampling> {
        let name = self.parse(SAMPLER, |text| {
            let name = text.to_ascii_lowercase();
            let known = ["always_on", "always_off", "traceidratio"];
            let is_known = known.contains(&name.trim_start_matches(PARENT_BASED));
            if is_known && !name.starts_with("parentbased_parentbased_") {
                Ok(name)
            } else {
                Err("must be always_on, always_off or traceidratio, with or without parentbased_ before it")
            }
        })?;
        let parent_based = name.starts_with(PARENT_BASED);
        let ratio = match name.trim_start_matches(PARENT_BASED) {
            "always_on" => 1.0,
            "always_off" => 0.0,
            _ => self
                .parse(SAMPLER_ARGUMENT, |text| {
                    let ratio = text.parse::<f64>().ok();
                    ratio
                        .filter(|ratio| (0.0..=1.0).contains(ratio))
                        .ok_or("must be a number from 0 to 1")
                })
                .unwrap_or(1.0),
        };
        Some(Sampling { parent_based, ratio })
    }

    fn ignores_callers(&mut self) -> bool {
        const KNOWN: [&str; 8] =
            ["tracecontext", "baggage", "b3", "b3multi", "jaeger", "xray", "ottrace", "none"];
        let names = self.parse(PROPAGATORS, |text| {
            let names = list(text);
            if names.iter().all(|name| KNOWN.contains(&&**name)) {
                Ok(names)
            } else {
                Err("must be a list of propagators, such as tracecontext,baggage, or none")
            }
        });
        names.is_some_and(|names| !names.iter().any(|name| name == "tracecontext"))
    }

    fn check_protocol(&mut self) {
        for variable in [TRACES_PROTOCOL, PROTOCOL] {
            let supported = self.parse(variable, |text| {
                let is_supported = text.eq_ignore_ascii_case("http/protobuf");
                is_supported.then_some(()).ok_or(
                    "must be http/protobuf, which is used; other protocols are not supported",
                )
            });
            if supported.is_some() {
                return;
            }
        }
    }

    fn check_unsupported(&mut self) {
        for (variable, rule) in UNSUPPORTED {
            if self.text(variable).is_some_and(|text| !text.eq_ignore_ascii_case("none")) {
                self.ignore(variable, rule);
            }
        }
    }
}

const PARENT_BASED: &str = "parentbased_";

/// Returns the names in a list, in lower case.
fn list(text: &str) -> Vec<String> {
    let names = text.split(',').map(|name| name.trim().to_ascii_lowercase());
    names.filter(|name| !name.is_empty()).collect()
}

/// Parses headers.
///
/// # Errors
/// When they are not pairs, or not valid in HTTP.
///
/// ```
/// use gatekey_telemetry::traces::variables::headers;
///
/// let headers = headers("authorization=Bearer%20secret,x-tenant=a").unwrap();
/// assert_eq!(headers["authorization"], "Bearer secret");
/// assert!(!format!("{headers:?}").contains("secret"));
/// ```
pub fn headers(text: &str) -> Result<HeaderMap, InvalidVariable> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs(text)? {
        let name = HeaderName::try_from(name).map_err(|_| InvalidVariable::Header)?;
        let mut value = HeaderValue::try_from(value).map_err(|_| InvalidVariable::Header)?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

/// Parses pairs in the format of W3C Baggage, without properties (OTLP exporter specification,
/// "Specifying headers").
///
/// # Errors
/// When they are not pairs.
///
/// ```
/// use gatekey_telemetry::traces::variables::pairs;
///
/// let expected = [("a".to_owned(), "1,2".to_owned()), ("b".to_owned(), String::new())];
/// assert_eq!(pairs(" a = 1%2C2, b=,").unwrap(), expected);
/// assert!(pairs("a").is_err() && pairs("=a").is_err() && pairs("a=%ff").is_err());
/// ```
pub fn pairs(text: &str) -> Result<Vec<(String, String)>, InvalidVariable> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let name = name.trim();
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
        (!name.is_empty()).then(|| (name.to_owned(), value.into_owned()))
    });
    pairs.collect::<Option<_>>().ok_or(InvalidVariable::Pairs)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(set: &[(&str, &str)]) -> (Variables, Vec<&'static str>) {
        let (variables, ignored) = Variables::read(|name| {
            set.iter().find(|(set, _)| *set == name).map(|(_, value)| value.into())
        });
        (variables, ignored.into_iter().map(|ignored| ignored.variable).collect())
    }

    #[test]
    fn every_standard_sampler_is_understood() {
        for (sampler, argument, parent_based, ratio) in [
            ("always_on", "", false, 1.0),
            ("ALWAYS_OFF", "0.5", false, 0.0),
            ("traceidratio", "0.25", false, 0.25),
            ("traceidratio", "", false, 1.0),
            ("parentbased_always_on", "", true, 1.0),
            ("parentbased_always_off", "", true, 0.0),
            (" parentbased_traceidratio ", "1e-3", true, 0.001),
        ] {
            let (variables, ignored) = read(&[(SAMPLER, sampler), (SAMPLER_ARGUMENT, argument)]);
            let expected = Some(Sampling { parent_based, ratio });
            assert_eq!((variables.sampling, ignored), (expected, vec![]), "{sampler}");
        }
        for sampler in ["jaeger_remote", "parentbased_parentbased_always_on", "on", "parentbased_"]
        {
            let (variables, ignored) = read(&[(SAMPLER, sampler)]);
            assert_eq!((variables.sampling, ignored), (None, vec![SAMPLER]), "{sampler}");
        }
        for argument in ["2", "-0.1", "nan", "half", "0,5"] {
            let set = [(SAMPLER, "traceidratio"), (SAMPLER_ARGUMENT, argument)];
            let (variables, ignored) = read(&set);
            let expected = Some(Sampling { parent_based: false, ratio: 1.0 });
            assert_eq!((variables.sampling, ignored), (expected, vec![SAMPLER_ARGUMENT]));
        }
        assert_eq!(read(&[(SAMPLER_ARGUMENT, "0.5")]).0.sampling, None);
    }

    #[test]
    fn only_a_clear_value_disables_traces() {
        for (variable, value, disabled, ignored) in [
            (SDK_DISABLED, "true", true, false),
            (SDK_DISABLED, "TRUE", true, false),
            (SDK_DISABLED, "false", false, false),
            (SDK_DISABLED, "1", false, true),
            (SDK_DISABLED, "", false, false),
            (EXPORTER, "none", true, false),
            (EXPORTER, "None ", true, false),
            (EXPORTER, "otlp", false, false),
            (EXPORTER, "console", false, true),
            (EXPORTER, "otlp,otlp", false, false),
            (EXPORTER, "otlp,none", false, true),
            (EXPORTER, "none,otlp", false, true),
        ] {
            let (variables, reported) = read(&[(variable, value)]);
            assert_eq!(variables.disabled_by.is_some(), disabled, "{variable}={value}");
            assert_eq!(!reported.is_empty(), ignored, "{variable}={value}");
        }
    }

    #[test]
    fn a_malformed_specific_variable_leaves_the_general_one() {
        let (variables, ignored) = read(&[(HEADERS, "x-a=1"), (TRACES_HEADERS, "x-b=2,broken")]);
        assert_eq!((variables.headers.len(), ignored), (1, vec![TRACES_HEADERS]));
        assert_eq!(variables.headers["x-a"], "1");
    }

    proptest! {
        #[test]
        fn no_value_is_an_error_or_repeated(value in "\\PC{0,30}|[a-z_=,./ ]{0,30}") {
            let (_, ignored) = Variables::read(|_| Some(format!("canary{value}").into()));
            for ignored in ignored {
                prop_assert!(!ignored.to_string().contains("canary"));
            }
        }
    }
}
