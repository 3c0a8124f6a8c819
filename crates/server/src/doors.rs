//! [`Doors`]: hands each request of the public listener to the proxy, the gate or the router.
//!
//! Requests for an upstream and the questions of proxies are most of a gate's load. They go to the
//! gate directly: axum's router puts a request on the heap several times before its fallback.

use std::{collections::HashSet, sync::Arc};

use axum::{Router, extract::Request, response::Response};
use gatekey_gate::{Proxy, forward_auth::Family};
use gatekey_listener::Lasting;
use gatekey_telemetry::Record;
use tower::Service as _;

use crate::{
    forward_auth::{self, Questions},
    path,
};

/// The proxy, the gate and the router behind the public listener.
pub(crate) struct Doors {
    router: Router,
    proxy: Option<Arc<Proxy>>,
    questions: Questions,
    /// The first segments of all paths that the router serves.
    own: HashSet<&'static str>,
}

/// What answers a request.
enum Door<'d> {
    Upstream(&'d Proxy),
    Question(Family),
    Router,
}

impl Doors {
    /// `paths` are those that the router serves. Their first segments have no variables.
    pub(crate) fn new(
        router: Router,
        proxy: Option<Arc<Proxy>>,
        questions: Questions,
        paths: impl Iterator<Item = &'static str>,
    ) -> Self {
        Self { router, proxy, questions, own: paths.map(first_segment).collect() }
    }

    /// Answers a request.
    pub(crate) async fn answer(&self, request: Request) -> Response {
        match self.door(request.uri().path()) {
            Door::Upstream(proxy) => pass(proxy, request).await,
            // On the heap, as in `pass`.
            Door::Question(family) => {
                Box::pin(forward_auth::answer(self.questions.as_deref(), family, request)).await
            }
            // axum's routers are always ready.
            Door::Router => match self.router.clone().call(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            },
        }
    }

    fn door(&self, path: &str) -> Door<'_> {
        match &self.proxy {
            Some(proxy) if proxy.takes(path) || !self.own.contains(first_segment(path)) => {
                Door::Upstream(proxy)
            }
            _ => match path {
                path::GATE_NGINX => Door::Question(Family::Nginx),
                path::GATE_FORWARD => Door::Question(Family::Forward),
                _ => Door::Router,
            },
        }
    }
}

/// Returns the part of a path up to its second slash.
pub(crate) fn first_segment(path: &str) -> &str {
    let end = path.bytes().skip(1).position(|byte| byte == b'/');
    end.map_or(path, |end| &path[..=end])
}

/// Answers by an upstream.
pub(crate) async fn pass(proxy: &Proxy, mut request: Request) -> Response {
    // The proxy ends it in time.
    if let Some(lasting) = request.extensions_mut().remove::<Lasting>() {
        lasting.set();
    }
    let record = request.extensions().get::<Arc<Record>>().cloned().unwrap_or_default();
    // On the heap: the requests that Gatekey answers itself need not have room for a proxied one.
    Box::pin(proxy.answer(&record, request)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_segment_ends_at_a_slash() {
        for (path, first) in
            [("/a/b/c", "/a"), ("/a/", "/a"), ("/a", "/a"), ("/", "/"), ("//a", "/"), ("", "")]
        {
            assert_eq!(first_segment(path), first, "{path}");
        }
    }
}
