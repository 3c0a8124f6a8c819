//! Finds leaked secrets: [`PATTERNS`] for scanners, [`find`] and [`holds_credential`] for programs.
//!
//! The text that leaks is mostly `FLYTE_API_KEY`: base64, in which `:gk_` has a different form at
//! each of three alignments. A pattern by itself matches other text as well; the checksum in a
//! decoded match proves that it is a secret, without a request to the server.

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use percent_encoding::percent_decode_str;

use crate::{Secret, encoded_credentials, secret};

/// Regular expressions for scanners. The first matches a plain secret. The others match base64 of
/// `:gk_` and the rest of the secret, with 0, 1 and 2 bytes before `:gk_` in its group of three
/// bytes.
pub const PATTERNS: [&str; 4] = [
    r"\bgk_[A-Za-z0-9]{37}\b",
    r"OmdrX[w-z0-9+/][A-Za-z0-9+/]{48}",
    r"[DTjz]pna1[89][A-Za-z0-9+/]{48}",
    r"[AEIMQUYcgkosw048]6Z2tf[A-Za-z0-9+/]{48}",
];

/// Accepts a part of a longer base64 text: without padding, and with any trailing bits.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Finds every Gatekey secret with a valid checksum in a text, plain or inside base64.
///
/// ```
/// use gatekey_credentials::{Secret, detection};
///
/// let secret = Secret::from_random(&[7; 23]);
/// let log = format!("export TOKEN={}", secret.expose());
/// assert_eq!(detection::find(&log).len(), 1);
/// ```
pub fn find(text: &str) -> Vec<Secret> {
    let mut found = plain(text.as_bytes());
    for run in text.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '/'))) {
        if run.len() < secret::LENGTH || run.len() > encoded_credentials::MAX_LENGTH * 4 {
            continue;
        }
        // A run may start anywhere inside base64, so try each of the four alignments.
        for start in 0..4 {
            let cut = &run[start..];
            // A single trailing character does not decode.
            let cut = if cut.len() % 4 == 1 { &cut[..cut.len() - 1] } else { cut };
            if let Ok(bytes) = LENIENT.decode(cut) {
                found.extend(plain(&bytes));
            }
        }
    }
    found
}

/// Whether a text contains a credential: a Gatekey secret, plain or inside base64, or the start of
/// a JWT.
///
/// Decodes percent-encoded bytes first (RFC 3986 section 2.1), so that URLs can be checked.
///
/// ```
/// use gatekey_credentials::{Secret, detection};
///
/// let path = format!("/me/{}", Secret::from_random(&[7; 23]).expose());
/// assert!(detection::holds_credential(&path));
/// assert!(!detection::holds_credential("/gatekey.v1.ApiKeyService/RotateSecret"));
/// ```
pub fn holds_credential(text: &str) -> bool {
    if !may_hold_credential(text.as_bytes()) {
        return false;
    }
    let decoded = percent_decode_str(text).decode_utf8_lossy();
    holds_jwt(&decoded) || !find(&decoded).is_empty()
}

/// Whether a closer look could find a credential. One pass over the bytes: most text that servers
/// check, such as the path of each request, needs no more.
fn may_hold_credential(text: &[u8]) -> bool {
    // Every credential is longer.
    if text.len() < JWT_HEADER {
        return false;
    }
    let mut run = 0;
    text.iter().enumerate().any(|(at, byte)| {
        let is_base64 = byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
        run = if is_base64 { run + 1 } else { 0 };
        run >= secret::LENGTH
            || match byte {
                b'%' => true,
                b'J' => text[..at].ends_with(b"ey"),
                b'_' => text[..=at].ends_with(secret::PREFIX.as_bytes()),
                _ => false,
            }
    })
}

/// The length of the shortest JWT header, `{"alg":"ES256"}`, in base64.
const JWT_HEADER: usize = 20;

/// Finds a JWT header: base64 of a JSON object starts with `eyJ`, and the header ends with a dot
/// (RFC 7515 section 7.1).
fn holds_jwt(text: &str) -> bool {
    text.match_indices("eyJ").any(|(at, _)| {
        let rest = text[at..].bytes();
        let header = rest
            .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            .count();
        header >= JWT_HEADER && text.as_bytes().get(at + header) == Some(&b'.')
    })
}

fn plain(bytes: &[u8]) -> Vec<Secret> {
    bytes
        .windows(secret::LENGTH)
        .filter(|window| window.starts_with(secret::PREFIX.as_bytes()))
        .filter_map(|window| std::str::from_utf8(window).ok()?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use base64::prelude::BASE64_STANDARD;
    use proptest::prelude::*;
    use regex::Regex;

    use super::*;

    fn patterns() -> Vec<Regex> {
        PATTERNS.iter().map(|pattern| Regex::new(pattern).unwrap()).collect()
    }

    proptest! {
        #[test]
        fn a_leaked_key_is_found_at_every_alignment(
            random: [u8; secret::RANDOM_BYTES], endpoint in "[a-z.]{1,20}", before in "[ ='\"]{0,3}",
        ) {
            let secret = Secret::from_random(&random);
            let encoded = BASE64_STANDARD.encode(format!("{endpoint}:ci:{}:None", secret.expose()));
            let leak = format!("FLYTE_API_KEY={before}{encoded}\n");
            prop_assert!(find(&leak).iter().any(|found| found.expose() == secret.expose()));
            prop_assert!(patterns()[1..].iter().any(|pattern| pattern.is_match(&leak)), "{leak}");
        }

        #[test]
        fn a_plain_secret_is_found(random: [u8; secret::RANDOM_BYTES]) {
            let secret = Secret::from_random(&random);
            let leak = format!("password: {};", secret.expose());
            prop_assert_eq!(find(&leak).len(), 1);
            prop_assert!(patterns()[0].is_match(&leak));
        }

        #[test]
        fn the_quick_look_misses_nothing(
            random: [u8; secret::RANDOM_BYTES], before in "(ey|J|gk|_|[a-z+/.% -]){0,12}", kind in 0..3,
        ) {
            let secret = Secret::from_random(&random);
            let secret = secret.expose();
            let text = match kind {
                0 => format!("{before}{secret}"),
                1 => format!("{before}{}", BASE64_STANDARD.encode(format!("e:ci:{secret}:None"))),
                _ => format!("{before}eyJhbGciOiJFUzI1NiJ9.{before}"),
            };
            prop_assert!(may_hold_credential(text.as_bytes()), "{text}");
            let finds = holds_jwt(&before) || !find(&before).is_empty();
            prop_assert!(!finds || may_hold_credential(before.as_bytes()), "{before}");
        }

        #[test]
        fn no_text_makes_the_search_panic(text in ".{0,300}") {
            let _ = find(&text);
        }
    }

    #[test]
    fn a_credential_is_found_in_any_url_encoding() {
        let secret = Secret::from_random(&[9; 23]);
        let secret = secret.expose();
        let every_byte =
            secret.bytes().fold(String::new(), |text, byte| format!("{text}%{byte:02x}"));
        let encoded = BASE64_STANDARD.encode(format!("keys.example.com:ci:{secret}:None"));
        let jwt = "eyJhbGciOiJFUzI1NiJ9.e30.c2ln";
        for text in [
            secret,
            &every_byte,
            &encoded,
            &encoded.replace('=', "%3D"),
            jwt,
            "eyJhbGciOiJFUzI1NiJ9.",
        ] {
            assert!(holds_credential(&format!("/a/{text}/b")), "{text}");
        }
        let header = "eyJhbGciOiJFUzI1NiJ9";
        for text in [
            "",
            "/me",
            "eyJ",
            header,
            "flyte/2.12 python/3.12 gk_",
            "%",
            "%ff%fe",
            "3f2a9e0c-7d0b-4c1e-9a55",
        ] {
            assert!(!holds_credential(text), "{text}");
        }
    }

    #[test]
    fn a_wrong_checksum_is_not_a_secret() {
        assert!(find(&format!("gk_{}", "A".repeat(37))).is_empty());
    }
}
