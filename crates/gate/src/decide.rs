//! [`decide()`]: the decision about a request, a pure function. Every protocol asks it.

use gatekey_core::api_key::{Roles, Scope};
use http::Method;

use crate::{
    access::Access,
    path::Path,
    reason::Reason,
    rules::{Methods, Procedure, Rule, Rules},
};

/// The sender of a request.
#[derive(Debug, Clone, Copy)]
pub enum Caller {
    /// No credential, or one that was refused.
    Nobody,
    /// A key in its present state.
    Key {
        roles: Roles,
        /// The widest scope that the presented credential permits.
        scope: Scope,
    },
}

/// Why a request is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// No valid credential where one is needed.
    #[error("a valid API key is needed")]
    Unauthenticated,
    /// The key's roles do not suffice.
    #[error("role {} is needed", .0.role().map_or("admin", |role| role.as_str()))]
    Role(Access),
    /// The credential's scope does not suffice.
    #[error("scope {} is needed", .0.scope().as_str())]
    Scope(Access),
    /// The method is not one that reaches this path.
    #[error("this method is not allowed here")]
    Method,
    /// No rule covers the path, or the rule that does denies it to everybody.
    #[error("no rule of the gate allows this")]
    NotAllowed,
}

impl Denial {
    /// The word for the reason in metrics and headers.
    pub fn reason(self) -> Reason {
        match self {
            Self::Unauthenticated => Reason::Credential,
            Self::Role(_) => Reason::Role,
            Self::Scope(_) => Reason::Scope,
            Self::Method => Reason::Method,
            Self::NotAllowed => Reason::Rule,
        }
    }
}

/// Decides about a request, and returns the rule that allows it. `OPTIONS` never passes: the gate
/// answers it itself.
///
/// # Errors
/// [`Denial`], by the first reason: unauthenticated callers do not learn which paths have rules.
pub fn decide<'r>(
    rules: &'r Rules,
    method: &Method,
    path: &Path<'_>,
    query: Option<&str>,
    caller: Caller,
) -> Result<&'r Rule, Denial> {
    if Methods::of(method) == Methods::NONE {
        return Err(Denial::Method);
    }
    let rule = rules.find(method, path);
    let access = rule.map_or(Access::Denied, |rule| rule.access);
    if access != Access::Anonymous && matches!(caller, Caller::Nobody) {
        return Err(Denial::Unauthenticated);
    }
    if !reaches(method, path, query) || rule.is_none() && rules.methods(path) != Methods::NONE {
        return Err(Denial::Method);
    }
    match (access, caller) {
        (Access::Anonymous, _) => {}
        (Access::Denied, _) => return Err(Denial::NotAllowed),
        (_, Caller::Nobody) => return Err(Denial::Unauthenticated),
        (_, Caller::Key { roles, .. }) if !access.is_within(roles) => {
            return Err(Denial::Role(access));
        }
        (_, Caller::Key { scope, .. }) if scope < access.scope() => {
            return Err(Denial::Scope(access));
        }
        (_, Caller::Key { .. }) => {}
    }
    rule.ok_or(Denial::NotAllowed)
}

/// Whether a method can call the procedure at a path. A procedure is called by `POST`; by `GET`
/// only if it has no side effects, and if the query says that this is a call of Connect.
fn reaches(method: &Method, path: &Path<'_>, query: Option<&str>) -> bool {
    if !path.is_procedure() || method == Method::POST {
        return true;
    }
    let is_call = || query.is_some_and(|query| query.split('&').any(|one| one == "connect=v1"));
    Methods::of(method) == Methods::GET
        && is_call()
        && Procedure::find(path.as_str()).is_some_and(Procedure::allows_get)
}

#[cfg(test)]
mod tests {
    use gatekey_credentials::Role;

    use super::*;
    use crate::rules::{Kind, Pattern};

    const READ: &str = "/flyteidl2.project.ProjectService/GetProject";
    const WRITE: &str = "/flyteidl2.workflow.RunService/CreateRun";
    const ADMIN: &str = "/flyteidl2.project.ProjectService/CreateProject";
    const INTERNAL: &str = "/flyteidl2.actions.ActionsService/Enqueue";

    fn shipped() -> Rules {
        Rules::new(Vec::new(), false)
    }

    fn rules(configured: &[(&str, Access)]) -> Rules {
        let rule = |(pattern, access): &(&str, Access)| {
            Rule::configured(Pattern::parse(pattern).unwrap(), *access)
        };
        Rules::new(configured.iter().map(rule).collect(), false)
    }

    fn key(role: Option<Role>) -> Caller {
        let roles = Roles::from(role);
        Caller::Key { roles, scope: Scope::of(roles) }
    }

    fn decide_on(rules: &Rules, request: &str, caller: Caller) -> Result<(), Denial> {
        let (method, target) = request.split_once(' ').unwrap();
        let (path, query) =
            target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        decide(rules, &method, &Path::parse(path).unwrap(), query, caller).map(drop)
    }

    /// Each procedure of the table has a decision for each role.
    #[test]
    fn the_shipped_rules_follow_the_table() {
        for internal_services in [false, true] {
            let rules = Rules::new(Vec::new(), internal_services);
            for procedure in Procedure::all() {
                let decision = |caller| {
                    let request = format!("POST {}", procedure.path);
                    decide_on(&rules, &request, caller)
                };
                let is_denied = procedure.is_internal() && !internal_services;
                let is_whoami = procedure.has("whoami");
                let expected = |role: Option<Role>| match (procedure.kind, role) {
                    _ if is_denied => Err(Denial::NotAllowed),
                    (Kind::Anonymous, _) => Ok(()),
                    _ if is_whoami => Ok(()),
                    (_, Some(Role::Admin))
                    | (Kind::Read | Kind::Write, Some(Role::Contributor))
                    | (Kind::Read, Some(Role::Viewer)) => Ok(()),
                    (Kind::Read, _) => Err(Denial::Role(Access::Read)),
                    (Kind::Write, _) => Err(Denial::Role(Access::Write)),
                    (Kind::Admin, _) => Err(Denial::Role(Access::Admin)),
                };
                let path = &procedure.path;
                for role in Role::ALL.into_iter().map(Some).chain([None]) {
                    assert_eq!(decision(key(role)), expected(role), "{path} {role:?}");
                }
                let nobody = match procedure.kind {
                    Kind::Anonymous => Ok(()),
                    _ => Err(Denial::Unauthenticated),
                };
                assert_eq!(decision(Caller::Nobody), nobody, "{path}");
            }
        }
    }

    #[test]
    fn a_bound_path_needs_what_its_procedure_needs() {
        let rules = shipped();
        for procedure in Procedure::all() {
            for binding in &procedure.bindings {
                let path = binding.template.as_str().replace(['{', '}'], "");
                let request = format!("{} {path}", binding.methods);
                for role in Role::ALL.into_iter().map(Some).chain([None]) {
                    let bound = decide_on(&rules, &request, key(role));
                    let called = decide_on(&rules, &format!("POST {}", procedure.path), key(role));
                    assert_eq!(bound, called, "{request} {role:?}");
                }
            }
        }
        let (viewer, contributor) = (key(Some(Role::Viewer)), key(Some(Role::Contributor)));
        let execution = "/api/v1/executions/p/d/n";
        assert_eq!(decide_on(&rules, &format!("GET {execution}"), viewer), Ok(()));
        assert_eq!(decide_on(&rules, &format!("HEAD {execution}"), viewer), Ok(()));
        for method in ["PUT", "DELETE"] {
            let request = format!("{method} {execution}");
            assert_eq!(decide_on(&rules, &request, viewer), Err(Denial::Role(Access::Write)));
            assert_eq!(decide_on(&rules, &request, contributor), Ok(()));
        }
        let other = format!("POST {execution}");
        assert_eq!(decide_on(&rules, &other, contributor), Err(Denial::Method));
        assert_eq!(decide_on(&rules, &other, Caller::Nobody), Err(Denial::Unauthenticated));
    }

    #[test]
    fn an_unknown_path_is_denied() {
        let rules = shipped();
        for path in [
            "/",
            "/v1/x",
            "/healthz/",
            "/HEALTHZ",
            "/healthz/x",
            "/internal/flyteidl2.app.AppService/Create",
            "/flyteidl2.project.ProjectService/Unknown",
            "/flyteidl2.project.ProjectService/getproject",
            "/FLYTEIDL2.project.ProjectService/GetProject",
            "/flyteidl2.project.ProjectService/GetProject/",
            "/flyteidl2.project.ProjectService/GetProject/x",
            "/x/flyteidl2.project.ProjectService/GetProject",
            "/flyteidl2.project.ProjectService/",
        ] {
            let request = format!("POST {path}");
            let denial = decide_on(&rules, &request, key(Some(Role::Admin)));
            assert!(denial.is_err(), "{path}");
            let denial = decide_on(&rules, &request, Caller::Nobody);
            assert_eq!(denial, Err(Denial::Unauthenticated), "{path}");
        }
    }

    #[test]
    fn a_query_is_no_part_of_the_path() {
        let rules = shipped();
        for target in ["/v1/x?/healthz", "/v1/x?x=/healthz", "/v1/x?/../healthz"] {
            let denial = decide_on(&rules, &format!("GET {target}"), Caller::Nobody);
            assert_eq!(denial, Err(Denial::Unauthenticated), "{target}");
        }
        assert_eq!(decide_on(&rules, "GET /healthz?x=/y", Caller::Nobody), Ok(()));
    }

    #[test]
    fn a_procedure_is_called_by_post() {
        let admin = key(Some(Role::Admin));
        let open = rules(&[("/flyteidl2.project.ProjectService/*", Access::Read)]);
        for rules in [shipped(), open] {
            for method in ["PUT", "PATCH", "DELETE", "GET", "HEAD"] {
                for path in [READ, WRITE, ADMIN] {
                    let denial = decide_on(&rules, &format!("{method} {path}"), admin);
                    assert_eq!(denial, Err(Denial::Method), "{method} {path}");
                }
            }
            for method in ["GET", "HEAD"] {
                let request = format!("{method} {READ}?message=&connect=v1&encoding=json");
                assert_eq!(decide_on(&rules, &request, admin), Ok(()));
                let request = format!("{method} {WRITE}?connect=v1");
                assert_eq!(decide_on(&rules, &request, admin), Err(Denial::Method));
                let request = format!("{method} {READ}?xconnect=v1&connect=v10");
                assert_eq!(decide_on(&rules, &request, admin), Err(Denial::Method));
            }
        }
    }

    #[test]
    fn some_methods_never_pass() {
        let open = rules(&[("/*", Access::Anonymous), (READ, Access::Anonymous)]);
        for method in ["OPTIONS", "CONNECT", "TRACE", "PROPFIND", "get"] {
            for path in ["/healthz", "/anything", READ] {
                for caller in [Caller::Nobody, key(Some(Role::Admin))] {
                    let denial = decide_on(&open, &format!("{method} {path}"), caller);
                    assert_eq!(denial, Err(Denial::Method), "{method} {path}");
                }
            }
        }
    }

    #[test]
    fn the_scope_limits_before_the_role() {
        let rules = shipped();
        let caller = |scope| Caller::Key { roles: Roles::from(Role::Admin), scope };
        let post = |path: &str, scope| decide_on(&rules, &format!("POST {path}"), caller(scope));
        assert_eq!(post(READ, Scope::Read), Ok(()));
        assert_eq!(post(READ, Scope::None), Err(Denial::Scope(Access::Read)));
        assert_eq!(post(WRITE, Scope::Read), Err(Denial::Scope(Access::Write)));
        assert_eq!(post(ADMIN, Scope::Read), Err(Denial::Scope(Access::Admin)));
        assert_eq!(post(ADMIN, Scope::All), Ok(()));
        let whoami = "/flyteidl2.auth.IdentityService/UserInfo";
        assert_eq!(post(whoami, Scope::None), Ok(()));
    }

    #[test]
    fn the_most_specific_rule_decides() {
        let service = "/flyteidl2.project.ProjectService/*";
        let configured = rules(&[
            ("/*", Access::Anonymous),
            (service, Access::Admin),
            (READ, Access::AnyKey),
            ("/console/private/*", Access::Admin),
            ("/console/private/open", Access::Anonymous),
            ("/flyteidl2.actions.ActionsService/*", Access::Write),
            ("/api/v1/tasks/*", Access::Admin),
        ]);
        let access = |method: Method, path: &str| {
            configured.find(&method, &Path::parse(path).unwrap()).unwrap().access
        };
        assert_eq!(access(Method::POST, READ), Access::AnyKey);
        let listing = "/flyteidl2.project.ProjectService/ListProjects";
        assert_eq!(access(Method::POST, listing), Access::Admin);
        assert_eq!(access(Method::POST, INTERNAL), Access::Write);
        // A prefix is less specific than what Gatekey ships for a procedure or a path.
        assert_eq!(access(Method::POST, WRITE), Access::Write);
        assert_eq!(access(Method::GET, "/v2/x"), Access::Read);
        assert_eq!(access(Method::POST, "/internal/x"), Access::Denied);
        assert_eq!(access(Method::GET, "/anything"), Access::Anonymous);
        assert_eq!(access(Method::GET, "/console/private/x"), Access::Admin);
        assert_eq!(access(Method::GET, "/console/private/open"), Access::Anonymous);
        assert_eq!(access(Method::GET, "/api/v1/tasks/p/d"), Access::Admin);
        assert_eq!(access(Method::GET, "/api/v1/workflows/p/d"), Access::Read);
    }

    /// Otherwise a prefix that an operator closes would stay open where Gatekey ships a rule.
    #[test]
    fn a_denied_prefix_closes_shipped_rules() {
        let configured = rules(&[("/*", Access::Denied), ("/healthz", Access::Anonymous)]);
        let admin = key(Some(Role::Admin));
        for request in [
            format!("POST {READ}"),
            "GET /api/v1/tasks/p/d".to_owned(),
            "GET /readyz".to_owned(),
            "GET /v2/x".to_owned(),
        ] {
            let denial = decide_on(&configured, &request, admin);
            assert_eq!(denial, Err(Denial::NotAllowed), "{request}");
        }
        assert_eq!(decide_on(&configured, "GET /healthz", Caller::Nobody), Ok(()));
    }

    /// The index must find the same rule as a search through all rules.
    #[test]
    fn every_path_of_the_index_has_a_rule() {
        let rules = shipped();
        for rule in rules.iter() {
            if let Pattern::Exact(path) = &rule.pattern {
                let methods =
                    [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
                let path = Path::parse(path).unwrap();
                let found = methods.iter().any(|method| rules.find(method, &path) == Some(rule));
                assert!(found, "{rule:?}");
            }
        }
    }
}
