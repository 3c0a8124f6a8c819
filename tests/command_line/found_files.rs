//! What a configuration file of Flyte may ask for that nobody named: it was found by searching, and
//! whoever wrote the directory may have written it.

use std::{
    fs,
    io::Read as _,
    net::TcpListener,
    os::unix::fs::{PermissionsExt as _, chown, symlink},
    path::Path,
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tempfile::TempDir;

use super::{fails, run_with, stdout, value_of};
use crate::support::{Server, gatekey};

const REAL_SECRET: &str = "the-real-secret-of-somebody";

/// A listener of the attacker, which counts the connections to it.
fn attacker() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = connections.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            counted.fetch_add(1, Ordering::SeqCst);
            let _ = stream.unwrap().read(&mut [0; 1024]);
        }
    });
    (endpoint, connections)
}

/// A cloned repository whose `.flyte/config.yaml` has those members, and a directory of secrets.
fn repository(members: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for name in ["repository/.git", "repository/.flyte", "repository/work", "home/.ssh"] {
        fs::create_dir_all(directory.path().join(name)).unwrap();
    }
    fs::write(directory.path().join("home/.ssh/id"), REAL_SECRET).unwrap();
    let text = format!("admin: {{authType: ClientSecret, clientId: ci, {members}}}\n");
    fs::write(directory.path().join("repository/.flyte/config.yaml"), text).unwrap();
    directory
}

fn in_repository(directory: &Path) -> Command {
    let mut command = gatekey();
    command
        .current_dir(directory.join("repository/work"))
        .env("HOME", directory.join("home"))
        .env("AWS_SECRET_ACCESS_KEY", REAL_SECRET);
    command
}

/// The standard error of a refusal, which names the way out and not the secret.
fn refused(output: &Output) -> String {
    let stderr = fails(output, 2);
    assert!(stderr.contains("found by searching"), "{stderr}");
    assert!(!stderr.contains(REAL_SECRET), "{stderr}");
    stderr
}

#[test]
fn a_found_file_cannot_name_any_variable() {
    let (endpoint, connections) = attacker();
    let secret = "clientSecretEnvVar: AWS_SECRET_ACCESS_KEY";
    let directory = repository(&format!("endpoint: 'http://{endpoint}', insecure: true, {secret}"));
    for words in ["whoami", "token", "key list", "doctor"] {
        let stderr = refused(&run_with(&mut in_repository(directory.path()), words));
        assert!(stderr.contains("AWS_SECRET_ACCESS_KEY"), "{words}: {stderr}");
        assert!(stderr.contains("FLYTECTL_CONFIG"), "{words}: {stderr}");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 0);
}

#[test]
fn a_found_file_cannot_name_any_file() {
    let (endpoint, connections) = attacker();
    for location in ["../../home/.ssh/id", "id", "../.flyte/link", "/proc/self/environ"] {
        let members = format!("endpoint: 'http://{endpoint}', clientSecretLocation: {location}");
        let directory = repository(&members);
        fs::write(directory.path().join("repository/work/id"), REAL_SECRET).unwrap();
        let link = directory.path().join("repository/.flyte/link");
        symlink(directory.path().join("home/.ssh/id"), link).unwrap();
        refused(&run_with(&mut in_repository(directory.path()), "whoami"));
    }
    assert_eq!(connections.load(Ordering::SeqCst), 0);
}

#[test]
fn a_found_file_names_only_client_secrets() {
    let (endpoint, connections) = attacker();
    let secret = "clientSecretEnvVar: FLYTE_X";
    let directory = repository(&format!("endpoint: 'http://{endpoint}', {secret}"));
    let encoded = "Zmlyc3QuZXhhbXBsZTo4NDQzOmZpcnN0Om9uZTpOb25l";
    for text in ["-----BEGIN PRIVATE KEY-----\nAAAA", "eyJhbGciOiJFUzI1NiJ9.e30.x", encoded] {
        let stderr =
            refused(&run_with(in_repository(directory.path()).env("FLYTE_X", text), "whoami"));
        assert!(!stderr.contains(text), "{stderr}");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 0);
}

#[test]
fn a_found_file_writable_by_all_is_refused() {
    let directory = repository("endpoint: h.invalid, clientSecretEnvVar: FLYTE_X");
    let file = directory.path().join("repository/.flyte/config.yaml");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    let stderr =
        refused(&run_with(in_repository(directory.path()).env("FLYTE_X", "s3cret"), "whoami"));
    assert!(stderr.contains("every user"), "{stderr}");
}

/// Only root can give a file away; otherwise the test of the library covers this.
#[test]
fn another_users_found_file_is_refused() {
    let directory = repository("endpoint: h.invalid, clientSecretEnvVar: FLYTE_X");
    let file = directory.path().join("repository/.flyte/config.yaml");
    if chown(&file, Some(12345), None).is_err() {
        return;
    }
    let stderr =
        refused(&run_with(in_repository(directory.path()).env("FLYTE_X", "s3cret"), "whoami"));
    assert!(stderr.contains("12345"), "{stderr}");
}

#[tokio::test]
async fn a_found_file_is_named_with_its_server() {
    let server = Server::start().await;
    let directory = server.write_flyte_config(".flyte/config.yaml");
    for words in ["whoami", "key list", "doctor"] {
        let output = run_with(gatekey().current_dir(directory.path()), words);
        stdout(&output);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains(".flyte/config.yaml"), "{words}: {stderr}");
        assert!(stderr.contains(server.process.endpoint()), "{words}: {stderr}");
    }
}

#[tokio::test]
async fn ones_own_file_in_home_counts_as_named() {
    let server = Server::start().await;
    for name in [".flyte/config.yaml", ".union/config.yaml"] {
        let home = server.write_flyte_config(name);
        let file = home.path().join(name);
        let text = fs::read_to_string(&file).unwrap();
        let text = text.lines().filter(|line| !line.contains("clientSecretLocation")).map(|line| {
            line.replace("clientId: admin", "clientId: admin\n  clientSecretEnvVar: S")
        });
        fs::write(&file, text.collect::<Vec<_>>().join("\n")).unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let mut command = gatekey();
        command.current_dir(elsewhere.path()).env("HOME", home.path());
        // The variable has a line break at its end, as a Kubernetes Secret may.
        let output =
            run_with(command.env("S", format!("{}\n", server.admin.client_secret)), "whoami");
        assert_eq!(value_of(&stdout(&output), "subject"), "admin", "{name}");
        assert!(output.stderr.is_empty(), "{output:?}");
    }
}

/// For `--endpoint` and `doctor URL`.
#[tokio::test]
async fn a_secret_stays_with_its_host() {
    let server = Server::start().await;
    let (endpoint, connections) = attacker();
    let key = server.admin.encoded("keys.example.com");
    for variable in ["GATEKEY_API_KEY", "FLYTE_API_KEY", "UNION_API_KEY"] {
        let mut client = gatekey();
        client.env(variable, &key);
        let stderr =
            fails(&run_with(&mut client, &format!("token --endpoint http://{endpoint}")), 2);
        assert!(stderr.contains(variable) && stderr.contains("keys.example.com"), "{stderr}");
        assert!(stderr.contains("GATEKEY_ENDPOINT"), "{stderr}");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 0);

    let client = || {
        let mut client = gatekey();
        client.env("FLYTE_API_KEY", &key).env("GATEKEY_CA_FILE", server.process.ca_file());
        client
    };
    let words = format!("doctor {}", server.process.url);
    let text = String::from_utf8(run_with(&mut client(), &words).stdout).unwrap();
    assert!(text.contains("the secret in FLYTE_API_KEY is for keys.example.com"), "{text}");

    let output = run_with(client().env("GATEKEY_ENDPOINT", &server.process.url), "whoami");
    assert_eq!(value_of(&stdout(&output), "subject"), "admin");
}
