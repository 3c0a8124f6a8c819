//! [`Error`]: everything that can go wrong, in one type.

use std::{error::Error as StdError, fmt, io, sync::Arc, time::Duration};

use connectrpc::{ConnectError, ErrorCode, SharedSource};
use http::header;

/// What to do about a certificate that is not trusted.
const CA_HINT: &str = "if the server has a private CA, name the file with its certificate in GATEKEY_CA_FILE";
/// Longest part of a message that comes from a server.
const MAX_REMOTE_TEXT: usize = 500;

/// Everything that can go wrong in this crate, one sentence each as [`Display`](fmt::Display).
///
/// The type is opaque so that kinds can be added without breaking anybody; ask the predicates. Cloning is
/// cheap: callers that waited for the same login share its error. No message holds a secret.
///
/// # Example: tell an absent key from other failures
/// ```no_run
/// use gatekey_client::{ApiKey, Client};
///
/// # async fn example() -> Result<(), gatekey_client::Error> {
/// let client = Client::from_env()?;
/// match ApiKey::get(&client, "ci").await {
///     Ok(key) => println!("{} exists", key.client_id()),
///     Err(error) if error.is_not_found() => println!("there is no such key"),
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
    hint: Option<&'static str>,
    request_id: Option<String>,
    source: Option<SharedSource>,
}

/// The kinds of errors: trouble before anything is sent, then the codes of the Connect protocol.
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

    /// `ErrorCode` may grow, so it is mapped by name; a code of tomorrow is unknown today.
    fn of(code: ErrorCode) -> Self {
        Self::ALL.into_iter().find(|kind| kind.code() == code.as_str()).unwrap_or(Self::Unknown)
    }
}

impl Error {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner { kind, message: message.into(), hint: None, request_id: None, source: None }))
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
            format!("could not {operation}: no answer within {} s", after.as_secs_f32()),
        )
    }

    /// The same error with the error beneath it.
    pub(crate) fn caused_by(self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.with(|inner| inner.source = Some(Arc::new(source)))
    }

    pub(crate) fn with_request_id(self, request_id: &str) -> Self {
        self.with(|inner| inner.request_id = Some(request_id.to_owned()))
    }

    fn with(self, change: impl FnOnce(&mut Inner)) -> Self {
        let mut inner = Arc::try_unwrap(self.0).unwrap_or_else(|shared| Inner {
            kind: shared.kind,
            message: shared.message.clone(),
            hint: shared.hint,
            request_id: shared.request_id.clone(),
            source: shared.source.clone(),
        });
        change(&mut inner);
        Self(Arc::new(inner))
    }

    /// What an RPC failed with; `operation` completes "could not ...", `server` is where it was sent.
    pub(crate) fn of_call(operation: &str, server: &str, error: ConnectError) -> Self {
        let kind = Kind::of(error.code);
        if let Some(cause) = deepest_cause(&error) {
            return Self::of_transport(operation, server, kind, &cause).caused_by(error);
        }
        let said = error.message.as_deref().map(|text| one_line(without_page(text, &error)));
        let said = said.filter(|text| !text.is_empty());
        let said = said.unwrap_or_else(|| kind.code().replace('_', " "));
        Self::new(kind, format!("could not {operation}: {said}")).caused_by(error)
    }

    fn of_transport(operation: &str, server: &str, kind: Kind, cause: &Cause) -> Self {
        let message = match cause {
            Cause::Certificate(reason) => {
                format!("could not {operation}: the certificate of {server} is not trusted ({reason})")
            }
            Cause::Tls(reason) => {
                format!("could not {operation}: no TLS connection with {server} ({reason})")
            }
            Cause::Unreachable(reason) => {
                format!("could not {operation}: cannot reach {server} ({reason})")
            }
            Cause::BrokeOff(reason) => {
                format!("could not {operation}: the connection with {server} broke off ({reason})")
            }
        };
        let hint = match cause {
            Cause::Certificate(_) => Some(CA_HINT),
            Cause::Tls(_) | Cause::Unreachable(_) | Cause::BrokeOff(_) => None,
        };
        Self::new(kind, message).with(|inner| inner.hint = hint)
    }

    pub(crate) fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The error's code: `configuration`, or a code of the Connect protocol such as `not_found`.
    ///
    /// ```
    /// let error = gatekey_client::Client::builder().build().unwrap_err();
    /// assert_eq!(error.code(), "configuration");
    /// ```
    pub fn code(&self) -> &'static str {
        self.0.kind.code()
    }

    /// The `x-request-id` of the call that failed, to find it in the server's log; none before a call.
    ///
    /// ```
    /// let error = gatekey_client::Client::builder().build().unwrap_err();
    /// assert_eq!(error.request_id(), None);
    /// ```
    pub fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }

    /// What to do about it, when there is something; part of the message already.
    ///
    /// ```
    /// let error = gatekey_client::Client::builder().build().unwrap_err();
    /// assert_eq!(error.hint(), None);
    /// ```
    pub fn hint(&self) -> Option<&str> {
        self.0.hint
    }

    /// Settings are missing, contradictory or unreadable; nothing was sent.
    ///
    /// ```
    /// assert!(gatekey_client::Client::builder().build().unwrap_err().is_configuration());
    /// ```
    pub fn is_configuration(&self) -> bool {
        self.kind() == Kind::Configuration
    }

    /// The key does not exist, or not in that organization.
    pub fn is_not_found(&self) -> bool {
        self.kind() == Kind::NotFound
    }

    /// A key with that client id exists already.
    pub fn is_already_exists(&self) -> bool {
        self.kind() == Kind::AlreadyExists
    }

    /// A value breaks a rule; the message names it.
    pub fn is_invalid_argument(&self) -> bool {
        self.kind() == Kind::InvalidArgument
    }

    /// The credentials are wrong, expired, disabled or revoked.
    pub fn is_unauthenticated(&self) -> bool {
        self.kind() == Kind::Unauthenticated
    }

    /// The credentials are good, but do not allow this.
    pub fn is_permission_denied(&self) -> bool {
        self.kind() == Kind::PermissionDenied
    }

    /// The server cannot be reached or refuses work for now.
    pub fn is_unavailable(&self) -> bool {
        self.kind() == Kind::Unavailable
    }

    /// No answer came in time; the change may have been made all the same.
    pub fn is_timeout(&self) -> bool {
        self.kind() == Kind::DeadlineExceeded
    }

    /// The server lacks the method: for `rotate` and its like, it is not a Gatekey.
    pub fn is_unimplemented(&self) -> bool {
        self.kind() == Kind::Unimplemented
    }

    /// The key's state does not allow it.
    pub fn is_failed_precondition(&self) -> bool {
        self.kind() == Kind::FailedPrecondition
    }

    /// Too many requests, or too large a message.
    pub fn is_resource_exhausted(&self) -> bool {
        self.kind() == Kind::ResourceExhausted
    }

    /// Whether the same call may succeed later: unavailable, timed out, exhausted or aborted.
    ///
    /// An unavailable server was already tried again as often as
    /// [`ClientBuilder::retries`](crate::ClientBuilder::retries) says.
    pub fn is_retryable(&self) -> bool {
        match self.kind() {
            Kind::Unavailable | Kind::DeadlineExceeded | Kind::ResourceExhausted | Kind::Aborted => true,
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
        match self.0.hint {
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

/// Why no answer came.
enum Cause {
    Certificate(String),
    Tls(String),
    /// There was no connection, so the request was never sent.
    Unreachable(String),
    BrokeOff(String),
}

/// Whether the connection ended before an answer came, so that nobody knows whether the server did what it
/// was asked.
pub(crate) fn connection_was_lost(error: &ConnectError) -> bool {
    matches!(deepest_cause(error), Some(Cause::BrokeOff(_)))
}

/// Looks under a transport's error, whose own text ("client error (Connect)") hides the cause; none for
/// what a server said, which has nothing beneath.
fn deepest_cause(error: &ConnectError) -> Option<Cause> {
    let mut link = error.source()?;
    let mut connected = true;
    loop {
        if let Some(http) = link.downcast_ref::<hyper_util::client::legacy::Error>() {
            connected = !http.is_connect();
        }
        if let Some(tls) = link.downcast_ref::<rustls::Error>() {
            return Some(match tls {
                rustls::Error::InvalidCertificate(reason) => {
                    Cause::Certificate(one_line(&reason.to_string()))
                }
                other => Cause::Tls(one_line(&other.to_string())),
            });
        }
        // The source of an io::Error is the source of what it wraps, which skips the wrapped error itself.
        let beneath = match link.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped as &(dyn StdError + 'static)),
            None => link.source(),
        };
        let Some(next) = beneath else {
            let reason = one_line(&link.to_string());
            return Some(if connected { Cause::BrokeOff(reason) } else { Cause::Unreachable(reason) });
        };
        link = next;
    }
}

/// Leaves of a page for browsers, as proxies and other web servers send it, only what is said before it: the status.
fn without_page<'t>(text: &'t str, error: &ConnectError) -> &'t str {
    let content_type = error.response_headers().get(header::CONTENT_TYPE);
    if content_type.is_some_and(|value| value.as_bytes().starts_with(b"text/html")) {
        text.split_once(": ").map_or(text, |(status, _)| status)
    } else {
        text
    }
}

/// Text from elsewhere made fit for a message: one line, no control characters, of bounded length.
pub(crate) fn one_line(text: &str) -> String {
    let mut line: String = text
        .trim()
        .chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .take(MAX_REMOTE_TEXT)
        .collect();
    if text.trim().chars().nth(MAX_REMOTE_TEXT).is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_protocol_keeps_its_name() {
        let mut seen = 0;
        for code in (1..=16).filter_map(ErrorCode::from_grpc_code) {
            let error = Error::of_call("try", "h", ConnectError::new(code, "said"));
            assert_eq!(error.code(), code.as_str());
            assert_eq!(error.to_string(), "could not try: said");
            seen += 1;
        }
        assert_eq!(seen, 16);
    }

    #[test]
    fn each_predicate_knows_its_code_alone() {
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
                assert_eq!(predicate(&Error::new(kind, "")), code == kind.code(), "{code} {kind:?}");
            }
        }
    }

    #[test]
    fn a_certificate_that_is_not_trusted_is_said_with_what_to_do() {
        let tls = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let wrapped = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, tls));
        let error = ConnectError::unavailable_from_transport("HTTPS request failed", wrapped);
        let error = Error::of_call("list API keys", "https://h:1", error);
        assert!(error.is_unavailable());
        let said = error.to_string();
        assert!(said.contains("certificate of https://h:1 is not trusted"), "{said}");
        assert!(said.contains("GATEKEY_CA_FILE"), "{said}");
        assert!(error.source().is_some());
    }

    #[test]
    fn a_message_from_a_server_is_one_bounded_line() {
        let error = ConnectError::not_found(format!("a\nb\x1b[31m{}", "x".repeat(1000)));
        let said = Error::of_call("try", "h", error).to_string();
        assert!(said.starts_with("could not try: a b [31mxx"), "{said}");
        assert!(said.chars().count() < 600 && !said.contains('\x1b'));
    }

    #[test]
    fn of_a_page_for_browsers_the_status_is_said() {
        let mut error =
            ConnectError::new(ErrorCode::Unimplemented, "HTTP error 404: <html>\n<p>a: b</p></html>");
        let page = http::HeaderValue::from_static("text/html; charset=utf-8");
        error.set_response_headers([(header::CONTENT_TYPE, page)].into_iter().collect());
        let error = Error::of_call("try", "h", error);
        assert_eq!(error.to_string(), "could not try: HTTP error 404");
        assert!(error.is_unimplemented());
    }

    #[test]
    fn an_empty_message_from_a_server_is_replaced_by_the_code() {
        let said = Error::of_call("try", "h", ConnectError::not_found("")).to_string();
        assert_eq!(said, "could not try: not found");
    }
}
