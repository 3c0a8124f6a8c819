//! [`Unreadable`]: why a request of a limited key cannot be read.

/// Why a request cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("it is malformed")]
    Malformed,
    #[error("it has a field twice")]
    Repeated,
    #[error("its encoding or compression is not supported")]
    Encoding,
    #[error("it is larger than `gate.max_message_bytes` permits")]
    TooLarge,
}
