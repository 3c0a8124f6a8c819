//! [`Answer`]: an answer, and the rules for every answer to any request: a well-formed frame of its
//! protocol, and never a server fault. A panic would give status 500.

use std::{
    io::Read as _,
    sync::{Arc, LazyLock},
};

use axum::body::Bytes;
use buffa_descriptor::{DescriptorPool, MessageIndex, reflect::DynamicMessage};
use flate2::read::GzDecoder;
use gatekey_credentials::detection;
use gatekey_server::rpc::access::{Access, access};
use http::{HeaderMap, StatusCode, header};
use serde_json::Value;

use crate::request::{Caller, TextRequest};

static POOL: LazyLock<Arc<DescriptorPool>> = LazyLock::new(|| {
    Arc::new(
        DescriptorPool::decode(gatekey_proto::DESCRIPTOR_SET)
            .expect("the build writes a valid set"),
    )
});

/// Envelope flags: compressed, last one of Connect, last one of gRPC-Web.
const COMPRESSED: u8 = 1;
const END_STREAM: u8 = 2;
const TRAILERS: u8 = 0x80;

/// Connect's codes with their HTTP status, in the order of gRPC's status numbers, starting at 1
/// (<https://connectrpc.com/docs/protocol#error-codes>).
const CODES: [(&str, u16); 16] = [
    ("canceled", 499),
    ("unknown", 500),
    ("invalid_argument", 400),
    ("deadline_exceeded", 504),
    ("not_found", 404),
    ("already_exists", 409),
    ("permission_denied", 403),
    ("resource_exhausted", 429),
    ("failed_precondition", 400),
    ("aborted", 409),
    ("out_of_range", 400),
    ("unimplemented", 501),
    ("internal", 500),
    ("unavailable", 503),
    ("data_loss", 500),
    ("unauthenticated", 401),
];

/// A complete answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: Option<HeaderMap>,
    /// Whether the stream has no end and was read only in part.
    pub partial: bool,
}

/// The result of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The call succeeded with these messages, decompressed.
    Done(Vec<Bytes>),
    /// The call was refused with this Connect code, OAuth error, or HTTP status.
    Refused(String),
}

impl Answer {
    /// Asserts the rules for every answer and returns the result of the call.
    pub fn outcome(&self, request: &TextRequest) -> Outcome {
        let status = self.status.as_u16();
        assert!(
            status < 500 || status == 501 || (status == 504 && request.sets_a_deadline()),
            "{status}: {}",
            self.text()
        );
        assert!(
            self.headers.contains_key("x-request-id")
                && self.headers.contains_key(header::CACHE_CONTROL)
        );
        let may_have_secrets = match request.caller {
            Caller::Nobody | Caller::Forger => false,
            Caller::Viewer => request.target.path().ends_with("/RotateSecret"),
            Caller::Admin => true,
        };
        assert!(
            may_have_secrets || detection::find(&self.text()).is_empty(),
            "the answer has a secret"
        );
        let asked = request.header("content-type");
        let kind = self.header("content-type");
        let outcome = if kind.starts_with("application/grpc-web") {
            assert!(asked.starts_with("application/grpc-web"), "{asked} is answered with {kind}");
            self.grpc_web(request)
        } else if kind.starts_with("application/grpc") {
            assert!(asked.starts_with("application/grpc"), "{asked} is answered with {kind}");
            self.grpc(request)
        } else if kind.starts_with("application/connect+") {
            assert!(asked.starts_with("application/connect+"), "{asked} is answered with {kind}");
            self.connect_stream(request)
        } else {
            self.http(request)
        };
        if let Outcome::Done(messages) = &outcome
            && let Some(output) = output(request.target.path())
        {
            for message in messages {
                well_formed(output, message, !kind.ends_with("json") && kind != "application/json");
            }
        }
        outcome
    }

    /// Parses the answer to a unary Connect call, or to a request that is not RPC.
    fn http(&self, request: &TextRequest) -> Outcome {
        assert!(self.trailers.is_none(), "trailers where the protocol has none");
        let kind = self.header("content-type");
        if self.status.is_success() {
            assert!(
                self.body.is_empty() || matches!(kind, "application/json" | "application/proto"),
                "{kind}"
            );
            let body = self.decompressed(&self.body, self.header("content-encoding"));
            if kind == "application/json" && !body.is_empty() {
                serde_json::from_slice::<Value>(&body).expect("JSON, as its type says");
            }
            return Outcome::Done(vec![body]);
        }
        if self.body.is_empty() {
            // A refused method or content type, with the accepted ones, or the answer to HEAD.
            let explained = match self.status {
                StatusCode::METHOD_NOT_ALLOWED => self.headers.contains_key(header::ALLOW),
                StatusCode::UNSUPPORTED_MEDIA_TYPE => self.headers.contains_key("accept-post"),
                _ => false,
            };
            assert!(
                explained || request.method == http::Method::HEAD,
                "{} without an explanation",
                self.status
            );
            return Outcome::Refused(self.status.to_string());
        }
        assert_eq!(kind, "application/json", "{}", self.text());
        let error: Value = serde_json::from_slice(&self.body).expect("errors are JSON");
        if let Some(name) = error["error"].as_str() {
            assert!(self.status.is_client_error() && error["error_description"].is_string());
            assert_ne!(name, "server_error");
            return Outcome::Refused(name.to_owned());
        }
        let code = error["code"].as_str().expect("an error of OAuth or of Connect");
        let (_, usual) = self.known(request, code, error["message"].as_str().unwrap_or_default());
        // Faults that HTTP has its own status for, or an unknown path.
        let own = matches!(self.status.as_u16(), 404 | 405 | 415);
        assert!(self.status == usual || own, "{code} with {}", self.status);
        Outcome::Refused(code.to_owned())
    }

    fn connect_stream(&self, request: &TextRequest) -> Outcome {
        assert_eq!((self.status, self.trailers.is_none()), (StatusCode::OK, true));
        let (messages, end) = self.envelopes(END_STREAM, self.header("connect-content-encoding"));
        let Some(end) = end else {
            assert!(self.partial, "a stream without an end");
            return Outcome::Done(messages);
        };
        let end: Value = serde_json::from_slice(&end).expect("the end of a stream is JSON");
        assert!(end.is_object());
        match &end["error"] {
            Value::Null => Outcome::Done(messages),
            error => {
                let code = error["code"].as_str().expect("an error has a code");
                self.known(request, code, error["message"].as_str().unwrap_or_default());
                Outcome::Refused(code.to_owned())
            }
        }
    }

    fn grpc(&self, request: &TextRequest) -> Outcome {
        assert_eq!(self.status, StatusCode::OK);
        let (messages, end) = self.envelopes(0, self.header("grpc-encoding"));
        assert!(end.is_none());
        if self.trailers.is_none() && !self.headers.contains_key("grpc-status") {
            assert!(self.partial, "no status");
            return Outcome::Done(messages);
        }
        let trailers = self.trailers.as_ref().unwrap_or(&self.headers);
        let text = |headers: &HeaderMap, name: &str| {
            headers
                .get(name)
                .map(|value| value.to_str().expect("percent-encoded where it must be").to_owned())
        };
        let status = text(trailers, "grpc-status").expect("a status");
        if let Some(early) = text(&self.headers, "grpc-status") {
            assert_eq!(
                (early, messages.len()),
                (status.clone(), 0),
                "headers and trailers disagree"
            );
        }
        self.by_number(
            request,
            &status,
            &text(trailers, "grpc-message").unwrap_or_default(),
            messages,
        )
    }

    fn grpc_web(&self, request: &TextRequest) -> Outcome {
        assert_eq!((self.status, self.trailers.is_none()), (StatusCode::OK, true));
        let (messages, end) = self.envelopes(TRAILERS, self.header("grpc-encoding"));
        let Some(end) = end else {
            assert!(self.partial, "no trailers");
            return Outcome::Done(messages);
        };
        let end = std::str::from_utf8(&end).expect("trailers are plain text");
        let lines =
            end.split_terminator("\r\n").map(|line| line.split_once(": ").expect("a field"));
        assert!(end.is_empty() || end.ends_with("\r\n"));
        assert!(lines.clone().all(|(name, value)| {
            let names = |byte: u8| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte)
            };
            name.bytes().all(names) && !value.contains(['\r', '\n'])
        }));
        let find = |wanted| lines.clone().find(|(name, _)| *name == wanted).map(|(_, value)| value);
        let (status, message) = (find("grpc-status").expect("a status"), find("grpc-message"));
        assert_eq!(lines.clone().filter(|(name, _)| *name == "grpc-status").count(), 1);
        self.by_number(request, status, message.unwrap_or_default(), messages)
    }

    fn by_number(
        &self,
        request: &TextRequest,
        status: &str,
        message: &str,
        messages: Vec<Bytes>,
    ) -> Outcome {
        let number: usize = status.parse().expect("a number");
        assert!(message.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{message:?}");
        if number == 0 {
            return Outcome::Done(messages);
        }
        let (code, _) = CODES[number - 1];
        self.known(request, code, message);
        Outcome::Refused(code.to_owned())
    }

    /// Asserts that the caller caused the refusal.
    fn known(
        &self,
        request: &TextRequest,
        code: &str,
        message: &str,
    ) -> (&'static str, StatusCode) {
        let (code, status) = *CODES
            .iter()
            .find(|(known, _)| *known == code)
            .unwrap_or_else(|| panic!("no code: {code}"));
        let callers_fault = match code {
            // Connect has no code for faults that HTTP has its own status for.
            "unknown" => matches!(self.status.as_u16(), 405 | 415),
            "data_loss" | "unavailable" => false,
            // gRPC requires this code for a compressed message without a header that names the
            // encoding: <https://github.com/grpc/grpc/blob/master/doc/compression.md>.
            "internal" => message.starts_with("received compressed message without"),
            "deadline_exceeded" => request.sets_a_deadline(),
            _ => true,
        };
        assert!(callers_fault, "{code}: {message}");
        if code != "unauthenticated" {
            let message = message.to_ascii_lowercase();
            let starts_a_login =
                message.contains("unauthenticated") || message.contains("unauthorized");
            assert!(!starts_a_login, "{code}: {message}");
        }
        (code, status.try_into().expect("a status"))
    }

    /// The decompressed messages of a body of envelopes, and the one that ends it.
    fn envelopes(&self, last: u8, encoding: &str) -> (Vec<Bytes>, Option<Bytes>) {
        let (mut messages, mut end, mut rest) = (Vec::new(), None, &self.body[..]);
        while !rest.is_empty() {
            assert!(end.is_none(), "bytes after the end");
            let (head, behind) = rest.split_first_chunk::<5>().expect("a whole head");
            let [flags, length @ ..] = *head;
            let length = u32::from_be_bytes(length) as usize;
            assert!(length <= behind.len(), "a whole message");
            let (message, behind) = behind.split_at(length);
            rest = behind;
            assert_eq!(flags & !(COMPRESSED | last), 0, "flags {flags:#x}");
            let message = Bytes::copy_from_slice(message);
            let message = if flags & COMPRESSED == 0 {
                message
            } else {
                self.decompressed(&message, encoding)
            };
            if last != 0 && flags & last != 0 {
                end = Some(message);
            } else {
                messages.push(message);
            }
        }
        (messages, end)
    }

    /// Decompresses `bytes` as `encoding` says.
    fn decompressed(&self, bytes: &Bytes, encoding: &str) -> Bytes {
        match encoding {
            "" | "identity" => bytes.clone(),
            "gzip" => {
                let mut decompressed = Vec::new();
                GzDecoder::new(&bytes[..])
                    .read_to_end(&mut decompressed)
                    .expect("gzip, as the header says");
                decompressed.into()
            }
            other => panic!("unexpected encoding {other}"),
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header as text; empty when absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().expect("our headers are plain text"))
    }
}

/// Asserts that the caller may call the procedure.
pub fn assert_allowed(caller: Caller, procedure: &str) {
    let allowed = match (access(procedure), caller) {
        (Some(Access::Anonymous), _) | (Some(_), Caller::Admin) => true,
        (
            Some(Access::Reflection | Access::Authenticated | Access::AdminOrSelf),
            Caller::Viewer,
        ) => true,
        (Some(Access::Reflection | Access::Authenticated | Access::AdminOrSelf), _) => false,
        (None | Some(Access::Admin), _) => false,
    };
    assert!(allowed, "{procedure} succeeded for {caller:?}");
}

/// The message type that a procedure answers with; `None` for health and reflection.
fn output(procedure: &str) -> Option<MessageIndex> {
    let (service, method) = procedure.strip_prefix('/')?.split_once('/')?;
    let service = POOL.service_by_name(service)?;
    let method = service.methods().iter().find(|known| known.name() == method)?;
    Some(method.output())
}

fn well_formed(message: MessageIndex, bytes: &Bytes, proto: bool) {
    if proto {
        DynamicMessage::decode(POOL.clone(), message, bytes)
            .expect("a message of the method's type");
    } else {
        let request: Value = serde_json::from_slice(bytes).expect("JSON, as its type says");
        let fields = POOL.message(message).fields();
        let known = |name: &str| fields.iter().any(|field| field.json_name() == name);
        assert!(
            request.as_object().expect("an object").keys().all(|name| known(name)),
            "{request}"
        );
    }
}
