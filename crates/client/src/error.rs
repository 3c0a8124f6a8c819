//! [`Error`]: the one error type of this crate.

use std::{borrow::Cow, error::Error as StdError, fmt, io, sync::Arc, time::Duration};

use connectrpc::{ConnectError, ErrorCode, SharedSource};
use gatekey_credentials::text::printable;
use gatekey_outbound::Failure;
use http::header;

use crate::failed::Failed;

const CA_HINT: &str =
    "if the server uses a private CA, set GATEKEY_CA_FILE to its certificate file";
const CLOCK_HINT: &str =
    "renew the certificate of the server; if it is valid, check this machine's clock";
const NAME_HINT: &str =
    "use a name that the certificate covers, or give the server a certificate for this one";
const LOGS_HINT: &str = "check the logs of the server, and of the proxy in front of it";
const REFUSED_HINT: &str = "check that the server runs, and listens on this address and port";
const DNS_HINT: &str = "check the spelling of the host, and its entry in DNS or /etc/hosts";
const ROUTE_HINT: &str =
    "check the network and firewalls; if this network needs a proxy, set HTTPS_PROXY";
const PROXY_HINT: &str =
    "check the URL of the proxy; to connect without it, add the host to NO_PROXY";
const LOST_HINT: &str =
    "the server, or a proxy in front of it, closed the connection; check their logs";
/// The longest part of a message that comes from a server, in characters.
const MAX_REMOTE_TEXT: usize = 500;

/// The error of every operation in this crate. [`Display`](fmt::Display) prints one sentence, with
/// the [hint](Error::hint).
///
/// The type is opaque, so that kinds of errors can be added compatibly; the predicates distinguish
/// them. Cloning is cheap: callers that waited for the same login share its error. No message
/// contains a secret.
///
/// # Example: handle a missing key
/// ```no_run
/// use gatekey_client::{ApiKey, Client};
///
/// # async fn example() -> Result<(), gatekey_client::Error> {
/// let client = Client::from_env()?;
/// match ApiKey::get(&client, "ci").await {
///     Ok(key) => println!("{} exists", key.client_id()),
///     Err(error) if error.is_not_found() => println!("the key does not exist"),
///     Err(error) => return Err(error),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: Kind,
    message: String,
    hint: Option<Cow<'static, str>>,
    /// Whether a server may have seen the request.
    was_sent: bool,
    /// Whether the same call fails again until someone changes a setting or a certificate.
    is_permanent: bool,
    request_id: Option<String>,
    source: Option<SharedSource>,
}

/// `Configuration`, which is raised before any request, and the codes of the Connect protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Configuration,
    Canceled,
    Unknown,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
    DataLoss,
    Unauthenticated,
}

impl Kind {
    const ALL: [Self; 17] = [
        Self::Configuration,
        Self::Canceled,
        Self::Unknown,
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::Unauthenticated,
    ];

    fn code(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Canceled => "canceled",
            Self::Unknown => "unknown",
            Self::InvalidArgument => "invalid_argument",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::PermissionDenied => "permission_denied",
            Self::ResourceExhausted => "resource_exhausted",
            Self::FailedPrecondition => "failed_precondition",
            Self::Aborted => "aborted",
            Self::OutOfRange => "out_of_range",
            Self::Unimplemented => "unimplemented",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
            Self::DataLoss => "data_loss",
            Self::Unauthenticated => "unauthenticated",
        }
    }

    /// Maps a code by its name: `ErrorCode` is non-exhaustive, and a new code becomes `Unknown`.
    fn of(code: ErrorCode) -> Self {
        Self::ALL.into_iter().find(|kind| kind.code() == code.as_str()).unwrap_or(Self::Unknown)
    }
}

impl Error {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            kind,
            message: message.into(),
            hint: None,
            was_sent: kind != Kind::Configuration,
            is_permanent: false,
            request_id: None,
            source: None,
        }))
    }

    pub(crate) fn configuration(message: impl Into<String>) -> Self {
        Self::new(Kind::Configuration, message)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, message)
    }

    pub(crate) fn timed_out(operation: &str, after: Duration) -> Self {
        Self::new(
            Kind::DeadlineExceeded,
            format!("could not {operation}: no response within {} s", after.as_secs_f32()),
        )
    }

    pub(crate) fn caused_by(self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.with(|inner| inner.source = Some(Arc::new(source)))
    }

    /// Adds the id, unless the error has that of another request, or no server saw one.
    pub(crate) fn with_request_id(self, request_id: &str) -> Self {
        if self.0.request_id.is_some() || !self.0.was_sent {
            return self;
        }
        self.with(|inner| inner.request_id = Some(request_id.to_owned()))
    }

    pub(crate) fn with_hint(self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.with(|inner| inner.hint = Some(hint.into()))
    }

    fn with(self, change: impl FnOnce(&mut Inner)) -> Self {
        let mut inner = Arc::try_unwrap(self.0).unwrap_or_else(|shared| Inner {
            kind: shared.kind,
            message: shared.message.clone(),
            hint: shared.hint.clone(),
            was_sent: shared.was_sent,
            is_permanent: shared.is_permanent,
            request_id: shared.request_id.clone(),
            source: shared.source.clone(),
        });
        change(&mut inner);
        Self(Arc::new(inner))
    }

    /// Converts the error of a request to `server`; `operation` completes "could not ...".
    pub(crate) fn of_call(operation: &str, server: &str, error: ConnectError) -> Self {
        let kind = Kind::of(error.code);
        if let Some(cause) = deepest_cause(&error) {
            return Self::of_transport(operation, server, kind, cause).caused_by(error);
        }
        let reason = error.message.as_deref().map(|text| one_line(without_html(text, &error)));
        let reason = reason.filter(|text| !text.is_empty());
        let reason = reason.unwrap_or_else(|| kind.code().replace('_', " "));
        Self::new(kind, format!("could not {operation}: {reason}")).caused_by(error)
    }

    /// The operation is named only if the request was sent: otherwise it does not matter.
    fn of_transport(operation: &str, server: &str, kind: Kind, cause: Cause) -> Self {
        let was_sent = matches!(cause, Cause::Lost(_) | Cause::NotHttp(_));
        let is_permanent = match cause {
            Cause::Certificate { .. } | Cause::NotTls => true,
            Cause::Proxy { is_permanent, .. } => is_permanent,
            Cause::Tls(_) | Cause::Unreachable { .. } | Cause::NotHttp(_) | Cause::Lost(_) => false,
        };
        let bare = server.split_once("://").map_or(server, |(_, bare)| bare);
        let bare = bare.split('/').next().unwrap_or(bare);
        let (message, hint): (String, Cow<'static, str>) = match cause {
            Cause::Certificate { reason, hint } => {
                (format!("the certificate of {server} is not trusted ({reason})"), hint)
            }
            Cause::NotTls => (
                format!("the TLS handshake with {server} failed: the server does not speak TLS"),
                format!("use http://{bare} if the server is meant to be reached without TLS")
                    .into(),
            ),
            Cause::Tls(reason) => {
                (format!("the TLS handshake with {server} failed ({reason})"), LOGS_HINT.into())
            }
            Cause::Proxy { reason, .. } => {
                (format!("cannot reach {server}: {reason}"), PROXY_HINT.into())
            }
            Cause::Unreachable { reason, hint } => {
                (format!("cannot reach {server}: {reason}"), hint.into())
            }
            Cause::NotHttp(reason) if server.starts_with("http://") => (
                format!(
                    "could not {operation}: {server} does not answer with plain HTTP ({reason})"
                ),
                format!("if it speaks HTTPS, use https://{bare}").into(),
            ),
            Cause::NotHttp(reason) => (
                format!("could not {operation}: {server} does not answer with HTTP ({reason})"),
                "check the host and the port".into(),
            ),
            Cause::Lost(reason) => (
                format!("could not {operation}: the connection to {server} was lost ({reason})"),
                LOST_HINT.into(),
            ),
        };
        Self::new(kind, message).with(|inner| {
            inner.hint = Some(hint);
            inner.was_sent = was_sent;
            inner.is_permanent = is_permanent;
        })
    }

    pub(crate) fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Returns the code: `configuration`, or a code of the Connect protocol such as `not_found`.
    ///
    /// ```
    /// let error = gatekey_client::Client::builder().build().unwrap_err();
    /// assert_eq!(error.code(), "configuration");
    /// ```
    pub fn code(&self) -> &'static str {
        self.0.kind.code()
    }

    /// Returns the `x-request-id` of the failed call or login, by which the server's log names it;
    /// `None` if no request was sent.
    ///
    /// ```
    /// let error = gatekey_client::Client::builder().build().unwrap_err();
    /// assert_eq!(error.request_id(), None);
    /// ```
    pub fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }

    /// Returns what to do about the error, if this crate knows. `Display` prints it as well.
    ///
    /// ```
    /// let error = gatekey_client::Client::builder().build().unwrap_err();
    /// assert_eq!(error.hint(), None);
    /// ```
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Whether settings are missing, contradictory or unreadable. No request was sent.
    ///
    /// ```
    /// assert!(gatekey_client::Client::builder().build().unwrap_err().is_configuration());
    /// ```
    pub fn is_configuration(&self) -> bool {
        self.kind() == Kind::Configuration
    }

    /// Whether the key does not exist in this organization.
    pub fn is_not_found(&self) -> bool {
        self.kind() == Kind::NotFound
    }

    /// Whether a key with this client id already exists.
    pub fn is_already_exists(&self) -> bool {
        self.kind() == Kind::AlreadyExists
    }

    /// Whether a value breaks a rule, which the message names.
    pub fn is_invalid_argument(&self) -> bool {
        self.kind() == Kind::InvalidArgument
    }

    /// Whether the credentials are wrong, expired, disabled or revoked.
    pub fn is_unauthenticated(&self) -> bool {
        self.kind() == Kind::Unauthenticated
    }

    /// Whether the credentials are valid, but do not permit the call.
    pub fn is_permission_denied(&self) -> bool {
        self.kind() == Kind::PermissionDenied
    }

    /// Whether the server cannot be reached or is unavailable.
    pub fn is_unavailable(&self) -> bool {
        self.kind() == Kind::Unavailable
    }

    /// Whether the call timed out. The server may have made the change nevertheless.
    pub fn is_timeout(&self) -> bool {
        self.kind() == Kind::DeadlineExceeded
    }

    /// Whether the server lacks the method. Servers other than Gatekey lack `rotate`, for example.
    pub fn is_unimplemented(&self) -> bool {
        self.kind() == Kind::Unimplemented
    }

    /// Whether the state of the key or the server prevents the call.
    pub fn is_failed_precondition(&self) -> bool {
        self.kind() == Kind::FailedPrecondition
    }

    /// Whether the caller sent too many requests, or too large a message.
    pub fn is_resource_exhausted(&self) -> bool {
        self.kind() == Kind::ResourceExhausted
    }

    /// Whether the same call may succeed later: the server was unavailable, or the call timed out,
    /// exceeded a limit or was aborted.
    ///
    /// False for a server that cannot be reached until someone acts: its certificate is not
    /// trusted, it does not speak TLS, or the proxy refuses.
    ///
    /// The client has already retried an unavailable server, up to
    /// [`ClientBuilder::retries`](crate::ClientBuilder::retries) times.
    pub fn is_retryable(&self) -> bool {
        match self.kind() {
            Kind::Unavailable => !self.0.is_permanent,
            Kind::DeadlineExceeded | Kind::ResourceExhausted | Kind::Aborted => true,
            Kind::Configuration
            | Kind::Canceled
            | Kind::Unknown
            | Kind::InvalidArgument
            | Kind::NotFound
            | Kind::AlreadyExists
            | Kind::PermissionDenied
            | Kind::FailedPrecondition
            | Kind::OutOfRange
            | Kind::Unimplemented
            | Kind::Internal
            | Kind::DataLoss
            | Kind::Unauthenticated => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.message)?;
        match &self.0.hint {
            Some(hint) => write!(formatter, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Error")
            .field("code", &self.code())
            .field("message", &self.to_string())
            .field("request_id", &self.0.request_id)
            .finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_ref().map(|source| &**source as &(dyn StdError + 'static))
    }
}

/// Why a request got no response.
enum Cause {
    Certificate {
        reason: String,
        hint: Cow<'static, str>,
    },
    NotTls,
    Tls(String),
    /// The proxy, or the URL of it.
    Proxy {
        reason: String,
        is_permanent: bool,
    },
    /// There was no connection, so the request was not sent.
    Unreachable {
        reason: String,
        hint: &'static str,
    },
    NotHttp(String),
    Lost(String),
}

/// Whether the connection ended before a response arrived, so that the server may or may not have
/// executed the request.
pub(crate) fn connection_was_lost(error: &ConnectError) -> bool {
    matches!(deepest_cause(error), Some(Cause::Lost(_)))
}

/// Finds the cause of a transport error, whose own text ("client error (Connect)") hides it.
/// Returns `None` for an error that a server returned, which has no source.
fn deepest_cause(error: &ConnectError) -> Option<Cause> {
    let mut link = error.source()?;
    let (mut connected, mut trusted) = (true, &[][..]);
    loop {
        if let Some(failed) = link.downcast_ref::<Failed>() {
            trusted = &failed.trusted;
        }
        if let Some(http) = link.downcast_ref::<hyper_util::client::legacy::Error>() {
            connected = !http.is_connect();
        }
        if let Some(failure) = link.downcast_ref::<Failure>() {
            let reason = one_line(&failure.to_string());
            return Some(match failure {
                Failure::TimedOut => Cause::Unreachable { reason, hint: ROUTE_HINT },
                Failure::Invalid(_) | Failure::Unreachable { .. } | Failure::Refused { .. } => {
                    Cause::Proxy { reason, is_permanent: failure.is_permanent() }
                }
            });
        }
        if let Some(tls) = link.downcast_ref::<rustls::Error>() {
            return Some(of_tls(tls, trusted));
        }
        if let Some(http) = link.downcast_ref::<hyper::Error>()
            && http.is_parse()
        {
            return Some(Cause::NotHttp(one_line(&http.to_string())));
        }
        // The `source` of an io::Error is the source of the wrapped error, so it skips that error
        // itself.
        let io = link.downcast_ref::<io::Error>();
        let source = match io.and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped as &(dyn StdError + 'static)),
            None => link.source(),
        };
        let Some(next) = source else {
            let reason = one_line(&link.to_string());
            return Some(if connected {
                Cause::Lost(reason)
            } else {
                unreachable(io.map(io::Error::kind), &reason)
            });
        };
        link = next;
    }
}

fn unreachable(kind: Option<io::ErrorKind>, reason: &str) -> Cause {
    let (reason, hint) = match kind {
        Some(io::ErrorKind::ConnectionRefused) => {
            ("connection refused: nothing listens there", REFUSED_HINT)
        }
        Some(io::ErrorKind::TimedOut) => ("the connection timed out", ROUTE_HINT),
        Some(io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => {
            (reason, ROUTE_HINT)
        }
        _ if reason.contains("lookup") || reason.contains("resolve") => (reason, DNS_HINT),
        _ => (reason, LOGS_HINT),
    };
    Cause::Unreachable { reason: reason.to_owned(), hint }
}

fn of_tls(error: &rustls::Error, trusted: &[String]) -> Cause {
    use rustls::CertificateError as Invalid;
    let rustls::Error::InvalidCertificate(invalid) = error else {
        return match error {
            // The first bytes of the answer are no TLS record.
            rustls::Error::InvalidMessage(_) => Cause::NotTls,
            other => Cause::Tls(one_line(&other.to_string())),
        };
    };
    let hint: Cow<'static, str> = match invalid {
        Invalid::UnknownIssuer if !trusted.is_empty() => {
            let sources = one_line(&trusted.join(", "));
            format!("neither the system's CA certificates nor those in {sources} signed it").into()
        }
        Invalid::Expired
        | Invalid::ExpiredContext { .. }
        | Invalid::NotValidYet
        | Invalid::NotValidYetContext { .. } => CLOCK_HINT.into(),
        Invalid::NotValidForName | Invalid::NotValidForNameContext { .. } => NAME_HINT.into(),
        _ => CA_HINT.into(),
    };
    Cause::Certificate { reason: one_line(&invalid.to_string()), hint }
}

/// Keeps only the status before an HTML page, which proxies and web servers send.
fn without_html<'t>(text: &'t str, error: &ConnectError) -> &'t str {
    let content_type = error.response_headers().get(header::CONTENT_TYPE);
    if content_type.is_some_and(|value| value.as_bytes().starts_with(b"text/html")) {
        text.split_once(": ").map_or(text, |(status, _)| status)
    } else {
        text
    }
}

pub(crate) fn no_key_in_response(operation: &str) -> Error {
    Error::internal(format!("could not {operation}: the response contains no API key"))
}

/// Sanitizes untrusted text for a message: replaces control characters, escapes characters that are
/// invisible or turn text around, and truncates it.
pub(crate) fn one_line(text: &str) -> String {
    let line: String = text
        .trim()
        .chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .take(MAX_REMOTE_TEXT)
        .collect();
    let mut line = printable(&line).into_owned();
    if text.trim().chars().nth(MAX_REMOTE_TEXT).is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_protocol_code_keeps_its_name() {
        let mut seen = 0;
        for code in (1..=16).filter_map(ErrorCode::from_grpc_code) {
            let error = Error::of_call("try", "h", ConnectError::new(code, "reason"));
            assert_eq!(error.code(), code.as_str());
            assert_eq!(error.to_string(), "could not try: reason");
            seen += 1;
        }
        assert_eq!(seen, 16);
    }

    #[test]
    fn each_predicate_matches_only_its_code() {
        type Predicate = fn(&Error) -> bool;
        let predicates: [(&str, Predicate); 11] = [
            ("configuration", Error::is_configuration),
            ("not_found", Error::is_not_found),
            ("already_exists", Error::is_already_exists),
            ("invalid_argument", Error::is_invalid_argument),
            ("unauthenticated", Error::is_unauthenticated),
            ("permission_denied", Error::is_permission_denied),
            ("unavailable", Error::is_unavailable),
            ("deadline_exceeded", Error::is_timeout),
            ("unimplemented", Error::is_unimplemented),
            ("failed_precondition", Error::is_failed_precondition),
            ("resource_exhausted", Error::is_resource_exhausted),
        ];
        for kind in Kind::ALL {
            for (code, predicate) in predicates {
                assert_eq!(
                    predicate(&Error::new(kind, "")),
                    code == kind.code(),
                    "{code} {kind:?}"
                );
            }
        }
    }

    #[test]
    fn an_untrusted_certificate_comes_with_a_hint() {
        let tls = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let wrapped = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, tls));
        let error = ConnectError::unavailable_from_transport("HTTPS request failed", wrapped);
        let error = Error::of_call("list API keys", "https://h:1", error);
        assert!(error.is_unavailable());
        let message = error.to_string();
        assert!(message.contains("certificate of https://h:1 is not trusted"), "{message}");
        assert!(message.contains("GATEKEY_CA_FILE"), "{message}");
        assert!(error.source().is_some());
    }

    #[test]
    fn invisible_characters_are_escaped() {
        assert_eq!(one_line("a\u{202e}b\u{2028}c\u{feff}"), "a\\u{202e}b\\u{2028}c\\u{feff}");
        assert_eq!(one_line("می\u{200c}خواهم"), "می\u{200c}خواهم");
    }

    #[test]
    fn each_certificate_error_has_its_own_hint() {
        use rustls::CertificateError as Invalid;
        for (invalid, trusted, part) in [
            (Invalid::UnknownIssuer, None, "GATEKEY_CA_FILE"),
            (Invalid::UnknownIssuer, Some("other.pem"), "other.pem"),
            (Invalid::Expired, None, "clock"),
            (Invalid::NotValidForName, None, "name"),
        ] {
            let trusted: Vec<_> = trusted.into_iter().map(str::to_owned).collect();
            let cause = of_tls(&rustls::Error::InvalidCertificate(invalid), &trusted);
            let error = Error::of_transport("list", "https://h:1", Kind::Unavailable, cause);
            assert!(error.hint().unwrap().contains(part), "{error}");
            assert_eq!(error.with_request_id("id").request_id(), None, "no server saw it");
        }
    }

    #[test]
    fn a_servers_message_becomes_one_short_line() {
        let error = ConnectError::not_found(format!("a\nb\x1b[31m{}", "x".repeat(1000)));
        let message = Error::of_call("try", "h", error).to_string();
        assert!(message.starts_with("could not try: a b [31mxx"), "{message}");
        assert!(message.chars().count() < 600 && !message.contains('\x1b'));
    }

    #[test]
    fn an_html_page_is_reduced_to_its_status() {
        let mut error = ConnectError::new(
            ErrorCode::Unimplemented,
            "HTTP error 404: <html>\n<p>a: b</p></html>",
        );
        let page = http::HeaderValue::from_static("text/html; charset=utf-8");
        error.set_response_headers([(header::CONTENT_TYPE, page)].into_iter().collect());
        let error = Error::of_call("try", "h", error);
        assert_eq!(error.to_string(), "could not try: HTTP error 404");
        assert!(error.is_unimplemented());
    }

    #[test]
    fn an_empty_message_is_replaced_by_the_code() {
        let message = Error::of_call("try", "h", ConnectError::not_found("")).to_string();
        assert_eq!(message, "could not try: not found");
    }
}
