//! The claims of a token (RFC 9068), and flyteadmin's checks of them.

use std::collections::BTreeSet;

use gatekey_credentials::jwt::Jwk;
use serde_json::{Value, json};

use super::{jwks, verified};
use crate::support::{Server, decoded, now};

#[tokio::test]
async fn a_token_has_exactly_the_documented_claims() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let before = now();
    let token = server.token(&key).await;
    let after = now();
    let claims = verified(&server.http, &token).await;
    let details = server.admin_call("Get", json!({ "clientId": "ci" })).await["apiKey"].clone();

    let names: BTreeSet<_> = claims.as_object().unwrap().keys().map(String::as_str).collect();
    let documented = [
        "iss",
        "sub",
        "client_id",
        "aud",
        "exp",
        "iat",
        "nbf",
        "jti",
        "scope",
        "scp",
        "org",
        "epoch",
        "key",
    ];
    assert_eq!(names, documented.into());
    assert_eq!(claims["iss"], server.process.url);
    assert_eq!(claims["sub"], "ci");
    assert_eq!(claims["client_id"], "ci");
    assert_eq!(claims["aud"], json!([server.process.url]));
    assert_eq!(claims["scope"], "all");
    assert_eq!(claims["scp"], json!(["all"]));
    assert_eq!(claims["org"], "");
    assert_eq!(claims["key"], details["keyId"]);
    assert_eq!(claims["epoch"].as_u64().unwrap().to_string(), details["epoch"].as_str().unwrap());
    let issued = claims["iat"].as_i64().unwrap() + 5;
    assert!((before..=after).contains(&issued), "{before} {issued} {after}");
    assert_eq!(claims["nbf"], claims["iat"]);
    assert_eq!(claims["exp"].as_i64().unwrap(), issued + 3600);
    let jti = claims["jti"].as_str().unwrap();
    let (secret_id, random) = jti.split_once('.').unwrap();
    assert_eq!(secret_id, details["secrets"][0]["id"]);
    // 128 random bits in base64url.
    assert_eq!(random.len(), 22);
}

#[tokio::test]
async fn the_header_names_type_and_published_key() {
    let server = Server::start().await;
    let (header, _) = decoded(&server.admin_token);
    let published = jwks(&server.http).await;
    assert_eq!(header, json!({ "alg": "ES256", "typ": "at+jwt", "kid": published[0].kid }));
    assert_eq!(published.len(), 1);
    let Jwk { kty, key_use, alg, crv, x, y, n, e, .. } = &published[0];
    assert_eq!((&**kty, &**key_use, &**alg, crv.as_deref()), ("EC", "sig", "ES256", Some("P-256")));
    assert!(x.is_some() && y.is_some() && n.is_none() && e.is_none());
}

#[tokio::test]
async fn the_jwks_contain_no_private_key() {
    let server = Server::start().await;
    let keys = server.http.get("/oauth2/jwks", &[]).await.json();
    let members: BTreeSet<_> = keys["keys"][0].as_object().unwrap().keys().cloned().collect();
    assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x", "y"].map(str::to_owned).into());
}

#[tokio::test]
async fn tokens_are_signed_with_rs256_if_configured() {
    let server = Server::with_config(r#"keys.signing_algorithm = "RS256""#).await;
    let (header, _) = decoded(&server.admin_token);
    assert_eq!((&header["alg"], &header["typ"]), (&json!("RS256"), &json!("at+jwt")));
    let published = jwks(&server.http).await;
    assert_eq!((&*published[0].kty, &*published[0].alg), ("RSA", "RS256"));
    assert!(published[0].n.is_some() && published[0].e.is_some() && published[0].x.is_none());
    assert_eq!(verified(&server.http, &server.admin_token).await["sub"], "admin");
    assert!(server.accepts(&server.admin_token).await);
    let openid = server.http.get("/.well-known/openid-configuration", &[]).await.json();
    assert_eq!(openid["id_token_signing_alg_values_supported"], json!(["RS256"]));
}

#[tokio::test]
async fn tokens_are_signed_with_ed25519_if_configured() {
    let server = Server::with_config(r#"keys.signing_algorithm = "EdDSA""#).await;
    let (header, _) = decoded(&server.admin_token);
    let published = server.http.get("/oauth2/jwks", &[]).await.json()["keys"][0].clone();
    assert_eq!(header, json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": published["kid"] }));
    let members: BTreeSet<_> = published.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x"].into(), "and no private part");
    assert_eq!((&published["kty"], &published["crv"]), (&json!("OKP"), &json!("Ed25519")));
    assert_eq!((&published["alg"], &published["use"]), (&json!("EdDSA"), &json!("sig")));
    assert_eq!(verified(&server.http, &server.admin_token).await["sub"], "admin");
    assert!(server.accepts(&server.admin_token).await);
    let openid = server.http.get("/.well-known/openid-configuration", &[]).await.json();
    assert_eq!(openid["id_token_signing_alg_values_supported"], json!(["EdDSA"]));
}

#[tokio::test]
async fn no_two_tokens_share_an_id() {
    let server = Server::start().await;
    let one = decoded(&server.token(&server.admin).await).1;
    let two = decoded(&server.token(&server.admin).await).1;
    assert_ne!(one["jti"], two["jti"]);
}

#[tokio::test]
async fn the_token_names_the_organization() {
    let server = Server::with_config(r#"server.organization = "acme""#).await;
    assert_eq!(decoded(&server.admin_token).1["org"], "acme");
}

/// The claims do not depend on the address that the server listens on.
#[tokio::test]
async fn the_public_url_is_issuer_and_audience() {
    let server = Server::with_public_url().await;
    let (_, claims) = decoded(&server.admin_token);
    assert_eq!(claims["iss"], "https://keys.example.com");
    assert_eq!(claims["aud"], json!(["https://keys.example.com"]));
    assert!(server.accepts(&server.admin_token).await);
}

#[tokio::test]
async fn a_token_passes_flyteadmins_checks() {
    for toml in [
        r#"tokens.audiences = ["https://flyte.example.com"]"#,
        "tokens.audiences = [\"https://flyte.example.com\"]\nkeys.signing_algorithm = \"RS256\"",
    ] {
        let server = Server::with_config(toml).await;
        let key = server.create_key("ci").await;
        let token = server.token(&key).await;
        // `allowedAudience` of flyteadmin.
        flyteadmin_accepts(&server, &token, &server.process.url).await;
    }
}

/// flyteadmin's checks with an external authorization server, in its order.
async fn flyteadmin_accepts(server: &Server, token: &str, own_url: &str) {
    // 1. It reads the metadata at startup, in snake case, for the URL of the keys.
    let metadata = server.http.get("/.well-known/oauth-authorization-server", &[]).await;
    assert_eq!(metadata.status, 200);
    let metadata = metadata.json();
    for member in ["issuer", "token_endpoint", "jwks_uri"] {
        assert!(metadata[member].is_string(), "{metadata}");
    }
    // 2. go-oidc selects the key by the header's kid; golang-jwt must support the algorithm.
    assert_eq!(metadata["jwks_uri"], format!("{}/oauth2/jwks", server.process.url));
    let (header, _) = decoded(token);
    assert!(["ES256", "RS256"].contains(&header["alg"].as_str().unwrap()));
    let claims = verified(&server.http, token).await;
    // 3. The dates, without leeway; a token without exp would never expire.
    let seconds = |claim: &str| claims[claim].as_i64().unwrap();
    let now = now();
    assert!(now < seconds("exp") && seconds("nbf") <= now && seconds("iat") <= now, "{claims}");
    // ... and the audience, by exact comparison.
    assert!(claims["aud"].as_array().unwrap().contains(&json!(own_url)), "{claims}");
    // 4. Only the claim scp, as a list that contains "all".
    assert!(claims["scp"].as_array().unwrap().contains(&json!("all")), "{claims}");
    // 5. Claims of any other type make it panic.
    assert!(claims["client_id"].is_string());
    assert!(matches!(claims["user_info"], Value::Null | Value::Object(_)));
    assert!(matches!(claims["email"], Value::Null | Value::String(_)));
    // 6. The subject becomes the principal of executions.
    assert_eq!(claims["sub"], claims["client_id"]);
    assert_ne!(claims["sub"], "");
}
