//! The binary under test, and commands that run it.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
    sync::OnceLock,
};

use serde_json::Value;

use super::environment;

/// The path of the binary: `GATEKEY_BIN`, or else built now, so that no test runs an outdated one.
pub(crate) fn binary() -> &'static str {
    static PATH: OnceLock<String> = OnceLock::new();
    PATH.get_or_init(|| match environment("GATEKEY_BIN") {
        Some(path) => {
            assert!(Path::new(&path).is_absolute(), "GATEKEY_BIN must be an absolute path: {path}");
            path
        }
        None => build(),
    })
}

/// A command for the binary, without the environment of this process.
pub(crate) fn gatekey() -> Command {
    hermetic(binary())
}

pub(crate) fn hermetic(program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", "/nonexistent")
        .stdin(Stdio::null());
    command
}

/// Runs the binary until it exits.
pub(crate) fn run(arguments: &[&str]) -> Output {
    gatekey().args(arguments).output().expect("the binary runs")
}

/// Builds the binary with the profile of this test: cargo sets `CARGO_BIN_EXE_*` only for tests of
/// the same package.
fn build() -> String {
    let test = std::env::current_exe().unwrap();
    // .../PROFILE/deps/end_to_end-HASH
    let profile = test.ancestors().nth(2).and_then(Path::file_name).unwrap().to_str().unwrap();
    let profile = if profile == "debug" { "dev" } else { profile };
    let built = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--package",
            "gatekey",
            "--bin",
            "gatekey",
            "--profile",
            profile,
        ])
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(built.status.success(), "cargo could not build gatekey");
    let messages = built.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    messages
        .map(|line| serde_json::from_slice::<Value>(line).unwrap())
        .find_map(|message| message["executable"].as_str().map(str::to_owned))
        .expect("cargo names the executable")
}
