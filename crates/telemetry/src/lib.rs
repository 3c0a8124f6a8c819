//! Observes requests: the log line, the metrics and the span all come from one [`Record`].
//!
//! Nothing here knows which routes the server has; [`Metrics`] is given them.
//!
//! # Layout
//! - [`record`]: the facts about a request, filled in by the layers and handlers that learn them.
//! - [`observe`]: the outermost layer, which creates the record and reads it once at the end.
//! - [`request_id`], [`client_address`]: the initial facts of the record.
//! - [`outcome`]: the result of a request, from an HTTP or a gRPC status.
//! - `late_status`: the gRPC status at the end of a response.
//! - [`request_log`], [`metrics`], [`traces`]: the outputs.

pub mod client_address;
mod late_status;
pub mod metrics;
pub mod observe;
pub mod outcome;
pub mod record;
pub mod request_id;
pub mod request_log;
pub mod traces;

pub use self::{
    client_address::{ClientAddresses, ForwardedHeader},
    metrics::{Metrics, Route},
    observe::Telemetry,
    outcome::{GrpcStatus, Outcome},
    record::{Failure, Record},
    request_log::{NoRequestLog, RequestLine, RequestLog},
    traces::Traces,
};
