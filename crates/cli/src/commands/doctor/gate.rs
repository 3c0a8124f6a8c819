//! Whether Flyte can be called without a key, and answers with one.

use gatekey_client::Client;
use http::StatusCode;

use super::{
    connection::{Target, causes},
    report::Step,
};

const NAME: &str = "gate";
/// A method of Flyte that every role with access to Flyte may call.
const PROCEDURE: &str = "/flyteidl2.project.ProjectService/ListProjects";

/// What the gate does, as far as a check saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// It refuses strangers, and Flyte behind it answered a key.
    Passes,
    /// It refuses strangers; no key was tried, or Flyte did not answer it.
    Refuses,
    /// There is no gate, or it could not be called.
    Nothing,
}

/// Calls Flyte as a stranger, and with the key if there is one. Without a step if the host serves
/// no Flyte.
pub(super) async fn check(target: &Target, client: Option<&Client>) -> (Option<Step>, Seen) {
    let stranger = match target.call(PROCEDURE).await {
        Ok((status, _)) => status,
        Err(error) => return (Some(failed(&causes(&error))), Seen::Nothing),
    };
    if matches!(stranger, StatusCode::NOT_FOUND | StatusCode::NOT_IMPLEMENTED) {
        return (None, Seen::Nothing);
    }
    if stranger.is_success() {
        let step = Step::failed(
            NAME,
            "Flyte answers calls without a key",
            "let no way lead around the gate: `gatekey serve --upstream`, or a proxy that asks it",
        );
        return (Some(step), Seen::Nothing);
    }
    if stranger != StatusCode::UNAUTHORIZED {
        return (Some(failed(&format!("a call without a key gets {stranger}"))), Seen::Nothing);
    }
    let token = match client {
        Some(client) => client.access_token().await.ok(),
        None => None,
    };
    let Some(token) = token else {
        return (Some(Step::ok(NAME, "Flyte refuses calls without a key")), Seen::Refuses);
    };
    match target.call_as(PROCEDURE, Some(&token)).await {
        Ok((status, _)) if status.is_success() => {
            let found = "Flyte refuses calls without a key, and answers this one";
            (Some(Step::ok(NAME, found)), Seen::Passes)
        }
        Ok((StatusCode::FORBIDDEN, _)) => {
            let found = "Flyte refuses calls without a key; the role of this one does not permit to list projects";
            (Some(Step::ok(NAME, found)), Seen::Refuses)
        }
        Ok((status, _)) => {
            (Some(failed(&format!("a call with the key gets {status}"))), Seen::Refuses)
        }
        Err(error) => (Some(failed(&causes(&error))), Seen::Refuses),
    }
}

fn failed(found: &str) -> Step {
    Step::failed(
        NAME,
        format!("Flyte behind the gate does not answer: {found}"),
        "start Flyte, or correct `gate.upstream` or the proxy in front",
    )
}
