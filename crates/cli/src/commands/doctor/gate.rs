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

/// Calls Flyte as a stranger, and with the key. `None` if the host serves no Flyte.
pub(super) async fn check(target: &Target, client: &Client) -> Option<Step> {
    let stranger = match target.call(PROCEDURE).await {
        Ok((status, _)) => status,
        Err(error) => return Some(failed(&causes(&error))),
    };
    if matches!(stranger, StatusCode::NOT_FOUND | StatusCode::NOT_IMPLEMENTED) {
        return None;
    }
    if stranger.is_success() {
        return Some(Step::failed(
            NAME,
            "Flyte answers calls without a key",
            "let no way lead around the gate: `gatekey serve --upstream`, or a proxy that asks it",
        ));
    }
    if stranger != StatusCode::UNAUTHORIZED {
        return Some(failed(&format!("a call without a key gets {stranger}")));
    }
    let Ok(token) = client.access_token().await else {
        return Some(Step::ok(NAME, "Flyte refuses calls without a key"));
    };
    Some(match target.call_as(PROCEDURE, Some(&token)).await {
        Ok((status, _)) if status.is_success() => {
            Step::ok(NAME, "Flyte refuses calls without a key, and answers this one")
        }
        Ok((StatusCode::FORBIDDEN, _)) => Step::ok(
            NAME,
            "Flyte refuses calls without a key; the role of this one does not permit to list projects",
        ),
        Ok((status, _)) => failed(&format!("a call with the key gets {status}")),
        Err(error) => failed(&causes(&error)),
    })
}

fn failed(found: &str) -> Step {
    Step::failed(
        NAME,
        format!("Flyte behind the gate does not answer: {found}"),
        "start Flyte, or correct `gate.upstream` or the proxy in front",
    )
}
