//! Requests that are too large, too deep or malformed: each is refused with its own code, and the
//! server keeps serving.

use connectrpc::compression::CompressionRegistry;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    Outcome, outcome,
    protocols::{Protocol, RpcClient},
    refused, stop_and_read_log,
};
use crate::support::{Response, Server};

const CREATE: &str = "/cloudidl.identity.AppsService/Create";
const MEBIBYTE: usize = 1 << 20;

impl Server {
    async fn post(&self, path: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Response {
        let bearer = format!("Bearer {}", self.admin_token);
        let mut all = vec![("authorization", &*bearer)];
        all.extend(headers);
        self.http.send(Method::POST, path, &all, body.as_ref().to_vec()).await
    }

    async fn create_raw(&self, content_type: &str, body: impl AsRef<[u8]>) -> Outcome {
        outcome(&self.post(CREATE, &[("content-type", content_type)], body).await)
    }

    /// The server must still serve, and must not have logged an error.
    async fn assert_healthy(self) {
        self.create_key("afterwards").await;
        for line in stop_and_read_log(self.process).await {
            assert_ne!(line["level"], "ERROR", "{line}");
            assert!(!line.to_string().contains("panicked"), "{line}");
        }
    }
}

/// A gRPC frame: not compressed, length, message.
fn frame(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0][..], &length, message].concat()
}

fn gzip(data: &[u8]) -> Vec<u8> {
    CompressionRegistry::default().compress("gzip", data).unwrap().to_vec()
}

/// The code in a gRPC response.
fn grpc_status(response: &Response) -> &str {
    let status = response.headers.get("grpc-status").or(response.trailers.get("grpc-status"));
    status.map_or("", |status| status.to_str().unwrap())
}

/// Covers every protocol.
#[tokio::test]
async fn a_body_over_1_mib_is_refused() {
    let server = Server::start().await;
    for protocol in Protocol::ALL {
        let client = RpcClient::new(&server.process, protocol);
        let request = json!({ "clientId": "big", "clientName": "n".repeat(MEBIBYTE) });
        let outcome = client.call(CREATE, &server.admin_token, &request).await;
        let Err(refusal) = outcome else { panic!("{}: {outcome:?}", protocol.name()) };
        assert_eq!(refusal.code, "resource_exhausted", "{}: {refusal:?}", protocol.name());
        // A smaller body is read, and refused for its content.
        let request = json!({ "clientId": "big", "clientName": "n".repeat(MEBIBYTE - 1000) });
        let outcome = client.call(CREATE, &server.admin_token, &request).await;
        refused(&outcome, "invalid_argument", &["client_name", "200 characters"]);
        assert!(outcome.unwrap_err().message.len() < 1000, "the name is not echoed");
    }
    server.assert_healthy().await;
}

/// Their requests are tiny, so unauthenticated callers cannot make the server buffer much.
#[tokio::test]
async fn open_methods_refuse_a_body_over_16_kib() {
    let server = Server::start().await;
    for procedure in [
        "/flyteidl2.auth.AuthMetadataService/GetOAuth2Metadata",
        "/flyteidl.service.AuthMetadataService/GetPublicClientConfig",
        "/flyteidl2.auth.IdentityService/UserInfo",
        "/grpc.health.v1.Health/Check",
    ] {
        let small = json!({ "padding": "p".repeat(10_000) });
        assert!(server.call(&server.admin_token, procedure, small).await.is_ok(), "{procedure}");
        let large = json!({ "padding": "p".repeat(17_000) });
        refused(
            &server.call(&server.admin_token, procedure, large).await,
            "resource_exhausted",
            &[],
        );
    }
    server.assert_healthy().await;
}

/// A key without a role may call these for itself.
#[tokio::test]
async fn methods_for_oneself_refuse_over_16_kib() {
    let server = Server::start().await;
    let key = server.create_key_with("roleless", json!({ "withoutRole": true })).await;
    let token = server.token(&key).await;
    for procedure in [
        "/cloudidl.identity.AppsService/Get",
        "/gatekey.v1.ApiKeyService/Get",
        "/gatekey.v1.ApiKeyService/RotateSecret",
    ] {
        for name in ["clientId", "padding"] {
            let large = json!({ name: "p".repeat(17_000) });
            refused(&server.call(&token, procedure, large).await, "resource_exhausted", &[]);
        }
    }
    server.assert_healthy().await;
}

#[tokio::test]
async fn an_error_does_not_repeat_long_input() {
    let server = Server::start().await;
    let long = "l".repeat(500_000);
    for request in [
        json!({ "redirectUris": long }),
        json!({ "grantTypes": [long] }),
        json!({ "clientId": long }),
        json!({ "clientName": long }),
        json!({ "redirectUris": [long] }),
        json!({ "organization": long }),
    ] {
        let message = server.apps("Create", request).await.unwrap_err().message;
        assert!((1..=2000).contains(&message.chars().count()), "{} characters", message.len());
    }
    server.assert_healthy().await;
}

#[tokio::test]
async fn a_decompression_bomb_is_refused() {
    let server = Server::start().await;
    let bomb = gzip(&vec![b' '; 16 * MEBIBYTE]);
    assert!(bomb.len() < MEBIBYTE / 2, "{}", bomb.len());
    for content_type in ["application/json", "application/proto"] {
        let headers = [("content-type", content_type), ("content-encoding", "gzip")];
        let response = server.post(CREATE, &headers, &bomb).await;
        refused(&outcome(&response), "resource_exhausted", &[]);
        // A body that was compressed twice is not decompressed twice.
        let response = server.post(CREATE, &headers, gzip(&bomb)).await;
        assert_ne!(response.status, StatusCode::OK, "{}", response.text());
    }
    let mut framed = frame(&bomb);
    framed[0] = 1;
    let headers =
        [("content-type", "application/grpc"), ("grpc-encoding", "gzip"), ("te", "trailers")];
    let response = server.post(CREATE, &headers, framed).await;
    assert_eq!(grpc_status(&response), "8", "{response:?}");
    server.assert_healthy().await;
}

#[tokio::test]
async fn an_invalid_compressed_body_is_refused() {
    let server = Server::start().await;
    let good = gzip(br#"{"clientId": "packed"}"#);
    let mut wrong_sum = good.clone();
    let sum = wrong_sum.len() - 8;
    wrong_sum[sum] ^= 1;
    for body in [&b"not gzip"[..], &good[..good.len() / 2], &good[..good.len() - 1], &wrong_sum] {
        let headers = [("content-type", "application/json"), ("content-encoding", "gzip")];
        let response = server.post(CREATE, &headers, body).await;
        refused(&outcome(&response), "invalid_argument", &[]);
    }
    for encoding in ["br", "deflate", "gzip, gzip"] {
        let headers = [("content-type", "application/json"), ("content-encoding", encoding)];
        let response = server.post(CREATE, &headers, &good).await;
        refused(&outcome(&response), "unimplemented", &[]);
    }
    let headers = [("content-type", "application/json"), ("content-encoding", "gzip")];
    assert_eq!(server.post(CREATE, &headers, &good).await.status, StatusCode::OK);
    server.assert_healthy().await;
}

#[tokio::test]
async fn a_client_id_has_at_most_128_characters() {
    let server = Server::start().await;
    let longest = "a".repeat(128);
    for client_id in [&*longest, "0", "a.b_c-D", "-a", "..a"] {
        server.apps("Create", json!({ "clientId": client_id })).await.unwrap();
        server.apps("Get", json!({ "clientId": client_id })).await.unwrap();
    }
    for (client_id, rule) in [
        (&*"a".repeat(129), "128 characters"),
        (&*"a".repeat(10_000), "128 characters"),
        (&*"\u{1f511}".repeat(64), "128 characters"),
        ("a b", "may contain only"),
        ("a:b", "may contain only"),
        ("a/b", "may contain only"),
        // The separator between issuer and subject of a user, whom no key may impersonate (RFC
        // 9700 section 4.15).
        ("idp|person", "may contain only"),
        ("a%41", "may contain only"),
        ("ключ", "may contain only"),
        ("a\u{0}", "may contain only"),
        ("a\nb", "may contain only"),
        ("a\u{202e}b", "may contain only"),
        (" ", "may contain only"),
        ("-._", "letter or digit"),
    ] {
        let request = json!({ "clientId": client_id });
        for (method, request) in
            [("Create", &request), ("Get", &request), ("Delete", &request), ("Update", &request)]
        {
            let outcome = server.apps(method, request.clone()).await;
            refused(&outcome, "invalid_argument", &["client_id", rule]);
            assert!(outcome.unwrap_err().message.len() < 300);
        }
        for method in
            ["Create", "Get", "Delete", "RotateSecret", "RetireSecret", "Disable", "Enable"]
        {
            let outcome = server.keys(method, request.clone()).await;
            refused(&outcome, "invalid_argument", &["client_id", rule]);
        }
    }
    for method in ["Get", "Update", "Delete"] {
        refused(
            &server.apps(method, json!({})).await,
            "invalid_argument",
            &["client_id", "must not be empty"],
        );
    }
    server.assert_healthy().await;
}

/// None of them may be a control character.
#[tokio::test]
async fn a_client_name_has_at_most_200_characters() {
    let server = Server::start().await;
    for (number, name) in [
        &*"\u{1f511}".repeat(200),
        "Ключ",
        "a",
        "خط أنابيب ❤\u{fe0f} می\u{200c}خواهم",
        "'; DROP TABLE api_key",
    ]
    .into_iter()
    .enumerate()
    {
        let request = json!({ "clientId": format!("key-{number}"), "clientName": name });
        assert_eq!(server.apps("Create", request).await.unwrap()["app"]["clientName"], name);
    }
    for (name, rule) in [
        (&*"a".repeat(201), "200 characters"),
        (&*"é".repeat(201), "200 characters"),
        ("a\nb", "control characters"),
        ("a\u{0}", "control characters"),
        ("\u{1b}[31mred", "control characters"),
        ("a\u{85}b", "control characters"),
        ("  ", "must not be empty"),
        ("\u{200d}", "visible"),
        ("a\u{202e}gnp.exe", "U+202E"),
        ("a\u{2066}b", "U+2066"),
        ("a\u{2028}b", "U+2028"),
        ("a\u{2029}b", "U+2029"),
        ("ad\u{200b}min", "U+200B"),
        ("ad\u{e0061}min", "U+E0061"),
        ("admin\u{fe0f}", "U+FE0F"),
    ] {
        let request = json!({ "clientId": "new", "clientName": name });
        refused(
            &server.apps("Create", request.clone()).await,
            "invalid_argument",
            &["client_name", rule],
        );
        refused(&server.keys("Create", request).await, "invalid_argument", &["client_name", rule]);
        let request = json!({ "clientId": "key-0", "clientName": name });
        refused(&server.apps("Update", request).await, "invalid_argument", &["client_name", rule]);
        let request = json!({ "apiKey": { "clientId": "key-0", "clientName": name }, "updateMask": "clientName" });
        refused(&server.keys("Update", request).await, "invalid_argument", &["client_name", rule]);
    }
    server.assert_healthy().await;
}

#[tokio::test]
async fn lists_and_urls_are_bounded() {
    let server = Server::start().await;
    let uris = |count: usize| {
        (0..count).map(|at| format!("https://{at}.example.com/")).collect::<Vec<_>>()
    };
    server.apps("Create", json!({ "clientId": "fifty", "redirectUris": uris(50) })).await.unwrap();
    for (field, value, rule) in [
        ("redirectUris", json!(uris(51)), "at most 50 entries"),
        ("redirectUris", json!(["https://a/", "https://a/"]), "twice"),
        ("contacts", json!(vec![""; 1]), "1 to 320 bytes"),
        ("contacts", json!(["ci\u{202e}@example.com"]), "U+202E"),
        ("contacts", json!(["c".repeat(321)]), "1 to 320 bytes"),
        (
            "contacts",
            json!((0..51).map(|at| at.to_string()).collect::<Vec<_>>()),
            "at most 50 entries",
        ),
        ("grantTypes", json!(vec![3; 100_000]), "twice"),
        ("responseTypes", json!(["CODE", "CODE"]), "twice"),
        ("logoUri", json!("ftp://example.com/"), "http or https"),
        ("clientUri", json!("example.com"), "http or https"),
        ("policyUri", json!(format!("https://example.com/{}", "p".repeat(2048))), "2048 bytes"),
        ("tosUri", json!("https://example.com/a b"), "http or https"),
        ("jwksUri", json!("data:application/json,{}"), "http or https"),
    ] {
        let mut request = json!({ "clientId": "new" });
        request[field] = value.clone();
        let snake = field.replace('U', "_u").replace('T', "_t");
        refused(&server.apps("Create", request.clone()).await, "invalid_argument", &[&snake, rule]);
        request["clientId"] = json!("fifty");
        refused(&server.apps("Update", request).await, "invalid_argument", &[&snake, rule]);
    }
    server.assert_healthy().await;
}

#[tokio::test]
async fn an_unknown_enum_value_names_its_field() {
    let server = Server::start().await;
    server.create_key("ci").await;
    for (field, named, tag) in [
        ("responseTypes", "response_types", 0x28),
        ("grantTypes", "grant_types", 0x30),
        ("applicationType", "application_type", 0x38),
        ("tokenEndpointAuthMethod", "token_endpoint_auth_method", 0x78),
    ] {
        for method in ["Create", "Update"] {
            for number in [6, -1, i32::MAX, i32::MIN] {
                let value = if field.ends_with("Types") { json!([number]) } else { json!(number) };
                let mut request = json!({ "clientId": "ci" });
                request[field] = value;
                let outcome = server.apps(method, request).await;
                refused(&outcome, "invalid_argument", &[named, &number.to_string()]);
            }
            // clientId is field 2; the enum's number is 99.
            let message = [b"\x12\x02ci".as_slice(), &[tag, 99]].concat();
            let path = format!("/cloudidl.identity.AppsService/{method}");
            let response =
                server.post(&path, &[("content-type", "application/proto")], message).await;
            refused(&outcome(&response), "invalid_argument", &[named, "99"]);
            let value = if field.ends_with("Types") { json!(["NOPE"]) } else { json!("NOPE") };
            let mut request = json!({ "clientId": "ci" });
            request[field] = value;
            refused(&server.apps(method, request).await, "invalid_argument", &[]);
        }
    }
    let consent = json!({ "clientId": "new", "consentMethod": 3 });
    refused(&server.apps("Create", consent).await, "invalid_argument", &["consent_method", "3"]);
    let role = json!({ "apiKey": { "clientId": "ci", "role": 17 }, "updateMask": "role" });
    refused(&server.keys("Update", role).await, "invalid_argument", &["role", "17"]);
    server.assert_healthy().await;
}

#[tokio::test]
async fn an_invalid_timestamp_or_duration_is_refused() {
    let server = Server::start().await;
    server.create_key("ci").await;
    for text in
        ["yesterday", "2026-13-01T00:00:00Z", "10000-01-01T00:00:00Z", "2026-01-01", "", "\u{0}"]
    {
        let outcome = server.keys("Create", json!({ "clientId": "new", "expiresAt": text })).await;
        refused(&outcome, "invalid_argument", &[]);
    }
    for text in ["1h", "s", "-", "1e9s", "999999999999999999999s", "0.0000000001s"] {
        let outcome = server.keys("RotateSecret", json!({ "clientId": "ci", "grace": text })).await;
        refused(&outcome, "invalid_argument", &[]);
    }
    // Values that only binary messages can contain: seconds beyond the year 9999, nanoseconds
    // beyond a second.
    for instant in [
        &b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f"[..],
        b"\x08\x80\xb2\xde\xb6\x01\x10\x80\x94\xeb\xdc\x03",
    ] {
        let length = u8::try_from(instant.len()).unwrap();
        let create = [b"\x0a\x03new\x32".as_slice(), &[length], instant].concat();
        let rotate = [b"\x0a\x02ci\x22".as_slice(), &[length], instant].concat();
        for (method, message) in [("Create", create), ("RotateSecret", rotate)] {
            let path = format!("/gatekey.v1.ApiKeyService/{method}");
            let response =
                server.post(&path, &[("content-type", "application/proto")], message).await;
            refused(&outcome(&response), "invalid_argument", &["expires_at"]);
        }
    }
    server.assert_healthy().await;
}

#[tokio::test]
async fn a_deeply_nested_body_is_refused() {
    let server = Server::start().await;
    let deep = 200_000;
    for body in [
        "[".repeat(deep),
        "{\"a\":".repeat(deep),
        format!("{{\"contacts\":{}{}}}", "[".repeat(deep), "]".repeat(deep)),
    ] {
        refused(&server.create_raw("application/json", body).await, "invalid_argument", &[]);
    }
    // An ignored field is not parsed recursively.
    let unknown =
        format!(r#"{{"clientId": "deep", "unknown": {}1{}}}"#, "[".repeat(deep), "]".repeat(deep));
    assert!(server.create_raw("application/json", unknown).await.is_ok());
    // Nested groups of the unknown field 100.
    refused(
        &server.create_raw("application/proto", b"\xa3\x06".repeat(deep)).await,
        "invalid_argument",
        &[],
    );
    let closed = [b"\xa3\x06".repeat(deep), b"\xa4\x06".repeat(deep)].concat();
    refused(&server.create_raw("application/proto", closed).await, "invalid_argument", &[]);
    server.assert_healthy().await;
}

#[tokio::test]
async fn an_invalid_message_is_refused() {
    let server = Server::start().await;
    for body in [
        &b""[..],
        b"{",
        b"nonsense",
        b"[]",
        b"null",
        b"{\"clientId\": 7}",
        b"{\"clientId\": [\"a\"]}",
        b"{\"redirectUris\": \"https://example.com/\"}",
        b"{\"clientId\": \"a\"} trailing",
        b"{\"clientId\": \"a\", \"clientId\": \"b\"}",
        b"{\"clientId\": \"a\", \"client_id\": \"b\"}",
        b"{\"clientId\": \"\xff\"}",
        b"{\"clientId\": \"\\ud800\"}",
        b"{\"skipDefaultPolicyAssignments\": \"yes\"}",
    ] {
        let outcome = server.create_raw("application/json", body).await;
        assert!(outcome.is_err(), "{:?} was accepted: {outcome:?}", String::from_utf8_lossy(body));
        refused(&outcome, "invalid_argument", &[]);
    }
    for body in [
        // A length beyond the end, a length of 2^63, a tag of field 0, invalid UTF-8, a number in
        // place of text.
        &b"\x12\x7fa"[..],
        b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x00\x00",
        b"\x12\x01\xff",
        b"\x10\x01",
        b"\x12",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        let outcome = server.create_raw("application/proto", body).await;
        refused(&outcome, "invalid_argument", &[]);
    }
    server.assert_healthy().await;
}

#[tokio::test]
async fn an_invalid_grpc_frame_is_refused() {
    let server = Server::start().await;
    let good = b"\x12\x04grpc";
    let mut compressed = frame(good);
    compressed[0] = 1;
    for (body, why) in [
        (Vec::new(), "no message"),
        (b"\0\0".to_vec(), "half a frame header"),
        (frame(good)[..7].to_vec(), "half a message"),
        ([frame(good), frame(good)].concat(), "two messages"),
        (b"\0\xff\xff\xff\xff\x12".to_vec(), "four gibibytes announced"),
        (compressed, "compressed without an encoding header"),
        (frame(b"\x12\x7fa"), "an invalid message"),
    ] {
        for content_type in ["application/grpc", "application/grpc-web+proto"] {
            let headers = [("content-type", content_type), ("te", "trailers")];
            let response = server.post(CREATE, &headers, &body).await;
            assert!(!response.text().contains("gk_"), "{why}, {content_type}");
            let status = grpc_status(&response).to_owned() + &response.text();
            assert!(!status.is_empty() && status != "0", "{why}, {content_type}: {response:?}");
        }
    }
    let headers = [("content-type", "application/grpc"), ("te", "trailers")];
    assert_eq!(grpc_status(&server.post(CREATE, &headers, frame(good)).await), "0");
    server.assert_healthy().await;
}

#[tokio::test]
async fn an_unknown_content_type_is_unsupported() {
    let server = Server::start().await;
    for content_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/x-protobuf",
        "application/xml",
        "json",
        "",
    ] {
        let response = server.post(CREATE, &[("content-type", content_type)], "{}").await;
        assert_eq!(response.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{content_type:?}");
    }
    let response = server.post(CREATE, &[], "{}").await;
    assert_eq!(response.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "no content type");
    let with_charset =
        server.create_raw("application/json; charset=utf-8", r#"{"clientId": "ci"}"#).await;
    assert!(with_charset.is_ok(), "{with_charset:?}");
    server.assert_healthy().await;
}

#[tokio::test]
async fn invalid_connect_headers_are_refused() {
    let server = Server::start().await;
    for (name, value) in [("connect-protocol-version", "2"), ("connect-protocol-version", "")] {
        let headers = [("content-type", "application/json"), (name, value)];
        let response = server.post(CREATE, &headers, r#"{"clientId": "refused"}"#).await;
        assert_eq!(
            response.status,
            StatusCode::BAD_REQUEST,
            "{name}: {value}: {}",
            response.text()
        );
    }
    let absent = server.apps("Get", json!({ "clientId": "refused" })).await;
    refused(&absent, "not_found", &[]);
    server.assert_healthy().await;
}

/// Newer clients may send them.
#[tokio::test]
async fn unknown_fields_are_ignored() {
    let server = Server::start().await;
    let request = json!({ "clientId": "json", "consentLevel": { "deep": [1, 2] }, "@type": "x" });
    assert!(server.apps("Create", request).await.is_ok());
    // Field 1000, of type text.
    let message = b"\x12\x05proto\xc2\x3e\x03new";
    let response = server.post(CREATE, &[("content-type", "application/proto")], message).await;
    assert_eq!(response.status, StatusCode::OK, "{}", response.text());
    assert_ne!(server.shown("proto").await, Value::Null);
    server.assert_healthy().await;
}
