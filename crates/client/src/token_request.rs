//! [`TokenRequest`]: fetches a token by client credentials (RFC 6749 section 4.4).

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use connectrpc::client::{ClientBody, ClientTransport, full_body};
use gatekey_credentials::PlainSecret;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Bytes;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::{
    Error,
    error::{Kind, one_line},
    token::{LONGEST_LIFETIME, Token},
    transport::Http,
};

/// The lifetime of a token without `expires_in`, which RFC 6749 section 5.1 only recommends.
const UNSTATED_LIFETIME: Duration = Duration::from_mins(1);
const REQUEST_ID: &str = "x-request-id";
const REFUSED_HINT: &str = "the key may be deleted, disabled, expired or rotated";
/// The largest response to read, in bytes.
const MAX_RESPONSE: usize = 1 << 20;

/// A request to a token endpoint.
pub(crate) struct TokenRequest<'a> {
    pub(crate) token_endpoint: &'a Uri,
    pub(crate) client_id: &'a str,
    pub(crate) client_secret: &'a PlainSecret,
    pub(crate) scopes: &'a [String],
    pub(crate) audience: &'a str,
    pub(crate) user_agent: &'a HeaderValue,
    /// The `x-request-id` of the call that needs the token.
    pub(crate) request_id: &'a str,
}

impl TokenRequest<'_> {
    /// Sends the request once. The caller checks that the token endpoint may receive the secret.
    pub(crate) async fn send(&self, http: &Http) -> Result<Token, Error> {
        // The lifetime counts from before the request: to refresh too early is harmless.
        let sent_at = Instant::now();
        let operation = format!("log in as {:?}", one_line(self.client_id));
        let address = self.token_endpoint.to_string();
        let response = http
            .send(self.http_request()?)
            .await
            .map_err(|error| Error::of_call(&operation, &address, error))
            .map_err(|error| error.with_request_id(self.request_id))?;
        let status = response.status();
        let body =
            Limited::new(response.into_body(), MAX_RESPONSE).collect().await.map_err(|error| {
                let message = format!(
                    "could not {operation}: the response of {address} is incomplete or too long"
                );
                // A boxed error is not an `Error` itself.
                Error::new(Kind::Unavailable, message).caused_by(std::io::Error::other(error))
            })?;
        let body = Zeroizing::new(body.to_bytes().to_vec());
        read_response(status, &body, sent_at).map_err(|(kind, reason)| {
            let message = format!("could not {operation}: {address} returned {reason}");
            let error = Error::new(kind, message).with_request_id(self.request_id);
            // The server does not say which: a stranger may not learn it.
            if kind == Kind::Unauthenticated { error.with_hint(REFUSED_HINT) } else { error }
        })
    }

    fn http_request(&self) -> Result<Request<ClientBody>, Error> {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        form.append_pair("scope", &self.scopes.join(" "));
        if !self.audience.is_empty() {
            form.append_pair("audience", self.audience);
        }
        Request::builder()
            .method(Method::POST)
            .uri(self.token_endpoint)
            .header(header::AUTHORIZATION, basic(self.client_id, self.client_secret))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json")
            .header(header::CACHE_CONTROL, "no-cache")
            .header(header::USER_AGENT, self.user_agent)
            .header(REQUEST_ID, self.request_id)
            .body(full_body(Bytes::from(form.finish())))
            .map_err(|error| Error::internal("cannot build the token request").caused_by(error))
    }
}

/// HTTP Basic, with both parts form-encoded first (RFC 6749 section 2.3.1).
fn basic(client_id: &str, client_secret: &PlainSecret) -> HeaderValue {
    let encode =
        |part: &str| url::form_urlencoded::byte_serialize(part.as_bytes()).collect::<String>();
    let (client_id, client_secret) =
        (encode(client_id), Zeroizing::new(encode(client_secret.expose())));
    let pair = Zeroizing::new(format!("{client_id}:{}", *client_secret));
    let value = Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(pair.as_bytes())));
    let mut value = HeaderValue::from_str(&value).expect("base64 is visible ASCII");
    value.set_sensitive(true);
    value
}

/// A token response (RFC 6749 section 5.1) or an error response (section 5.2).
#[derive(Deserialize)]
struct TokenResponse {
    access_token: Option<String>,
    token_type: Option<String>,
    expires_in: Option<Value>,
    error: Option<String>,
    error_description: Option<String>,
}

/// Reads a response, or describes its fault, to complete "the server returned ...".
fn read_response(
    status: StatusCode,
    body: &[u8],
    sent_at: Instant,
) -> Result<Token, (Kind, String)> {
    let invalid = |what: &str| (Kind::Internal, format!("{what} (HTTP {})", status.as_u16()));
    let without_oauth_error = || format!("HTTP {} without an OAuth error", status.as_u16());
    let Ok(response) = serde_json::from_slice::<TokenResponse>(body) else {
        return Err(match kind_of_status(status) {
            Some(kind) => (kind, without_oauth_error()),
            None => invalid("a body that is not a token response in JSON"),
        });
    };
    if let Some(code) = response.error {
        let kind = kind_of_error(&code).or_else(|| kind_of_status(status)).unwrap_or(Kind::Unknown);
        let description = response.error_description.unwrap_or_default();
        let separator = if description.is_empty() { "" } else { ": " };
        return Err((kind, one_line(&format!("{code}{separator}{description}"))));
    }
    if let Some(kind) = kind_of_status(status) {
        return Err((kind, without_oauth_error()));
    }
    let text = response.access_token.map(Zeroizing::new).filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| invalid("no access_token"))?;
    // Another type needs more than a header to be used (RFC 6749 section 7.1).
    if let Some(other) = response.token_type.filter(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return Err((
            Kind::Internal,
            one_line(&format!("a token of type {other:?}, which is not Bearer")),
        ));
    }
    let lifetime = read_lifetime(response.expires_in.as_ref())
        .ok_or_else(|| invalid("an expires_in that is not a positive number of seconds"))?;
    Token::new(&text, lifetime, sent_at)
        .ok_or_else(|| invalid("an access_token with characters that no header may contain"))
}

/// Reads seconds from a number or, as some servers write them, from a string.
///
/// Zero is invalid: it would cause a login for each call, which would hide the server's fault.
fn read_lifetime(expires_in: Option<&Value>) -> Option<Duration> {
    let seconds = match expires_in {
        None | Some(Value::Null) => return Some(UNSTATED_LIFETIME),
        Some(Value::Number(number)) => number.as_f64()?,
        Some(Value::String(text)) => text.parse().ok()?,
        Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) => return None,
    };
    (seconds >= 1.0).then(|| Duration::from_secs_f64(seconds.min(LONGEST_LIFETIME.as_secs_f64())))
}

/// Maps the errors of RFC 6749 sections 5.2 and 4.1.2.1 and RFC 8707 section 2.
///
/// `slow_down` is what Gatekey returns for a wrong secret once the caller is throttled.
fn kind_of_error(code: &str) -> Option<Kind> {
    const KINDS: [(&str, Kind); 10] = [
        ("invalid_client", Kind::Unauthenticated),
        ("slow_down", Kind::Unauthenticated),
        ("invalid_grant", Kind::Unauthenticated),
        ("unauthorized_client", Kind::PermissionDenied),
        ("invalid_request", Kind::InvalidArgument),
        ("unsupported_grant_type", Kind::InvalidArgument),
        ("invalid_scope", Kind::InvalidArgument),
        ("invalid_target", Kind::InvalidArgument),
        ("server_error", Kind::Internal),
        ("temporarily_unavailable", Kind::Unavailable),
    ];
    KINDS.iter().find(|(name, _)| *name == code).map(|(_, kind)| *kind)
}

/// Maps an HTTP status as the Connect protocol does; `None` for success.
fn kind_of_status(status: StatusCode) -> Option<Kind> {
    const KINDS: [(StatusCode, Kind); 8] = [
        (StatusCode::BAD_REQUEST, Kind::InvalidArgument),
        (StatusCode::UNAUTHORIZED, Kind::Unauthenticated),
        (StatusCode::FORBIDDEN, Kind::PermissionDenied),
        (StatusCode::NOT_FOUND, Kind::Unimplemented),
        (StatusCode::TOO_MANY_REQUESTS, Kind::Unavailable),
        (StatusCode::BAD_GATEWAY, Kind::Unavailable),
        (StatusCode::SERVICE_UNAVAILABLE, Kind::Unavailable),
        (StatusCode::GATEWAY_TIMEOUT, Kind::Unavailable),
    ];
    if status.is_success() {
        return None;
    }
    Some(KINDS.iter().find(|(known, _)| *known == status).map_or(Kind::Unknown, |(_, kind)| *kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn read(status: u16, body: &str) -> Result<Token, (Kind, String)> {
        read_response(StatusCode::from_u16(status).unwrap(), body.as_bytes(), Instant::now())
    }

    fn refused(status: u16, body: &str) -> (Kind, String) {
        read(status, body).err().expect("an error")
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_response_is_read() {
        let token =
            read(200, r#"{"access_token":"t","token_type":"Bearer","expires_in":100}"#).unwrap();
        assert_eq!(token.text().expose(), "t");
        tokio::time::advance(79 * SECOND).await;
        assert_eq!(token.freshness(), crate::single_flight::Freshness::Fresh);
        tokio::time::advance(SECOND).await;
        assert_eq!(token.freshness(), crate::single_flight::Freshness::Aging);
    }

    #[test]
    fn both_parts_of_basic_are_form_encoded() {
        let value = basic("client!+ID", &PlainSecret::new("SECRET?%G ö"));
        let pair = BASE64_STANDARD
            .decode(value.to_str().unwrap().strip_prefix("Basic ").unwrap())
            .unwrap();
        assert_eq!(pair, b"client%21%2BID:SECRET%3F%25G+%C3%B6");
    }

    #[test]
    fn a_lifetime_may_be_missing_but_not_zero() {
        let lifetime = |text: &str| {
            read_lifetime(serde_json::from_str::<Option<Value>>(text).unwrap().as_ref())
        };
        assert_eq!(read_lifetime(None), Some(UNSTATED_LIFETIME));
        assert_eq!(lifetime("null"), Some(UNSTATED_LIFETIME));
        assert_eq!(lifetime("3600"), Some(3600 * SECOND));
        assert_eq!(lifetime("\"3600\""), Some(3600 * SECOND));
        assert_eq!(lifetime("1e300"), Some(LONGEST_LIFETIME));
        for text in ["0", "-5", "\"soon\"", "true", "[]"] {
            assert_eq!(lifetime(text), None, "{text}");
        }
    }

    #[test]
    fn each_oauth_error_has_its_kind() {
        let (kind, reason) =
            refused(401, r#"{"error":"invalid_client","error_description":"no such key"}"#);
        assert_eq!((kind, reason.as_str()), (Kind::Unauthenticated, "invalid_client: no such key"));
        assert_eq!(refused(400, r#"{"error":"invalid_scope"}"#).0, Kind::InvalidArgument);
        assert_eq!(refused(400, r#"{"error":"unauthorized_client"}"#).0, Kind::PermissionDenied);
        assert_eq!(refused(503, r#"{"error":"own_word"}"#).0, Kind::Unavailable);
    }

    #[test]
    fn an_invalid_token_response_is_an_error() {
        assert_eq!(refused(503, "<html>busy</html>").0, Kind::Unavailable);
        assert_eq!(refused(401, "").0, Kind::Unauthenticated);
        assert_eq!(refused(302, "").0, Kind::Unknown);
        assert_eq!(refused(200, "<html>hello</html>").0, Kind::Internal);
        assert!(refused(200, "{}").1.contains("no access_token"));
        assert!(
            refused(200, r#"{"access_token":"t","token_type":"DPoP"}"#).1.contains("not Bearer")
        );
        assert!(refused(200, r#"{"access_token":"a\nb"}"#).1.contains("no header may contain"));
        assert!(refused(200, r#"{"access_token":"t","expires_in":0}"#).1.contains("expires_in"));
    }
}
