//! [`Subject`]: whom the claims of a token describe, and the rules for claims.

use std::{sync::Arc, time::Duration};

use gatekey_core::{Timestamp, api_key::Roles};
use gatekey_credentials::jwt::InvalidToken;
use serde_json::Value;

use crate::{refused::Refused, settings::IssuerSettings};

/// How far the clocks of issuers may differ from this server's.
pub(crate) const LEEWAY: Duration = Duration::from_mins(1);
/// The longest `sub`, in bytes (OpenID Connect Core section 2).
const MAX_SUBJECT: usize = 255;
/// The longest name and address that are kept, in bytes.
const MAX_TEXT: usize = 254;

/// Whom a token describes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The issuer's alias, `|` and the claim `sub`. No client id has a `|`.
    pub name: String,
    pub roles: Roles,
    /// Empty if the token has none, or one that the issuer did not verify.
    pub email: String,
    /// Empty if the token has none.
    pub given_name: String,
    /// Empty if the token has none.
    pub family_name: String,
    /// Identifies the token: its SHA-256.
    pub token: [u8; 32],
    /// When the token expires, with the leeway.
    pub valid_until: Timestamp,
    valid_from: Timestamp,
}

/// A subject whose token was verified. Cloning is cheap.
pub type VerifiedSubject = Arc<Subject>;

impl Subject {
    /// Reads the claims of a token whose signature was verified.
    ///
    /// # Errors
    /// [`Refused`], by the first rule that the claims break.
    pub(crate) fn read(
        settings: &IssuerSettings,
        claims: &Value,
        token: [u8; 32],
    ) -> Result<Self, Refused> {
        let malformed = || Refused::Invalid(InvalidToken::Malformed);
        if !has_audience(claims, &settings.audiences) {
            return Err(Refused::Audience);
        }
        let party = ["azp", "client_id"].into_iter().find_map(|name| claims.get(name));
        let is_authorized =
            |party: &Value| settings.authorized_parties.iter().any(|known| party == known);
        if !settings.authorized_parties.is_empty() && !party.is_some_and(is_authorized) {
            return Err(Refused::AuthorizedParty);
        }
        if claims.get("cnf").is_some() {
            return Err(Refused::Bound);
        }
        let subject = claims.get("sub").and_then(Value::as_str).unwrap_or_default();
        if !is_subject(subject) {
            return Err(Refused::Subject);
        }
        let expires = date(claims, "exp")?.ok_or_else(malformed)?;
        let valid_from = date(claims, "nbf")?.map_or(Timestamp::MIN, |nbf| nbf.before(LEEWAY));
        let text = |name: &str| text(claims, name);
        let is_unverified = claims.get("email_verified") == Some(&Value::Bool(false));
        let rules = settings.roles.iter().filter(|rule| rule.matches(claims));
        Ok(Self {
            name: format!("{}|{subject}", settings.alias),
            roles: rules.map(|rule| rule.role).collect(),
            email: text("email").filter(|_| !is_unverified).unwrap_or_default(),
            given_name: text("given_name").or_else(|| text("name")).unwrap_or_default(),
            family_name: text("family_name").unwrap_or_default(),
            token,
            valid_until: expires.after(LEEWAY),
            valid_from,
        })
    }

    /// Checks the dates of the token, also again during a long call.
    ///
    /// # Errors
    /// [`InvalidToken::NotYetValid`], [`InvalidToken::Expired`].
    pub fn check_dates(&self, now: Timestamp) -> Result<(), Refused> {
        if now < self.valid_from {
            return Err(InvalidToken::NotYetValid.into());
        }
        if self.valid_until <= now {
            return Err(InvalidToken::Expired.into());
        }
        Ok(())
    }
}

/// Whether the claim `aud`, a text or a list, has one of the audiences.
fn has_audience(claims: &Value, audiences: &[String]) -> bool {
    let is_known = |audience: &Value| audiences.iter().any(|known| audience == known);
    match claims.get("aud") {
        Some(Value::Array(list)) => list.iter().any(is_known),
        Some(audience) => is_known(audience),
        None => false,
    }
}

/// Printable ASCII without spaces at the ends, because it becomes a header, and without quotation
/// marks and backslashes, because it becomes a text in JSON.
fn is_subject(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_SUBJECT
        && text.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'))
        && text.trim().len() == text.len()
}

/// A date in seconds, which may have a fraction (RFC 7519 section 2).
fn date(claims: &Value, name: &str) -> Result<Option<Timestamp>, Refused> {
    let Some(date) = claims.get(name) else { return Ok(None) };
    let seconds = date.as_i64().or_else(|| date.as_f64().and_then(whole));
    let seconds = seconds.ok_or(Refused::Invalid(InvalidToken::Malformed))?;
    Ok(Some(Timestamp::from_seconds(seconds).min(Timestamp::MAX)))
}

fn whole(seconds: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
    (-EXACT..=EXACT).contains(&seconds).then_some(seconds as i64)
}

/// A text of a person, if it is short and has no control characters.
fn text(claims: &Value, name: &str) -> Option<String> {
    let text = claims.get(name)?.as_str()?;
    let is_usable =
        !text.trim().is_empty() && text.len() <= MAX_TEXT && !text.contains(char::is_control);
    is_usable.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use gatekey_credentials::{Role, jwt::Algorithm};
    use serde_json::json;

    use super::*;
    use crate::settings::RoleRule;

    const NOW: i64 = 1_767_225_600;

    fn read_with(
        change: impl FnOnce(&mut IssuerSettings),
        claim: &str,
        value: Value,
    ) -> Result<Subject, Refused> {
        let mut settings = IssuerSettings {
            issuer: "https://id.example.com".to_owned(),
            alias: "sso".to_owned(),
            audiences: vec!["flyte".to_owned(), "other".to_owned()],
            algorithms: vec![Algorithm::RS256],
            jwks_url: None,
            ca_file: None,
            authorized_parties: Vec::new(),
            roles: [("flyte-users", Role::Contributor), ("flyte-admins", Role::Admin)]
                .map(|(value, role)| RoleRule {
                    claim: "groups".to_owned(),
                    value: value.to_owned(),
                    role,
                })
                .into(),
        };
        change(&mut settings);
        let mut claims = json!({
            "iss": "https://id.example.com", "sub": "alice", "aud": "flyte", "exp": NOW + 300,
            "email": "alice@example.com", "groups": ["flyte-users"],
        });
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(claim);
        } else {
            claims[claim] = value;
        }
        Subject::read(&settings, &claims, [0; 32])
    }

    fn read(claim: &str, value: Value) -> Result<Subject, Refused> {
        read_with(|_| {}, claim, value)
    }

    #[test]
    fn a_subject_is_named_after_its_issuer() {
        let subject = read("x", json!(1)).unwrap();
        assert_eq!((&*subject.name, &*subject.email), ("sso|alice", "alice@example.com"));
        assert_eq!(subject.roles, Role::Contributor.into());
        let both = read("groups", json!(["flyte-users", "flyte-admins"])).unwrap();
        assert_eq!(both.roles.highest(), Some(Role::Admin));
        assert_eq!(read("groups", Value::Null).unwrap().roles, Roles::NONE);
    }

    #[test]
    fn the_audience_must_be_configured() {
        for aud in [json!("flyte"), json!(["x", "other"])] {
            assert!(read("aud", aud).is_ok());
        }
        for aud in [json!("x"), json!(["x"]), json!([]), json!({ "flyte": 1 }), Value::Null] {
            assert_eq!(read("aud", aud).unwrap_err(), Refused::Audience);
        }
    }

    #[test]
    fn the_authorized_party_must_be_configured() {
        let restrict =
            |settings: &mut IssuerSettings| settings.authorized_parties = vec!["cli".to_owned()];
        for claim in ["azp", "client_id"] {
            assert!(read_with(restrict, claim, json!("cli")).is_ok());
            let refused = read_with(restrict, claim, json!("web")).unwrap_err();
            assert_eq!(refused, Refused::AuthorizedParty);
        }
        assert_eq!(read_with(restrict, "x", json!(1)).unwrap_err(), Refused::AuthorizedParty);
    }

    #[test]
    fn a_subject_fits_into_a_header() {
        for sub in ["repo:o/r:environment:My Env", "system:serviceaccount:a:b", "a|b"] {
            assert!(read("sub", json!(sub)).is_ok(), "{sub}");
        }
        for sub in [
            json!("a\"b"),
            json!("a\\b"),
            json!(""),
            json!(" a"),
            json!("a\n"),
            json!("ä"),
            json!(1),
            Value::Null,
        ] {
            assert_eq!(read("sub", sub).unwrap_err(), Refused::Subject);
        }
        assert_eq!(read("sub", json!("a".repeat(256))).unwrap_err(), Refused::Subject);
    }

    #[test]
    fn dates_have_a_leeway_of_a_minute() {
        let at = |seconds: i64| Timestamp::from_seconds(NOW + seconds);
        let subject = read("nbf", json!(NOW)).unwrap();
        assert_eq!(subject.check_dates(at(-61)), Err(InvalidToken::NotYetValid.into()));
        assert_eq!(subject.check_dates(at(-60)), Ok(()));
        assert_eq!(subject.check_dates(at(359)), Ok(()));
        assert_eq!(subject.check_dates(at(360)), Err(InvalidToken::Expired.into()));
        assert!(read("exp", json!(1_767_225_900.5)).is_ok());
        for exp in [Value::Null, json!("soon"), json!(1e300), json!(true)] {
            assert_eq!(read("exp", exp).unwrap_err(), InvalidToken::Malformed.into());
        }
        assert!(read("exp", json!(i64::MAX)).is_ok());
    }

    #[test]
    fn a_bound_token_is_refused() {
        assert_eq!(read("cnf", json!({ "jkt": "x" })).unwrap_err(), Refused::Bound);
    }

    #[test]
    fn an_unverified_email_is_left_out() {
        assert_eq!(read("email_verified", json!(false)).unwrap().email, "");
        assert_eq!(read("email_verified", json!(true)).unwrap().email, "alice@example.com");
        assert_eq!(read("email", json!("a\r\nb")).unwrap().email, "");
    }
}
