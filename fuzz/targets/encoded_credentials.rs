//! `FLYTE_API_KEY`: decoded credentials survive another encoding, and a detected secret is
//! well-formed.

#![no_main]

use gatekey_credentials::{EncodedCredentials, Secret, detection};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(decoded) = EncodedCredentials::decode(text) {
        assert!(!decoded.endpoint().is_empty() && !decoded.client_id().is_empty());
        let again = EncodedCredentials::decode(decoded.encode().expose())
            .expect("what was decoded can be encoded");
        assert!(again == decoded);
    }
    for secret in detection::find(text) {
        assert!(secret.expose().parse::<Secret>().is_ok());
    }
    if let Ok(secret) = text.parse::<Secret>() {
        assert_eq!(secret.expose(), text);
    }
});
