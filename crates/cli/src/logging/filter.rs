//! The log filter in `GATEKEY_LOG`.

use std::ffi::OsStr;

use gatekey_core::redact;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

pub(crate) const VARIABLE: &str = "GATEKEY_LOG";
/// The name of the lines of requests.
pub(super) const REQUESTS: &str = "gatekey::request";
/// What the variable may contain, for errors.
pub(super) const FORM: &str = "off, error, warn, info, debug or trace; or levels by part, such as \
                               info,gatekey::request=off";
/// The same, for the documentation.
#[cfg(test)]
pub(crate) const FORM_IN_MARKDOWN: &str = "`off`, `error`, `warn`, `info`, `debug` or `trace`, or \
                                           levels by part, such as `info,gatekey::request=off`";

/// Libraries whose log lines can be selected by their own names.
const LIBRARIES: [&str; 6] = ["h2", "hyper", "hyper_util", "opentelemetry", "rustls", "tokio"];
/// Characters of a malformed filter that are logged.
const MAX_SHOWN: usize = 100;

/// A filter that is not [`FORM`]: the part of it that is at fault, or a mark if that contains a
/// credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) String);

/// Parses a filter. `None` and blank text count as not set. A list without a bare level has the
/// default level beside it.
///
/// # Errors
/// At the first directive that is neither a level nor `part=level`. A directive that is taken for
/// the name of a part would silence everything else.
pub(crate) fn parse(text: Option<&OsStr>, default: LevelFilter) -> Result<Targets, Malformed> {
    let text = text.unwrap_or_default().to_str().ok_or_else(|| Malformed(String::new()))?;
    let mut targets = Targets::new().with_default(default);
    for directive in text.split(',').map(str::trim).filter(|directive| !directive.is_empty()) {
        let malformed = || Malformed(redact(directive, MAX_SHOWN));
        targets = match directive.split_once('=') {
            None => targets.with_default(level(directive).ok_or_else(malformed)?),
            Some((part, of_part)) if is_part(part.trim()) => {
                targets.with_target(part.trim(), level(of_part.trim()).ok_or_else(malformed)?)
            }
            Some(_) => return Err(malformed()),
        };
    }
    Ok(targets)
}

fn level(text: &str) -> Option<LevelFilter> {
    const LEVELS: [(&str, LevelFilter); 6] = [
        ("off", LevelFilter::OFF),
        ("error", LevelFilter::ERROR),
        ("warn", LevelFilter::WARN),
        ("info", LevelFilter::INFO),
        ("debug", LevelFilter::DEBUG),
        ("trace", LevelFilter::TRACE),
    ];
    LEVELS.into_iter().find(|(name, _)| text.eq_ignore_ascii_case(name)).map(|(_, level)| level)
}

/// Whether a text is the path of a module that logs.
fn is_part(text: &str) -> bool {
    let (head, _) = text.split_once("::").unwrap_or((text, ""));
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    text.split("::").all(is_name)
        && (head == "gatekey" || head.starts_with("gatekey_") || LIBRARIES.contains(&head))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tracing::Level;

    use super::*;

    const SERVER: &str = "gatekey_server::jobs";

    fn parsed(text: &str) -> Result<Targets, Malformed> {
        parse(Some(text.as_ref()), LevelFilter::INFO)
    }

    /// The levels of requests and of the rest.
    fn levels(text: &str) -> [Option<Level>; 2] {
        let targets = parsed(text).unwrap_or_else(|at| panic!("{text:?} is malformed at {at:?}"));
        [REQUESTS, SERVER].map(|target| {
            [Level::TRACE, Level::DEBUG, Level::INFO, Level::WARN, Level::ERROR]
                .into_iter()
                .find(|level| targets.would_enable(target, level))
        })
    }

    #[test]
    fn blanks_around_a_directive_are_ignored() {
        let (info, debug, warn) = (Some(Level::INFO), Some(Level::DEBUG), Some(Level::WARN));
        for text in ["", " ", "info", " info ", "\tINFO\n", ",info,", "Info"] {
            assert_eq!(levels(text), [info, info], "{text:?}");
        }
        assert_eq!(levels(" warn , gatekey::request = info "), [info, warn]);
        assert_eq!(levels("gatekey=debug"), [debug, debug]);
        assert_eq!(levels("off"), [None, None]);
        assert_eq!(parse(None, LevelFilter::WARN), parse(Some("".as_ref()), LevelFilter::WARN));
    }

    #[test]
    fn a_list_without_a_level_means_info() {
        assert_eq!(levels("gatekey::request=off"), [None, Some(Level::INFO)]);
        assert_eq!(levels("rustls=debug,h2=off"), [Some(Level::INFO); 2]);
    }

    #[test]
    fn anything_else_is_malformed() {
        for text in [
            "warning",
            "verbose",
            "information",
            "error;info",
            "\"info\"",
            "gatekey",
            "gatekey=",
            "gatekey=verbose",
            "=info",
            "info=gatekey",
            "gatekye=info",
            "gatekey::=info",
            "gatekey request=info",
            "[span]=info",
            "1",
            "info debug",
            "info,quiet",
        ] {
            let malformed = parsed(text).unwrap_err();
            assert!(text.contains(&malformed.0), "{text:?}: {malformed:?}");
        }
        let secret = gatekey_credentials::Secret::from_random(&[7; 23]);
        assert_eq!(parsed(secret.expose()), Err(Malformed("[credential]".to_owned())));
    }

    proptest! {
        #[test]
        fn no_filter_silences_the_log_by_accident(text in "[a-z:=, ;]{0,20}|\\PC{0,20}") {
            if let Ok(targets) = parsed(&text)
                && !text.to_ascii_lowercase().contains("off")
            {
                prop_assert!(targets.would_enable(SERVER, &Level::ERROR), "{}", text);
            }
        }
    }
}
