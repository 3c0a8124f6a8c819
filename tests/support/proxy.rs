//! Proxies: HTTP, HTTPS and SOCKS5.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use rcgen::CertifiedKey;
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// A proxy that knows the names of servers, and records the requests to it.
pub(crate) struct Proxy {
    pub(crate) address: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Leads to `server`, whatever the name. Requires that line in a head, if there is one.
    pub(crate) fn start(server: &str, authorization: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (recorded, server) = (heads.clone(), server.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (recorded, server) = (recorded.clone(), server.clone());
                std::thread::spawn(move || serve(client, &recorded, &server, authorization));
            }
        });
        Self { address, heads }
    }

    /// A SOCKS5 proxy (RFC 1928, 1929) that requires a name and a password. Records the targets.
    pub(crate) fn start_socks5(server: &str, account: (&'static str, &'static str)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (recorded, server) = (heads.clone(), server.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (recorded, server) = (recorded.clone(), server.clone());
                // A client that is refused closes the connection.
                std::thread::spawn(move || serve_socks5(client, &recorded, &server, account).ok());
            }
        });
        Self { address, heads }
    }

    /// A proxy for tunnels that is reached over TLS. Returns its certificate, in PEM.
    pub(crate) fn start_tls(server: &str) -> (Self, String) {
        let CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        listener.set_nonblocking(true).unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (recorded, server) = (heads.clone(), server.to_owned());
        // A runtime of its own: tests block theirs while a command runs.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        std::thread::spawn(move || {
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let acceptor = TlsAcceptor::from(Arc::new(tls));
                while let Ok((client, _)) = listener.accept().await {
                    let Ok(client) = acceptor.accept(client).await else { continue };
                    let (recorded, server) = (recorded.clone(), server.clone());
                    tokio::spawn(async move { serve_tls(client, &recorded, &server).await });
                }
            });
        });
        (Self { address, heads }, cert.pem())
    }

    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

/// Serves one connection to a proxy: a tunnel, or requests that it forwards.
fn serve(
    mut client: TcpStream,
    recorded: &Mutex<Vec<String>>,
    server: &str,
    authorization: Option<&str>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if client.read(&mut byte).unwrap_or(0) == 0 {
            return;
        }
        head.push(byte[0]);
    }
    let text = String::from_utf8(head.clone()).unwrap();
    recorded.lock().unwrap().push(text.clone());
    if authorization.is_some_and(|expected| !text.contains(expected)) {
        let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n";
        let _ = client.write_all(refusal.as_bytes());
        return;
    }
    let Ok(mut upstream) = TcpStream::connect(server) else { return };
    if text.starts_with("CONNECT ") {
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
    } else {
        upstream.write_all(&head).unwrap();
    }
    forward(client, upstream);
}

/// Copies bytes in both directions.
fn forward(mut client: TcpStream, mut upstream: TcpStream) {
    let (mut from, mut to) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    let _ = std::io::copy(&mut upstream, &mut client);
    let _ = client.shutdown(Shutdown::Write);
}

/// Serves one connection to a SOCKS5 proxy.
fn serve_socks5(
    mut client: TcpStream,
    recorded: &Mutex<Vec<String>>,
    server: &str,
    (user, password): (&str, &str),
) -> io::Result<()> {
    let read = |length: usize| {
        let mut bytes = vec![0; length];
        (&client).read_exact(&mut bytes).map(|()| bytes)
    };
    let methods = read(2)?[1];
    read(methods.into())?;
    (&client).write_all(&[5, 2])?;
    let length = read(2)?[1];
    let is_user = read(length.into())? == user.as_bytes();
    let length = read(1)?[0];
    let is_password = read(length.into())? == password.as_bytes();
    if !(is_user && is_password) {
        return (&client).write_all(&[1, 1]);
    }
    (&client).write_all(&[1, 0])?;
    // Version, command, reserved, and 3 for the name of a host.
    assert_eq!(read(4)?, [5, 1, 0, 3]);
    let length = read(1)?[0];
    let host = String::from_utf8(read(length.into())?).unwrap();
    let port = read(2)?;
    let port = u16::from_be_bytes([port[0], port[1]]);
    recorded.lock().unwrap().push(format!("{host}:{port}"));
    let upstream = TcpStream::connect(server)?;
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    forward(client, upstream);
    Ok(())
}

/// Serves one connection to a proxy that is reached over TLS.
async fn serve_tls(
    mut client: TlsStream<tokio::net::TcpStream>,
    recorded: &Mutex<Vec<String>>,
    server: &str,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = client.read_u8().await else { return };
        head.push(byte);
    }
    recorded.lock().unwrap().push(String::from_utf8(head).unwrap());
    let Ok(mut upstream) = tokio::net::TcpStream::connect(server).await else { return };
    if client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.is_ok() {
        let _ = tokio::io::copy_bidirectional(&mut client, &mut upstream).await;
    }
}
