//! `cloudidl.authorizer.AuthorizerService`: the roles of keys, as Terraform manages them.

use serde_json::{Value, json};

use super::{Outcome, json::check, refused};
use crate::support::{Server, decoded};

fn application(client_id: &str) -> Value {
    json!({ "applicationId": { "subject": client_id } })
}

fn assignment(client_id: &str, policy: &str) -> Value {
    json!({ "identity": application(client_id), "policyId": { "name": policy } })
}

impl Server {
    /// Calls a method of `cloudidl.authorizer.AuthorizerService` as the admin.
    async fn authorizer(&self, method: &str, request: Value) -> Outcome {
        let procedure = format!("/cloudidl.authorizer.AuthorizerService/{method}");
        self.call(&self.admin_token, &procedure, request).await
    }

    async fn assign(&self, client_id: &str, policy: &str) -> Outcome {
        self.authorizer("AssignIdentity", assignment(client_id, policy)).await
    }

    async fn unassign(&self, client_id: &str, policy: &str) -> Outcome {
        self.authorizer("UnassignIdentity", assignment(client_id, policy)).await
    }

    /// The names of a key's policies.
    async fn policies(&self, client_id: &str) -> Vec<String> {
        let request = json!({ "identity": application(client_id) });
        let response = self.authorizer("GetIdentityAssignments", request).await.unwrap();
        let policies = response["identityAssignment"]["policies"].as_array().cloned();
        let names = policies.unwrap_or_default().into_iter();
        names.map(|policy| policy["id"]["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Creates a key without a role, as Terraform does.
    async fn create_bare(&self, client_id: &str) {
        let bare = json!({ "clientId": client_id, "skipDefaultPolicyAssignments": true });
        self.apps("Create", bare).await.unwrap();
    }
}

#[tokio::test]
async fn the_highest_assigned_role_applies() {
    let server = Server::start().await;
    server.create_bare("ci").await;
    assert!(server.policies("ci").await.is_empty());
    for (policy, role) in [
        ("verifier", "ROLE_VERIFIER"),
        ("viewer", "ROLE_VIEWER"),
        ("admin", "ROLE_ADMIN"),
        ("contributor", "ROLE_ADMIN"),
    ] {
        assert_eq!(server.assign("ci", policy).await.unwrap(), json!({}));
        assert_eq!(server.shown("ci").await["role"], role);
    }
    assert_eq!(server.policies("ci").await, ["admin", "contributor", "viewer", "verifier"]);
    for (policy, role) in [
        ("admin", json!("ROLE_CONTRIBUTOR")),
        ("verifier", json!("ROLE_CONTRIBUTOR")),
        ("contributor", json!("ROLE_VIEWER")),
        ("viewer", Value::Null),
    ] {
        assert_eq!(server.unassign("ci", policy).await.unwrap(), json!({}));
        assert_eq!(server.shown("ci").await["role"], role);
    }
}

#[tokio::test]
async fn assigning_twice_changes_nothing() {
    let server = Server::start().await;
    server.create_bare("ci").await;
    server.assign("ci", "viewer").await.unwrap();
    let before = server.shown("ci").await;
    server.assign("ci", "viewer").await.unwrap();
    assert_eq!(server.shown("ci").await, before);
    assert_eq!(server.policies("ci").await, ["viewer"]);
}

/// `role` of `gatekey.v1` has one value.
#[tokio::test]
async fn setting_the_role_replaces_all_assignments() {
    let server = Server::start().await;
    server.create_key("ci").await;
    assert_eq!(server.policies("ci").await, ["contributor"]);
    server.assign("ci", "verifier").await.unwrap();
    let update =
        json!({ "apiKey": { "clientId": "ci", "role": "ROLE_VIEWER" }, "updateMask": "role" });
    server.keys("Update", update).await.unwrap();
    assert_eq!(server.policies("ci").await, ["viewer"]);
    let renamed =
        json!({ "apiKey": { "clientId": "ci", "clientName": "CI" }, "updateMask": "clientName" });
    server.assign("ci", "admin").await.unwrap();
    server.keys("Update", renamed).await.unwrap();
    server.apps("Update", json!({ "clientId": "ci", "clientName": "CI 2" })).await.unwrap();
    assert_eq!(server.policies("ci").await, ["admin", "viewer"]);
}

#[tokio::test]
async fn assignments_survive_a_restart() {
    let mut server = Server::with_public_url().await;
    server.create_key("ci").await;
    server.assign("ci", "viewer").await.unwrap();
    server.restart().await;
    assert_eq!(server.policies("ci").await, ["contributor", "viewer"]);
}

#[tokio::test]
async fn an_assignment_applies_at_once() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let (token, other) = (server.token(&key).await, server.admin_token.clone());
    let list = async || server.keys_as(&token, "List", json!({})).await;
    refused(&list().await, "permission_denied", &["role admin"]);
    server.assign("ci", "verifier").await.unwrap();
    assert_eq!(server.introspect(&key, &other).await["active"], true);
    server.assign("ci", "admin").await.unwrap();
    assert!(list().await.is_ok());
    server.unassign("ci", "admin").await.unwrap();
    refused(&list().await, "permission_denied", &["role admin"]);
}

#[tokio::test]
async fn a_narrower_assignment_revokes_wider_tokens() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    server.assign("ci", "viewer").await.unwrap();
    let wide = server.token(&key).await;
    server.unassign("ci", "contributor").await.unwrap();
    assert!(!server.accepts(&wide).await);
    let narrow = server.token(&key).await;
    assert_eq!(decoded(&narrow).1["scope"], "read");
    server.assign("ci", "admin").await.unwrap();
    assert!(server.accepts(&narrow).await);
}

#[tokio::test]
async fn what_is_not_held_is_not_found() {
    let server = Server::start().await;
    server.create_key("ci").await;
    refused(&server.unassign("ci", "viewer").await, "not_found", &["ci", "viewer"]);
    for method in ["AssignIdentity", "UnassignIdentity"] {
        let absent = server.authorizer(method, assignment("gone", "viewer")).await;
        refused(&absent, "not_found", &["gone", "does not exist"]);
        let unknown = server.authorizer(method, assignment("ci", "emperor")).await;
        refused(&unknown, "not_found", &["policy", "emperor", "contributor"]);
        let long = server.authorizer(method, assignment("ci", &"x".repeat(9999))).await;
        assert!(long.unwrap_err().message.len() < 300);
    }
    let gone = json!({ "identity": application("gone") });
    refused(&server.authorizer("GetIdentityAssignments", gone).await, "not_found", &["gone"]);
    assert_eq!(server.policies("ci").await, ["contributor"]);
}

/// `NOT_FOUND` would make Terraform drop the resource of a person from its state.
#[tokio::test]
async fn only_applications_have_policies() {
    let server = Server::start().await;
    let person = json!({ "userId": { "subject": "ci" } });
    let stranger = json!({ "externalIdentity": { "subject": "ci", "token": "t" } });
    for identity in [person, stranger, json!({}), Value::Null] {
        for method in ["AssignIdentity", "UnassignIdentity", "GetIdentityAssignments"] {
            let mut request = json!({ "identity": identity });
            if method != "GetIdentityAssignments" {
                request["policyId"] = json!({ "name": "viewer" });
            }
            let outcome = server.authorizer(method, request).await;
            refused(&outcome, "invalid_argument", &["identity", "application"]);
        }
    }
    let nothing = json!({ "identity": application("admin") });
    refused(&server.authorizer("AssignIdentity", nothing).await, "invalid_argument", &["policy"]);
}

/// Older clients assign roles, under the names of the policies.
#[tokio::test]
async fn a_role_may_be_assigned_as_such() {
    let server = Server::start().await;
    server.create_bare("ci").await;
    let request = json!({ "identity": application("ci"), "roleId": { "name": "viewer" } });
    server.authorizer("AssignIdentity", request.clone()).await.unwrap();
    assert_eq!(server.policies("ci").await, ["viewer"]);
    server.authorizer("UnassignIdentity", request).await.unwrap();
    assert!(server.policies("ci").await.is_empty());
}

/// Terraform compares it byte for byte.
#[tokio::test]
async fn the_authorizer_echoes_the_organization() {
    let server = Server::with_flags(&["--organization", "acme"]).await;
    server.create_key("ci").await;
    for organization in ["", "acme", "127"] {
        let request = json!({ "organization": organization, "identity": application("ci") });
        let response = server.authorizer("GetIdentityAssignments", request).await.unwrap();
        let policy = server
            .authorizer(
                "GetPolicy",
                json!({ "id": { "organization": organization, "name": "contributor" } }),
            )
            .await
            .unwrap();
        let role = server
            .authorizer(
                "GetRole",
                json!({ "id": { "organization": organization, "name": "contributor" } }),
            )
            .await
            .unwrap();
        assert_eq!(response["identityAssignment"]["policies"][0], policy["policy"]);
        check(&application("ci"), &response["identityAssignment"]["identity"]).unwrap();
        let binding = &policy["policy"]["bindings"][0];
        for named in [&policy["policy"]["id"], &binding["roleId"], &role["role"]["id"]] {
            assert_eq!(named["organization"].as_str().unwrap_or_default(), organization);
            assert_eq!(named["name"], "contributor");
        }
        let resource = &binding["resource"]["organization"];
        assert!(resource.is_object(), "{policy}");
        assert_eq!(resource["name"].as_str().unwrap_or_default(), organization);
    }
}

#[tokio::test]
async fn the_authorizer_denies_any_other_organization() {
    let server = Server::with_flags(&["--organization", "acme"]).await;
    server.create_key("ci").await;
    let elsewhere = json!({ "organization": "globex", "name": "viewer" });
    let mut of_request = assignment("ci", "viewer");
    of_request["organization"] = json!("globex");
    let of_policy = json!({ "identity": application("ci"), "policyId": elsewhere });
    let identity = json!({ "organization": "globex", "identity": application("gone") });
    for (method, request) in [
        ("AssignIdentity", of_request.clone()),
        ("AssignIdentity", of_policy.clone()),
        ("UnassignIdentity", of_request),
        ("UnassignIdentity", of_policy),
        ("GetIdentityAssignments", identity),
        ("GetPolicy", json!({ "id": elsewhere })),
        ("GetRole", json!({ "id": elsewhere })),
    ] {
        refused(&server.authorizer(method, request).await, "permission_denied", &["globex"]);
    }
    assert_eq!(server.policies("ci").await, ["contributor"]);
}

#[tokio::test]
async fn built_in_policies_and_roles_are_found() {
    let server = Server::start().await;
    for (name, kind, actions) in [
        ("admin", "ROLE_TYPE_ADMIN", 7),
        ("contributor", "ROLE_TYPE_CONTRIBUTOR", 4),
        ("viewer", "ROLE_TYPE_VIEWER", 2),
    ] {
        let request = json!({ "id": { "name": name } });
        let policy = server.authorizer("GetPolicy", request.clone()).await.unwrap();
        assert_eq!(policy["policy"]["bindings"].as_array().unwrap().len(), 1);
        assert!(policy["policy"]["description"].is_string());
        let role = server.authorizer("GetRole", request).await.unwrap();
        assert_eq!(
            (&role["role"]["id"]["name"], &role["role"]["roleType"]),
            (&json!(name), &json!(kind))
        );
        assert_eq!(role["role"]["actions"].as_array().unwrap().len(), actions, "{role}");
        assert!(role["role"]["roleSpec"]["description"].is_string());
    }
    for (method, kind) in [("GetPolicy", "policy"), ("GetRole", "role")] {
        for name in ["emperor", "Admin"] {
            let outcome = server.authorizer(method, json!({ "id": { "name": name } })).await;
            refused(&outcome, "not_found", &[kind, "does not exist"]);
        }
        for request in [json!({}), json!({ "id": { "name": "" } })] {
            let outcome = server.authorizer(method, request).await;
            refused(&outcome, "invalid_argument", &["name", "empty"]);
        }
    }
}

#[tokio::test]
async fn unassigning_the_last_admin_is_refused() {
    let server = Server::start().await;
    let outcome = server.unassign("admin", "admin").await;
    refused(&outcome, "failed_precondition", &["last admin key", "gatekey init"]);
    assert_eq!(server.policies("admin").await, ["admin"]);
    server.create_key_from(json!({ "clientId": "second", "role": "ROLE_ADMIN" })).await;
    server.unassign("second", "admin").await.unwrap();
    refused(&server.unassign("admin", "admin").await, "failed_precondition", &[]);
}
