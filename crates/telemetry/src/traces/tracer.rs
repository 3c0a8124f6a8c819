//! [`Traces`]: begins spans and exports them.

use std::{sync::Arc, thread, time::Duration};

use axum::http::HeaderMap;
use gatekey_core::{Env, store::StoreTracer};
use opentelemetry::{
    Context, InstrumentationScope, KeyValue,
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

use super::{
    config::{Config, InvalidConfig},
    export::{self, Counts},
    span::{FixedAttributes, RequestSpan},
    stopwatch::Stopwatch,
    store::StoreSpans,
    variables::{Sampling, Variables},
};
use crate::metrics::Route;

/// Name of the server in traces, unless another is configured, and of the instrumentation scope.
const SERVICE_NAME: &str = "gatekey";
/// Version of the semantic conventions that attributes follow.
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.42.0";
/// How long exporting the last spans may take. Draining and this together stay below the 30 seconds
/// that Kubernetes gives a process to stop.
pub const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// Begins spans and exports them.
pub struct Traces {
    tracer: SdkTracer,
    provider: SdkTracerProvider,
    counts: Arc<Counts>,
    env: Env,
    fixed: FixedAttributes,
    /// Whether callers' traces are ignored.
    ignores_callers: bool,
}

impl Traces {
    /// Starts exporting. Must be called within a tokio runtime, which sends the spans.
    ///
    /// # Errors
    /// When the CA file cannot be read or has no certificates.
    pub fn start(
        config: &Config,
        variables: Variables,
        public_url: &Url,
        env: Env,
    ) -> Result<Self, InvalidConfig> {
        let counts = Arc::<Counts>::default();
        let (headers, proxies) = (variables.headers.clone(), variables.proxies.clone());
        let queue = export::queue(config, headers, proxies, counts.clone())?;
        Ok(Self::with_queue(queue, counts, config, variables, public_url, env))
    }

    fn with_queue(
        queue: impl SpanProcessor + 'static,
        counts: Arc<Counts>,
        config: &Config,
        variables: Variables,
        public_url: &Url,
        env: Env,
    ) -> Self {
        let Variables { attributes, sampling, ignores_callers, .. } = variables;
        let attributes = attributes.into_iter().map(|(name, value)| KeyValue::new(name, value));
        let service_name =
            config.service_name.clone().map(|name| KeyValue::new("service.name", name));
        let resource = Resource::builder_empty()
            .with_detector(Box::new(TelemetryResourceDetector))
            .with_service_name(SERVICE_NAME)
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attributes(attributes)
            .with_attributes(service_name)
            .build();
        let Sampling { parent_based, ratio } =
            sampling.unwrap_or(Sampling { parent_based: true, ratio: config.ratio });
        let sampler = Sampler::TraceIdRatioBased(ratio);
        let sampler = if parent_based { Sampler::ParentBased(Box::new(sampler)) } else { sampler };
        // OpenTelemetry reads anything that is not set here from the environment.
        let provider = SdkTracerProvider::builder()
            .with_sampler(sampler)
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
        let fixed = FixedAttributes::new(public_url);
        Self { tracer, provider, counts, env, fixed, ignores_callers }
    }

    /// Begins the span of a request; `None` when it is not recorded. The span continues the
    /// caller's trace, and is then recorded if that is, unless the environment changes it.
    pub(crate) fn begin_request(
        &self,
        method: Option<&'static str>,
        route: Option<Route>,
        headers: &HeaderMap,
    ) -> Option<RequestSpan> {
        let caller = if self.ignores_callers {
            Context::new()
        } else {
            let propagator = TraceContextPropagator::new();
            propagator.extract_with_context(&Context::new(), &Traceparent(headers))
        };
        let stopwatch = Stopwatch::of_request(&self.env);
        let builder = SpanBuilder::from_name("request")
            .with_kind(SpanKind::Server)
            .with_start_time(stopwatch.started_at());
        let span = self.tracer.build_with_context(builder, &caller);
        RequestSpan::new(span, stopwatch, method, route, headers, &self.fixed)
    }

    /// Returns the tracer of store calls.
    pub fn store_tracer(&self) -> Arc<dyn StoreTracer> {
        Arc::new(StoreSpans::new(self.tracer.clone(), self.env.clone()))
    }

    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Exports the remaining spans, for at most [`FLUSH_TIMEOUT`], and stops.
    pub async fn stop(&self) {
        let (sender, stopped) = oneshot::channel();
        let provider = self.provider.clone();
        // Shutting down blocks. A blocking thread of the runtime would delay the end of the process
        // past the timeout.
        let thread = thread::Builder::new()
            .name("gatekey-traces".to_owned())
            .spawn(move || sender.send(provider.shutdown_with_timeout(FLUSH_TIMEOUT)));
        let stopped = match thread {
            Ok(_) => matches!(stopped.await, Ok(Ok(()))),
            Err(_) => false,
        };
        if !stopped {
            tracing::warn!(spans = self.counts.waiting(), "timed out exporting the last spans");
        }
    }
}

/// Reads the caller's trace, only from `traceparent`: `tracestate` would be exported with the span,
/// and may contain anything.
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

/// Draws ids from the same entropy as everything else.
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
        let config =
            Config { endpoint: url.clone(), ca_file: None, service_name: None, ratio: 1.0 };
        Traces::with_queue(
            kept.clone(),
            Arc::default(),
            &config,
            Variables::default(),
            &url,
            Env::system(),
        )
    }

    proptest! {
        #[test]
        fn only_an_unsampled_traceparent_has_no_span(
            parent in "([0-9a-fA-F+]{0,2}-[0-9a-f+]{0,40}-[0-9a-f+]{0,20}-[0-9a-f+]{0,3}|[ -~]{0,80})"
        ) {
            let mut headers = HeaderMap::new();
            headers.insert("traceparent", parent.parse().unwrap());
            let kept = Kept::default();
            let span = traces(&kept).begin_request(Some("GET"), None, &headers);
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
    fn the_span_of_a_dropped_request_is_abandoned() {
        let kept = Kept::default();
        let url = Url::parse("https://keys.example.com").unwrap();
        let config =
            Config { endpoint: url.clone(), ca_file: None, service_name: None, ratio: 1.0 };
        let traces = Traces::with_queue(
            kept.clone(),
            Arc::default(),
            &config,
            Variables::default(),
            &url,
            Env::system(),
        );
        let span = traces.begin_request(Some("POST"), Some(TOKEN), &HeaderMap::new());
        let request = Box::pin(async move {
            let _span = span;
            std::future::pending::<()>().await;
        });
        assert_eq!(kept.0.lock().unwrap().len(), 0);
        drop(request);
        let spans = kept.0.lock().unwrap();
        assert_eq!(spans.len(), 1);
        assert_eq!(spans[0].name, "POST /oauth2/token");
        let attribute = |name: &str| {
            let attribute =
                spans[0].attributes.iter().find(|attribute| attribute.key.as_str() == name);
            attribute.map(|attribute| attribute.value.to_string())
        };
        assert_eq!(attribute("gatekey.outcome").as_deref(), Some("abandoned"));
        assert_eq!(attribute("server.address").as_deref(), Some("keys.example.com"));
        assert_eq!(attribute("http.response.status_code"), None);
        assert!(spans[0].end_time >= spans[0].start_time);
    }
}
