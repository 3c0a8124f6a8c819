//! Tokens: as any text, and as a header and claims with a valid signature, to reach the code behind
//! signature verification.

#![no_main]

use std::sync::LazyLock;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use gatekey_credentials::{
    AccessTokenClaims,
    jwt::{self, Algorithm, SigningKey, VerifyingKey},
};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

struct Keys {
    pair: EcdsaKeyPair,
    verifying: VerifyingKey,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let private = SigningKey::generate(Algorithm::ES256).expect("a key can be made");
    let key = SigningKey::from_pkcs8(Algorithm::ES256, "k", &private).expect("it was just made");
    let verifying = key.verifying_key().expect("it has a public half");
    let pair =
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &private).expect("as above");
    Keys { pair, verifying }
});

fn verify(token: &str) -> Option<AccessTokenClaims> {
    let keys = &*KEYS;
    jwt::verify(token, |kid| (kid == keys.verifying.kid()).then_some(&keys.verifying)).ok()
}

fuzz_target!(|text: &str| {
    assert!(verify(text).is_none(), "nobody else has the key");
    let (header, claims) =
        text.split_once('\n').unwrap_or((r#"{"alg":"ES256","typ":"at+jwt","kid":"k"}"#, text));
    let signed = format!("{}.{}", BASE64URL.encode(header), BASE64URL.encode(claims));
    let signature =
        KEYS.pair.sign(&SystemRandom::new(), signed.as_bytes()).expect("it signs anything");
    let token = format!("{signed}.{}", BASE64URL.encode(signature));
    if let Some(read) = verify(&token) {
        let header: Value = serde_json::from_str(header).expect("an accepted header is JSON");
        assert_eq!(
            (&header["alg"], &header["typ"], &header["kid"]),
            (&"ES256".into(), &"at+jwt".into(), &"k".into())
        );
        assert_eq!(header.as_object().expect("and an object").len(), 3);
        let claims: Value = serde_json::from_str(claims).expect("accepted claims are JSON");
        assert_eq!(claims["client_id"], *read.client_id);
        assert!(token.len() <= 8192);
    }
});
