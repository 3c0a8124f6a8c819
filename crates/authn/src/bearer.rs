//! Bearer tokens in a header (RFC 6750 section 2.1).

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::principal::Refusal;

/// The challenge to a request without a credential (RFC 6750 section 3).
pub const CHALLENGE: HeaderValue = HeaderValue::from_static(r#"Bearer realm="gatekey""#);

/// Returns the only Bearer token, from `authorization` or from the advertised header. `Basic` in
/// `authorization` is for client authentication and yields no token.
///
/// # Errors
/// When there are several credentials, or one that is not a Bearer token.
pub fn token<'h>(
    headers: &'h HeaderMap,
    further: Option<&HeaderName>,
) -> Result<Option<&'h str>, Refusal> {
    let further = further.map(|name| headers.get_all(name));
    let mut values =
        headers.get_all(header::AUTHORIZATION).iter().chain(further.into_iter().flatten());
    let Some(value) = values.next() else { return Ok(None) };
    // Some clients send the same credential in both headers.
    if values.any(|other| other != value) {
        return Err(Refusal::Several);
    }
    let value = value.to_str().map_err(|_| Refusal::NotBearer)?;
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token.trim())),
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("basic") => Ok(None),
        Some(_) | None => Err(Refusal::NotBearer),
    }
}
