//! [`Form`]: a request body in the format of RFC 6749 appendix B, parsed strictly; [`FormRequest`]:
//! the request that contained it.

use std::{borrow::Cow, sync::Arc, time::Duration};

use axum::{
    body::to_bytes,
    extract::{FromRequest, Request},
    http::{HeaderMap, header},
};
use gatekey_authn::{Authenticator, FormCredentials, client_secret};
use gatekey_core::token::{AuthenticatedKey, TokenError};
use gatekey_credentials::detection::holds_credential;
use gatekey_telemetry::Record;
use tokio::time::timeout;
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::error::OAuthError;

/// Bytes of a body. A token request has a few hundred, a token to introspect at most 8,192.
pub const MAX_BODY: usize = 16 * 1024;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum number of parameters.
const MAX_PARAMETERS: usize = 32;

/// The parameters of a form. Only `resource` (RFC 8707 section 2) may be repeated; an empty
/// parameter is absent (RFC 6749 section 3.2).
pub struct Form(Vec<(String, Zeroizing<String>)>);

impl Form {
    /// Parses a form.
    ///
    /// # Errors
    /// `invalid_request` for bytes that are not a form, a repeated parameter, or too many of them.
    pub fn parse(body: &[u8]) -> Result<Self, OAuthError> {
        let Some(body) = str::from_utf8(body).ok().filter(|body| body.is_ascii()) else {
            return Err(OAuthError::invalid_request(
                "the request body is not form-encoded: it contains bytes beyond ASCII",
            ));
        };
        let mut parameters: Vec<(String, Zeroizing<String>)> = Vec::new();
        for (name, value) in body.split('&').filter_map(decode) {
            if parameters.len() == MAX_PARAMETERS {
                return Err(OAuthError::invalid_request(format!(
                    "more than {MAX_PARAMETERS} parameters"
                )));
            }
            // The decoder writes this character for bytes that are not UTF-8.
            if name.contains('\u{fffd}') || value.contains('\u{fffd}') {
                return Err(OAuthError::invalid_request("a parameter does not decode to UTF-8"));
            }
            let value = if matches!(&*name, "client_id" | "client_secret") {
                // Such as the line break at the end of the file that the secret comes from.
                trimmed(value)
            } else {
                value
            };
            if has_control(&value) {
                let name = shown(&name);
                return Err(OAuthError::invalid_request(format!(
                    "parameter {name} contains control characters"
                )));
            }
            if name != "resource" && parameters.iter().any(|(known, _)| *known == name) {
                return Err(OAuthError::invalid_request(format!(
                    "parameter {} is given twice",
                    shown(&name)
                )));
            }
            parameters.push((name.into_owned(), Zeroizing::new(value.into_owned())));
        }
        Ok(Self(parameters))
    }

    /// Returns the parameters that concern client authentication.
    pub fn credentials(&self) -> FormCredentials<'_> {
        FormCredentials {
            client_id: self.get("client_id"),
            client_secret: self.get("client_secret"),
            has_assertion: self.get("client_assertion").is_some()
                || self.get("client_assertion_type").is_some(),
        }
    }

    /// Returns the value of a parameter that is present and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// Returns the values of a parameter that may occur several times.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let values = self.0.iter().filter(move |(known, _)| known == name);
        values.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Returns the value of a required parameter.
    ///
    /// # Errors
    /// `invalid_request` naming it.
    pub fn require(&self, name: &str) -> Result<&str, OAuthError> {
        self.get(name)
            .ok_or_else(|| OAuthError::invalid_request(format!("parameter {name} is missing")))
    }
}

/// A request whose body is a form.
pub struct FormRequest {
    pub record: Arc<Record>,
    pub headers: HeaderMap,
    pub form: Form,
}

impl FormRequest {
    /// Authenticates the key that calls by its secret.
    ///
    /// # Errors
    /// See [`Authenticator::client`]. What it says of a client id depends on the client id alone,
    /// so that it does not reveal which keys exist.
    pub fn authenticate(
        &self,
        authenticator: &Authenticator,
    ) -> Result<AuthenticatedKey, OAuthError> {
        let form = self.form.credentials();
        let failed = match authenticator.client(&self.record, &self.headers, &form) {
            Ok(key) => return Ok(key),
            Err(failed) => failed,
        };
        let is_refusal =
            matches!(failed, TokenError::InvalidClient | TokenError::TooManyFailures { .. });
        let claimed = client_secret::read(&self.headers, &form).ok().flatten();
        match claimed.and_then(|claimed| port(&claimed.client_id)) {
            Some(port) if is_refusal => Err(OAuthError::ClientIdIsPort { cause: failed, port }),
            Some(_) | None => Err(failed.into()),
        }
    }
}

impl<S: Sync> FromRequest<S> for FormRequest {
    type Rejection = OAuthError;

    async fn from_request(mut request: Request, _state: &S) -> Result<Self, OAuthError> {
        let Some(record) = request.extensions_mut().remove::<Arc<Record>>() else {
            return Err(TokenError::Internal("the request has no record".into()).into());
        };
        let headers = std::mem::take(request.headers_mut());
        check_query(request.uri().query().unwrap_or_default())?;
        let codings = headers.get_all(header::CONTENT_ENCODING);
        if codings.iter().any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
            return Err(OAuthError::Encoded);
        }
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type =
            content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        if !media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            let description = "content-type must be application/x-www-form-urlencoded";
            return Err(OAuthError::invalid_request(description));
        }
        let arrived = timeout(BODY_TIMEOUT, to_bytes(request.into_body(), MAX_BODY)).await;
        let arrived = arrived.map_err(|_| {
            OAuthError::invalid_request("the request body took longer than ten seconds to arrive")
        })?;
        let body = arrived.map_err(|error| {
            let too_large = std::error::Error::source(&error).is_some_and(
                <dyn std::error::Error + 'static>::is::<http_body_util::LengthLimitError>,
            );
            if too_large {
                OAuthError::TooLarge(MAX_BODY)
            } else {
                OAuthError::invalid_request("the request body is incomplete")
            }
        })?;
        Ok(Self { record, headers, form: Form::parse(&body)? })
    }
}

/// Parameters that belong in the body, of these endpoints and of others like them.
const IN_BODY: [&str; 24] = [
    "grant_type",
    "client_id",
    "client_secret",
    "client_assertion",
    "client_assertion_type",
    "scope",
    "audience",
    "resource",
    "token",
    "token_type_hint",
    "access_token",
    "refresh_token",
    "id_token",
    "code",
    "code_verifier",
    "redirect_uri",
    "device_code",
    "username",
    "password",
    "assertion",
    "subject_token",
    "subject_token_type",
    "actor_token",
    "requested_token_type",
];

/// Refuses parameters in the URL that belong in the body, because URLs end up in logs (RFC 6749
/// section 2.3.1). Others are ignored: a URL may have a query (section 3.2).
fn check_query(query: &str) -> Result<(), OAuthError> {
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let known = IN_BODY.into_iter().find(|known| name.eq_ignore_ascii_case(known));
        if let Some(known) = known {
            let rule = format!("parameter {known} belongs in the body, not in the URL");
            return Err(OAuthError::invalid_request(rule));
        }
        if holds_credential(&name) || holds_credential(&value) {
            let rule = "the URL contains a credential, which belongs in the body";
            return Err(OAuthError::invalid_request(rule));
        }
    }
    Ok(())
}

/// Reads a client id as a port.
fn port(client_id: &str) -> Option<u16> {
    let is_number = client_id.bytes().all(|byte| byte.is_ascii_digit());
    client_id.parse().ok().filter(|port| is_number && *port > 0)
}

/// Decodes a parameter; `None` for an empty part between two separators.
///
/// Most parameters need no decoding, and a token, which needs none, is long: the general decoder
/// reads each byte four times.
fn decode(part: &str) -> Option<(Cow<'_, str>, Cow<'_, str>)> {
    if !needs_decoding(part) && !part.is_empty() {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        return Some((name.into(), value.into()));
    }
    form_urlencoded::parse(part.as_bytes()).next()
}

fn trimmed(value: Cow<'_, str>) -> Cow<'_, str> {
    let blank = |character: char| character.is_ascii_whitespace();
    match value {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim_matches(blank)),
        Cow::Owned(text) => Cow::Owned(text.trim_matches(blank).to_owned()),
    }
}

/// Whether a name or value contains an escape.
fn needs_decoding(part: &str) -> bool {
    any(part, |byte| matches!(byte, b'%' | b'+'))
}

fn has_control(text: &str) -> bool {
    any(text, |byte| byte.is_ascii_control())
        || (!text.is_ascii() && text.chars().any(char::is_control))
}

/// Whether any byte matches. Does not stop at the first match, so that it compiles to vector
/// instructions.
fn any(text: &str, matches: impl Fn(u8) -> bool) -> bool {
    text.bytes().fold(0, |found, byte| found | u8::from(matches(byte))) != 0
}

/// Returns the part of a name from outside that a response may repeat.
fn shown(name: &str) -> String {
    // A description must not contain quotes and backslashes (RFC 6749 section 5.2).
    name.chars().filter(|c| c.is_ascii_graphic() && !matches!(c, '"' | '\\')).take(40).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_empty_parameter_counts_as_absent() {
        assert_eq!(Form::parse(b"scope=&audience=").unwrap().get("scope"), None);
    }

    #[test]
    fn a_query_may_have_other_parameters() {
        for query in ["", "tenant=a", "tenant=a&tenant=b&api-version", "scopes=x", "%ff", "&&="] {
            assert!(check_query(query).is_ok(), "{query}");
        }
        for name in IN_BODY {
            for query in
                [format!("a=b&{name}=x"), name.to_owned(), format!("{}=", name.to_uppercase())]
            {
                let refused = check_query(&query).unwrap_err().to_string();
                assert!(refused.contains(&format!("parameter {name} ")), "{query}: {refused}");
            }
        }
        assert!(check_query("%73cope=all").is_err());
    }

    #[test]
    fn only_resource_may_be_repeated() {
        assert!(Form::parse(b"scope=all&scope=all").is_err());
        assert!(Form::parse(b"scope=&scope=all").is_err());
        assert_eq!(Form::parse(b"resource=a&resource=b").unwrap().all("resource").count(), 2);
    }

    proptest! {
        #[test]
        fn a_form_is_decoded_by_the_url_standard(body in "[a-c=&+%0-9éäß]{0,40}") {
            let ours: Vec<_> = body.split('&').filter_map(decode).collect();
            let standard: Vec<_> = form_urlencoded::parse(body.as_bytes()).collect();
            prop_assert_eq!(ours, standard);
        }

        #[test]
        fn a_control_character_is_found_anywhere(before in "[a-z]{0,70}", control in "\\p{Cc}", after in ".{0,70}") {
            prop_assert!(!has_control(&before));
            let text = before + &control + &after;
            prop_assert!(has_control(&text));
        }
    }

    #[test]
    fn invalid_form_bytes_are_refused() {
        assert!(Form::parse(b"scope=\xff").is_err());
        assert!(Form::parse(b"scope=%ff").is_err());
        assert!(Form::parse(b"scope=a%00b").is_err());
        assert!(Form::parse("a&".repeat(40).as_bytes()).is_err());
    }
}
