//! `[[gate.issuers]]`: others whose tokens the gate accepts.

use std::{collections::HashSet, path::PathBuf};

use gatekey_credentials::{Role, jwt::Algorithm};
use gatekey_issuers::{IssuerSettings, RoleRule, settings::is_secure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

/// Issuers that can be configured.
const MAX_ISSUERS: usize = 16;
/// Rules for roles that an issuer can have.
const MAX_RULES: usize = 100;
const MAX_ALIAS: usize = 32;

/// An issuer whose tokens the gate accepts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_field_names, reason = "the claim `iss` is the issuer's name for itself")]
pub(super) struct Issuer {
    /// URL of the issuer, exactly as its tokens have it in the claim `iss`.
    pub(super) issuer: String,
    /// Stands for the issuer in the names of its subjects, such as `sso` in `sso|alice`.
    pub(super) alias: String,
    /// Audience that a token must be for.
    pub(super) audience: String,
    /// Algorithms that the issuer may sign with.
    pub(super) algorithms: Vec<Algorithm>,
    /// URL of the issuer's keys; by default, the issuer's discovery document names it.
    pub(super) jwks_url: Option<String>,
    /// Clients whose tokens are accepted, by the claim `azp` or `client_id`; all if empty.
    pub(super) authorized_parties: Vec<String>,
    /// PEM file of CA certificates that the issuer's certificate may be of, in addition to the
    /// system's. It is read again whenever keys are fetched.
    pub(super) ca_file: Option<PathBuf>,
    /// Which claims give a role. Without one, a subject has no role.
    pub(super) roles: Vec<Rule>,
}

/// Gives a role to subjects whose tokens have a claim with a value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    /// Name of the claim, or a JSON Pointer such as `/realm_access/roles`.
    pub(super) claim: String,
    /// Text that the claim is, or that the list in it has.
    pub(super) value: String,
    /// Role of the subject.
    pub(super) role: Role,
}

impl Default for Issuer {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            alias: String::new(),
            audience: String::new(),
            algorithms: Algorithm::ALL.into(),
            jwks_url: None,
            authorized_parties: Vec::new(),
            ca_file: None,
            roles: Vec::new(),
        }
    }
}

/// Checks all issuers.
///
/// # Errors
/// What is wrong with the first one that is invalid.
pub(super) fn check(issuers: &[Issuer], own: &str) -> Result<Vec<IssuerSettings>, String> {
    if issuers.len() > MAX_ISSUERS {
        return Err(format!("must have at most {MAX_ISSUERS} issuers"));
    }
    let (mut urls, mut aliases) = (HashSet::from([own]), HashSet::new());
    let mut checked = Vec::new();
    for issuer in issuers {
        let settings = issuer.check();
        checked.push(settings.map_err(|rule| format!("has an issuer {:?} {rule}", issuer.issuer))?);
        if !urls.insert(&issuer.issuer) {
            let who = if issuer.issuer == own { "that is this server" } else { "twice" };
            return Err(format!("has the issuer {:?} {who}", issuer.issuer));
        }
        if !aliases.insert(&issuer.alias) {
            return Err(format!("has two issuers with the alias {:?}", issuer.alias));
        }
    }
    Ok(checked)
}

impl Issuer {
    fn check(&self) -> Result<IssuerSettings, String> {
        let is_bare = |url: &Url| url.query().is_none() && url.fragment().is_none();
        let secure = |text: &str| Url::parse(text).ok().filter(is_secure);
        if !secure(&self.issuer).is_some_and(|url| is_bare(&url)) {
            return Err(format!("whose `issuer` is not an https URL{LOCAL}"));
        }
        let is_in_alias =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !(1..=MAX_ALIAS).contains(&self.alias.len()) || !self.alias.bytes().all(is_in_alias) {
            return Err(format!(
                "whose `alias` is not 1 to {MAX_ALIAS} characters of a-z, 0-9 and \"-\""
            ));
        }
        if self.audience.is_empty() {
            return Err("without an `audience`: its tokens for others would be accepted".to_owned());
        }
        if self.algorithms.is_empty() {
            return Err("without `algorithms`".to_owned());
        }
        let jwks_url = match &self.jwks_url {
            None => None,
            Some(text) => Some(
                secure(text)
                    .ok_or_else(|| format!("whose `jwks_url` is not an https URL{LOCAL}"))?,
            ),
        };
        if self.roles.len() > MAX_RULES {
            return Err(format!("with more than {MAX_RULES} `roles`"));
        }
        if self.roles.iter().any(|rule| rule.claim.is_empty() || rule.value.is_empty()) {
            return Err("whose `roles` have an empty `claim` or `value`".to_owned());
        }
        let rule = |rule: &Rule| RoleRule {
            claim: rule.claim.clone(),
            value: rule.value.clone(),
            role: rule.role,
        };
        Ok(IssuerSettings {
            issuer: self.issuer.clone(),
            alias: self.alias.clone(),
            audiences: vec![self.audience.clone()],
            algorithms: self.algorithms.clone(),
            jwks_url,
            authorized_parties: self.authorized_parties.clone(),
            ca_file: self.ca_file.clone(),
            roles: self.roles.iter().map(rule).collect(),
        })
    }
}

/// Where keys may be fetched from without TLS.
const LOCAL: &str = ", or http on this machine";

#[cfg(test)]
mod tests {
    use crate::config::tests::{broken, resolve};

    const ISSUER: &str =
        "issuer = \"https://id.example.com/realm\"\nalias = \"sso\"\naudience = \"flyte\"\n";

    fn message(toml: &str) -> String {
        let invalid = resolve(toml).unwrap_err();
        assert_eq!(invalid.len(), 1, "{invalid:?}");
        invalid[0].to_string()
    }

    #[test]
    fn an_issuer_is_a_table_of_a_list() {
        let toml = format!(
            "[[gate.issuers]]\n{ISSUER}\n[[gate.issuers]]\nissuer = \"http://127.0.0.1:1\"\nalias = \"b\"\n\
             audience = \"x\"\nalgorithms = [\"RS256\"]\njwks_url = \"https://10.0.0.1/jwks\"\n\
             roles = [{{ claim = \"groups\", value = \"a\", role = \"admin\" }}]"
        );
        let issuers = resolve(&toml).unwrap().gate.issuers;
        assert_eq!((issuers.len(), &*issuers[0].alias, issuers[0].algorithms.len()), (2, "sso", 3));
        assert_eq!((issuers[1].roles.len(), issuers[1].algorithms.len()), (1, 1));
    }

    #[test]
    fn an_unusable_issuer_is_refused() {
        for (line, reason) in [
            ("issuer = \"https://id.example.com\"\nalias = \"a\"", "without an `audience`"),
            (
                "issuer = \"http://id.example.com\"\nalias = \"a\"\naudience = \"x\"",
                "`issuer` is not",
            ),
            ("issuer = \"https://id?x\"\nalias = \"a\"\naudience = \"x\"", "`issuer` is not"),
            (
                "issuer = \"https://127.0.0.1:8443\"\nalias = \"a\"\naudience = \"x\"",
                "is this server",
            ),
            ("issuer = \"https://id\"\naudience = \"x\"", "`alias` is not"),
            ("issuer = \"https://id\"\nalias = \"A|b\"\naudience = \"x\"", "`alias` is not"),
            (&format!("{ISSUER}algorithms = []"), "without `algorithms`"),
            (&format!("{ISSUER}jwks_url = \"http://10.0.0.1/\""), "`jwks_url` is not"),
            (
                &format!("{ISSUER}roles = [{{ claim = \"\", value = \"a\", role = \"admin\" }}]"),
                "empty `claim`",
            ),
            (&format!("{ISSUER}[[gate.issuers]]\n{ISSUER}"), "twice"),
            (
                &format!("{ISSUER}[[gate.issuers]]\n{}", ISSUER.replace("realm", "other")),
                "two issuers with the alias",
            ),
        ] {
            let message = message(&format!("[[gate.issuers]]\n{line}"));
            assert!(message.starts_with("gatekey.toml, line 1: gate.issuers "), "{message}");
            assert!(message.contains(reason), "{message}");
        }
    }

    /// HS256 would make the issuer's public key a secret.
    #[test]
    fn a_symmetric_algorithm_is_no_choice() {
        for line in
            ["algorithms = [\"HS256\"]", "algorithm = \"RS256\"", "roles = [{ claim = \"a\" }]"]
        {
            let message = message(&format!("[[gate.issuers]]\n{ISSUER}{line}"));
            assert!(message.contains("gate.issuers must be a list of tables"), "{message}");
            assert!(message.contains("unknown") || message.contains("missing"), "{message}");
        }
        assert_eq!(broken("[gate]\nissuers = \"https://id\""), ["gate.issuers"]);
    }

    #[test]
    fn issuers_are_at_most_sixteen() {
        let issuers = |number: usize| {
            (0..number).fold(String::new(), |toml, at| {
                let one =
                    ISSUER.replace("realm", &at.to_string()).replace("sso", &format!("a{at}"));
                format!("{toml}[[gate.issuers]]\n{one}")
            })
        };
        assert!(resolve(&issuers(16)).is_ok());
        assert_eq!(broken(&issuers(17)), ["gate.issuers"]);
    }
}
