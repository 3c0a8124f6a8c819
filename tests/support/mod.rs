//! A server of its own for each test, and callers that speak to it.

mod binary;
pub(crate) mod collector;
pub(crate) mod random;
pub(crate) mod raw;
mod world;

pub(crate) use self::{
    binary::binary,
    world::{PUBLIC_URL, World, copied_store, decoded, eventually, in_future, now, root_key},
};

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Condvar, Mutex, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

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
use tempfile::TempDir;

/// Whether tests should take long and prove more: `./test --long`.
pub(crate) fn is_long_run() -> bool {
    environment("GATEKEY_TEST_LONG").is_some()
}

/// A variable of this process's environment.
pub(crate) fn environment(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "how ./test tells the tests what to do")]
    std::env::var(name).ok()
}

/// Says what could not be proven on this machine: ./test tells it at the end, and fails.
pub(crate) fn not_proven(what: &str) {
    println!("NOT PROVEN: {what}");
    if let Some(file) = environment("GATEKEY_TEST_NOT_PROVEN") {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file).unwrap();
        writeln!(file, "{what}").unwrap();
    }
}

/// How long a server may take to say that it serves; only a hang gets there.
const PATIENCE: Duration = Duration::from_mins(1);

/// The binary, with no setting of this process's environment that it would read.
pub(crate) fn gatekey() -> Command {
    hermetic(binary())
}

fn hermetic(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/nonexistent").stdin(Stdio::null());
    command
}

/// Runs the binary to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    gatekey().args(arguments).output().expect("the binary runs")
}

/// A running server on a port of its own, with a data directory of its own. Killed when dropped.
pub(crate) struct Server {
    child: Child,
    /// `https://127.0.0.1:PORT`.
    pub(crate) url: String,
    /// Where it listens, whatever its public URL is: `https://127.0.0.1:PORT`.
    pub(crate) reached_at: String,
    /// Where probes are answered, if anywhere.
    pub(crate) admin_url: Option<String>,
    /// The data directory.
    pub(crate) data_dir: PathBuf,
    log: Arc<Mutex<Vec<Value>>>,
    /// Told of each line of the log.
    logged: Arc<Condvar>,
    reader: Option<JoinHandle<()>>,
    /// Dropped last; `None` when somebody else keeps the directory.
    directory: Option<TempDir>,
}

impl Server {
    /// Starts a server with the defaults.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with more flags.
    pub(crate) fn start_with(flags: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = directory.path().join("data");
        let mut server = Self::start_on(&data_dir, flags);
        server.directory = Some(directory);
        server
    }

    /// Starts a server on a data directory that outlives it.
    pub(crate) fn start_on(data_dir: &Path, flags: &[&str]) -> Self {
        Self::start_in(data_dir, flags, &[])
    }

    /// Starts a server on a data directory that outlives it, with variables in its environment.
    pub(crate) fn start_in(data_dir: &Path, flags: &[&str], environment: &[(&str, &str)]) -> Self {
        // With the signal ignored, a write beyond a limit on files fails instead of killing the process.
        let by = ["/bin/sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh"];
        Self::start_by(&by, data_dir, flags, environment)
    }

    /// Starts a server by a command that becomes it, such as `sh -c 'ulimit ...; exec "$0" "$@"'`.
    pub(crate) fn start_by(
        by: &[&str],
        data_dir: &Path,
        flags: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let words =
            [by, &[binary(), "serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--data-dir"]];
        let words = words.concat();
        let mut child = hermetic(words[0])
            .args(&words[1..])
            .arg(data_dir)
            .args(flags)
            .envs(environment.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let log = Arc::new(Mutex::new(Vec::new()));
        let logged = Arc::new(Condvar::new());
        let (ready, serving) = mpsc::channel();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (kept, note) = (log.clone(), logged.clone());
        let reader = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or_else(|_| json!({ "text": line }));
                if line["message"] == "serving" {
                    let scheme = line["url"].as_str().unwrap().split_once("://").unwrap().0.to_owned();
                    let reached_at = format!("{scheme}://{}", line["listen"].as_str().unwrap());
                    let admin_url = line["admin_url"].as_str().map(str::to_owned);
                    let _ = ready.send((line["url"].as_str().unwrap().to_owned(), reached_at, admin_url));
                }
                kept.lock().unwrap().push(line);
                note.notify_all();
            }
        });
        let (url, reached_at, admin_url) = serving.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            let _ = child.kill();
            panic!("the server does not serve; it said: {:#?}", log.lock().unwrap())
        });
        Self {
            child,
            url,
            reached_at,
            admin_url,
            data_dir: data_dir.to_owned(),
            log,
            logged,
            reader: Some(reader),
            directory: None,
        }
    }

    /// The log lines so far.
    pub(crate) fn log(&self) -> Vec<Value> {
        self.log.lock().unwrap().clone()
    }

    /// Waits for a log line with that message.
    pub(crate) fn wait_for_log(&self, message: &str) {
        let missing =
            |lines: &mut Vec<Value>| !lines.iter().any(|line| line["message"].as_str() == Some(message));
        let log = self.log.lock().unwrap();
        let (log, waited) = self.logged.wait_timeout_while(log, PATIENCE, missing).unwrap();
        assert!(!waited.timed_out(), "the server never said {message:?}: {log:#?}");
    }

    /// Host and port.
    pub(crate) fn endpoint(&self) -> &str {
        self.url.split_once("://").unwrap().1
    }

    /// The private CA's certificate.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.data_dir.join("ca.pem")
    }

    /// Makes an admin key by `gatekey init` while the server runs.
    pub(crate) fn init(&self) -> Credentials {
        self.init_named("admin")
    }

    /// Makes an admin key of that name.
    pub(crate) fn init_named(&self, name: &str) -> Credentials {
        let data_dir = self.data_dir.to_str().unwrap();
        let output = run(&["init", "--data-dir", data_dir, "--name", name, "--output", "json"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        Credentials {
            client_id: json["client_id"].as_str().unwrap().to_owned(),
            client_secret: json["client_secret"].as_str().unwrap().to_owned(),
        }
    }

    /// A caller that trusts the server's CA, where it has one.
    pub(crate) fn http(&self) -> Http {
        let ca_file = self.reached_at.starts_with("https:").then(|| self.ca_file());
        Http::new(&self.reached_at, ca_file.as_deref())
    }

    /// An access token of a key.
    pub(crate) async fn token(&self, key: &Credentials) -> String {
        let answer = self.http().token(key, &[]).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }

    /// The binary, as a client of this server with a key's credentials.
    pub(crate) fn as_client(&self, key: &Credentials) -> Command {
        let mut command = gatekey();
        command.env("GATEKEY_API_KEY", key.encoded(self.endpoint())).env("GATEKEY_CA_FILE", self.ca_file());
        command
    }

    /// A client of our own crate.
    pub(crate) fn client(&self, key: &Credentials) -> gatekey_client::Client {
        gatekey_client::Client::builder()
            .endpoint(&self.url)
            .ca_file(self.ca_file())
            .credentials(&key.client_id, gatekey_client::PlainSecret::new(&key.client_secret))
            .build()
            .unwrap()
    }

    /// Limits how large a file may become that the server writes, in bytes.
    pub(crate) fn limit_files(&self, size: &str) {
        let pid = self.pid().to_string();
        // The soft limit alone, so that it can be lifted again.
        let limit = format!("--fsize={size}:");
        let limited = Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap();
        assert!(limited.success());
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills the server without warning.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }

    /// Asks the server to stop and waits until it has.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        let killed = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status().unwrap();
        assert!(killed.success());
        self.wait()
    }

    /// As [`Self::terminate`], while this side's connections answer: a server that drains asks HTTP/2 clients
    /// whether they have seen its farewell.
    pub(crate) async fn stop(&mut self) -> ExitStatus {
        let asked = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status().unwrap();
        assert!(asked.success());
        let started = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(started.elapsed() < PATIENCE, "the server does not stop: {:#?}", self.log());
            tokio::task::yield_now().await;
        }
        self.wait()
    }

    /// Waits until the server has stopped by itself.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let status = self.child.wait().unwrap();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        status
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A client id and its secret.
#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
}

impl Credentials {
    /// As one string.
    pub(crate) fn encoded(&self, endpoint: &str) -> String {
        let secret = gatekey_client::PlainSecret::new(&self.client_secret);
        let encoded = gatekey_client::EncodedCredentials::new(endpoint, &self.client_id, secret, "").unwrap();
        encoded.encode().expose().to_owned()
    }

    /// As HTTP Basic.
    pub(crate) fn basic(&self) -> String {
        basic(&self.client_id, &self.client_secret)
    }
}

/// HTTP Basic of a user and a password that need no form encoding.
pub(crate) fn basic(user: &str, password: &str) -> String {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}

/// How a client does TLS that trusts one CA.
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

/// Connections on which a request does not wait for the acknowledgement of the one before.
fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp
}

/// Speaks HTTP/1.1 or HTTP/2 over TLS, as the server offers.
#[derive(Clone)]
pub(crate) struct Http {
    url: String,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// An answer, read whole.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: HeaderMap,
}

impl Answer {
    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    /// A header as text; empty when absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Http {
    /// A caller of a URL that trusts one CA, or speaks plain HTTP.
    pub(crate) fn new(url: &str, ca_file: Option<&Path>) -> Self {
        let connector = HttpsConnectorBuilder::new().with_tls_config(trusting(ca_file)).https_or_http();
        let client = Client::builder(TokioExecutor::new())
            .build(connector.enable_all_versions().wrap_connector(tcp()));
        Self { url: url.to_owned(), client }
    }

    /// The same, with HTTP/1.1 alone.
    pub(crate) fn over_http1(url: &str, ca_file: Option<&Path>) -> Self {
        let connector = HttpsConnectorBuilder::new().with_tls_config(trusting(ca_file)).https_or_http();
        let client =
            Client::builder(TokioExecutor::new()).build(connector.enable_http1().wrap_connector(tcp()));
        Self { url: url.to_owned(), client }
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        self.try_send(method, path, headers, body).await.expect("the server answers")
    }

    /// Sends a request and reads the whole answer, if there is one.
    pub(crate) async fn try_send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let (parts, body) = self.client.request(request).await?.into_parts();
        let collected = body.collect().await?;
        let trailers = collected.trailers().cloned().unwrap_or_default();
        Ok(Answer { status: parts.status, headers: parts.headers, body: collected.to_bytes(), trailers })
    }

    /// GET.
    pub(crate) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(Method::GET, path, headers, Bytes::new()).await
    }

    /// POST of an encoded form.
    pub(crate) async fn form(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut all = vec![(header::CONTENT_TYPE.as_str(), "application/x-www-form-urlencoded")];
        all.extend(headers);
        self.send(Method::POST, path, &all, body.to_owned()).await
    }

    /// POST of a Connect call in JSON, with a token unless it is empty.
    pub(crate) async fn connect_json(&self, procedure: &str, token: &str, body: &Value) -> Answer {
        let bearer = format!("Bearer {token}");
        let mut headers = vec![("content-type", "application/json"), ("connect-protocol-version", "1")];
        if !token.is_empty() {
            headers.push(("authorization", &bearer));
        }
        self.send(Method::POST, procedure, &headers, body.to_string()).await
    }

    /// A token request with Basic authentication and more parameters.
    pub(crate) async fn token(&self, key: &Credentials, parameters: &[(&str, &str)]) -> Answer {
        let mut body = "grant_type=client_credentials".to_owned();
        for (name, value) in parameters {
            body.extend(["&", name, "=", value]);
        }
        self.form("/oauth2/token", &[("authorization", &key.basic())], &body).await
    }

    /// Makes a key over the public wire, and gives its credentials.
    pub(crate) async fn create(&self, admin_token: &str, name: &str) -> Credentials {
        let body = json!({ "clientId": name, "clientName": name });
        let answer = self.connect_json("/cloudidl.identity.AppsService/Create", admin_token, &body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        let app = &answer.json()["app"];
        Credentials {
            client_id: app["clientId"].as_str().unwrap().to_owned(),
            client_secret: app["clientSecret"].as_str().unwrap().to_owned(),
        }
    }
}
