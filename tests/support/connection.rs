//! Raw bytes over TLS, for requests that no HTTP client would send.

use std::{net::IpAddr, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::support::ServerProcess;

/// Host and port that a server listens on.
pub(crate) fn address(server: &ServerProcess) -> &str {
    server.reached_at.split_once("://").unwrap().1
}

/// A connection from another address of this machine to a server's address and port.
pub(crate) async fn connect_from(from: &str, to: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from.parse::<IpAddr>().unwrap(), 0).into()).unwrap();
    socket.connect(to.parse().unwrap()).await.unwrap()
}

/// A TLS connection with a choice of versions and application protocols.
pub(crate) async fn connect_with(
    server: &ServerProcess,
    ca_file: &Path,
    versions: &[&'static SupportedProtocolVersion],
    protocols: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca_file).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(address(server)).await?;
    let name = ServerName::try_from("127.0.0.1").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// A connection for HTTP/1.1.
pub(crate) async fn connect(server: &ServerProcess) -> TlsStream<TcpStream> {
    connect_with(server, &server.ca_file(), rustls::ALL_VERSIONS, &["http/1.1"]).await.unwrap()
}

/// Begins a POST: its head has passed the server's checks, and a handler waits for the body of
/// `length` bytes.
pub(crate) async fn begin(
    server: &ServerProcess,
    path: &str,
    headers: &[&str],
    length: usize,
) -> TlsStream<TcpStream> {
    let mut stream = connect(server).await;
    let (post, length) = (format!("POST {path} HTTP/1.1"), format!("content-length: {length}"));
    let head =
        [&[&*post, "host: h", &*length, "expect: 100-continue"], headers].concat().join("\r\n");
    stream.write_all(format!("{head}\r\n\r\n").as_bytes()).await.unwrap();
    let mut interim = [0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
    stream.read_exact(&mut interim).await.unwrap();
    assert!(interim.starts_with(b"HTTP/1.1 100 "), "{}", String::from_utf8_lossy(&interim));
    stream
}

/// Sends bytes on a new connection, and reads until the server closes it.
pub(crate) async fn exchange(server: &ServerProcess, bytes: &[u8]) -> String {
    let mut stream = connect(server).await;
    // The server may close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let _ = stream.flush().await;
    let mut response = Vec::new();
    let _ = stream.read_to_end(&mut response).await;
    String::from_utf8_lossy(&response).into_owned()
}
