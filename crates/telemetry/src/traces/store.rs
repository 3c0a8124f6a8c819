//! [`StoreSpans`]: a request waits longest for the disk, so each call of the store has its own
//! span.

use gatekey_core::{
    Env, StoreError,
    store::{StoreSpan, StoreTracer},
};
use opentelemetry::{
    Context, KeyValue,
    trace::{Span as _, SpanBuilder, Status, TraceContextExt as _, Tracer as _},
};
use opentelemetry_sdk::trace::{SdkTracer, Span};

use super::stopwatch::Stopwatch;

/// Begins a span below that of the request that the current task answers.
pub(super) struct StoreSpans {
    tracer: SdkTracer,
    env: Env,
}

struct CallSpan {
    span: Span,
    stopwatch: Stopwatch,
}

impl StoreSpans {
    pub(super) fn new(tracer: SdkTracer, env: Env) -> Self {
        Self { tracer, env }
    }
}

impl StoreTracer for StoreSpans {
    fn begin(&self, name: &'static str) -> Option<Box<dyn StoreSpan>> {
        let request = Context::current();
        if !request.span().span_context().is_sampled() {
            return None;
        }
        let stopwatch = Stopwatch::of_call(&self.env);
        let builder = SpanBuilder::from_name(name).with_start_time(stopwatch.started_at());
        let span = self.tracer.build_with_context(builder, &request);
        Some(Box::new(CallSpan { span, stopwatch }))
    }
}

impl StoreSpan for CallSpan {
    fn end(mut self: Box<Self>, error: Option<&StoreError>) {
        if let Some(error) = error {
            let kind = match error {
                StoreError::Conflict => "conflict",
                StoreError::LastAdmin => "last_admin",
                StoreError::Unavailable(_) => "unavailable",
                StoreError::Tampered(_) => "tampered",
                StoreError::Corrupt(_) => "corrupt",
                StoreError::Unreadable(_) => "unreadable",
            };
            self.span.set_attribute(KeyValue::new("error.type", kind));
            // A conflict is a result, not a failure.
            if !matches!(error, StoreError::Conflict | StoreError::LastAdmin) {
                self.span.set_status(Status::error(""));
            }
        }
        self.span.end_with_timestamp(self.stopwatch.now());
    }
}
