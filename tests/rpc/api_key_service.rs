//! `gatekey.v1.ApiKeyService`: roles, expiry, several dated secrets.

use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};

use super::{Outcome, credentials, json::is_secret, refused};
use crate::support::{Credentials, Server, in_future};

impl Server {
    /// The ids of a key's secrets, oldest first.
    async fn secret_ids(&self, client_id: &str) -> Vec<String> {
        let key = self.shown(client_id).await;
        let secrets = key["secrets"].as_array().unwrap();
        secrets.iter().map(|secret| secret["id"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn a_key_is_a_contributor_by_default() {
    let server = Server::start().await;
    for role in ["ROLE_ADMIN", "ROLE_CONTRIBUTOR", "ROLE_VIEWER", "ROLE_VERIFIER"] {
        server.create_key_from(json!({ "clientId": role, "role": role })).await;
        assert_eq!(server.shown(role).await["role"], role);
    }
    server.create_key_from(json!({ "clientId": "default" })).await;
    assert_eq!(server.shown("default").await["role"], "ROLE_CONTRIBUTOR");
    server.create_key_from(json!({ "clientId": "bare", "withoutRole": true })).await;
    assert_eq!(server.shown("bare").await["role"], Value::Null);
    let both = json!({ "clientId": "both", "withoutRole": true, "role": "ROLE_VIEWER" });
    refused(&server.keys("Create", both).await, "invalid_argument", &["without_role", "role"]);
    let unknown = json!({ "clientId": "both", "role": 5 });
    refused(&server.keys("Create", unknown).await, "invalid_argument", &["role", "5"]);
}

#[tokio::test]
async fn an_expiry_in_the_past_is_refused() {
    let server = Server::start().await;
    server.create_key("ci").await;
    for past in ["2001-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "1969-12-31T23:59:59.999999999Z"] {
        let outcome = server.keys("Create", json!({ "clientId": "new", "expiresAt": past })).await;
        refused(&outcome, "invalid_argument", &["expires_at", "future"]);
        let update =
            json!({ "apiKey": { "clientId": "ci", "expiresAt": past }, "updateMask": "expiresAt" });
        refused(
            &server.keys("Update", update).await,
            "invalid_argument",
            &["expires_at", "future"],
        );
        let outcome =
            server.keys("RotateSecret", json!({ "clientId": "ci", "expiresAt": past })).await;
        refused(&outcome, "invalid_argument", &["expires_at", "future"]);
    }
}

#[tokio::test]
async fn expires_in_is_limited_by_key_and_secret() {
    let server = Server::start().await;
    let limited = server
        .create_key_from(
            json!({ "clientId": "limited", "expiresAt": in_future(Duration::from_secs(90)) }),
        )
        .await;
    server.create_key("ci").await;
    let request = json!({ "clientId": "ci", "expiresAt": in_future(Duration::from_secs(90)) });
    let rotated = server.keys("RotateSecret", request).await.unwrap();
    for key in [limited, credentials(&rotated, &rotated["apiKey"])] {
        let expires_in = server.http.token(&key, &[]).await.json()["expires_in"].as_i64().unwrap();
        assert!((1..=90).contains(&expires_in), "{expires_in}");
    }
    let whole = server.create_key("whole").await;
    assert_eq!(server.http.token(&whole, &[]).await.json()["expires_in"], 3600);
}

/// Or the expiry of its key, if that is earlier.
#[tokio::test]
async fn the_public_api_shows_the_newest_secrets_expiry() {
    let server = Server::start().await;
    let shown = async || {
        let got = server.apps("Get", json!({ "clientId": "ci" })).await.unwrap();
        got["app"]["clientSecretExpiresAt"].clone()
    };
    server.create_key_from(json!({ "clientId": "ci" })).await;
    assert_eq!(shown().await, Value::Null);
    let rotate = json!({ "clientId": "ci", "expiresAt": "2998-01-01T00:00:00Z" });
    server.keys("RotateSecret", rotate).await.unwrap();
    assert_eq!(shown().await, "2998-01-01T00:00:00Z");
    for (key, expected) in [
        ("2999-01-01T00:00:00Z", "2998-01-01T00:00:00Z"),
        ("2997-01-01T00:00:00Z", "2997-01-01T00:00:00Z"),
    ] {
        let update =
            json!({ "apiKey": { "clientId": "ci", "expiresAt": key }, "updateMask": "expiresAt" });
        server.keys("Update", update).await.unwrap();
        assert_eq!(shown().await, expected);
    }
}

#[tokio::test]
async fn update_changes_only_the_masked_fields() {
    let server = Server::start().await;
    let expires_at = in_future(Duration::from_mins(15));
    server
        .create_key_from(
            json!({ "clientId": "ci", "role": "ROLE_CONTRIBUTOR", "expiresAt": expires_at }),
        )
        .await;
    let before = server.shown("ci").await;
    let given = json!({
        "clientId": "ci",
        "clientName": "Renamed",
        "role": "ROLE_ADMIN",
        "redirectUris": ["https://ci.example.com/"],
        "expiresAt": "2999-01-01T00:00:00Z",
        "keyId": "00000000000000000000000000000000",
        "epoch": "77",
        "disabledAt": "2026-01-01T00:00:00Z",
        "secrets": [],
    });
    let mut expected = before.clone();
    for field in ["clientName", "role", "redirectUris", "expiresAt"] {
        let update = json!({ "apiKey": given, "updateMask": field });
        let updated = server.keys("Update", update).await.unwrap()["apiKey"].clone();
        expected[field] = given[field].clone();
        expected["updatedAt"] = updated["updatedAt"].clone();
        assert_eq!(updated, expected, "{field}");
        assert_eq!(server.shown("ci").await, expected, "{field}");
    }
    let together = json!({
        "apiKey": { "clientId": "ci", "clientName": "Both", "role": "ROLE_ADMIN" },
        "updateMask": "clientName,role",
    });
    let updated = server.keys("Update", together).await.unwrap();
    assert_eq!(updated["apiKey"]["clientName"], "Both");
    assert_eq!(updated["apiKey"]["role"], "ROLE_ADMIN");
    assert_eq!(updated["apiKey"]["redirectUris"], json!(["https://ci.example.com/"]));
}

/// Unless the field is required, such as the name.
#[tokio::test]
async fn a_masked_empty_field_is_cleared() {
    let server = Server::start().await;
    let made = json!({
        "clientId": "ci",
        "role": "ROLE_VIEWER",
        "expiresAt": in_future(Duration::from_mins(15)),
        "redirectUris": ["https://ci.example.com/"],
    });
    server.create_key_from(made).await;
    let empty =
        json!({ "apiKey": { "clientId": "ci" }, "updateMask": "role,expiresAt,redirectUris" });
    let updated = server.keys("Update", empty).await.unwrap()["apiKey"].clone();
    assert_eq!(updated["role"], Value::Null);
    assert_eq!(updated["expiresAt"], Value::Null);
    assert_eq!(
        updated["redirectUris"],
        json!(["http://localhost:8080/authorization-code/callback"])
    );
    let nameless = json!({ "apiKey": { "clientId": "ci" }, "updateMask": "clientName" });
    refused(&server.keys("Update", nameless).await, "invalid_argument", &["client_name", "empty"]);
}

#[tokio::test]
async fn an_immutable_field_in_the_mask_is_refused() {
    let server = Server::start().await;
    server.create_key("ci").await;
    let before = server.shown("ci").await;
    let key =
        json!({ "clientId": "ci", "clientName": "Renamed", "epoch": "9", "role": "ROLE_ADMIN" });
    for mask in [
        "epoch",
        "clientId",
        "keyId",
        "secrets",
        "secrets.label",
        "organization",
        "grantTypes",
        "nope",
    ] {
        for mask in [mask.to_owned(), format!("role,{mask}")] {
            let outcome = server.keys("Update", json!({ "apiKey": key, "updateMask": mask })).await;
            refused(&outcome, "invalid_argument", &["update_mask", "client_name"]);
        }
    }
    for request in [json!({ "apiKey": key }), json!({ "apiKey": key, "updateMask": "" })] {
        refused(&server.keys("Update", request).await, "invalid_argument", &["update_mask"]);
    }
    let keyless = server.keys("Update", json!({ "updateMask": "role" })).await;
    refused(&keyless, "invalid_argument", &["api_key"]);
    let unnamed = json!({ "apiKey": { "role": "ROLE_ADMIN" }, "updateMask": "role" });
    refused(&server.keys("Update", unnamed).await, "invalid_argument", &["client_id"]);
    assert_eq!(server.shown("ci").await, before);
}

#[tokio::test]
async fn a_role_change_takes_effect_at_once() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    let set = async |role: &str| {
        let update = json!({ "apiKey": { "clientId": "ci", "role": role }, "updateMask": "role" });
        server.keys("Update", update).await.unwrap();
    };
    refused(&server.keys_as(&token, "List", json!({})).await, "permission_denied", &[]);
    set("ROLE_ADMIN").await;
    assert!(server.keys_as(&token, "List", json!({})).await.is_ok());
    set("ROLE_CONTRIBUTOR").await;
    refused(&server.keys_as(&token, "List", json!({})).await, "permission_denied", &[]);
    // Its tokens have the scope `all`, which a key without a role may not have.
    set("ROLE_UNSPECIFIED").await;
    refused(&server.keys_as(&token, "List", json!({})).await, "unauthenticated", &[]);
    assert_eq!(server.http.token(&key, &[]).await.json()["scope"], "");
}

#[tokio::test]
async fn a_grace_keeps_the_old_secret_valid() {
    let server = Server::start().await;
    let old = server.create_key("ci").await;
    let token = server.token(&old).await;
    let new = server.rotate(&old, json!({ "grace": "86400s" })).await;
    assert!(is_secret(&new.client_secret));
    assert_ne!(old.client_secret, new.client_secret);
    assert!(server.secret_works(&old).await && server.secret_works(&new).await);
    assert!(server.accepts(&token).await);
    let key = server.shown("ci").await;
    assert!(key["secrets"][0]["expiresAt"].is_string());
    assert_eq!(key["secrets"][1]["expiresAt"], Value::Null);
}

#[tokio::test]
async fn rotation_without_grace_revokes_old_secrets_and_tokens() {
    let server = Server::start().await;
    let first = server.create_key("ci").await;
    let second = server.rotate(&first, json!({ "grace": "86400s" })).await;
    let tokens = [server.token(&first).await, server.token(&second).await];
    let new = server.rotate(&first, json!({ "grace": "0s" })).await;
    for token in &tokens {
        assert!(!server.accepts(token).await);
    }
    assert!(!server.secret_works(&first).await && !server.secret_works(&second).await);
    assert!(server.secret_works(&new).await);
    assert_eq!(server.shown("ci").await["epoch"], "2");
}

#[tokio::test]
async fn a_second_rotation_does_not_extend_a_grace() {
    let server = Server::start().await;
    let ci = server.create_key("ci").await;
    server.rotate(&ci, json!({ "grace": "60s" })).await;
    let first = server.shown("ci").await["secrets"][0].clone();
    server.rotate(&ci, json!({ "grace": "86400s" })).await;
    assert_eq!(server.shown("ci").await["secrets"][0], first);
}

#[tokio::test]
async fn a_grace_is_zero_to_ninety_days() {
    let server = Server::start().await;
    let ci = server.create_key("ci").await;
    server.rotate(&ci, json!({ "grace": "7776000s" })).await;
    for (grace, words) in [
        ("7776000.000000001s", ["grace", "90 days"]),
        ("7776001s", ["grace", "90 days"]),
        ("315576000000s", ["grace", "90 days"]),
        ("-1s", ["grace", "negative"]),
        ("-0.5s", ["grace", "negative"]),
    ] {
        let outcome =
            server.keys("RotateSecret", json!({ "clientId": "ci", "grace": grace })).await;
        refused(&outcome, "invalid_argument", &words);
    }
    assert_eq!(server.secret_ids("ci").await.len(), 2);
}

/// Until one of the others is retired.
#[tokio::test]
async fn an_eleventh_secret_is_refused() {
    let server = Server::start().await;
    let first = server.create_key("ci").await;
    for _ in 0..9 {
        server.rotate(&first, json!({ "grace": "86400s" })).await;
    }
    let more = json!({ "clientId": "ci", "grace": "86400s" });
    let outcome = server.keys("RotateSecret", more.clone()).await;
    refused(&outcome, "failed_precondition", &["ci", "10 secrets", "retire"]);
    assert!(server.secret_works(&first).await);
    let ids = server.secret_ids("ci").await;
    assert_eq!(ids.len(), 10);
    server.keys("RetireSecret", json!({ "clientId": "ci", "secretId": ids[0] })).await.unwrap();
    server.keys("RotateSecret", more).await.unwrap();
    // Without a grace, the old secrets are removed first.
    let last = server.rotate(&first, json!({ "grace": "0s" })).await;
    assert!(server.secret_works(&last).await);
}

#[tokio::test]
async fn concurrent_rotations_never_exceed_ten_secrets() {
    let server = Server::start().await;
    server.create_key("ci").await;
    let rotate = || server.keys("RotateSecret", json!({ "clientId": "ci", "grace": "86400s" }));
    let outcomes = join_all((0..20).map(|_| rotate())).await;
    let (done, refusals): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!(done.len(), 9);
    for refusal in &refusals {
        refused(refusal, "failed_precondition", &["10 secrets"]);
    }
    for rotated in done {
        let rotated = rotated.unwrap();
        assert!(server.secret_works(&credentials(&rotated, &rotated["apiKey"])).await);
    }
}

#[tokio::test]
async fn retiring_a_secret_revokes_its_tokens_only() {
    let server = Server::start().await;
    let first = server.create_key("ci").await;
    let second = server.rotate(&first, json!({ "grace": "86400s" })).await;
    let (first_token, second_token) = (server.token(&first).await, server.token(&second).await);
    let ids = server.secret_ids("ci").await;
    server.keys("RetireSecret", json!({ "clientId": "ci", "secretId": ids[0] })).await.unwrap();
    assert!(!server.secret_works(&first).await);
    assert!(!server.accepts(&first_token).await);
    assert!(server.secret_works(&second).await);
    assert!(server.accepts(&second_token).await);
}

#[tokio::test]
async fn another_keys_secret_cannot_be_retired() {
    let server = Server::start().await;
    server.create_key("ci").await;
    let other = server.create_key("other").await;
    let ids = server.secret_ids("other").await;
    for secret_id in [ids[0].as_str(), "", "nope", &"a".repeat(1000), "\u{7}"] {
        let outcome =
            server.keys("RetireSecret", json!({ "clientId": "ci", "secretId": secret_id })).await;
        refused(&outcome, "not_found", &["ci"]);
        assert!(outcome.unwrap_err().message.len() < 300);
    }
    assert!(server.secret_works(&other).await);
}

/// Tokens from before stay revoked.
#[tokio::test]
async fn a_disabled_key_is_refused_until_enabled() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    let disabled = server.keys("Disable", json!({ "clientId": "ci" })).await.unwrap();
    assert!(disabled["apiKey"]["disabledAt"].is_string());
    assert!(!server.secret_works(&key).await);
    assert!(!server.accepts(&token).await);
    let again = server.keys("Disable", json!({ "clientId": "ci" })).await.unwrap();
    assert_eq!(again, disabled);
    let enabled = server.keys("Enable", json!({ "clientId": "ci" })).await.unwrap();
    assert_eq!(enabled["apiKey"]["disabledAt"], Value::Null);
    assert!(server.secret_works(&key).await);
    assert!(!server.accepts(&token).await, "an earlier token stays revoked");
    assert_eq!(server.keys("Enable", json!({ "clientId": "ci" })).await.unwrap(), enabled);
}

/// The encoded credentials contain endpoint, client id, secret and organization.
#[tokio::test]
async fn encoded_credentials_contain_the_documented_parts() {
    for (organization, last_part) in [("", "None"), ("acme", "acme")] {
        let server = Server::with_flags(&["--organization", organization]).await;
        let created = server.keys("Create", json!({ "clientId": "ci" })).await.unwrap();
        let rotated = server.keys("RotateSecret", json!({ "clientId": "ci" })).await.unwrap();
        for shown in [created, rotated] {
            use base64::{Engine as _, prelude::BASE64_STANDARD};
            let encoded = shown["encodedCredentials"].as_str().unwrap();
            let decoded = String::from_utf8(BASE64_STANDARD.decode(encoded).unwrap()).unwrap();
            let secret = shown["clientSecret"].as_str().unwrap();
            assert_eq!(decoded, format!("{}:ci:{secret}:{last_part}", server.process.endpoint()));
        }
    }
}

#[tokio::test]
async fn a_secret_label_has_at_most_200_characters() {
    let server = Server::start().await;
    server.create_key_from(json!({ "clientId": "ci", "secretLabel": "läptop" })).await;
    let label = "\u{1f511}".repeat(200);
    let request = json!({ "clientId": "ci", "grace": "60s", "secretLabel": label });
    server.keys("RotateSecret", request).await.unwrap();
    let key = server.shown("ci").await;
    assert_eq!(key["secrets"][0]["label"], "läptop");
    assert_eq!(key["secrets"][1]["label"], label);
    for bad in ["x".repeat(201), "line\nbreak".to_owned()] {
        let outcome = server.keys("Create", json!({ "clientId": "new", "secretLabel": bad })).await;
        refused(&outcome, "invalid_argument", &["secret_label"]);
        let outcome =
            server.keys("RotateSecret", json!({ "clientId": "ci", "secretLabel": bad })).await;
        refused(&outcome, "invalid_argument", &["secret_label"]);
    }
}

#[tokio::test]
async fn a_secrets_last_use_survives_a_restart() {
    let mut server = Server::with_public_url().await;
    let key = server.create_key("ci").await;
    server.token(&key).await;
    server.restart().await;
    let secret = server.shown("ci").await["secrets"][0].clone();
    assert!(secret["lastUsedAt"].as_str() >= secret["createdAt"].as_str(), "{secret}");
    assert!(server.secret_works(&key).await);
}

#[tokio::test]
async fn repeated_rotation_does_not_grow_the_key() {
    let server = Server::with_config("limits.own_changes_per_minute = 0").await;
    let mut key = server.create_key("ci").await;
    for _ in 0..25 {
        let token = server.token(&key).await;
        let body = json!({ "clientId": "ci", "currentSecret": key.client_secret });
        let rotate = "/gatekey.v1.ApiKeyService/RotateSecret";
        let response = server.http.connect_json(rotate, &token, &body).await;
        key.client_secret = response.json()["clientSecret"].as_str().unwrap().to_owned();
    }
    let details = server.admin_call("Get", json!({ "clientId": "ci" })).await;
    assert!(details["apiKey"]["secrets"].as_array().unwrap().len() <= 12, "{details}");
    assert_eq!(server.http.token(&key, &[]).await.status, 200);
}

/// A key with its token, to rotate itself.
async fn rotate_itself(server: &Server, key: &Credentials, mut request: Value) -> Outcome {
    request["clientId"] = json!(key.client_id);
    request["currentSecret"] = json!(key.client_secret);
    let token = server.token(key).await;
    server.keys_as(&token, "RotateSecret", request).await
}

fn newest_expiry(rotated: &Value) -> &Value {
    &rotated["apiKey"]["secrets"].as_array().unwrap().last().unwrap()["expiresAt"]
}

#[tokio::test]
async fn a_key_cannot_extend_an_admins_expiry() {
    let server = Server::start().await;
    server.create_key("ci").await;
    let until = in_future(Duration::from_mins(10));
    let rotate = json!({ "clientId": "ci", "expiresAt": until });
    let rotated = server.keys("RotateSecret", rotate).await.unwrap();
    let until = newest_expiry(&rotated).clone();
    let mut key = credentials(&rotated, &rotated["apiKey"]);
    for request in [
        json!({}),
        json!({ "expiresAt": "2999-01-01T00:00:00Z" }),
        json!({ "grace": "7776000s" }),
        json!({}),
    ] {
        let rotated = rotate_itself(&server, &key, request.clone()).await.unwrap();
        assert_eq!(newest_expiry(&rotated), &until, "{request}");
        key = credentials(&rotated, &rotated["apiKey"]);
    }
    server.keys("RotateSecret", json!({ "clientId": "ci" })).await.unwrap();
    assert_eq!(
        server.shown("ci").await["secrets"].as_array().unwrap().last().unwrap()["expiresAt"],
        Value::Null
    );
}

/// The holder of the old secret would otherwise get one that outlives the grace.
#[tokio::test]
async fn a_secret_in_grace_has_no_longer_successor() {
    let server = Server::start().await;
    let old = server.create_key("ci").await;
    let new = server.rotate(&old, json!({ "grace": "600s" })).await;
    let ends = server.shown("ci").await["secrets"][0]["expiresAt"].clone();
    let rotated = rotate_itself(&server, &new, json!({ "grace": "600s" })).await.unwrap();
    assert_eq!(newest_expiry(&rotated), &Value::Null);
    let rotated = rotate_itself(&server, &old, json!({})).await.unwrap();
    assert_eq!(newest_expiry(&rotated), &ends);
}

#[tokio::test]
async fn a_maximum_secret_lifetime_is_renewed() {
    let server = Server::with_config("keys.max_secret_lifetime_seconds = 3600").await;
    let mut key = server.create_key("ci").await;
    let first = server.shown("ci").await["secrets"][0]["expiresAt"].as_str().unwrap().to_owned();
    assert!(
        first > in_future(Duration::from_mins(50)) && first < in_future(Duration::from_mins(61))
    );
    let mut last = first;
    for _ in 0..2 {
        let rotated = rotate_itself(&server, &key, json!({})).await.unwrap();
        let next = newest_expiry(&rotated).as_str().unwrap().to_owned();
        assert!(next > last, "{next}, {last}");
        (key, last) = (credentials(&rotated, &rotated["apiKey"]), next);
    }
    let beyond = json!({ "clientId": "ci", "expiresAt": in_future(Duration::from_mins(70)) });
    let outcome = server.keys("RotateSecret", beyond).await;
    refused(&outcome, "invalid_argument", &["expires_at", "max_secret_lifetime_seconds"]);
}

#[tokio::test]
async fn keys_have_a_default_and_maximum_lifetime() {
    let config = "keys.default_lifetime_seconds = 3600\nkeys.max_lifetime_seconds = 7200";
    let server = Server::with_config(config).await;
    for (name, created) in [
        ("apps", server.apps("Create", json!({ "clientId": "apps", "clientName": "apps" })).await),
        ("keys", server.keys("Create", json!({ "clientId": "keys" })).await),
    ] {
        created.unwrap();
        let expires_at = server.shown(name).await["expiresAt"].as_str().unwrap().to_owned();
        assert!(expires_at > in_future(Duration::from_mins(50)), "{expires_at}");
        assert!(expires_at < in_future(Duration::from_mins(61)), "{expires_at}");
    }
    let update = |at: Value| json!({ "apiKey": { "clientId": "keys", "expiresAt": at }, "updateMask": "expiresAt" });
    let within = json!(in_future(Duration::from_mins(110)));
    let beyond = json!(in_future(Duration::from_mins(130)));
    server.keys("Create", json!({ "clientId": "long", "expiresAt": within })).await.unwrap();
    server.keys("Update", update(within)).await.unwrap();
    for outcome in [
        server.keys("Create", json!({ "clientId": "beyond", "expiresAt": beyond })).await,
        server.keys("Update", update(beyond)).await,
        server.keys("Update", update(Value::Null)).await,
    ] {
        refused(&outcome, "invalid_argument", &["expires_at", "max_lifetime_seconds"]);
    }
}

/// Each change has an entry in the ledger, which keeps it.
#[tokio::test]
async fn a_key_cannot_rotate_itself_without_limit() {
    let server = Server::with_config("limits.own_changes_per_minute = 2").await;
    let mut key = server.create_key_with("bare", json!({ "withoutRole": true })).await;
    for _ in 0..2 {
        let rotated = rotate_itself(&server, &key, json!({})).await.unwrap();
        key = credentials(&rotated, &rotated["apiKey"]);
    }
    let outcome = rotate_itself(&server, &key, json!({})).await;
    refused(&outcome, "resource_exhausted", &["too often", "try again in"]);
    let token = server.token(&key).await;
    let headers = [("authorization", &*key.basic())];
    let revoked = server.http.form("/oauth2/revoke", &headers, &format!("token={token}")).await;
    assert_eq!(revoked.status, 429, "the same bucket");
    assert!(server.secret_works(&key).await && server.accepts(&token).await);
    server.keys("RotateSecret", json!({ "clientId": "bare" })).await.unwrap();
}
