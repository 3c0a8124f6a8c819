//! `/oauth2/token`: authentication and the shape of a request (RFC 6749 sections 2.3, 4.4 and 5).

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::json;
use std::time::Duration;

use super::{GRANT, refused};
use crate::support::{Answer, Credentials, World, basic, eventually, in_future};

#[tokio::test]
async fn a_secret_in_the_header_gets_a_token() {
    let world = World::start().await;
    let key = world.key("ci").await;
    let answer = world.ask(&key, GRANT).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "no-store");
    let body = answer.json();
    let members: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, ["access_token", "expires_in", "scope", "token_type"]);
    assert_eq!(body["token_type"], "Bearer");
    assert_eq!(body["scope"], "all");
}

#[tokio::test]
async fn a_secret_in_the_body_gets_a_token() {
    let world = World::start().await;
    let key = world.key("ci").await;
    let body = format!("{GRANT}&client_id=ci&client_secret={}", key.client_secret);
    let answer = world.http.form("/oauth2/token", &[], &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn both_parts_of_the_header_are_form_decoded() {
    let world = World::start().await;
    let key = world.key("client_ID.1-x").await;
    let every_byte =
        |text: &str| text.bytes().fold(String::new(), |encoded, byte| format!("{encoded}%{byte:02X}"));
    let header = basic(&every_byte(&key.client_id), &every_byte(&key.client_secret));
    let answer = world.http.form("/oauth2/token", &[("authorization", &header)], GRANT).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn both_parts_of_the_body_are_form_decoded() {
    let world = World::start().await;
    let key = world.key("a.b").await;
    let secret = key.client_secret.replace('_', "%5f");
    let body = format!("{GRANT}&client_id=a%2Eb&client_secret={secret}");
    assert_eq!(world.http.form("/oauth2/token", &[], &body).await.status, 200);
}

#[tokio::test]
async fn the_name_of_the_scheme_may_be_of_either_case() {
    let world = World::start().await;
    let header = world.key("ci").await.basic().replacen("Basic", "bAsIc", 1);
    assert_eq!(world.http.form("/oauth2/token", &[("authorization", &header)], GRANT).await.status, 200);
}

#[tokio::test]
async fn two_authentications_at_once_are_refused() {
    let world = World::start().await;
    let key = world.key("ci").await;
    let body = format!("{GRANT}&client_id=ci&client_secret={}", key.client_secret);
    let said = refused(&world.ask(&key, &body).await, 400, "invalid_request");
    assert!(said.contains("authorization header") && said.contains("client_secret"), "{said}");
}

#[tokio::test]
async fn two_headers_with_the_same_secret_are_refused() {
    let world = World::start().await;
    let header = world.key("ci").await.basic();
    let headers = [("authorization", &*header), ("authorization", &*header)];
    let said = refused(&world.http.form("/oauth2/token", &headers, GRANT).await, 400, "invalid_request");
    assert!(said.contains("authorization header"), "{said}");
}

#[tokio::test]
async fn a_client_assertion_is_refused_for_what_it_is() {
    let world = World::start().await;
    let key = world.key("ci").await;
    let said =
        refused(&world.ask(&key, &format!("{GRANT}&client_assertion=a.b.c")).await, 400, "invalid_request");
    assert!(said.contains("client assertions"), "{said}");
}

#[tokio::test]
async fn the_client_id_may_be_repeated_in_the_body() {
    let world = World::start().await;
    let key = world.key("ci").await;
    assert_eq!(world.ask(&key, &format!("{GRANT}&client_id=ci")).await.status, 200);
}

#[tokio::test]
async fn another_client_id_in_the_body_is_refused() {
    let world = World::start().await;
    let key = world.key("ci").await;
    let said = refused(&world.ask(&key, &format!("{GRANT}&client_id=other")).await, 400, "invalid_request");
    assert!(said.contains("client_id"), "{said}");
}

#[tokio::test]
async fn a_request_without_authentication_is_refused_with_a_challenge() {
    let world = World::start().await;
    let answer = world.http.form("/oauth2/token", &[], GRANT).await;
    refused(&answer, 401, "invalid_client");
    assert!(answer.header("www-authenticate").starts_with("Basic realm="));
}

#[tokio::test]
async fn a_token_is_no_client_authentication() {
    let world = World::start().await;
    let bearer = format!("Bearer {}", world.admin_token);
    let answer = world.http.form("/oauth2/token", &[("authorization", &bearer)], GRANT).await;
    refused(&answer, 401, "invalid_client");
}

#[tokio::test]
async fn every_failed_authentication_looks_the_same() {
    let world = World::start().await;
    let good = world.key("ci").await;
    let other = world.key("other").await;
    let disabled = world.key("disabled").await;
    world.admin("Disable", json!({ "clientId": "disabled" })).await;
    let deleted = world.key("deleted").await;
    world.admin("Delete", json!({ "clientId": "deleted" })).await;
    let retired = world.key("retired").await;
    world.rotate(&retired, json!({})).await;
    let expired = world.key_with("expired", json!({ "expiresAt": in_future(Duration::from_secs(1)) })).await;
    eventually("the key expires", async || world.http.token(&expired, &[]).await.status == 401).await;

    let with = |client_id: &str, client_secret: &str| Credentials {
        client_id: client_id.to_owned(),
        client_secret: client_secret.to_owned(),
    };
    let (rest, last) = good.client_secret.split_at(good.client_secret.len() - 1);
    let tampered = format!("{rest}{}", if last == "x" { "y" } else { "x" });
    let cases = [
        ("wrong secret", with("ci", "wrong")),
        ("nearly right secret", with("ci", &tampered)),
        ("secret of another key", with("ci", &other.client_secret)),
        ("empty secret", with("ci", "")),
        ("over-long secret", with("ci", &"x".repeat(9000))),
        ("unknown key", with("nobody", &good.client_secret)),
        ("client id in other case", with("CI", &good.client_secret)),
        ("client id that can be none", with("no such name", &good.client_secret)),
        ("over-long client id", with(&"x".repeat(9000), &good.client_secret)),
        ("disabled key", disabled),
        ("deleted key", deleted),
        ("retired secret", retired),
        ("expired key", expired),
    ];
    let shown = |answer: &Answer| {
        let mut headers = answer.headers.clone();
        // These differ for any two answers.
        assert!(headers.remove("x-request-id").is_some() && headers.remove("date").is_some());
        (answer.status, headers, answer.body.clone())
    };
    let reference = world.ask(&cases[0].1, GRANT).await;
    refused(&reference, 401, "invalid_client");
    assert!(reference.header("www-authenticate").starts_with("Basic realm="));
    for (case, key) in &cases {
        assert_eq!(shown(&world.ask(key, GRANT).await), shown(&reference), "{case}");
        let body = format!("{GRANT}&client_id={}&client_secret={}", key.client_id, key.client_secret);
        let answer = world.http.form("/oauth2/token", &[], &body).await;
        if body.len() < 16 * 1024 {
            assert_eq!(shown(&answer), shown(&reference), "{case}, in the body");
        }
    }
}

#[tokio::test]
async fn an_empty_scope_and_an_empty_audience_are_accepted() {
    let world = World::start().await;
    let key = world.key("ci").await;
    let answer = world.ask(&key, &format!("{GRANT}&scope=&audience=&resource=")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["scope"], "all");
}

#[tokio::test]
async fn the_request_of_a_public_client_is_accepted_as_it_is_sent() {
    let world = World::start().await;
    let key = world.key("ci").await;
    let authorization = key.basic();
    let headers =
        [("cache-control", "no-cache"), ("accept", "application/json"), ("authorization", &*authorization)];
    let answer = world.http.form("/oauth2/token", &headers, &format!("{GRANT}&scope=all")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn an_unknown_scope_is_refused() {
    let world = World::start().await;
    let key = world.key("ci").await;
    for scope in ["everything", "all+offline", "ALL"] {
        let answer = world.ask(&key, &format!("{GRANT}&scope={scope}")).await;
        let said = refused(&answer, 400, "invalid_scope");
        assert!(said.contains("scope") && said.contains("all"), "{said}");
    }
}

#[tokio::test]
async fn another_grant_is_refused() {
    let world = World::start().await;
    let key = world.key("ci").await;
    for grant in ["authorization_code", "password", "refresh_token", "CLIENT_CREDENTIALS"] {
        let answer = world.ask(&key, &format!("grant_type={grant}")).await;
        let said = refused(&answer, 400, "unsupported_grant_type");
        assert!(said.contains("grant_type"), "{said}");
    }
}

#[tokio::test]
async fn a_missing_grant_type_is_named() {
    let world = World::start().await;
    let key = world.key("ci").await;
    for body in ["", "scope=all", "grant_type="] {
        let said = refused(&world.ask(&key, body).await, 400, "invalid_request");
        assert!(said.contains("grant_type"), "{said}");
    }
}

#[tokio::test]
async fn a_key_may_use_the_grants_that_it_was_given_alone() {
    let world = World::start().await;
    let body = json!({ "clientId": "web", "clientName": "web", "grantTypes": ["AUTHORIZATION_CODE"] });
    let create = "/cloudidl.identity.AppsService/Create";
    let created = world.http.connect_json(create, &world.admin_token, &body).await;
    assert_eq!(created.status, 200, "{}", created.text());
    let key = Credentials {
        client_id: "web".to_owned(),
        client_secret: created.json()["app"]["clientSecret"].as_str().unwrap().to_owned(),
    };
    let said = refused(&world.ask(&key, GRANT).await, 400, "unauthorized_client");
    assert!(said.contains("client_credentials"), "{said}");
}

#[tokio::test]
async fn a_parameter_given_twice_is_named() {
    let world = World::start().await;
    let key = world.key("ci").await;
    for (body, name) in [
        ("grant_type=client_credentials&grant_type=client_credentials", "grant_type"),
        ("grant_type=client_credentials&scope=&scope=all", "scope"),
        ("grant_type=client_credentials&audience=a&audience=b", "audience"),
        ("grant_type=client_credentials&unknown=a&unknown=a", "unknown"),
    ] {
        let said = refused(&world.ask(&key, body).await, 400, "invalid_request");
        assert!(said.contains(name), "{said}");
    }
}

#[tokio::test]
async fn an_unknown_parameter_is_ignored() {
    let world = World::start().await;
    let key = world.key("ci").await;
    assert_eq!(world.ask(&key, &format!("{GRANT}&later=1&x")).await.status, 200);
}

#[tokio::test]
async fn a_body_of_another_type_is_refused() {
    let world = World::start().await;
    let key = world.key("ci").await;
    let authorization = key.basic();
    for content_type in ["application/json", "text/plain", "multipart/form-data; boundary=x", ""] {
        let headers = [("authorization", &*authorization), ("content-type", content_type)];
        let answer = world.http.send(http::Method::POST, "/oauth2/token", &headers, GRANT).await;
        let said = refused(&answer, 400, "invalid_request");
        assert!(said.contains("content-type"), "{said}");
    }
    let headers = [("authorization", &*authorization)];
    let answer = world.http.send(http::Method::POST, "/oauth2/token", &headers, GRANT).await;
    refused(&answer, 400, "invalid_request");
}

#[tokio::test]
async fn the_type_of_the_body_may_name_a_character_set() {
    let world = World::start().await;
    let key = world.key("ci").await;
    let content_type = "Application/X-WWW-Form-Urlencoded; charset=UTF-8";
    let headers = [("authorization", &*key.basic()), ("content-type", content_type)];
    let answer = world.http.send(http::Method::POST, "/oauth2/token", &headers, GRANT).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn parameters_in_the_url_are_refused() {
    let world = World::start().await;
    let key = world.key("ci").await;
    let secret = format!("client_id=ci&client_secret={}", key.client_secret);
    for query in [GRANT, &secret, ""] {
        let path = format!("/oauth2/token?{query}");
        let answer = world.http.form(&path, &[("authorization", &key.basic())], GRANT).await;
        let said = refused(&answer, 400, "invalid_request");
        assert!(said.contains("URL"), "{said}");
    }
}

#[tokio::test]
async fn a_body_over_16_kib_is_refused() {
    let world = World::start().await;
    let key = world.key("ci").await;
    let pad = |size: usize| format!("{GRANT}&pad={}", "x".repeat(size - GRANT.len() - "&pad=".len()));
    assert_eq!(world.ask(&key, &pad(16 * 1024)).await.status, 200);
    for size in [16 * 1024 + 1, 1 << 20] {
        let said = refused(&world.ask(&key, &pad(size)).await, 413, "invalid_request");
        assert!(said.contains("16384"), "{said}");
    }
}

#[tokio::test]
async fn methods_other_than_post_are_refused() {
    let world = World::start().await;
    for path in ["/oauth2/token", "/oauth2/introspect", "/oauth2/revoke"] {
        for method in [http::Method::GET, http::Method::PUT, http::Method::DELETE, http::Method::OPTIONS] {
            let answer = world.http.send(method, path, &[], "").await;
            refused(&answer, 405, "invalid_request");
            assert_eq!(answer.header("allow"), "POST");
        }
    }
}

#[tokio::test]
async fn a_header_that_is_not_well_formed_is_refused_as_a_request() {
    let world = World::start().await;
    for header in ["Basic", "Basic ", "Basic !!!", "Basic Y2k6eA", "Basic Y2k6eB==", "nonsense"] {
        let answer = world.http.form("/oauth2/token", &[("authorization", header)], GRANT).await;
        let said = refused(&answer, 400, "invalid_request");
        assert!(said.contains("authorization header"), "{header}: {said}");
    }
    let without_colon = format!("Basic {}", BASE64_STANDARD.encode("no colon"));
    let answer = world.http.form("/oauth2/token", &[("authorization", &without_colon)], GRANT).await;
    refused(&answer, 400, "invalid_request");
}
