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
async fn an_unknown_path_points_to_the_document() {
    let server = Server::start().await;
    for path in ["/", "/nothing", "/oauth2", "/gatekey/v1", "/oauth_app/api/v1/a/b"] {
        let response = server.http.get(path, &[]).await;
        assert_eq!(response.status, StatusCode::NOT_FOUND, "{path}");
        let description = response.json()["error_description"].as_str().unwrap().to_owned();
        assert!(
            description.contains(&format!("{}/openapi.json", server.process.url)),
            "{description}"
        );
    }
}

/// What a reader copies from the document works.
#[tokio::test]
async fn documented_requests_are_accepted() {
    let server = Server::start().await;
    let response = server.http.get("/openapi.json", &[]).await.json();
    let bearer = format!("Bearer {}", server.admin_token);
    let headers = [("authorization", &*bearer), ("content-type", "application/json")];
    let mut sent = 0;
    for (method, path) in [
        ("post", "/gatekey/v1/keys"),
        ("patch", "/gatekey/v1/keys/{client_id}"),
        ("post", "/gatekey/v1/keys/{client_id}/rotate"),
        ("put", "/oauth_app/api/v1/{client_id}"),
        ("delete", "/gatekey/v1/keys/{client_id}"),
        ("post", "/oauth_app/api/v1"),
    ] {
        let operation = &response["paths"][path][method];
        assert!(operation["summary"].is_string(), "{method} {path}");
        let content = &operation["requestBody"]["content"]["application/json"]["schema"];
        let reference = content["$ref"].as_str().map(|name| name.trim_start_matches('#'));
        let schema = reference.map_or(content, |name| response.pointer(name).unwrap());
        let mut body = schema["examples"][0].clone();
        if method == "patch" {
            // The other members are read-only.
            let properties = schema["properties"].as_object().unwrap();
            let members = body.as_object_mut().unwrap();
            members.retain(|name, _| properties[name]["readOnly"] != true);
            assert_eq!(properties["role"]["enum"][2], "viewer");
            assert!(members.contains_key("role"));
        }
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let path = path.replace("{client_id}", "ci");
        let method: Method = method.to_uppercase().parse().unwrap();
        let answer = server.http.send(method.clone(), &path, &headers, body.clone()).await;
        assert_eq!(answer.status, StatusCode::OK, "{method} {path} {body}: {}", answer.text());
        sent += 1;
    }
    assert_eq!(sent, 6);
    let key = &response["components"]["schemas"]["gatekey.v1.ApiKey"];
    assert_eq!(key["required"][0], "clientId");
    assert_eq!(
        response["components"]["schemas"]["gatekey.v1.CreateRequest"]["anyOf"][0]["required"][0],
        "clientId"
    );
}

#[tokio::test]
async fn a_path_accepts_exactly_the_documented_methods() {
    // Disabled endpoints are not found.
    let gate = "[server]\ntrusted_proxies = [\"127.0.0.1\"]\n[gate]\nforward_auth = true\n";
    let server = Server::with_config(gate).await;
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
        if path.starts_with("/gate/") {
            continue; // The answer depends on the request that a proxy asks about.
        }
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
