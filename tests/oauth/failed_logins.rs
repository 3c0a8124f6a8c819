//! A failed login can be traced, and a secret that is not valid any more is noticed.

use gatekey_core::ledger::NewEntry;
use serde_json::{Value, json};

use super::GRANT;
use crate::support::{Credentials, Server, eventually, in_future};

const UUID: &str = "7d444840-9dc0-11d1-b245-5ffdce74fad2";

impl Server {
    /// Fails to log in, and returns the request's log line.
    async fn fail(&self, client_id: &str, secret: &str, request_id: &str) -> Value {
        let key = Credentials { client_id: client_id.to_owned(), client_secret: secret.to_owned() };
        let headers = [("authorization", &*key.basic()), ("x-request-id", request_id)];
        let response = self.http.form("/oauth2/token", &headers, GRANT).await;
        assert_eq!(response.status, 401, "{}", response.text());
        assert_eq!(response.json()["error_description"], "client authentication failed");
        let request_id = response.header("x-request-id").to_owned();
        let mut found = None;
        eventually("the request is logged", async || {
            found = self.process.log().into_iter().find(|line| line["request_id"] == *request_id);
            found.is_some()
        })
        .await;
        found.unwrap()
    }

    /// The refusals of a key, once there are some.
    async fn refusals_of(&self, client_id: &str) -> Vec<NewEntry> {
        let mut refusals = Vec::new();
        eventually("the refusal is recorded", async || {
            refusals = self.ledger().await;
            refusals.retain(|entry| entry.is_refusal() && entry.target == client_id);
            !refusals.is_empty()
        })
        .await;
        refusals
    }
}

#[tokio::test]
async fn a_failed_login_is_logged_with_its_cause() {
    let server = Server::start().await;
    for (client_id, cause) in
        [("admin", "the secret is wrong"), ("nobody-has-it", "no key has the client id")]
    {
        for request_id in [UUID, "build-42:7"] {
            let request_id = &format!("{request_id}{}", client_id.len());
            let line = server.fail(client_id, "wrong", request_id).await;
            assert_eq!(line["request_id"], **request_id);
            assert_eq!(
                (&line["claimed_client_id"], &line["cause"]),
                (&json!(client_id), &json!(cause))
            );
            assert_eq!(line["client_id"], "", "nobody has proven to be it");
        }
    }
}

#[tokio::test]
async fn a_claimed_client_id_is_logged_if_plain() {
    let server = Server::start().await;
    let secret = server.admin.client_secret.clone();
    for (number, claimed) in [&*secret, "a b", "\"quoted\"", &"x".repeat(129)].iter().enumerate() {
        let line = server.fail(claimed, "wrong", &format!("claim-{number}")).await;
        assert_eq!(line["claimed_client_id"], Value::Null, "{line}");
        assert_eq!(line["cause"], "no key has the client id");
        assert!(!line.to_string().contains(&secret));
    }
    let line = server.fail("admin", "wrong", &"x".repeat(65)).await;
    assert_eq!(line["request_id"].as_str().unwrap().len(), 22, "a random one");
}

#[tokio::test]
async fn a_right_but_invalid_secret_is_recorded() {
    let server = Server::with_config("limits.failed_authentications_per_minute = 0").await;
    let expiring = json!({ "expiresAt": in_future(std::time::Duration::from_secs(2)) });
    let expired = server.create_key_with("expired", expiring).await;
    let mut keys = Vec::new();
    for name in ["disabled", "rotated", "retired", "deleted", "recreated"] {
        keys.push(server.create_key(name).await);
    }
    let of = |name: &str| json!({ "clientId": name });
    server.admin_call("Disable", of("disabled")).await;
    server.rotate(&keys[1], json!({})).await;
    let details = server.admin_call("Get", of("retired")).await;
    let secret_id = &details["apiKey"]["secrets"][0]["id"];
    server
        .admin_call("RetireSecret", json!({ "clientId": "retired", "secretId": secret_id }))
        .await;
    server.admin_call("Delete", of("deleted")).await;
    server.admin_call("Delete", of("recreated")).await;
    server.create_key("recreated").await;
    eventually("the key expires", async || server.http.token(&expired, &[]).await.status == 401)
        .await;
    // In a key's last second a token would expire at once, so there is none.
    let mut tries = 0;
    eventually("its last second passes", async || {
        tries += 1;
        let request_id = format!("try-{tries}");
        let line = server.fail(&expired.client_id, &expired.client_secret, &request_id).await;
        line["cause"] == "the key has expired"
    })
    .await;
    for (key, cause) in [
        (&keys[0], "the key is disabled"),
        (&keys[1], "the secret is retired"),
        (&keys[2], "the secret is retired"),
        (&keys[3], "the key is deleted"),
        (&keys[4], "the key is deleted"),
        (&expired, "the key has expired"),
    ] {
        let line = server.fail(&key.client_id, &key.client_secret, &key.client_id).await;
        assert_eq!(
            (&line["claimed_client_id"], &line["cause"]),
            (&json!(key.client_id), &json!(cause))
        );
        let refusals = server.refusals_of(&key.client_id).await;
        assert_eq!(refusals[0].detail, format!("right secret, but {cause}"));
        assert!(refusals[0].actor.starts_with(&format!("key:{}/", key.client_id)));
        assert_eq!(refusals[0].peer, "127.0.0.1");
    }
    let refusals = server.refusals_of("retired").await;
    assert!(refusals[0].actor.ends_with(secret_id.as_str().unwrap()), "{refusals:?}");
}

#[tokio::test]
async fn repeated_uses_are_recorded_once_a_minute() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    server.admin_call("Disable", json!({ "clientId": "ci" })).await;
    for path in ["/oauth2/token", "/oauth2/introspect", "/oauth2/revoke"].repeat(20) {
        let headers = [("authorization", &*key.basic())];
        server.http.form(path, &headers, "grant_type=client_credentials&token=x").await;
    }
    // Another key's entry comes after all of them.
    let other = server.create_key("other").await;
    server.admin_call("Disable", json!({ "clientId": "other" })).await;
    server.http.token(&other, &[]).await;
    server.refusals_of("other").await;
    let refusals = server.refusals_of("ci").await.len();
    assert!((1..=2).contains(&refusals), "{refusals}: a second if a minute ended in between");
}

#[tokio::test]
async fn a_wrong_secret_has_no_ledger_entry() {
    let server = Server::start().await;
    let before = server.ledger().await.len();
    for client_id in ["admin", "nobody"] {
        for _ in 0..5 {
            server
                .http
                .token(
                    &Credentials {
                        client_id: client_id.to_owned(),
                        client_secret: "wrong".to_owned(),
                    },
                    &[],
                )
                .await;
        }
    }
    let key = server.create_key("ci").await;
    server.admin_call("Disable", json!({ "clientId": "ci" })).await;
    server.http.token(&key, &[]).await;
    server.refusals_of("ci").await;
    assert_eq!(server.ledger().await.len(), before + 3);
}
