//! Output that is shown only once, and cannot be written.

use std::{
    fs::OpenOptions,
    process::{Command, Stdio},
};

use super::{fails, stdout};
use crate::support::{Server, ServerProcess, binary, gatekey};

/// The commands that print a secret or a token, with DATA for a data directory.
const COMMANDS: [&str; 5] = [
    "key create another",
    "key rotate ci",
    "token",
    "init --name second --data-dir DATA",
    "init --rotate --name ci --data-dir DATA --output json",
];

fn quickstart(directory: &std::path::Path) -> String {
    format!("quickstart --once --listen 127.0.0.1:0 --data-dir {}", directory.display())
}

fn keys(server: &Server) -> String {
    stdout(&server.process.as_client(&server.admin).args(["key", "list"]).output().unwrap())
}

/// Standard output is full, closed, without a reader, or only for reading.
#[tokio::test]
async fn no_secret_is_made_that_cannot_be_printed() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let before = keys(&server);
    let data_dir = server.process.data_dir.to_str().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let new = scratch.path().join("new");
    let commands = COMMANDS.map(|words| words.replace("DATA", data_dir));
    for words in commands.iter().chain([&quickstart(&new)]) {
        for output in ["> /dev/full", ">&-", "1< /dev/null", "> >(true)"] {
            // The reader has gone once its process has.
            let wait = if output.contains('(') { "wait $!;" } else { "" };
            let shell = server.process.as_client(&server.admin);
            let (program, variables) = (binary(), shell.get_envs());
            let mut bash = Command::new("bash");
            bash.env_clear().envs(variables.filter_map(|(name, value)| Some((name, value?))));
            bash.args(["-c", &format!("exec {output}; {wait} exec {program} {words}")]);
            let stderr = fails(&bash.output().unwrap(), 9);
            assert!(stderr.contains("standard output"), "{words} {output}: {stderr}");
            assert!(!stderr.contains("gk_"), "{words} {output}: {stderr}");
        }
    }
    assert_eq!(keys(&server), before);
    assert_eq!(server.http.token(&key, &[]).await.status, 200);
    assert!(!new.exists(), "quickstart created nothing");
}

/// A limit on the size of files takes effect only when the secret is written.
#[tokio::test]
async fn a_secret_that_is_lost_names_its_key() {
    let server = Server::start().await;
    server.create_key("ci").await;
    let scratch = tempfile::tempdir().unwrap();
    let data_dir = server.process.data_dir.to_str().unwrap();
    for (words, made, another) in [
        ("key create another", "the key another was created", "gatekey key rotate another"),
        ("key rotate ci", "the key ci was rotated", "gatekey key rotate ci"),
        ("init --name second --data-dir DATA", "admin key second", "gatekey init --rotate"),
        ("token", "access token", "gatekey token"),
    ] {
        let file = scratch.path().join("output");
        let full = OpenOptions::new().create(true).append(true).open(&file).unwrap();
        full.set_len(1024).unwrap();
        let command = server.process.as_client(&server.admin);
        let variables: Vec<_> = command
            .get_envs()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
            .collect();
        let words = words.replace("DATA", data_dir);
        let script = format!("trap '' XFSZ; ulimit -f 1; exec {} {words}", binary());
        let mut bash = Command::new("bash");
        bash.env_clear().envs(variables).args(["-c", &script]).stdout(full);
        let output = bash.output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(9), "{words}: {stderr}");
        assert!(stderr.contains(made) && stderr.contains(another), "{words}: {stderr}");
    }
    let listed = keys(&server);
    assert!(listed.contains("another") && listed.contains("second"), "{listed}");
}

/// The line after the secret must not cost the secret.
#[tokio::test]
async fn a_full_standard_error_loses_no_secret() {
    let server = ServerProcess::start();
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut init = gatekey();
    init.args(["init", "--data-dir", server.data_dir.to_str().unwrap()]).stderr(full);
    let text = stdout(&init.output().unwrap());
    assert!(text.contains("gk_"), "{text}");
}

/// The work is done: only the report is missing.
#[test]
fn a_lost_report_names_standard_output() {
    let server = ServerProcess::start();
    let scratch = tempfile::tempdir().unwrap();
    let (data_dir, backup) = (server.data_dir.to_str().unwrap(), scratch.path().join("backup"));
    let to_full = |words: &[&str]| {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        fails(
            &gatekey().args(words).args(["--data-dir", data_dir]).stdout(full).output().unwrap(),
            1,
        )
    };
    for words in [
        &["backup", backup.to_str().unwrap()][..],
        &["ledger", "list"],
        &["ledger", "list", "-o", "json"],
        &["ledger", "export"],
        &["signing-key", "list"],
        &["ca"],
    ] {
        let stderr = to_full(words);
        let expected = "cannot write to standard output: No space left on device";
        assert!(stderr.contains(expected), "{words:?}: {stderr}");
        assert_eq!(stderr.contains("is complete"), words[0] == "backup", "{words:?}: {stderr}");
    }
    assert!(backup.metadata().unwrap().len() > 0);
}

/// A file named `-` would surprise everyone who knows other programs.
#[test]
fn a_hyphen_names_no_output_file() {
    let server = ServerProcess::start();
    let scratch = tempfile::tempdir().unwrap();
    let data_dir = server.data_dir.to_str().unwrap();
    let root_key = server.data_dir.join("root.key");
    let here = |words: &[&str]| gatekey().args(words).current_dir(&scratch).output().unwrap();
    for words in [
        &["backup", "-", "--data-dir", data_dir][..],
        &["root-key", "new", "-", "--root-key-file", root_key.to_str().unwrap()],
        &["serve", "--ready-file", "-", "--data-dir", "data"],
    ] {
        let stderr = fails(&here(words), 2);
        assert!(stderr.contains("./-"), "{words:?}: {stderr}");
    }
    let exported = stdout(&here(&["ledger", "export", "-", "--data-dir", data_dir]));
    assert!(exported.starts_with('{'), "{exported}");
    assert_eq!(std::fs::read_dir(&scratch).unwrap().count(), 0);
    stdout(&here(&["backup", "./-", "--data-dir", data_dir]));
    assert!(scratch.path().join("-").exists());
}

/// Somebody may want the key without its secret.
#[tokio::test]
async fn a_discarded_secret_is_no_failure() {
    let server = Server::start().await;
    let mut create = server.process.as_client(&server.admin);
    let status = create.args(["key", "create", "ci"]).stdout(Stdio::null()).status().unwrap();
    assert!(status.success());
    assert!(keys(&server).contains("ci"));
}
