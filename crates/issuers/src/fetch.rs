//! [`Fetcher`]: fetches documents of issuers within limits.

use std::{fmt, sync::Arc};

use gatekey_outbound::{Connector, PlainHttp, Proxies};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use url::Url;

/// Bytes of a document.
const MAX_DOCUMENT: usize = 256 * 1024;

/// Fetches documents. Follows no redirects, because their target could be anyone's.
pub(crate) struct Fetcher {
    client: Client<HttpsConnector<Connector>, Empty<Bytes>>,
    proxies: Proxies,
}

impl Fetcher {
    pub(crate) fn new(proxies: Proxies) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider supports the default protocol versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let to_proxy = Arc::new(tls.clone());
        let connector =
            Connector::new(proxies.clone(), PlainHttp::Forwarded, move || to_proxy.clone());
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        // Documents are fetched too seldom for a connection to be used again.
        let client =
            Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Self { client, proxies }
    }

    /// Fetches a document. The caller limits the time.
    ///
    /// # Errors
    /// What failed, for the log.
    pub(crate) async fn fetch(&self, url: &Url) -> Result<Bytes, String> {
        let mut request = Request::get(url.as_str())
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, concat!("gatekey/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())
            .map_err(|error| error.to_string())?;
        // A proxy forwards plain HTTP, and reads its own credentials from each request.
        if url.scheme() == "http"
            && let Ok(Some(proxy)) = self.proxies.find(request.uri())
            && let Some(authorization) = proxy.authorization()
        {
            request.headers_mut().insert(header::PROXY_AUTHORIZATION, authorization);
        }
        let response = self.client.request(request).await.map_err(|error| with_causes(&error))?;
        let (parts, body) = response.into_parts();
        if parts.status != StatusCode::OK {
            return Err(format!("the answer is {}", parts.status));
        }
        let body = Limited::new(body, MAX_DOCUMENT).collect().await;
        body.map(http_body_util::Collected::to_bytes).map_err(|error| with_causes(&*error))
    }
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Fetcher")
    }
}

fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
