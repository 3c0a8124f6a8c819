//! Whom Flyte 2 takes for the caller, behind the gate.

use http::Method;
use serde_json::Value;

use super::{Gated, READ};
use crate::support::decoded;

/// The headers in which Flyte 2 looks for the caller, before the bearer token.
struct Settings {
    claims_jwt: &'static str,
    subject: &'static str,
    email: &'static str,
}

/// Flyte's defaults.
const DEFAULT: Settings = Settings {
    claims_jwt: "x-amzn-oidc-data",
    subject: "x-amzn-oidc-identity",
    email: "x-user-email",
};
/// Those of `docs/gate/kubernetes/helm-flyte-2.yaml`.
const DOCUMENTED: Settings =
    Settings { claims_jwt: "", subject: "x-auth-request-user", email: "x-auth-request-email" };

/// The caller that Flyte finds.
#[derive(Debug, PartialEq)]
struct Caller {
    subject: String,
    email: String,
    /// Flyte asks the issuer for userinfo, once for each token and service.
    asks: bool,
}

/// Reads the headers of a request as Flyte 2 does: the first place that names a caller decides, and
/// nothing is verified.
fn caller(headers: &Value, settings: &Settings) -> Option<Caller> {
    let header = |name: &str| headers[name][0].as_str().unwrap_or_default();
    let claims = |jwt: &str| decoded(jwt).1;
    let of = |claims: &Value, asks| Caller {
        subject: claims["sub"].as_str().unwrap().to_owned(),
        email: claims["email"].as_str().unwrap_or_default().to_owned(),
        asks,
    };
    if !header(settings.claims_jwt).is_empty() {
        return Some(of(&claims(header(settings.claims_jwt)), false));
    }
    if !header(settings.subject).is_empty() {
        let (subject, email) = (header(settings.subject), header(settings.email));
        return Some(Caller { subject: subject.to_owned(), email: email.to_owned(), asks: false });
    }
    let claims = claims(header("authorization").strip_prefix("Bearer ")?);
    let named = ["email", "given_name", "family_name"];
    let asks = named.iter().any(|name| claims[name].as_str().is_none_or(str::is_empty));
    Some(of(&claims, asks))
}

/// A token without a signature, of an admin.
fn forged() -> String {
    // {"alg":"none"} and {"sub":"admin"}.
    "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.".to_owned()
}

/// What Flyte receives of a request that claims to be the admin's in every place it looks at.
async fn claimed(gated: &Gated) -> Value {
    let token = gated.token_of("viewer").await;
    let (bearer, forged) = (format!("Bearer {token}"), forged());
    let headers = [
        ("authorization", &*bearer),
        ("content-type", "application/json"),
        (DEFAULT.claims_jwt, &*forged),
        (DEFAULT.subject, "admin"),
        (DEFAULT.email, "admin@example.com"),
        (DOCUMENTED.subject, "admin"),
        (DOCUMENTED.email, "admin@example.com"),
    ];
    let seen = gated.server.http.send(Method::POST, READ, &headers, "{}").await;
    assert_eq!(seen.status, 200, "{}", seen.text());
    seen.json()["headers"].clone()
}

#[tokio::test]
async fn flyte_finds_the_caller_in_headers() {
    let gated = Gated::start().await;
    let headers = claimed(&gated).await;
    let found = caller(&headers, &DOCUMENTED).unwrap();
    assert_eq!((&*found.subject, &*found.email, found.asks), ("viewer", "", false), "{headers}");
    // Without these settings, it finds nobody rather than an admin.
    assert_eq!(caller(&headers, &DEFAULT), None, "{headers}");
}

/// Its answer would cost a call for each token and service, and up to three seconds if refused.
#[tokio::test]
async fn flyte_asks_no_userinfo_about_callers() {
    let gated = Gated::with_config("gate.audience = \"https://flyte.example.com\"").await;
    let headers = claimed(&gated).await;
    for settings in [&DEFAULT, &DOCUMENTED] {
        let found = caller(&headers, settings).unwrap();
        assert_eq!((&*found.subject, found.asks), ("viewer", false), "{headers}");
    }
}

/// Flyte alone takes its subject for the caller.
#[tokio::test]
async fn an_unsigned_token_never_reaches_flyte() {
    let gated = Gated::start().await;
    let refused = gated.call(READ, &forged()).await;
    assert_eq!(refused.status, 401, "{}", refused.text());
    assert!(gated.upstream.received().is_empty());
}
