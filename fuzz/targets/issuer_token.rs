//! A token of another issuer, and the document with its keys.

#![no_main]

use gatekey_credentials::jwt::Algorithm;
use gatekey_issuers::{
    jwks::KeySet,
    token::{self, Token},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (token, document) = text.split_once('\n').unwrap_or((text, ""));
    let keys = KeySet::parse(document.as_bytes(), &Algorithm::ALL);
    let named = token::issuer(token);
    let Ok(parsed) = Token::parse(token) else { return };
    assert!(parsed.kid.len() <= 256);
    assert!(named.is_none() || token.bytes().filter(|byte| *byte == b'.').count() == 2);
    if let Ok(keys) = keys {
        let signed = keys.signed(&parsed);
        assert!(!signed || keys.has(&parsed.kid));
    }
});
