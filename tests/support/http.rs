//! An HTTP client that reads whole responses.

use std::{path::Path, sync::Arc};

use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use serde_json::{Value, json};

use super::Credentials;

/// TLS settings of a client that trusts one CA.
pub(crate) fn trusting(ca_file: Option<&Path>) -> rustls::ClientConfig {
    let mut roots = RootCertStore::empty();
    if let Some(ca_file) = ca_file {
        roots.add(CertificateDer::from_pem_file(ca_file).unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// Connections with `TCP_NODELAY`: no request waits for the acknowledgement of the one before.
fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp
}

/// Uses HTTP/1.1 or HTTP/2, as negotiated over TLS.
#[derive(Clone)]
pub(crate) struct Http {
    url: String,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// A response, read whole.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: HeaderMap,
}

impl Response {
    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    /// A header as text; empty if absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Http {
    /// A client of one URL that trusts one CA, or uses plain HTTP.
    pub(crate) fn new(url: &str, ca_file: Option<&Path>) -> Self {
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(trusting(ca_file)).https_or_http();
        let client = Client::builder(TokioExecutor::new())
            .build(connector.enable_all_versions().wrap_connector(tcp()));
        Self { url: url.to_owned(), client }
    }

    /// The same, with only HTTP/1.1.
    pub(crate) fn over_http1(url: &str, ca_file: Option<&Path>) -> Self {
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(trusting(ca_file)).https_or_http();
        let client = Client::builder(TokioExecutor::new())
            .build(connector.enable_http1().wrap_connector(tcp()));
        Self { url: url.to_owned(), client }
    }

    /// Sends a request and reads the whole response.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Response {
        self.try_send(method, path, headers, body).await.expect("the server responds")
    }

    /// Sends a request and reads the whole response, if there is one.
    pub(crate) async fn try_send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Response, Box<dyn std::error::Error + Send + Sync>> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let (parts, body) = self.client.request(request).await?.into_parts();
        let collected = body.collect().await?;
        let trailers = collected.trailers().cloned().unwrap_or_default();
        Ok(Response {
            status: parts.status,
            headers: parts.headers,
            body: collected.to_bytes(),
            trailers,
        })
    }

    pub(crate) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        self.send(Method::GET, path, headers, Bytes::new()).await
    }

    /// POSTs an encoded form.
    pub(crate) async fn form(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let mut all = vec![(header::CONTENT_TYPE.as_str(), "application/x-www-form-urlencoded")];
        all.extend(headers);
        self.send(Method::POST, path, &all, body.to_owned()).await
    }

    /// Makes a Connect call in JSON, with a token unless it is empty.
    pub(crate) async fn connect_json(
        &self,
        procedure: &str,
        token: &str,
        body: &Value,
    ) -> Response {
        let bearer = format!("Bearer {token}");
        let mut headers =
            vec![("content-type", "application/json"), ("connect-protocol-version", "1")];
        if !token.is_empty() {
            headers.push(("authorization", &bearer));
        }
        self.send(Method::POST, procedure, &headers, body.to_string()).await
    }

    /// Requests a token with Basic authentication and more parameters.
    pub(crate) async fn token(&self, key: &Credentials, parameters: &[(&str, &str)]) -> Response {
        let mut body = "grant_type=client_credentials".to_owned();
        for (name, value) in parameters {
            body.extend(["&", name, "=", value]);
        }
        self.form("/oauth2/token", &[("authorization", &key.basic())], &body).await
    }

    /// Creates a key with the public API, and returns its credentials.
    pub(crate) async fn create(&self, admin_token: &str, name: &str) -> Credentials {
        let body = json!({ "clientId": name, "clientName": name });
        let response =
            self.connect_json("/cloudidl.identity.AppsService/Create", admin_token, &body).await;
        assert_eq!(response.status, StatusCode::OK, "{}", response.text());
        let app = &response.json()["app"];
        Credentials {
            client_id: app["clientId"].as_str().unwrap().to_owned(),
            client_secret: app["clientSecret"].as_str().unwrap().to_owned(),
        }
    }
}
