//! The real nginx, with Gatekey and a stand-in for Flyte behind it.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::flyte;
use crate::support::{Credentials, Http, Server, not_proven};

/// nginx in front of Gatekey and Flyte.
pub(crate) struct Proxied {
    /// `https://localhost:PORT`.
    pub(crate) url: String,
    /// Clients of nginx: any version of HTTP, and only HTTP/1.1.
    pub(crate) http: Http,
    pub(crate) http1: Http,
    pub(crate) gatekey: Server,
    pub(crate) admin: Credentials,
    flyte: JoinHandle<()>,
    nginx: Child,
    _directory: TempDir,
}

impl Proxied {
    /// Starts all three with a file of `docs/guides/nginx`. Returns `None` if there is no nginx.
    pub(crate) async fn start(configuration: &str) -> Option<Self> {
        Self::start_with(&format!("docs/guides/nginx/{configuration}"), "").await
    }

    /// Starts all three with a file of the documentation, and more of Gatekey's settings.
    pub(crate) async fn start_with(configuration: &str, settings: &str) -> Option<Self> {
        let Some(nginx) = ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/bin/nginx"]
            .into_iter()
            .find(|path| Path::new(path).exists())
        else {
            not_proven("Flyte behind nginx: there is no nginx (Debian's package nginx-light)");
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (chain, key) = (directory.path().join("chain.pem"), directory.path().join("key.pem"));
        fs::write(&chain, signed.cert.pem()).unwrap();
        fs::write(&key, signed.signing_key.serialize_pem()).unwrap();

        let port = free_port();
        let url = format!("https://localhost:{port}");
        let toml = format!(
            "[server]\npublic_url = \"{url}\"\ntrusted_proxies = [\"127.0.0.1\"]\n[tls]\nplaintext = true\n{settings}"
        );
        let gatekey = Server::with_config(&toml).await;
        let behind = gatekey.process.reached_at.strip_prefix("http://").unwrap();
        let (flyte, address, _) = flyte::serve().await;

        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(configuration);
        let mut text = fs::read_to_string(file).unwrap();
        let address = address.to_string();
        for (documented, here) in [
            ("listen 443 ssl http2;", &*format!("listen 127.0.0.1:{port} ssl http2;")),
            ("/etc/nginx/chain.pem", chain.to_str().unwrap()),
            ("/etc/nginx/key.pem", key.to_str().unwrap()),
            ("flyte.example.com", "localhost"),
            ("127.0.0.1:8081", behind),
        ] {
            assert!(text.contains(documented), "{configuration} lacks {documented}");
            text = text.replace(documented, here);
        }
        for documented in ["127.0.0.1:8090", "127.0.0.1:8089", "127.0.0.1:8088"] {
            text = text.replace(documented, &address);
        }
        let mut nginx = start_nginx(nginx, directory.path(), &text);
        let mut tries = 0;
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = || fs::read_to_string(directory.path().join("error.log")).unwrap_or_default();
            assert!(nginx.try_wait().unwrap().is_none(), "nginx ended: {}", log());
            tries += 1;
            assert!(tries < 1_000_000, "nginx does not listen: {}", log());
            tokio::task::yield_now().await;
        }
        let (http, http1) = (Http::new(&url, Some(&chain)), Http::over_http1(&url, Some(&chain)));
        let admin = gatekey.admin.clone();
        Some(Self { url, http, http1, gatekey, admin, flyte, nginx, _directory: directory })
    }

    /// Fetches a token through nginx.
    pub(crate) async fn token(&self, http: &Http, key: &Credentials) -> String {
        let response = http.token(key, &[]).await;
        assert_eq!(response.status, 200, "{}", response.text());
        response.json()["access_token"].as_str().unwrap().to_owned()
    }

    pub(crate) fn stop_flyte(&self) {
        self.flyte.abort();
    }
}

impl Drop for Proxied {
    fn drop(&mut self) {
        self.flyte.abort();
        // A single process, without workers that would outlive it.
        let _ = self.nginx.kill();
        let _ = self.nginx.wait();
    }
}

fn start_nginx(nginx: &str, directory: &Path, included: &str) -> Child {
    let shown = directory.display();
    let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {shown}/{name};\n"))
        .concat();
    let text = format!(
        "daemon off;\nmaster_process off;\npid {shown}/nginx.pid;\nerror_log {shown}/error.log;\n\
         events {{}}\nhttp {{\naccess_log off;\n{paths}{included}\n}}\n"
    );
    let file = directory.join("nginx.conf");
    fs::write(&file, text).unwrap();
    Command::new(nginx)
        .args(["-p", directory.to_str().unwrap(), "-c", file.to_str().unwrap()])
        .args(["-e", directory.join("error.log").to_str().unwrap()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// A port that was free a moment ago: nginx cannot be given a socket.
pub(super) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
