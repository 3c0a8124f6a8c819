//! Access tokens: [`TokenCache`], and the request to a token endpoint (RFC 6749 section 4.4).

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use connectrpc::client::{ClientTransport, HttpClient, full_body};
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
    single_flight::{Freshness, SingleFlight},
};

/// How long a token lasts when the server does not say (RFC 6749 section 5.1 only recommends `expires_in`).
const UNSTATED_LIFETIME: Duration = Duration::from_mins(1);
/// Longest lifetime believed, so that no arithmetic on instants can overflow.
const LONGEST_LIFETIME: Duration = Duration::from_hours(365 * 24);
/// Largest answer of a token endpoint that is read.
const MAX_ANSWER: usize = 1 << 20;

/// Tokens that several [`Client`](crate::Client)s share.
///
/// Every client has one of its own unless [`ClientBuilder::token_cache`](crate::ClientBuilder::token_cache)
/// gives it another. A token is found again only by a client with the same endpoint, token endpoint, client
/// id, secret, scopes and audience. It lives in memory alone, and is gone with the last clone of the cache.
///
/// ```
/// use gatekey_client::{Client, PlainSecret, TokenCache};
///
/// let cache = TokenCache::default();
/// let client = |protocol| {
///     Client::builder()
///         .endpoint("flyte.example.com")
///         .credentials("ci", PlainSecret::new("secret"))
///         .protocol(protocol)
///         .token_cache(cache.clone())
///         .build()
/// };
/// client(gatekey_client::Protocol::Connect)?;
/// client(gatekey_client::Protocol::Grpc)?;
/// # Ok::<(), gatekey_client::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct TokenCache(Arc<Mutex<HashMap<TokenKey, Arc<TokenSlot>>>>);

pub(crate) type TokenSlot = SingleFlight<Token>;

/// Everything that distinguishes one token from another.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct TokenKey {
    pub(crate) endpoint: String,
    pub(crate) token_endpoint: String,
    pub(crate) client_id: String,
    /// SHA-256 of the secret: enough to tell secrets apart.
    pub(crate) secret_fingerprint: [u8; 32],
    pub(crate) scopes: Vec<String>,
    pub(crate) audience: String,
}

impl TokenCache {
    pub(crate) fn slot(&self, key: &TokenKey) -> Arc<TokenSlot> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(key) {
            return Arc::clone(slot);
        }
        // Each rotated secret leaves a slot behind: drop those that nobody holds and no token keeps useful.
        slots.retain(|_, slot| {
            Arc::strong_count(slot) > 1
                || slot.kept().is_some_and(|token| token.freshness() != Freshness::Gone)
        });
        Arc::clone(slots.entry(key.clone()).or_default())
    }
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TokenCache")
    }
}

/// An access token with its dates on the client's own clock.
pub(crate) struct Token {
    text: PlainSecret,
    header: HeaderValue,
    refresh_at: Instant,
    expires_at: Instant,
}

impl Token {
    fn new(text: &str, lifetime: Duration, now: Instant) -> Option<Self> {
        let bearer = Zeroizing::new(format!("Bearer {text}"));
        let mut header = HeaderValue::from_str(&bearer).ok()?;
        header.set_sensitive(true);
        let lifetime = lifetime.min(LONGEST_LIFETIME);
        Some(Self {
            text: PlainSecret::new(text),
            header,
            refresh_at: now + refresh_after(lifetime),
            expires_at: now + lifetime,
        })
    }

    pub(crate) fn text(&self) -> &PlainSecret {
        &self.text
    }

    /// The value of the header that carries the token (RFC 6750 section 2.1).
    pub(crate) fn header(&self) -> &HeaderValue {
        &self.header
    }

    pub(crate) fn freshness(&self) -> Freshness {
        let now = Instant::now();
        if now < self.refresh_at {
            Freshness::Good
        } else if now < self.expires_at {
            Freshness::Aging
        } else {
            Freshness::Gone
        }
    }
}

/// A token is refreshed 60 s before it expires, or after 80 % of its life when that is later: tokens of
/// five minutes and less would otherwise be fetched needlessly often.
fn refresh_after(lifetime: Duration) -> Duration {
    lifetime.saturating_sub(Duration::from_mins(1)).max(lifetime * 4 / 5)
}

/// A request for a token by client credentials.
pub(crate) struct TokenRequest<'a> {
    pub(crate) token_endpoint: &'a Uri,
    pub(crate) client_id: &'a str,
    pub(crate) client_secret: &'a PlainSecret,
    pub(crate) scopes: &'a [String],
    pub(crate) audience: &'a str,
    pub(crate) user_agent: &'a HeaderValue,
}

impl TokenRequest<'_> {
    /// Asks once. The caller has made sure that the token endpoint is one to trust with a secret.
    pub(crate) async fn send(&self, http: &HttpClient) -> Result<Token, Error> {
        // The token's life is counted from before it was asked for: too early is harmless, too late is not.
        let asked_at = Instant::now();
        let operation = self.operation();
        let address = self.token_endpoint.to_string();
        let response = http
            .send(self.http_request()?)
            .await
            .map_err(|error| Error::of_call(&operation, &address, error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await.map_err(|error| {
            Error::new(Kind::Unavailable, format!("could not {operation}: the answer of {address} broke off"))
                .caused_by(io_error(error))
        })?;
        let body = Zeroizing::new(body.to_bytes().to_vec());
        read_answer(status, &body, asked_at).map_err(|(kind, why)| {
            Error::new(kind, format!("could not {operation}: {address} answered {why}"))
        })
    }

    fn operation(&self) -> String {
        format!("log in as {:?}", one_line(self.client_id))
    }

    fn http_request(&self) -> Result<Request<connectrpc::client::ClientBody>, Error> {
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
            .body(full_body(Bytes::from(form.finish())))
            .map_err(|error| Error::internal("the token request cannot be built").caused_by(error))
    }
}

/// HTTP Basic with both parts form-encoded first, which RFC 6749 section 2.3.1 asks for and many forget.
fn basic(client_id: &str, client_secret: &PlainSecret) -> HeaderValue {
    let encode = |part: &str| url::form_urlencoded::byte_serialize(part.as_bytes()).collect::<String>();
    let (client_id, client_secret) = (encode(client_id), Zeroizing::new(encode(client_secret.expose())));
    let pair = Zeroizing::new(format!("{client_id}:{}", *client_secret));
    let value = Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(pair.as_bytes())));
    let mut value = HeaderValue::from_str(&value).expect("base64 is visible ASCII");
    value.set_sensitive(true);
    value
}

/// RFC 6749 section 5.1, and 5.2 for errors.
#[derive(Deserialize)]
struct Answer {
    access_token: Option<String>,
    token_type: Option<String>,
    expires_in: Option<Value>,
    error: Option<String>,
    error_description: Option<String>,
}

fn read_answer(status: StatusCode, body: &[u8], asked_at: Instant) -> Result<Token, (Kind, String)> {
    let broken = |what: &str| (Kind::Internal, format!("{what} (HTTP {})", status.as_u16()));
    let Ok(answer) = serde_json::from_slice::<Answer>(body) else {
        return Err(match kind_of_status(status) {
            Some(kind) => (kind, format!("HTTP {} without an OAuth error", status.as_u16())),
            None => broken("something that is not a token answer in JSON"),
        });
    };
    if let Some(code) = answer.error {
        let kind = kind_of_error(&code).or_else(|| kind_of_status(status)).unwrap_or(Kind::Unknown);
        let description = answer.error_description.unwrap_or_default();
        let separator = if description.is_empty() { "" } else { ": " };
        return Err((kind, one_line(&format!("{code}{separator}{description}"))));
    }
    if let Some(kind) = kind_of_status(status) {
        return Err((kind, format!("HTTP {} without an OAuth error", status.as_u16())));
    }
    let text = answer.access_token.map(Zeroizing::new).filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| broken("no access_token"))?;
    // Other types need more than the token to be used (RFC 6749 section 7.1).
    if let Some(other) = answer.token_type.filter(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return Err((Kind::Internal, one_line(&format!("a token of type {other:?}, which is not Bearer"))));
    }
    let lifetime = read_lifetime(answer.expires_in.as_ref())
        .ok_or_else(|| broken("an expires_in that is no positive number of seconds"))?;
    Token::new(&text, lifetime, asked_at).ok_or_else(|| broken("an access_token that fits no header"))
}

/// Seconds as a number, or as a string, which some servers write. Zero is refused: a token that is expired
/// when it comes is a fault of the server that nobody would find behind endless logins.
fn read_lifetime(expires_in: Option<&Value>) -> Option<Duration> {
    let seconds = match expires_in {
        None | Some(Value::Null) => return Some(UNSTATED_LIFETIME),
        Some(Value::Number(number)) => number.as_f64()?,
        Some(Value::String(text)) => text.parse().ok()?,
        Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) => return None,
    };
    (seconds >= 1.0).then(|| Duration::from_secs_f64(seconds.min(LONGEST_LIFETIME.as_secs_f64())))
}

/// The errors of RFC 6749 section 5.2, RFC 8707 section 2 and, for a busy server, section 4.1.2.1; and what Gatekey
/// says to a wrong secret once it has said `invalid_client` too often.
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

/// What an HTTP status says when no OAuth error does, as the Connect protocol maps it; none for success.
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

/// Gives a boxed error, which is none itself, a type that is one.
fn io_error(error: Box<dyn std::error::Error + Send + Sync>) -> std::io::Error {
    std::io::Error::other(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn read(status: u16, body: &str) -> Result<Token, (Kind, String)> {
        read_answer(StatusCode::from_u16(status).unwrap(), body.as_bytes(), Instant::now())
    }

    fn refused(status: u16, body: &str) -> (Kind, String) {
        read(status, body).err().expect("an error")
    }

    #[test]
    fn a_token_is_refreshed_a_minute_early_or_late_in_a_short_life() {
        assert_eq!(refresh_after(3600 * SECOND), 3540 * SECOND);
        assert_eq!(refresh_after(300 * SECOND), 240 * SECOND);
        assert_eq!(refresh_after(100 * SECOND), 80 * SECOND);
        assert_eq!(refresh_after(30 * SECOND), 24 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_ages_and_goes_with_the_clock() {
        let token = read(200, r#"{"access_token":"t","token_type":"Bearer","expires_in":100}"#).unwrap();
        assert_eq!(token.text().expose(), "t");
        assert_eq!(token.header(), "Bearer t");
        assert!(token.header().is_sensitive());
        for (wait, freshness) in [(79, Freshness::Good), (1, Freshness::Aging), (20, Freshness::Gone)] {
            tokio::time::advance(wait * SECOND).await;
            assert_eq!(token.freshness(), freshness);
        }
    }

    #[test]
    fn both_parts_of_basic_are_form_encoded() {
        let value = basic("client!+ID", &PlainSecret::new("SECRET?%G ö"));
        let pair = BASE64_STANDARD.decode(value.to_str().unwrap().strip_prefix("Basic ").unwrap()).unwrap();
        assert_eq!(pair, b"client%21%2BID:SECRET%3F%25G+%C3%B6");
    }

    #[test]
    fn a_lifetime_may_be_missing_but_not_nothing() {
        let lifetime =
            |text: &str| read_lifetime(serde_json::from_str::<Option<Value>>(text).unwrap().as_ref());
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
    fn oauth_errors_have_their_kinds() {
        let (kind, said) = refused(401, r#"{"error":"invalid_client","error_description":"no such key"}"#);
        assert_eq!((kind, said.as_str()), (Kind::Unauthenticated, "invalid_client: no such key"));
        assert_eq!(refused(400, r#"{"error":"invalid_scope"}"#).0, Kind::InvalidArgument);
        assert_eq!(refused(400, r#"{"error":"unauthorized_client"}"#).0, Kind::PermissionDenied);
        assert_eq!(refused(503, r#"{"error":"own_word"}"#).0, Kind::Unavailable);
    }

    #[test]
    fn what_is_no_token_answer_is_refused_for_what_it_is() {
        assert_eq!(refused(503, "<html>busy</html>").0, Kind::Unavailable);
        assert_eq!(refused(401, "").0, Kind::Unauthenticated);
        assert_eq!(refused(302, "").0, Kind::Unknown);
        assert_eq!(refused(200, "<html>hello</html>").0, Kind::Internal);
        assert!(refused(200, "{}").1.contains("no access_token"));
        assert!(refused(200, r#"{"access_token":"t","token_type":"DPoP"}"#).1.contains("not Bearer"));
        assert!(refused(200, r#"{"access_token":"a\nb"}"#).1.contains("fits no header"));
        assert!(refused(200, r#"{"access_token":"t","expires_in":0}"#).1.contains("expires_in"));
    }

    #[test]
    fn whatever_distinguishes_tokens_keeps_them_apart() {
        let key = TokenKey {
            endpoint: "https://h".into(),
            token_endpoint: "https://h/token".into(),
            client_id: "ci".into(),
            secret_fingerprint: [0; 32],
            scopes: vec!["all".into()],
            audience: String::new(),
        };
        let cache = TokenCache::default();
        let slot = cache.slot(&key);
        assert!(Arc::ptr_eq(&slot, &cache.clone().slot(&key)));
        for other in [
            TokenKey { endpoint: "https://i".into(), ..key.clone() },
            TokenKey { token_endpoint: "https://i/token".into(), ..key.clone() },
            TokenKey { client_id: "cd".into(), ..key.clone() },
            TokenKey { secret_fingerprint: [1; 32], ..key.clone() },
            TokenKey { scopes: Vec::new(), ..key.clone() },
            TokenKey { audience: "a".into(), ..key.clone() },
        ] {
            assert!(!Arc::ptr_eq(&slot, &cache.slot(&other)));
        }
    }
}
