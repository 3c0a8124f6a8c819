//! The OAuth endpoints: one rule per test.

use gatekey_credentials::jwt::{self, Jwk, VerifyingKey};
use serde_json::Value;

use crate::support::{Credentials, Http, Response, Server};

mod audience_and_scope;
mod bearer;
mod claims;
mod discovery;
mod failed_logins;
mod forged_tokens;
mod identity;
mod introspection;
mod key_changes;
mod key_limits;
mod lifetime;
mod revocation;
mod signing_keys;
mod throttling;
mod timing;
mod token_endpoint;

/// The body of every token request.
const GRANT: &str = "grant_type=client_credentials";

impl Server {
    /// Requests a token with a key's secret in the header.
    async fn request_token(&self, key: &Credentials, body: &str) -> Response {
        self.http.form("/oauth2/token", &[("authorization", &key.basic())], body).await
    }

    /// GET with a token.
    async fn get_as(&self, path: &str, token: &str) -> Response {
        self.http.get(path, &[("authorization", &format!("Bearer {token}"))]).await
    }

    /// Revokes a token as a key.
    async fn revoke(&self, key: &Credentials, token: &str) -> Response {
        let headers = [("authorization", &*key.basic())];
        self.http.form("/oauth2/revoke", &headers, &format!("token={token}")).await
    }
}

/// Asserts an error of RFC 6749 section 5.2, and returns its description.
fn refused(response: &Response, status: u16, code: &str) -> String {
    assert_eq!(response.status.as_u16(), status, "{}", response.text());
    assert_eq!(response.header("content-type"), "application/json");
    assert_eq!(response.header("cache-control"), "no-store");
    let body = response.json();
    assert_eq!(body["error"], code, "{body}");
    assert_eq!(body.as_object().unwrap().len(), 2, "{body}");
    let description = body["error_description"].as_str().unwrap().to_owned();
    assert!(!description.is_empty() && !description.contains("gk_"), "{description}");
    description
}

/// The published signing keys.
async fn jwks(http: &Http) -> Vec<Jwk> {
    let response = http.get("/oauth2/jwks", &[]).await;
    assert_eq!(response.status, 200);
    serde_json::from_value(response.json()["keys"].clone()).unwrap()
}

/// A token's claims, after verifying its signature with only the published keys.
async fn verified(http: &Http, token: &str) -> Value {
    let published = jwks(http).await;
    let keys: Vec<_> = published.iter().map(|jwk| VerifyingKey::from_jwk(jwk).unwrap()).collect();
    jwt::verify(token, |kid| keys.iter().find(|key| key.kid() == kid)).unwrap()
}
