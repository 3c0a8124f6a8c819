//! A PostgreSQL cluster for the tests of a process, on a Unix socket, and a database for each test.
//!
//! Included by several test binaries: it uses nothing but the standard library and tempfile.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        LazyLock, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// PostgreSQL refuses to run as root. This is `nobody`, who owns nothing.
const PLAIN_USER: u32 = 65_534;

const SUPERUSER: &str = "gatekey";

/// The settings of the cluster. It is thrown away, so nothing waits for the disk.
const SETTINGS: &str = "listen_addresses = ''
fsync = off
full_page_writes = off
synchronous_commit = on
autovacuum = off
max_connections = 300
shared_buffers = 32MB
lc_messages = 'C'
";

/// Part of the name of the socket, which is in a directory of its own.
const PORT: u16 = 5432;

/// Where a cluster is, and the programs of its version.
#[derive(Clone)]
struct Place {
    directory: PathBuf,
    binaries: PathBuf,
    port: u16,
}

/// A cluster, which ends with this process.
pub(crate) struct Cluster {
    place: Place,
    /// Ends the server when its standard input is closed, even if this process is killed.
    _server: Mutex<Child>,
}

static CLUSTER: LazyLock<Option<Cluster>> = LazyLock::new(|| Cluster::start(PORT, "", &[]));

/// The cluster of this process; `None` if PostgreSQL is not installed.
pub(crate) fn cluster() -> Option<&'static Cluster> {
    CLUSTER.as_ref()
}

impl Cluster {
    /// Starts a cluster with more settings and with files beside its configuration; `None` if
    /// PostgreSQL is not installed.
    pub(crate) fn start(port: u16, settings: &str, files: &[(&str, &str)]) -> Option<Self> {
        let binaries = binaries()?;
        let directory =
            tempfile::Builder::new().prefix("gk-pg-").tempdir_in("/tmp").unwrap().keep();
        let is_root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
        if is_root {
            chown(&directory, Some(PLAIN_USER), Some(PLAIN_USER)).unwrap();
        }
        let plain = |mut command: Command| {
            if is_root {
                command.uid(PLAIN_USER).gid(PLAIN_USER);
            }
            command.current_dir(&directory).env_clear();
            command
        };
        let data = directory.join("data");
        let mut initdb = plain(Command::new(binaries.join("initdb")));
        initdb
            .args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C"])
            .args(["--username", SUPERUSER, "--pgdata"])
            .arg(&data);
        let made = initdb.output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        fs::write(data.join("postgresql.conf"), format!("{SETTINGS}port = {port}\n{settings}"))
            .unwrap();
        for (name, content) in files {
            let file = data.join(name);
            fs::write(&file, content).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
            if is_root {
                chown(&file, Some(PLAIN_USER), Some(PLAIN_USER)).unwrap();
            }
        }
        // The shell stops the server when this process has ended, and removes everything.
        let script = r#"
            "$1/postgres" -D "$2/data" -k "$2" >"$2/log" 2>&1 &
            server=$!
            while read -r line; do :; done
            kill -QUIT "$server"
            wait "$server"
            rm -rf "$2"
        "#;
        let mut shell = plain(Command::new("/bin/sh"));
        shell.env("PATH", "/usr/bin:/bin");
        shell.args(["-c", script, "sh"]).arg(&binaries).arg(&directory);
        // In its own group: Ctrl-C ends the tests, and then the closed pipe ends the server.
        shell.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Mutex::new(shell.spawn().unwrap());
        let cluster = Self { place: Place { directory, binaries, port }, _server: server };
        let began = Instant::now();
        while !cluster.place.psql("postgres", "SELECT 1").status.success() {
            let log = fs::read_to_string(cluster.place.directory.join("log")).unwrap_or_default();
            assert!(began.elapsed() < Duration::from_secs(30), "PostgreSQL does not start: {log}");
            #[expect(clippy::disallowed_methods, reason = "a starting server sends no event")]
            thread::sleep(Duration::from_millis(50));
        }
        Some(cluster)
    }

    /// A new, empty database.
    pub(crate) fn database(&self) -> Database {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let created = self.place.psql("postgres", &format!("CREATE DATABASE {name}"));
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
        Database { place: self.place.clone(), name }
    }
}

/// A database of its own, dropped at the end of a test.
pub(crate) struct Database {
    place: Place,
    name: String,
}

impl Database {
    pub(crate) fn url(&self) -> String {
        self.url_at(self.directory())
    }

    /// The URL behind a socket in another directory.
    pub(crate) fn url_at(&self, directory: &Path) -> String {
        format!("postgres://{SUPERUSER}@/{}?host={}", self.name, directory.display())
    }

    /// The directory of the server's socket.
    pub(crate) fn directory(&self) -> &Path {
        &self.place.directory
    }

    /// Runs statements as the superuser, and returns what they print.
    pub(crate) fn run(&self, statements: &str) -> String {
        let output = self.place.psql(&self.name, statements);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let _ = self.place.psql("postgres", &drop);
    }
}

impl Place {
    fn psql(&self, database: &str, statement: &str) -> Output {
        Command::new(self.binaries.join("psql"))
            .args([
                "--no-psqlrc",
                "--tuples-only",
                "--no-align",
                "--quiet",
                "--set=ON_ERROR_STOP=1",
            ])
            .arg("--host")
            .arg(&self.directory)
            .args(["--port", &self.port.to_string(), "--username", SUPERUSER])
            .args(["--dbname", database, "--command", statement])
            .env_clear()
            .output()
            .unwrap()
    }
}

/// The directory of the newest PostgreSQL that is installed.
fn binaries() -> Option<PathBuf> {
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = installed
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    versions.sort();
    let newest = versions.into_iter().map(|(_, binaries)| binaries).rev();
    let others = ["/usr/local/pgsql/bin", "/usr/local/bin", "/usr/bin"].map(PathBuf::from);
    newest.chain(others).find(|binaries| is_complete(binaries))
}

fn is_complete(binaries: &Path) -> bool {
    ["postgres", "initdb", "psql"].iter().all(|name| binaries.join(name).exists())
}
