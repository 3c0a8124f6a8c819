//! The ledger records each change, and each refusal of a known caller, once and without secrets.

use gatekey_core::{
    id::Hex,
    ledger::{LedgerHead, NewEntry, verify_chain},
    store::LedgerStore as _,
};
use http::Method;
use serde_json::{Value, json};

use crate::support::{Response, Server, copied_store, run};

const OWN: &str = "/gatekey.v1.ApiKeyService";
const APPS: &str = "/cloudidl.identity.AppsService";

impl Server {
    /// All entries, after verifying the chain.
    pub(crate) async fn ledger(&self) -> Vec<NewEntry> {
        let (store, root_key, _copy) = copied_store(&self.process.data_dir);
        let entries = store.ledger_entries(0, usize::MAX).await.unwrap();
        verify_chain(&root_key.ledger_keys(), LedgerHead::EMPTY, &entries).unwrap();
        entries.into_iter().map(|entry| entry.entry).collect()
    }

    /// Makes a call with a request id.
    async fn named(
        &self,
        request_id: &str,
        token: &str,
        procedure: &str,
        body: &Value,
    ) -> Response {
        let bearer = format!("Bearer {token}");
        let headers = [
            ("authorization", &*bearer),
            ("content-type", "application/json"),
            ("x-request-id", request_id),
            ("user-agent", "a test"),
        ];
        self.http.send(Method::POST, procedure, &headers, body.to_string()).await
    }

    /// The only entry of a request.
    async fn entry(&self, request_id: &str) -> NewEntry {
        let mut found =
            self.ledger().await.into_iter().filter(|entry| entry.request_id == request_id);
        let entry = found.next().unwrap_or_else(|| panic!("{request_id} has no entry"));
        assert_eq!(found.next(), None, "{request_id} has two entries");
        entry
    }

    /// How the ledger names the admin, by the only secret that it has.
    async fn admin_actor(&self) -> String {
        let admin = self.admin_call("Get", json!({ "clientId": "admin" })).await;
        let secret = &admin["apiKey"]["secrets"][0]["id"];
        let key_id = admin["apiKey"]["keyId"].as_str().unwrap();
        format!("key:admin/{key_id}/{}", secret.as_str().unwrap())
    }
}

/// The entry has actor, with the secret that acted, action and key.
#[tokio::test]
async fn each_change_has_one_entry() {
    let server = Server::start().await;
    let actor = server.admin_actor().await;
    let ci = json!({ "clientId": "ci" });
    let renamed =
        json!({ "apiKey": { "clientId": "ci", "clientName": "x" }, "updateMask": "clientName" });
    let changes = [
        (APPS, "Create", json!({ "clientId": "ci", "clientName": "ci" }), "api_key.create"),
        (APPS, "Update", json!({ "clientId": "ci", "clientName": "y" }), "api_key.update"),
        (OWN, "Update", renamed, "api_key.update"),
        (OWN, "RotateSecret", json!({ "clientId": "ci", "grace": "60s" }), "api_key.rotate_secret"),
        (OWN, "Disable", ci.clone(), "api_key.disable"),
        (OWN, "Enable", ci.clone(), "api_key.enable"),
        (APPS, "Delete", ci.clone(), "api_key.delete"),
        (OWN, "Create", ci.clone(), "api_key.create"),
        (OWN, "Delete", ci, "api_key.delete"),
    ];
    let before = server.ledger().await.len();
    for (number, (service, method, body, action)) in changes.iter().enumerate() {
        let request_id = format!("call-{number}");
        let procedure = format!("{service}/{method}");
        let response = server.named(&request_id, &server.admin_token, &procedure, body).await;
        assert_eq!(response.status, 200, "{method}: {}", response.text());
        let entry = server.entry(&request_id).await;
        assert_eq!((&*entry.actor, &*entry.action, &*entry.target), (&*actor, *action, "ci"));
        assert_eq!((&*entry.peer, &*entry.user_agent), ("127.0.0.1", "a test"));
    }
    assert_eq!(server.ledger().await.len(), before + changes.len());
}

#[tokio::test]
async fn the_entry_names_a_retired_secret() {
    let server = Server::start().await;
    server.create_key("ci").await;
    let key = server.admin_call("Get", json!({ "clientId": "ci" })).await;
    let secret_id = key["apiKey"]["secrets"][0]["id"].as_str().unwrap();
    let body = json!({ "clientId": "ci", "secretId": secret_id });
    server.named("retire", &server.admin_token, &format!("{OWN}/RetireSecret"), &body).await;
    let entry = server.entry("retire").await;
    assert_eq!((&*entry.action, &*entry.target), ("api_key.retire_secret", "ci"));
    assert_eq!(entry.detail, format!("secret={secret_id}"));
}

#[tokio::test]
async fn the_entry_names_a_revoked_tokens_jti() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    let headers = [("authorization", &*key.basic()), ("x-request-id", "revoke")];
    server.http.form("/oauth2/revoke", &headers, &format!("token={token}")).await;
    let entry = server.entry("revoke").await;
    assert!(entry.actor.starts_with("key:ci/"), "{entry:?}");
    assert_eq!((&*entry.action, &*entry.target), ("token.revoke", "ci"));
    let jti = crate::support::decoded(&token).1["jti"].as_str().unwrap().to_owned();
    assert_eq!(entry.detail, format!("jti={jti}"));
}

#[tokio::test]
async fn a_replayed_create_has_its_own_action() {
    let server = Server::start().await;
    let body = json!({ "clientId": "ci", "clientName": "ci" });
    for _ in 0..2 {
        let response =
            server.named("again", &server.admin_token, &format!("{APPS}/Create"), &body).await;
        assert_eq!(response.status, 200, "{}", response.text());
    }
    let entries = server.ledger().await.into_iter().filter(|entry| entry.request_id == "again");
    let actions: Vec<_> = entries.map(|entry| entry.action).collect();
    assert_eq!(actions, ["api_key.create", "api_key.create_replay"]);
}

#[tokio::test]
async fn local_administration_is_recorded_under_the_user() {
    let server = Server::start().await;
    let data_dir = server.process.data_dir.to_str().unwrap();
    assert!(run(&["signing-key", "rotate", "--data-dir", data_dir]).status.success());
    let entries = server.ledger().await;
    let local: Vec<_> =
        entries.iter().filter(|entry| entry.actor.starts_with("local:uid=")).collect();
    let actions: Vec<_> = local.iter().map(|entry| &*entry.action).collect();
    // The server itself creates the first signing key.
    assert_eq!(actions, ["signing_key.rotate", "api_key.create", "signing_key.rotate"]);
    assert_eq!(local[1].target, "admin");
    for entry in local {
        assert!(entry.request_id.starts_with("local-") && entry.peer.is_empty(), "{entry:?}");
    }
}

#[tokio::test]
async fn a_known_callers_refusal_has_an_entry() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    let procedures = [
        (format!("{APPS}/List"), json!({})),
        (format!("{APPS}/Create"), json!({ "clientId": "x", "clientName": "x" })),
        (format!("{OWN}/Get"), json!({ "clientId": "admin" })),
        (format!("{OWN}/RotateSecret"), json!({ "clientId": "admin" })),
        (format!("{OWN}/Delete"), json!({ "clientId": "ci" })),
    ];
    for (number, (procedure, body)) in procedures.iter().enumerate() {
        let request_id = format!("refused-{number}");
        let response = server.named(&request_id, &token, procedure, body).await;
        assert_eq!(response.status, 403, "{procedure}: {}", response.text());
        let entry = server.entry(&request_id).await;
        assert!(entry.actor.starts_with("key:ci/"), "{entry:?}");
        assert_eq!((&*entry.action, &entry.target), ("refuse", procedure));
        assert!(entry.detail.contains("role admin"), "{entry:?}");
    }
}

#[tokio::test]
async fn a_refused_organization_has_an_entry() {
    let server = Server::start().await;
    let body = json!({ "clientId": "x", "clientName": "x", "organization": "somebody-else" });
    let response =
        server.named("foreign", &server.admin_token, &format!("{APPS}/Create"), &body).await;
    assert_eq!(response.json()["code"], "permission_denied", "{}", response.text());
    assert_eq!(server.entry("foreign").await.action, "refuse");
}

#[tokio::test]
async fn a_refused_revocation_has_an_entry() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let headers = [("authorization", &*key.basic()), ("x-request-id", "revoke")];
    let body = format!("token={}", server.admin_token);
    let response = server.http.form("/oauth2/revoke", &headers, &body).await;
    assert_eq!(response.json()["error"], "unauthorized_client");
    let entry = server.entry("revoke").await;
    assert!(entry.actor.starts_with("key:ci/"), "{entry:?}");
    assert_eq!((&*entry.action, &*entry.target), ("refuse", "/oauth2/revoke"));
}

#[tokio::test]
async fn a_refused_token_request_has_an_entry() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    for (number, parameter) in ["scope=more", "resource=https://evil.example"].iter().enumerate() {
        let request_id = format!("refused-{number}");
        let headers = [("authorization", &*key.basic()), ("x-request-id", &request_id)];
        let body = format!("grant_type=client_credentials&{parameter}");
        assert_eq!(server.http.form("/oauth2/token", &headers, &body).await.status, 400);
        let entry = server.entry(&request_id).await;
        assert!(entry.actor.starts_with("key:ci/"), "{entry:?}");
        assert_eq!((&*entry.action, &*entry.target), ("refuse", "/oauth2/token"));
        assert!(!entry.detail.contains("more") && !entry.detail.contains("evil"), "{entry:?}");
    }
}

#[tokio::test]
async fn a_repeated_refusal_has_one_entry() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    let before = server.ledger().await.len();
    for number in 0..20 {
        let list = format!("{APPS}/List");
        let response = server.named(&format!("again-{number}"), &token, &list, &json!({})).await;
        assert_eq!(response.status, 403);
    }
    assert_eq!(server.ledger().await.len(), before + 1, "a refused caller cannot fill the ledger");
    assert_eq!(server.entry("again-0").await.action, "refuse");
}

#[tokio::test]
async fn an_unauthenticated_call_has_no_entry() {
    let server = Server::start().await;
    let before = server.ledger().await;
    for (token, procedure) in [("", format!("{APPS}/Create")), ("nonsense", format!("{APPS}/List"))]
    {
        let response = server.http.connect_json(&procedure, token, &json!({})).await;
        assert_eq!(response.status, 401);
    }
    let wrong = crate::support::basic("admin", "wrong");
    let body = "grant_type=client_credentials";
    server.http.form("/oauth2/token", &[("authorization", &wrong)], body).await;
    server.http.form("/oauth2/revoke", &[("authorization", &wrong)], "token=x").await;
    server.http.get("/me", &[]).await;
    assert_eq!(server.ledger().await, before);
}

#[tokio::test]
async fn a_call_without_change_has_no_entry() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    let before = server.ledger().await;
    for (procedure, body, status) in [
        (format!("{APPS}/Get"), json!({ "clientId": "ci" }), 200),
        (format!("{APPS}/List"), json!({}), 200),
        (format!("{OWN}/Get"), json!({ "clientId": "ci" }), 200),
        (format!("{OWN}/Delete"), json!({ "clientId": "nope" }), 404),
        (format!("{OWN}/Disable"), json!({ "clientId": "nope" }), 404),
        (format!("{OWN}/RotateSecret"), json!({ "clientId": "ci", "grace": "9999999s" }), 400),
        (format!("{APPS}/Create"), json!({ "clientId": "a:b", "clientName": "x" }), 400),
        (format!("{APPS}/Create"), json!({ "clientId": "ci", "clientName": "x" }), 409),
    ] {
        let response = server.http.connect_json(&procedure, &server.admin_token, &body).await;
        assert_eq!(response.status, status, "{procedure}: {}", response.text());
    }
    server.introspect(&key, &token).await;
    server.token(&key).await;
    let revoke = [("authorization", &*key.basic())];
    assert_eq!(server.http.form("/oauth2/revoke", &revoke, "token=garbage").await.status, 200);
    assert_eq!(server.ledger().await, before);
}

#[tokio::test]
async fn the_ledger_contains_no_credential() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    let new = server.rotate(&key, json!({ "grace": "60s", "secretLabel": "nightly" })).await;
    for (procedure, body) in [
        (format!("{OWN}/Get"), json!({ "clientId": key.client_secret })),
        (format!("{OWN}/Delete"), json!({ "clientId": token })),
        (format!("{OWN}/RetireSecret"), json!({ "clientId": "ci", "secretId": key.client_secret })),
        (format!("{APPS}/Create"), json!({ "clientId": "x", "clientName": key.client_secret })),
    ] {
        server.http.connect_json(&procedure, &token, &body).await;
        server.http.connect_json(&procedure, &server.admin_token, &body).await;
    }
    let headers = [("authorization", &*new.basic())];
    server.http.form("/oauth2/revoke", &headers, &format!("token={token}")).await;
    let text = format!("{:?}", server.ledger().await);
    for secret in [&key.client_secret, &new.client_secret, &token, &server.admin.client_secret] {
        assert!(!text.contains(secret.as_str()), "{text}");
    }
    let signature = token.rsplit_once('.').unwrap().1;
    assert!(!text.contains(signature), "{text}");
}

/// The log contains the head of the ledger.
#[tokio::test]
async fn the_chain_continues_after_a_restart() {
    let mut server = Server::with_public_url().await;
    server.create_key("a").await;
    assert!(server.process.stop().await.success());
    let log = server.process.log();
    let logged = log.iter().rfind(|line| line["message"] == "ledger head").unwrap();
    let (store, _, _copy) = copied_store(&server.process.data_dir);
    let head = store.ledger_head().await.unwrap();
    assert_eq!(logged["sequence"], head.sequence);
    assert_eq!(logged["link"], Hex(&head.link).to_string());
    server.kill_and_restart();
    server.create_key("b").await;
    let targets: Vec<_> = server.ledger().await.into_iter().map(|entry| entry.target).collect();
    assert_eq!(targets[1..], ["admin", "a", "b"]);
}

#[tokio::test]
async fn a_refusal_repeated_often_has_one_entry() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    for _ in 0..50 {
        let response =
            server.http.connect_json("/gatekey.v1.ApiKeyService/List", &token, &json!({})).await;
        assert_eq!(response.status, 403);
    }
    let refusals = server.ledger().await.iter().filter(|entry| entry.action == "refuse").count();
    assert_eq!(refusals, 1);
}
