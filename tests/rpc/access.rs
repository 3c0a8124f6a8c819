//! Which callers may call which methods. Everyone else is denied.

use std::collections::BTreeMap;

use http::{HeaderValue, Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{health_and_reflection::served_methods, outcome, refused};
use crate::support::{Server, ServerProcess, connection};

/// What a method requires of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Requires {
    Nothing,
    AnyKey,
    AdminOrSelf,
    Admin,
}

/// Every method that is served, and the access it requires.
const METHODS: [(&str, Requires); 29] = [
    ("/cloudidl.authorizer.AuthorizerService/AssignIdentity", Requires::Admin),
    ("/cloudidl.authorizer.AuthorizerService/GetIdentityAssignments", Requires::Admin),
    ("/cloudidl.authorizer.AuthorizerService/GetPolicy", Requires::Admin),
    ("/cloudidl.authorizer.AuthorizerService/GetRole", Requires::Admin),
    ("/cloudidl.authorizer.AuthorizerService/UnassignIdentity", Requires::Admin),
    ("/cloudidl.identity.AppsService/Create", Requires::Admin),
    ("/cloudidl.identity.AppsService/Delete", Requires::Admin),
    ("/cloudidl.identity.AppsService/Get", Requires::AdminOrSelf),
    ("/cloudidl.identity.AppsService/List", Requires::Admin),
    ("/cloudidl.identity.AppsService/Update", Requires::Admin),
    ("/flyteidl.service.AuthMetadataService/GetOAuth2Metadata", Requires::Nothing),
    ("/flyteidl.service.AuthMetadataService/GetPublicClientConfig", Requires::Nothing),
    ("/flyteidl.service.IdentityService/UserInfo", Requires::AnyKey),
    ("/flyteidl2.auth.AuthMetadataService/GetOAuth2Metadata", Requires::Nothing),
    ("/flyteidl2.auth.AuthMetadataService/GetPublicClientConfig", Requires::Nothing),
    ("/flyteidl2.auth.IdentityService/UserInfo", Requires::AnyKey),
    ("/gatekey.v1.ApiKeyService/Create", Requires::Admin),
    ("/gatekey.v1.ApiKeyService/Delete", Requires::Admin),
    ("/gatekey.v1.ApiKeyService/Disable", Requires::Admin),
    ("/gatekey.v1.ApiKeyService/Enable", Requires::Admin),
    ("/gatekey.v1.ApiKeyService/Get", Requires::AdminOrSelf),
    ("/gatekey.v1.ApiKeyService/List", Requires::Admin),
    ("/gatekey.v1.ApiKeyService/RetireSecret", Requires::Admin),
    ("/gatekey.v1.ApiKeyService/RotateSecret", Requires::AdminOrSelf),
    ("/gatekey.v1.ApiKeyService/Update", Requires::Admin),
    ("/grpc.health.v1.Health/Check", Requires::Nothing),
    ("/grpc.health.v1.Health/Watch", Requires::Nothing),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Requires::AnyKey),
    ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Requires::AnyKey),
];

#[tokio::test]
async fn every_method_has_exactly_the_expected_access() {
    let server = Server::start().await;
    let served = served_methods(&server.process, &server.admin_token).await;
    let expected: BTreeMap<&str, Requires> = METHODS.into();
    assert!(
        served.keys().map(String::as_str).eq(expected.keys().copied()),
        "served: {:#?}",
        served.keys()
    );
    let mut callers = vec![("nobody", String::new())];
    for role in ["contributor", "viewer", "verifier", "admin"] {
        let wire = format!("ROLE_{}", role.to_uppercase());
        let key = server
            .create_key_from(json!({ "clientId": format!("{role}-key"), "role": wire }))
            .await;
        callers.push((role, server.token(&key).await));
    }
    let roleless =
        server.create_key_from(json!({ "clientId": "roleless", "withoutRole": true })).await;
    callers.push(("roleless", server.token(&roleless).await));
    for (procedure, streams) in served {
        // Streaming methods have their own tests.
        if streams {
            continue;
        }
        for (caller, token) in &callers {
            let outcome = server.call(token, &procedure, json!({})).await;
            let code = outcome.as_ref().map_or_else(|refusal| refusal.code.as_str(), |_| "ok");
            let right = match (expected[procedure.as_str()], *caller) {
                (Requires::AnyKey | Requires::AdminOrSelf | Requires::Admin, "nobody") => {
                    code == "unauthenticated"
                }
                (Requires::Nothing | Requires::AnyKey, _) => code == "ok",
                // An empty request names no key.
                (Requires::AdminOrSelf | Requires::Admin, "admin") => {
                    matches!(code, "ok" | "invalid_argument")
                }
                (Requires::AdminOrSelf | Requires::Admin, _) => code == "permission_denied",
            };
            assert!(right, "{procedure} by {caller}: {outcome:?}");
        }
    }
}

#[tokio::test]
async fn a_key_may_only_get_and_rotate_itself() {
    let server = Server::start().await;
    for (client_id, made) in [
        ("roleless", json!({ "clientId": "roleless", "withoutRole": true })),
        ("contributor", json!({ "clientId": "contributor" })),
        ("viewer", json!({ "clientId": "viewer", "role": "ROLE_VIEWER" })),
        ("verifier", json!({ "clientId": "verifier", "role": "ROLE_VERIFIER" })),
    ] {
        let key = server.create_key_from(made).await;
        let token = server.token(&key).await;
        let request = json!({ "clientId": client_id });
        let secret_id = server.shown(client_id).await["secrets"][0]["id"].clone();
        for method in ["Create", "Update", "Delete", "List"] {
            let outcome = server.apps_as(&token, method, request.clone()).await;
            refused(&outcome, "permission_denied", &["role admin is needed"]);
        }
        for (method, request) in [
            ("Create", request.clone()),
            ("List", json!({})),
            (
                "Update",
                json!({ "apiKey": { "clientId": client_id, "role": "ROLE_ADMIN" }, "updateMask": "role" }),
            ),
            ("Delete", request.clone()),
            ("RetireSecret", json!({ "clientId": client_id, "secretId": secret_id })),
            ("Disable", request.clone()),
            ("Enable", request.clone()),
        ] {
            let outcome = server.keys_as(&token, method, request).await;
            refused(&outcome, "permission_denied", &["role admin is needed"]);
        }
        let got = server.apps_as(&token, "Get", request.clone()).await.unwrap();
        assert_eq!(got["app"]["clientId"], client_id);
        let got = server.keys_as(&token, "Get", request.clone()).await.unwrap();
        assert_eq!(got["apiKey"]["clientId"], client_id);
        let rotate = json!({ "clientId": client_id, "currentSecret": key.client_secret });
        let rotated = server.keys_as(&token, "RotateSecret", rotate).await.unwrap();
        assert!(
            !server.accepts(&token).await,
            "without a grace, the token is revoked with the secret"
        );
        assert!(server.secret_works(&super::credentials(&rotated, &rotated["apiKey"])).await);
    }
}

/// A stolen token must not become a secret that outlives it.
#[tokio::test]
async fn rotating_oneself_needs_the_current_secret() {
    let server = Server::start().await;
    let other = server.create_key("other").await;
    let bare = server.create_key_with("bare", json!({ "withoutRole": true })).await;
    for key in [&server.admin, &other, &bare] {
        let (id, token) = (&key.client_id, server.token(key).await);
        for (secret, code) in [
            (json!(null), "invalid_argument"),
            (json!(""), "invalid_argument"),
            (json!(token), "permission_denied"),
            (json!(format!("{} ", key.client_secret)), "permission_denied"),
            (json!(if id == "other" { &bare } else { &other }.client_secret), "permission_denied"),
        ] {
            let rotate = json!({ "clientId": id, "currentSecret": secret, "grace": "60s" });
            let outcome = server.keys_as(&token, "RotateSecret", rotate).await;
            refused(&outcome, code, &["current_secret"]);
        }
        let rotate = json!({ "clientId": id, "currentSecret": key.client_secret, "grace": "60s" });
        let rotated = server.keys_as(&token, "RotateSecret", rotate).await.unwrap();
        assert!(server.secret_works(&super::credentials(&rotated, &rotated["apiKey"])).await);
    }
    let rotate = json!({ "clientId": "other" });
    server.keys("RotateSecret", rotate).await.unwrap();
}

#[tokio::test]
async fn a_retired_secret_does_not_rotate_its_key() {
    let server = Server::start().await;
    let old = server.create_key("ci").await;
    let new = server.rotate(&old, json!({})).await;
    let token = server.token(&new).await;
    let rotate = json!({ "clientId": "ci", "currentSecret": old.client_secret });
    let outcome = server.keys_as(&token, "RotateSecret", rotate).await;
    refused(&outcome, "permission_denied", &["current_secret"]);
}

#[tokio::test]
async fn guessing_the_current_secret_is_throttled() {
    let server = Server::with_config("limits.failed_authentications_per_minute = 2").await;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    let rotate = async |secret: &str| {
        let rotate = json!({ "clientId": "ci", "currentSecret": secret });
        let path = "/gatekey.v1.ApiKeyService/RotateSecret";
        server.http.connect_json(path, &token, &rotate).await
    };
    for status in [403, 403, 429] {
        assert_eq!(rotate("gk_wrong").await.status, status);
    }
    let throttled = rotate("gk_wrong").await;
    assert_eq!(throttled.json()["code"], "resource_exhausted");
    assert!(throttled.header("retry-after").parse::<u64>().unwrap() > 0);
    assert_eq!(rotate(&key.client_secret).await.status, 200, "a right secret always passes");
}

/// The refusal is the same whether the key exists or not.
#[tokio::test]
async fn a_forbidden_caller_cannot_probe_for_keys() {
    let server = Server::start().await;
    server.create_key("exists").await;
    let key = server.create_key("asking").await;
    let token = server.token(&key).await;
    for method in ["Get", "RotateSecret"] {
        let answers =
            ["exists", "exists-not", "asking ", "ASKING", "a:b", ""].map(async |client_id| {
                server.keys_as(&token, method, json!({ "clientId": client_id })).await.unwrap_err()
            });
        let answers = futures::future::join_all(answers).await;
        answers[0].must_be("permission_denied", &["role admin is needed"]);
        assert!(answers.iter().all(|response| *response == answers[0]), "{answers:?}");
    }
}

#[tokio::test]
async fn every_invalid_credential_is_unauthenticated() {
    let server = Server::start().await;
    let stranger = Server::start().await;
    let good = &server.admin_token;
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    // {"alg":"none"}
    let unsigned = format!("eyJhbGciOiJub25lIn0.{claims}.");
    let path = "/cloudidl.identity.AppsService/List";
    for credential in [
        String::new(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        good.clone(),
        format!("Token {good}"),
        "Basic YWRtaW46YWRtaW4=".to_owned(),
        format!("Bearer {good}x"),
        format!("Bearer {good} {good}"),
        format!("Bearer {signed}"),
        format!("Bearer {signed}."),
        format!("Bearer {header}.{claims}.{}", signature.chars().rev().collect::<String>()),
        format!("Bearer {unsigned}"),
        format!("Bearer {}", stranger.admin_token),
        format!("Bearer {}", "a".repeat(10_000)),
        "Bearer gk_0000000000000000000000000000000000000".to_owned(),
    ] {
        let headers = [("content-type", "application/json"), ("authorization", &*credential)];
        let response = server.http.send(Method::POST, path, &headers, "{}").await;
        assert_eq!(response.status, StatusCode::UNAUTHORIZED, "{credential:?}");
        refused(&outcome(&response), "unauthenticated", &["unauthenticated: "]);
        assert!(
            credential.len() < 8 || !response.text().contains(&credential),
            "echoed: {}",
            response.text()
        );
    }
    let bearer = format!("Bearer {good}");
    for other in ["Bearer x", "Basic YWRtaW46YWRtaW4=", &format!("Bearer {}", stranger.admin_token)]
    {
        let headers = [
            ("content-type", "application/json"),
            ("authorization", &*bearer),
            ("authorization", other),
        ];
        let response = server.http.send(Method::POST, path, &headers, "{}").await;
        refused(&outcome(&response), "unauthenticated", &["more than one credential"]);
    }
    let headers = [("content-type", "application/json"), ("authorization", &*bearer)];
    assert_eq!(server.http.send(Method::POST, path, &headers, "{}").await.status, StatusCode::OK);
}

/// The server has checked the credential by the time that it sends `100 Continue`.
#[tokio::test]
async fn access_is_checked_again_after_the_body() {
    let server = Server::start().await;
    let id = json!({ "clientId": "other" });
    let demote = json!({ "apiKey": { "clientId": "other", "role": "ROLE_CONTRIBUTOR" }, "updateMask": "role" });
    for (method, request, code) in [
        ("Update", &demote, "permission_denied"),
        ("RotateSecret", &id, "unauthenticated"),
        ("Disable", &id, "unauthenticated"),
        ("Delete", &id, "unauthenticated"),
    ] {
        let other =
            server.create_key_from(json!({ "clientId": "other", "role": "ROLE_ADMIN" })).await;
        let token = server.token(&other).await;
        let body = r#"{"clientId": "made"}"#;
        let authorization = format!("authorization: Bearer {token}");
        let headers = [&*authorization, "content-type: application/json", "connection: close"];
        let create = "/cloudidl.identity.AppsService/Create";
        let mut stream = connection::begin(&server.process, create, &headers, body.len()).await;
        server.keys(method, request.clone()).await.unwrap();
        stream.write_all(body.as_bytes()).await.unwrap();
        let mut response = String::new();
        let _ = stream.read_to_string(&mut response).await;
        assert!(response.contains(&format!(r#""code":"{code}""#)), "after {method}: {response}");
        refused(&server.apps("Get", json!({ "clientId": "made" })).await, "not_found", &[]);
        // The last round has deleted it already.
        let _ = server.keys("Delete", id.clone()).await;
    }
}

/// gRPC reports it in a header of a response with status 200, Connect by the HTTP status.
#[tokio::test]
async fn a_refusal_follows_the_protocol_of_its_request() {
    let server = Server::start().await;
    let path = "/cloudidl.identity.AppsService/List";
    let send = async |content_type: &str| {
        let headers = [("content-type", content_type), ("te", "trailers")];
        server.http.send(Method::POST, path, &headers, "\0\0\0\0\0").await
    };
    for content_type in ["application/grpc", "application/grpc+proto", "application/grpc-web"] {
        let response = send(content_type).await;
        assert_eq!(response.status, StatusCode::OK, "{content_type}");
        assert!(
            response.header("content-type").starts_with(content_type),
            "{}",
            response.header("content-type")
        );
        let status = response.headers.get("grpc-status").or(response.trailers.get("grpc-status"));
        let in_body = response.text().contains("grpc-status: 16")
            || response.text().contains("grpc-status:16");
        assert!(
            status == Some(&HeaderValue::from_static("16")) || in_body,
            "{content_type}: {response:?}"
        );
    }
    for content_type in ["application/json", "application/proto"] {
        let response = send(content_type).await;
        assert_eq!(response.status, StatusCode::UNAUTHORIZED, "{content_type}");
        assert_eq!(response.header("content-type"), "application/json");
        assert_eq!(response.json()["code"], "unauthenticated");
        assert_ne!(response.json()["message"], Value::Null);
    }
}

#[tokio::test]
async fn the_rpcs_require_the_servers_audience() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("gatekey.toml");
    std::fs::write(
        &config,
        "tokens.audiences = [\"https://flyte.example.com\", \"https://other.example.com\"]\n",
    )
    .unwrap();
    let server = ServerProcess::start_with(&["--config", config.to_str().unwrap()]);
    let admin = server.init();
    let http = server.http();
    let list = "/gatekey.v1.ApiKeyService/List";
    for (audience, status) in [
        ("https://flyte.example.com", 401),
        ("https://other.example.com", 401),
        (&*server.url, 200),
        ("", 200),
    ] {
        let response = http.token(&admin, &[("audience", audience)]).await;
        let token = response.json()["access_token"].as_str().unwrap().to_owned();
        assert_eq!(http.connect_json(list, &token, &json!({})).await.status, status, "{audience}");
    }
}
