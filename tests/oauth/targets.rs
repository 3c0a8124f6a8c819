//! Whom tokens are for (RFC 8707), and which scopes they have.

use serde_json::json;

use super::{GRANT, refused};
use crate::support::{World, decoded};

const TWO: &str = r#"audiences = ["https://flyte.example.com", "https://other.example.com"]"#;

impl World {
    async fn audience_of(&self, parameters: &str) -> serde_json::Value {
        let answer = self.ask(&self.admin, &format!("{GRANT}{parameters}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        decoded(answer.json()["access_token"].as_str().unwrap()).1["aud"].clone()
    }
}

#[tokio::test]
async fn a_token_is_for_the_public_url_by_default() {
    let world = World::start().await;
    assert_eq!(world.audience_of("").await, json!([world.server.url]));
}

#[tokio::test]
async fn the_public_url_may_be_asked_for_with_or_without_a_slash() {
    let world = World::start().await;
    let url = world.server.url.clone();
    for parameter in ["resource", "audience"] {
        assert_eq!(world.audience_of(&format!("&{parameter}={url}")).await, json!([url]));
        assert_eq!(world.audience_of(&format!("&{parameter}={url}/")).await, json!([url]));
    }
}

#[tokio::test]
async fn a_target_that_is_not_configured_is_refused() {
    let world = World::start().await;
    let url = &world.server.url;
    for parameters in [
        "resource=https://evil.example".to_owned(),
        "audience=https://evil.example".to_owned(),
        "resource=all".to_owned(),
        format!("resource={url}/path"),
        format!("resource={url}@evil.example"),
        format!("resource={url}&resource=https://evil.example"),
        format!("resource={url}&audience=https://evil.example"),
    ] {
        let answer = world.ask(&world.admin, &format!("{GRANT}&{parameters}")).await;
        let said = refused(&answer, 400, "invalid_target");
        assert!(said.contains("resource") && said.contains("audience") && said.contains(url), "{said}");
    }
}

#[tokio::test]
async fn the_first_configured_audience_is_the_default() {
    let world = World::configured(TWO).await;
    assert_eq!(world.audience_of("").await, json!(["https://flyte.example.com"]));
    assert_eq!(
        world.audience_of("&audience=https://other.example.com").await,
        json!(["https://other.example.com"])
    );
}

#[tokio::test]
async fn a_token_may_be_for_several_resources() {
    let world = World::configured(TWO).await;
    let both = "&resource=https://other.example.com&resource=https%3A%2F%2Fflyte.example.com";
    assert_eq!(
        world.audience_of(both).await,
        json!(["https://other.example.com", "https://flyte.example.com"])
    );
    let twice = "&resource=https://other.example.com&audience=https://other.example.com/";
    assert_eq!(world.audience_of(twice).await, json!(["https://other.example.com"]));
}

#[tokio::test]
async fn a_token_for_another_is_none_for_this_server_and_is_told_about_all_the_same() {
    let world = World::configured(TWO).await;
    let key = world.key("ci").await;
    let fetch = async |parameters: &str| {
        let answer = world.ask(&key, &format!("{GRANT}{parameters}")).await;
        answer.json()["access_token"].as_str().unwrap().to_owned()
    };
    let other = fetch("&resource=https://other.example.com").await;
    let said = refused(&world.get_as("/me", &other).await, 401, "invalid_token");
    assert!(said.contains("another audience"), "{said}");
    let rpc = "/flyteidl2.auth.IdentityService/UserInfo";
    assert_eq!(world.http.connect_json(rpc, &other, &json!({})).await.status, 401);
    assert_eq!(world.introspect(&key, &other).await["active"], true);
    assert_eq!(world.revoke(&key, &other).await.status, 200);
    assert_eq!(world.introspect(&key, &other).await["active"], false);
    let both = fetch("&resource=https://other.example.com&resource=https://flyte.example.com").await;
    assert!(world.lives(&both).await);
}

#[tokio::test]
async fn a_key_without_a_role_gets_no_scope() {
    let world = World::start().await;
    let key = world.key_with("bare", json!({ "withoutRole": true })).await;
    for scope in ["", "&scope=all"] {
        let answer = world.ask(&key, &format!("{GRANT}{scope}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json()["scope"], "");
        let (_, claims) = decoded(answer.json()["access_token"].as_str().unwrap());
        assert_eq!((&claims["scp"], &claims["scope"]), (&json!([]), &json!("")));
    }
}

#[tokio::test]
async fn a_key_made_without_default_policies_has_no_role() {
    let world = World::start().await;
    let body = json!({ "clientId": "bare", "clientName": "bare", "skipDefaultPolicyAssignments": true });
    let create = "/cloudidl.identity.AppsService/Create";
    let created = world.http.connect_json(create, &world.admin_token, &body).await;
    assert_eq!(created.status, 200, "{}", created.text());
    let key = crate::support::Credentials {
        client_id: "bare".to_owned(),
        client_secret: created.json()["app"]["clientSecret"].as_str().unwrap().to_owned(),
    };
    assert_eq!(decoded(&world.token(&key).await).1["scp"], json!([]));
}

#[tokio::test]
async fn every_role_gets_all_and_no_token_names_the_role() {
    let world = World::start().await;
    for role in ["ROLE_ADMIN", "ROLE_CONTRIBUTOR", "ROLE_VIEWER", "ROLE_VERIFIER"] {
        let name = role.to_lowercase();
        let key = world.key_with(&name, json!({ "role": role })).await;
        let (_, claims) = decoded(&world.token(&key).await);
        assert_eq!(claims["scp"], json!(["all"]), "{role}");
        let others =
            claims.as_object().unwrap().iter().filter(|(claim, _)| !matches!(&***claim, "sub" | "client_id"));
        let others: Vec<_> = others.map(|(_, value)| value.to_string().to_lowercase()).collect();
        let role = name.trim_start_matches("role_");
        assert!(!others.iter().any(|value| value.contains(role)), "{claims}");
    }
}
