//! HTTP/1.1 requests as public clients write them.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Deserialize;
use serde_json::json;

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Client {
    #[serde(rename = "client_id")]
    pub(crate) id: String,
    #[serde(rename = "client_secret")]
    pub(crate) secret: String,
}

/// The token request form that Flyte's clients send.
pub(crate) const TOKEN_FORM: &str = "grant_type=client_credentials&scope=all";

/// Requests a token from Gatekey.
pub(crate) fn token(client: &Client) -> Vec<u8> {
    form("/oauth2/token", client, TOKEN_FORM)
}

/// Introspects a token at Gatekey.
pub(crate) fn introspection(client: &Client, token: &str) -> Vec<u8> {
    form("/oauth2/introspect", client, &format!("token={token}"))
}

pub(crate) fn create(token: &str, client_id: &str) -> Vec<u8> {
    rpc("Create", token, &json!({ "clientId": client_id, "clientName": client_id }))
}

/// Requests a page of keys.
pub(crate) fn list(token: &str, limit: usize, page_token: &str) -> Vec<u8> {
    rpc("List", token, &json!({ "request": { "limit": limit, "token": page_token } }))
}

/// A key's encoded credentials for a server.
pub(crate) fn encoded_credentials(endpoint: &str, client: &Client) -> String {
    BASE64_STANDARD.encode(format!("{endpoint}:{}:{}:None", client.id, client.secret))
}

/// Asks about a call of a procedure, as nginx does.
pub(crate) fn decision(path: &str, procedure: &str, credential: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {credential}\r\n\
         x-original-method: POST\r\nx-original-uri: {procedure}\r\nx-real-ip: 127.0.0.1\r\n\r\n"
    )
    .into_bytes()
}

/// Sends a form, authenticated by HTTP Basic (RFC 6749 section 2.3.1).
pub(crate) fn form(path: &str, client: &Client, form: &str) -> Vec<u8> {
    let basic = BASE64_STANDARD.encode(format!("{}:{}", client.id, client.secret));
    post(path, &format!("Basic {basic}"), "application/x-www-form-urlencoded", form)
}

fn rpc(method: &str, token: &str, message: &serde_json::Value) -> Vec<u8> {
    let path = format!("/cloudidl.identity.AppsService/{method}");
    post(&path, &format!("Bearer {token}"), "application/json", &message.to_string())
}

pub(crate) fn post(path: &str, authorization: &str, content_type: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: {authorization}\r\n\
         accept: application/json\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
