//! `gatekey.v1.ApiKeyService`: roles, expiry, several dated secrets.

use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};

use super::{credentials, json::is_secret, refused};
use crate::support::{World, in_future};

impl World {
    /// The ids of a key's secrets, oldest first.
    async fn secret_ids(&self, client_id: &str) -> Vec<String> {
        let key = self.shown(client_id).await;
        let secrets = key["secrets"].as_array().unwrap();
        secrets.iter().map(|secret| secret["id"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn a_key_has_the_role_that_was_asked_for_and_is_a_contributor_without() {
    let world = World::start().await;
    for role in ["ROLE_ADMIN", "ROLE_CONTRIBUTOR", "ROLE_VIEWER", "ROLE_VERIFIER"] {
        world.create_key(json!({ "clientId": role, "role": role })).await;
        assert_eq!(world.shown(role).await["role"], role);
    }
    world.create_key(json!({ "clientId": "unsaid" })).await;
    assert_eq!(world.shown("unsaid").await["role"], "ROLE_CONTRIBUTOR");
    world.create_key(json!({ "clientId": "bare", "withoutRole": true })).await;
    assert_eq!(world.shown("bare").await["role"], Value::Null);
    let both = json!({ "clientId": "both", "withoutRole": true, "role": "ROLE_VIEWER" });
    refused(&world.keys("Create", both).await, "invalid_argument", &["without_role", "role"]);
    let unknown = json!({ "clientId": "both", "role": 5 });
    refused(&world.keys("Create", unknown).await, "invalid_argument", &["role", "5"]);
}

#[tokio::test]
async fn a_key_or_secret_cannot_be_made_to_expire_in_the_past() {
    let world = World::start().await;
    world.key("ci").await;
    for past in ["2001-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "1969-12-31T23:59:59.999999999Z"] {
        let outcome = world.keys("Create", json!({ "clientId": "new", "expiresAt": past })).await;
        refused(&outcome, "invalid_argument", &["expires_at", "future"]);
        let update = json!({ "apiKey": { "clientId": "ci", "expiresAt": past }, "updateMask": "expiresAt" });
        refused(&world.keys("Update", update).await, "invalid_argument", &["expires_at", "future"]);
        let outcome = world.keys("RotateSecret", json!({ "clientId": "ci", "expiresAt": past })).await;
        refused(&outcome, "invalid_argument", &["expires_at", "future"]);
    }
}

#[tokio::test]
async fn no_token_outlives_its_key_or_the_secret_that_fetched_it() {
    let world = World::start().await;
    let limited = world
        .create_key(json!({ "clientId": "limited", "expiresAt": in_future(Duration::from_secs(90)) }))
        .await;
    world.key("ci").await;
    let request = json!({ "clientId": "ci", "expiresAt": in_future(Duration::from_secs(90)) });
    let rotated = world.keys("RotateSecret", request).await.unwrap();
    for key in [limited, credentials(&rotated, &rotated["apiKey"])] {
        let expires_in = world.http.token(&key, &[]).await.json()["expires_in"].as_i64().unwrap();
        assert!((1..=90).contains(&expires_in), "{expires_in}");
    }
    let whole = world.key("whole").await;
    assert_eq!(world.http.token(&whole, &[]).await.json()["expires_in"], 3600);
}

#[tokio::test]
async fn the_public_wire_shows_when_the_newest_secret_or_its_key_expires() {
    let world = World::start().await;
    let shown = async || {
        let got = world.apps("Get", json!({ "clientId": "ci" })).await.unwrap();
        got["app"]["clientSecretExpiresAt"].clone()
    };
    world.create_key(json!({ "clientId": "ci" })).await;
    assert_eq!(shown().await, Value::Null);
    let rotate = json!({ "clientId": "ci", "expiresAt": "2998-01-01T00:00:00Z" });
    world.keys("RotateSecret", rotate).await.unwrap();
    assert_eq!(shown().await, "2998-01-01T00:00:00Z");
    for (key, expected) in
        [("2999-01-01T00:00:00Z", "2998-01-01T00:00:00Z"), ("2997-01-01T00:00:00Z", "2997-01-01T00:00:00Z")]
    {
        let update = json!({ "apiKey": { "clientId": "ci", "expiresAt": key }, "updateMask": "expiresAt" });
        world.keys("Update", update).await.unwrap();
        assert_eq!(shown().await, expected);
    }
}

#[tokio::test]
async fn update_changes_what_the_mask_names_alone() {
    let world = World::start().await;
    let expires_at = in_future(Duration::from_mins(15));
    world.create_key(json!({ "clientId": "ci", "role": "ROLE_VIEWER", "expiresAt": expires_at })).await;
    let before = world.shown("ci").await;
    let given = json!({
        "clientId": "ci",
        "clientName": "Renamed",
        "role": "ROLE_VERIFIER",
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
        let updated = world.keys("Update", update).await.unwrap()["apiKey"].clone();
        expected[field] = given[field].clone();
        expected["updatedAt"] = updated["updatedAt"].clone();
        assert_eq!(updated, expected, "{field}");
        assert_eq!(world.shown("ci").await, expected, "{field}");
    }
    let together = json!({
        "apiKey": { "clientId": "ci", "clientName": "Both", "role": "ROLE_ADMIN" },
        "updateMask": "clientName,role",
    });
    let updated = world.keys("Update", together).await.unwrap();
    assert_eq!(updated["apiKey"]["clientName"], "Both");
    assert_eq!(updated["apiKey"]["role"], "ROLE_ADMIN");
    assert_eq!(updated["apiKey"]["redirectUris"], json!(["https://ci.example.com/"]));
}

#[tokio::test]
async fn a_field_that_is_masked_and_left_empty_is_cleared_where_a_key_can_do_without() {
    let world = World::start().await;
    let made = json!({
        "clientId": "ci",
        "role": "ROLE_VIEWER",
        "expiresAt": in_future(Duration::from_mins(15)),
        "redirectUris": ["https://ci.example.com/"],
    });
    world.create_key(made).await;
    let empty = json!({ "apiKey": { "clientId": "ci" }, "updateMask": "role,expiresAt,redirectUris" });
    let updated = world.keys("Update", empty).await.unwrap()["apiKey"].clone();
    assert_eq!(updated["role"], Value::Null);
    assert_eq!(updated["expiresAt"], Value::Null);
    assert_eq!(updated["redirectUris"], json!(["http://localhost:8080/authorization-code/callback"]));
    let nameless = json!({ "apiKey": { "clientId": "ci" }, "updateMask": "clientName" });
    refused(&world.keys("Update", nameless).await, "invalid_argument", &["client_name", "empty"]);
}

#[tokio::test]
async fn a_mask_that_names_what_cannot_change_is_refused() {
    let world = World::start().await;
    world.key("ci").await;
    let before = world.shown("ci").await;
    let key = json!({ "clientId": "ci", "clientName": "Renamed", "epoch": "9", "role": "ROLE_ADMIN" });
    for mask in
        ["epoch", "clientId", "keyId", "secrets", "secrets.label", "organization", "grantTypes", "nope"]
    {
        for mask in [mask.to_owned(), format!("role,{mask}")] {
            let outcome = world.keys("Update", json!({ "apiKey": key, "updateMask": mask })).await;
            refused(&outcome, "invalid_argument", &["update_mask", "client_name"]);
        }
    }
    for request in [json!({ "apiKey": key }), json!({ "apiKey": key, "updateMask": "" })] {
        refused(&world.keys("Update", request).await, "invalid_argument", &["update_mask"]);
    }
    let keyless = world.keys("Update", json!({ "updateMask": "role" })).await;
    refused(&keyless, "invalid_argument", &["api_key"]);
    let unnamed = json!({ "apiKey": { "role": "ROLE_ADMIN" }, "updateMask": "role" });
    refused(&world.keys("Update", unnamed).await, "invalid_argument", &["client_id"]);
    assert_eq!(world.shown("ci").await, before);
}

#[tokio::test]
async fn a_role_counts_from_the_moment_it_is_given_and_no_longer_once_taken() {
    let world = World::start().await;
    let key = world.key("ci").await;
    let token = world.token(&key).await;
    let set = async |role: &str| {
        let update = json!({ "apiKey": { "clientId": "ci", "role": role }, "updateMask": "role" });
        world.keys("Update", update).await.unwrap();
    };
    refused(&world.keys_as(&token, "List", json!({})).await, "permission_denied", &[]);
    set("ROLE_ADMIN").await;
    assert!(world.keys_as(&token, "List", json!({})).await.is_ok());
    set("ROLE_VIEWER").await;
    refused(&world.keys_as(&token, "List", json!({})).await, "permission_denied", &[]);
    // Its tokens say `all`, which a key without a role may not have.
    set("ROLE_UNSPECIFIED").await;
    refused(&world.keys_as(&token, "List", json!({})).await, "unauthenticated", &[]);
    assert_eq!(world.http.token(&key, &[]).await.json()["scope"], "");
}

#[tokio::test]
async fn rotate_with_a_grace_keeps_the_old_secret_and_its_tokens() {
    let world = World::start().await;
    let old = world.key("ci").await;
    let token = world.token(&old).await;
    let new = world.rotate(&old, json!({ "grace": "86400s" })).await;
    assert!(is_secret(&new.client_secret));
    assert_ne!(old.client_secret, new.client_secret);
    assert!(world.secret_works(&old).await && world.secret_works(&new).await);
    assert!(world.lives(&token).await);
    let key = world.shown("ci").await;
    assert!(key["secrets"][0]["expiresAt"].is_string());
    assert_eq!(key["secrets"][1]["expiresAt"], Value::Null);
}

#[tokio::test]
async fn rotate_without_a_grace_kills_old_secrets_and_tokens_at_once() {
    let world = World::start().await;
    let first = world.key("ci").await;
    let second = world.rotate(&first, json!({ "grace": "86400s" })).await;
    let tokens = [world.token(&first).await, world.token(&second).await];
    let new = world.rotate(&first, json!({ "grace": "0s" })).await;
    for token in &tokens {
        assert!(!world.lives(token).await);
    }
    assert!(!world.secret_works(&first).await && !world.secret_works(&second).await);
    assert!(world.secret_works(&new).await);
    assert_eq!(world.shown("ci").await["epoch"], "2");
}

#[tokio::test]
async fn a_second_rotation_does_not_lengthen_the_first_grace() {
    let world = World::start().await;
    let ci = world.key("ci").await;
    world.rotate(&ci, json!({ "grace": "60s" })).await;
    let first = world.shown("ci").await["secrets"][0].clone();
    world.rotate(&ci, json!({ "grace": "86400s" })).await;
    assert_eq!(world.shown("ci").await["secrets"][0], first);
}

#[tokio::test]
async fn a_grace_is_zero_to_ninety_days() {
    let world = World::start().await;
    let ci = world.key("ci").await;
    world.rotate(&ci, json!({ "grace": "7776000s" })).await;
    for (grace, words) in [
        ("7776000.000000001s", ["grace", "90 days"]),
        ("7776001s", ["grace", "90 days"]),
        ("315576000000s", ["grace", "90 days"]),
        ("-1s", ["grace", "negative"]),
        ("-0.5s", ["grace", "negative"]),
    ] {
        let outcome = world.keys("RotateSecret", json!({ "clientId": "ci", "grace": grace })).await;
        refused(&outcome, "invalid_argument", &words);
    }
    assert_eq!(world.secret_ids("ci").await.len(), 2);
}

#[tokio::test]
async fn an_eleventh_secret_is_refused_until_one_is_retired() {
    let world = World::start().await;
    let first = world.key("ci").await;
    for _ in 0..9 {
        world.rotate(&first, json!({ "grace": "86400s" })).await;
    }
    let more = json!({ "clientId": "ci", "grace": "86400s" });
    let outcome = world.keys("RotateSecret", more.clone()).await;
    refused(&outcome, "failed_precondition", &["ci", "10 secrets", "retire"]);
    assert!(world.secret_works(&first).await);
    let ids = world.secret_ids("ci").await;
    assert_eq!(ids.len(), 10);
    world.keys("RetireSecret", json!({ "clientId": "ci", "secretId": ids[0] })).await.unwrap();
    world.keys("RotateSecret", more).await.unwrap();
    // Without a grace there is always room.
    let last = world.rotate(&first, json!({ "grace": "0s" })).await;
    assert!(world.secret_works(&last).await);
}

#[tokio::test]
async fn rotations_at_the_same_time_never_exceed_ten_secrets() {
    let world = World::start().await;
    world.key("ci").await;
    let rotate = || world.keys("RotateSecret", json!({ "clientId": "ci", "grace": "86400s" }));
    let outcomes = join_all((0..20).map(|_| rotate())).await;
    let (done, refusals): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!(done.len(), 9);
    for refusal in &refusals {
        refused(refusal, "failed_precondition", &["10 secrets"]);
    }
    for rotated in done {
        let rotated = rotated.unwrap();
        assert!(world.secret_works(&credentials(&rotated, &rotated["apiKey"])).await);
    }
}

#[tokio::test]
async fn retiring_kills_that_secret_and_the_tokens_it_fetched_and_no_other() {
    let world = World::start().await;
    let first = world.key("ci").await;
    let second = world.rotate(&first, json!({ "grace": "86400s" })).await;
    let (first_token, second_token) = (world.token(&first).await, world.token(&second).await);
    let ids = world.secret_ids("ci").await;
    world.keys("RetireSecret", json!({ "clientId": "ci", "secretId": ids[0] })).await.unwrap();
    assert!(!world.secret_works(&first).await);
    assert!(!world.lives(&first_token).await);
    assert!(world.secret_works(&second).await);
    assert!(world.lives(&second_token).await);
}

#[tokio::test]
async fn a_secret_of_another_key_cannot_be_retired_by_this_ones_name() {
    let world = World::start().await;
    world.key("ci").await;
    let other = world.key("other").await;
    let ids = world.secret_ids("other").await;
    for secret_id in [ids[0].as_str(), "", "nope", &"a".repeat(1000), "\u{7}"] {
        let outcome = world.keys("RetireSecret", json!({ "clientId": "ci", "secretId": secret_id })).await;
        refused(&outcome, "not_found", &["ci"]);
        assert!(outcome.unwrap_err().message.len() < 300);
    }
    assert!(world.secret_works(&other).await);
}

#[tokio::test]
async fn disable_refuses_secret_and_tokens_and_enable_admits_the_secret_again() {
    let world = World::start().await;
    let key = world.key("ci").await;
    let token = world.token(&key).await;
    let disabled = world.keys("Disable", json!({ "clientId": "ci" })).await.unwrap();
    assert!(disabled["apiKey"]["disabledAt"].is_string());
    assert!(!world.secret_works(&key).await);
    assert!(!world.lives(&token).await);
    let again = world.keys("Disable", json!({ "clientId": "ci" })).await.unwrap();
    assert_eq!(again, disabled);
    let enabled = world.keys("Enable", json!({ "clientId": "ci" })).await.unwrap();
    assert_eq!(enabled["apiKey"]["disabledAt"], Value::Null);
    assert!(world.secret_works(&key).await);
    assert!(!world.lives(&token).await, "a token from before stays dead");
    assert_eq!(world.keys("Enable", json!({ "clientId": "ci" })).await.unwrap(), enabled);
}

#[tokio::test]
async fn encoded_credentials_hold_endpoint_client_id_secret_and_organization() {
    for (organization, said) in [("", "None"), ("acme", "acme")] {
        let world = World::with_flags(&["--organization", organization]).await;
        let created = world.keys("Create", json!({ "clientId": "ci" })).await.unwrap();
        let rotated = world.keys("RotateSecret", json!({ "clientId": "ci" })).await.unwrap();
        for shown in [created, rotated] {
            use base64::{Engine as _, prelude::BASE64_STANDARD};
            let encoded = shown["encodedCredentials"].as_str().unwrap();
            let decoded = String::from_utf8(BASE64_STANDARD.decode(encoded).unwrap()).unwrap();
            let secret = shown["clientSecret"].as_str().unwrap();
            assert_eq!(decoded, format!("{}:ci:{secret}:{said}", world.server.endpoint()));
        }
    }
}

#[tokio::test]
async fn a_secrets_label_is_kept_and_at_most_two_hundred_characters_long() {
    let world = World::start().await;
    world.create_key(json!({ "clientId": "ci", "secretLabel": "läptop" })).await;
    let label = "\u{1f511}".repeat(200);
    let request = json!({ "clientId": "ci", "grace": "60s", "secretLabel": label });
    world.keys("RotateSecret", request).await.unwrap();
    let key = world.shown("ci").await;
    assert_eq!(key["secrets"][0]["label"], "läptop");
    assert_eq!(key["secrets"][1]["label"], label);
    for bad in ["x".repeat(201), "line\nbreak".to_owned()] {
        let outcome = world.keys("Create", json!({ "clientId": "new", "secretLabel": bad })).await;
        refused(&outcome, "invalid_argument", &["secret_label"]);
        let outcome = world.keys("RotateSecret", json!({ "clientId": "ci", "secretLabel": bad })).await;
        refused(&outcome, "invalid_argument", &["secret_label"]);
    }
}

#[tokio::test]
async fn when_a_secret_was_last_used_is_known_after_a_restart() {
    let mut world = World::lasting().await;
    let key = world.key("ci").await;
    world.token(&key).await;
    world.restart().await;
    let secret = world.shown("ci").await["secrets"][0].clone();
    assert!(secret["lastUsedAt"].as_str() >= secret["createdAt"].as_str(), "{secret}");
    assert!(world.secret_works(&key).await);
}
