//! Audiences of tokens (RFC 8707), and their scopes.

use serde_json::json;

use super::{GRANT, refused};
use crate::support::{Server, decoded};

const TWO: &str =
    r#"tokens.audiences = ["https://flyte.example.com", "https://other.example.com"]"#;

impl Server {
    async fn audience_of(&self, parameters: &str) -> serde_json::Value {
        let response = self.request_token(&self.admin, &format!("{GRANT}{parameters}")).await;
        assert_eq!(response.status, 200, "{}", response.text());
        decoded(response.json()["access_token"].as_str().unwrap()).1["aud"].clone()
    }
}

#[tokio::test]
async fn the_default_audience_is_the_public_url() {
    let server = Server::start().await;
    assert_eq!(server.audience_of("").await, json!([server.process.url]));
}

#[tokio::test]
async fn the_public_url_may_have_a_trailing_slash() {
    let server = Server::start().await;
    let url = server.process.url.clone();
    for parameter in ["resource", "audience"] {
        assert_eq!(server.audience_of(&format!("&{parameter}={url}")).await, json!([url]));
        assert_eq!(server.audience_of(&format!("&{parameter}={url}/")).await, json!([url]));
    }
}

#[tokio::test]
async fn an_unconfigured_audience_is_refused() {
    let server = Server::start().await;
    let url = &server.process.url;
    for parameters in [
        "resource=https://evil.example".to_owned(),
        "audience=https://evil.example".to_owned(),
        "resource=all".to_owned(),
        format!("resource={url}/path"),
        format!("resource={url}@evil.example"),
        format!("resource={url}&resource=https://evil.example"),
        format!("resource={url}&audience=https://evil.example"),
    ] {
        let response = server.request_token(&server.admin, &format!("{GRANT}&{parameters}")).await;
        let description = refused(&response, 400, "invalid_target");
        assert!(
            description.contains("resource")
                && description.contains("audience")
                && description.contains(url),
            "{description}"
        );
    }
}

#[tokio::test]
async fn a_configured_audience_is_never_the_default() {
    let server = Server::with_config(TWO).await;
    let url = server.process.url.clone();
    assert_eq!(server.audience_of("").await, json!([url]));
    assert_eq!(server.audience_of(&format!("&audience={url}/")).await, json!([url]));
    assert_eq!(
        server.audience_of("&audience=https://other.example.com").await,
        json!(["https://other.example.com"])
    );
}

#[tokio::test]
async fn a_token_may_have_several_audiences() {
    let server = Server::with_config(TWO).await;
    let both = "&resource=https://other.example.com&resource=https%3A%2F%2Fflyte.example.com";
    assert_eq!(
        server.audience_of(both).await,
        json!(["https://other.example.com", "https://flyte.example.com"])
    );
    let twice = "&resource=https://other.example.com&audience=https://other.example.com/";
    assert_eq!(server.audience_of(twice).await, json!(["https://other.example.com"]));
}

/// Introspection and revocation still accept it.
#[tokio::test]
async fn a_token_for_another_audience_is_refused() {
    let server = Server::with_config(TWO).await;
    let key = server.create_key("ci").await;
    let fetch = async |parameters: &str| {
        let response = server.request_token(&key, &format!("{GRANT}{parameters}")).await;
        response.json()["access_token"].as_str().unwrap().to_owned()
    };
    let other =
        fetch("&resource=https://other.example.com&resource=https://flyte.example.com").await;
    let description = refused(&server.get_as("/me", &other).await, 401, "invalid_token");
    assert!(description.contains("another audience"), "{description}");
    let rpc = "/flyteidl2.auth.IdentityService/UserInfo";
    assert_eq!(server.http.connect_json(rpc, &other, &json!({})).await.status, 401);
    assert_eq!(server.introspect(&key, &other).await["active"], true);
    assert_eq!(server.revoke(&key, &other).await.status, 200);
    assert_eq!(server.introspect(&key, &other).await["active"], false);
    let url = &server.process.url;
    let both = fetch(&format!("&resource=https://other.example.com&resource={url}")).await;
    assert!(server.accepts(&both).await);
}

/// Whoever receives a token for another API must not read other tokens with it.
#[tokio::test]
async fn introspection_by_bearer_needs_the_issuer() {
    let server = Server::with_config(TWO).await;
    let url = server.process.url.clone();
    for (audience, status) in
        [("https://flyte.example.com", 401), ("https://other.example.com", 401), (&*url, 200)]
    {
        let response = server.http.token(&server.admin, &[("audience", audience)]).await;
        let bearer = format!("Bearer {}", response.json()["access_token"].as_str().unwrap());
        let body = format!("token={}", server.admin_token);
        let response =
            server.http.form("/oauth2/introspect", &[("authorization", &bearer)], &body).await;
        assert_eq!(response.status, status, "{audience}: {}", response.text());
    }
}

#[tokio::test]
async fn a_key_without_a_role_gets_no_scope() {
    let server = Server::start().await;
    let key = server.create_key_with("bare", json!({ "withoutRole": true })).await;
    for scope in ["", "&scope=all"] {
        let response = server.request_token(&key, &format!("{GRANT}{scope}")).await;
        assert_eq!(response.status, 200, "{}", response.text());
        assert_eq!(response.json()["scope"], "");
        let (_, claims) = decoded(response.json()["access_token"].as_str().unwrap());
        assert_eq!((&claims["scp"], &claims["scope"]), (&json!([]), &json!("")));
    }
}

#[tokio::test]
async fn skipping_default_policies_leaves_no_scope() {
    let server = Server::start().await;
    let body =
        json!({ "clientId": "bare", "clientName": "bare", "skipDefaultPolicyAssignments": true });
    let create = "/cloudidl.identity.AppsService/Create";
    let created = server.http.connect_json(create, &server.admin_token, &body).await;
    assert_eq!(created.status, 200, "{}", created.text());
    let key = crate::support::Credentials {
        client_id: "bare".to_owned(),
        client_secret: created.json()["app"]["clientSecret"].as_str().unwrap().to_owned(),
    };
    assert_eq!(decoded(&server.token(&key).await).1["scp"], json!([]));
}

/// The token does not name the role, which is looked up at each use.
#[tokio::test]
async fn only_roles_that_write_get_all() {
    let server = Server::start().await;
    for (role, scope) in [
        ("ROLE_ADMIN", "all"),
        ("ROLE_CONTRIBUTOR", "all"),
        ("ROLE_VIEWER", "read"),
        ("ROLE_VERIFIER", ""),
    ] {
        let name = role.to_lowercase();
        let key = server.create_key_with(&name, json!({ "role": role })).await;
        let response = server.request_token(&key, GRANT).await.json();
        assert_eq!(response["scope"], scope, "{role}");
        let (_, claims) = decoded(response["access_token"].as_str().unwrap());
        assert_eq!(claims["scope"], scope, "{role}");
        let list: Vec<_> = scope.split_whitespace().collect();
        assert_eq!(claims["scp"], json!(list), "{role}");
        let others = claims
            .as_object()
            .unwrap()
            .iter()
            .filter(|(claim, _)| !matches!(&***claim, "sub" | "client_id"));
        let others: Vec<_> = others.map(|(_, value)| value.to_string().to_lowercase()).collect();
        let role = name.trim_start_matches("role_");
        assert!(!others.iter().any(|value| value.contains(role)), "{claims}");
    }
}

/// RFC 6749 section 3.3: the response says what was granted.
#[tokio::test]
async fn asking_for_more_grants_what_the_role_allows() {
    let server = Server::start().await;
    for (role, cases) in [
        ("ROLE_CONTRIBUTOR", [("all", "all"), ("read", "read"), ("read+all", "read all")]),
        ("ROLE_VIEWER", [("all", "read"), ("read", "read"), ("all+read+read", "read")]),
        ("ROLE_VERIFIER", [("all", ""), ("read", ""), ("read+all", "")]),
        ("ROLE_UNSPECIFIED", [("all", ""), ("read", ""), ("", "")]),
    ] {
        let bare = role == "ROLE_UNSPECIFIED";
        let body = if bare { json!({ "withoutRole": true }) } else { json!({ "role": role }) };
        let key = server.create_key_with(&role.to_lowercase(), body).await;
        for (asked, granted) in cases {
            let response = server.request_token(&key, &format!("{GRANT}&scope={asked}")).await;
            assert_eq!(response.status, 200, "{role} {asked}: {}", response.text());
            let response = response.json();
            assert_eq!(response["scope"], granted, "{role} {asked}");
            let token = response["access_token"].as_str().unwrap();
            assert_eq!(decoded(token).1["scope"], granted, "{role} {asked}");
            assert_eq!(server.introspect(&server.admin, token).await["scope"], granted);
        }
    }
}

/// Clients request what is advertised.
#[tokio::test]
async fn the_advertised_scope_is_all() {
    let server = Server::start().await;
    let metadata = server.http.get("/.well-known/oauth-authorization-server", &[]).await.json();
    assert_eq!(metadata["scopes_supported"], json!(["all"]));
    let client = server.http.get("/config/v1/flyte_client", &[]).await.json();
    assert_eq!(client["scopes"], json!(["all"]));
}

/// Audience injection at endpoints that take no audience (update of the OAuth security BCP,
/// `draft-wuertele-oauth-security-topics-update`).
#[tokio::test]
async fn an_unexpected_audience_parameter_is_ignored() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    let introspection = server.introspect(&key, &token).await;
    for parameter in ["audience", "resource", "aud", "issuer"] {
        let injected = format!("{token}&{parameter}=https://evil.example");
        assert_eq!(server.introspect(&key, &injected).await, introspection, "{parameter}");
    }
    let response = server.revoke(&key, &format!("{token}&resource=https://evil.example")).await;
    assert_eq!((response.status.as_u16(), response.text()), (200, String::new()));
    assert!(!server.accepts(&token).await);
}
