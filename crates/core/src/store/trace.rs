//! [`StoreTracer`]: begins a span for each call of a store.

use super::StoreError;

/// Begins spans. Keeps stores independent of a tracing library.
pub trait StoreTracer: Send + Sync {
    /// Begins a span below that of the current request. `None` if the request is not recorded, or
    /// the call is for no request.
    fn begin(&self, name: &'static str) -> Option<Box<dyn StoreSpan>>;
}

/// The span of a call. Dropping it ends the span too: the caller is gone.
pub trait StoreSpan: Send {
    fn end(self: Box<Self>, error: Option<&StoreError>);
}

/// Awaits a call of a store, in a span of that name.
pub async fn traced<T>(
    tracer: Option<&dyn StoreTracer>,
    name: &'static str,
    call: impl Future<Output = Result<T, StoreError>> + Send,
) -> Result<T, StoreError> {
    let span = tracer.and_then(|tracer| tracer.begin(name));
    let result = call.await;
    if let Some(span) = span {
        span.end(result.as_ref().err());
    }
    result
}
