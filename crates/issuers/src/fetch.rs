//! [`Fetcher`]: fetches documents of issuers within limits.

use std::{fmt, path::Path, sync::Arc};

use gatekey_outbound::{Connector, PlainHttp, Proxies};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use url::Url;

/// Bytes of a document.
const MAX_DOCUMENT: usize = 256 * 1024;

type HttpsClient = Client<HttpsConnector<Connector>, Empty<Bytes>>;

/// Fetches documents. Follows no redirects, because their target could be anyone's.
pub(crate) struct Fetcher {
    client: HttpsClient,
    proxies: Proxies,
}

impl Fetcher {
    pub(crate) fn new(proxies: Proxies) -> Self {
        Self { client: client(&proxies, Vec::new()), proxies }
    }

    /// Fetches a document. The caller limits the time. The server's certificate may be of a CA in
    /// `ca_file`, which is read each time: documents are fetched seldom, and the file may change.
    ///
    /// # Errors
    /// What failed, for the log.
    pub(crate) async fn fetch(&self, url: &Url, ca_file: Option<&Path>) -> Result<Bytes, String> {
        let client = match ca_file {
            None => self.client.clone(),
            Some(file) => client(&self.proxies, authorities(file)?),
        };
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
        let response = client.request(request).await.map_err(|error| with_causes(&error))?;
        let (parts, body) = response.into_parts();
        if parts.status != StatusCode::OK {
            return Err(format!("the answer is {}", parts.status));
        }
        let body = Limited::new(body, MAX_DOCUMENT).collect().await;
        body.map(http_body_util::Collected::to_bytes).map_err(|error| with_causes(&*error))
    }
}

/// Returns a client that trusts the system's CAs, and others.
fn client(proxies: &Proxies, authorities: Vec<CertificateDer<'static>>) -> HttpsClient {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots.add_parsable_certificates(authorities);
    let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider supports the default protocol versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let to_proxy = Arc::new(tls.clone());
    let connector = Connector::new(proxies.clone(), PlainHttp::Forwarded, move || to_proxy.clone());
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector);
    // Documents are fetched too seldom for a connection to be used again.
    Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector)
}

fn authorities(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    match certificates {
        Ok(certificates) if !Vec::is_empty(&certificates) => Ok(certificates),
        Ok(_) => Err(format!("{} has no certificate", file.display())),
        Err(error) => Err(format!("{} cannot be read: {error}", file.display())),
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
