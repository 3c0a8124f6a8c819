//! Who may call what. What is denied is denied to everybody who is not named.

use std::collections::BTreeMap;

use http::{HeaderValue, Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{health_and_reflection::served_methods, outcome, refused};
use crate::support::{Server, connection};

/// What a method needs of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    AnyKey,
    AdminOrSelf,
    Admin,
}

/// Everything that is served, and to whom: who adds a method decides here.
const METHODS: [(&str, Needs); 24] = [
    ("/cloudidl.identity.AppsService/Create", Needs::Admin),
    ("/cloudidl.identity.AppsService/Delete", Needs::Admin),
    ("/cloudidl.identity.AppsService/Get", Needs::AdminOrSelf),
    ("/cloudidl.identity.AppsService/List", Needs::Admin),
    ("/cloudidl.identity.AppsService/Update", Needs::Admin),
    ("/flyteidl.service.AuthMetadataService/GetOAuth2Metadata", Needs::Nothing),
    ("/flyteidl.service.AuthMetadataService/GetPublicClientConfig", Needs::Nothing),
    ("/flyteidl.service.IdentityService/UserInfo", Needs::AnyKey),
    ("/flyteidl2.auth.AuthMetadataService/GetOAuth2Metadata", Needs::Nothing),
    ("/flyteidl2.auth.AuthMetadataService/GetPublicClientConfig", Needs::Nothing),
    ("/flyteidl2.auth.IdentityService/UserInfo", Needs::AnyKey),
    ("/gatekey.v1.ApiKeyService/Create", Needs::Admin),
    ("/gatekey.v1.ApiKeyService/Delete", Needs::Admin),
    ("/gatekey.v1.ApiKeyService/Disable", Needs::Admin),
    ("/gatekey.v1.ApiKeyService/Enable", Needs::Admin),
    ("/gatekey.v1.ApiKeyService/Get", Needs::AdminOrSelf),
    ("/gatekey.v1.ApiKeyService/List", Needs::Admin),
    ("/gatekey.v1.ApiKeyService/RetireSecret", Needs::Admin),
    ("/gatekey.v1.ApiKeyService/RotateSecret", Needs::AdminOrSelf),
    ("/gatekey.v1.ApiKeyService/Update", Needs::Admin),
    ("/grpc.health.v1.Health/Check", Needs::Nothing),
    ("/grpc.health.v1.Health/Watch", Needs::Nothing),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Needs::Nothing),
    ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Needs::Nothing),
];

#[tokio::test]
async fn every_method_that_is_served_is_open_to_whom_it_should_be_and_to_nobody_else() {
    let server = Server::start().await;
    let served = served_methods(&server.process).await;
    let expected: BTreeMap<&str, Needs> = METHODS.into();
    assert!(served.keys().map(String::as_str).eq(expected.keys().copied()), "served: {:#?}", served.keys());
    let mut callers = vec![("nobody", String::new())];
    for role in ["contributor", "viewer", "verifier", "admin"] {
        let wire = format!("ROLE_{}", role.to_uppercase());
        let key = server.create_key_from(json!({ "clientId": format!("{role}-key"), "role": wire })).await;
        callers.push((role, server.token(&key).await));
    }
    let roleless = server.create_key_from(json!({ "clientId": "roleless", "withoutRole": true })).await;
    callers.push(("roleless", server.token(&roleless).await));
    for (procedure, streams) in served {
        // Streams have tests of their own; none of them needs a credential.
        if streams {
            continue;
        }
        for (caller, token) in &callers {
            let outcome = server.call(token, &procedure, json!({})).await;
            let code = outcome.as_ref().map_or_else(|refusal| refusal.code.as_str(), |_| "ok");
            let right = match (expected[procedure.as_str()], *caller) {
                (Needs::AnyKey | Needs::AdminOrSelf | Needs::Admin, "nobody") => code == "unauthenticated",
                (Needs::Nothing | Needs::AnyKey, _) => code == "ok",
                // An empty request is about no key.
                (Needs::AdminOrSelf | Needs::Admin, "admin") => matches!(code, "ok" | "invalid_argument"),
                (Needs::AdminOrSelf | Needs::Admin, _) => code == "permission_denied",
            };
            assert!(right, "{procedure} by {caller}: {outcome:?}");
        }
    }
}

#[tokio::test]
async fn a_key_may_get_and_rotate_itself_and_nothing_else() {
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
        let rotated = server.keys_as(&token, "RotateSecret", request.clone()).await.unwrap();
        assert!(!server.accepts(&token).await, "no grace: the token dies with the secret");
        assert!(server.secret_works(&super::credentials(&rotated, &rotated["apiKey"])).await);
    }
}

#[tokio::test]
async fn who_may_not_ask_about_a_key_does_not_learn_whether_it_exists() {
    let server = Server::start().await;
    server.create_key("exists").await;
    let key = server.create_key("asking").await;
    let token = server.token(&key).await;
    for method in ["Get", "RotateSecret"] {
        let answers = ["exists", "exists-not", "asking ", "ASKING", "a:b", ""].map(async |client_id| {
            server.keys_as(&token, method, json!({ "clientId": client_id })).await.unwrap_err()
        });
        let answers = futures::future::join_all(answers).await;
        answers[0].must_be("permission_denied", &["role admin is needed"]);
        assert!(answers.iter().all(|response| *response == answers[0]), "{answers:?}");
    }
}

#[tokio::test]
async fn a_credential_that_is_none_is_unauthenticated_whatever_is_wrong_with_it() {
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
    for other in ["Bearer x", "Basic YWRtaW46YWRtaW4=", &format!("Bearer {}", stranger.admin_token)] {
        let headers =
            [("content-type", "application/json"), ("authorization", &*bearer), ("authorization", other)];
        let response = server.http.send(Method::POST, path, &headers, "{}").await;
        refused(&outcome(&response), "unauthenticated", &["more than one credential"]);
    }
    let headers = [("content-type", "application/json"), ("authorization", &*bearer)];
    assert_eq!(server.http.send(Method::POST, path, &headers, "{}").await.status, StatusCode::OK);
}

/// The server says `100 Continue` when it wants the body: it has seen the credential by then.
#[tokio::test]
async fn a_caller_that_loses_its_right_while_its_body_arrives_is_refused() {
    let server = Server::start().await;
    let id = json!({ "clientId": "other" });
    let demote = json!({ "apiKey": { "clientId": "other", "role": "ROLE_VIEWER" }, "updateMask": "role" });
    for (method, request, code) in [
        ("Update", &demote, "permission_denied"),
        ("RotateSecret", &id, "unauthenticated"),
        ("Disable", &id, "unauthenticated"),
        ("Delete", &id, "unauthenticated"),
    ] {
        let other = server.create_key_from(json!({ "clientId": "other", "role": "ROLE_ADMIN" })).await;
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
        // Deleted already in the last round.
        let _ = server.keys("Delete", id.clone()).await;
    }
}

/// gRPC says so in a header of an answer that is otherwise a success, Connect by HTTP's own status.
#[tokio::test]
async fn a_refusal_has_the_shape_of_the_protocol_that_was_spoken() {
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
        let said = response.headers.get("grpc-status").or(response.trailers.get("grpc-status"));
        let in_body =
            response.text().contains("grpc-status: 16") || response.text().contains("grpc-status:16");
        assert!(said == Some(&HeaderValue::from_static("16")) || in_body, "{content_type}: {response:?}");
    }
    for content_type in ["application/json", "application/proto"] {
        let response = send(content_type).await;
        assert_eq!(response.status, StatusCode::UNAUTHORIZED, "{content_type}");
        assert_eq!(response.header("content-type"), "application/json");
        assert_eq!(response.json()["code"], "unauthenticated");
        assert_ne!(response.json()["message"], Value::Null);
    }
}
