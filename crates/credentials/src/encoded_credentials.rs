//! [`EncodedCredentials`]: an API key as one string, for `FLYTE_API_KEY` and `UNION_API_KEY`.

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};
use zeroize::Zeroizing;

use crate::{PlainSecret, secret};

/// The longest encoded API key that is accepted, in bytes.
pub const MAX_LENGTH: usize = 4096;

const HTTP: &str = "http://";
const QUOTATION_MARKS: [char; 6] = ['"', '\'', '`', '\u{201c}', '\u{201d}', '\u{2019}'];

/// An encoded API key: base64 of `endpoint:client_id:client_secret:organization`, in which an empty
/// organization is `None`.
///
/// Union's clients split the text at its first colons, so they misread an endpoint with a port.
/// [`Self::decode`] splits from the right, where no part can contain a colon, and reads both forms.
#[derive(Clone, PartialEq, Eq)]
pub struct EncodedCredentials {
    endpoint: String,
    client_id: String,
    client_secret: PlainSecret,
    organization: String,
    /// Whether the text named the scheme `http://`, which encoding removes.
    is_plaintext: bool,
}

/// Why a text is not an encoded API key, or why parts cannot be encoded. The message never repeats
/// the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidEncodedCredentials {
    /// The text is longer than [`MAX_LENGTH`].
    #[error("the encoded API key is longer than {MAX_LENGTH} characters")]
    TooLong,
    /// The text is not standard base64.
    #[error("the encoded API key is not base64; was it copied whole, without line breaks?")]
    NotBase64,
    /// The text is a client secret, which is only one part of an encoded API key.
    #[error("it is a client secret; use the encoded credentials that were printed with it")]
    Secret,
    /// The text has quotation marks around it.
    #[error("it has quotation marks around it; remove them")]
    Quoted,
    /// The decoded bytes are not UTF-8.
    #[error("the encoded API key does not decode to text")]
    NotText,
    /// The decoded text has fewer than four parts.
    #[error("the encoded API key does not decode to endpoint:client_id:client_secret:organization")]
    MissingPart,
    /// The endpoint, the client id or the secret is empty.
    #[error("the {0} in the encoded API key is empty")]
    EmptyPart(&'static str),
    /// A part other than the endpoint contains a colon.
    #[error("the {0} must not contain a colon: it separates the parts of an encoded API key")]
    Colon(&'static str),
}

impl EncodedCredentials {
    /// Joins the parts of a key.
    ///
    /// Removes the scheme (`https://`, `http://`, `dns:///`) and a trailing `/` from the endpoint,
    /// as Union's class does. The organization `None` means an empty one.
    ///
    /// # Errors
    /// If the endpoint, the client id or the secret is empty, or a part other than the endpoint
    /// contains a colon.
    pub fn new(
        endpoint: &str,
        client_id: &str,
        client_secret: PlainSecret,
        organization: &str,
    ) -> Result<Self, InvalidEncodedCredentials> {
        let endpoint = bare_endpoint(endpoint);
        for (name, part) in
            [("endpoint", endpoint), ("client id", client_id), ("secret", client_secret.expose())]
        {
            if part.is_empty() {
                return Err(InvalidEncodedCredentials::EmptyPart(name));
            }
        }
        for (name, part) in [
            ("client id", client_id),
            ("secret", client_secret.expose()),
            ("organization", organization),
        ] {
            if part.contains(':') {
                return Err(InvalidEncodedCredentials::Colon(name));
            }
        }
        let organization = if organization == "None" { "" } else { organization };
        Ok(Self {
            endpoint: endpoint.to_owned(),
            client_id: client_id.to_owned(),
            client_secret,
            organization: organization.to_owned(),
            is_plaintext: false,
        })
    }

    /// Decodes an API key. Ignores leading and trailing white space.
    ///
    /// # Errors
    /// If the text is too long, not base64, not UTF-8, or lacks a part.
    pub fn decode(encoded: &str) -> Result<Self, InvalidEncodedCredentials> {
        let encoded = encoded.trim();
        if encoded.len() > MAX_LENGTH {
            return Err(InvalidEncodedCredentials::TooLong);
        }
        if encoded.starts_with(QUOTATION_MARKS) || encoded.ends_with(QUOTATION_MARKS) {
            return Err(InvalidEncodedCredentials::Quoted);
        }
        // An underscore is not in base64's alphabet, so a secret cannot be an encoded key.
        if encoded.starts_with(secret::PREFIX) {
            return Err(InvalidEncodedCredentials::Secret);
        }
        let bytes = Zeroizing::new(
            BASE64_STANDARD.decode(encoded).map_err(|_| InvalidEncodedCredentials::NotBase64)?,
        );
        let text = std::str::from_utf8(&bytes).map_err(|_| InvalidEncodedCredentials::NotText)?;
        let mut parts = text.rsplitn(4, ':');
        let (Some(organization), Some(secret), Some(client_id), Some(endpoint)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(InvalidEncodedCredentials::MissingPart);
        };
        // White space around a secret, such as a line break from a file, is not part of it.
        let key = Self::new(endpoint, client_id, PlainSecret::new(secret.trim()), organization)?;
        let is_plaintext =
            endpoint.get(..HTTP.len()).is_some_and(|start| start.eq_ignore_ascii_case(HTTP));
        Ok(Self { is_plaintext, ..key })
    }

    /// Encodes the key as one string, for `FLYTE_API_KEY`. It contains the secret, so it is a
    /// secret too.
    pub fn encode(&self) -> PlainSecret {
        let organization = if self.organization.is_empty() { "None" } else { &self.organization };
        let plain = Zeroizing::new(format!(
            "{}:{}:{}:{organization}",
            self.endpoint,
            self.client_id,
            self.client_secret.expose()
        ));
        PlainSecret::new(BASE64_STANDARD.encode(plain.as_bytes()))
    }

    /// Returns the host, or host and port, without a scheme.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Returns the endpoint with `http://` if the key was encoded with that scheme, or without a
    /// scheme.
    pub fn written_endpoint(&self) -> String {
        format!("{}{}", if self.is_plaintext { HTTP } else { "" }, self.endpoint)
    }

    /// Returns the client id. Another server may have assigned it, so it may not be a valid
    /// [`crate::ClientId`].
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Returns the secret.
    pub fn client_secret(&self) -> &PlainSecret {
        &self.client_secret
    }

    /// Returns the organization; empty if the key has none.
    pub fn organization(&self) -> &str {
        &self.organization
    }
}

impl fmt::Debug for EncodedCredentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EncodedCredentials")
            .field("endpoint", &self.endpoint)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

/// Removes the scheme and trailing slashes from an endpoint, as Union's class does before it
/// encodes one.
pub fn bare_endpoint(endpoint: &str) -> &str {
    let without = |scheme: &str| {
        let start = endpoint.get(..scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then(|| &endpoint[scheme.len()..])
    };
    let bare = ["https://", HTTP, "dns:///"].into_iter().find_map(without).unwrap_or(endpoint);
    bare.trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(text: &str) -> String {
        BASE64_STANDARD.encode(text)
    }

    #[test]
    fn an_endpoint_may_have_a_port() {
        let decoded =
            EncodedCredentials::decode(&encode("localhost:18443:ci:s3cret:None")).unwrap();
        assert_eq!(decoded.endpoint(), "localhost:18443");
        assert_eq!(decoded.client_id(), "ci");
        assert_eq!(decoded.client_secret().expose(), "s3cret");
        assert_eq!(decoded.organization(), "");
    }

    #[test]
    fn an_endpoint_may_be_an_ipv6_address() {
        let decoded = EncodedCredentials::decode(&encode("[::1]:8443:ci:s3cret:acme")).unwrap();
        assert_eq!(decoded.endpoint(), "[::1]:8443");
        assert_eq!(decoded.organization(), "acme");
    }

    #[test]
    fn each_malformed_key_has_its_own_error() {
        use InvalidEncodedCredentials as Invalid;
        assert_eq!(EncodedCredentials::decode("not base64!"), Err(Invalid::NotBase64));
        assert_eq!(EncodedCredentials::decode(&encode("a:b:c")), Err(Invalid::MissingPart));
        assert_eq!(
            EncodedCredentials::decode(&encode("h::s:None")),
            Err(Invalid::EmptyPart("client id"))
        );
        assert_eq!(
            EncodedCredentials::decode(&BASE64_STANDARD.encode([0xff; 8])),
            Err(Invalid::NotText)
        );
        assert_eq!(EncodedCredentials::decode(&"A".repeat(4100)), Err(Invalid::TooLong));
    }

    #[test]
    fn a_written_scheme_is_kept() {
        for (text, written) in [
            ("http://127.0.0.1:8443:ci:s:None", "http://127.0.0.1:8443"),
            ("HTTP://h:ci:s:None", "http://h"),
            ("https://h:1:ci:s:None", "h:1"),
            ("h:1:ci:s:None", "h:1"),
        ] {
            let decoded = EncodedCredentials::decode(&encode(text)).unwrap();
            assert_eq!(decoded.written_endpoint(), written, "{text}");
        }
    }

    #[test]
    fn white_space_around_a_secret_is_removed() {
        for secret in ["s3cret\n", " s3cret", "s3cret\r\n"] {
            let decoded = EncodedCredentials::decode(&encode(&format!("h:ci:{secret}:None")));
            assert_eq!(decoded.unwrap().client_secret().expose(), "s3cret");
        }
    }

    #[test]
    fn a_likely_mistake_is_named() {
        use InvalidEncodedCredentials as Invalid;
        let secret = crate::Secret::from_random(&[7; 23]);
        assert_eq!(EncodedCredentials::decode(secret.expose()), Err(Invalid::Secret));
        assert_eq!(EncodedCredentials::decode(" gk_cut\n"), Err(Invalid::Secret));
        let key = encode("h:ci:s3cret:None");
        for quoted in
            [format!("\"{key}\""), format!("'{key}'"), format!("'{key}"), format!("{key}\"")]
        {
            assert_eq!(EncodedCredentials::decode(&quoted), Err(Invalid::Quoted), "{quoted}");
        }
    }

    #[test]
    fn debug_prints_no_secret() {
        let decoded = EncodedCredentials::decode(&encode("h:ci:s3cret:None")).unwrap();
        assert!(!format!("{decoded:?}").contains("s3cret"));
    }

    proptest! {
        #[test]
        fn encoding_and_decoding_round_trip(
            endpoint in "[a-z0-9.-]{1,30}(:[0-9]{1,5})?", id in "[A-Za-z0-9._-]{1,40}",
            secret in "[A-Za-z0-9_]{1,60}", organization in "[a-z0-9-]{0,20}",
        ) {
            let key = EncodedCredentials::new(&endpoint, &id, PlainSecret::new(secret), &organization).unwrap();
            prop_assert_eq!(EncodedCredentials::decode(key.encode().expose()).unwrap(), key);
        }

        #[test]
        fn no_text_makes_the_decoder_panic(text in ".{0,200}") {
            let _ = EncodedCredentials::decode(&text);
            let _ = EncodedCredentials::decode(&encode(&text));
        }
    }
}
