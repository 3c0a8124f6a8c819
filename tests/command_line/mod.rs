//! The command line, as people and scripts use it.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

use crate::support::gatekey;

mod archive;
mod backup;
mod ca;
mod clients;
mod configuration;
mod connecting;
mod control_socket;
mod data_dir;
mod database;
mod doctor;
mod found_files;
mod gate;
mod init;
mod keys;
mod ledger;
mod logging;
mod lost_output;
mod output;
mod quickstart;
mod refusing;
mod root_key;
mod seal;
mod secrecy;
mod serving;
mod terminal;
mod trusted_files;
mod upgrade;

/// The standard output of a run that must succeed.
pub(crate) fn stdout(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}: {stderr}", output.status.code());
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The standard output of a run that must succeed, as JSON.
pub(crate) fn json(output: &Output) -> Value {
    serde_json::from_str(&stdout(output)).unwrap()
}

/// The standard error of a run that must exit with that code and print nothing else.
pub(crate) fn fails(output: &Output, code: i32) -> String {
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    stderr
}

/// Runs a command with arguments that contain no blanks.
fn run_with(command: &mut Command, words: &str) -> Output {
    command.args(words.split_whitespace()).output().unwrap()
}

/// The value in a `title  value` line.
fn value_of<'t>(text: &'t str, title: &str) -> &'t str {
    let line = text.lines().find(|line| line.starts_with(title));
    line.unwrap_or_else(|| panic!("no {title} in {text}"))[title.len()..].trim()
}

/// Asserts that a text is a secret.
fn assert_secret(text: &str) {
    assert!(text.parse::<gatekey_credentials::Secret>().is_ok(), "not a secret: {text}");
}

/// The standard output of a run that must succeed, as lines of JSON.
pub(crate) fn json_lines(output: &Output) -> Vec<Value> {
    stdout(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The help of each command that its parent's help lists, by the words after `gatekey`.
fn helps() -> BTreeMap<String, String> {
    let mut todo = vec![String::new()];
    let mut helps = BTreeMap::new();
    while let Some(command) = todo.pop() {
        let help = stdout(&run_with(&mut gatekey(), &format!("{command} --help")));
        // Groups of commands stand between the usage and the arguments or options.
        let listed = help.lines().skip_while(|line| !line.starts_with("Usage:")).skip(1);
        let listed = listed.take_while(|line| !["Arguments:", "Options:"].contains(line));
        // A long explanation continues in lines that are indented more, as further lines of usage
        // are.
        let listed = listed.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
        for line in listed {
            let mut words = line.split_whitespace();
            let name = words.next().unwrap();
            assert!(words.next().is_some(), "{name} has no explanation");
            if name != "help" {
                todo.push(format!("{command} {name}").trim_start().to_owned());
            }
        }
        helps.insert(command, help);
    }
    helps
}

/// Tampers with the database of a stopped server.
pub(crate) fn tamper(data_dir: &Path, statements: &str) {
    let database = rusqlite::Connection::open(data_dir.join("gatekey.db")).unwrap();
    let unguarded = "DROP TRIGGER ledger_is_not_changed; DROP TRIGGER ledger_is_not_shortened;";
    database.execute_batch(&format!("{unguarded}{statements}")).unwrap();
}
