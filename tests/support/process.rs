//! A running server, as a process.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use http::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Credentials, Http, binary, gatekey, hermetic, on_postgres, run};

/// How long a server may take to start; only a hang takes this long.
const TIMEOUT: Duration = Duration::from_mins(1);

/// A running server with its own port and its own data directory. Killed when dropped.
pub(crate) struct ServerProcess {
    child: Child,
    /// `https://127.0.0.1:PORT`.
    pub(crate) url: String,
    /// Where it listens, whatever its public URL: `https://127.0.0.1:PORT`.
    pub(crate) reached_at: String,
    /// The admin listener, if there is one.
    pub(crate) admin_url: Option<String>,
    pub(crate) data_dir: PathBuf,
    log: Arc<Mutex<Vec<Value>>>,
    /// Notified of each log line.
    logged: Arc<Condvar>,
    reader: Option<JoinHandle<()>>,
    /// Dropped last; `None` if the test owns the directory.
    directory: Option<TempDir>,
}

impl ServerProcess {
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
        // With the signal ignored, a write beyond the file size limit fails instead of killing the
        // process.
        let by = ["/bin/sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh"];
        Self::start_by(&by, data_dir, flags, environment)
    }

    /// Starts a server through a wrapper command, such as `sh -c 'ulimit ...; exec "$0" "$@"'`.
    pub(crate) fn start_by(
        by: &[&str],
        data_dir: &Path,
        flags: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let words = [
            by,
            &[binary(), "serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--data-dir"],
        ];
        let words = words.concat();
        let mut child = hermetic(words[0])
            .args(&words[1..])
            .arg(data_dir)
            .args(flags)
            .args(on_postgres::flags(data_dir, flags))
            .envs(environment.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let log = Arc::new(Mutex::new(Vec::new()));
        let logged = Arc::new(Condvar::new());
        let (ready, serving) = mpsc::channel();
        let is_plain = flags.iter().any(|flag| {
            let config = || fs::read_to_string(flag).unwrap_or_default();
            *flag == "--plaintext" || config().contains("plaintext = true")
        });
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (kept, note) = (log.clone(), logged.clone());
        let reader = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or_else(|_| json!({ "text": line }));
                if line["message"] == "serving" {
                    // With a public URL, a proxy in front may terminate TLS.
                    let url = line["url"].as_str().unwrap();
                    let scheme = if is_plain { "http" } else { url.split_once("://").unwrap().0 };
                    let reached_at = format!("{scheme}://{}", line["listen"].as_str().unwrap());
                    let admin_url = line["admin_url"].as_str().map(str::to_owned);
                    let _ = ready.send((
                        line["url"].as_str().unwrap().to_owned(),
                        reached_at,
                        admin_url,
                    ));
                }
                kept.lock().unwrap().push(line);
                note.notify_all();
            }
        });
        let (url, reached_at, admin_url) = serving.recv_timeout(TIMEOUT).unwrap_or_else(|_| {
            let _ = child.kill();
            panic!("the server did not start; its log: {:#?}", log.lock().unwrap())
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
        let missing = |lines: &mut Vec<Value>| {
            !lines.iter().any(|line| line["message"].as_str() == Some(message))
        };
        let log = self.log.lock().unwrap();
        let (log, waited) = self.logged.wait_timeout_while(log, TIMEOUT, missing).unwrap();
        assert!(!waited.timed_out(), "the server never logged {message:?}: {log:#?}");
    }

    /// Host and port.
    pub(crate) fn endpoint(&self) -> &str {
        self.url.split_once("://").unwrap().1
    }

    /// The private CA's certificate.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.data_dir.join("ca.pem")
    }

    /// Creates an admin key with `gatekey init` while the server runs.
    pub(crate) fn init(&self) -> Credentials {
        self.init_named("admin")
    }

    /// Creates an admin key with that name.
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

    /// An HTTP client that trusts the server's CA, if it has one.
    pub(crate) fn http(&self) -> Http {
        let ca_file = self.reached_at.starts_with("https:").then(|| self.ca_file());
        Http::new(&self.reached_at, ca_file.as_deref())
    }

    /// Fetches an access token for a key.
    pub(crate) async fn token(&self, key: &Credentials) -> String {
        let response = self.http().token(key, &[]).await;
        assert_eq!(response.status, StatusCode::OK, "{}", response.text());
        response.json()["access_token"].as_str().unwrap().to_owned()
    }

    /// The binary as a client of this server, with a key's credentials.
    pub(crate) fn as_client(&self, key: &Credentials) -> Command {
        let mut command = gatekey();
        command
            .env("GATEKEY_API_KEY", key.encoded(self.endpoint()))
            .env("GATEKEY_CA_FILE", self.ca_file());
        command
    }

    /// Limits the size of files that the server writes, in bytes.
    pub(crate) fn limit_files(&self, size: &str) {
        let pid = self.pid().to_string();
        // Only the soft limit, so that it can be raised again.
        let limit = format!("--fsize={size}:");
        let limited = Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap();
        assert!(limited.success());
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Bytes of memory that the server uses (`proc_pid_status(5)`).
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
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
        let killed =
            Command::new("kill").args(["-TERM", &self.pid().to_string()]).status().unwrap();
        assert!(killed.success());
        self.wait()
    }

    /// As [`Self::terminate`], but keeps the test's connections responsive: a draining server pings
    /// its HTTP/2 clients after GOAWAY.
    pub(crate) async fn stop(&mut self) -> ExitStatus {
        let asked = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status().unwrap();
        assert!(asked.success());
        let started = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(started.elapsed() < TIMEOUT, "the server did not stop: {:#?}", self.log());
            tokio::task::yield_now().await;
        }
        self.wait()
    }

    /// Waits until the server has exited by itself.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let status = self.child.wait().unwrap();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        status
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.kill();
    }
}
