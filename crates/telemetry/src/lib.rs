//! Observes requests: one [`Record`] each, from which the log line, the metrics and the span are
//! made.
//!
//! Nothing here knows which routes the server has; [`Metrics`] is given them.
//!
//! # Layout
//! - [`record`]: what is known of a request, filled in by the layers and handlers that learn it.
//! - [`observe`]: the outermost layer, which creates the record and reads it once at the end.
//! - [`request_id`], [`client_address`], [`redact`]: what the record starts with.
//! - [`outcome`]: the result of a request, from an HTTP or a gRPC status.
//! - [`request_log`], [`metrics`], [`traces`]: what the record becomes.

pub mod client_address;
pub mod metrics;
pub mod observe;
pub mod outcome;
pub mod record;
mod redact;
pub mod request_id;
pub mod request_log;
pub mod traces;

pub use self::{
    metrics::{Metrics, Route},
    observe::Telemetry,
    outcome::Outcome,
    record::Record,
    request_log::{NoRequestLog, RequestLine, RequestLog},
    traces::Traces,
};
