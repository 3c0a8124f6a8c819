//! [`Claims`]: an access token, read but not verified yet (RFC 9068), and [`Rejection`].

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use gatekey_credentials::jwt::{Algorithm, MAX_LENGTH};
use serde::{Deserialize, Deserializer, Serialize, de::IgnoredAny};
use serde_json::{Map, Value};

use crate::jwks::algorithm;

/// The claims of an access token (RFC 9068 section 2.2). Times are seconds since 1970 (RFC 7519
/// section 2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Claims {
    /// The issuer.
    pub iss: String,
    /// The subject: for an API key, its client id.
    pub sub: String,
    /// The client that fetched the token: for an API key, its client id.
    pub client_id: String,
    /// The audiences; one of them is the verifier's.
    #[serde(deserialize_with = "one_or_many")]
    pub aud: Vec<String>,
    /// The time from which the token is rejected.
    #[serde(deserialize_with = "seconds")]
    pub exp: i64,
    /// The time of issue.
    #[serde(deserialize_with = "seconds")]
    pub iat: i64,
    /// The time before which the token is rejected.
    #[serde(default, deserialize_with = "optional_seconds")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// The token's id.
    pub jti: String,
    /// The granted scopes, separated by spaces; see [`Claims::scopes`].
    #[serde(default)]
    pub scope: String,
    /// The other claims. Gatekey's are `org`, `scp`, `epoch` and `key`.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Claims {
    /// Returns the granted scopes (RFC 8693 section 4.2).
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        self.scope.split(' ').filter(|scope| !scope.is_empty())
    }
}

/// Why a token is rejected. The message never repeats the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// The text is not a compact JWS of at most 8,192 bytes with the claims of an access token.
    #[error("the token is malformed")]
    Malformed,
    /// The header's `typ` is not `at+jwt`: it is another kind of token.
    #[error("the token is not an access token")]
    NotAnAccessToken,
    /// The verifier does not accept the header's `alg`.
    #[error("the token's signing algorithm is not accepted")]
    Algorithm,
    /// The header has a `crit` (RFC 7515 section 4.1.11): extensions that the verifier does not
    /// know.
    #[error("the token requires unknown extensions (`crit`)")]
    Critical,
    /// The issuer publishes no such key.
    #[error("the token is signed with an unknown key")]
    UnknownKey,
    /// The signature does not match.
    #[error("the token's signature is invalid")]
    BadSignature,
    /// `iss` is another issuer.
    #[error("the token is from another issuer")]
    WrongIssuer,
    /// `aud` does not contain an audience of the verifier.
    #[error("the token is for another audience")]
    WrongAudience,
    /// The token's `nbf` is in the future.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// The token's `exp` has passed.
    #[error("the token has expired")]
    Expired,
}

/// The parts of a token, before its signature is verified.
pub(crate) struct UnverifiedToken<'t> {
    pub(crate) signed: &'t str,
    pub(crate) claims: Vec<u8>,
    pub(crate) signature: Vec<u8>,
    pub(crate) algorithm: Algorithm,
    pub(crate) kid: Option<String>,
}

/// The members of a JOSE header that this crate reads. It ignores the others (RFC 7515 section 4),
/// so that a token cannot choose its key by `jku`, `jwk` or `x5u`.
#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: Option<String>,
    kid: Option<String>,
    crit: Option<IgnoredAny>,
}

impl<'t> UnverifiedToken<'t> {
    pub(crate) fn read(token: &'t str) -> Result<Self, Rejection> {
        if token.len() > MAX_LENGTH {
            return Err(Rejection::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(Rejection::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(Rejection::Malformed)?;
        let decode = |part: &str| BASE64URL.decode(part).map_err(|_| Rejection::Malformed);
        let header: Header =
            serde_json::from_slice(&decode(header)?).map_err(|_| Rejection::Malformed)?;
        let typ = header.typ.unwrap_or_default().to_ascii_lowercase();
        if typ.strip_prefix("application/").unwrap_or(&typ) != "at+jwt" {
            return Err(Rejection::NotAnAccessToken);
        }
        if header.crit.is_some() {
            return Err(Rejection::Critical);
        }
        Ok(Self {
            signed,
            claims: decode(claims)?,
            signature: decode(signature)?,
            algorithm: algorithm(&header.alg).ok_or(Rejection::Algorithm)?,
            kid: header.kid,
        })
    }
}

/// Reads a `NumericDate` (RFC 7519 section 2), which may have a fraction.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let number = serde_json::Number::deserialize(deserializer)?;
    let whole = || {
        let float = number.as_f64().filter(|float| float.abs() < 1e15)?;
        #[expect(clippy::cast_possible_truncation, reason = "bounded; the fraction is ignored")]
        Some(float.floor() as i64)
    };
    number.as_i64().or_else(whole).ok_or_else(|| serde::de::Error::custom("date out of range"))
}

fn optional_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    seconds(deserializer).map(Some)
}

/// Reads `aud`, which is a string or an array (RFC 7519 section 4.1.3).
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Audience {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Audience::deserialize(deserializer)? {
        Audience::One(one) => vec![one],
        Audience::Many(many) => many,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn token(header: &Value) -> String {
        let claims = BASE64URL.encode("{}");
        format!("{}.{claims}.AAAA", BASE64URL.encode(header.to_string()))
    }

    fn rejected(token: &str) -> Option<Rejection> {
        UnverifiedToken::read(token).err()
    }

    #[test]
    fn only_an_access_tokens_header_is_accepted() {
        for (header, why) in [
            (json!({ "alg": "ES256", "typ": "at+jwt", "kid": "k" }), None),
            (json!({ "alg": "EdDSA", "typ": "application/AT+JWT" }), None),
            (json!({ "alg": "Ed25519", "typ": "at+jwt" }), None),
            (json!({ "alg": "ES256", "typ": "at+jwt", "jku": "https://evil.example" }), None),
            (json!({ "alg": "ES256", "typ": "JWT" }), Some(Rejection::NotAnAccessToken)),
            (json!({ "alg": "ES256" }), Some(Rejection::NotAnAccessToken)),
            (json!({ "alg": "none", "typ": "at+jwt" }), Some(Rejection::Algorithm)),
            (json!({ "alg": "HS256", "typ": "at+jwt" }), Some(Rejection::Algorithm)),
            (
                json!({ "alg": "ES256", "typ": "at+jwt", "crit": ["exp"] }),
                Some(Rejection::Critical),
            ),
            (json!({ "typ": "at+jwt" }), Some(Rejection::Malformed)),
            (json!([]), Some(Rejection::Malformed)),
        ] {
            assert_eq!(rejected(&token(&header)), why, "{header}");
        }
        let valid = token(&json!({ "alg": "ES256", "typ": "at+jwt" }));
        for text in ["", ".", "..", "a.b", &valid[1..], &format!("{valid}="), &format!("{valid}.x")]
        {
            assert_eq!(rejected(text), Some(Rejection::Malformed), "{text}");
        }
        assert_eq!(
            rejected(&format!("{valid}{}", "A".repeat(MAX_LENGTH))),
            Some(Rejection::Malformed)
        );
    }

    #[test]
    fn claims_are_read_as_rfc_7519_defines_them() {
        let minimal = json!({ "iss": "i", "sub": "s", "client_id": "c", "aud": "a", "exp": 10.9, "iat": 1,
            "jti": "j" });
        let claims: Claims = serde_json::from_value(minimal.clone()).unwrap();
        assert_eq!((claims.aud, claims.exp, claims.nbf), (vec!["a".to_owned()], 10, None));
        let mut full = minimal.clone();
        (full["aud"], full["nbf"], full["scope"], full["org"]) =
            (json!(["a", "b"]), json!(2), json!("x  y"), json!("o"));
        let claims: Claims = serde_json::from_value(full).unwrap();
        assert_eq!((claims.aud.len(), claims.nbf, &claims.other["org"]), (2, Some(2), &json!("o")));
        assert_eq!(claims.scopes().collect::<Vec<_>>(), ["x", "y"]);
        for claim in ["iss", "sub", "client_id", "aud", "exp", "iat", "jti"] {
            for broken in [Value::Null, json!({}), json!(true)] {
                let mut claims = minimal.clone();
                claims[claim] = broken;
                assert!(serde_json::from_value::<Claims>(claims).is_err(), "{claim}");
            }
            let mut claims = minimal.clone();
            claims.as_object_mut().unwrap().remove(claim);
            assert!(serde_json::from_value::<Claims>(claims).is_err(), "without {claim}");
        }
    }
}
