//! The queue that spans wait in, and the way to the collector.
//!
//! The queue counts what waits and drops what is too much, because OpenTelemetry's own batching tells nobody how much it
//! dropped. That batching has a thread; the HTTP client is one of tokio, which the thread only waits for.

use std::{
    fmt,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use axum::http::HeaderMap;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use opentelemetry::Context;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{
    Protocol, SpanExporter as OtlpExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{BatchConfigBuilder, BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor},
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tokio::{runtime::Handle, time::timeout};

use crate::config::{self, InvalidSetting};

/// Spans that wait at most, those on their way to the collector among them: some megabytes.
const MAX_WAITING: usize = 8192;
/// Spans in one request to the collector.
const BATCH: usize = 512;
/// How long a span waits for others.
const DELAY: Duration = Duration::from_secs(5);
/// How long the collector may take to answer, and how long a batch is tried again.
const PATIENCE: Duration = Duration::from_secs(10);
/// As much of the collector's answer as is read.
const MAX_ANSWER: usize = 64 * 1024;
/// A failure is not logged again within this time.
const QUIET: Duration = Duration::from_mins(1);

/// What became of spans.
#[derive(Debug, Default)]
pub struct Counts {
    waiting: AtomicUsize,
    sent: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
}

impl Counts {
    /// In the queue or on their way.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Taken by the collector.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Not taken by the collector.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Without room in the queue.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// The queue to the collector.
pub(super) fn queue(
    config: &config::Traces,
    headers: HeaderMap,
    counts: Arc<Counts>,
) -> Result<Bounded, InvalidSetting> {
    let cause = Arc::<Cause>::default();
    let collector = Collector {
        client: client(config.ca_file.as_deref())?,
        headers,
        runtime: Handle::current(),
        cause: cause.clone(),
    };
    // Of the environment it still reads the headers, by itself; those that are given here were read there too.
    let otlp = OtlpExporter::builder()
        .with_http()
        .with_endpoint(config.endpoint.as_str())
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(PATIENCE)
        .with_http_client(collector)
        .build();
    let otlp = otlp.map_err(|error| InvalidSetting::new("traces.endpoint", error.to_string()))?;
    let exporter = Exporter { otlp, counts: counts.clone(), cause, logged: Mutex::default() };
    // Each is said here: what is not would be read from the environment.
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(MAX_WAITING)
        .with_max_export_batch_size(BATCH)
        .with_scheduled_delay(DELAY)
        .build();
    Ok(Bounded { batches: BatchSpanProcessor::new(exporter, batches), counts })
}

/// Takes spans as long as there is room.
#[derive(Debug)]
pub(super) struct Bounded {
    batches: BatchSpanProcessor,
    counts: Arc<Counts>,
}

impl SpanProcessor for Bounded {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.batches.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.counts.waiting.fetch_add(1, Ordering::Relaxed) >= MAX_WAITING {
            self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.batches.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.batches.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}

/// Sends batches, counts them, and logs what fails, once in a while.
#[derive(Debug)]
struct Exporter {
    otlp: OtlpExporter,
    counts: Arc<Counts>,
    cause: Arc<Cause>,
    logged: Mutex<Option<Instant>>,
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let sent = self.otlp.export(batch).await;
        let counter = if sent.is_ok() { &self.counts.sent } else { &self.counts.failed };
        counter.fetch_add(spans as u64, Ordering::Relaxed);
        self.counts.waiting.fetch_sub(spans, Ordering::Relaxed);
        if let Err(error) = &sent {
            self.log(&self.cause.take().unwrap_or_else(|| error.to_string()));
        }
        sent
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.otlp.set_resource(resource);
    }
}

impl Exporter {
    fn log(&self, cause: &str) {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.is_some_and(|at| at.elapsed() < QUIET) {
            return;
        }
        *logged = Some(Instant::now());
        let (failed, dropped) = (self.counts.failed(), self.counts.dropped());
        tracing::warn!(cause, failed, dropped, "spans could not be sent to the collector");
    }
}

/// Why the last try failed: OTLP's exporter keeps that to itself.
#[derive(Debug, Default)]
struct Cause(Mutex<Option<String>>);

impl Cause {
    fn set(&self, cause: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(cause);
    }

    fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

type Https = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// The collector, as OTLP's exporter speaks to it.
struct Collector {
    client: Https,
    headers: HeaderMap,
    runtime: Handle,
    cause: Arc<Cause>,
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let mut request = request.map(Full::new);
        request.headers_mut().extend(self.headers.clone());
        let exchange = exchange(self.client.clone(), request);
        // Not here, on the thread of the batches: a timer needs the runtime as well.
        let exchange = self.runtime.spawn(async { timeout(PATIENCE, exchange).await });
        let answer = match exchange.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err("the collector did not answer in time".into()),
            Err(error) => Err(error.into()),
        };
        match &answer {
            Ok(answer) if answer.status().is_success() => {}
            Ok(answer) => self.cause.set(format!("the collector answered {}", answer.status())),
            Err(error) => self.cause.set(with_causes(&**error)),
        }
        answer
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Collector")
    }
}

async fn exchange(client: Https, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, HttpError> {
    let (parts, body) = client.request(request).await?.into_parts();
    let body = Limited::new(body, MAX_ANSWER).collect().await?.to_bytes();
    Ok(Response::from_parts(parts, body))
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn client(ca_file: Option<&Path>) -> Result<Https, InvalidSetting> {
    let mut roots = RootCertStore::empty();
    // A system without roots still serves those who bring their own, or need none.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(ca_file) = ca_file {
        for authority in authorities(ca_file)? {
            roots.add(authority).map_err(|error| unfit(format!("has an unusable certificate: {error}")))?;
        }
    }
    let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider supports the default protocol versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}

/// The certificates in a file that the collector's is checked by.
///
/// # Errors
/// When the file cannot be read, or has none.
pub fn authorities(ca_file: &Path) -> Result<Vec<CertificateDer<'static>>, InvalidSetting> {
    let shown = ca_file.display();
    let pem = std::fs::read(ca_file).map_err(|error| unfit(format!("{shown} cannot be read: {error}")))?;
    let authorities: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let authorities = authorities.map_err(|error| unfit(format!("{shown} is not valid PEM: {error}")))?;
    if authorities.is_empty() {
        return Err(unfit(format!("{shown} has no certificate")));
    }
    Ok(authorities)
}

fn unfit(rule: String) -> InvalidSetting {
    InvalidSetting::new("traces.ca_file", rule)
}
