//! `client_secret_basic`: HTTP Basic with both parts form-encoded (RFC 6749 section 2.3.1).

use axum::http::HeaderValue;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use url::form_urlencoded;
use zeroize::Zeroizing;

use crate::credentials::ClientCredentials;

/// The header is not `Basic` and the encoded parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// Returns the credentials in an `authorization` header; `None` if it has another scheme.
///
/// # Errors
/// [`Malformed`].
pub fn credentials(authorization: &HeaderValue) -> Result<Option<ClientCredentials>, Malformed> {
    let value = authorization.to_str().map_err(|_| Malformed)?;
    let (scheme, encoded) = value.split_once(' ').ok_or(Malformed)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Ok(None);
    }
    decode(encoded).map(Some).ok_or(Malformed)
}

/// Decodes strict base64 of two form-encoded parts around the first colon.
fn decode(encoded: &str) -> Option<ClientCredentials> {
    let bytes = Zeroizing::new(BASE64_STANDARD.decode(encoded.trim()).ok()?);
    let text = std::str::from_utf8(&bytes).ok()?;
    let (client_id, client_secret) = text.split_once(':')?;
    let (client_id, client_secret) =
        (form_decode(client_id)?, Zeroizing::new(form_decode(client_secret)?));
    Some(ClientCredentials::trimmed(&client_id, &client_secret))
}

fn form_decode(text: &str) -> Option<String> {
    let has_escape = text.bytes().any(|byte| matches!(byte, b'%' | b'+'));
    // Encoding escapes separators: a part that has one but no `%` was not encoded.
    if !has_escape || (text.contains(['&', '=']) && !text.contains('%')) {
        return Some(text.to_owned());
    }
    // Decoded as the only name of a form, in which separators would end it.
    let escaped = Zeroizing::new(text.replace('&', "%26").replace('=', "%3D"));
    let decoded =
        form_urlencoded::parse(escaped.as_bytes()).next().map(|(name, _)| name.into_owned());
    let decoded = decoded.unwrap_or_default();
    // The decoder writes this character for bytes that are not UTF-8.
    (!decoded.contains('\u{fffd}')).then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Option<(String, String)> {
        let decoded = decode(&BASE64_STANDARD.encode(text))?;
        Some((decoded.client_id, decoded.client_secret.to_string()))
    }

    #[test]
    fn both_parts_are_split_and_form_decoded() {
        assert_eq!(
            parts("ci:adm%2Bin%2Fs3cret%2520%3D"),
            Some(("ci".into(), "adm+in/s3cret%20=".into()))
        );
        assert_eq!(parts("a+b:c:d"), Some(("a b".into(), "c:d".into())));
        assert_eq!(parts("ci:a&b=c%26"), Some(("ci".into(), "a&b=c&".into())));
        assert_eq!(parts("ci:"), Some(("ci".into(), String::new())));
        assert_eq!(parts("ci:s\r\n"), Some(("ci".into(), "s".into())));
        assert_eq!(parts("%20ci:s%0A"), Some(("ci".into(), "s".into())));
        assert_eq!(parts("no colon"), None);
        assert_eq!(parts("ci:%ff"), None);
    }

    #[test]
    fn loose_base64_is_refused() {
        assert!(decode("Y2k6eA").is_none());
        assert!(decode("Y2k6eA==\u{20}x").is_none());
        assert!(decode("Y2k6eB==").is_none());
    }
}
