//! [`Traces`]: a span for each request, sent to a collector by OTLP over HTTP.
//!
//! OpenTelemetry's own crates make ids and samples, batch, encode and retry. What is ours is what a span says, and that
//! none of it is on a request's way: a span that is done goes into a queue of fixed length, and what finds no room in it
//! is dropped and counted.
//!
//! # Layout
//! - [`span`]: what is said of a request, by OpenTelemetry's semantic conventions.
//! - `store`: spans of calls of the store, below those of requests.
//! - [`export`]: the queue, and the way to the collector.
//! - [`variables`]: what OpenTelemetry's environment variables say beyond settings.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use axum::http::HeaderMap;
use gatekey_core::{Env, Timestamp, store::StoreTracer};
use opentelemetry::{
    Context, InstrumentationScope, KeyValue,
    context::FutureExt as _,
    propagation::{Extractor, TextMapPropagator as _},
    trace::{SpanBuilder, SpanId, SpanKind, TraceId, Tracer as _, TracerProvider as _},
};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    resource::TelemetryResourceDetector,
    trace::{IdGenerator, Sampler, SdkTracer, SdkTracerProvider, SpanLimits, SpanProcessor},
};
use tokio::sync::oneshot;
use url::Url;

use self::{
    export::Counts,
    span::{FixedAttributes, RequestSpan},
    variables::Variables,
};
use super::metrics::Route;
use crate::config::{self, InvalidSetting};

/// Name of the server in traces, unless another is configured, and of the instrumentation scope.
const SERVICE_NAME: &str = "gatekey";

pub mod export;
pub mod span;
mod store;
pub mod variables;

/// How long the spans that wait at the end may take to reach the collector. With the time that requests have to finish
/// it stays below the half minute that Kubernetes gives a process.
pub const FLUSH: Duration = Duration::from_secs(5);

/// The version of the semantic conventions that attributes follow.
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.42.0";

/// Makes spans, and sends them.
pub struct Traces {
    tracer: SdkTracer,
    provider: SdkTracerProvider,
    counts: Arc<Counts>,
    env: Env,
    /// What every request's span says.
    fixed: FixedAttributes,
}

impl Traces {
    /// Begins to send what is recorded; within a runtime of tokio, which sends it.
    ///
    /// # Errors
    /// The setting that cannot be: a file that cannot be read, or has no certificates.
    pub fn start(
        config: &config::Traces,
        variables: Variables,
        public_url: &Url,
        env: Env,
    ) -> Result<Self, InvalidSetting> {
        let counts = Arc::<Counts>::default();
        let queue = export::queue(config, variables.headers, counts.clone())?;
        Ok(Self::with_queue(queue, counts, config, variables.attributes, public_url, env))
    }

    fn with_queue(
        queue: impl SpanProcessor + 'static,
        counts: Arc<Counts>,
        config: &config::Traces,
        attributes: Vec<(String, String)>,
        public_url: &Url,
        env: Env,
    ) -> Self {
        let attributes = attributes.into_iter().map(|(name, value)| KeyValue::new(name, value));
        let named = config.service_name.clone().map(|name| KeyValue::new("service.name", name));
        let resource = Resource::builder_empty()
            .with_detector(Box::new(TelemetryResourceDetector))
            .with_service_name(SERVICE_NAME)
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attributes(attributes)
            .with_attributes(named)
            .build();
        // Each is said here: what is not would be read from the environment.
        let provider = SdkTracerProvider::builder()
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(config.ratio))))
            .with_id_generator(Ids(env.clone()))
            .with_span_limits(SpanLimits::default())
            .with_resource(resource)
            .with_span_processor(queue)
            .build();
        let scope = InstrumentationScope::builder(SERVICE_NAME)
            .with_version(env!("CARGO_PKG_VERSION"))
            .with_schema_url(SCHEMA)
            .build();
        let tracer = provider.tracer_with_scope(scope);
        Self { tracer, provider, counts, env, fixed: FixedAttributes::new(public_url) }
    }

    /// Begins the span of a request to a served path, or to none; `None` when it is not recorded. It goes on with the
    /// trace of its caller, and is recorded if that is.
    pub fn begin(
        &self,
        method: Option<&'static str>,
        route: Option<Route>,
        headers: &HeaderMap,
    ) -> Option<RequestSpan> {
        let caller =
            TraceContextPropagator::new().extract_with_context(&Context::new(), &Traceparent(headers));
        // In this order a span never seems to end before those below it.
        let (started, started_at) = (Instant::now(), system_time(self.env.now()));
        let builder =
            SpanBuilder::from_name("request").with_kind(SpanKind::Server).with_start_time(started_at);
        let span = self.tracer.build_with_context(builder, &caller);
        RequestSpan::new(span, (started_at, started), method, route, headers, &self.fixed)
    }

    /// Begins spans for the calls of a store.
    pub fn store_tracer(&self) -> Arc<dyn StoreTracer> {
        Arc::new(store::StoreSpans::new(self.tracer.clone(), self.env.clone()))
    }

    /// What became of spans.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Sends what waits, for at most [`FLUSH`], and nothing more after that.
    pub async fn stop(&self) {
        let (tell, told) = oneshot::channel();
        let provider = self.provider.clone();
        // It blocks; and not on a thread of the runtime, because that would be waited for when nobody else waits any
        // more.
        let stopping = thread::Builder::new()
            .name("gatekey-traces".to_owned())
            .spawn(move || tell.send(provider.shutdown_with_timeout(FLUSH)));
        let stopped = match stopping {
            Ok(_) => matches!(told.await, Ok(Ok(()))),
            Err(_) => false,
        };
        if !stopped {
            tracing::warn!(spans = self.counts.waiting(), "the last spans could not be sent in time");
        }
    }
}

/// Carries a request out, so that what it calls knows its span.
pub async fn within<F: Future>(span: Option<&RequestSpan>, work: F) -> F::Output {
    match span {
        None => work.await,
        Some(span) => work.with_context(span.context().clone()).await,
    }
}

fn system_time(at: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(u64::try_from(at.as_micros()).unwrap_or_default())
}

/// Where the trace of a caller is read from: `traceparent` alone. What vendors write into `tracestate` is exported with
/// a span, and may be anything.
struct Traceparent<'a>(&'a HeaderMap);

impl Extractor for Traceparent<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let mut values = self.0.get_all("traceparent").iter();
        match (key, values.next(), values.next()) {
            ("traceparent", Some(only), None) => only.to_str().ok(),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent"]
    }
}

/// Ids of the entropy that everything else here is made of.
struct Ids(Env);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        TraceId::from_bytes(self.0.random())
    }

    fn new_span_id(&self) -> SpanId {
        SpanId::from_bytes(self.0.random())
    }
}

impl std::fmt::Debug for Ids {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Ids")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use opentelemetry_sdk::{
        error::OTelSdkResult,
        trace::{Span, SpanData},
    };

    use proptest::prelude::*;

    use super::*;

    const TOKEN: Route = Route { path: "/oauth2/token", is_rpc: false };

    #[derive(Debug, Default, Clone)]
    struct Kept(Arc<Mutex<Vec<SpanData>>>);

    impl SpanProcessor for Kept {
        fn on_start(&self, _span: &mut Span, _context: &Context) {}

        fn on_end(&self, span: SpanData) {
            self.0.lock().unwrap().push(span);
        }

        fn force_flush(&self) -> OTelSdkResult {
            Ok(())
        }

        fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
            Ok(())
        }
    }

    fn traces(kept: &Kept) -> Traces {
        let url = Url::parse("https://keys.example.com").unwrap();
        let config = config::Traces { endpoint: url.clone(), ca_file: None, service_name: None, ratio: 1.0 };
        Traces::with_queue(kept.clone(), Arc::default(), &config, Vec::new(), &url, Env::system())
    }

    proptest! {
        #[test]
        fn whatever_traceparent_says_there_is_a_span_unless_it_says_not(
            parent in "([0-9a-fA-F+]{0,2}-[0-9a-f+]{0,40}-[0-9a-f+]{0,20}-[0-9a-f+]{0,3}|[ -~]{0,80})"
        ) {
            let mut headers = HeaderMap::new();
            headers.insert("traceparent", parent.parse().unwrap());
            let kept = Kept::default();
            let span = traces(&kept).begin(Some("GET"), None, &headers);
            let recorded = span.is_some();
            drop(span);
            let spans = kept.0.lock().unwrap();
            prop_assert_eq!(spans.len(), usize::from(recorded));
            prop_assert!(recorded || parent.matches('-').count() >= 3);
            for span in spans.iter() {
                prop_assert!(span.span_context.is_valid());
            }
        }
    }

    #[test]
    fn a_request_that_nobody_waits_for_any_more_is_abandoned() {
        let kept = Kept::default();
        let url = Url::parse("https://keys.example.com").unwrap();
        let config = config::Traces { endpoint: url.clone(), ca_file: None, service_name: None, ratio: 1.0 };
        let traces =
            Traces::with_queue(kept.clone(), Arc::default(), &config, Vec::new(), &url, Env::system());
        let span = traces.begin(Some("POST"), Some(TOKEN), &HeaderMap::new());
        let request = Box::pin(async move {
            let _span = span;
            std::future::pending::<()>().await;
        });
        assert_eq!(kept.0.lock().unwrap().len(), 0);
        drop(request);
        let spans = kept.0.lock().unwrap();
        assert_eq!(spans.len(), 1);
        assert_eq!(spans[0].name, "POST /oauth2/token");
        let said = |name: &str| {
            let attribute = spans[0].attributes.iter().find(|attribute| attribute.key.as_str() == name);
            attribute.map(|attribute| attribute.value.to_string())
        };
        assert_eq!(said("gatekey.outcome").as_deref(), Some("abandoned"));
        assert_eq!(said("server.address").as_deref(), Some("keys.example.com"));
        assert_eq!(said("http.response.status_code"), None);
        assert!(spans[0].end_time >= spans[0].start_time);
    }
}
