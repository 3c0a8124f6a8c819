//! Tests which certificates are trusted.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use gatekey_client::{Client, PlainSecret};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, TcpStream};

use crate::server::{Behavior, CLIENT_ID, SECRET, Server};

/// Starts a server with a private CA, and returns the CA in PEM.
async fn start() -> (Server, String) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["127.0.0.1".into()])
        .unwrap()
        .signed_by(&key, &authority)
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let token_endpoint = Some(format!("https://{address}/token"));
    let server = Server::new(address, Behavior { token_endpoint, ..Behavior::default() });
    let serving = connectrpc::axum::serve_tls(listener, server.router(), Arc::new(tls));
    tokio::spawn(serving.into_future());
    (server, authority.pem())
}

fn builder(server: &Server) -> gatekey_client::ClientBuilder {
    Client::builder()
        .endpoint(&server.endpoint())
        .credentials(CLIENT_ID, PlainSecret::new(SECRET))
        .retries(0)
}

#[tokio::test]
async fn a_private_ca_covers_calls_and_logins() {
    use gatekey_client::Protocol;
    let (server, ca) = start().await;
    for protocol in [Protocol::Connect, Protocol::Grpc, Protocol::GrpcWeb] {
        let client = builder(&server).ca_pem(ca.clone()).protocol(protocol).build().unwrap();
        assert_eq!(client.whoami().await.unwrap().subject, "ci", "{protocol:?}");
    }
}

#[tokio::test]
async fn a_ca_may_come_from_a_file() {
    let (server, ca) = start().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.pem");
    std::fs::write(&path, ca).unwrap();
    assert_eq!(
        builder(&server).ca_file(path).build().unwrap().whoami().await.unwrap().subject,
        "ci"
    );
    let error = builder(&server).ca_file(directory.path().join("absent.pem")).build().unwrap_err();
    assert!(error.is_configuration() && error.to_string().contains("absent.pem"), "{error}");
}

#[tokio::test]
async fn an_unknown_ca_is_reported_with_a_hint() {
    let (server, _) = start().await;
    let error = builder(&server).build().unwrap().whoami().await.unwrap_err();
    assert!(error.is_unavailable());
    let message = error.to_string();
    assert!(message.contains("the certificate of https://127.0.0.1:"), "{message}");
    assert!(message.contains("is not trusted") && message.contains("GATEKEY_CA_FILE"), "{message}");
    assert!(error.hint().is_some());
}

#[tokio::test]
async fn a_plaintext_server_is_refused_by_default() {
    let server = Server::start().await;
    let error = builder(&server).build().unwrap().whoami().await.unwrap_err();
    let message = error.to_string();
    assert!(message.contains("TLS handshake"), "{message}");
    assert!(server.0.record().logins.is_empty());
}

/// Forwards connections to an address, and counts them.
async fn counting(target: String) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, count) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
    let counted = count.clone();
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            let mut server = TcpStream::connect(&target).await.unwrap();
            tokio::spawn(
                async move { tokio::io::copy_bidirectional(&mut client, &mut server).await },
            );
        }
    });
    (port, count)
}

#[tokio::test]
async fn an_untrusted_server_is_tried_once() {
    let (tls, ca) = start().await;
    let plaintext = Server::start().await;
    for (host, ca, server) in
        [("127.0.0.1", None, &tls), ("localhost", Some(ca), &tls), ("127.0.0.1", None, &plaintext)]
    {
        let (port, connections) = counting(server.endpoint()).await;
        let mut builder = builder(server).endpoint(&format!("https://{host}:{port}")).retries(3);
        if let Some(ca) = ca {
            builder = builder.ca_pem(ca);
        }
        let error = builder.build().unwrap().whoami().await.unwrap_err();
        assert!(error.is_unavailable() && !error.is_retryable(), "{error}");
        // The two calls for the metadata of the server begin at the same time.
        assert!(connections.load(Ordering::SeqCst) <= 2, "{error}");
    }
}
