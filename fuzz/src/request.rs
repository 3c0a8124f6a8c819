//! [`TextRequest`]: a request as text, so that seeds are readable and a fuzzer changes one part at
//! a time.
//!
//! ```text
//! admin
//! PUT /oauth_app/api/v1/ci?organization=x
//! content-type: application/json
//!
//! {"clientName":"CI"}
//! ```

use std::io::Write as _;

use axum::body::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};

/// The limit for a message to a procedure that needs no role, in bytes.
pub const SMALL_LIMIT: usize = 16 * 1024;
/// The limit for any other message, in bytes.
pub const LARGE_LIMIT: usize = 1 << 20;

/// Who sends the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// Without a valid credential, whatever the headers contain.
    Nobody,
    /// With a token that another key signed.
    Forger,
    Viewer,
    Admin,
}

/// A parsed request.
#[derive(Debug, Clone)]
pub struct TextRequest {
    /// The first line's first word.
    pub caller: Caller,
    /// The second line.
    pub method: Method,
    /// The second line.
    pub target: Uri,
    /// One per line, up to an empty line.
    pub headers: HeaderMap,
    /// The rest. If the second word of the first line is `large` or `huge`, it is repeated until
    /// it exceeds the small or the large limit.
    pub body: Bytes,
}

impl TextRequest {
    /// Parses a request; `None` for one that no HTTP library would accept.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (first, rest) = line(bytes);
        let (second, mut rest) = line(rest);
        let mut words = first.split(|byte| *byte == b' ');
        let caller = match words.next()? {
            b"admin" => Caller::Admin,
            b"viewer" => Caller::Viewer,
            b"forger" => Caller::Forger,
            _ => Caller::Nobody,
        };
        let (method, target) = second.split_at(second.iter().position(|byte| *byte == b' ')?);
        let method = Method::from_bytes(method).ok().filter(|method| *method != Method::CONNECT)?;
        let target =
            Uri::try_from(&target[1..]).ok().filter(|target| target.path().starts_with('/'))?;
        let mut headers = HeaderMap::new();
        loop {
            let (header, after) = line(rest);
            rest = after;
            if header.is_empty() {
                break;
            }
            let (name, value) = header.split_at(header.iter().position(|byte| *byte == b':')?);
            let name = HeaderName::from_bytes(name).ok()?;
            // The connection would set it.
            if name != header::CONTENT_LENGTH {
                headers.append(name, HeaderValue::from_bytes(value[1..].trim_ascii()).ok()?);
            }
        }
        let least = match words.next() {
            Some(b"large") => SMALL_LIMIT + 1,
            Some(b"huge") => LARGE_LIMIT + 1,
            _ => 0,
        };
        let times = if rest.is_empty() { 1 } else { least.div_ceil(rest.len()).max(1) };
        Some(Self { caller, method, target, headers, body: rest.repeat(times).into() })
    }

    /// The request with its body in one envelope of Connect and gRPC: flags, length, message.
    #[must_use]
    pub fn in_envelope(&self, flags: u8) -> Self {
        let length = u32::try_from(self.body.len()).expect("a body of a few megabytes");
        let body = [&[flags][..], &length.to_be_bytes(), &self.body].concat();
        Self { body: body.into(), ..self.clone() }
    }

    /// The request with its body compressed, and `gzip` in the given header.
    #[must_use]
    pub fn compressed(&self, encoding_header: &'static str) -> Self {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&self.body).expect("memory takes what it is given");
        let body = encoder.finish().expect("as above").into();
        let mut headers = self.headers.clone();
        headers.insert(encoding_header, HeaderValue::from_static("gzip"));
        Self { body, headers, ..self.clone() }
    }

    /// A header as text; empty when absent or not text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Whether the request sets a deadline, so that it may be refused for exceeding it.
    pub fn sets_a_deadline(&self) -> bool {
        self.headers.contains_key("connect-timeout-ms") || self.headers.contains_key("grpc-timeout")
    }
}

/// Splits off the first line.
fn line(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, &[]),
    }
}
