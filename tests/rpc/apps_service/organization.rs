//! The organization that a server serves.

use serde_json::json;

use crate::{
    rpc::refused,
    support::{PUBLIC_URL, Server},
};

#[tokio::test]
async fn the_servers_names_are_echoed() {
    // The public Terraform provider sends the first DNS label of the public URL.
    let server = Server::with_flags(&["--organization", "acme", "--public-url", PUBLIC_URL]).await;
    for (number, organization) in ["", "acme", "keys"].into_iter().enumerate() {
        let id = format!("key-{number}");
        let of = |field: &str, value: &str| {
            let mut request = json!({ "organization": organization });
            request[field] = json!(value);
            request
        };
        let created = server.apps("Create", of("clientId", &id)).await.unwrap();
        let got = server.apps("Get", of("clientId", &id)).await.unwrap();
        let updated = server.apps("Update", of("clientId", &id)).await.unwrap();
        let listed = server.apps("List", json!({ "organization": organization })).await.unwrap();
        for app in [&created["app"], &got["app"], &updated["app"], &listed["apps"][0]] {
            assert_eq!(app["organization"].as_str().unwrap_or_default(), organization, "{app}");
        }
        assert_eq!(server.shown(&id).await["organization"], "acme");
        server.apps("Delete", of("clientId", &id)).await.unwrap();
    }
    let info = server
        .call(&server.admin_token, "/flyteidl2.auth.IdentityService/UserInfo", json!({}))
        .await
        .unwrap();
    assert_eq!(info["additionalClaims"]["userhandle"], "acme");
}

/// Creating a key for it is denied.
#[tokio::test]
async fn any_other_organization_is_not_found() {
    let server = Server::with_flags(&["--organization", "acme"]).await;
    server.create_key("ci").await;
    for organization in ["globex", "Acme", "acme ", "a", "acme.example.com"] {
        let request = json!({ "organization": organization, "clientId": "ci" });
        for method in ["Get", "Update", "Delete"] {
            let outcome = server.apps(method, request.clone()).await;
            refused(&outcome, "not_found", &[organization, "not served here"]);
        }
        let listed = server.apps("List", json!({ "organization": organization })).await;
        refused(&listed, "not_found", &[organization]);
        let request = json!({ "organization": organization, "clientId": "new" });
        let created = server.apps("Create", request).await;
        refused(&created, "permission_denied", &[organization]);
    }
    assert!(server.apps("Get", json!({ "clientId": "ci" })).await.is_ok());
    refused(&server.apps("Get", json!({ "clientId": "new" })).await, "not_found", &[]);
}

#[tokio::test]
async fn the_active_organization_header_counts_as_the_field() {
    let server = Server::with_flags(&["--organization", "acme"]).await;
    server.create_key("ci").await;
    let ci = json!({ "clientId": "ci" });
    for served in ["acme", ""] {
        let got =
            server.apps_with(&[("x-user-active-org", served)], "Get", ci.clone()).await.unwrap();
        assert_eq!(got["app"]["clientId"], "ci");
    }
    let other = [("x-user-active-org", "globex")];
    for method in ["Get", "Update", "Delete"] {
        refused(&server.apps_with(&other, method, ci.clone()).await, "not_found", &["globex"]);
    }
    refused(&server.apps_with(&other, "List", json!({})).await, "not_found", &["globex"]);
    let created = server.apps_with(&other, "Create", json!({ "clientId": "new" })).await;
    refused(&created, "permission_denied", &["globex"]);
}

#[tokio::test]
async fn a_long_organization_is_truncated_in_the_error() {
    let server = Server::start().await;
    let outcome = server.apps("List", json!({ "organization": "o".repeat(100_000) })).await;
    refused(&outcome, "not_found", &["ooo"]);
    assert!(outcome.unwrap_err().message.len() < 200);
}
