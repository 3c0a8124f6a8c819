//! [`Protocol`]: the protocol that a request speaks. It decides the shape of a refusal, and nothing
//! else.

use axum::http::{HeaderMap, HeaderValue, Method, header};

/// The protocol that a request speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC, with the content type of the response.
    Grpc(HeaderValue),
    /// gRPC-Web, in binary or as base64, with the content type of the response.
    GrpcWeb(HeaderValue),
    /// A unary call of Connect, by POST or by GET.
    ConnectUnary,
    /// A streaming call of Connect, with the content type of the response.
    ConnectStream(HeaderValue),
    /// Anything else.
    Http,
}

/// The longest content type that a response repeats, in bytes.
const MAX_CONTENT_TYPE: usize = 64;

impl Protocol {
    /// Returns the protocol of a request, from its method, its path with the query, and its
    /// headers.
    pub fn of(method: &Method, path_and_query: &str, headers: &HeaderMap) -> Self {
        let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        let media_type = content_type.map(media_type).unwrap_or_default();
        if let Some(protocol) = Self::of_framed(media_type) {
            return protocol;
        }
        let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
        let is_connect = match *method {
            Method::GET | Method::HEAD => query.split('&').any(|pair| pair == "connect=v1"),
            Method::POST => {
                media_type.eq_ignore_ascii_case(b"application/proto")
                    || media_type.eq_ignore_ascii_case(b"application/json")
                        && (is_procedure(path) || headers.contains_key("connect-protocol-version"))
            }
            _ => false,
        };
        if is_connect { Self::ConnectUnary } else { Self::Http }
    }

    /// Returns the protocol of a request that a proxy asks about. Such a request has lost its body,
    /// so that the proxy may have removed the content type. gRPC clients that nginx answers in HTML
    /// otherwise send `accept: application/grpc`.
    pub fn of_forwarded(method: &Method, path_and_query: &str, headers: &HeaderMap) -> Self {
        match Self::of(method, path_and_query, headers) {
            Self::Http => {
                let accepted = headers.get(header::ACCEPT).map(HeaderValue::as_bytes);
                Self::of_framed(accepted.map(media_type).unwrap_or_default()).unwrap_or(Self::Http)
            }
            protocol => protocol,
        }
    }

    /// Returns the protocol of a media type whose bodies are frames.
    fn of_framed(media_type: &[u8]) -> Option<Self> {
        let is = |name: &[u8]| {
            let Some((start, rest)) = media_type.split_at_checked(name.len()) else { return false };
            start.eq_ignore_ascii_case(name) && matches!(rest, [] | [b'+', ..])
        };
        let repeated = |otherwise: &'static str| {
            // The common spelling needs no copy.
            if media_type == otherwise.as_bytes() {
                return HeaderValue::from_static(otherwise);
            }
            let short = media_type.len() <= MAX_CONTENT_TYPE;
            short
                .then(|| HeaderValue::from_bytes(media_type).ok())
                .flatten()
                .unwrap_or(HeaderValue::from_static(otherwise))
        };
        if is(b"application/grpc") {
            Some(Self::Grpc(repeated("application/grpc")))
        } else if is(b"application/grpc-web") {
            Some(Self::GrpcWeb(repeated("application/grpc-web")))
        } else if is(b"application/grpc-web-text") {
            Some(Self::GrpcWeb(repeated("application/grpc-web-text")))
        } else if is(b"application/connect") {
            Some(Self::ConnectStream(repeated("application/connect+proto")))
        } else {
            None
        }
    }

    /// Returns whether responses say how a call ended in `grpc-status`.
    pub fn is_grpc(&self) -> bool {
        matches!(self, Self::Grpc(_) | Self::GrpcWeb(_))
    }
}

/// Returns a content type without its parameters.
fn media_type(content_type: &[u8]) -> &[u8] {
    content_type.split(|byte| matches!(byte, b';' | b',')).next().unwrap_or_default().trim_ascii()
}

/// Returns whether a path looks like a procedure, `/package.Service/Method`.
fn is_procedure(path: &str) -> bool {
    let parts = path.strip_prefix('/').and_then(|path| path.split_once('/'));
    parts.is_some_and(|(service, method)| {
        service.contains('.') && !service.starts_with('.') && !method.contains('/')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RPC: &str = "/a.v1.B/C";

    fn of(method: &Method, path: &str, headers: &[(&'static str, &'static str)]) -> Protocol {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
            .collect();
        Protocol::of(method, path, &headers)
    }

    #[test]
    fn the_content_type_names_the_protocol() {
        let of = |content_type| of(&Method::POST, RPC, &[("content-type", content_type)]);
        let value = HeaderValue::from_static;
        assert_eq!(of("application/grpc"), Protocol::Grpc(value("application/grpc")));
        assert_eq!(of("Application/GRPC+proto"), Protocol::Grpc(value("Application/GRPC+proto")));
        assert_eq!(of("application/grpc; q=1"), Protocol::Grpc(value("application/grpc")));
        assert_eq!(
            of("application/grpc-web+proto"),
            Protocol::GrpcWeb(value("application/grpc-web+proto"))
        );
        assert_eq!(
            of("application/grpc-web-text"),
            Protocol::GrpcWeb(value("application/grpc-web-text"))
        );
        assert_eq!(
            of("application/connect+json"),
            Protocol::ConnectStream(value("application/connect+json"))
        );
        for unary in ["application/proto", "application/json", "application/json; charset=utf-8"] {
            assert_eq!(of(unary), Protocol::ConnectUnary, "{unary}");
        }
        for other in ["application/grpcx", "application/grpc-websocket", "text/html", "", "\u{7f}"]
        {
            if let Ok(value) = HeaderValue::from_str(other) {
                let headers = [(header::CONTENT_TYPE, value)].into_iter().collect();
                assert_eq!(Protocol::of(&Method::POST, RPC, &headers), Protocol::Http, "{other}");
            }
        }
    }

    #[test]
    fn connect_gets_name_their_version() {
        assert_eq!(of(&Method::GET, "/a.B/C?message=&connect=v1", &[]), Protocol::ConnectUnary);
        assert_eq!(of(&Method::GET, "/a.B/C?connect=v2", &[]), Protocol::Http);
        assert_eq!(of(&Method::GET, "/connect=v1", &[]), Protocol::Http);
    }

    #[test]
    fn plain_json_is_not_connect() {
        let json = ("content-type", "application/json");
        assert_eq!(of(&Method::POST, "/api/v1/projects", &[json]), Protocol::Http);
        let version = ("connect-protocol-version", "1");
        assert_eq!(of(&Method::POST, "/api/v1/projects", &[json, version]), Protocol::ConnectUnary);
        assert_eq!(of(&Method::PUT, RPC, &[json]), Protocol::Http);
    }
}
