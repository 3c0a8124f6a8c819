//! A span for each request, sent to a collector by OTLP over HTTP.
//!
//! OpenTelemetry's own crates create ids, sample, batch, encode and retry. Gatekey decides what a
//! span contains, and keeps exporting off the path of a request: a finished span goes into a
//! bounded queue, and is dropped and counted when the queue is full.
//!
//! # Layout
//! - [`config`]: the destination and sampling of spans.
//! - [`tracer`]: begins the span of a request, and stops exporting at the end.
//! - [`span`]: the attributes of a request's span.
//! - `store`: spans of store calls, below those of requests.
//! - [`export`]: the queue and the exporter.
//! - [`variables`]: OpenTelemetry's environment variables that are not settings.

pub mod config;
pub mod export;
pub mod span;
mod stopwatch;
mod store;
pub mod tracer;
pub mod variables;

pub use self::{span::traceparent, tracer::Traces};
