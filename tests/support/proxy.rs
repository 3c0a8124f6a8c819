//! An HTTP proxy.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

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
    let (mut from, mut to) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    let _ = std::io::copy(&mut upstream, &mut client);
    let _ = client.shutdown(Shutdown::Write);
}
