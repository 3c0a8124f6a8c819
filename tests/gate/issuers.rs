//! People who log in with an identity provider, and call through the gate.

use gatekey_credentials::jwt::{Algorithm, SigningKey};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::{ADMIN, Gated, READ, WRITE, private_tls};
use crate::support::now;

/// An identity provider with one key.
struct Provider {
    url: String,
    key: SigningKey,
}

async fn answer(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    discovery: &str,
    jwks: &str,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let body = if head.starts_with(b"GET /jwks ") { jwks } else { discovery };
    let length = body.len();
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

impl Provider {
    async fn start() -> Self {
        Self::with_tls(None).await
    }

    /// Starts a provider whose certificate is `tls`'s.
    async fn with_tls(tls: Option<TlsAcceptor>) -> Self {
        let private = SigningKey::generate(Algorithm::RS256).unwrap();
        let key = SigningKey::from_pkcs8(Algorithm::RS256, "key-1", &private).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let discovery = json!({ "issuer": url, "jwks_uri": format!("{url}/jwks") });
        let jwks = json!({ "keys": [key.jwk()] });
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (discovery, jwks) = (discovery.to_string(), jwks.to_string());
                let tls = tls.clone();
                tokio::spawn(async move {
                    match tls {
                        None => answer(&mut stream, &discovery, &jwks).await,
                        Some(tls) => {
                            answer(&mut tls.accept(stream).await?, &discovery, &jwks).await
                        }
                    }
                });
            }
        });
        Self { url, key }
    }

    /// A server that trusts the provider.
    async fn gated(&self) -> Gated {
        self.gated_with("").await
    }

    /// A server that trusts the provider, with a further setting of it.
    async fn gated_with(&self, further: &str) -> Gated {
        Gated::with_settings(&format!(
            r#"audience = "https://flyte.example.com"
               [[gate.issuers]]
               {further}
               issuer = "{}"
               alias = "sso"
               audience = "flyte"
               algorithms = ["RS256"]
               roles = [
                   {{ claim = "groups", value = "flyte-users", role = "contributor" }},
                   {{ claim = "groups", value = "flyte-admins", role = "admin" }},
               ]"#,
            self.url
        ))
        .await
    }

    /// A token with other values of some claims.
    fn token(&self, change: &Value) -> String {
        let mut claims = json!({
            "iss": self.url, "sub": "alice", "aud": "flyte", "exp": now() + 300,
            "email": "alice@example.com", "groups": ["flyte-users"],
        });
        claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        self.key.sign(&claims).unwrap()
    }
}

#[tokio::test]
async fn a_person_calls_with_a_groups_role() {
    let provider = Provider::start().await;
    let gated = provider.gated().await;
    for (groups, statuses) in [
        (json!([]), [403, 403, 403]),
        (json!(["flyte-users"]), [200, 200, 403]),
        (json!(["flyte-admins"]), [200, 200, 200]),
    ] {
        let token = provider.token(&json!({ "groups": groups }));
        for (path, status) in [READ, WRITE, ADMIN].into_iter().zip(statuses) {
            let answered = gated.call(path, &token).await;
            assert_eq!(answered.status, status, "{groups} {path}: {}", answered.text());
        }
    }
    let seen = gated.call(READ, &provider.token(&json!({}))).await.json();
    assert_eq!(seen["headers"]["x-auth-request-user"], json!(["sso|alice"]));
    assert_eq!(seen["headers"]["x-auth-request-email"], json!(["alice@example.com"]));
    let token = seen["headers"]["authorization"][0].as_str().unwrap();
    let (_, claims) = crate::support::decoded(token.strip_prefix("Bearer ").unwrap());
    assert_eq!(
        (&claims["sub"], &claims["email"]),
        (&json!("sso|alice"), &json!("alice@example.com"))
    );
}

#[tokio::test]
async fn a_persons_token_must_fit_the_configuration() {
    let provider = Provider::start().await;
    let gated = provider.gated().await;
    for (change, reason) in [
        (json!({ "aud": "other" }), "another audience"),
        (json!({ "exp": now() - 100 }), "expired"),
        (json!({ "nbf": now() + 600 }), "not valid yet"),
        (json!({ "sub": "" }), "subject"),
        (json!({ "cnf": {} }), "bound to a key"),
        (json!({ "iss": "https://id.example.com" }), "unknown key"),
    ] {
        let refused = gated.call(READ, &provider.token(&change)).await;
        assert_eq!(refused.status, 401, "{change}: {}", refused.text());
        assert!(refused.text().contains(reason), "{change}: {}", refused.text());
    }
    assert!(gated.upstream.received().is_empty());
}

#[tokio::test]
async fn a_persons_token_opens_only_the_gate() {
    let provider = Provider::start().await;
    let gated = provider.gated().await;
    let token = provider.token(&json!({ "groups": ["flyte-admins"] }));
    assert_eq!(gated.call(ADMIN, &token).await.status, 200);
    assert!(!gated.server.accepts(&token).await);
    let refused = gated.call("/gatekey.v1.ApiKeyService/List", &token).await;
    assert_eq!(refused.status, 401, "{}", refused.text());
}

/// A refusal would make clients drop a good token.
#[tokio::test]
async fn an_unreachable_issuer_is_an_outage() {
    let mut provider = Provider::start().await;
    // Nothing listens there.
    provider.url = "http://127.0.0.1:1".to_owned();
    let gated = provider.gated().await;
    let refused = gated.call(READ, &provider.token(&json!({}))).await;
    assert_eq!(refused.status, 503, "{}", refused.text());
}

/// The file is read again when keys are fetched.
#[tokio::test]
async fn an_issuer_may_have_a_private_ca() {
    let (acceptor, authority) = private_tls();
    let (_, other) = private_tls();
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("ca.pem");
    std::fs::write(&file, other).unwrap();
    let provider = Provider::with_tls(Some(acceptor)).await;
    let unknown = provider.gated().await;
    assert_eq!(unknown.call(READ, &provider.token(&json!({}))).await.status, 503);
    let gated = provider.gated_with(&format!("ca_file = {file:?}")).await;
    std::fs::write(&file, authority).unwrap();
    let passed = gated.call(READ, &provider.token(&json!({}))).await;
    assert_eq!(passed.status, 200, "{}", passed.text());
}
