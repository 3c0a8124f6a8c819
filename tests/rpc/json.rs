//! Compares a JSON response with an expected one.

use serde_json::Value;

/// Checks that a response contains everything expected; it may contain more.
///
/// Expected `null` means that the field is absent, `"<any>"` any text, and `"<secret>"` a secret.
///
/// # Errors
/// The first difference.
pub(crate) fn check(expected: &Value, actual: &Value) -> Result<(), String> {
    compare("$", expected, actual)
}

fn compare(place: &str, expected: &Value, actual: &Value) -> Result<(), String> {
    let fits = match (expected, actual) {
        (Value::Object(fields), Value::Object(_)) => {
            return fields.iter().try_for_each(|(name, field)| {
                compare(&format!("{place}.{name}"), field, &actual[name])
            });
        }
        (Value::Array(expected), Value::Array(actual)) if expected.len() == actual.len() => {
            return expected.iter().zip(actual).enumerate().try_for_each(
                |(at, (expected, actual))| compare(&format!("{place}[{at}]"), expected, actual),
            );
        }
        (Value::String(expected), Value::String(actual)) => match expected.as_str() {
            "<any>" => !actual.is_empty(),
            "<secret>" => is_secret(actual),
            _ => expected == actual,
        },
        _ => expected == actual,
    };
    if fits { Ok(()) } else { Err(format!("{place} should be {expected} and is {actual}")) }
}

/// Whether a text is `gk_` and 37 letters and digits.
pub(crate) fn is_secret(text: &str) -> bool {
    text.strip_prefix("gk_").is_some_and(|rest| {
        rest.len() == 37 && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}
