//! [`Said`]: a request as text, so that seeds can be read and a fuzzer changes one part at a time.
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

/// Bytes of a message by whoever needs no role, and by an admin: what `rpc::routes` limits them to.
pub const SMALL_LIMIT: usize = 16 * 1024;
/// See [`SMALL_LIMIT`].
pub const LARGE_LIMIT: usize = 1 << 20;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// Without a credential that is in force, whatever the headers say.
    Nobody,
    /// With a token whose signature is not ours.
    Forger,
    /// The key `viewer`, which has role viewer.
    Viewer,
    /// The key `admin`, which has role admin.
    Admin,
}

/// What is asked.
#[derive(Debug, Clone)]
pub struct Said {
    /// The first line's first word.
    pub caller: Caller,
    /// The second line.
    pub method: Method,
    /// The second line.
    pub target: Uri,
    /// A line each, up to an empty one.
    pub headers: HeaderMap,
    /// The rest. When the first line's second word is `large` or `huge` it is repeated until it is larger than the
    /// small or the large limit.
    pub body: Bytes,
}

impl Said {
    /// Reads a request; `None` for what no HTTP library would hand on.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (who, rest) = line(bytes);
        let (what, mut rest) = line(rest);
        let mut words = who.split(|byte| *byte == b' ');
        let caller = match words.next()? {
            b"admin" => Caller::Admin,
            b"viewer" => Caller::Viewer,
            b"forger" => Caller::Forger,
            _ => Caller::Nobody,
        };
        let (method, target) = what.split_at(what.iter().position(|byte| *byte == b' ')?);
        let method = Method::from_bytes(method).ok().filter(|method| *method != Method::CONNECT)?;
        let target = Uri::try_from(&target[1..]).ok().filter(|target| target.path().starts_with('/'))?;
        let mut headers = HeaderMap::new();
        loop {
            let (header, after) = line(rest);
            rest = after;
            if header.is_empty() {
                break;
            }
            let (name, value) = header.split_at(header.iter().position(|byte| *byte == b':')?);
            let name = HeaderName::from_bytes(name).ok()?;
            // Lengths are of HTTP, which is not here.
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

    /// The same with the body in one envelope of Connect and gRPC: flags, length, message.
    #[must_use]
    pub fn in_envelope(&self, flags: u8) -> Self {
        let length = u32::try_from(self.body.len()).expect("a body of a few megabytes");
        let body = [&[flags][..], &length.to_be_bytes(), &self.body].concat();
        Self { body: body.into(), ..self.clone() }
    }

    /// The same with the body compressed, as `gzip` in that header says.
    #[must_use]
    pub fn compressed(&self, said_in: &'static str) -> Self {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&self.body).expect("memory takes what it is given");
        let body = encoder.finish().expect("as above").into();
        let mut headers = self.headers.clone();
        headers.insert(said_in, HeaderValue::from_static("gzip"));
        Self { body, headers, ..self.clone() }
    }

    /// The value of a header that is text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Whether the caller said how long it waits, and so may be told that it was too long.
    pub fn sets_a_deadline(&self) -> bool {
        self.headers.contains_key("connect-timeout-ms") || self.headers.contains_key("grpc-timeout")
    }
}

/// Up to the end of a line, and what follows it.
fn line(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, &[]),
    }
}
