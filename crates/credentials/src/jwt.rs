//! Access tokens as signed JWTs: RFC 7515 compact serialization, header `typ` `at+jwt` (RFC 9068
//! section 2.1).
//!
//! [`verify`] accepts only tokens that Gatekey may have issued: three parts, strict base64url, one
//! of the [`Algorithm`]s, and a header of exactly `alg`, `typ` and `kid`. `crit`, `jku`, `jwk` and
//! `x5u` therefore never take effect.

use std::fmt;

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::{KeySize, PublicEncryptingKey, PublicKeyComponents},
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair,
        Ed25519KeyPair, KeyPair, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256,
        RsaKeyPair,
    },
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

/// The longest token that is accepted, in bytes.
pub const MAX_LENGTH: usize = 8192;

const ACCESS_TOKEN_TYPE: &str = "at+jwt";
const UPSTREAM_TOKEN_TYPE: &str = "upstream+jwt";

/// A signing algorithm (RFC 7518 section 3.1, RFC 8037 section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// RSASSA-PKCS1-v1_5 with SHA-256 and a 2048-bit key.
    RS256,
    /// Ed25519.
    EdDSA,
}

impl Algorithm {
    /// All algorithms.
    pub const ALL: [Self; 3] = [Self::ES256, Self::RS256, Self::EdDSA];

    /// Returns the name, as in a JWT header.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ES256 => "ES256",
            Self::RS256 => "RS256",
            Self::EdDSA => "EdDSA",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The text is not the name of a supported algorithm. The message lists the algorithms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected ES256, RS256 or EdDSA")]
pub struct UnknownAlgorithm;

impl std::str::FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(text: &str) -> Result<Self, UnknownAlgorithm> {
        Self::ALL.into_iter().find(|a| a.as_str() == text).ok_or(UnknownAlgorithm)
    }
}

/// The JOSE header of a token.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header<'a> {
    alg: Algorithm,
    #[serde(borrow)]
    typ: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    kid: std::borrow::Cow<'a, str>,
}

/// A public key as a JWK (RFC 7517 section 4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Jwk {
    /// `EC`, `RSA` or `OKP`.
    pub kty: String,
    /// Always `sig`.
    #[serde(rename = "use")]
    pub key_use: String,
    /// The algorithm, as in a token's header.
    pub alg: String,
    /// The key id, as in a token's header.
    pub kid: String,
    /// `P-256` for an EC key, `Ed25519` for an OKP key.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub crv: Option<String>,
    /// base64url of the x coordinate of an EC key, or of an OKP key (RFC 8037 section 2).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub x: Option<String>,
    /// base64url of the y coordinate of an EC key.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub y: Option<String>,
    /// base64url of the modulus of an RSA key.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub n: Option<String>,
    /// base64url of the exponent of an RSA key.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub e: Option<String>,
}

/// A key could not be generated, read or used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signing key is unusable")]
pub struct UnusableKey;

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(Box<RsaKeyPair>),
}

/// A private key that signs access tokens. `Debug` prints only the key id.
pub struct SigningKey {
    algorithm: Algorithm,
    kid: String,
    /// The encoded header with the dot after it, which is the same for every token of this key.
    header: String,
    /// The same for tokens that the gate sends upstream.
    upstream_header: String,
    pair: Pair,
    /// Required by aws-lc-rs, which draws nonces by itself.
    nonce: SystemRandom,
}

impl SigningKey {
    /// Generates a private key, as PKCS#8 DER.
    ///
    /// # Errors
    /// If the cryptographic library fails.
    pub fn generate(algorithm: Algorithm) -> Result<Zeroizing<Vec<u8>>, UnusableKey> {
        let document = match algorithm {
            Algorithm::ES256 => EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
                .and_then(|pair| Ok(pair.to_pkcs8v1()?.as_ref().to_vec())),
            Algorithm::RS256 => RsaKeyPair::generate(KeySize::Rsa2048)
                .and_then(|pair| Ok(AsDer::<Pkcs8V1Der<'_>>::as_der(&pair)?.as_ref().to_vec())),
            Algorithm::EdDSA => {
                Ed25519KeyPair::generate().and_then(|pair| Ok(pair.to_pkcs8v1()?.as_ref().to_vec()))
            }
        };
        document.map(Zeroizing::new).map_err(|_| UnusableKey)
    }

    /// Reads a private key from PKCS#8 DER.
    ///
    /// # Errors
    /// If the bytes are not a private key for the algorithm.
    pub fn from_pkcs8(algorithm: Algorithm, kid: &str, der: &[u8]) -> Result<Self, UnusableKey> {
        let pair = match algorithm {
            Algorithm::ES256 => Pair::Ecdsa(
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der)
                    .map_err(|_| UnusableKey)?,
            ),
            Algorithm::RS256 => {
                Pair::Rsa(Box::new(RsaKeyPair::from_pkcs8(der).map_err(|_| UnusableKey)?))
            }
            Algorithm::EdDSA => Pair::Ed25519(
                Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(|_| UnusableKey)?,
            ),
        };
        let header = |typ: &str| {
            let header = Header { alg: algorithm, typ: typ.into(), kid: kid.into() };
            let mut encoded =
                BASE64URL.encode(serde_json::to_vec(&header).map_err(|_| UnusableKey)?);
            encoded.push('.');
            Ok(encoded)
        };
        #[expect(clippy::disallowed_methods, reason = "a nonce of ECDSA must never be repeatable")]
        let nonce = SystemRandom::new();
        Ok(Self {
            algorithm,
            kid: kid.to_owned(),
            header: header(ACCESS_TOKEN_TYPE)?,
            upstream_header: header(UPSTREAM_TOKEN_TYPE)?,
            pair,
            nonce,
        })
    }

    /// Returns the key id, the `kid` in a token's header.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Returns the algorithm that the key signs with.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Signs the claims, and returns the access token `header.claims.signature`.
    ///
    /// # Errors
    /// If the claims cannot be serialized to JSON, or the cryptographic library fails.
    pub fn sign(&self, claims: &impl Serialize) -> Result<String, UnusableKey> {
        self.sign_with(&self.header, claims)
    }

    /// Signs the claims of a token that the gate sends upstream.
    ///
    /// Its header has the `typ` `upstream+jwt` (RFC 8725 section 3.11), so that [`verify`] does not
    /// accept it as an access token.
    ///
    /// # Errors
    /// See [`Self::sign`].
    pub fn sign_for_upstream(&self, claims: &impl Serialize) -> Result<String, UnusableKey> {
        self.sign_with(&self.upstream_header, claims)
    }

    fn sign_with(&self, header: &str, claims: &impl Serialize) -> Result<String, UnusableKey> {
        // Large enough for most claims, so that neither buffer is reallocated.
        let mut json = Vec::with_capacity(768);
        serde_json::to_writer(&mut json, claims).map_err(|_| UnusableKey)?;
        let mut token = String::with_capacity(1024);
        token.push_str(header);
        BASE64URL.encode_string(json, &mut token);
        let (signature, rsa);
        let signature = match &self.pair {
            Pair::Ecdsa(pair) => {
                let made = pair.sign(&self.nonce, token.as_bytes()).map_err(|_| UnusableKey)?;
                signature = with_low_s(made.as_ref());
                signature.as_slice()
            }
            Pair::Ed25519(pair) => {
                signature = pair.sign(token.as_bytes()).as_ref().to_vec();
                signature.as_slice()
            }
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &self.nonce, token.as_bytes(), &mut signature)
                    .map_err(|_| UnusableKey)?;
                rsa = signature;
                rsa.as_slice()
            }
        };
        token.push('.');
        BASE64URL.encode_string(signature, &mut token);
        Ok(token)
    }

    /// Returns the public key, to verify tokens with.
    ///
    /// # Errors
    /// If the cryptographic library cannot read the public key.
    pub fn verifying_key(&self) -> Result<VerifyingKey, UnusableKey> {
        VerifyingKey::from_jwk(&self.jwk())
    }

    /// Returns the public key, to publish it.
    pub fn jwk(&self) -> Jwk {
        let mut jwk = Jwk {
            kty: String::new(),
            key_use: "sig".to_owned(),
            alg: self.algorithm.as_str().to_owned(),
            kid: self.kid.clone(),
            crv: None,
            x: None,
            y: None,
            n: None,
            e: None,
        };
        match &self.pair {
            Pair::Ecdsa(pair) => {
                // An uncompressed point: 0x04, then 32 bytes of x and of y (SEC 1 section 2.3.3).
                let point = pair.public_key().as_ref();
                "EC".clone_into(&mut jwk.kty);
                jwk.crv = Some("P-256".to_owned());
                jwk.x = Some(BASE64URL.encode(&point[1..33]));
                jwk.y = Some(BASE64URL.encode(&point[33..65]));
            }
            Pair::Ed25519(pair) => {
                "OKP".clone_into(&mut jwk.kty);
                jwk.crv = Some("Ed25519".to_owned());
                jwk.x = Some(BASE64URL.encode(pair.public_key()));
            }
            Pair::Rsa(pair) => {
                let public = pair.public_key();
                "RSA".clone_into(&mut jwk.kty);
                jwk.n = Some(BASE64URL.encode(public.modulus().big_endian_without_leading_zero()));
                jwk.e = Some(BASE64URL.encode(public.exponent().big_endian_without_leading_zero()));
            }
        }
        jwk
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SigningKey({})", self.kid)
    }
}

/// A public key that verifies access tokens.
#[derive(Debug)]
pub struct VerifyingKey {
    algorithm: Algorithm,
    kid: String,
    public: ParsedPublicKey,
}

impl VerifyingKey {
    /// Reads a published key.
    ///
    /// # Errors
    /// If the key is incomplete, or not for a supported algorithm.
    pub fn from_jwk(jwk: &Jwk) -> Result<Self, UnusableKey> {
        let algorithm: Algorithm = jwk.alg.parse().map_err(|_| UnusableKey)?;
        let part = |part: &Option<String>| {
            BASE64URL.decode(part.as_deref().ok_or(UnusableKey)?).map_err(|_| UnusableKey)
        };
        let public = match algorithm {
            Algorithm::ES256 => {
                let (x, y) = (part(&jwk.x)?, part(&jwk.y)?);
                if jwk.crv.as_deref() != Some("P-256") || x.len() != 32 || y.len() != 32 {
                    return Err(UnusableKey);
                }
                let point = [&[4], x.as_slice(), y.as_slice()].concat();
                ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
            }
            Algorithm::EdDSA => {
                let x = part(&jwk.x)?;
                if jwk.crv.as_deref() != Some("Ed25519") {
                    return Err(UnusableKey);
                }
                ParsedPublicKey::new(&ED25519, x)
            }
            Algorithm::RS256 => {
                let (n, e) = (part(&jwk.n)?, part(&jwk.e)?);
                let components = PublicKeyComponents { n, e };
                let key: PublicEncryptingKey = components.try_into().map_err(|_| UnusableKey)?;
                let der = AsDer::<PublicKeyX509Der<'_>>::as_der(&key).map_err(|_| UnusableKey)?;
                ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der.as_ref())
            }
        }
        .map_err(|_| UnusableKey)?;
        Ok(Self { algorithm, kid: jwk.kid.clone(), public })
    }

    /// Returns the key id, the `kid` in a token's header.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Returns the algorithm of the signatures that the key verifies.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether this key made the signature, with its own algorithm.
    pub fn accepts(&self, signed: &[u8], signature: &[u8]) -> bool {
        self.public.verify_sig(signed, signature).is_ok()
    }
}

/// The order of P-256's group (SEC 2 section 2.4.2), big-endian.
const P256_ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// Replaces the `s` of an ES256 signature by the lower of `s` and `n - s`. Both are valid, so
/// without a choice every token would have a second spelling.
fn with_low_s(signature: &[u8]) -> Vec<u8> {
    let mut signature = signature.to_vec();
    if let Some(s) = s_of(&signature) {
        let other = negated(s);
        if other < *s {
            signature[32..].copy_from_slice(&other);
        }
    }
    signature
}

/// Returns whether a token of an ES256 key has the lower of its two signatures. `true` for text
/// that is not a token.
///
/// [`SigningKey::sign`] makes no other. A verifier of tokens by another issuer must not judge by
/// it: ECDSA allows both.
pub fn has_low_s(token: &str) -> bool {
    let signature = token.rsplit_once('.').and_then(|(_, part)| BASE64URL.decode(part).ok());
    signature.as_deref().and_then(s_of).is_none_or(|s| *s <= negated(s))
}

/// The second half of a signature of 64 bytes.
fn s_of(signature: &[u8]) -> Option<&[u8; 32]> {
    if signature.len() == 64 { signature.last_chunk() } else { None }
}

/// `n - s`, for an `s` of at most `n`.
fn negated(s: &[u8; 32]) -> [u8; 32] {
    let (mut difference, mut borrow) = ([0; 32], false);
    for place in (0..32).rev() {
        let (partial, first) = P256_ORDER[place].overflowing_sub(s[place]);
        let (byte, second) = partial.overflowing_sub(u8::from(borrow));
        difference[place] = byte;
        borrow = first | second;
    }
    difference
}

/// Why a token is invalid. The message never repeats the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidToken {
    /// The text is not a compact JWS of at most [`MAX_LENGTH`] bytes with the expected header.
    #[error("the token is malformed")]
    Malformed,
    /// The key of the signature is not, or no longer, published.
    #[error("the token is signed with an unknown key")]
    UnknownKey,
    /// The signature does not match.
    #[error("the token's signature is invalid")]
    BadSignature,
    /// The token's `nbf` is in the future.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// The token's `exp` has passed.
    #[error("the token has expired")]
    Expired,
}

/// Verifies the form and the signature of an access token, and returns its claims. The caller
/// checks the dates.
///
/// # Errors
/// The first rule that the token breaks.
pub fn verify<'k, C: DeserializeOwned>(
    token: &str,
    find_key: impl FnOnce(&str) -> Option<&'k VerifyingKey>,
) -> Result<C, InvalidToken> {
    let (signed, signature) = split(token)?;
    let (header, claims) = signed.split_once('.').ok_or(InvalidToken::Malformed)?;
    let decode = |part: &str| BASE64URL.decode(part).map_err(|_| InvalidToken::Malformed);
    let header = decode(header)?;
    let header: Header<'_> =
        serde_json::from_slice(&header).map_err(|_| InvalidToken::Malformed)?;
    if header.typ != ACCESS_TOKEN_TYPE {
        return Err(InvalidToken::Malformed);
    }
    let key = find_key(&header.kid).ok_or(InvalidToken::UnknownKey)?;
    // The key, not the header, determines the algorithm: otherwise a token could choose its own.
    if key.algorithm != header.alg {
        return Err(InvalidToken::BadSignature);
    }
    if !key.accepts(signed.as_bytes(), &decode(signature)?) {
        return Err(InvalidToken::BadSignature);
    }
    serde_json::from_slice(&decode(claims)?).map_err(|_| InvalidToken::Malformed)
}

fn split(token: &str) -> Result<(&str, &str), InvalidToken> {
    if token.len() > MAX_LENGTH || token.bytes().filter(|byte| *byte == b'.').count() != 2 {
        return Err(InvalidToken::Malformed);
    }
    token.rsplit_once('.').ok_or(InvalidToken::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn key(algorithm: Algorithm) -> SigningKey {
        SigningKey::from_pkcs8(algorithm, "k1", &SigningKey::generate(algorithm).unwrap()).unwrap()
    }

    fn check(token: &str, key: &VerifyingKey) -> Result<Value, InvalidToken> {
        verify(token, |kid| (kid == key.kid()).then_some(key))
    }

    #[test]
    fn every_algorithm_verifies_its_own_signatures() {
        for algorithm in Algorithm::ALL {
            let key = key(algorithm);
            let token = key.sign(&json!({"sub": "ci"})).unwrap();
            assert_eq!(check(&token, &key.verifying_key().unwrap()).unwrap()["sub"], "ci");
        }
    }

    /// The token with the other signature that ECDSA allows.
    fn twin(token: &str) -> String {
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let mut signature = BASE64URL.decode(signature).unwrap();
        let other = negated(s_of(&signature).unwrap());
        signature[32..].copy_from_slice(&other);
        format!("{signed}.{}", BASE64URL.encode(signature))
    }

    #[test]
    fn every_es256_signature_has_low_s() {
        let key = key(Algorithm::ES256);
        let verifying = key.verifying_key().unwrap();
        for number in 0..50 {
            let token = key.sign(&json!({ "number": number })).unwrap();
            assert!(has_low_s(&token) && check(&token, &verifying).is_ok());
            let twin = twin(&token);
            assert!(!has_low_s(&twin), "{twin}");
            assert!(check(&twin, &verifying).is_ok(), "a verifier does not judge it");
        }
    }

    #[test]
    fn the_highest_low_s_is_half_the_order() {
        let half = BASE64URL.decode("f____4AAAAB__________95zfVbTi89CedzlYX4xkqg").unwrap();
        let token = |s: &[u8]| format!("a.b.{}", BASE64URL.encode([&[1; 32], s].concat()));
        assert!(has_low_s(&token(&half)));
        let mut above = half.clone();
        above[31] += 1;
        assert!(!has_low_s(&token(&above)));
        assert!(has_low_s(&token(&[0; 32])) && !has_low_s(&token(&P256_ORDER)));
        for text in ["", "a.b.c", "x"] {
            assert!(has_low_s(text));
        }
    }

    #[test]
    fn a_key_rejects_another_keys_signature() {
        let token = key(Algorithm::ES256).sign(&json!({})).unwrap();
        let other = key(Algorithm::ES256).verifying_key().unwrap();
        assert_eq!(check(&token, &other), Err(InvalidToken::BadSignature));
    }

    #[test]
    fn any_other_header_is_malformed() {
        let key = key(Algorithm::ES256);
        let public = key.verifying_key().unwrap();
        let token = key.sign(&json!({})).unwrap();
        let rest = token.split_once('.').unwrap().1;
        for header in [
            json!({"alg": "none", "typ": "at+jwt", "kid": "k1"}),
            json!({"alg": "HS256", "typ": "at+jwt", "kid": "k1"}),
            json!({"alg": "ES256", "typ": "JWT", "kid": "k1"}),
            json!({"alg": "ES256", "typ": "at+jwt"}),
            json!({"alg": "ES256", "typ": "at+jwt", "kid": "k1", "crit": ["b64"], "b64": false}),
            json!({"alg": "ES256", "typ": "at+jwt", "kid": "k1", "jku": "https://evil.example/jwks"}),
        ] {
            let forged = format!("{}.{rest}", BASE64URL.encode(header.to_string()));
            assert_eq!(check(&forged, &public), Err(InvalidToken::Malformed), "{header}");
        }
        for other in ["RS256", "EdDSA"] {
            let confused = json!({"alg": other, "typ": "at+jwt", "kid": "k1"});
            let forged = format!("{}.{rest}", BASE64URL.encode(confused.to_string()));
            assert_eq!(check(&forged, &public), Err(InvalidToken::BadSignature), "{other}");
        }
    }

    /// RFC 8037 appendix A.2 and A.4. The signature covers another header, so it is verified
    /// without `verify`.
    #[test]
    fn an_okp_key_verifies_the_rfc_8037_signature() {
        let jwk: Jwk = serde_json::from_value(json!({
            "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": "k1",
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        }))
        .unwrap();
        let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        let key = VerifyingKey::from_jwk(&jwk).unwrap();
        let signed = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        assert!(key.accepts(signed, &BASE64URL.decode(signature).unwrap()));
        assert!(!key.accepts(b"another text", &BASE64URL.decode(signature).unwrap()));
        for (crv, x) in [("Ed448", jwk.x.clone()), ("P-256", jwk.x.clone()), ("Ed25519", None)] {
            let other = Jwk { crv: Some(crv.to_owned()), x, ..jwk.clone() };
            assert!(VerifyingKey::from_jwk(&other).is_err(), "{crv}");
        }
        let short = Jwk { x: Some("11qYAYKxCrfVS_7TyWQHOg".to_owned()), ..jwk };
        assert!(VerifyingKey::from_jwk(&short).is_err());
    }

    /// Whoever receives one could otherwise use it where access tokens are accepted.
    #[test]
    fn an_upstream_token_is_no_access_token() {
        for algorithm in Algorithm::ALL {
            let key = key(algorithm);
            let public = key.verifying_key().unwrap();
            let token = key.sign_for_upstream(&json!({"sub": "ci"})).unwrap();
            assert_eq!(check(&token, &public), Err(InvalidToken::Malformed));
            let (signed, signature) = token.rsplit_once('.').unwrap();
            assert!(public.accepts(signed.as_bytes(), &BASE64URL.decode(signature).unwrap()));
        }
    }

    #[test]
    fn a_duplicate_header_member_is_malformed() {
        let key = key(Algorithm::ES256);
        let rest = key.sign(&json!({})).unwrap().split_once('.').unwrap().1.to_owned();
        let header = r#"{"alg":"ES256","alg":"ES256","typ":"at+jwt","kid":"k1"}"#;
        let forged = format!("{}.{rest}", BASE64URL.encode(header));
        assert_eq!(check(&forged, &key.verifying_key().unwrap()), Err(InvalidToken::Malformed));
    }

    #[test]
    fn an_oversized_token_is_malformed() {
        let key = key(Algorithm::ES256);
        let token = key.sign(&json!({"pad": "x".repeat(MAX_LENGTH)})).unwrap();
        assert_eq!(check(&token, &key.verifying_key().unwrap()), Err(InvalidToken::Malformed));
    }

    proptest! {
        #[test]
        fn a_changed_byte_is_detected(at in 0_usize..200, with in "[A-Za-z0-9_-]") {
            let key = key(Algorithm::ES256);
            let token = key.sign(&json!({"sub": "ci", "n": 1})).unwrap();
            let at = at % token.len();
            prop_assume!(token.as_bytes()[at] != b'.' && token[at..=at] != with);
            let mut changed = token.clone();
            changed.replace_range(at..=at, &with);
            prop_assert!(check(&changed, &key.verifying_key().unwrap()).is_err());
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,300}") {
            let _ = check(&text, &key(Algorithm::ES256).verifying_key().unwrap());
        }
    }
}
