//! Tests login: discovery, the token request, the token's lifetime.

use std::time::Duration;

use futures::future::join_all;
use gatekey_client::{ApiKey, Client, PlainSecret, Protocol, TokenCache};

use crate::server::{Behavior, CLIENT_ID, SECRET, Server};

#[tokio::test]
async fn concurrent_calls_share_one_login() {
    let server = Server::start_with(Behavior {
        login_takes: Duration::from_millis(50),
        ..Behavior::default()
    })
    .await;
    server.add_apps(1);
    let client = server.client();
    let calls = join_all((0..50).map(|_| ApiKey::get(&client, "key-0000"))).await;
    assert!(calls.iter().all(Result::is_ok));
    assert_eq!(server.0.record().logins.len(), 1);
    assert_eq!(server.0.record().discoveries, 2);
    assert_eq!(server.0.record().calls.len(), 50, "no call was made without a token");
}

#[tokio::test]
async fn many_callers_share_one_failed_login() {
    let server = Server::start_with(Behavior {
        login_takes: Duration::from_millis(50),
        ..Behavior::default()
    })
    .await;
    let client =
        server.builder().credentials(CLIENT_ID, PlainSecret::new("wrong")).build().unwrap();
    let calls = join_all((0..20).map(|_| client.access_token())).await;
    for call in calls {
        let error = call.unwrap_err();
        assert!(error.is_unauthenticated(), "{error}");
        assert!(error.to_string().contains("invalid_client: no key has this secret"), "{error}");
        assert!(!error.to_string().contains("wrong"));
    }
    assert_eq!(server.0.record().logins.len(), 1);
}

#[tokio::test]
async fn configured_scopes_override_the_advertised_ones() {
    let server =
        Server::start_with(Behavior { audience: "https://a/?b&c".into(), ..Behavior::default() })
            .await;
    server.client().access_token().await.unwrap();
    server.builder().scopes(["own"]).build().unwrap().access_token().await.unwrap();
    let logins = server.0.record().logins.clone();
    assert_eq!(
        logins,
        [
            "grant_type=client_credentials&scope=all+offline&audience=https%3A%2F%2Fa%2F%3Fb%26c",
            "grant_type=client_credentials&scope=own&audience=https%3A%2F%2Fa%2F%3Fb%26c",
        ]
    );
}

#[tokio::test]
async fn the_token_goes_into_the_advertised_header() {
    let server = Server::start_with(Behavior {
        header: "flyte-authorization".into(),
        ..Behavior::default()
    })
    .await;
    assert_eq!(server.client().whoami().await.unwrap().subject, "ci");
}

#[tokio::test]
async fn a_flyte_1_server_is_supported() {
    let server = Server::start_with(Behavior { flyte_1_only: true, ..Behavior::default() }).await;
    assert_eq!(server.client().whoami().await.unwrap().subject, "ci");
}

#[tokio::test]
async fn no_secret_is_sent_to_a_plaintext_endpoint() {
    let server = Server::start_with(Behavior {
        token_endpoint: Some("ftp://elsewhere/token".into()),
        ..Behavior::default()
    })
    .await;
    let error = server.client().access_token().await.unwrap_err();
    assert!(error.to_string().contains("not https"), "{error}");
    assert!(error.is_configuration());
}

#[tokio::test]
async fn incomplete_login_metadata_is_an_error() {
    let endpoint = Some("no url at all".to_owned());
    let server =
        Server::start_with(Behavior { token_endpoint: endpoint, ..Behavior::default() }).await;
    let error = server.client().access_token().await.unwrap_err();
    assert!(error.to_string().contains("invalid login metadata"), "{error}");
}

#[tokio::test]
async fn a_rejected_token_is_replaced_once() {
    let server = Server::start().await;
    let client = server.client();
    client.whoami().await.unwrap();
    server.0.behavior().revoked = 1;
    client.whoami().await.unwrap();
    assert_eq!(server.0.record().logins.len(), 2);
    let calls = server.0.record().calls.clone();
    assert_eq!(calls.len(), 3);
    assert_eq!(calls[1].1, calls[2].1, "the same call keeps its request id");
    assert_ne!(calls[0].1, calls[1].1);

    server.0.behavior().revoked = 1000;
    let error = client.whoami().await.unwrap_err();
    assert!(error.is_unauthenticated());
    assert_eq!(error.request_id(), Some(server.0.record().calls.last().unwrap().1.as_str()));
    assert_eq!(server.0.record().logins.len(), 3);
}

#[tokio::test]
async fn a_token_without_a_stated_lifetime_is_used() {
    let server = Server::start_with(Behavior { lifetime: None, ..Behavior::default() }).await;
    let client = server.client();
    assert_eq!(client.access_token().await.unwrap(), "token-1");
    assert_eq!(client.access_token().await.unwrap(), "token-1");
}

#[tokio::test]
async fn a_token_is_refreshed_before_it_expires() {
    let server = Server::start_with(Behavior { lifetime: Some(1), ..Behavior::default() }).await;
    let client = server.client();
    assert_eq!(client.access_token().await.unwrap(), "token-1");
    tokio::time::pause();
    tokio::time::advance(Duration::from_millis(850)).await;
    tokio::time::resume();
    assert_eq!(client.access_token().await.unwrap(), "token-2");
}

#[tokio::test]
async fn only_equal_clients_share_a_token() {
    let server = Server::start().await;
    let cache = TokenCache::default();
    let shared = || server.builder().token_cache(cache.clone());
    shared().build().unwrap().access_token().await.unwrap();
    shared().protocol(Protocol::GrpcWeb).build().unwrap().access_token().await.unwrap();
    assert_eq!(server.0.record().logins.len(), 1);
    shared().scopes(["own"]).build().unwrap().access_token().await.unwrap();
    assert_eq!(server.0.record().logins.len(), 2);
    let other = shared().credentials(CLIENT_ID, PlainSecret::new("wrong")).build().unwrap();
    assert!(other.access_token().await.unwrap_err().is_unauthenticated());
    server.client().access_token().await.unwrap();
    assert_eq!(server.0.record().logins.len(), 4);
}

#[test]
fn an_encoded_key_as_secret_is_recognized() {
    let encoded = "Zmlyc3QuZXhhbXBsZTo4NDQzOmZpcnN0Om9uZTpOb25l";
    let builder = Client::builder().endpoint("h").credentials("ci", PlainSecret::new(encoded));
    let error = builder.build().unwrap_err();
    assert!(error.is_configuration() && error.to_string().contains("encoded API key"), "{error}");
    assert!(!error.to_string().contains(encoded), "{error}");
}

#[tokio::test]
async fn a_login_has_the_id_of_its_call() {
    let server = Server::start().await;
    let wrong = server.builder().credentials(CLIENT_ID, PlainSecret::new("wrong")).build().unwrap();
    let error = wrong.whoami().await.unwrap_err();
    assert_eq!(error.hint(), Some("the key may be deleted, disabled, expired or rotated"));
    let id = error.request_id().unwrap().to_owned();
    assert_eq!(server.0.record().login_ids, [id]);
    server.client().whoami().await.unwrap();
    let (_, called) = server.0.record().calls[0].clone();
    assert_eq!(server.0.record().login_ids[1], called);
}

#[tokio::test]
async fn debug_prints_no_secret() {
    let server = Server::start().await;
    let (builder, client) = (server.builder(), server.client());
    for shown in [format!("{builder:?}"), format!("{client:?}")] {
        assert!(shown.contains("client!+ID") && !shown.contains(SECRET), "{shown}");
    }
}

#[tokio::test]
async fn every_protocol_carries_the_same_calls() {
    let server = Server::start().await;
    for protocol in [Protocol::Connect, Protocol::Grpc, Protocol::GrpcWeb] {
        let client: Client =
            server.builder().protocol(protocol).user_agent("test/1").build().unwrap();
        assert_eq!(client.whoami().await.unwrap().additional_claims["level"], 3.0, "{protocol:?}");
        let error = ApiKey::get(&client, "absent").await.unwrap_err();
        assert!(error.is_not_found(), "{protocol:?}: {error}");
        assert_eq!(error.to_string(), "could not get API key \"absent\": there is no such API key");
    }
    assert!(server.0.record().user_agents.iter().all(|agent| agent == "test/1"));
}
