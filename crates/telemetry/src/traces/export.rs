//! The queue of finished spans, and the exporter that sends them to the collector.
//!
//! The queue counts waiting spans and drops the excess, because OpenTelemetry's own batching does
//! not report how many it drops. That batching has a thread, which waits for an HTTP client on
//! tokio.

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
use axum::http::{HeaderMap, header};
use gatekey_outbound::{Connector, PlainHttp, Proxies};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
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

use super::config::{Config, InvalidConfig};

/// Spans that may wait, including those being sent: a few megabytes.
const MAX_WAITING: usize = 8192;
/// Spans in one request to the collector.
const MAX_BATCH: usize = 512;
/// How long a span waits for others to be sent with.
const BATCH_DELAY: Duration = Duration::from_secs(5);
/// How long the collector may take to respond, and how long a batch is retried.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of the collector's response that are read.
const MAX_RESPONSE: usize = 64 * 1024;
/// Failures are logged at most this often.
const LOG_INTERVAL: Duration = Duration::from_mins(1);

/// Numbers of spans, by state.
#[derive(Debug, Default)]
pub struct Counts {
    waiting: AtomicUsize,
    sent: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
}

impl Counts {
    /// Returns the spans in the queue or being sent.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Returns the spans that the collector accepted.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Returns the spans that the collector did not accept.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Returns the spans that found the queue full.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Returns the queue to the collector.
pub(super) fn queue(
    config: &Config,
    headers: HeaderMap,
    proxies: Proxies,
    counts: Arc<Counts>,
) -> Result<BoundedQueue, InvalidConfig> {
    let cause = Arc::<Cause>::default();
    let collector = Collector {
        client: client(config.ca_file.as_deref(), proxies.clone())?,
        proxies,
        headers,
        runtime: Handle::current(),
        cause: cause.clone(),
    };
    let otlp = OtlpExporter::builder()
        .with_http()
        .with_endpoint(config.endpoint.as_str())
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(EXPORT_TIMEOUT)
        .with_http_client(collector)
        .build();
    let otlp = otlp.map_err(|error| InvalidConfig::Endpoint(error.to_string()))?;
    let exporter = Exporter { otlp, counts: counts.clone(), cause, logged_at: Mutex::default() };
    // OpenTelemetry reads anything that is not set here from the environment.
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(MAX_WAITING)
        .with_max_export_batch_size(MAX_BATCH)
        .with_scheduled_delay(BATCH_DELAY)
        .build();
    Ok(BoundedQueue { batches: BatchSpanProcessor::new(exporter, batches), counts })
}

/// Takes spans while there is room.
#[derive(Debug)]
pub(super) struct BoundedQueue {
    batches: BatchSpanProcessor,
    counts: Arc<Counts>,
}

impl SpanProcessor for BoundedQueue {
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

/// Sends batches, counts their spans, and logs failures.
#[derive(Debug)]
struct Exporter {
    otlp: OtlpExporter,
    counts: Arc<Counts>,
    cause: Arc<Cause>,
    logged_at: Mutex<Option<Instant>>,
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
        let mut logged_at = self.logged_at.lock().unwrap_or_else(PoisonError::into_inner);
        if logged_at.is_some_and(|at| at.elapsed() < LOG_INTERVAL) {
            return;
        }
        *logged_at = Some(Instant::now());
        let (failed, dropped) = (self.counts.failed(), self.counts.dropped());
        tracing::warn!(cause, failed, dropped, "failed to send spans to the collector");
    }
}

/// The cause of the last failure, which OTLP's exporter does not report.
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

type Https = Client<HttpsConnector<Connector>, Full<Bytes>>;

/// The HTTP client of OTLP's exporter.
struct Collector {
    client: Https,
    proxies: Proxies,
    headers: HeaderMap,
    runtime: Handle,
    cause: Arc<Cause>,
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let mut request = request.map(Full::new);
        // The exporter reads headers from the environment by itself, malformed ones as well.
        let mut headers = self.headers.clone();
        for name in [header::CONTENT_TYPE, header::USER_AGENT] {
            if let Some(value) = request.headers_mut().remove(&name) {
                headers.insert(name, value);
            }
        }
        *request.headers_mut() = headers;
        // A proxy forwards plain HTTP, and reads its own credentials from each request.
        if request.uri().scheme_str() == Some("http")
            && let Ok(Some(proxy)) = self.proxies.find(request.uri())
            && let Some(authorization) = proxy.authorization()
        {
            request.headers_mut().insert(header::PROXY_AUTHORIZATION, authorization);
        }
        let exchange = exchange(self.client.clone(), request);
        // This is the thread of the batches; the timer needs the runtime.
        let exchange = self.runtime.spawn(async { timeout(EXPORT_TIMEOUT, exchange).await });
        let response = match exchange.await {
            Ok(Ok(response)) => response,
            Ok(Err(_)) => Err("timed out waiting for the collector".into()),
            Err(error) => Err(error.into()),
        };
        match &response {
            Ok(response) if response.status().is_success() => {}
            Ok(response) => self.cause.set(format!("the collector answered {}", response.status())),
            Err(error) => self.cause.set(with_causes(&**error)),
        }
        response
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Collector")
    }
}

async fn exchange(
    client: Https,
    request: Request<Full<Bytes>>,
) -> Result<Response<Bytes>, HttpError> {
    let (parts, body) = client.request(request).await?.into_parts();
    let body = Limited::new(body, MAX_RESPONSE).collect().await?.to_bytes();
    Ok(Response::from_parts(parts, body))
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn client(ca_file: Option<&Path>, proxies: Proxies) -> Result<Https, InvalidConfig> {
    let mut roots = RootCertStore::empty();
    // A system without root certificates is fine for a collector with its own CA or without TLS.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(ca_file) = ca_file {
        for authority in authorities(ca_file)? {
            // They have been added to a store before.
            let _ = roots.add(authority);
        }
    }
    let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider supports the default protocol versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let to_proxy = Arc::new(tls.clone());
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(Connector::new(proxies, PlainHttp::Forwarded, move || to_proxy.clone()));
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}

/// Reads the CA certificates for the collector.
///
/// # Errors
/// When the file cannot be read or has no certificates.
pub fn authorities(ca_file: &Path) -> Result<Vec<CertificateDer<'static>>, InvalidConfig> {
    let shown = ca_file.display();
    let pem = std::fs::read(ca_file)
        .map_err(|error| invalid(format!("{shown} cannot be read: {error}")))?;
    let authorities: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let authorities =
        authorities.map_err(|error| invalid(format!("{shown} is not valid PEM: {error}")))?;
    if authorities.is_empty() {
        return Err(invalid(format!("{shown} has no certificate")));
    }
    for authority in &authorities {
        RootCertStore::empty()
            .add(authority.clone())
            .map_err(|error| invalid(format!("{shown} has an unusable certificate: {error}")))?;
    }
    Ok(authorities)
}

fn invalid(rule: String) -> InvalidConfig {
    InvalidConfig::CaFile(rule)
}
