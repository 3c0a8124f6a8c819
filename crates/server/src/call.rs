//! [`Call`]: a request's name and origin; [`Calls`], which every request passes; and the log line that each leaves.

use std::{
    any::Any,
    net::{IpAddr, SocketAddr},
    panic::AssertUnwindSafe,
};

use axum::{
    Router,
    extract::{ConnectInfo, Request},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header},
    response::{IntoResponse as _, Response},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use futures::FutureExt as _;
use gatekey_core::{Actor, Caller};
use gatekey_credentials::{ClientId, detection::holds_credential};
use tower::ServiceExt as _;

use crate::{
    App,
    metrics::{CountedAs, Outcome, Told},
    serve::Answer,
    traces,
};

/// The header that names a call.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest name of a call that is taken over from its caller.
const MAX_REQUEST_ID: usize = 128;
/// As much of what a client calls itself as is kept.
const MAX_USER_AGENT: usize = 200;
/// As much of a path as is logged.
const MAX_PATH: usize = 256;
/// What is logged in place of a text that holds a credential: people paste them where they do not belong.
const REDACTED: &str = "[credential]";
/// More characters than a secret has in any spelling.
const MAX_SPELLED: usize = 256;

/// A request's name and origin; in every request's extensions.
#[derive(Debug, Clone)]
pub struct Call {
    /// The caller's `x-request-id`, or a random one: a count would tell strangers how much is asked here.
    pub request_id: String,
    /// The address of the peer, or of whom a trusted proxy speaks for.
    pub peer: Option<IpAddr>,
    /// What the client calls itself.
    pub user_agent: String,
}

/// What is logged of a request once it is answered.
#[derive(Debug, Clone)]
pub struct RequestLine<'r> {
    /// The call's name.
    pub request_id: &'r str,
    /// `GET`, `POST`, ...; `_OTHER` for one that HTTP does not have.
    pub method: &'static str,
    /// The path, at most 256 characters of it, without a query and without credentials.
    pub path: &'r str,
    /// The protocol's version.
    pub version: Version,
    /// The HTTP status.
    pub status: u16,
    /// The gRPC status, where it is known before the body.
    pub grpc_status: Option<&'r str>,
    /// The key that called; empty for nobody.
    pub client_id: &'r str,
    /// From where.
    pub peer: Option<IpAddr>,
    /// Microseconds until the answer's headers.
    pub duration_us: u64,
}

/// Takes a line for each request. Not a `tracing` event: its general way of writing a dozen fields is a
/// notable part of what a token costs.
pub trait RequestLog: Send + Sync {
    /// Takes one line. Must not block for long.
    fn log(&self, line: &RequestLine<'_>);
}

/// Forgets every line.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoRequestLog;

impl RequestLog for NoRequestLog {
    fn log(&self, _line: &RequestLine<'_>) {}
}

/// The key that calls; put into a response's extensions for the log.
#[derive(Debug, Clone)]
pub struct CallingKey(pub ClientId);

impl Call {
    /// The call, as the ledger records it.
    pub fn by(&self, actor: Actor) -> Caller {
        Caller {
            actor,
            request_id: self.request_id.clone(),
            peer: self.peer.map(|peer| peer.to_string()).unwrap_or_default(),
            user_agent: self.user_agent.clone(),
        }
    }
}

/// Every route, with what each request passes on its way there. Around the router, not layers of it: these would put
/// each request on the heap, once a layer.
#[derive(Clone)]
pub struct Calls {
    app: App,
    router: Router,
}

impl Calls {
    /// Of an application.
    pub fn new(app: &App) -> Self {
        Self { app: app.clone(), router: app.router() }
    }
}

impl Answer for Calls {
    async fn answer(self, request: Request) -> Response {
        let Self { app, router } = self;
        answer(&app, request, async |request| {
            let answered = AssertUnwindSafe(router.oneshot(request)).catch_unwind().await;
            answered.map_or_else(|panic| panicked(&*panic), |Ok(response)| response)
        })
        .await
    }
}

fn panicked(panic: &(dyn Any + Send)) -> Response {
    tracing::error!(panic = gatekey_core::panic::text(panic), "a handler panicked");
    let body =
        serde_json::json!({ "code": "internal", "message": "internal error", "error": "server_error" });
    (StatusCode::INTERNAL_SERVER_ERROR, axum::Json(body)).into_response()
}

/// Names the call, passes it on, and logs one line about it. Neither query nor headers are logged: they may
/// hold what they should not. No answer may be kept by a cache unless its handler says so (RFC 6749 section
/// 5.1).
async fn answer(app: &App, mut request: Request, routed: impl AsyncFnOnce(Request) -> Response) -> Response {
    let started = std::time::Instant::now();
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_canonical());
    let peer = peer.map(|peer| forwarded_for(app, peer, request.headers()));
    let request_id = given_request_id(request.headers())
        .unwrap_or_else(|| BASE64_URL_SAFE_NO_PAD.encode(app.env.random::<16>()));
    let user_agent = request.headers().get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    let user_agent = without_credential(user_agent.unwrap_or_default(), MAX_USER_AGENT);
    let method = request.method().clone();
    let path = without_credential(request.uri().path(), MAX_PATH);
    let version = request.version();
    request.extensions_mut().insert(Call { request_id: request_id.clone(), peer, user_agent });
    let told = Told::wanted(request.headers());
    if let Some(told) = &told {
        request.extensions_mut().insert(told.clone());
    }
    let span = app.traces.as_ref();
    let span = span.and_then(|traces| traces.begin(&method, app.metrics.route(&path), request.headers()));
    let mut response = traces::within(span.as_ref(), routed(request)).await;
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let client_id = response.extensions().get::<CallingKey>().map_or("", |key| key.0.as_str());
    let took = started.elapsed();
    let outcome = told.and_then(|told| told.get());
    let outcome = outcome.unwrap_or_else(|| Outcome::of(response.status(), response.headers()));
    let counted_as = response.extensions().get::<CountedAs>().map_or(path.as_str(), |path| path.0);
    app.metrics.count(counted_as, outcome, took);
    let line = RequestLine {
        request_id: &request_id,
        method: known_method(&method).unwrap_or("_OTHER"),
        path: &path,
        version,
        status: response.status().as_u16(),
        grpc_status: response.headers().get("grpc-status").and_then(|value| value.to_str().ok()),
        client_id,
        peer,
        duration_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
    };
    app.request_log.log(&line);
    if let Some(span) = span {
        span.end(&line, app.metrics.route(counted_as), outcome);
    }
    response
}

/// The last address in `X-Forwarded-For`, when a trusted proxy sent it: earlier ones are anybody's word.
fn forwarded_for(app: &App, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    if !app.config.trusted_proxies.contains(&peer) {
        return peer;
    }
    let last = headers.get_all("x-forwarded-for").iter().next_back();
    let address = last.and_then(|value| value.to_str().ok()?.rsplit(',').next()?.trim().parse().ok());
    address.unwrap_or(peer)
}

/// A method that HTTP has: any other may be anything, also a credential.
pub(crate) fn known_method(method: &Method) -> Option<&'static str> {
    const KNOWN: [&str; 9] = ["GET", "POST", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"];
    KNOWN.into_iter().find(|known| *known == method.as_str())
}

/// As many characters of a text, or a mark in its place. It is looked at beyond its end, where what was begun may end.
fn without_credential(text: &str, longest: usize) -> String {
    let end = |length: usize| text.char_indices().nth(length).map_or(text.len(), |(at, _)| at);
    if holds_credential(&text[..end(longest + MAX_SPELLED)]) {
        return REDACTED.to_owned();
    }
    text[..end(longest)].to_owned()
}

fn given_request_id(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(REQUEST_ID)?.to_str().ok()?;
    let usable =
        (1..=MAX_REQUEST_ID).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    (usable && !holds_credential(text)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use axum::body::to_bytes;
    use gatekey_credentials::Secret;
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    /// Keeps what is logged.
    #[derive(Clone, Default)]
    struct Logged(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Logged {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(line);
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Logged {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    fn faulty(near: &str) -> Response {
        panic!("a fault near {near:?}")
    }

    #[tokio::test]
    async fn the_log_of_a_panic_and_the_answer_to_it_hold_no_credential() {
        let secret = Secret::from_random(&[7; 23]);
        let app = crate::app::tests::app();
        let logged = Logged::default();
        let subscriber = tracing_subscriber::fmt().with_writer(logged.clone()).finish();
        let _logging = tracing::subscriber::set_default(subscriber);
        let near = secret.expose().to_owned();
        let router = Router::new().fallback(async move || faulty(&near));
        let answered = Calls { app, router }.answer(Request::default()).await;
        assert_eq!(answered.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let lines = String::from_utf8(logged.0.lock().unwrap().clone()).unwrap();
        assert!(lines.contains("a handler panicked") && lines.contains("[credential]"), "{lines}");
        assert!(!holds_credential(&lines), "{lines}");
        let body = to_bytes(answered.into_body(), 1024).await.unwrap();
        assert!(!String::from_utf8(body.to_vec()).unwrap().contains("near"));
    }
}
