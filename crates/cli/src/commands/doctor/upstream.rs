//! Whether a backend behind the gate answers, and whether it can be called past the gate.

use std::{net::IpAddr, path::PathBuf};

use gatekey_outbound::Proxies;
use http::StatusCode;

use super::{
    address,
    connection::{Target, causes},
    gate::Seen,
    report::Step,
};

const NAME: &str = "upstream";
/// A call to Flyte 2, and the same to flyteadmin over plain HTTP and over gRPC.
const FLYTE_2: &str = "/flyteidl2.project.ProjectService/ListProjects";
const FLYTE_1: &str = "/api/v1/projects";
const FLYTE_1_GRPC: &str = "/flyteidl.service.AdminService/ListProjects";
/// Only Gatekey serves it, with its name as the title.
const OWN_DOCUMENT: &str = "/openapi.json";

const POINTS_ELSEWHERE: &str = "set `gate.upstream` to the address of Flyte itself";
const CLOSE: &str = "unless Gatekey runs on this machine, let only Gatekey connect, by a NetworkPolicy \
                     (docs/gate/kubernetes) or a firewall";

/// A backend behind the gate.
pub(super) struct Upstream {
    pub(super) url: String,
    /// CA certificates to trust in addition to the system's.
    pub(super) ca_file: Option<PathBuf>,
}

/// What a backend answered to a call without a credential.
enum Answer {
    /// The call.
    Served,
    /// That it needs a credential.
    Refused,
    /// Something else.
    Other(String),
    /// Gatekey's own answer.
    Gatekey,
}

/// Calls a backend directly, as a stranger. `seen` is what the gate does.
pub(super) async fn check(
    upstream: &Upstream,
    public: &Target,
    seen: Seen,
) -> anyhow::Result<Step> {
    let mut target = Target::new(&upstream.url, upstream.ca_file.as_deref(), Proxies::default())?;
    let shown = target.issuer().to_owned();
    if (target.host(), target.port()) == (public.host(), public.port()) {
        let found = format!("{shown} is the public URL, so the gate passes requests on to itself");
        return Ok(Step::failed(NAME, found, POINTS_ELSEWHERE));
    }
    let (resolved, addresses) = address::look_up(&target).await;
    if resolved.has_failed() {
        return Ok(unreachable(&resolved.found, seen));
    }
    let (connected, address) = address::connect(&addresses).await;
    let Some(address) = address else {
        let found = format!("{shown}: {}", connected.found);
        return Ok(unreachable(&found, seen));
    };
    target.address = Some(address);
    Ok(match ask(&target).await {
        Err(error) => unreachable(&format!("{shown}: {}", causes(&error)), seen),
        Ok(answer) => judge(&answer, &shown, address.ip()),
    })
}

fn judge(answer: &Answer, shown: &str, address: IpAddr) -> Step {
    match answer {
        Answer::Gatekey => {
            let found = format!("{shown} is Gatekey, so the gate passes requests on to itself");
            Step::failed(NAME, found, POINTS_ELSEWHERE)
        }
        Answer::Refused => {
            let found = format!("{shown} answers, and refuses calls without a credential itself");
            Step::ok(NAME, found)
        }
        Answer::Other(what) => {
            let found = format!("{shown} answers, but not as Flyte does: {what}");
            Step::warning(NAME, found, POINTS_ELSEWHERE)
        }
        Answer::Served if address.to_canonical().is_loopback() => {
            let found =
                format!("{shown} answers; every program on this machine can call it without a key");
            Step::ok(NAME, found)
        }
        Answer::Served => {
            let found = format!("{shown} answers this machine without a key, past the gate");
            Step::warning(NAME, found, CLOSE)
        }
    }
}

/// Nothing answers: right where the gate reaches Flyte and this machine is another one.
fn unreachable(found: &str, seen: Seen) -> Step {
    match seen {
        Seen::Passes => {
            Step::ok(NAME, format!("cannot be called past the gate from this machine: {found}"))
        }
        Seen::Refuses | Seen::Nothing => Step::failed(
            NAME,
            format!("does not answer this machine: {found}"),
            "start Flyte, or correct `gate.upstream`; if Gatekey runs on another machine, this is as it should be",
        ),
    }
}

async fn ask(target: &Target) -> anyhow::Result<Answer> {
    if let Ok((StatusCode::OK, document)) = target.get(OWN_DOCUMENT).await
        && document["info"]["title"] == "Gatekey"
    {
        return Ok(Answer::Gatekey);
    }
    let status = match target.call(FLYTE_2).await {
        Ok((status, _)) => status,
        // The port for gRPC of Flyte 1 serves nothing but HTTP/2.
        Err(error) => {
            return match target.grpc_status(FLYTE_1_GRPC).await {
                Ok(0) => Ok(Answer::Served),
                Ok(7 | 16) => Ok(Answer::Refused),
                Ok(status) => Ok(Answer::Other(format!("gRPC status {status}"))),
                Err(_) => Err(error),
            };
        }
    };
    let status = match status {
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
            target.get(FLYTE_1).await?.0
        }
        status => status,
    };
    Ok(match status {
        status if status.is_success() => Answer::Served,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Answer::Refused,
        status => Answer::Other(status.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_upstream_elsewhere_is_a_warning() {
        let state = |address: &str| {
            let step = judge(&Answer::Served, "http://flyte:8090", address.parse().unwrap());
            (step.has_failed(), step.fix.is_some())
        };
        for address in ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(state(address), (false, false), "{address}");
        }
        for address in ["10.0.0.1", "192.168.1.1", "203.0.113.7", "2001:db8::1", "::ffff:10.0.0.1"]
        {
            assert_eq!(state(address), (false, true), "{address}");
        }
    }
}
