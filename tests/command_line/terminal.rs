//! Output on a terminal: widths, colors, and questions.

use serde_json::json;

use super::{json_lines, run_with, stdout};
use crate::support::{Server, on_terminal, run};

/// Commands that print a table, with DATA for the data directory.
const TABLES: [&str; 5] = [
    "key list",
    "key get ci",
    "ledger list --data-dir DATA",
    "signing-key list --data-dir DATA",
    "root-key list --data-dir DATA",
];

/// A server with the keys that tables have to show.
async fn server() -> Server {
    let server = Server::start().await;
    server.create_key("ci").await;
    server.create_key_with("wide", json!({ "clientName": "日本語の名前 e\u{301}" })).await;
    server.admin_call("RotateSecret", json!({ "clientId": "ci", "grace": "60s" })).await;
    server
}

/// The columns that text takes: East Asian characters take two, and combining ones none.
fn columns(text: &str) -> usize {
    text.chars()
        .map(|character| match character {
            '\u{300}'..='\u{36f}' => 0,
            '\u{3040}'..='\u{9fff}' => 2,
            _ => 1,
        })
        .sum()
}

/// Where the words of a line begin that follow two spaces, and the first one.
fn starts(line: &str) -> Vec<usize> {
    let mut starts = vec![0];
    let follows_a_gap = |at: usize| line[..at].ends_with("  ");
    for (at, _) in line.char_indices().filter(|(at, c)| *c != ' ' && follows_a_gap(*at)) {
        starts.push(columns(&line[..at]));
    }
    starts
}

#[tokio::test]
async fn tables_are_straight_on_a_terminal() {
    let server = server().await;
    let data_dir = server.process.data_dir.to_str().unwrap();
    for words in TABLES {
        let words = words.replace("DATA", data_dir);
        let mut command = server.process.as_client(&server.admin);
        let seen = on_terminal(command.args(words.split(' ')), 400, "");
        assert!(seen.status.success(), "{words}: {}", seen.raw);
        let text = seen.text();
        let header =
            text.lines().position(|line| line.len() > 1 && !line.contains(char::is_lowercase));
        let lines: Vec<_> = text.lines().skip(header.unwrap()).collect();
        assert!(lines.len() > 1, "{words}: {text}");
        let titles = starts(lines[0]);
        for line in &lines[1..] {
            // An empty cell has no word.
            for start in starts(line) {
                assert!(titles.contains(&start), "{words}: {start} is not in {titles:?}\n{text}");
            }
        }
    }
}

#[tokio::test]
async fn tables_fit_80_columns() {
    let server = server().await;
    let data_dir = server.process.data_dir.to_str().unwrap();
    for words in TABLES {
        let words = words.replace("DATA", data_dir);
        let mut command = server.process.as_client(&server.admin);
        let seen = on_terminal(command.args(words.split(' ')), 80, "");
        for line in seen.text().lines() {
            assert!(columns(line) <= 80, "{words}: {line}");
        }
    }
    // Nothing is cut off, and what is not a terminal gets a line per row.
    let list = format!("ledger list --data-dir {data_dir}");
    let entries = json_lines(&run(&format!("{list} --output json").split(' ').collect::<Vec<_>>()));
    let plain = stdout(&run(&list.split(' ').collect::<Vec<_>>()));
    assert_eq!(plain.lines().count(), entries.len() + 1);
    assert!(plain.lines().any(|line| line.len() > 80), "{plain}");
}

#[tokio::test]
async fn a_terminal_without_colors_gets_none() {
    let server = server().await;
    let data_dir = server.process.data_dir.to_str().unwrap();
    let commands = [
        "key list".to_owned(),
        "key get ci".to_owned(),
        "key get nope".to_owned(),
        "whoami".to_owned(),
        format!("doctor --data-dir {data_dir}"),
        "serve --data-dir /proc/nowhere --listen 127.0.0.1:0".to_owned(),
        "--help".to_owned(),
    ];
    for words in &commands {
        for (name, value, colored) in
            [("NO_COLOR", "1", false), ("TERM", "dumb", false), ("NO_COLOR", "", true)]
        {
            let mut command = server.process.as_client(&server.admin);
            command.env(name, value);
            let seen = on_terminal(command.args(words.split(' ')), 80, "");
            assert_eq!(seen.raw.contains('\u{1b}'), colored, "{words} {name}: {:?}", seen.raw);
        }
    }
}

#[tokio::test]
async fn log_lines_follow_no_color() {
    for (value, colored) in [("1", false), ("", true)] {
        let directory = tempfile::tempdir().unwrap();
        let mut command = crate::support::gatekey();
        let data_dir = directory.path().join("data");
        command.args(["init", "--data-dir", data_dir.to_str().unwrap()]);
        let seen =
            on_terminal(command.envs([("NO_COLOR", value), ("GATEKEY_LOG", "info")]), 80, "");
        assert!(seen.status.success(), "{}", seen.raw);
        assert_eq!(seen.raw.contains('\u{1b}'), colored, "{:?}", seen.raw);
    }
}

#[tokio::test]
async fn deleting_a_key_asks_on_a_terminal() {
    let server = server().await;
    for answer in ["\n", "n\n", "yours\n"] {
        let mut command = server.process.as_client(&server.admin);
        let seen = on_terminal(command.args(["key", "delete", "ci"]), 80, answer);
        assert_eq!(seen.status.code(), Some(1), "{}", seen.raw);
        assert!(seen.text().contains("nothing was changed"), "{}", seen.raw);
    }
    for (words, answer) in [("key delete ci", "y\n"), ("key delete wide --yes", "")] {
        let mut command = server.process.as_client(&server.admin);
        let seen = on_terminal(command.args(words.split(' ')), 80, answer);
        assert!(seen.status.success(), "{}", seen.raw);
    }
    let left = stdout(&run_with(&mut server.process.as_client(&server.admin), "key list"));
    assert_eq!(left.lines().count(), 2, "{left}");
}

#[tokio::test]
async fn a_rotation_without_grace_asks() {
    let server = Server::start().await;
    let old = server.create_key("ci").await;
    let mut command = server.process.as_client(&server.admin);
    let seen = on_terminal(command.args(["key", "rotate", "ci"]), 80, "n\n");
    assert_eq!(seen.status.code(), Some(1), "{}", seen.raw);
    assert!(seen.text().contains("--grace"), "{}", seen.raw);
    let mut command = server.process.as_client(&server.admin);
    let seen = on_terminal(command.args(["key", "rotate", "ci", "--grace", "1h"]), 80, "");
    assert!(seen.status.success(), "{}", seen.raw);
    assert_eq!(server.http.token(&old, &[]).await.status, 200);
    for (words, answer) in [("key rotate ci", "yes\n"), ("key rotate ci -y", "")] {
        let mut command = server.process.as_client(&server.admin);
        let seen = on_terminal(command.args(words.split(' ')), 80, answer);
        assert!(seen.status.success(), "{}", seen.raw);
        assert_eq!(server.http.token(&old, &[]).await.status, 401);
    }
}

/// Names from before there was a rule for them, or from another server: they still load.
#[tokio::test]
async fn foreign_text_cannot_control_the_terminal() {
    let mut server = Server::start().await;
    server.create_key("ci").await;
    let escapes = "a\u{1b}]52;c;AAAA\u{7}\u{9b}2J\u{202e}\u{2028}\u{200b}gnp.exe";
    let database = rusqlite::Connection::open(server.process.data_dir.join("gatekey.db")).unwrap();
    let changed = database.execute("UPDATE api_key SET client_name = ?1", [escapes]).unwrap();
    assert_eq!(changed, 2);
    database.execute("UPDATE secret SET label = ?1", [escapes]).unwrap();
    drop(database);
    server.restart().await;
    for words in [
        "key list",
        "key get ci",
        "whoami",
        "key disable ci",
        "key enable ci -o json",
        "key get ci -o yaml",
        "key list -o json",
        "whoami -o json",
        "key rotate ci --grace 1h -o yaml",
    ] {
        let mut command = server.process.as_client(&server.admin);
        let seen = on_terminal(command.env("NO_COLOR", "1").args(words.split(' ')), 400, "");
        assert!(seen.status.success(), "{words}: {}", seen.raw);
        let deceptive: Vec<_> = seen
            .raw
            .chars()
            .filter(|c| "\u{1b}\u{7}\u{9b}\u{202e}\u{2028}\u{200b}".contains(*c))
            .collect();
        assert!(deceptive.is_empty(), "{words}: {:?}", seen.raw);
        assert!(seen.raw.contains("gnp.exe"), "{words}: {:?}", seen.raw);
    }
    let got = run_with(&mut server.process.as_client(&server.admin), "key get ci --output json");
    assert_eq!(super::json(&got)["client_name"], escapes);
}
