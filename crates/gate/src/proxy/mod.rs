//! [`Proxy`]: passes requests that the gate admits on to the upstream.
//!
//! Bodies and trailers are passed on frame by frame, as the other side accepts them. The proxy
//! repeats no request, except one that a closing connection never took.
//!
//! # Layout
//! - [`target`]: which upstream a request is passed on to.
//! - [`upstream`]: a server that requests are passed on to.
//! - `address`: how to connect to it. `http1`, `http2`: its connections.
//! - `failed`: why it did not answer.
//! - `forwarded`: the headers that belong to one connection, and what the proxy says about it.
//! - `deadline`: the time that a client gives a call.
//! - `request_body`, `response_body`: what is passed on.
//! - `ongoing`: a call whose response has begun.
//! - `whole_body`: a body that is read before it is passed on.
//! - `tunnel`: WebSocket.
//! - `callers`: how many calls each caller has in progress.
//! - `watch`: ends calls that may not go on. `metrics`: counts.

mod address;
mod callers;
mod deadline;
mod failed;
mod forwarded;
mod http1;
mod http2;
mod metrics;
mod ongoing;
mod request_body;
mod response_body;
pub mod target;
mod tunnel;
pub mod upstream;
mod watch;
pub(crate) mod whole_body;

use std::{fmt, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::Request,
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header, request::Parts,
    },
    response::Response,
};
use gatekey_telemetry::{Record, request_id::REQUEST_ID, traces::traceparent};
use hyper::upgrade::OnUpgrade;
use tokio::time::{Instant, timeout};

use self::{
    callers::Callers,
    failed::Failed,
    metrics::{Call, Metrics, OpenTunnel, Snapshot},
    ongoing::{Calls, Ongoing, Passed},
    request_body::{Cut, RequestBody},
    response_body::ResponseBody,
    tunnel::Tunnels,
    watch::{Stop, Watch},
    whole_body::{Bodies, NotWhole},
};
pub use self::{
    target::{Match, Target, Targets},
    upstream::Upstream,
};
use crate::{
    cors::Cors,
    gate::{Admitted, Gate},
    identity_headers,
    limits::{Unreadable, projects::Body as Seen},
    path::{InvalidPath, Path},
    protocol::Protocol,
    reason::Reason,
    refusal::{Kind, Refusal},
    token::{self, UpstreamTokens},
};

/// The route of all requests that the gate answers, in metrics.
pub const ROUTE: &str = "gate";

/// How long a body may take that is read before it is passed on.
pub(crate) const WHOLE_BODY: Duration = Duration::from_secs(30);

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Passes requests on to the upstreams.
pub struct Proxy {
    gate: Arc<Gate>,
    targets: Targets,
    /// One for each target.
    metrics: Vec<Arc<Metrics>>,
    tokens: Arc<UpstreamTokens>,
    settings: Settings,
    tunnels: Tunnels,
    callers: Callers,
    calls: Calls,
    bodies: Bodies,
    stop: Arc<Stop>,
}

/// How clients reach the server, for the headers that the proxy sets.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How clients reach the server: `https` or `http`.
    pub public_scheme: HeaderValue,
    /// The host for the upstream where a client of HTTP/1.0 names none.
    pub public_host: HeaderValue,
    /// Which pages may call the upstream.
    pub cors: Cors,
}

/// Marks a response of the upstream, which is passed on as it is.
#[derive(Debug, Clone, Copy)]
pub struct FromUpstream;

impl Proxy {
    pub fn new(
        gate: Arc<Gate>,
        targets: Targets,
        tokens: Arc<UpstreamTokens>,
        settings: Settings,
    ) -> Self {
        let metrics = targets.0.iter().map(|_| Arc::default()).collect();
        let (tunnels, callers, stop) = (Tunnels::default(), Callers::default(), Arc::default());
        let (calls, bodies) = (Calls::default(), Bodies::default());
        Self { gate, targets, metrics, tokens, settings, tunnels, callers, calls, bodies, stop }
    }

    /// Returns whether an upstream answers a path that Gatekey itself serves.
    pub fn takes(&self, path: &str) -> bool {
        self.targets.take(path)
    }

    /// Ends calls and tunnels that are still in progress after `drain`.
    pub fn announce_stop(&self, drain: Duration) {
        self.stop.announce(drain);
    }

    /// Waits until all tunnels have ended. The listener waits for everything else.
    pub async fn tunnels_closed(&self) {
        self.tunnels.closed().await;
    }

    /// The gate that decides about requests.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Writes the counters of upstreams and tunnels in Prometheus' text format.
    ///
    /// # Errors
    /// Those of the text.
    pub fn write_metrics(&self, text: &mut String) -> fmt::Result {
        let snapshots = self.targets.0.iter().zip(&self.metrics).map(|(target, metrics)| {
            let (name, connections) = (target.upstream.name(), target.upstream.connections());
            Snapshot { name, metrics, connections }
        });
        metrics::write(text, &snapshots.collect::<Vec<_>>())
    }

    /// Answers a request: by the upstream's response, or by a refusal in the protocol of the
    /// request.
    pub async fn answer(&self, record: &Record, request: Request) -> Response {
        record.set_route(ROUTE);
        let (head, body) = request.into_parts();
        let cors = &self.settings.cors;
        if let Some(preflight) = cors.preflight(&head) {
            return preflight;
        }
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
        let protocol = Protocol::of(&head.method, target, &head.headers);
        let origin = cors.origin(&head.headers);
        let passed = self.pass(record, &protocol, Request::from_parts(head, body)).await;
        let mut response = passed.unwrap_or_else(|refusal| {
            self.gate.decisions.refuse(refusal.reason);
            refusal.respond(record, &protocol)
        });
        cors.finish(origin, response.headers_mut());
        response
    }

    async fn pass(
        &self,
        record: &Record,
        protocol: &Protocol,
        mut request: Request,
    ) -> Result<Response, Refusal> {
        if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
            let message = "the gate does not pass on CONNECT and TRACE";
            return Err(Refusal::new(Kind::NotSupported, Reason::Method, message));
        }
        let (method, uri, headers) = (request.method(), request.uri(), request.headers());
        // A whole URL as the target names a host of its own (RFC 9112 section 3.2.2). HTTP/2 has
        // its parts in fields of their own.
        if request.version() < Version::HTTP_2 && uri.scheme().is_some() {
            return Err(InvalidPath::Origin.into());
        }
        let admitted = self.gate.check_head(record, method, uri, headers).await?;
        let place = self.callers.place(admitted.presented.as_ref(), record.peer)?;
        forwarded::expectation(headers)?;
        let (index, target) = self.target(uri.path(), protocol)?;
        let deadline = deadline::of(headers);
        let client = request.extensions_mut().remove::<OnUpgrade>();
        let (mut head, body) = request.into_parts();
        let mut watch =
            Watch::new(self.gate.clone(), admitted.clone(), deadline, self.stop.clone());
        let body = self.within_projects(record, &admitted, &head, body, &mut watch).await?;
        let tunnel = if tunnel::is_handshake(&head)? {
            let client = client.ok_or_else(|| {
                let message = "this connection cannot become a websocket";
                Refusal::new(Kind::NotSupported, Reason::Upgrade, message)
            })?;
            Some((client, self.tunnels.place(admitted.presented.as_ref(), record.peer)?))
        } else {
            None
        };
        let token = self.token(&admitted, target).await?;
        let host = forwarded::host(&head).unwrap_or_else(|| self.settings.public_host.clone());
        self.rewrite(record, &admitted, token, &host, &mut head.headers);
        if tunnel.is_some() {
            tunnel::set_upgrade(&mut head.headers);
        }
        let cut = Arc::<Cut>::default();
        let body = RequestBody::new(body, self.gate.clone(), cut.clone());
        let request = Request::from_parts(head, body);
        let call = Call::begin(&self.metrics[index], place);
        let sent = Instant::now();
        let upstream = &target.upstream;
        let answered = async {
            if tunnel.is_some() {
                return upstream.upgrade(request, host).await.map(|response| (response, None));
            }
            let is_grpc = matches!(protocol, Protocol::Grpc(_));
            let (response, lease) = upstream.send(request, host, is_grpc).await?;
            match response.status() {
                StatusCode::SWITCHING_PROTOCOLS => {
                    Err(Failed::Lost("it switched protocols unasked".to_owned()))
                }
                _ => Ok((response, Some(lease))),
            }
        };
        let (mut response, lease) =
            watch.until(answered).await?.map_err(|failed| report(upstream, &call, &failed))?;
        call.answered(sent.elapsed());
        let accepted = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if accepted && !tunnel::accepts(response.headers()) {
            let failed = Failed::Lost("it switched to another protocol".to_owned());
            return Err(report(upstream, &call, &failed));
        }
        let switched = accepted.then(|| hyper::upgrade::on(&mut response));
        let (mut head, body) = response.into_parts();
        forwarded::remove_hop_by_hop(&mut head.headers);
        admitted.set_rate(&mut head.headers);
        head.version = Version::default();
        head.extensions.insert(FromUpstream);
        if let (Some(switched), Some((client, place))) = (switched, tunnel) {
            tunnel::set_upgrade(&mut head.headers);
            let open = OpenTunnel::new(&self.metrics[index]);
            tokio::spawn(async move {
                tunnel::run(client, switched, watch, place).await;
                drop((call, open));
            });
            return Ok(Response::from_parts(head, Body::empty()));
        }
        let ongoing = Ongoing::new(Passed::new(body, lease, call), watch, cut);
        let body = ResponseBody::new(ongoing, &self.calls, protocol.clone());
        Ok(Response::from_parts(head, Body::new(body)))
    }

    /// Checks that a request stays within the projects and domains of its key. Reads the body for
    /// that if the key has any, and returns it.
    async fn within_projects(
        &self,
        record: &Record,
        admitted: &Admitted,
        head: &Parts,
        body: Body,
        watch: &mut Watch,
    ) -> Result<Body, Refusal> {
        let check = |seen| {
            let Parts { method, uri, headers, .. } = head;
            self.gate.check_projects(record, admitted, method, uri, headers, seen)
        };
        if !self.gate.reads_body(admitted, &head.method, &head.uri) {
            check(Seen::Whole(&[]))?;
            return Ok(body);
        }
        let most = self.gate.max_message;
        let read = watch.until(timeout(WHOLE_BODY, self.bodies.read(body, most))).await?;
        let late = |_| {
            let message = "the body did not arrive in time";
            Refusal::new(Kind::DeadlineExceeded, Reason::Body, message)
        };
        match read.map_err(late)? {
            Ok(whole) => {
                check(Seen::Whole(whole.bytes()))?;
                Ok(whole.into_body())
            }
            Err(NotWhole::TooLarge) => {
                check(Seen::TooLarge)?;
                Err(Unreadable::TooLarge.into())
            }
            Err(NotWhole::Busy) => {
                let message = "the gate reads too many bodies of limited keys; try again";
                Err(Refusal::new(Kind::Unavailable, Reason::Bodies, message))
            }
            Err(NotWhole::Lost(error)) => {
                let message = format!("the body could not be read: {error}");
                Err(Refusal::new(Kind::Invalid, Reason::Body, message))
            }
        }
    }

    /// Returns the upstream that a request is passed on to.
    fn target(&self, path: &str, protocol: &Protocol) -> Result<(usize, &Target), Refusal> {
        if let [target] = self.targets.0.as_slice()
            && target.matches.is_empty()
        {
            return Ok((0, target));
        }
        let found = self.targets.find(&Path::parse(path)?, protocol);
        let message = "no upstream serves this path";
        found.ok_or_else(|| Refusal::new(Kind::NotSupported, Reason::NoUpstream, message))
    }

    /// Returns the token that replaces the caller's credential.
    async fn token(
        &self,
        admitted: &Admitted,
        target: &Target,
    ) -> Result<Option<HeaderValue>, Refusal> {
        let (Some(presented), Some(audience)) = (&admitted.presented, &target.audience) else {
            return Ok(None);
        };
        let minted = self.tokens.authorization(presented, audience).await;
        minted.map(Some).map_err(token::refusal)
    }

    /// Replaces the headers that the upstream must not get from a client.
    fn rewrite(
        &self,
        record: &Record,
        admitted: &Admitted,
        token: Option<HeaderValue>,
        host: &HeaderValue,
        headers: &mut HeaderMap,
    ) {
        let trailers = forwarded::accepts_trailers(headers);
        self.gate.identity_headers.remove(headers);
        forwarded::remove_hop_by_hop(headers);
        headers.remove(header::EXPECT);
        if trailers {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        }
        identity_headers::set(headers, self.gate.identity(admitted), token);
        forwarded::set(headers, record.peer, &self.settings.public_scheme, host);
        if let Ok(id) = HeaderValue::from_str(&record.request_id) {
            headers.insert(REQUEST_ID, id);
        }
        if let Some(parent) = traceparent() {
            headers.insert(TRACEPARENT, parent);
        }
    }
}

/// Counts and logs why an upstream did not answer, and returns the refusal for the caller.
fn report(upstream: &Upstream, call: &Call, failed: &Failed) -> Refusal {
    if call.failed(failed) {
        tracing::warn!(upstream = upstream.name(), %failed, "the upstream did not answer a request");
    }
    failed.into()
}
