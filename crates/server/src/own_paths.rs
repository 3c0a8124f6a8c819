//! The paths that Gatekey answers itself, whatever the rules of the gate say.

use std::collections::BTreeSet;

use gatekey_gate::{Path, rules::Methods};

use crate::{
    endpoint,
    endpoints::ENDPOINTS,
    rpc::{access, bindings::Bindings},
};

/// A path that Gatekey answers itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnPath {
    pub methods: Methods,
    /// Variables are segments in braces.
    pub path: String,
}

/// Returns the paths: endpoints, procedures bound to plain HTTP, and procedures.
pub fn own_paths() -> Vec<OwnPath> {
    let endpoints = ENDPOINTS.iter().map(|endpoint| {
        let methods = match endpoint.methods {
            endpoint::Methods::Get => Methods::GET,
            endpoint::Methods::Post => Methods::POST,
            endpoint::Methods::GetAndPost => Methods::GET_AND_POST,
            endpoint::Methods::Any => Methods::ALL,
        };
        OwnPath { methods, path: endpoint.path.to_owned() }
    });
    let bound = Bindings::get().iter().map(|binding| OwnPath {
        methods: Methods::of(&binding.method),
        path: binding.path.clone(),
    });
    let procedures = access::procedures()
        .map(|procedure| OwnPath { methods: Methods::POST, path: procedure.to_owned() });
    endpoints.chain(bound).chain(procedures).collect()
}

/// Returns whether Gatekey answers a path itself, if only to refuse the method.
pub fn is_own(path: &Path<'_>) -> bool {
    let services: BTreeSet<_> = access::procedures().filter_map(service).collect();
    service(path.as_str()).is_some_and(|name| services.contains(name))
        || own_paths().iter().any(|own| matches(&own.path, path.as_str()))
}

/// The service of a path with two segments.
fn service(path: &str) -> Option<&str> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    (!method.is_empty() && !method.contains('/')).then_some(service)
}

fn matches(own: &str, path: &str) -> bool {
    if let Some((prefix, _)) = own.split_once("{*") {
        return path.starts_with(prefix);
    }
    if let Some((start, _)) = own.split_once("{*") {
        return path.starts_with(start);
    }
    own.split('/').count() == path.split('/').count()
        && own.split('/').zip(path.split('/')).all(|(own, segment)| {
            if own.starts_with('{') { !segment.is_empty() } else { own == segment }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_paths_are_endpoints_and_services() {
        for path in [
            "/oauth2/token",
            "/me",
            "/openapi.json",
            "/gatekey/v1/keys/ci",
            "/gatekey.v1.ApiKeyService/Get",
            "/gatekey.v1.ApiKeyService/Unknown",
            "/flyteidl2.auth.IdentityService/UserInfo",
            "/grpc.health.v1.Health/List",
            "/gate/envoy/flyteidl2.project.ProjectService/GetProject",
        ] {
            assert!(is_own(&Path::parse(path).unwrap()), "{path}");
        }
        for path in [
            "/",
            "/oauth2/authorize",
            "/gatekey/v1/other/ci",
            "/gatekey.v1.ApiKeyService/",
            "/gatekey.v1.ApiKeyService/Get/x",
            "/flyteidl2.project.ProjectService/GetProject",
        ] {
            assert!(!is_own(&Path::parse(path).unwrap()), "{path}");
        }
    }
}
