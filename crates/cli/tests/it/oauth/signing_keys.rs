//! The keys that sign, and their rotation.

use super::{jwks, verified};
use crate::{
    support::{Server, run},
    world::{PUBLIC_URL, World, decoded},
};

/// Runs `gatekey signing-key rotate` on a server's data directory, and gives the new key's id.
fn rotate(world: &World) -> String {
    let output = run(&["signing-key", "rotate", "--data-dir", world.server.data_dir.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

fn kid(token: &str) -> String {
    decoded(token).0["kid"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn rotating_while_serving_keeps_old_tokens_and_signs_new_ones_with_the_new_key() {
    let world = World::start().await;
    let key = world.key("ci").await;
    let old = world.token(&key).await;
    let kid_of_new = rotate(&world);
    let new = world.token(&key).await;
    assert_ne!(kid(&old), kid_of_new);
    assert_eq!(kid(&new), kid_of_new);
    assert!(world.lives(&old).await && world.lives(&new).await);
    let mut published: Vec<_> = jwks(&world.http).await.into_iter().map(|jwk| jwk.kid).collect();
    let mut expected = vec![kid(&old), kid_of_new];
    published.sort();
    expected.sort();
    assert_eq!(published, expected);
    for token in [&old, &new] {
        assert_eq!(verified(&world.http, token).await["sub"], "ci");
    }
}

#[tokio::test]
async fn a_rotation_survives_kill_9() {
    let mut world = World::lasting().await;
    let old = world.admin_token.clone();
    let kid_of_new = rotate(&world);
    world.kill_and_restart();
    assert!(world.lives(&old).await);
    assert_eq!(kid(&world.token(&world.admin).await), kid_of_new);
    assert_eq!(jwks(&world.http).await.len(), 2);
}

#[tokio::test]
async fn a_rotation_while_nothing_serves_counts_from_the_next_start() {
    let mut world = World::lasting().await;
    let old = world.admin_token.clone();
    assert!(world.server.stop().await.success());
    let kid_of_new = rotate(&world);
    world.kill_and_restart();
    assert!(world.lives(&old).await);
    assert_eq!(kid(&world.token(&world.admin).await), kid_of_new);
}

#[tokio::test]
async fn another_configured_algorithm_signs_from_the_next_start_and_old_tokens_live_on() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let config = directory.path().join("gatekey.toml");
    let mut admin = None;
    let mut tokens: Vec<String> = Vec::new();
    for algorithm in ["ES256", "RS256", "EdDSA"] {
        let settings = format!("signing_algorithm = \"{algorithm}\"\npublic_url = \"{PUBLIC_URL}\"");
        std::fs::write(&config, settings).unwrap();
        let mut server = Server::start_on(&data_dir, &["--config", config.to_str().unwrap()]);
        let admin = admin.get_or_insert_with(|| server.init());
        let token = server.token(admin).await;
        assert_eq!(decoded(&token).0["alg"], algorithm);
        tokens.push(token);
        let http = server.http();
        for token in &tokens {
            let bearer = format!("Bearer {token}");
            assert_eq!(http.get("/me", &[("authorization", &bearer)]).await.status, 200, "{algorithm}");
            assert_eq!(verified(&http, token).await["sub"], "admin");
        }
        assert!(server.stop().await.success());
    }
}
