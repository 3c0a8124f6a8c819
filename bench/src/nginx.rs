//! nginx as a proxy: without a check, or asking another server about each request.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::ensure;

use crate::process::Server;

const PROGRAM: &str = "/usr/sbin/nginx";

/// What nginx asks about each request.
pub(crate) enum Check<'c> {
    Nothing,
    /// The server at an address, at a path.
    Asks {
        address: &'c str,
        path: &'c str,
    },
}

/// Starts nginx, if it is installed.
///
/// # Errors
/// When it is missing or does not serve.
pub(crate) fn start(
    directory: &Path,
    name: &str,
    upstream: SocketAddr,
    check: &Check<'_>,
) -> anyhow::Result<Server> {
    ensure!(Path::new(PROGRAM).exists(), "nginx is not installed");
    let prefix = directory.join(name);
    fs::create_dir_all(&prefix)?;
    let listen = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let configuration = prefix.join("nginx.conf");
    fs::write(&configuration, text(&prefix, listen, upstream, check))?;
    let arguments = [
        "-p".to_owned(),
        prefix.display().to_string(),
        "-c".to_owned(),
        configuration.display().to_string(),
    ];
    let server = Server::start_on(&listen.to_string(), Path::new(PROGRAM), &arguments)?;
    let started = Instant::now();
    while TcpStream::connect(listen).is_err() {
        ensure!(started.elapsed() < Duration::from_secs(5), "nginx does not serve");
        thread::yield_now();
    }
    Ok(server)
}

/// One process, so that its CPU time is all of nginx's. It logs each request, as Gatekey does.
fn text(prefix: &Path, listen: SocketAddr, upstream: SocketAddr, check: &Check<'_>) -> String {
    let prefix = prefix.display();
    let (asked, asks) = match check {
        Check::Nothing => (String::new(), String::new()),
        Check::Asks { address, path } => (
            format!("upstream asked {{ server {address}; keepalive 64; }}"),
            format!(
                "location = /asked {{
                    internal;
                    proxy_pass http://asked{path};
                    proxy_pass_request_body off;
                    proxy_http_version 1.1;
                    proxy_set_header Connection \"\";
                    proxy_set_header Content-Length \"\";
                    proxy_set_header X-Original-Method $request_method;
                    proxy_set_header X-Original-URI $request_uri;
                    proxy_set_header X-Real-IP $remote_addr;
                }}"
            ),
        ),
    };
    let asking = if asks.is_empty() { "" } else { "auth_request /asked;" };
    format!(
        "daemon off;
        master_process off;
        pid {prefix}/pid;
        error_log {prefix}/error.log;
        events {{ worker_connections 1024; }}
        http {{
            access_log {prefix}/access.log;
            client_body_temp_path {prefix}/body;
            proxy_temp_path {prefix}/proxy;
            fastcgi_temp_path {prefix}/fastcgi;
            uwsgi_temp_path {prefix}/uwsgi;
            scgi_temp_path {prefix}/scgi;
            keepalive_requests 100000000;
            upstream flyte {{ server {upstream}; keepalive 64; keepalive_requests 100000000; }}
            {asked}
            server {{
                listen {listen};
                location / {{
                    {asking}
                    proxy_pass http://flyte;
                    proxy_http_version 1.1;
                    proxy_set_header Connection \"\";
                    proxy_set_header Host $http_host;
                    proxy_buffering off;
                    proxy_request_buffering off;
                    client_max_body_size 0;
                }}
                {asks}
            }}
        }}"
    )
}
