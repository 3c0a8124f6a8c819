//! The verifier of `gatekey-client`, with tokens from a real server.

use std::time::{Duration, SystemTime};

use gatekey_client::{Algorithm, Rejection, Verifier, VerifierBuilder, VerifyError, blocking};
use serde_json::json;

use crate::support::{Server, ServerProcess, decoded, run};

/// A verifier for a server's tokens.
fn verifier_for(server: &ServerProcess) -> VerifierBuilder {
    Verifier::builder(&server.url, &server.url).ca_file(server.ca_file())
}

fn rotate_signing_key(server: &ServerProcess) {
    let rotated =
        run(&["signing-key", "rotate", "--now", "--data-dir", server.data_dir.to_str().unwrap()]);
    assert!(rotated.status.success(), "{}", String::from_utf8_lossy(&rotated.stderr));
}

async fn rejected(verifier: &Verifier, token: &str) -> Rejection {
    match verifier.verify(token).await {
        Err(VerifyError::Rejected(why)) => why,
        other => panic!("not rejected: {other:?}"),
    }
}

/// How often clients fetched the server's keys.
async fn key_fetches(mut server: ServerProcess) -> usize {
    assert!(server.stop().await.success());
    server.log().iter().filter(|line| line["path"] == "/oauth2/jwks").count()
}

/// The verifier also returns all of their claims.
#[tokio::test]
async fn tokens_of_every_algorithm_are_verified() {
    for algorithm in Algorithm::ALL {
        let server = Server::with_config(&format!(
            "keys.signing_algorithm = \"{algorithm}\"\nserver.organization = \"acme\""
        ))
        .await;
        let key = server.create_key("ci").await;
        let token = server.token(&key).await;
        let verifier = verifier_for(&server.process).algorithms([algorithm]).build().unwrap();
        let claims = verifier.verify(&token).await.unwrap();
        assert_eq!(
            (&*claims.iss, &*claims.sub, &*claims.client_id),
            (&*server.process.url, "ci", "ci")
        );
        assert_eq!(claims.aud, [&*server.process.url]);
        assert_eq!(claims.scopes().collect::<Vec<_>>(), ["all"]);
        assert_eq!(serde_json::to_value(&claims).unwrap(), decoded(&token).1, "no claim is lost");
        assert_eq!(claims.other["org"], json!("acme"));
        let others = Algorithm::ALL.into_iter().filter(|other| *other != algorithm);
        let verifier = verifier_for(&server.process).algorithms(others).build().unwrap();
        assert_eq!(rejected(&verifier, &token).await, Rejection::Algorithm);
    }
}

#[tokio::test]
async fn another_issuer_or_audience_is_rejected() {
    let server = Server::with_config(
        r#"tokens.audiences = ["https://flyte.example.com", "https://b.example.com"]"#,
    )
    .await;
    let process = &server.process;
    let parameters = [("audience", "https://flyte.example.com")];
    let response = server.http.token(&server.admin, &parameters).await.json();
    let token = response["access_token"].as_str().unwrap();
    let with =
        |audience: &str| Verifier::builder(&process.url, audience).ca_file(process.ca_file());
    assert!(with("https://flyte.example.com").build().unwrap().verify(token).await.is_ok());
    let several =
        with("https://a.example.com").audience("https://flyte.example.com").build().unwrap();
    assert!(several.verify(token).await.is_ok());
    for other in
        ["https://b.example.com", "https://flyte.example.com/", "flyte.example.com", &process.url]
    {
        let verifier = with(other).build().unwrap();
        assert_eq!(rejected(&verifier, token).await, Rejection::WrongAudience, "{other}");
    }
    let keys = format!("{}/oauth2/jwks", process.url);
    let stranger = Verifier::builder("https://keys.example.com", "https://flyte.example.com")
        .jwks_uri(keys)
        .ca_file(process.ca_file())
        .build()
        .unwrap();
    assert_eq!(rejected(&stranger, token).await, Rejection::WrongIssuer);
}

#[tokio::test]
async fn the_verifiers_clock_checks_the_dates() {
    let server = Server::start().await;
    let (_, claims) = decoded(&server.admin_token);
    let seconds = |claim: &str| claims[claim].as_u64().unwrap();
    let at = |second: u64, leeway: u64| {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        verifier_for(&server.process)
            .clock(move || now)
            .leeway(Duration::from_secs(leeway))
            .build()
            .unwrap()
    };
    let (exp, nbf) = (seconds("exp"), seconds("nbf"));
    for (second, leeway) in [(nbf, 0), (exp - 1, 0), (exp + 9, 10), (nbf - 10, 10)] {
        assert!(at(second, leeway).verify(&server.admin_token).await.is_ok(), "{second} {leeway}");
    }
    for (second, leeway, why) in [
        (exp, 0, Rejection::Expired),
        (exp + 10, 10, Rejection::Expired),
        (nbf - 1, 0, Rejection::NotYetValid),
        (nbf - 11, 10, Rejection::NotYetValid),
    ] {
        assert_eq!(
            rejected(&at(second, leeway), &server.admin_token).await,
            why,
            "{second} {leeway}"
        );
    }
}

#[tokio::test]
async fn another_signature_is_rejected() {
    let (server, other) = tokio::join!(Server::with_public_url(), Server::with_public_url());
    let keys = format!("{}/oauth2/jwks", server.process.reached_at);
    let verifier = Verifier::builder(&server.process.url, &server.process.url)
        .jwks_uri(keys)
        .ca_file(server.process.ca_file())
        .build()
        .unwrap();
    assert!(verifier.verify(&server.admin_token).await.is_ok());
    assert_eq!(rejected(&verifier, &other.admin_token).await, Rejection::UnknownKey);
    let (signed, _) = server.admin_token.rsplit_once('.').unwrap();
    let (_, signature) = server
        .token(&server.admin)
        .await
        .rsplit_once('.')
        .map(|(s, t)| (s.to_owned(), t.to_owned()))
        .unwrap();
    assert_eq!(
        rejected(&verifier, &format!("{signed}.{signature}")).await,
        Rejection::BadSignature
    );
    assert_eq!(rejected(&verifier, &format!("{signed}.")).await, Rejection::BadSignature);
}

#[tokio::test]
async fn a_new_signing_key_is_fetched_when_needed() {
    let server = Server::start().await;
    let verifier = verifier_for(&server.process).refresh_interval(Duration::ZERO).build().unwrap();
    assert!(verifier.verify(&server.admin_token).await.is_ok());
    for _ in 0..3 {
        rotate_signing_key(&server.process);
        let new = server.token(&server.admin).await;
        // Concurrent verifications share one fetch.
        let verified = futures::future::join_all((0..20).map(|_| verifier.verify(&new))).await;
        assert!(verified.iter().all(Result::is_ok), "{verified:?}");
        assert!(
            verifier.verify(&server.admin_token).await.is_ok(),
            "tokens of the old key stay valid"
        );
    }
    // One fetch for the first token, and one for each new key.
    assert_eq!(key_fetches(server.process).await, 4);
}

#[tokio::test]
async fn unknown_keys_cause_one_fetch_per_interval() {
    let server = Server::start().await;
    let verifier =
        verifier_for(&server.process).refresh_interval(Duration::from_hours(1)).build().unwrap();
    assert!(verifier.verify(&server.admin_token).await.is_ok());
    rotate_signing_key(&server.process);
    let new = server.token(&server.admin).await;
    for _ in 0..10 {
        assert_eq!(rejected(&verifier, &new).await, Rejection::UnknownKey);
        assert!(verifier.verify(&server.admin_token).await.is_ok());
    }
    assert_eq!(key_fetches(server.process).await, 1);
}

#[tokio::test]
async fn an_unavailable_issuer_is_not_a_rejection() {
    let mut server = Server::start().await;
    let warm = verifier_for(&server.process).refresh_interval(Duration::ZERO).build().unwrap();
    let cold = verifier_for(&server.process).build().unwrap();
    let stale = verifier_for(&server.process).max_stale(Duration::ZERO).build().unwrap();
    let old = server.admin_token.clone();
    assert!(warm.verify(&old).await.is_ok() && stale.verify(&old).await.is_ok());
    rotate_signing_key(&server.process);
    let new = server.token(&server.admin).await;
    server.process.kill();
    assert!(warm.verify(&old).await.is_ok(), "cached keys stay usable");
    for (verifier, token) in [(&warm, &new), (&cold, &old), (&cold, &old), (&stale, &old)] {
        match verifier.verify(token).await {
            Err(VerifyError::KeysUnavailable(error)) => assert!(error.is_unavailable(), "{error}"),
            other => panic!("{other:?}"),
        }
    }
}

/// As documented, only introspection detects these.
#[tokio::test]
async fn the_verifier_does_not_see_revocations() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    let verifier = verifier_for(&server.process).build().unwrap();
    server.admin_call("Delete", json!({ "clientId": "ci" })).await;
    assert!(!server.accepts(&token).await);
    assert!(verifier.verify(&token).await.is_ok());
}

#[tokio::test]
async fn the_blocking_verifier_needs_no_runtime() {
    let server = Server::start().await;
    let verifier = blocking::Verifier::from(verifier_for(&server.process).build().unwrap());
    let token = server.admin_token.clone();
    let verified = tokio::task::spawn_blocking(move || verifier.verify(&token)).await.unwrap();
    assert_eq!(verified.unwrap().client_id, "admin");
}
