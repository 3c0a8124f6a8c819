//! [`KeySet`]: the keys in an issuer's document (RFC 7517).

use gatekey_credentials::jwt::{Algorithm, Jwk, VerifyingKey};
use quick_cache::sync::Cache;
use serde::Deserialize;

use crate::{claims::VerifiedSubject, token::Token};

/// Keys that a document may have.
const MAX_KEYS: usize = 100;
/// Tokens whose subjects are cached. An entry takes about 600 bytes, so the cache takes at most
/// 3 MiB; only tokens with a valid signature enter it.
const CACHED: usize = 4096;

/// The usable keys of an issuer.
pub struct KeySet {
    keys: Vec<VerifyingKey>,
    /// The subjects of tokens that these keys signed, by the token's SHA-256. Empty again when the
    /// keys change.
    pub(crate) verified: Cache<[u8; 32], VerifiedSubject>,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<serde_json::Value>,
}

/// A key as issuers publish it: many leave the algorithm out.
#[derive(Deserialize)]
struct Published {
    kty: String,
    kid: String,
    #[serde(rename = "use")]
    key_use: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

impl KeySet {
    /// Reads the keys of some algorithms. Other keys are skipped.
    ///
    /// # Errors
    /// What is wrong with the document.
    pub fn parse(document: &[u8], algorithms: &[Algorithm]) -> Result<Self, &'static str> {
        let document: Document =
            serde_json::from_slice(document).map_err(|_| "is not a JSON Web Key Set")?;
        if document.keys.len() > MAX_KEYS {
            return Err("has more than 100 keys");
        }
        let read = |key| Published::deserialize(key).ok()?.verifying(algorithms);
        let keys: Vec<_> = document.keys.into_iter().filter_map(read).collect();
        if keys.is_empty() {
            return Err("has no usable key");
        }
        Ok(Self { keys, verified: Cache::new(CACHED) })
    }

    pub fn has(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key.kid() == kid)
    }

    /// Whether one of the keys signed a token. The key, and not only the token, has the algorithm.
    pub fn signed(&self, token: &Token<'_>) -> bool {
        let keys = self.keys.iter();
        let mut fitting =
            keys.filter(|key| key.kid() == token.kid && key.algorithm() == token.algorithm);
        fitting.any(|key| key.accepts(token.signed.as_bytes(), &token.signature))
    }
}

impl Published {
    fn verifying(self, allowed: &[Algorithm]) -> Option<VerifyingKey> {
        let algorithm = match (&*self.kty, self.crv.as_deref()) {
            ("RSA", _) => Algorithm::RS256,
            ("EC", Some("P-256")) => Algorithm::ES256,
            ("OKP", Some("Ed25519")) => Algorithm::EdDSA,
            _ => return None,
        };
        let verifies =
            self.key_ops.is_none_or(|operations| operations.iter().any(|name| name == "verify"));
        if !allowed.contains(&algorithm)
            || self.alg.is_some_and(|alg| alg != algorithm.as_str())
            || self.key_use.is_some_and(|key_use| key_use != "sig")
            || !verifies
        {
            return None;
        }
        let jwk = Jwk {
            kty: self.kty,
            key_use: "sig".to_owned(),
            alg: algorithm.as_str().to_owned(),
            kid: self.kid,
            crv: self.crv,
            x: self.x,
            y: self.y,
            n: self.n,
            e: self.e,
        };
        VerifyingKey::from_jwk(&jwk).ok()
    }
}

#[cfg(test)]
mod tests {
    use gatekey_credentials::jwt::SigningKey;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn jwk(algorithm: Algorithm) -> Value {
        let private = SigningKey::generate(algorithm).unwrap();
        let key = SigningKey::from_pkcs8(algorithm, "k", &private).unwrap();
        serde_json::to_value(key.jwk()).unwrap()
    }

    fn usable(key: &Value, allowed: &[Algorithm]) -> bool {
        KeySet::parse(json!({ "keys": [key] }).to_string().as_bytes(), allowed).is_ok()
    }

    fn with(key: &Value, member: &str, value: Value) -> Value {
        let mut key = key.clone();
        if value.is_null() {
            key.as_object_mut().unwrap().remove(member);
        } else {
            key[member] = value;
        }
        key
    }

    #[test]
    fn the_algorithm_follows_from_the_kind_of_key() {
        for algorithm in Algorithm::ALL {
            let key = with(&jwk(algorithm), "alg", Value::Null);
            assert!(usable(&key, &[algorithm]));
            assert!(usable(&with(&key, "use", Value::Null), &[algorithm]));
            let others: Vec<_> =
                Algorithm::ALL.into_iter().filter(|one| *one != algorithm).collect();
            assert!(!usable(&key, &others), "{algorithm}");
        }
    }

    #[test]
    fn a_key_for_another_use_is_skipped() {
        let key = jwk(Algorithm::ES256);
        let all = &Algorithm::ALL;
        assert!(usable(&with(&key, "key_ops", json!(["verify"])), all));
        for (member, value) in [
            ("use", json!("enc")),
            ("key_ops", json!(["encrypt"])),
            ("alg", json!("ES512")),
            ("alg", json!("HS256")),
            ("crv", json!("P-521")),
            ("kid", Value::Null),
            ("kty", json!("oct")),
        ] {
            assert!(!usable(&with(&key, member, value.clone()), all), "{member} {value}");
        }
    }

    #[test]
    fn too_many_keys_are_refused() {
        let keys = |number: usize| json!({ "keys": vec![jwk(Algorithm::EdDSA); number] });
        let parse = |number| KeySet::parse(keys(number).to_string().as_bytes(), &Algorithm::ALL);
        assert!(parse(100).is_ok());
        assert!(parse(101).is_err() && parse(0).is_err());
    }

    proptest! {
        #[test]
        fn no_document_makes_the_parser_panic(text in ".{0,200}") {
            let _ = KeySet::parse(text.as_bytes(), &Algorithm::ALL);
            let key = format!(r#"{{"keys":[{{"kty":"RSA","kid":"k","n":"{text}","e":"AQAB"}}]}}"#);
            let _ = KeySet::parse(key.as_bytes(), &Algorithm::ALL);
        }
    }
}
