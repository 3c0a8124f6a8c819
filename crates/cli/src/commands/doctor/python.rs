//! A Python environment: which package's class `flyteplugins.union.remote.ApiKey` is there.

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::json;

use super::{
    connection::causes,
    report::{Report, Step},
};
use crate::args::PythonCheck;

/// Looks for itself, with the standard library alone, so that it also tells where gatekey-flyte is not.
const OWNERSHIP: &str = include_str!("../../../../../python/gatekey-flyte/src/gatekey/flyte/ownership.py");
/// Runs the text on standard input as if it were a file where nothing is installed.
const RUN: &str = "import sys; exec(compile(sys.stdin.read(), 'ownership.py', 'exec'), \
                   {'__name__': '__main__', '__file__': '/nowhere/gatekey/flyte/ownership.py'})";
const OURS: &str = "gatekey-flyte";
const INSTALL: &str = "pip install gatekey-flyte";

/// What the script prints as JSON.
#[derive(Deserialize)]
struct Ownership {
    python: String,
    distributions: BTreeMap<String, Option<String>>,
    modules: BTreeMap<String, Owned>,
    commands: BTreeMap<String, Owned>,
    advice: Vec<String>,
}

#[derive(Deserialize)]
struct Owned {
    owner: Option<String>,
}

/// Asks the interpreter that was named, or the one beside this command, or `python3` on the path.
pub(super) fn check(arguments: &PythonCheck) -> Report {
    let interpreter = arguments.python.clone().unwrap_or_else(interpreter);
    let mut report = Report::new(interpreter.display().to_string());
    let found = match ask(&interpreter) {
        Ok(found) => found,
        Err(error) => {
            let mend = "name an interpreter of Python 3.10 or later with --python";
            report.add(Step::failed("interpreter", causes(&error), mend));
            report.skip(&["packages", "class", "utils.auth", "commands"], "the interpreter does not answer");
            return report;
        }
    };
    report.add(Step::ok("interpreter", found.python.clone()));
    report.add(packages(&found));
    report.add(module("class", "flyteplugins.union.remote", &found));
    report.add(module("utils.auth", "flyteplugins.union.utils.auth", &found));
    report.add(commands(&found));
    report
}

/// `pip` puts this command beside the interpreter of its environment.
fn interpreter() -> PathBuf {
    let here = std::env::current_exe().ok().and_then(|own| own.parent().map(Path::to_path_buf));
    let beside = here.into_iter().flat_map(|folder| [folder.join("python3"), folder.join("python")]);
    beside.into_iter().find(|python| python.exists()).unwrap_or_else(|| "python3".into())
}

fn ask(interpreter: &Path) -> anyhow::Result<Ownership> {
    let mut child = Command::new(interpreter)
        .args(["-c", RUN, "--output", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{} cannot be started", interpreter.display()))?;
    // What ends before it has read everything says why on standard error.
    let _ = child.stdin.take().context("standard input is piped")?.write_all(OWNERSHIP.as_bytes());
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().last().unwrap_or("it says nothing");
    // 0 and 1 are its answers, to whether the class is ours.
    ensure!(matches!(output.status.code(), Some(0 | 1)) && !output.stdout.is_empty(), "{last}");
    serde_json::from_slice(&output.stdout).context("it does not answer what was asked")
}

fn packages(found: &Ownership) -> Step {
    const NAME: &str = "packages";
    let installed: Vec<_> = found
        .distributions
        .iter()
        .filter_map(|(name, version)| version.as_ref().map(|version| format!("{name} {version}")))
        .collect();
    let details = json!(found.distributions);
    let step = if found.distributions.get(OURS).is_some_and(Option::is_some) {
        Step::ok(NAME, installed.join(", "))
    } else {
        let others = if installed.is_empty() { String::new() } else { format!("; {}", installed.join(", ")) };
        Step::failed(NAME, format!("{OURS} is not installed{others}"), INSTALL)
    };
    step.with_details(details)
}

fn module(step: &'static str, name: &str, found: &Ownership) -> Step {
    match found.modules.get(name).and_then(|module| module.owner.as_deref()) {
        Some(OURS) => Step::ok(step, format!("{name} is Gatekey's")),
        other => {
            let owner = other.map_or_else(|| "nobody's".to_owned(), |other| format!("that of {other}"));
            let advice = found.advice.iter().find(|advice| advice.contains(name));
            let mend = advice.map_or(INSTALL, String::as_str);
            Step::failed(step, format!("{name} is {owner}"), mend)
        }
    }
}

fn commands(found: &Ownership) -> Step {
    const NAME: &str = "commands";
    let owned_by_others: Vec<_> = found
        .commands
        .iter()
        .filter_map(|(name, command)| Some((name, command.owner.as_deref()?)))
        .filter(|(_, owner)| *owner != OURS)
        .map(|(name, owner)| format!("flyte {name} is that of {owner}"))
        .collect();
    if found.distributions.get("flyte").is_none_or(Option::is_none) {
        Step::skipped(NAME, "flyte is not installed")
    } else if owned_by_others.is_empty() {
        Step::ok(NAME, "flyte create, get and delete api-key are Gatekey's")
    } else {
        Step::failed(NAME, owned_by_others.join("; "), INSTALL)
    }
}
