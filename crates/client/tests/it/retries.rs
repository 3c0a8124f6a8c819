//! Tests retries and timeouts.

use std::time::Duration;

use gatekey_client::{ApiKey, Client, PlainSecret};

use crate::server::{Behavior, Server};

#[tokio::test]
async fn retries_keep_the_request_id() {
    let server =
        Server::start_with(Behavior { unavailable: 2, busy: 1, ..Behavior::default() }).await;
    ApiKey::create(&server.client(), "ci").await.unwrap();
    let calls = server.0.record().calls.clone();
    assert_eq!(calls.len(), 3);
    assert!(calls.iter().all(|call| *call == calls[0]));
    assert_eq!(calls[0].1.len(), 36);
    assert_eq!(server.0.record().logins.len(), 2);
}

#[tokio::test]
async fn retries_are_bounded() {
    let server =
        Server::start_with(Behavior { unavailable: usize::MAX, ..Behavior::default() }).await;
    let client = server.builder().retries(1).build().unwrap();
    let error = client.whoami().await.unwrap_err();
    assert!(error.is_unavailable() && error.is_retryable());
    assert_eq!(error.to_string(), "could not look up the caller: try later");
    assert_eq!(server.0.record().calls.len(), 2);
}

#[tokio::test]
async fn a_refusal_is_not_retried() {
    let server = Server::start().await;
    assert!(ApiKey::get(&server.client(), "absent").await.unwrap_err().is_not_found());
    assert_eq!(server.0.record().calls.len(), 1);
}

#[tokio::test]
async fn an_unreachable_server_is_reported_with_its_address() {
    // A port that was free a moment ago.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let client = Client::builder()
        .endpoint(&address)
        .credentials("ci", PlainSecret::new("s"))
        .plaintext(true)
        .retries(0)
        .build()
        .unwrap();
    let error = client.whoami().await.unwrap_err();
    assert!(error.is_unavailable());
    let message = error.to_string();
    assert!(message.starts_with("cannot reach http://127.0.0.1:"), "{message}");
    assert!(message.to_lowercase().contains("refused"), "{message}");
}

#[tokio::test]
async fn a_call_times_out() {
    let server =
        Server::start_with(Behavior { login_takes: Duration::from_mins(1), ..Behavior::default() })
            .await;
    let client = server.builder().timeout(Duration::from_millis(100)).build().unwrap();
    let error = client.whoami().await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert_eq!(error.to_string(), "could not look up the caller: no response within 0.1 s");
    assert!(client.access_token().await.unwrap_err().is_timeout());
}

/// Forwards connections to a server, and cuts the one whose response completes `cut_after_calls`.
async fn cutting_proxy(server: &Server, cut_after_calls: usize) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (target, server) = (server.endpoint(), server.clone());
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let (target, server) = (target.clone(), server.clone());
            tokio::spawn(async move {
                let (mut from_client, mut to_client) = client.into_split();
                let upstream = tokio::net::TcpStream::connect(target).await.unwrap();
                let (mut from_server, mut to_server) = upstream.into_split();
                tokio::spawn(
                    async move { tokio::io::copy(&mut from_client, &mut to_server).await },
                );
                let mut buffer = [0; 8192];
                while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
                    if server.0.record().calls.len() == cut_after_calls {
                        return;
                    }
                    to_client.write_all(&buffer[..length]).await.unwrap();
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn a_delete_with_a_lost_response_succeeds() {
    let server = Server::start().await;
    server.add_apps(1);
    let proxy = cutting_proxy(&server, 1).await;
    let client = server.builder().endpoint(&proxy).build().unwrap();
    ApiKey::delete(&client, "key-0000").await.unwrap();
    assert_eq!(server.0.record().calls.len(), 2);
    assert!(ApiKey::delete(&client, "key-0000").await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_lost_connection_is_reported_as_lost() {
    let server = Server::start().await;
    let proxy = cutting_proxy(&server, 1).await;
    let client = server.builder().endpoint(&proxy).retries(0).build().unwrap();
    let error = client.whoami().await.unwrap_err();
    assert!(error.is_unavailable());
    assert!(error.to_string().contains("was lost"), "{error}");
}
