//! Finds the package that provides `flyteplugins.union.remote.ApiKey` in a Python environment.

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

/// Uses only the standard library, so that it also runs where gatekey-flyte is not installed.
const OWNERSHIP: &str =
    include_str!("../../../../../python/gatekey-flyte/src/gatekey/flyte/ownership.py");
/// Runs the program on standard input as if it were a file outside any installation.
const RUN: &str = "import sys; exec(compile(sys.stdin.read(), 'ownership.py', 'exec'), \
                   {'__name__': '__main__', '__file__': '/nowhere/gatekey/flyte/ownership.py'})";
const OURS: &str = "gatekey-flyte";
/// The packages are not on `PyPI`.
const INSTALL: &str = "build the wheels with python/build-wheels, then: \
                       pip install --find-links wheels gatekey-flyte";

/// The JSON that the program prints.
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
    /// Only set for a module.
    #[serde(default)]
    file: Option<String>,
}

/// Checks the given interpreter, or the one next to this command, or `python3` on the path.
pub(super) fn check(arguments: &PythonCheck) -> Report {
    let interpreter = arguments.python.clone().unwrap_or_else(interpreter);
    let mut report = Report::new(interpreter.display().to_string());
    let found = match ask(&interpreter) {
        Ok(found) => found,
        Err(error) => {
            let fix = "name an interpreter of Python 3.10 or later with --python";
            report.add(Step::failed("interpreter", causes(&error), fix));
            report.skip(
                &["packages", "class", "utils.auth", "commands"],
                "the interpreter does not run",
            );
            return report;
        }
    };
    report.add(Step::ok("interpreter", found.python.clone()));
    if !report.add(packages(&found)) {
        report.skip(&["class", "utils.auth", "commands"], &format!("{OURS} is not installed here"));
        return report;
    }
    report.add(module("class", "flyteplugins.union.remote", &found));
    report.add(module("utils.auth", "flyteplugins.union.utils.auth", &found));
    report.add(commands(&found));
    report
}

/// `pip` installs this command next to the interpreter of its environment.
fn interpreter() -> PathBuf {
    let here = std::env::current_exe().ok().and_then(|own| own.parent().map(Path::to_path_buf));
    let beside =
        here.into_iter().flat_map(|folder| [folder.join("python3"), folder.join("python")]);
    beside.into_iter().find(|python| python.exists()).unwrap_or_else(|| "python3".into())
}

fn ask(interpreter: &Path) -> anyhow::Result<Ownership> {
    let mut child = Command::new(interpreter)
        .args(["-c", RUN, "--output", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", interpreter.display()))?;
    // A failed write is reported by what the interpreter printed before it ended.
    let _ = child.stdin.take().context("standard input is piped")?.write_all(OWNERSHIP.as_bytes());
    let output = child.wait_with_output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    let last_line = stderr.lines().last().unwrap_or("it printed nothing");
    // 0 when the class is Gatekey's, 1 when it is not.
    ensure!(
        matches!(output.status.code(), Some(0 | 1)) && !output.stdout.is_empty(),
        "{last_line}"
    );
    serde_json::from_slice(&output.stdout).context("unexpected output of the interpreter")
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
        let others = installed.join(", ");
        let others = if others.is_empty() { others } else { format!("; installed: {others}") };
        Step::failed(NAME, format!("{OURS} is not installed{others}"), INSTALL)
    };
    step.with_details(details)
}

fn module(step: &'static str, name: &str, found: &Ownership) -> Step {
    let module = found.modules.get(name);
    let owner = module.and_then(|module| module.owner.as_deref());
    if owner == Some(OURS) {
        return Step::ok(step, format!("{name} belongs to {OURS}"));
    }
    let is_installed = module.is_some_and(|module| module.file.is_some());
    let wrong = match owner {
        Some(owner) => format!("{name} belongs to {owner}"),
        None if is_installed => format!("{name} belongs to no known package"),
        None => format!("{name} is not installed"),
    };
    let advice = found.advice.iter().find(|advice| advice.contains(name));
    Step::failed(step, wrong, advice.map_or(INSTALL, String::as_str))
}

fn commands(found: &Ownership) -> Step {
    const NAME: &str = "commands";
    let owned_by_others: Vec<_> = found
        .commands
        .iter()
        .filter_map(|(name, command)| Some((name, command.owner.as_deref()?)))
        .filter(|(_, owner)| *owner != OURS)
        .map(|(name, owner)| format!("flyte {name} belongs to {owner}"))
        .collect();
    if found.distributions.get("flyte").is_none_or(Option::is_none) {
        Step::skipped(NAME, "flyte is not installed")
    } else if owned_by_others.is_empty() {
        Step::ok(NAME, format!("flyte create, get and delete api-key belong to {OURS}"))
    } else {
        Step::failed(NAME, owned_by_others.join("; "), INSTALL)
    }
}
