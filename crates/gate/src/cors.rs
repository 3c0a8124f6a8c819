//! [`Cors`]: which pages may call the backend, by the Fetch standard
//! (<https://fetch.spec.whatwg.org/#http-cors-protocol>).
//!
//! The gate alone decides: it answers preflights itself, and replaces what the upstream says, which
//! may let every page read everything.

use std::{collections::HashSet, fmt};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    response::Response,
};
use url::Url;

/// The headers that Flyte's clients send in a browser: those of Connect and of gRPC-Web.
const ALLOWED_HEADERS: &str = "authorization, content-type, accept, connect-protocol-version, connect-timeout-ms, connect-accept-encoding, connect-content-encoding, grpc-timeout, grpc-encoding, grpc-accept-encoding, x-grpc-web, x-user-agent, x-request-id, traceparent, tracestate";
const ALLOWED_METHODS: HeaderValue =
    HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");
/// Without credentials of the browser, the asterisk stands for every header.
const EVERY_HEADER: HeaderValue = HeaderValue::from_static("*");
/// Seconds that a preflight is remembered: the most that Chromium does.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");
const VARY_PREFLIGHT: HeaderValue = HeaderValue::from_static(
    "origin, access-control-request-method, access-control-request-headers",
);
const VARY: HeaderValue = HeaderValue::from_static("origin");
/// What an upstream says about other origins.
const OF_UPSTREAM: [HeaderName; 7] = [
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_MAX_AGE,
    HeaderName::from_static("access-control-allow-private-network"),
];

/// An origin, exactly as a browser sends it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin(Box<str>);

/// Why text is no origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOrigin {
    #[error("is a wildcard: every page could read what the gate answers; list exact origins")]
    Wildcard,
    #[error("is not an origin as browsers send it, such as https://console.example.com")]
    Malformed,
}

impl Origin {
    /// Reads a scheme, a host and possibly a port.
    ///
    /// # Errors
    /// [`InvalidOrigin`], also for another spelling than the one that browsers send, which would
    /// never match.
    pub fn parse(text: &str) -> Result<Self, InvalidOrigin> {
        if text.contains('*') {
            return Err(InvalidOrigin::Wildcard);
        }
        let url = Url::parse(text).map_err(|_| InvalidOrigin::Malformed)?;
        let is_web = matches!(url.scheme(), "http" | "https") && url.has_host();
        if !is_web || url.origin().ascii_serialization() != text {
            return Err(InvalidOrigin::Malformed);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The origins whose pages may call the backend.
#[derive(Debug, Clone, Default)]
pub struct Cors {
    origins: HashSet<Origin>,
    allowed_headers: Option<HeaderValue>,
}

/// What the origin of a request allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum From {
    /// The request has no origin: no other page has sent it.
    Nowhere,
    /// An origin that is not allowed.
    Elsewhere,
    Allowed(HeaderValue),
}

impl Cors {
    /// `token_header` is where clients are told to send their token.
    pub fn new(origins: HashSet<Origin>, token_header: &HeaderName) -> Self {
        let headers = format!("{ALLOWED_HEADERS}, {token_header}");
        Self { origins, allowed_headers: HeaderValue::from_str(&headers).ok() }
    }

    /// Reads where a request comes from.
    pub(crate) fn origin(&self, headers: &HeaderMap) -> From {
        let mut values = headers.get_all(header::ORIGIN).iter();
        match (values.next(), values.next()) {
            (None, _) => From::Nowhere,
            (Some(value), None) if self.contains(value) => From::Allowed(value.clone()),
            (Some(_), _) => From::Elsewhere,
        }
    }

    fn contains(&self, value: &HeaderValue) -> bool {
        let origin = value.to_str().ok().map(|text| Origin(text.into()));
        origin.is_some_and(|origin| self.origins.contains(&origin))
    }

    /// Answers a preflight from an allowed origin; `None` for every other request.
    pub(crate) fn preflight(&self, request: &Parts) -> Option<Response> {
        let is_preflight = request.method == Method::OPTIONS
            && request.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        let From::Allowed(origin) = self.origin(&request.headers) else { return None };
        if !is_preflight {
            return None;
        }
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, ALLOWED_METHODS);
        if let Some(allowed) = &self.allowed_headers {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed.clone());
        }
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        headers.insert(header::VARY, VARY_PREFLIGHT);
        Some(response)
    }

    /// Lets the page that sent a request read its response, or not.
    pub(crate) fn finish(&self, from: From, response: &mut HeaderMap) {
        if !self.origins.is_empty() {
            response.append(header::VARY, VARY);
        }
        if from == From::Nowhere {
            return;
        }
        for name in &OF_UPSTREAM {
            response.remove(name);
        }
        if let From::Allowed(origin) = from {
            response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            response.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EVERY_HEADER);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_origin_is_exact() {
        for text in
            ["https://a.example", "http://localhost:5173", "https://[::1]:8443", "https://1.2.3.4"]
        {
            assert_eq!(Origin::parse(text).unwrap().to_string(), text);
        }
        for text in ["*", "https://*.example.com", "https://a.example:*"] {
            assert_eq!(Origin::parse(text), Err(InvalidOrigin::Wildcard), "{text}");
        }
        for text in [
            "",
            "null",
            "a.example",
            "https://",
            "https://a.example/",
            "https://a.example/path",
            "https://a.example?x",
            "https://a.example#x",
            "https://u@a.example",
            "https://A.example",
            "HTTPS://a.example",
            "https://a.example:443",
            "http://a.example:80",
            "https://a.example ",
            "https://a.example, https://b.example",
            "ftp://a.example",
            "file:///a",
            "https:a.example",
            "https://ä.example",
            "https://a.example\\",
        ] {
            assert_eq!(Origin::parse(text), Err(InvalidOrigin::Malformed), "{text}");
        }
    }

    proptest! {
        /// Nothing else follows from what was accepted: no path, no user, no second spelling.
        #[test]
        fn an_accepted_origin_is_only_an_origin(
            text in "(https?|ftp|null|\\PC{0,5})(://)?\\PC{0,12}(:[0-9]{0,6})?[/?#@\\\\]?\\PC{0,3}",
        ) {
            if let Ok(Origin(origin)) = Origin::parse(&text) {
                let (_, host) = origin.split_once("://").unwrap();
                prop_assert!(!host.is_empty() && !host.contains(['/', '?', '#', '@', '\\', '*', ' ']));
                prop_assert!(origin.is_ascii());
                prop_assert_eq!(origin.to_ascii_lowercase(), &*origin);
            }
        }

        #[test]
        fn an_allowed_origin_is_one_of_the_list(sent in "\\PC{0,30}|https://a\\.example.{0,3}") {
            let origins = HashSet::from([Origin::parse("https://a.example").unwrap()]);
            let cors = Cors::new(origins, &header::AUTHORIZATION);
            if let Ok(value) = HeaderValue::from_str(&sent) {
                let headers = HeaderMap::from_iter([(header::ORIGIN, value.clone())]);
                let is_allowed = cors.origin(&headers) == From::Allowed(value);
                prop_assert_eq!(is_allowed, sent == "https://a.example");
            }
        }
    }
}
