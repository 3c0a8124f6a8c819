//! The paths that Gatekey answers itself, whatever the rules of the gate say.

use std::{
    collections::BTreeSet,
    sync::{Arc, LazyLock},
};

use gatekey_gate::{OwnPaths, rules::Methods};

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

/// Returns the paths, to find them under every spelling. Every method of a service is its own.
pub fn all() -> Arc<OwnPaths> {
    static ALL: LazyLock<Arc<OwnPaths>> = LazyLock::new(|| {
        let paths = own_paths();
        let services = access::procedures().filter_map(|path| path.rsplit_once('/'));
        let services: BTreeSet<_> =
            services.map(|(service, _)| format!("{service}/{{method}}")).collect();
        let paths = paths.iter().map(|own| own.path.as_str());
        Arc::new(OwnPaths::new(paths.chain(services.iter().map(String::as_str))))
    });
    ALL.clone()
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
            assert!(all().contains(path), "{path}");
        }
        for path in [
            "/",
            "/oauth2/authorize",
            "/gatekey/v1/other/ci",
            "/gatekey.v1.ApiKeyService/",
            "/gatekey.v1.ApiKeyService/Get/x",
            "/flyteidl2.project.ProjectService/GetProject",
        ] {
            assert!(!all().contains(path), "{path}");
        }
    }
}
