//! The rules that Gatekey ships.

use super::{
    methods::Methods,
    pattern::Pattern,
    procedure::Procedure,
    rule::{Rule, Source},
};
use crate::access::Access;

/// Paths of plain HTTP, in addition to those that are bound to procedures.
const PATHS: &[(Methods, &str, Access)] = &[
    // Probes: of Flyte 2, and of flyteadmin.
    (Methods::GET, "/healthz", Access::Anonymous),
    (Methods::GET, "/readyz", Access::Anonymous),
    (Methods::GET, "/healthcheck", Access::Anonymous),
    // Metadata that clients read before they log in. Gatekey answers them itself unless the
    // upstream is to.
    (Methods::GET, "/.well-known/oauth-authorization-server", Access::Anonymous),
    (Methods::GET, "/.well-known/openid-configuration", Access::Anonymous),
    // The log-in of Flyte 1 in a browser, and the static files of its console. What the console
    // shows it reads from `/api/v1`.
    (Methods::GET, "/login", Access::Anonymous),
    (Methods::GET, "/callback", Access::Anonymous),
    (Methods::GET, "/logout", Access::Anonymous),
    (Methods::GET_AND_POST, "/oauth2/*", Access::Anonymous),
    (Methods::GET, "/console", Access::Anonymous),
    (Methods::GET, "/console/*", Access::Anonymous),
    // The console of Flyte 2 is a server of its own, which may hold rights of its own.
    (Methods::GET, "/v2", Access::Read),
    (Methods::GET, "/v2/*", Access::Read),
    (Methods::GET, "/openapi", Access::Read),
    (Methods::GET, "/api/v1/openapi", Access::Read),
    // Flyte 2 serves services of its data plane a second time below this path, without a check.
    (Methods::ALL, "/internal/*", Access::Denied),
];

/// Returns the shipped rules, procedures first.
pub(super) fn rules(internal_services: bool) -> Vec<Rule> {
    let shipped =
        |methods, pattern, access| Rule { methods, pattern, access, source: Source::Shipped };
    let procedures = Procedure::all().iter().map(|procedure| {
        let pattern = Pattern::Exact(procedure.path.clone());
        shipped(Methods::ALL, pattern, procedure.access(internal_services))
    });
    let bound = Procedure::all().iter().flat_map(|procedure| {
        procedure.bindings.iter().map(|binding| {
            let template = binding.template;
            let pattern = if template.has_variables() {
                Pattern::Template(template)
            } else {
                Pattern::Exact(template.as_str().into())
            };
            shipped(binding.methods, pattern, procedure.access(internal_services))
        })
    });
    let mut rules: Vec<_> = procedures.chain(bound).collect();
    for (methods, text, access) in PATHS {
        let pattern = Pattern::parse(text).expect("shipped patterns are valid, as a test shows");
        let is_known = rules.iter().any(|rule| rule.pattern == pattern && rule.methods == *methods);
        if !is_known {
            rules.push(shipped(*methods, pattern, *access));
        }
    }
    rules
}
