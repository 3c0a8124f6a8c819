//! Forged tokens. An insider signs some of them with the server's own key, to test each check
//! behind the signature by itself.

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD as BASE64URL},
};
use gatekey_core::store::SigningKeyStore as _;
use gatekey_credentials::jwt::{Algorithm, SigningKey, has_low_s};
use serde_json::{Value, json};

use super::{GRANT, jwks, refused, verified};
use crate::support::{Credentials, PUBLIC_URL, Server, copied_store, decoded, now};

fn encode(part: &Value) -> String {
    BASE64URL.encode(part.to_string())
}

impl Server {
    /// Asserts that a forged token is refused everywhere, including by the public API.
    async fn refuses(&self, case: &str, token: &str) {
        assert!(!self.accepts(token).await, "{case}: {token}");
        let list = "/cloudidl.identity.AppsService/List";
        let response = self.http.connect_json(list, token, &json!({})).await;
        assert_eq!(
            (response.status.as_u16(), &response.json()["code"]),
            (401, &json!("unauthenticated")),
            "{case}"
        );
    }
}

/// Signs anything with the server's own key.
struct Insider {
    pair: EcdsaKeyPair,
}

impl Insider {
    async fn of(server: &Server) -> Self {
        let (store, root_key, _copy) = copied_store(&server.process.data_dir);
        let stored = store.signing_keys().await.unwrap().pop().unwrap();
        let private =
            root_key.open(&format!("signing key {}", stored.kid), &stored.sealed).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &private).unwrap();
        Self { pair }
    }

    fn sign_encoded(&self, header: &str, claims: &str) -> String {
        let signed = format!("{header}.{claims}");
        #[expect(clippy::disallowed_methods, reason = "a forger has no Env")]
        let random = SystemRandom::new();
        loop {
            let signature = self.pair.sign(&random, signed.as_bytes()).unwrap();
            let token = format!("{signed}.{}", BASE64URL.encode(signature));
            if has_low_s(&token) {
                return token;
            }
        }
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_encoded(&encode(header), &encode(claims))
    }
}

/// The value with one member added or replaced.
fn with(value: &Value, name: &str, member: Value) -> Value {
    let mut value = value.clone();
    value[name] = member;
    value
}

fn without(value: &Value, name: &str) -> Value {
    let mut value = value.clone();
    value.as_object_mut().unwrap().remove(name).unwrap();
    value
}

/// `alg: none` (RFC 8725 section 2.1, CVE-2018-1000531), and empty or all-zero signatures; Java
/// verified the latter (CVE-2022-21449).
#[tokio::test]
async fn a_token_without_a_signature_is_refused() {
    let server = Server::start().await;
    let (header, claims) = decoded(&server.admin_token);
    let rest = encode(&claims);
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let header = encode(&with(&header, "alg", json!(alg)));
        server.refuses(alg, &format!("{header}.{rest}.")).await;
        let signature = server.admin_token.rsplit_once('.').unwrap().1;
        server.refuses(alg, &format!("{header}.{rest}.{signature}")).await;
    }
    let stripped = server.admin_token.rsplit_once('.').unwrap().0;
    server.refuses("empty signature", &format!("{stripped}.")).await;
    server.refuses("no signature", stripped).await;
    server
        .refuses("signature of zeros", &format!("{stripped}.{}", BASE64URL.encode([0; 64])))
        .await;
}

/// The public key used as the secret of a MAC: CVE-2015-9235.
#[tokio::test]
async fn a_mac_with_the_public_key_is_refused() {
    let server = Server::start().await;
    let (header, claims) = decoded(&server.admin_token);
    let jwk = jwks(&server.http).await.remove(0);
    let coordinate = |part: &Option<String>| BASE64URL.decode(part.as_deref().unwrap()).unwrap();
    let point = [vec![4], coordinate(&jwk.x), coordinate(&jwk.y)].concat();
    // SubjectPublicKeyInfo of a point on P-256 (RFC 5480 section 2).
    let prefix = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgA=";
    let der = [BASE64_STANDARD.decode(prefix).unwrap(), point.clone()].concat();
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        BASE64_STANDARD.encode(&der)
    );
    let jwk_text = serde_json::to_string(&jwk).unwrap();
    for key in [&point[..], &point[1..], &der, pem.as_bytes(), jwk_text.as_bytes(), b""] {
        for alg in ["HS256", "ES256"] {
            let header = encode(&with(&header, "alg", json!(alg)));
            let signed = format!("{header}.{}", encode(&claims));
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), signed.as_bytes());
            server.refuses(alg, &format!("{signed}.{}", BASE64URL.encode(tag))).await;
        }
    }
}

#[tokio::test]
async fn a_changed_claim_is_refused() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    let (header, rest) = token.split_once('.').unwrap();
    let signature = rest.split_once('.').unwrap().1;
    let (_, claims) = decoded(&token);
    for (name, value) in [
        ("sub", json!("admin")),
        ("client_id", json!("admin")),
        ("exp", json!(now() + 1_000_000)),
        ("scp", json!(["all", "more"])),
        ("epoch", json!(2)),
    ] {
        let claims = encode(&with(&claims, name, value));
        server.refuses(name, &format!("{header}.{claims}.{signature}")).await;
    }
}

#[tokio::test]
async fn a_changed_byte_anywhere_is_refused() {
    let server = Server::start().await;
    let token = server.admin_token.clone();
    for at in (0..token.len()).step_by(23) {
        let mut bytes = token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        server.refuses(&format!("byte {at}"), &String::from_utf8(bytes).unwrap()).await;
    }
}

/// `(r, n - s)` is a valid signature too. A list of refused tokens by their hash would miss it.
#[tokio::test]
async fn the_second_ecdsa_signature_is_refused() {
    let server = Server::start().await;
    let (signed, signature) = server.admin_token.rsplit_once('.').unwrap();
    let mut signature = BASE64URL.decode(signature).unwrap();
    let order = BASE64URL.decode("_____wAAAAD__________7zm-q2nF56E87nKwvxjJVE").unwrap();
    let mut borrow = 0;
    for place in (0..32).rev() {
        let difference = i16::from(order[place]) - i16::from(signature[32 + place]) - borrow;
        borrow = i16::from(difference < 0);
        signature[32 + place] = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    let twin = format!("{signed}.{}", BASE64URL.encode(signature));
    // A verifier of other issuers' tokens must accept it.
    assert_eq!(verified(&server.http, &twin).await["sub"], "admin");
    server.refuses("high s", &twin).await;
    let bearer = format!("Bearer {twin}");
    assert_eq!(server.http.get("/me", &[("authorization", &bearer)]).await.status, 401);
    assert!(server.accepts(&server.admin_token).await);
}

/// Lax base64 decoding accepts one signature in several encodings, so a revoked token could be
/// encoded as another.
#[tokio::test]
async fn another_encoding_of_a_signature_is_refused() {
    let server = Server::start().await;
    let (signed, signature) = server.admin_token.rsplit_once('.').unwrap();
    let bytes = BASE64URL.decode(signature).unwrap();
    server.refuses("padded", &format!("{signed}.{signature}==")).await;
    server.refuses("other alphabet", &format!("{signed}.{}", BASE64_STANDARD.encode(&bytes))).await;
    // 64 bytes leave four unused bits in the last character.
    let last = signature.chars().last().unwrap();
    let other = char::from(u8::try_from(last).unwrap() + 1);
    server
        .refuses("unused bits", &format!("{signed}.{}{other}", &signature[..signature.len() - 1]))
        .await;
    server
        .refuses("longer", &format!("{signed}.{}", BASE64URL.encode([&bytes[..], &[0]].concat())))
        .await;
}

#[tokio::test]
async fn a_token_of_another_server_is_refused() {
    let (server, other) = tokio::join!(Server::with_public_url(), Server::with_public_url());
    assert_eq!(decoded(&server.admin_token).1["iss"], decoded(&other.admin_token).1["iss"]);
    server.refuses("the other server's", &other.admin_token).await;
    let kid = jwks(&server.http).await.remove(0).kid;
    let (_, claims) = decoded(&server.admin_token);
    for algorithm in Algorithm::ALL {
        let private = SigningKey::generate(algorithm).unwrap();
        let forger = SigningKey::from_pkcs8(algorithm, &kid, &private).unwrap();
        server.refuses("another key under this server's kid", &forger.sign(&claims).unwrap()).await;
    }
}

/// Otherwise the tests below prove nothing.
#[tokio::test]
async fn a_copy_signed_by_an_insider_is_accepted() {
    let server = Server::start().await;
    let insider = Insider::of(&server).await;
    let (header, claims) = decoded(&server.admin_token);
    assert!(server.accepts(&insider.sign(&header, &claims)).await);
}

/// Keys embedded in the token (`jwk` in CVE-2018-0114, `jku`, `x5u`), unknown critical extensions
/// (`crit`, RFC 7515 section 4.1.11), and other token types (RFC 8725 section 3.11).
#[tokio::test]
async fn a_signed_token_with_another_header_is_refused() {
    let server = Server::start().await;
    let insider = Insider::of(&server).await;
    let (header, claims) = decoded(&server.admin_token);
    let jwk = serde_json::to_value(jwks(&server.http).await.remove(0)).unwrap();
    let headers = [
        with(&header, "typ", json!("JWT")),
        with(&header, "typ", json!("application/at+jwt")),
        without(&header, "typ"),
        without(&header, "kid"),
        without(&header, "alg"),
        with(&header, "kid", json!("unknown")),
        with(&header, "kid", json!("../../root.key")),
        with(&header, "kid", json!(["k"])),
        with(&header, "alg", json!("RS256")),
        with(&header, "alg", json!("EdDSA")),
        with(&header, "crit", json!(["exp"])),
        with(&with(&header, "b64", json!(false)), "crit", json!(["b64"])),
        with(&header, "jku", json!("https://evil.example/jwks")),
        with(&header, "x5u", json!("https://evil.example/x5u")),
        with(&header, "jwk", jwk),
        with(&header, "zip", json!("DEF")),
        json!([]),
        json!(null),
    ];
    for header in headers {
        server.refuses(&header.to_string(), &insider.sign(&header, &claims)).await;
    }
    let kid = header["kid"].as_str().unwrap();
    let twice = format!(r#"{{"alg":"ES256","typ":"at+jwt","kid":"x","kid":"{kid}"}}"#);
    server
        .refuses(&twice, &insider.sign_encoded(&BASE64URL.encode(&twice), &encode(&claims)))
        .await;
}

#[tokio::test]
async fn a_signed_token_with_another_claim_is_refused() {
    let server = Server::start().await;
    let other = server.create_key("other").await;
    let (_, of_other) = decoded(&server.token(&other).await);
    let insider = Insider::of(&server).await;
    let (header, claims) = decoded(&server.admin_token);
    let epoch = claims["epoch"].as_u64().unwrap();
    let past = now() - 1;
    let cases = [
        with(&claims, "iss", json!("https://evil.example")),
        with(&claims, "iss", json!(format!("{}/", server.process.url))),
        with(&claims, "iss", json!(PUBLIC_URL)),
        with(&claims, "exp", json!(past)),
        with(&claims, "exp", json!(0)),
        with(&claims, "exp", json!(-1)),
        with(&claims, "exp", json!("never")),
        with(&claims, "nbf", json!(now() + 60)),
        with(&claims, "epoch", json!(epoch + 1)),
        with(&claims, "epoch", json!(epoch - 1)),
        with(&claims, "key", of_other["key"].clone()),
        with(&claims, "key", json!("")),
        with(&claims, "client_id", json!("other")),
        with(&claims, "client_id", json!("nobody")),
        with(&claims, "client_id", json!("ADMIN")),
        with(&claims, "jti", json!("")),
        with(&claims, "jti", json!("no-secret")),
        with(&claims, "jti", of_other["jti"].clone()),
        with(&claims, "aud", json!("not a list")),
        json!({}),
        json!([]),
    ];
    for claims in cases {
        server.refuses(&claims.to_string(), &insider.sign(&header, &claims)).await;
    }
    for name in claims.as_object().unwrap().keys() {
        server.refuses(name, &insider.sign(&header, &without(&claims, name))).await;
    }
    let text = claims.to_string();
    let twice = text.replacen('{', r#"{"client_id":"other","#, 1);
    server
        .refuses("a claim twice", &insider.sign_encoded(&encode(&header), &BASE64URL.encode(twice)))
        .await;
}

#[tokio::test]
async fn a_signed_token_over_8_kib_is_refused() {
    let server = Server::start().await;
    let insider = Insider::of(&server).await;
    let (header, claims) = decoded(&server.admin_token);
    let padded = with(&claims, "pad", json!("x".repeat(8000)));
    server.refuses("over-long", &insider.sign(&header, &padded)).await;
}

/// One kind of credential in place of another: in CVE-2026-101023 a token of one kind had the
/// rights of another kind.
#[tokio::test]
async fn no_credential_passes_for_another_kind() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let page = server.admin_call("List", json!({ "pageSize": 1 })).await;
    let page_token = page["nextPageToken"].as_str().unwrap();
    let kid = jwks(&server.http).await.remove(0).kid;
    let (secret, token) = (&key.client_secret, server.token(&key).await);
    let encoded = key.encoded(server.process.endpoint());
    let jti = decoded(&token).1["jti"].as_str().unwrap().to_owned();
    for no_token in [secret, &encoded, page_token, &kid, &jti, "ci", &key.basic()] {
        server.refuses("as a token", no_token).await;
    }
    for no_secret in [&token, &encoded, page_token, &kid, &jti, "ci"] {
        let other = Credentials { client_id: "ci".to_owned(), client_secret: no_secret.to_owned() };
        refused(&server.request_token(&other, GRANT).await, 401, "invalid_client");
        let body = format!("{GRANT}&client_id=ci&client_secret={}", no_secret.replace('+', "%2B"));
        refused(&server.http.form("/oauth2/token", &[], &body).await, 401, "invalid_client");
    }
    for grant in [
        format!("grant_type=refresh_token&refresh_token={token}"),
        format!("grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion={token}"),
        format!("grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token={token}"),
        format!("grant_type=authorization_code&code={token}"),
    ] {
        refused(&server.request_token(&key, &grant).await, 400, "unsupported_grant_type");
    }
    let bearer = json!({ "token": token, "pageToken": token });
    let listed = server
        .http
        .connect_json("/gatekey.v1.ApiKeyService/List", &server.admin_token, &bearer)
        .await;
    assert_eq!(listed.json()["code"], "invalid_argument", "{}", listed.text());
}
