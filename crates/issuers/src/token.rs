//! [`Token`]: the parts of a token, before its signature is verified.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use gatekey_credentials::jwt::{Algorithm, InvalidToken, MAX_LENGTH};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::refused::Refused;

/// The longest key id, in bytes.
const MAX_KID: usize = 256;

/// The parts of a token. Nothing in it is trustworthy before its signature is verified.
pub struct Token<'t> {
    /// What the signature covers.
    pub(crate) signed: &'t str,
    pub(crate) signature: Vec<u8>,
    pub algorithm: Algorithm,
    pub kid: String,
    pub(crate) claims: Value,
}

/// The header of a token (RFC 7515 section 4.1). Members that name or contain keys are ignored.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<Value>,
}

/// Returns the issuer that a token names, to choose what verifies it.
pub fn issuer(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Issuer {
        iss: String,
    }
    let [_, claims, _] = parts(token)?;
    let claims: Issuer = serde_json::from_slice(&BASE64URL.decode(claims).ok()?).ok()?;
    Some(claims.iss)
}

impl<'t> Token<'t> {
    /// Parses a token.
    ///
    /// # Errors
    /// [`Refused::Type`] for a type of token other than access tokens, and for those without a
    /// type nothing is known. [`Refused::Algorithm`] for `none`, symmetric and unknown ones.
    pub fn parse(token: &'t str) -> Result<Self, Refused> {
        let malformed = || Refused::Invalid(InvalidToken::Malformed);
        let [header, claims, signature] = parts(token).ok_or_else(malformed)?;
        let decode = |part: &str| BASE64URL.decode(part).map_err(|_| malformed());
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| malformed())?;
        // No extension is understood, so none may be critical.
        if header.crit.is_some() {
            return Err(malformed());
        }
        if !header.typ.as_deref().is_none_or(is_access_token) {
            return Err(Refused::Type);
        }
        let algorithm = header.alg.parse().map_err(|_| Refused::Algorithm)?;
        let kid = header.kid.filter(|kid| kid.len() <= MAX_KID).ok_or_else(malformed)?;
        let claims: Map<String, Value> =
            serde_json::from_slice(&decode(claims)?).map_err(|_| malformed())?;
        let (signed, _) = token.rsplit_once('.').ok_or_else(malformed)?;
        let (signature, claims) = (decode(signature)?, Value::Object(claims));
        Ok(Self { signed, signature, algorithm, kid, claims })
    }
}

/// Most issuers give their access tokens the type `JWT` or none.
fn is_access_token(typ: &str) -> bool {
    ["JWT", "at+jwt", "application/at+jwt"].iter().any(|known| known.eq_ignore_ascii_case(typ))
}

fn parts(token: &str) -> Option<[&str; 3]> {
    if token.len() > MAX_LENGTH {
        return None;
    }
    let mut parts = token.split('.');
    let found = [parts.next()?, parts.next()?, parts.next()?];
    parts.next().is_none().then_some(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn token(header: &Value) -> String {
        let [header, claims] =
            [header, &json!({ "iss": "i" })].map(|part| BASE64URL.encode(part.to_string()));
        format!("{header}.{claims}.AA")
    }

    fn refused(header: &Value) -> Option<Refused> {
        Token::parse(&token(header)).err()
    }

    #[test]
    fn only_access_tokens_have_the_right_type() {
        for typ in ["JWT", "jwt", "at+jwt", "application/at+jwt"] {
            assert_eq!(refused(&json!({"alg": "RS256", "kid": "k", "typ": typ})), None, "{typ}");
        }
        assert_eq!(refused(&json!({"alg": "RS256", "kid": "k"})), None);
        for typ in ["upstream+jwt", "logout+jwt", "dpop+jwt", "secevent+jwt", ""] {
            let header = json!({"alg": "RS256", "kid": "k", "typ": typ});
            assert_eq!(refused(&header), Some(Refused::Type), "{typ}");
        }
    }

    #[test]
    fn only_asymmetric_algorithms_are_known() {
        for alg in ["none", "NONE", "HS256", "HS384", "HS512", "rs256", "RS1", ""] {
            let header = json!({"alg": alg, "kid": "k"});
            assert_eq!(refused(&header), Some(Refused::Algorithm), "{alg}");
        }
    }

    #[test]
    fn a_header_without_kid_is_malformed() {
        for header in [
            json!({"alg": "ES256"}),
            json!({"alg": "ES256", "kid": "k".repeat(257)}),
            json!({"alg": "ES256", "kid": "k", "crit": ["exp"]}),
            json!({"alg": "ES256", "kid": 1}),
            json!(["ES256", "k"]),
        ] {
            assert_eq!(refused(&header), Some(InvalidToken::Malformed.into()), "{header}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,200}", json in ".{0,60}") {
            let _ = (Token::parse(&text), issuer(&text));
            let encoded = BASE64URL.encode(json);
            let text = format!("{encoded}.{encoded}.{encoded}");
            let _ = (Token::parse(&text), issuer(&text));
        }
    }
}
