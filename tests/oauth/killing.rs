//! What kills tokens at once: disable, delete, rotate and retire.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::GRANT;
use crate::support::{World, decoded, raw};

#[tokio::test]
async fn disabling_a_key_kills_its_tokens_at_once_and_enabling_revives_none() {
    let world = World::start().await;
    let key = world.key("ci").await;
    let token = world.token(&key).await;
    assert!(world.lives(&token).await);
    world.admin("Disable", json!({ "clientId": "ci" })).await;
    assert!(!world.lives(&token).await);
    assert_eq!(world.ask(&key, GRANT).await.status, 401);
    world.admin("Enable", json!({ "clientId": "ci" })).await;
    assert!(!world.lives(&token).await, "enabling revives no token");
    assert!(world.lives(&world.token(&key).await).await, "the secret is good again");
}

#[tokio::test]
async fn deleting_a_key_kills_its_tokens_at_once() {
    let world = World::start().await;
    let key = world.key("ci").await;
    let token = world.token(&key).await;
    world.admin("Delete", json!({ "clientId": "ci" })).await;
    assert!(!world.lives(&token).await);
    assert_eq!(world.ask(&key, GRANT).await.status, 401);
}

#[tokio::test]
async fn a_key_made_again_does_not_revive_the_tokens_of_the_first() {
    let world = World::start().await;
    let first = world.key("ci").await;
    let token = world.token(&first).await;
    world.admin("Delete", json!({ "clientId": "ci" })).await;
    let second = world.key("ci").await;
    assert_ne!(first.client_secret, second.client_secret);
    assert!(!world.lives(&token).await);
    assert_eq!(world.ask(&first, GRANT).await.status, 401);
    assert!(world.lives(&world.token(&second).await).await);
}

#[tokio::test]
async fn rotating_without_grace_kills_the_old_secret_and_every_token() {
    let world = World::start().await;
    let old = world.key("ci").await;
    let token = world.token(&old).await;
    let new = world.rotate(&old, json!({})).await;
    assert!(!world.lives(&token).await);
    assert_eq!(world.ask(&old, GRANT).await.status, 401);
    assert!(world.lives(&world.token(&new).await).await);
}

#[tokio::test]
async fn rotating_with_a_grace_keeps_secret_and_tokens() {
    let world = World::start().await;
    let old = world.key("ci").await;
    let token = world.token(&old).await;
    let new = world.rotate(&old, json!({ "grace": "86400s" })).await;
    assert!(world.lives(&token).await);
    assert!(world.lives(&world.token(&old).await).await);
    assert!(world.lives(&world.token(&new).await).await);
}

#[tokio::test]
async fn retiring_a_secret_kills_the_tokens_that_it_fetched_alone() {
    let world = World::start().await;
    let old = world.key("ci").await;
    let new = world.rotate(&old, json!({ "grace": "86400s" })).await;
    let (of_old, of_new) = (world.token(&old).await, world.token(&new).await);
    let key = world.admin("Get", json!({ "clientId": "ci" })).await["apiKey"].clone();
    let retire = json!({ "clientId": "ci", "secretId": key["secrets"][0]["id"] });
    world.admin("RetireSecret", retire).await;
    assert!(!world.lives(&of_old).await);
    assert!(world.lives(&of_new).await);
    assert_eq!(world.ask(&old, GRANT).await.status, 401);
}

#[tokio::test]
async fn another_role_is_the_right_of_tokens_that_are_out_as_well() {
    let world = World::start().await;
    let key = world.key_with("second", json!({ "role": "ROLE_ADMIN" })).await;
    let token = world.token(&key).await;
    let list = "/gatekey.v1.ApiKeyService/List";
    assert_eq!(world.http.connect_json(list, &token, &json!({})).await.status, 200);
    let update = json!({ "apiKey": { "clientId": "second", "role": "ROLE_VIEWER" }, "updateMask": "role" });
    world.admin("Update", update).await;
    assert_eq!(world.http.connect_json(list, &token, &json!({})).await.status, 403);
    assert!(world.lives(&token).await, "the token itself is still good");
}

#[tokio::test]
async fn taking_the_role_away_kills_the_tokens_that_say_all() {
    let world = World::start().await;
    let key = world.key("ci").await;
    let token = world.token(&key).await;
    world.admin("Update", json!({ "apiKey": { "clientId": "ci" }, "updateMask": "role" })).await;
    assert!(!world.lives(&token).await);
    let token = world.token(&key).await;
    assert!(world.lives(&token).await);
    assert_eq!(decoded(&token).1["scp"], json!([]));
}

#[tokio::test]
async fn a_key_that_goes_while_its_request_arrives_is_refused() {
    let world = World::start().await;
    for (path, content_type, body) in [
        ("/gatekey.v1.ApiKeyService/List", "application/json", "{}".to_owned()),
        ("/oauth2/introspect", "application/x-www-form-urlencoded", format!("token={}", world.admin_token)),
    ] {
        let name = format!("slow{}", body.len());
        let key = world.key_with(&name, json!({ "role": "ROLE_ADMIN" })).await;
        let authorization = format!("authorization: Bearer {}", world.token(&key).await);
        let content_type = format!("content-type: {content_type}");
        let headers = [&*authorization, &content_type, "connection: close"];
        // Whoever calls was found good.
        let mut stream = raw::begin(&world.server, path, &headers, body.len()).await;
        world.admin("Disable", json!({ "clientId": name })).await;
        stream.write_all(body.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 401 "), "{path}: {answer}");
    }
}

#[tokio::test]
async fn what_was_killed_stays_dead_after_kill_9() {
    let mut world = World::lasting().await;
    let (disabled, deleted, rotated) =
        (world.key("disabled").await, world.key("deleted").await, world.key("rotated").await);
    let mut dead = Vec::new();
    for key in [&disabled, &deleted, &rotated] {
        dead.push(world.token(key).await);
    }
    world.admin("Disable", json!({ "clientId": "disabled" })).await;
    world.admin("Delete", json!({ "clientId": "deleted" })).await;
    world.rotate(&rotated, json!({})).await;
    world.kill_and_restart();
    for token in dead {
        assert!(!world.lives(&token).await);
    }
    for key in [&disabled, &deleted, &rotated] {
        assert_eq!(world.ask(key, GRANT).await.status, 401);
    }
}

#[tokio::test]
async fn a_token_issued_before_a_restart_works_after_it() {
    let mut world = World::lasting().await;
    let key = world.key("ci").await;
    let token = world.token(&key).await;
    world.restart().await;
    assert!(world.lives(&token).await);
    world.kill_and_restart();
    assert!(world.lives(&token).await);
    assert!(world.lives(&world.token(&key).await).await);
}
