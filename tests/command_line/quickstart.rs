//! `gatekey quickstart`, the first command that a newcomer runs.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, Command, Stdio},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use gatekey_client::EncodedCredentials;

use super::{assert_secret, fails, stdout};
use crate::support::{binary, gatekey};

fn quickstart(data_dir: &Path) -> Command {
    let mut command = gatekey();
    command.args([
        "quickstart",
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        data_dir.to_str().unwrap(),
    ]);
    command
}

/// Replaces everything that differs between runs, after checking its form.
fn settled(text: &str, data_dir: &Path) -> String {
    let data_dir = data_dir.canonicalize().unwrap();
    let mut settled = String::new();
    let port = text.split("https://127.0.0.1:").nth(1).unwrap().split(' ').next().unwrap();
    assert!(port.parse::<u16>().is_ok(), "{port}");
    for line in text.lines() {
        let line = match line.split_once("_API_KEY=") {
            None => line.to_owned(),
            Some((variable, encoded)) => {
                let decoded = String::from_utf8(BASE64_STANDARD.decode(encoded).unwrap()).unwrap();
                let key = EncodedCredentials::decode(encoded).unwrap();
                assert_secret(key.client_secret().expose());
                let decoded = decoded.replace(key.client_secret().expose(), "SECRET");
                format!("{variable}_API_KEY=BASE64({decoded})")
            }
        };
        settled.push_str(&line);
        settled.push('\n');
    }
    let before = "access token of ";
    let size = settled.split(before).nth(1).unwrap().split(' ').next().unwrap().to_owned();
    assert!((400..800).contains(&size.parse::<u32>().unwrap()), "{size}");
    settled
        .replace(&format!("{before}{size} "), &format!("{before}SIZE "))
        .replace(data_dir.to_str().unwrap(), "DATA")
        .replace(binary(), "gatekey")
        .replace(port, "PORT")
}

const INSTRUCTIONS: &str = r"
Use the key with Flyte's tools (pip install flyte flyteplugins-union):

export SSL_CERT_FILE=DATA/ca-bundle.pem
export GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=DATA/ca-bundle.pem
# Flyte's tools drop the port PORT from a key: use them with --endpoint 127.0.0.1:PORT
export FLYTE_API_KEY=BASE64(127.0.0.1:ci-pipeline:SECRET:None)
flyte --endpoint 127.0.0.1:PORT get api-key ci-pipeline

Manage keys with Flyte's tools, as admin:

unset FLYTE_API_KEY
flyte -c DATA/flyte-admin.yaml get api-key

Manage keys with this binary, as admin:

export GATEKEY_API_KEY=BASE64(127.0.0.1:PORT:admin:SECRET:None)
export GATEKEY_CA_FILE=DATA/ca.pem
gatekey key list
";

#[test]
fn quickstart_prints_steps_and_lines_to_copy() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let output = quickstart(&data_dir).arg("--once").output().unwrap();
    let steps = "\
ok Serving on https://127.0.0.1:PORT with a certificate from a private CA; data is stored in DATA
ok Created the admin key; its secret is in DATA/admin.secret
ok Created the API key ci-pipeline; its secret is shown once and stored as a hash
ok Exchanged its secret for an access token of SIZE bytes; tokens are not stored in the database
ok Called an RPC with the token; the server identified the caller as ci-pipeline
ok Called a backend behind the gate: a stranger was refused
ok The key called it as well; the backend saw the caller ci-pipeline, and no token
ok Listed the keys: admin, ci-pipeline
ok The key rotated its own secret; the old one stays valid for 24 hours
ok Created, used and deleted another key; server and gate refused it at once
";
    assert_eq!(settled(&stdout(&output), &data_dir), format!("{steps}{INSTRUCTIONS}"));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Flyte's own `config.yaml` may be in any of these directories.
#[test]
fn quickstart_leaves_the_users_files_alone() {
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("config.yaml");
    std::fs::write(&config, "admin: {}\n").unwrap();
    let mut quickstart = quickstart(home.path());
    quickstart.env("HOME", home.path()).current_dir(home.path());
    stdout(&quickstart.arg("--once").output().unwrap());
    assert_eq!(std::fs::read_to_string(config).unwrap(), "admin: {}\n");
}

#[test]
fn quickstart_can_be_repeated() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    stdout(&quickstart(&data_dir).arg("--once").output().unwrap());
    let steps = "\
ok Serving on https://127.0.0.1:PORT with a certificate from a private CA; data is stored in DATA
ok The admin key exists from an earlier run
ok The API key ci-pipeline exists from an earlier run; gave it a new secret
ok Exchanged its secret for an access token of SIZE bytes; tokens are not stored in the database
ok Called an RPC with the token; the server identified the caller as ci-pipeline
ok Called a backend behind the gate: a stranger was refused
ok The key called it as well; the backend saw the caller ci-pipeline, and no token
ok Listed the keys: admin, ci-pipeline
ok The key rotated its own secret; the old one stays valid for 24 hours
ok Created, used and deleted another key; server and gate refused it at once
";
    let output = quickstart(&data_dir).arg("--once").output().unwrap();
    assert_eq!(settled(&stdout(&output), &data_dir), format!("{steps}{INSTRUCTIONS}"));
    // Each run adds two secrets to the key, which may have at most ten; this must not fail.
    for _ in 0..5 {
        stdout(&quickstart(&data_dir).arg("--once").output().unwrap());
    }
}

/// A quickstart that keeps serving. Killed when dropped.
struct Serving {
    child: Child,
    text: String,
}

impl Serving {
    fn start(data_dir: &Path) -> Self {
        let mut child =
            quickstart(data_dir).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut text = String::new();
        while !text.lines().last().unwrap_or_default().starts_with("Serving until Ctrl-C") {
            assert_ne!(lines.read_line(&mut text).unwrap(), 0, "it ended after: {text}");
        }
        Self { child, text }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_printed_lines_work_as_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("a directory's name");
    let mut serving = Serving::start(&data_dir);
    let text = &serving.text;
    let lines = text.split("Manage keys with this binary, as admin:").nth(1).unwrap();
    let lines: String =
        lines.lines().filter(|line| !line.starts_with("Serving")).collect::<Vec<_>>().join("\n");
    let mut bash = Command::new("bash");
    bash.env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", "/nonexistent")
        .args(["-euc", &lines]);
    let listed = stdout(&bash.output().unwrap());
    assert!(listed.contains("ci-pipeline"), "{listed}");

    // Gatekey reads the file for Flyte's tools, too.
    let config = data_dir.join("flyte-admin.yaml");
    let mut as_admin = gatekey();
    as_admin.env("FLYTECTL_CONFIG", config).args(["key", "list"]);
    assert!(stdout(&as_admin.output().unwrap()).contains("ci-pipeline"));

    let pid = serving.child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert_eq!(serving.child.wait().unwrap().code(), Some(0));
}

#[test]
fn the_backend_can_be_called_as_printed() {
    let directory = tempfile::tempdir().unwrap();
    let serving = Serving::start(&directory.path().join("data"));
    let used = serving.text.split("Use the key with Flyte's tools").nth(1).unwrap();
    let exports = used.lines().filter(|line| line.starts_with("export "));
    let call = used.lines().find(|line| line.starts_with("curl ")).unwrap();
    let with_key = exports.chain([call]).collect::<Vec<_>>().join("\n");
    for (lines, expected) in
        [(&*with_key, "\"caller\":\"ci-pipeline\""), (call, "\"code\":\"unauthenticated\"")]
    {
        let mut bash = Command::new("bash");
        bash.env_clear().env("PATH", "/usr/bin:/bin").args(["-ec", lines]);
        let answered = stdout(&bash.output().unwrap());
        assert!(answered.contains(expected), "{answered}");
    }
}

#[test]
fn the_line_for_the_next_start_works() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let mut serving = Serving::start(&data_dir);
    let next = serving.text.split("Next time: ").nth(1).unwrap().trim().to_owned();
    let _ = serving.child.kill();
    let _ = serving.child.wait();
    let mut bash = Command::new("bash");
    // With exec, the process that gets the signal is the server.
    bash.env_clear()
        .env("PATH", "/usr/bin:/bin")
        .args(["-c", &format!("exec {next} --log-format json")]);
    let mut server = bash.stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(server.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("\"serving\"") {
        assert_ne!(log.read_line(&mut line).unwrap(), 0, "it ended after: {line}");
    }
    assert!(Command::new("kill").arg(server.id().to_string()).status().unwrap().success());
    log.read_to_string(&mut line).unwrap();
    assert_eq!(server.wait().unwrap().code(), Some(0), "{line}");
}

#[test]
fn quickstart_refuses_a_directory_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let serving = Serving::start(directory.path());
    let output = quickstart(directory.path()).arg("--once").output().unwrap();
    let stderr = fails(&output, 7);
    assert!(stderr.contains("(gatekey quickstart)"), "{stderr}");
    assert!(stderr.contains(&serving.child.id().to_string()), "{stderr}");
}

#[test]
fn quickstart_refuses_another_servers_directory() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().to_str().unwrap();
    let made = stdout(
        &gatekey().args(["init", "--data-dir", data_dir, "--output", "json"]).output().unwrap(),
    );
    let stderr = fails(&quickstart(directory.path()).arg("--once").output().unwrap(), 2);
    assert!(
        stderr.contains("not created by quickstart") && stderr.contains("--data-dir"),
        "{stderr}"
    );
    let again = gatekey().args(["init", "--data-dir", data_dir]).output().unwrap();
    assert_eq!(again.status.code(), Some(4), "the admin still exists: {made}");
}

#[test]
fn only_the_owner_can_read_the_secret() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    stdout(&quickstart(directory.path()).arg("--once").output().unwrap());
    let file = directory.path().join("admin.secret");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_secret(std::fs::read_to_string(&file).unwrap().trim());
}

#[test]
fn quickstart_replaces_a_wrong_admin_secret() {
    let directory = tempfile::tempdir().unwrap();
    stdout(&quickstart(directory.path()).arg("--once").output().unwrap());
    std::fs::write(directory.path().join("admin.secret"), "stale").unwrap();
    let text = stdout(&quickstart(directory.path()).arg("--once").output().unwrap());
    assert!(text.contains("admin key; its secret is in"), "{text}");
}
