//! What callers can gain by timing, by repetition and by silence: nothing.

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use crate::support::{Credentials, Server, ServerProcess, connection};

/// A call whose headers have passed the server's checks and whose body is still to come.
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

    /// Sends the body; gives the status and the whole answer.
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
async fn an_admin_deleted_while_its_request_arrives_creates_nothing() {
    let server = Server::start().await;
    let (_, token) = other_admin(&server).await;
    let create = json!({ "clientName": "heir", "role": "ROLE_ADMIN" });
    let held = HeldCall::begin(&server.process, "/gatekey.v1.ApiKeyService/Create", &token, &create).await;
    server.admin_call("Delete", json!({ "clientId": "leaver" })).await;
    let (status, response) = held.finish().await;
    assert_eq!(status, 401, "{response}");
    assert!(!response.contains("gk_"));
    let listed = server.admin_call("List", json!({})).await;
    assert!(!listed.to_string().contains("heir"));
}

#[tokio::test]
async fn an_admin_that_loses_its_role_while_its_request_arrives_creates_nothing() {
    let server = Server::start().await;
    let (_, token) = other_admin(&server).await;
    let create = json!({ "clientName": "heir" });
    let held = HeldCall::begin(&server.process, "/gatekey.v1.ApiKeyService/Create", &token, &create).await;
    let viewer = json!({ "apiKey": { "clientId": "leaver", "role": "ROLE_VIEWER" }, "updateMask": "role" });
    server.admin_call("Update", viewer).await;
    assert_eq!(held.finish().await.0, 403);
}

#[tokio::test]
async fn a_key_cannot_rotate_another_that_took_its_name_meanwhile() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    let rotate = json!({ "clientId": "ci" });
    let held =
        HeldCall::begin(&server.process, "/gatekey.v1.ApiKeyService/RotateSecret", &token, &rotate).await;
    server.admin_call("Delete", json!({ "clientId": "ci" })).await;
    server.create_key_with("ci", json!({ "role": "ROLE_ADMIN" })).await;
    let (status, response) = held.finish().await;
    assert_eq!(status, 401, "{response}");
    assert!(!response.contains("gk_"));
}

#[tokio::test]
async fn a_token_for_another_audience_opens_nothing_here() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("gatekey.toml");
    std::fs::write(&config, "audiences = [\"https://flyte.example.com\", \"https://other.example.com\"]\n")
        .unwrap();
    let server = ServerProcess::start_with(&["--config", config.to_str().unwrap()]);
    let admin = server.init();
    let http = server.http();
    let list = "/gatekey.v1.ApiKeyService/List";
    for (audience, status) in [("https://flyte.example.com", 200), ("https://other.example.com", 401)] {
        let response = http.token(&admin, &[("audience", audience)]).await;
        let token = response.json()["access_token"].as_str().unwrap().to_owned();
        assert_eq!(http.connect_json(list, &token, &json!({})).await.status, status, "{audience}");
    }
}

#[tokio::test]
async fn a_key_that_rotates_itself_again_and_again_does_not_grow() {
    let server = Server::start().await;
    let mut key = server.create_key("ci").await;
    for _ in 0..25 {
        let token = server.token(&key).await;
        let body = json!({ "clientId": "ci" });
        let rotate = "/gatekey.v1.ApiKeyService/RotateSecret";
        let response = server.http.connect_json(rotate, &token, &body).await;
        key.client_secret = response.json()["clientSecret"].as_str().unwrap().to_owned();
    }
    let details = server.admin_call("Get", json!({ "clientId": "ci" })).await;
    assert!(details["apiKey"]["secrets"].as_array().unwrap().len() <= 12, "{details}");
    assert_eq!(server.http.token(&key, &[]).await.status, 200);
}

#[tokio::test]
async fn a_reset_admin_is_never_within_reach_of_its_old_secret() {
    let server = Server::start().await;
    let leaked = server.create_key_with("leaked", json!({ "role": "ROLE_VIEWER" })).await;
    server.admin_call("Disable", json!({ "clientId": "leaked" })).await;
    let data_dir = server.process.data_dir.to_str().unwrap().to_owned();
    let reset =
        crate::support::run(&["init", "--data-dir", &data_dir, "--name", "leaked", "--rotate", "-o", "json"]);
    assert!(reset.status.success(), "{}", String::from_utf8_lossy(&reset.stderr));
    assert_eq!(server.http.token(&leaked, &[]).await.status, 401);
    // The order of the steps is what protects: the secret dies before the key is an enabled admin.
    let entries = server.ledger().await.into_iter().filter(|entry| entry.target == "leaked");
    let actions: Vec<String> = entries.map(|entry| entry.action).collect();
    let reset = ["api_key.rotate_secret", "api_key.update", "api_key.enable"];
    assert!(actions.ends_with(&reset.map(str::to_owned)), "{actions:?}");
}

#[tokio::test]
async fn the_same_refusal_again_and_again_is_one_entry() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    for _ in 0..50 {
        let response = server.http.connect_json("/gatekey.v1.ApiKeyService/List", &token, &json!({})).await;
        assert_eq!(response.status, 403);
    }
    let refusals = server.ledger().await.iter().filter(|entry| entry.action == "refuse").count();
    assert_eq!(refusals, 1);
}

#[tokio::test]
async fn a_refusal_leaves_the_connection_usable() {
    let server = Server::start().await;
    let mut stream = connection::connect(&server.process).await;
    // As some clients do: the body in a write of its own, after the answer may have been sent.
    for _ in 0..3 {
        let head = "POST /cloudidl.identity.AppsService/List HTTP/1.1\r\nhost: h\r\n\
                    content-type: application/json\r\ncontent-length: 2\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        stream.write_all(b"{}").await.unwrap();
        stream.flush().await.unwrap();
        let mut response = Vec::new();
        while !response.ends_with(b"}") && !response.ends_with(b"0\r\n\r\n") {
            assert!(stream.read_buf(&mut response).await.unwrap() > 0, "the connection was closed");
        }
        assert!(response.starts_with(b"HTTP/1.1 401"), "{}", String::from_utf8_lossy(&response));
    }
}

/// Addresses that a server fetches for whoever names them reach what is behind its firewall: CVE-2020-10770.
#[tokio::test]
async fn no_address_in_a_key_is_ever_fetched() {
    let server = Server::start().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let app = json!({
        "clientId": "lure", "logoUri": url, "clientUri": url, "policyUri": url, "tosUri": url, "jwksUri": url,
        "redirectUris": [url],
    });
    let apps = "/cloudidl.identity.AppsService";
    let created = server.http.connect_json(&format!("{apps}/Create"), &server.admin_token, &app).await;
    assert_eq!(created.status, 200, "{}", created.text());
    let key = Credentials {
        client_id: "lure".to_owned(),
        client_secret: created.json()["app"]["clientSecret"].as_str().unwrap().to_owned(),
    };
    let token = server.token(&key).await;
    assert!(server.accepts(&token).await);
    for method in ["Get", "List", "Update", "Delete"] {
        server.http.connect_json(&format!("{apps}/{method}"), &server.admin_token, &app).await;
    }
    let nobody = listener.accept().map(drop).map_err(|error| error.kind());
    assert_eq!(nobody, Err(std::io::ErrorKind::WouldBlock));
}
