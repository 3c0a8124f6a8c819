//! The output formats of every command that has them.

use std::collections::BTreeSet;

use serde_json::{Deserializer, Value, json};

use super::{helps, run_with, stdout};
use crate::support::Server;

const SECRETS: &[&str] = &[
    "client_id",
    "client_name",
    "key_id",
    "id",
    "created_at",
    "updated_at",
    "not_before",
    "expires_at",
    "client_secret",
    "encoded_credentials",
];

/// Every command with output formats, its arguments, and the members whose values differ between
/// runs. In the arguments, DATA is the data directory, SHELF another one, AS the format, and SECRET
/// a secret of the key made-AS.
const COMMANDS: [(&str, &str, &[&str]); 30] = [
    ("whoami", "", &[]),
    ("init", "--data-dir DATA --name admin-AS", SECRETS),
    ("key create", "made-AS", SECRETS),
    ("key rotate", "made-AS --grace 1h --label 0123", SECRETS),
    ("key retire", "made-AS SECRET", SECRETS),
    ("key delete", "made-AS", SECRETS),
    ("key update", "ci --name 2026-11-24 --expires-in 90d", &["updated_at", "expires_at"]),
    ("key disable", "ci", &["disabled_at", "updated_at"]),
    ("key enable", "ci", &["updated_at"]),
    ("key get", "ci", &[]),
    ("key list", "", &[]),
    ("token", "", &["access_token"]),
    ("key list", "--limit 0", &[]),
    ("signing-key list", "--data-dir DATA", &[]),
    ("root-key list", "--data-dir DATA", &[]),
    ("ledger list", "--data-dir DATA", &[]),
    ("ledger verify", "--data-dir DATA", &[]),
    ("gate rules", "", &[]),
    ("gate explain", "POST /flyteidl2.task.TaskService/DeployTask --as ci --data-dir DATA", &[]),
    ("doctor", "", &[]),
    ("doctor server", "", &[]),
    ("doctor store", "--data-dir DATA", &[]),
    ("doctor python", "", &[]),
    ("backup", "SHELF/AS.backup --data-dir DATA", &["file", "bytes", "created_at"]),
    (
        "restore",
        "SHELF/AS.backup --data-dir SHELF/AS --root-key-file DATA/root.key",
        &["data_dir", "created_at"],
    ),
    ("root-key rotate", "--data-dir DATA", &["version"]),
    ("signing-key rotate", "--now --data-dir DATA", &["kid", "signs_from"]),
    ("config check", "--public-url https://keys.example.com", &[]),
    ("ca", "--data-dir DATA", &[]),
    (
        "ledger archive",
        "SHELF/AS.archive --before 2999-01-01 --data-dir DATA",
        &["file", "bytes", "created_at", "first", "last", "head"],
    ),
];

/// Replaces values that differ between runs, and removes the last use of secrets, which is written
/// late.
fn mask(value: &mut Value, differing: &[&str]) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(|value| mask(value, differing)),
        Value::Object(members) => {
            members.remove("last_used_at");
            for (name, value) in members {
                match value {
                    Value::String(_) if differing.contains(&&**name) => *value = json!("a string"),
                    Value::Number(_) if differing.contains(&&**name) => *value = json!("a number"),
                    _ => mask(value, differing),
                }
            }
        }
        _ => {}
    }
}

#[tokio::test]
async fn json_and_yaml_print_the_same() {
    let server = Server::start().await;
    server.create_key("ci").await;
    let scratch = tempfile::tempdir().unwrap();
    for (command, words, differing) in COMMANDS {
        let mut outputs = Vec::new();
        for format in ["json", "yaml"] {
            let secret = if words.contains("SECRET") {
                let key =
                    server.admin_call("Get", json!({ "clientId": format!("made-{format}") })).await;
                key["apiKey"]["secrets"][0]["id"].as_str().unwrap().to_owned()
            } else {
                String::new()
            };
            let words = words
                .replace("DATA", server.process.data_dir.to_str().unwrap())
                .replace("SHELF", scratch.path().to_str().unwrap())
                .replace("SECRET", &secret)
                .replace("AS", format);
            let words = format!("{command} {words} --output {format}");
            let output = run_with(&mut server.process.as_client(&server.admin), &words);
            // The doctor may report a problem of the Python environment in both formats.
            assert!(matches!(output.status.code(), Some(0 | 8)), "{words}: {output:?}");
            let text = String::from_utf8(output.stdout).unwrap();
            let mut value: Value = match format {
                "yaml" => serde_saphyr::from_str(&text)
                    .unwrap_or_else(|error| panic!("{words}: {error}\n{text}")),
                // One object per line.
                _ if command == "ledger list" => {
                    Deserializer::from_str(&text).into_iter::<Value>().map(Result::unwrap).collect()
                }
                _ => serde_json::from_str(&text).unwrap(),
            };
            mask(&mut value, differing);
            outputs.push(value);
        }
        assert_eq!(outputs[0], outputs[1], "{command} {words}");
    }
}

#[test]
fn every_command_with_output_formats_is_tested() {
    let helps = helps();
    let with_format = helps
        .iter()
        .filter(|(_, help)| help.contains("--output <FORMAT>"))
        // Never ends; `ledger_follow_prints_each_entry` tests it.
        .filter(|(command, _)| *command != "ledger follow")
        .map(|(command, _)| &**command);
    assert_eq!(
        with_format.collect::<BTreeSet<_>>(),
        COMMANDS.map(|(command, _, _)| command).into()
    );
}

/// Covers text that looks like a number or a boolean.
#[tokio::test]
async fn a_yaml_name_stays_a_string() {
    let server = Server::start().await;
    let names = [
        "yes",
        "1e3",
        "null",
        "0123",
        "2026-11-24",
        "12:30:45",
        "0x1f",
        "1_000",
        "~",
        "- a",
        "a: b",
        "a #b",
    ];
    for (number, name) in names.iter().enumerate() {
        server.create_key_with(&format!("key-{number:02}"), json!({ "clientName": name })).await;
    }
    let text =
        stdout(&run_with(&mut server.process.as_client(&server.admin), "key list --output yaml"));
    let listed: Vec<Value> = serde_saphyr::from_str(&text).unwrap();
    let listed: Vec<_> =
        listed.iter().skip(1).map(|key| key["client_name"].as_str().unwrap()).collect();
    assert_eq!(listed, names);
    // For any YAML parser, not only the library that wrote it.
    for name in names {
        assert!(
            text.contains(&format!("client_name: '{name}'"))
                || text.contains(&format!("client_name: \"{name}\"")),
            "{name}: {text}"
        );
    }
}
