//! The OpenAPI document, compared with what the server does.

use http::{Method, StatusCode};
use serde_json::Value;

use crate::support::Server;

const METHODS: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
];

/// The paths of the document, with their operations.
async fn paths(server: &Server) -> serde_json::Map<String, Value> {
    let response = server.http.get("/openapi.json", &[]).await;
    assert_eq!(
        (response.status, response.header("content-type")),
        (StatusCode::OK, "application/json")
    );
    let document = response.json();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["servers"][0]["url"], server.process.url);
    document["paths"].as_object().unwrap().clone()
}

/// A path with values for its fields.
fn filled(path: &str) -> String {
    path.replace("{client_id}", "admin").replace("{secret_id}", "none")
}

#[tokio::test]
async fn a_path_accepts_exactly_the_documented_methods() {
    let server = Server::start().await;
    for (path, operations) in paths(&server).await {
        let path = filled(&path);
        for method in METHODS {
            // A path that accepts GET accepts HEAD.
            let name =
                if method == Method::HEAD { "get".into() } else { method.as_str().to_lowercase() };
            let response = server.http.send(method.clone(), &path, &[], "").await;
            if (&method, response.status) == (&Method::OPTIONS, StatusCode::NO_CONTENT) {
                continue; // The preflight of a public document is not an operation.
            }
            let taken = response.status != StatusCode::METHOD_NOT_ALLOWED;
            assert_eq!(
                taken,
                operations.get(&name).is_some(),
                "{method} {path}: {}",
                response.status
            );
            assert_ne!(response.status, StatusCode::NOT_FOUND, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn the_document_states_which_operations_are_open() {
    let server = Server::start().await;
    for (path, operations) in paths(&server).await {
        for (method, operation) in operations.as_object().unwrap() {
            let open = operation["security"].as_array().unwrap().is_empty();
            let method: Method = method.to_uppercase().parse().unwrap();
            let form = operation["requestBody"]["content"]
                .get("application/x-www-form-urlencoded")
                .is_some();
            let headers: &[_] =
                if form { &[("content-type", "application/x-www-form-urlencoded")] } else { &[] };
            let response = server.http.send(method.clone(), &filled(&path), headers, "").await;
            let expected = if open { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
            assert_eq!(response.status, expected, "{method} {path}: {}", response.text());
        }
    }
}
