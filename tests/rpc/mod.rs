//! The RPC services.
//!
//! # Layout
//! - [`cases`]: a table of cases, run over each protocol in [`protocols`]; [`json`] compares
//!   responses.
//! - [`apps_service`]: the service that public clients call.
//! - [`authorizer_service`]: the roles of keys, as Terraform manages them.
//! - [`api_key_service`]: `gatekey.v1.ApiKeyService`, with everything that the public API lacks.
//! - [`access`]: which callers may call which methods. [`lost_access`]: callers that lose access
//!   while their request arrives.
//! - [`last_admin`]: the admin key that must remain.
//! - [`connect_get`]: GET in the Connect protocol.
//! - [`for_flyte`]: requests that Flyte should have got.
//! - [`health_and_reflection`]: gRPC health and reflection.
//! - [`plain_http`]: the public API as plain HTTP with JSON.
//! - [`request_log`]: the log line of a call.
//! - [`limits`]: requests that are too large, too deep or malformed.

mod access;
mod api_key_service;
mod apps_service;
mod authorizer_service;
mod cases;
mod connect_get;
mod for_flyte;
pub(crate) mod health_and_reflection;
mod json;
mod key_limits;
mod last_admin;
mod limits;
mod lost_access;
mod misplaced_credentials;
mod plain_http;
mod protocols;
mod request_log;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Credentials, Response, Server, ServerProcess};

/// The result of a call.
type Outcome = Result<Value, Refusal>;

/// Why a call was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    code: String,
    message: String,
}

impl Refusal {
    /// Asserts the code, and a message that contains these words.
    #[track_caller]
    fn must_be(&self, code: &str, words: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        for word in words {
            assert!(self.message.contains(word), "no {word:?} in {self:?}");
        }
    }
}

/// Asserts that a call was refused with a code, and a message that contains these words.
#[track_caller]
fn refused(outcome: &Outcome, code: &str, words: &[&str]) {
    match outcome {
        Ok(response) => panic!("not refused: {response}"),
        Err(refusal) => refusal.must_be(code, words),
    }
}

/// The result in a Connect response with JSON.
fn outcome(response: &Response) -> Outcome {
    let json = response.json();
    if response.status == StatusCode::OK {
        return Ok(json);
    }
    let text = |field: &str| json[field].as_str().unwrap_or_default().to_owned();
    Err(Refusal { code: text("code"), message: text("message") })
}

impl Server {
    /// Calls a method of `cloudidl.identity.AppsService` as the admin.
    async fn apps(&self, method: &str, request: Value) -> Outcome {
        self.apps_as(&self.admin_token, method, request).await
    }

    async fn apps_as(&self, token: &str, method: &str, request: Value) -> Outcome {
        self.call(token, &format!("/cloudidl.identity.AppsService/{method}"), request).await
    }

    /// Calls a method of `gatekey.v1.ApiKeyService` as the admin.
    async fn keys(&self, method: &str, request: Value) -> Outcome {
        self.keys_as(&self.admin_token, method, request).await
    }

    async fn keys_as(&self, token: &str, method: &str, request: Value) -> Outcome {
        self.call(token, &format!("/gatekey.v1.ApiKeyService/{method}"), request).await
    }

    async fn call(&self, token: &str, procedure: &str, request: Value) -> Outcome {
        outcome(&self.http.connect_json(procedure, token, &request).await)
    }

    /// Calls a method of `cloudidl.identity.AppsService` as the admin, with more headers.
    async fn apps_with(&self, headers: &[(&str, &str)], method: &str, request: Value) -> Outcome {
        self.call_with(headers, &format!("/cloudidl.identity.AppsService/{method}"), request).await
    }

    /// Calls a procedure as the admin, with more headers.
    async fn call_with(&self, headers: &[(&str, &str)], path: &str, request: Value) -> Outcome {
        let bearer = format!("Bearer {}", self.admin_token);
        let mut all = vec![("content-type", "application/json"), ("authorization", &*bearer)];
        all.extend(headers);
        outcome(&self.http.send(Method::POST, path, &all, request.to_string()).await)
    }

    /// Creates a key with the API key service.
    async fn create_key_from(&self, request: Value) -> Credentials {
        let created = self.keys("Create", request).await.unwrap();
        credentials(&created, &created["apiKey"])
    }

    /// The key as the API key service returns it.
    async fn shown(&self, client_id: &str) -> Value {
        self.keys("Get", json!({ "clientId": client_id })).await.unwrap()["apiKey"].clone()
    }

    /// Whether a secret fetches tokens.
    async fn secret_works(&self, key: &Credentials) -> bool {
        let response = self.http.token(key, &[]).await;
        match response.status {
            StatusCode::OK => true,
            StatusCode::UNAUTHORIZED => false,
            _ => panic!("neither a token nor a refusal: {}", response.text()),
        }
    }
}

/// Stops a server and returns its whole log.
async fn stop_and_read_log(mut server: ServerProcess) -> Vec<Value> {
    assert!(server.stop().await.success());
    server.log()
}

/// The client id and secret in a response that contains a secret.
fn credentials(shown: &Value, key: &Value) -> Credentials {
    Credentials {
        client_id: key["clientId"].as_str().unwrap().to_owned(),
        client_secret: shown["clientSecret"].as_str().unwrap().to_owned(),
    }
}

/// The client ids in a list response, in its order.
fn client_ids(response: &Value) -> Vec<&str> {
    let keys = response["apps"].as_array().or(response["apiKeys"].as_array());
    keys.map_or(&[][..], Vec::as_slice)
        .iter()
        .map(|key| key["clientId"].as_str().unwrap())
        .collect()
}
