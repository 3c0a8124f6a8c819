//! `/oauth2/token`: client authentication and the form of a request (RFC 6749 sections 2.3, 4.4 and
//! 5).

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::json;
use std::time::Duration;

use super::{GRANT, refused};
use crate::support::{Credentials, Response, Server, basic, eventually, in_future};

#[tokio::test]
async fn a_secret_in_the_header_gets_a_token() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let response = server.request_token(&key, GRANT).await;
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(response.header("content-type"), "application/json");
    assert_eq!(response.header("cache-control"), "no-store");
    let body = response.json();
    let members: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, ["access_token", "expires_in", "scope", "token_type"]);
    assert_eq!(body["token_type"], "Bearer");
    assert_eq!(body["scope"], "all");
}

#[tokio::test]
async fn a_secret_in_the_body_gets_a_token() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let body = format!("{GRANT}&client_id=ci&client_secret={}", key.client_secret);
    let response = server.http.form("/oauth2/token", &[], &body).await;
    assert_eq!(response.status, 200, "{}", response.text());
}

#[tokio::test]
async fn both_parts_of_the_header_are_form_decoded() {
    let server = Server::start().await;
    let key = server.create_key("client_ID.1-x").await;
    let every_byte = |text: &str| {
        text.bytes().fold(String::new(), |encoded, byte| format!("{encoded}%{byte:02X}"))
    };
    let header = basic(&every_byte(&key.client_id), &every_byte(&key.client_secret));
    let response = server.http.form("/oauth2/token", &[("authorization", &header)], GRANT).await;
    assert_eq!(response.status, 200, "{}", response.text());
}

#[tokio::test]
async fn both_parts_of_the_body_are_form_decoded() {
    let server = Server::start().await;
    let key = server.create_key("a.b").await;
    let secret = key.client_secret.replace('_', "%5f");
    let body = format!("{GRANT}&client_id=a%2Eb&client_secret={secret}");
    assert_eq!(server.http.form("/oauth2/token", &[], &body).await.status, 200);
}

/// As from a file that ends in a line break.
#[tokio::test]
async fn white_space_around_a_secret_is_ignored() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    for (end, encoded) in [("\n", "%0A"), ("\r\n", "%0D%0A"), (" ", "+"), ("\t", "%09")] {
        let padded = basic("ci", &format!("{}{end}", key.client_secret));
        let headers = [("authorization", &*padded)];
        let response = server.http.form("/oauth2/token", &headers, GRANT).await;
        assert_eq!(response.status, 200, "{end:?}: {}", response.text());
        let body = format!("{GRANT}&client_id=ci&client_secret={}{encoded}", key.client_secret);
        let response = server.http.form("/oauth2/token", &[], &body).await;
        assert_eq!(response.status, 200, "{end:?}: {}", response.text());
    }
}

/// It is not counted as a wrong secret.
#[tokio::test]
async fn white_space_inside_a_secret_is_named() {
    let server = Server::with_config("limits.failed_authentications_per_minute = 1").await;
    let key = server.create_key("ci").await;
    let (start, end) = key.client_secret.split_at(10);
    for (blank, encoded) in [("\n", "%0A"), (" ", "+"), ("\u{85}", "%C2%85")] {
        for _ in 0..3 {
            let header = basic("ci", &format!("{start}{blank}{end}"));
            let headers = [("authorization", &*header)];
            let response = server.http.form("/oauth2/token", &headers, GRANT).await;
            let description = refused(&response, 400, "invalid_request");
            assert!(description.contains("white space"), "{description}");
        }
        let body = format!("{GRANT}&client_id=ci&client_secret={start}{encoded}{end}");
        let response = server.http.form("/oauth2/token", &[], &body).await;
        refused(&response, 400, "invalid_request");
    }
    assert_eq!(server.request_token(&key, GRANT).await.status, 200);
}

#[tokio::test]
async fn the_scheme_name_is_case_insensitive() {
    let server = Server::start().await;
    let header = server.create_key("ci").await.basic().replacen("Basic", "bAsIc", 1);
    assert_eq!(
        server.http.form("/oauth2/token", &[("authorization", &header)], GRANT).await.status,
        200
    );
}

#[tokio::test]
async fn two_authentication_methods_are_refused() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let body = format!("{GRANT}&client_id=ci&client_secret={}", key.client_secret);
    let description = refused(&server.request_token(&key, &body).await, 400, "invalid_request");
    assert!(
        description.contains("authorization header") && description.contains("client_secret"),
        "{description}"
    );
}

#[tokio::test]
async fn two_headers_with_the_same_secret_are_refused() {
    let server = Server::start().await;
    let header = server.create_key("ci").await.basic();
    let headers = [("authorization", &*header), ("authorization", &*header)];
    let description =
        refused(&server.http.form("/oauth2/token", &headers, GRANT).await, 400, "invalid_request");
    assert!(description.contains("authorization header"), "{description}");
}

#[tokio::test]
async fn a_client_assertion_is_refused_by_name() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let description = refused(
        &server.request_token(&key, &format!("{GRANT}&client_assertion=a.b.c")).await,
        400,
        "invalid_request",
    );
    assert!(description.contains("client assertions"), "{description}");
}

#[tokio::test]
async fn the_body_may_repeat_the_client_id() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    assert_eq!(server.request_token(&key, &format!("{GRANT}&client_id=ci")).await.status, 200);
}

#[tokio::test]
async fn a_conflicting_client_id_is_refused() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let description = refused(
        &server.request_token(&key, &format!("{GRANT}&client_id=other")).await,
        400,
        "invalid_request",
    );
    assert!(description.contains("client_id"), "{description}");
}

#[tokio::test]
async fn a_missing_authentication_is_challenged() {
    let server = Server::start().await;
    let response = server.http.form("/oauth2/token", &[], GRANT).await;
    refused(&response, 401, "invalid_client");
    assert!(response.header("www-authenticate").starts_with("Basic realm="));
}

#[tokio::test]
async fn a_token_does_not_authenticate_the_client() {
    let server = Server::start().await;
    let bearer = format!("Bearer {}", server.admin_token);
    let response = server.http.form("/oauth2/token", &[("authorization", &bearer)], GRANT).await;
    refused(&response, 401, "invalid_client");
}

#[tokio::test]
async fn every_failed_authentication_looks_the_same() {
    let server = Server::start().await;
    let good = server.create_key("ci").await;
    let other = server.create_key("other").await;
    let disabled = server.create_key("disabled").await;
    server.admin_call("Disable", json!({ "clientId": "disabled" })).await;
    let deleted = server.create_key("deleted").await;
    server.admin_call("Delete", json!({ "clientId": "deleted" })).await;
    let retired = server.create_key("retired").await;
    server.rotate(&retired, json!({})).await;
    let expired = server
        .create_key_with("expired", json!({ "expiresAt": in_future(Duration::from_secs(1)) }))
        .await;
    eventually("the key expires", async || server.http.token(&expired, &[]).await.status == 401)
        .await;

    let with = |client_id: &str, client_secret: &str| Credentials {
        client_id: client_id.to_owned(),
        client_secret: client_secret.to_owned(),
    };
    let (rest, last) = good.client_secret.split_at(good.client_secret.len() - 1);
    let tampered = format!("{rest}{}", if last == "x" { "y" } else { "x" });
    let cases = [
        ("wrong secret", with("ci", "wrong")),
        ("secret with one character changed", with("ci", &tampered)),
        ("secret of another key", with("ci", &other.client_secret)),
        ("empty secret", with("ci", "")),
        ("over-long secret", with("ci", &"x".repeat(9000))),
        ("unknown key", with("nobody", &good.client_secret)),
        ("client id in other case", with("CI", &good.client_secret)),
        ("invalid client id", with("no such name", &good.client_secret)),
        ("over-long client id", with(&"x".repeat(9000), &good.client_secret)),
        ("disabled key", disabled),
        ("deleted key", deleted),
        ("retired secret", retired),
        ("expired key", expired),
    ];
    let shown = |response: &Response| {
        let mut headers = response.headers.clone();
        // These differ between any two responses.
        assert!(headers.remove("x-request-id").is_some() && headers.remove("date").is_some());
        (response.status, headers, response.body.clone())
    };
    let reference = server.request_token(&cases[0].1, GRANT).await;
    refused(&reference, 401, "invalid_client");
    assert!(reference.header("www-authenticate").starts_with("Basic realm="));
    for (case, key) in &cases {
        assert_eq!(shown(&server.request_token(key, GRANT).await), shown(&reference), "{case}");
        let body =
            format!("{GRANT}&client_id={}&client_secret={}", key.client_id, key.client_secret);
        let response = server.http.form("/oauth2/token", &[], &body).await;
        if body.len() < 16 * 1024 {
            assert_eq!(shown(&response), shown(&reference), "{case}, in the body");
        }
    }
}

#[tokio::test]
async fn empty_scope_and_audience_are_accepted() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let response = server.request_token(&key, &format!("{GRANT}&scope=&audience=&resource=")).await;
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(response.json()["scope"], "all");
}

#[tokio::test]
async fn a_public_clients_exact_request_is_accepted() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let authorization = key.basic();
    let headers = [
        ("cache-control", "no-cache"),
        ("accept", "application/json"),
        ("authorization", &*authorization),
    ];
    let response = server.http.form("/oauth2/token", &headers, &format!("{GRANT}&scope=all")).await;
    assert_eq!(response.status, 200, "{}", response.text());
}

#[tokio::test]
async fn an_unknown_scope_is_refused() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    for scope in ["everything", "all+offline", "ALL"] {
        let response = server.request_token(&key, &format!("{GRANT}&scope={scope}")).await;
        let description = refused(&response, 400, "invalid_scope");
        assert!(description.contains("scope") && description.contains("all"), "{description}");
    }
}

#[tokio::test]
async fn an_unsupported_grant_is_refused() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    for grant in ["authorization_code", "password", "refresh_token", "CLIENT_CREDENTIALS"] {
        let response = server.request_token(&key, &format!("grant_type={grant}")).await;
        let description = refused(&response, 400, "unsupported_grant_type");
        assert!(description.contains("grant_type"), "{description}");
    }
}

#[tokio::test]
async fn a_missing_grant_type_is_named() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    for body in ["", "scope=all", "grant_type="] {
        let description = refused(&server.request_token(&key, body).await, 400, "invalid_request");
        assert!(description.contains("grant_type"), "{description}");
    }
}

#[tokio::test]
async fn a_key_may_use_only_its_grants() {
    let server = Server::start().await;
    let body =
        json!({ "clientId": "web", "clientName": "web", "grantTypes": ["AUTHORIZATION_CODE"] });
    let create = "/cloudidl.identity.AppsService/Create";
    let created = server.http.connect_json(create, &server.admin_token, &body).await;
    assert_eq!(created.status, 200, "{}", created.text());
    let key = Credentials {
        client_id: "web".to_owned(),
        client_secret: created.json()["app"]["clientSecret"].as_str().unwrap().to_owned(),
    };
    let description = refused(&server.request_token(&key, GRANT).await, 400, "unauthorized_client");
    assert!(description.contains("client_credentials"), "{description}");
}

#[tokio::test]
async fn a_repeated_parameter_is_named() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    for (body, name) in [
        ("grant_type=client_credentials&grant_type=client_credentials", "grant_type"),
        ("grant_type=client_credentials&scope=&scope=all", "scope"),
        ("grant_type=client_credentials&audience=a&audience=b", "audience"),
        ("grant_type=client_credentials&unknown=a&unknown=a", "unknown"),
    ] {
        let description = refused(&server.request_token(&key, body).await, 400, "invalid_request");
        assert!(description.contains(name), "{description}");
    }
}

#[tokio::test]
async fn an_unknown_parameter_is_ignored() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    assert_eq!(server.request_token(&key, &format!("{GRANT}&later=1&x")).await.status, 200);
}

#[tokio::test]
async fn another_content_type_is_refused() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let authorization = key.basic();
    for content_type in ["application/json", "text/plain", "multipart/form-data; boundary=x", ""] {
        let headers = [("authorization", &*authorization), ("content-type", content_type)];
        let response = server.http.send(http::Method::POST, "/oauth2/token", &headers, GRANT).await;
        let description = refused(&response, 400, "invalid_request");
        assert!(description.contains("content-type"), "{description}");
    }
    let headers = [("authorization", &*authorization)];
    let response = server.http.send(http::Method::POST, "/oauth2/token", &headers, GRANT).await;
    refused(&response, 400, "invalid_request");
}

#[tokio::test]
async fn the_content_type_may_name_a_charset() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let content_type = "Application/X-WWW-Form-Urlencoded; charset=UTF-8";
    let headers = [("authorization", &*key.basic()), ("content-type", content_type)];
    let response = server.http.send(http::Method::POST, "/oauth2/token", &headers, GRANT).await;
    assert_eq!(response.status, 200, "{}", response.text());
}

#[tokio::test]
async fn parameters_in_the_url_are_refused() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let secret = format!("client_id=ci&client_secret={}", key.client_secret);
    let misplaced = format!("tenant={}", key.client_secret);
    for query in [
        GRANT,
        &secret,
        "tenant=a&scope=all",
        "token=",
        "Client_Secret=x",
        "%73cope=all",
        &misplaced,
    ] {
        let path = format!("/oauth2/token?{query}");
        let response = server.http.form(&path, &[("authorization", &key.basic())], GRANT).await;
        let description = refused(&response, 400, "invalid_request");
        assert!(description.contains("URL"), "{description}");
        assert!(!description.contains(&key.client_secret), "{description}");
    }
    for path in ["/oauth2/introspect", "/oauth2/revoke"] {
        let path = format!("{path}?api-version=1&token=x");
        let response = server.http.form(&path, &[("authorization", &key.basic())], "token=x").await;
        assert!(refused(&response, 400, "invalid_request").contains("parameter token"));
    }
}

/// RFC 6749 section 3.2: an endpoint's URL may have a query, such as a tenant.
#[tokio::test]
async fn other_parameters_in_the_url_are_ignored() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let headers = [("authorization", &*key.basic())];
    for query in ["", "tenant=a", "api-version=1.0&trace&tenant=b", "%ff=%ff", "scopes=none"] {
        for (path, body) in [
            ("/oauth2/token", GRANT),
            ("/oauth2/introspect", "token=x"),
            ("/oauth2/revoke", "token=x"),
        ] {
            let response = server.http.form(&format!("{path}?{query}"), &headers, body).await;
            assert_eq!(response.status, 200, "{path}?{query}: {}", response.text());
        }
    }
}

/// RFC 9110 section 15.5.16.
#[tokio::test]
async fn a_compressed_form_is_refused_with_415() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    for path in ["/oauth2/token", "/oauth2/introspect", "/oauth2/revoke"] {
        for (coding, status) in [("gzip", 415), ("GZIP, identity", 415), ("identity", 200)] {
            let headers = [("authorization", &*key.basic()), ("content-encoding", coding)];
            let response = server.http.form(path, &headers, &format!("{GRANT}&token=x")).await;
            assert_eq!(response.status, status, "{path} {coding}: {}", response.text());
            if status == 415 {
                assert_eq!(response.header("accept-encoding"), "identity");
                assert!(refused(&response, 415, "invalid_request").contains("content-encoding"));
            }
        }
    }
}

#[tokio::test]
async fn a_token_response_is_not_stored() {
    let server = Server::start().await;
    for response in [
        server.http.token(&server.admin, &[]).await,
        server.http.form("/oauth2/token", &[], GRANT).await,
    ] {
        assert_eq!(response.header("cache-control"), "no-store");
        assert_eq!(response.header("pragma"), "no-cache");
    }
}

#[tokio::test]
async fn a_body_over_16_kib_is_refused() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let pad =
        |size: usize| format!("{GRANT}&pad={}", "x".repeat(size - GRANT.len() - "&pad=".len()));
    assert_eq!(server.request_token(&key, &pad(16 * 1024)).await.status, 200);
    for size in [16 * 1024 + 1, 1 << 20] {
        let description =
            refused(&server.request_token(&key, &pad(size)).await, 413, "invalid_request");
        assert!(description.contains("16384"), "{description}");
    }
}

#[tokio::test]
async fn only_post_is_allowed() {
    let server = Server::start().await;
    for path in ["/oauth2/token", "/oauth2/introspect", "/oauth2/revoke"] {
        for method in
            [http::Method::GET, http::Method::PUT, http::Method::DELETE, http::Method::OPTIONS]
        {
            let response = server.http.send(method, path, &[], "").await;
            refused(&response, 405, "invalid_request");
            assert_eq!(response.header("allow"), "POST");
        }
    }
}

#[tokio::test]
async fn a_malformed_authorization_header_is_refused() {
    let server = Server::start().await;
    for header in ["Basic", "Basic ", "Basic !!!", "Basic Y2k6eA", "Basic Y2k6eB==", "nonsense"] {
        let response = server.http.form("/oauth2/token", &[("authorization", header)], GRANT).await;
        let description = refused(&response, 400, "invalid_request");
        assert!(description.contains("authorization header"), "{header}: {description}");
    }
    let without_colon = format!("Basic {}", BASE64_STANDARD.encode("no colon"));
    let response =
        server.http.form("/oauth2/token", &[("authorization", &without_colon)], GRANT).await;
    refused(&response, 400, "invalid_request");
}

/// Flyte's tools cut an encoded key at each colon, so a port becomes the client id.
#[tokio::test]
async fn a_port_as_client_id_is_explained() {
    let server = Server::start().await;
    let cut = Credentials { client_id: "8443".to_owned(), client_secret: "ci".to_owned() };
    let basic = server.http.token(&cut, &[]).await;
    let body = "grant_type=client_credentials&client_id=8443&client_secret=ci";
    let post = server.http.form("/oauth2/token", &[], body).await;
    for response in [basic, post] {
        assert_eq!(
            (response.status.as_u16(), &response.json()["error"]),
            (401, &"invalid_client".into())
        );
        let description = response.json()["error_description"].as_str().unwrap().to_owned();
        for words in ["8443 is a port", "--endpoint", "443"] {
            assert!(description.contains(words), "{description}");
        }
        assert!(!description.contains(['"', '\\']), "{description}");
        assert!(response.headers.contains_key("www-authenticate"));
    }
    // The description says nothing about which keys exist.
    server.create_key("8444").await;
    for (client_id, is_port) in [("8444", true), ("0", false), ("70000", false), ("8443a", false)] {
        let key = Credentials { client_id: client_id.to_owned(), client_secret: "x".to_owned() };
        let description =
            server.http.token(&key, &[]).await.json()["error_description"].to_string();
        assert_eq!(description.contains("is a port"), is_port, "{client_id}: {description}");
    }
}
