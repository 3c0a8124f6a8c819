//! The only credential of a request to an API behind the gate.
//!
//! Stricter than [`bearer`](crate::bearer): whatever an upstream could take for a second credential
//! makes the request ambiguous.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use url::form_urlencoded;

use crate::principal::Refusal;

/// Returns the only Bearer credential, from `authorization` or from the advertised header.
///
/// Cookies are ignored. A token in the query (RFC 6750 section 2.3) is not accepted, and beside
/// another credential it is one too many. `IDToken`, which flyteadmin knows, is refused: an ID
/// token is for the client that asked who its user is, and permits nothing.
///
/// # Errors
/// [`Refusal::Several`] for different credentials, or several in one header;
/// [`Refusal::NotBearer`] for any other scheme, such as `Basic`.
pub(crate) fn find<'h>(
    headers: &'h HeaderMap,
    further: Option<&HeaderName>,
    query: Option<&str>,
) -> Result<Option<&'h str>, Refusal> {
    let further = further.map(|name| headers.get_all(name));
    let values = headers.get_all(header::AUTHORIZATION).iter().chain(further.into_iter().flatten());
    let mut credentials = values.map(parse);
    let Some(credential) = credentials.next() else { return Ok(None) };
    // Some clients send the same credential in both headers.
    if credentials.any(|other| other != credential) || query.is_some_and(has_token) {
        return Err(Refusal::Several);
    }
    credential.map(Some)
}

/// The credential in a header's value.
fn parse(value: &HeaderValue) -> Result<&str, Refusal> {
    let value = value.to_str().map_err(|_| Refusal::NotBearer)?;
    // Neither a token nor base64 has a comma, which joins the values of several headers.
    if value.contains(',') {
        return Err(Refusal::Several);
    }
    match value.split_once(' ') {
        Some((scheme, credential)) if scheme.eq_ignore_ascii_case("bearer") => {
            Ok(credential.trim_matches(' '))
        }
        Some(_) | None => Err(Refusal::NotBearer),
    }
}

/// Whether a query has a token.
fn has_token(query: &str) -> bool {
    form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "access_token")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADVERTISED: HeaderName = HeaderName::from_static("flyte-authorization");

    fn found(
        sent: &[(HeaderName, &'static str)],
        query: Option<&str>,
    ) -> Result<Option<String>, Refusal> {
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            headers.append(name.clone(), HeaderValue::from_static(value));
        }
        find(&headers, Some(&ADVERTISED), query).map(|found| found.map(str::to_owned))
    }

    #[test]
    fn either_header_carries_the_credential() {
        for name in [header::AUTHORIZATION, ADVERTISED] {
            for value in ["Bearer a.b.c", "bearer a.b.c", "BEARER  a.b.c "] {
                assert_eq!(found(&[(name.clone(), value)], None), Ok(Some("a.b.c".to_owned())));
            }
        }
        assert_eq!(found(&[(header::COOKIE, "access_token=a.b.c")], None), Ok(None));
    }

    #[test]
    fn the_same_credential_twice_is_one() {
        let twice = [(header::AUTHORIZATION, "Bearer x"), (ADVERTISED, "bearer x")];
        assert_eq!(found(&twice, None), Ok(Some("x".to_owned())));
        assert_eq!(found(&twice, Some("a=b")), Ok(Some("x".to_owned())));
    }

    #[test]
    fn different_credentials_are_several() {
        for sent in [
            &[(header::AUTHORIZATION, "Bearer x"), (ADVERTISED, "Bearer y")][..],
            &[(header::AUTHORIZATION, "Bearer x"), (header::AUTHORIZATION, "Bearer y")],
            &[(header::AUTHORIZATION, "Bearer x, Bearer y")],
            &[(header::AUTHORIZATION, "Bearer x,y")],
            &[(header::AUTHORIZATION, "Bearer x, Basic eA==")],
        ] {
            assert_eq!(found(sent, None), Err(Refusal::Several), "{sent:?}");
        }
    }

    #[test]
    fn another_scheme_is_not_bearer() {
        for value in ["Basic eDp5", "IDToken a.b.c", "DPoP a.b.c", "Bearer", "a.b.c", ""] {
            let sent = [(header::AUTHORIZATION, value)];
            assert_eq!(found(&sent, None), Err(Refusal::NotBearer), "{value}");
            let beside = [(ADVERTISED, "Bearer x"), (header::AUTHORIZATION, value)];
            assert_eq!(found(&beside, None), Err(Refusal::Several), "{value}");
        }
    }

    #[test]
    fn a_token_in_the_query_is_not_accepted() {
        assert_eq!(found(&[], Some("access_token=x")), Ok(None));
        for query in ["access_token=x", "a=b&access%5Ftoken=x", "access_token"] {
            let sent = [(header::AUTHORIZATION, "Bearer x")];
            assert_eq!(found(&sent, Some(query)), Err(Refusal::Several), "{query}");
        }
    }
}
