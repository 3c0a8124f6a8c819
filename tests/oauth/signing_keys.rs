//! Signing keys and their rotation.

use std::{path::Path, sync::Arc, time::Duration};

use gatekey_core::{
    Actor, Caller, Directory, Env,
    ledger::{Action, NewEntry},
    signing_key::{SealedSigningKey, SigningKeyAdded},
    store::SigningKeyStore as _,
};
use gatekey_credentials::jwt::{Algorithm, SigningKey};
use gatekey_store::SqliteStore;

use super::{jwks, verified};
use crate::support::{Credentials, PUBLIC_URL, Server, ServerProcess, decoded, root_key, run};

/// Runs `gatekey signing-key rotate` on a server's data directory, and returns the new key's id.
fn rotate_with(server: &Server, flags: &[&str]) -> String {
    let output = signing_key(server, &[&["rotate"], flags].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// Rotates the key that signs at once.
fn rotate(server: &Server) -> String {
    rotate_with(server, &["--now"])
}

/// The ids of the published keys.
async fn published(server: &Server) -> Vec<String> {
    jwks(&server.http).await.into_iter().map(|jwk| jwk.kid).collect()
}

/// A verifier that has cached the JWKS would refuse the new key's tokens.
#[tokio::test]
async fn a_rotated_signing_key_only_signs_later() {
    let mut server = Server::with_public_url().await;
    let old = kid(&server.admin_token);
    let next = rotate_with(&server, &[]);
    assert_eq!(published(&server).await, [old.clone(), next.clone()]);
    let states = [(old.clone(), "signs".to_owned()), (next.clone(), "next".to_owned())];
    for restarts in 0..2 {
        assert_eq!(kid(&server.token(&server.admin).await), old);
        assert_eq!(listed(&server), states);
        let again = signing_key(&server, &["rotate"]);
        assert_eq!(again.status.code(), Some(2));
        let stderr = String::from_utf8(again.stderr).unwrap();
        assert!(stderr.contains(&next) && stderr.contains("--now"), "{stderr}");
        assert_eq!(published(&server).await.len(), 2, "after {restarts} restarts");
        server.kill_and_restart();
    }
}

#[tokio::test]
async fn rotating_now_reports_its_cost() {
    let server = Server::start().await;
    let old = kid(&server.admin_token);
    let output = signing_key(&server, &["rotate", "--now"]);
    let (new, stderr) = (output.stdout.trim_ascii_end(), String::from_utf8(output.stderr).unwrap());
    let new = String::from_utf8(new.to_vec()).unwrap();
    assert_eq!(kid(&server.token(&server.admin).await), new);
    assert!(stderr.contains("cache the JWKS") && stderr.contains("5 minutes"), "{stderr}");
    assert_eq!(published(&server).await, [old, new]);
}

/// It may have leaked together with the key that signs.
#[tokio::test]
async fn rotating_now_withdraws_the_next_key() {
    let server = Server::start().await;
    let old = kid(&server.admin_token);
    let next = rotate_with(&server, &[]);
    let new = rotate(&server);
    assert_eq!(published(&server).await, [old.clone(), new.clone()]);
    let states = [(old, "published"), (next, "retired"), (new, "signs")];
    assert_eq!(listed(&server), states.map(|(kid, state)| (kid, state.to_owned())));
}

#[tokio::test]
async fn the_next_signing_key_can_be_withdrawn() {
    let server = Server::start().await;
    let old = kid(&server.admin_token);
    let next = rotate_with(&server, &[]);
    assert!(signing_key(&server, &["retire", &next]).status.success());
    assert_eq!(published(&server).await, std::slice::from_ref(&old));
    assert_eq!(kid(&server.token(&server.admin).await), old);
    assert_ne!(rotate_with(&server, &[]), next, "another one can follow");
}

/// The state is in the database, so a backup has it.
#[tokio::test]
async fn a_restored_server_keeps_the_next_key() {
    let server = Server::with_public_url().await;
    let (old, next) = (kid(&server.admin_token), rotate_with(&server, &[]));
    let path = |name: &str| server.process.data_dir.with_file_name(name);
    let (backup, restored) = (path("backup"), path("restored"));
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let data_dir = text(&server.process.data_dir);
    let root_key = text(&server.process.data_dir.join("root.key"));
    for command in [
        vec!["backup", &text(&backup), "--data-dir", &data_dir],
        vec![
            "restore",
            &text(&backup),
            "--data-dir",
            &text(&restored),
            "--root-key-file",
            &root_key,
        ],
    ] {
        let output = run(&command);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let list = ["signing-key", "list", "--output", "json", "--root-key-file", &root_key];
    let output = run(&[&list[..], &["--data-dir", &text(&restored)]].concat());
    let keys: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let states: Vec<_> =
        keys.as_array().unwrap().iter().map(|key| [&key["kid"], &key["state"]]).collect();
    assert_eq!(serde_json::json!(states), serde_json::json!([[old, "signs"], [next, "next"]]));
}

fn kid(token: &str) -> String {
    decoded(token).0["kid"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_rotated_signing_key_keeps_tokens_valid() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let old = server.token(&key).await;
    let kid_of_new = rotate(&server);
    let new = server.token(&key).await;
    assert_ne!(kid(&old), kid_of_new);
    assert_eq!(kid(&new), kid_of_new);
    assert!(server.accepts(&old).await && server.accepts(&new).await);
    let mut published: Vec<_> = jwks(&server.http).await.into_iter().map(|jwk| jwk.kid).collect();
    let mut expected = vec![kid(&old), kid_of_new];
    published.sort();
    expected.sort();
    assert_eq!(published, expected);
    for token in [&old, &new] {
        assert_eq!(verified(&server.http, token).await["sub"], "ci");
    }
}

#[tokio::test]
async fn a_signing_key_rotation_survives_kill_9() {
    let mut server = Server::with_public_url().await;
    let old = server.admin_token.clone();
    let kid_of_new = rotate(&server);
    server.kill_and_restart();
    assert!(server.accepts(&old).await);
    assert_eq!(kid(&server.token(&server.admin).await), kid_of_new);
    assert_eq!(jwks(&server.http).await.len(), 2);
}

#[tokio::test]
async fn an_offline_rotation_applies_at_next_start() {
    let mut server = Server::with_public_url().await;
    let old = server.admin_token.clone();
    assert!(server.process.stop().await.success());
    let kid_of_new = rotate(&server);
    server.kill_and_restart();
    assert!(server.accepts(&old).await);
    assert_eq!(kid(&server.token(&server.admin).await), kid_of_new);
}

/// Makes a new signing key the current one, as if it had been created in the past.
async fn plant_signing_key(data_dir: &Path, kid: &str, age: Duration) {
    let (root_key, env) = (root_key(data_dir), Env::system());
    let database = data_dir.join("gatekey.db");
    let observer = Arc::<Directory>::default();
    let store = SqliteStore::open(&database, &root_key, observer).unwrap();
    let private = SigningKey::generate(Algorithm::ES256).unwrap();
    let key = SealedSigningKey {
        sealed: root_key.seal(&env, &format!("signing key {kid}"), &private),
        kid: kid.to_owned(),
        algorithm: Algorithm::ES256,
        created_at: env.now().before(age),
        signs_from: env.now().before(age),
        published_until: None,
        high_s_until: None,
    };
    let caller = Caller {
        actor: Actor::Local { uid: 0 },
        request_id: String::new(),
        peer: String::new(),
        user_agent: String::new(),
    };
    let entry = NewEntry::new(
        env.now(),
        &caller,
        Action::SigningKeyRotate { algorithm: Algorithm::ES256, is_next: false },
        kid,
    );
    let stored = store.signing_keys().await.unwrap();
    let (after, until) =
        (stored.last().map(|last| &*last.kid), env.now().after(Duration::from_hours(1)));
    let added = store.rotate_signing_key(key, after, until, entry).await.unwrap();
    assert_eq!(added, SigningKeyAdded::Done);
}

/// The next key is published in time.
#[tokio::test]
async fn an_aged_signing_key_gets_a_successor() {
    let mut server = Server::with_config(&format!(
        "keys.signing_key_max_age_seconds = 3600\nkeys.signing_key_publish_ahead_seconds = 600\n\
         server.public_url = \"{PUBLIC_URL}\""
    ))
    .await;
    for (planted, minutes, successors) in [("young", 49, 0), ("old", 51, 1)] {
        assert!(server.process.stop().await.success());
        plant_signing_key(&server.process.data_dir, planted, Duration::from_mins(minutes)).await;
        server.kill_and_restart();
        // Logged right after the key's age was checked.
        server.process.wait_for_log("ledger head");
        let token = server.token(&server.admin).await;
        assert_eq!(kid(&token), planted);
        let next = listed(&server).into_iter().filter(|(_, state)| state == "next").count();
        assert_eq!(next, successors, "{planted}");
        assert!(server.accepts(&token).await && server.accepts(&server.admin_token).await);
        let by_the_clock =
            server.ledger().await.iter().filter(|entry| entry.actor == "server").count();
        assert_eq!(by_the_clock, successors, "and has an entry");
    }
}

/// Tokens of the previous algorithm stay valid, and `--now` switches at once.
#[tokio::test]
async fn a_new_algorithm_is_published_before_it_signs() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let config = directory.path().join("gatekey.toml");
    let mut admin = None;
    let mut tokens: Vec<String> = Vec::new();
    let mut signed = "ES256";
    for algorithm in ["ES256", "RS256", "EdDSA"] {
        let settings = format!(
            "keys.signing_algorithm = \"{algorithm}\"\nserver.public_url = \"{PUBLIC_URL}\""
        );
        std::fs::write(&config, settings).unwrap();
        let mut server =
            ServerProcess::start_on(&data_dir, &["--config", config.to_str().unwrap()]);
        let admin = admin.get_or_insert_with(|| server.init());
        let http = server.http();
        assert_eq!(decoded(&server.token(admin).await).0["alg"], signed);
        let discovery = http.get("/.well-known/openid-configuration", &[]).await.json();
        let advertised = &discovery["id_token_signing_alg_values_supported"];
        for used in [signed, algorithm] {
            assert!(advertised.as_array().unwrap().contains(&used.into()), "{advertised}");
        }
        if signed != algorithm {
            let now = ["signing-key", "rotate", "--now", "--data-dir", data_dir.to_str().unwrap()];
            assert!(run(&now).status.success());
            signed = algorithm;
        }
        let token = server.token(admin).await;
        assert_eq!(decoded(&token).0["alg"], algorithm);
        tokens.push(token);
        for token in &tokens {
            let bearer = format!("Bearer {token}");
            assert_eq!(
                http.get("/me", &[("authorization", &bearer)]).await.status,
                200,
                "{algorithm}"
            );
            assert_eq!(verified(&http, token).await["sub"], "admin");
        }
        assert!(server.stop().await.success());
    }
}

/// Nobody has fetched a key of a server that never ran.
#[tokio::test]
async fn the_first_start_signs_with_the_configured_algorithm() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let made = run(&["init", "--data-dir", data_dir.to_str().unwrap()]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let config = directory.path().join("gatekey.toml");
    std::fs::write(&config, "keys.signing_algorithm = \"RS256\"").unwrap();
    let server = ServerProcess::start_on(&data_dir, &["--config", config.to_str().unwrap()]);
    let init = run(&[
        "init",
        "--name",
        "other",
        "--output",
        "json",
        "--data-dir",
        data_dir.to_str().unwrap(),
    ]);
    let made: serde_json::Value = serde_json::from_slice(&init.stdout).unwrap();
    let key = Credentials {
        client_id: "other".to_owned(),
        client_secret: made["client_secret"].as_str().unwrap().to_owned(),
    };
    assert_eq!(decoded(&server.token(&key).await).0["alg"], "RS256");
}

fn signing_key(server: &Server, words: &[&str]) -> std::process::Output {
    let data_dir = server.process.data_dir.to_str().unwrap();
    run(&[&["signing-key"], words, &["--data-dir", data_dir]].concat())
}

/// Kid and state of every signing key.
fn listed(server: &Server) -> Vec<(String, String)> {
    let output = signing_key(server, &["list", "--output", "json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let keys: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |key: &serde_json::Value, name: &str| key[name].as_str().unwrap().to_owned();
    keys.as_array().unwrap().iter().map(|key| (text(key, "kid"), text(key, "state"))).collect()
}

/// Whether or not the server is running.
#[tokio::test]
async fn the_list_shows_each_signing_keys_state() {
    let mut server = Server::with_public_url().await;
    let old = kid(&server.admin_token);
    let new = rotate(&server);
    let expected = [(old.clone(), "published".to_owned()), (new.clone(), "signs".to_owned())];
    assert_eq!(listed(&server), expected);
    let text = String::from_utf8(signing_key(&server, &["list"]).stdout).unwrap();
    assert!(text.contains(&old) && text.contains(&new) && text.contains("ES256"), "{text}");
    assert!(server.process.stop().await.success());
    assert_eq!(listed(&server), expected);
}

/// The ledger has an entry for it.
#[tokio::test]
async fn retiring_a_signing_key_revokes_its_tokens() {
    let mut server = Server::with_public_url().await;
    let old = server.admin_token.clone();
    rotate(&server);
    let new = server.token(&server.admin).await;
    assert!(server.accepts(&old).await);
    assert!(signing_key(&server, &["retire", &kid(&old)]).status.success());
    assert!(!server.accepts(&old).await);
    assert!(server.accepts(&new).await);
    assert_eq!(
        jwks(&server.http).await.iter().map(|jwk| &*jwk.kid).collect::<Vec<_>>(),
        [kid(&new)]
    );
    let entry = server.ledger().await.pop().unwrap();
    assert_eq!((&*entry.action, entry.target), ("signing_key.retire", kid(&old)));
    assert_eq!(listed(&server)[0].1, "retired");
    server.kill_and_restart();
    assert!(!server.accepts(&old).await && server.accepts(&new).await);
}

/// Also rejects a key that does not exist.
#[tokio::test]
async fn the_current_signing_key_cannot_be_retired() {
    let server = Server::start().await;
    let refused = signing_key(&server, &["retire", &kid(&server.admin_token)]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("rotate first"), "{refused:?}");
    assert_eq!(signing_key(&server, &["retire", "nope"]).status.code(), Some(3));
    assert!(server.accepts(&server.admin_token).await);
}
