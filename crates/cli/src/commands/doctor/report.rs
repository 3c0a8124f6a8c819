//! What was found, for people and for programs.

use std::io;

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    args::Format,
    exit::{Coded, UNSOUND},
    output,
};

/// How a step went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// As it should.
    Ok,
    /// It works, and something about it will trouble somebody.
    Warning,
    /// It does not work.
    Failed,
    /// It could not be tried.
    Skipped,
}

/// One step of a check.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Step {
    #[serde(rename = "step")]
    pub(super) name: &'static str,
    pub(super) state: State,
    /// What was found.
    pub(super) found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mend: Option<String>,
    /// More, for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) details: Option<Value>,
}

impl Step {
    fn new(name: &'static str, state: State, found: impl Into<String>, mend: Option<String>) -> Self {
        Self { name, state, found: found.into(), mend, details: None }
    }

    pub(super) fn ok(step: &'static str, found: impl Into<String>) -> Self {
        Self::new(step, State::Ok, found, None)
    }

    pub(super) fn warning(step: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::new(step, State::Warning, found, Some(mend.into()))
    }

    pub(super) fn failed(step: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::new(step, State::Failed, found, Some(mend.into()))
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
    /// What was checked.
    subject: String,
    steps: Vec<Step>,
}

impl Report {
    pub(super) fn new(subject: impl Into<String>) -> Self {
        Self { subject: subject.into(), steps: Vec::new() }
    }

    /// Adds a step; gives whether it has not failed.
    pub(super) fn add(&mut self, step: Step) -> bool {
        let went_on = !step.has_failed();
        self.steps.push(step);
        went_on
    }

    /// Adds steps that cannot be tried.
    pub(super) fn skip(&mut self, steps: &[&'static str], why: &str) {
        self.steps.extend(steps.iter().map(|step| Step::skipped(step, why)));
    }

    /// Prints it; fails when a step has.
    pub(super) fn print(&self, format: Format) -> anyhow::Result<()> {
        let failed = self.steps.iter().filter(|step| step.has_failed()).count();
        if let Some(notation) = format.notation() {
            notation.print(&json!({ "checked": self.subject, "ok": failed == 0, "steps": self.steps }))?;
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
        say!("{}", output::bold(&self.subject))?;
        for Step { name, state, found, mend, .. } in &self.steps {
            let (mark, gap) = match state {
                State::Ok => (output::done_mark(), "     "),
                State::Warning => (output::warning_mark(), ""),
                State::Failed => (output::failure_mark(), " "),
                State::Skipped => (output::dim("skipped"), ""),
            };
            say!("  {mark}{gap}  {}  {found}", output::bold(name))?;
            if let Some(mend) = mend {
                say!("           {} {mend}", output::dim("to mend it:"))?;
            }
        }
        Ok(())
    }
}
