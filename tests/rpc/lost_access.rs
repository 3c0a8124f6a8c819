//! Callers that lose access while their request arrives.

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use crate::support::{Credentials, Server, ServerProcess, connection};

/// A call whose headers have passed the server's checks, and whose body is still missing.
struct HeldCall {
    stream: TlsStream<TcpStream>,
    body: String,
}

impl HeldCall {
    /// Sends the headers, and waits until a handler asks for the body.
    async fn begin(server: &ServerProcess, procedure: &str, token: &str, body: &Value) -> Self {
        let body = body.to_string();
        let authorization = format!("authorization: Bearer {token}");
        let headers = [&*authorization, "content-type: application/json", "connection: close"];
        let stream = connection::begin(server, procedure, &headers, body.len()).await;
        Self { stream, body }
    }

    /// Sends the body; returns the status and the whole response.
    async fn finish(mut self) -> (u16, String) {
        self.stream.write_all(self.body.as_bytes()).await.unwrap();
        self.stream.flush().await.unwrap();
        let mut response = Vec::new();
        let _ = self.stream.read_to_end(&mut response).await;
        let response = String::from_utf8_lossy(&response).into_owned();
        (response["HTTP/1.1 ".len()..][..3].parse().unwrap(), response)
    }
}

async fn other_admin(server: &Server) -> (Credentials, String) {
    let key = server.create_key_with("leaver", json!({ "role": "ROLE_ADMIN" })).await;
    let token = server.token(&key).await;
    (key, token)
}

#[tokio::test]
async fn an_admin_deleted_during_its_request_creates_nothing() {
    let server = Server::start().await;
    let (_, token) = other_admin(&server).await;
    let create = json!({ "clientName": "heir", "role": "ROLE_ADMIN" });
    let held =
        HeldCall::begin(&server.process, "/gatekey.v1.ApiKeyService/Create", &token, &create).await;
    server.admin_call("Delete", json!({ "clientId": "leaver" })).await;
    let (status, response) = held.finish().await;
    assert_eq!(status, 401, "{response}");
    assert!(!response.contains("gk_"));
    let listed = server.admin_call("List", json!({})).await;
    assert!(!listed.to_string().contains("heir"));
}

#[tokio::test]
async fn a_role_lost_during_a_request_is_enforced() {
    let server = Server::start().await;
    let (_, token) = other_admin(&server).await;
    let create = json!({ "clientName": "heir" });
    let held =
        HeldCall::begin(&server.process, "/gatekey.v1.ApiKeyService/Create", &token, &create).await;
    let contributor = json!({ "clientId": "leaver", "role": "ROLE_CONTRIBUTOR" });
    let update = json!({ "apiKey": contributor, "updateMask": "role" });
    server.admin_call("Update", update).await;
    assert_eq!(held.finish().await.0, 403);
}

/// The other key took the same client id while the request arrived.
#[tokio::test]
async fn a_key_cannot_rotate_its_namesake() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    let rotate = json!({ "clientId": "ci", "currentSecret": key.client_secret });
    let held =
        HeldCall::begin(&server.process, "/gatekey.v1.ApiKeyService/RotateSecret", &token, &rotate)
            .await;
    server.admin_call("Delete", json!({ "clientId": "ci" })).await;
    server.create_key_with("ci", json!({ "role": "ROLE_ADMIN" })).await;
    let (status, response) = held.finish().await;
    assert_eq!(status, 401, "{response}");
    assert!(!response.contains("gk_"));
}
