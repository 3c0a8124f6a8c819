//! The result of a check, as text and for programs.

use std::io;

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    args::Format,
    exit::{Coded, UNSOUND},
    output,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    Ok,
    /// Works, but will cause trouble for some clients or later.
    Warning,
    Failed,
    /// An earlier step failed, so this one could not run.
    Skipped,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Step {
    #[serde(rename = "step")]
    pub(super) name: &'static str,
    pub(super) state: State,
    pub(super) found: String,
    /// What to do about a warning or failure.
    // `mend` is the name in JSON and YAML since the first version.
    #[serde(rename = "mend", skip_serializing_if = "Option::is_none")]
    pub(super) fix: Option<String>,
    /// Printed as JSON and YAML only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) details: Option<Value>,
}

impl Step {
    fn new(
        name: &'static str,
        state: State,
        found: impl Into<String>,
        fix: Option<String>,
    ) -> Self {
        Self { name, state, found: found.into(), fix, details: None }
    }

    pub(super) fn ok(step: &'static str, found: impl Into<String>) -> Self {
        Self::new(step, State::Ok, found, None)
    }

    pub(super) fn warning(
        step: &'static str,
        found: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self::new(step, State::Warning, found, Some(fix.into()))
    }

    pub(super) fn failed(
        step: &'static str,
        found: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self::new(step, State::Failed, found, Some(fix.into()))
    }

    pub(super) fn skipped(step: &'static str, why: impl Into<String>) -> Self {
        Self::new(step, State::Skipped, why, None)
    }

    pub(super) fn with_details(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }

    pub(super) fn has_failed(&self) -> bool {
        self.state == State::Failed
    }
}

/// All steps of a check.
#[derive(Debug)]
pub(super) struct Report {
    /// The URL, directory or interpreter that was checked.
    subject: String,
    steps: Vec<Step>,
}

impl Report {
    pub(super) fn new(subject: impl Into<String>) -> Self {
        Self { subject: subject.into(), steps: Vec::new() }
    }

    /// Adds a step. Returns whether the check can continue: `false` after a failed step.
    pub(super) fn add(&mut self, step: Step) -> bool {
        let goes_on = !step.has_failed();
        self.steps.push(step);
        goes_on
    }

    pub(super) fn skip(&mut self, steps: &[&'static str], why: &str) {
        self.steps.extend(steps.iter().map(|step| Step::skipped(step, why)));
    }

    /// Prints the report.
    ///
    /// # Errors
    /// When a step failed, with the exit code for it.
    pub(super) fn print(&self, format: Format) -> anyhow::Result<()> {
        let failed = self.steps.iter().filter(|step| step.has_failed()).count();
        if let Some(notation) = format.notation() {
            notation.print(
                &json!({ "checked": self.subject, "ok": failed == 0, "steps": self.steps }),
            )?;
        } else {
            self.print_text()?;
        }
        if failed == 0 {
            return Ok(());
        }
        let message = format!("{failed} of {} steps failed", self.steps.len());
        Err(Coded { code: UNSOUND, message }.into())
    }

    fn print_text(&self) -> io::Result<()> {
        say!("{}", output::bold(&output::printable(&self.subject)))?;
        for Step { name, state, found, fix, .. } in &self.steps {
            let (mark, gap) = match state {
                State::Ok => (output::done_mark(), "     "),
                State::Warning => (output::warning_mark(), ""),
                State::Failed => (output::failure_mark(), " "),
                State::Skipped => (output::dim("skipped"), ""),
            };
            let found = output::printable(found);
            say!("  {mark}{gap}  {}  {found}", output::bold(name))?;
            if let Some(fix) = fix {
                say!("           {} {}", output::dim("fix:"), output::printable(fix))?;
            }
        }
        Ok(())
    }
}
