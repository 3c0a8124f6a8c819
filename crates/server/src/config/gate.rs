//! `[gate]`: the gate in front of a Flyte backend.

use std::{
    collections::{BTreeMap, HashSet},
    path::PathBuf,
    time::Duration,
};

use gatekey_core::network::Networks;
use gatekey_gate::{
    Access, Origin, Rule, Rules,
    limits::{HIGHEST_MAX_MESSAGE, MAX_MESSAGE},
    proxy::Match,
    rules::{MAX_RULES, Pattern},
};
use gatekey_issuers::IssuerSettings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::Value;
use url::Url;

use super::{
    invalid_setting::Problems,
    issuers::{self, Issuer},
};

/// The path of the table of rules.
const RULES: &str = "gate.rules";

/// The origins that may be configured.
const CORS_ORIGINS: &str = "gate.cors_origins";
const MAX_ORIGINS: usize = 100;
/// The lowest limit on bodies of limited keys, in bytes.
const MIN_MESSAGE: usize = 1024;

/// Upstreams, at most.
const MAX_UPSTREAMS: usize = 64;

/// The gate in front of a Flyte backend: it passes on only what a valid key may do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Section {
    /// URL of the backend that requests are passed on to, if a key with a sufficient role sends
    /// them.
    ///
    /// Scheme, host and possibly a port. With `http`, the backend is reached by HTTP/1.1, and for
    /// gRPC by HTTP/2; with `https`, by the protocol that it chooses.
    #[schemars(extend(
        "x-flag" = "--upstream",
        "x-variable" = "GATEKEY_UPSTREAM",
        "x-value" = "URL",
        "x-unset" = "disabled"
    ))]
    pub(super) upstream: Option<String>,
    /// Audience of the token that the backend receives in place of the caller's credential.
    ///
    /// The token lasts at most five minutes, and names the caller. flyteadmin accepts it if its
    /// setting `allowedAudience` has the audience. It must differ from the public URL and from
    /// `tokens.audiences`, so that the backend cannot use the token elsewhere.
    #[schemars(extend("x-unset" = "the backend receives no token"))]
    pub(super) audience: Option<String>,
    /// Backends, if there are several, as tables `[[gate.upstreams]]`. The first that matches a
    /// request gets it.
    ///
    /// Flyte 1 has one port for gRPC and one for everything else; Flyte 2 has its console at
    /// another address. `url` and `audience` are as above. `match` lists what a backend gets:
    /// `"grpc"` for gRPC, paths, and prefixes such as `"/console/*"`; empty for everything. `pass`
    /// lists paths that Gatekey serves itself, such as `"/me"`, and that the backend answers
    /// instead. `ca_file` is a PEM file of CA certificates that are trusted in addition to the
    /// system's.
    pub(super) upstreams: Vec<UpstreamSection>,
    /// Whether proxies are answered that ask if a request may pass: at `/gate/nginx`,
    /// `/gate/forward` and `/gate/envoy/`, and over gRPC by Envoy's `Authorization/Check`.
    ///
    /// Only the proxies in `server.trusted_proxies` are answered. Loopback is not trusted by
    /// itself.
    pub(super) forward_auth: bool,
    /// Origins of pages that may call the backend through the proxy, such as
    /// `"https://console.example.com"`.
    ///
    /// The gate answers their preflights, and lets them read responses and refusals; what the
    /// backend says about origins is removed. There are no wildcards. Pages send their token in
    /// `Authorization`, without the browser's credentials: cookies are never accepted.
    pub(super) cors_origins: Vec<String>,
    /// Longest body, in bytes, that is read of a key that is limited to projects or domains, before
    /// and after decompression.
    ///
    /// A longer one is refused. All such bodies together take at most 64 MiB.
    #[schemars(range(min = MIN_MESSAGE, max = HIGHEST_MAX_MESSAGE))]
    pub(super) max_message_bytes: usize,
    /// Seconds that streams and tunnels through the gate may last once the server stops.
    #[schemars(range(min = 0, max = 3600))]
    pub(super) drain_seconds: u64,
    /// Whether keys may call the services that parts of Flyte use among themselves.
    ///
    /// Tasks that run outside the cluster of Flyte need them. They then need the role that reading
    /// or writing needs.
    pub(super) internal_services: bool,
    /// Other issuers whose tokens the gate accepts, such as an identity provider of people.
    ///
    /// Each `[[gate.issuers]]` has: `issuer`, the URL that tokens have in `iss`; `alias`, for names
    /// such as `alias|sub`; `audience`, which tokens must be for; `algorithms`, all of `ES256`,
    /// `RS256` and `EdDSA` by default; `jwks_url`, by default from the issuer's discovery document;
    /// `authorized_parties`, the clients by `azp` or `client_id`, by default all; `ca_file`, a
    /// PEM file of CA certificates for the issuer's certificate, in addition to the system's; and
    /// `roles`, a list of `{ claim, value, role }`.
    pub(super) issuers: Vec<Issuer>,
    /// Rules that override those that Gatekey ships: which access a path needs.
    ///
    /// A pattern is a procedure such as `"/flyteidl2.task.TaskService/DeployTask"`, a service such
    /// as `"/flyteidl2.task.TaskService/*"`, or another path or prefix such as `"/console/*"`. The
    /// most specific pattern decides. `gatekey gate rules` prints all rules.
    #[schemars(extend("propertyNames" = { "pattern": "^/" }))]
    pub(super) rules: BTreeMap<String, Access>,
}

/// A backend.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct UpstreamSection {
    /// URL of the backend: scheme, host and possibly a port.
    pub(super) url: String,
    /// What it gets: `grpc` for calls by gRPC, paths, and prefixes such as `/console/*`; empty for
    /// everything.
    #[serde(rename = "match")]
    pub(super) matches: Vec<String>,
    /// Paths that Gatekey serves itself, such as `/me`, and that the backend answers instead.
    pub(super) pass: Vec<String>,
    /// Audience of the token that the backend gets in place of the credential; without it, the
    /// backend gets none.
    pub(super) audience: Option<String>,
    /// File with CA certificates, in PEM, that are trusted in addition to the system's.
    pub(super) ca_file: Option<PathBuf>,
}

impl Default for Section {
    fn default() -> Self {
        Self {
            upstream: None,
            audience: None,
            upstreams: Vec::new(),
            forward_auth: false,
            issuers: Vec::new(),
            cors_origins: Vec::new(),
            max_message_bytes: MAX_MESSAGE,
            drain_seconds: 30,
            internal_services: false,
            rules: BTreeMap::new(),
        }
    }
}

/// The gate, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Gate {
    /// Empty if requests are not passed on.
    pub upstreams: Vec<Upstream>,
    /// Others whose tokens are accepted.
    pub issuers: Vec<IssuerSettings>,
    /// Whether trusted proxies are answered that ask about requests.
    pub forward_auth: bool,
    /// Audience of the token for the backend behind such proxies, if it gets one.
    pub audience: Option<String>,
    /// Origins whose pages may call the upstreams.
    pub cors_origins: HashSet<Origin>,
    /// The longest body that is read of a limited key, in bytes.
    pub max_message: usize,
    /// How long streams and tunnels may last once the server stops.
    pub drain: Duration,
    pub internal_services: bool,
    /// The rules of the configuration, each with the path of its setting.
    pub configured: Vec<(String, Rule)>,
}

/// A backend, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    pub url: Url,
    pub matches: Vec<Match>,
    /// Paths of Gatekey's own that it answers instead.
    pub own_paths: Vec<Pattern>,
    pub audience: Option<String>,
    pub ca_file: Option<PathBuf>,
}

impl Gate {
    /// The rules of the configuration with those that Gatekey ships.
    pub fn rules(&self) -> Rules {
        let configured = self.configured.iter().map(|(_, rule)| rule.clone());
        Rules::new(configured.collect(), self.internal_services)
    }

    /// Whether an upstream answers a path that Gatekey itself serves.
    pub fn passes(&self, path: &str) -> bool {
        let mut own_paths = self.upstreams.iter().flat_map(|upstream| &upstream.own_paths);
        own_paths.any(|pattern| pattern.covers(path))
    }

    /// The path of the setting that has a rule; `None` for a rule that Gatekey ships.
    pub fn setting(&self, rule: &Rule) -> Option<&str> {
        let found = self.configured.iter().find(|(_, configured)| configured == rule)?;
        Some(&found.0)
    }
}

impl Section {
    /// `others` are the audiences of tokens that clients fetch, the issuer of this server first.
    pub(super) fn check(
        &self,
        trusted_proxies: &Networks,
        others: &[&str],
        problems: &mut Problems,
    ) -> Gate {
        if self.forward_auth && trusted_proxies.is_empty() {
            let rule = "answers only the proxies in server.trusted_proxies; name them there";
            problems.add("gate.forward_auth", rule);
        }
        if let Some(Err(rule)) = self.audience.as_deref().map(|one| check_audience(one, others)) {
            problems.add("gate.audience", rule);
        }
        if self.rules.len() > MAX_RULES {
            problems.add(RULES, format!("must have at most {MAX_RULES} rules"));
        }
        let mut configured = Vec::new();
        for (text, access) in &self.rules {
            let member = format!("{RULES}.{}", Value::from(text.as_str()));
            match Pattern::parse(text) {
                Ok(pattern) => configured.push((member, Rule::configured(pattern, *access))),
                Err(invalid) => problems.add(&member, invalid.to_string()),
            }
        }
        let mut upstreams = Vec::new();
        if let Some(url) = &self.upstream {
            let only = UpstreamSection { url: url.clone(), ..UpstreamSection::default() };
            let only = only.check("gate.upstream", others, problems);
            let audience = self.audience.clone();
            upstreams.extend(only.map(|only| Upstream { audience, ..only }));
            if !self.upstreams.is_empty() {
                problems.add("gate.upstream", "cannot be set together with gate.upstreams");
            }
        }
        if self.audience.is_some() && !self.upstreams.is_empty() {
            problems.add("gate.audience", "belongs in the tables of gate.upstreams");
        }
        if self.upstreams.len() > MAX_UPSTREAMS {
            problems.add("gate.upstreams", format!("must have at most {MAX_UPSTREAMS} tables"));
        }
        for upstream in &self.upstreams {
            upstreams.extend(upstream.check("gate.upstreams", others, problems));
        }
        if self.cors_origins.len() > MAX_ORIGINS {
            problems.add(CORS_ORIGINS, format!("must have at most {MAX_ORIGINS} origins"));
        }
        let mut cors_origins = HashSet::new();
        for text in &self.cors_origins {
            match Origin::parse(text) {
                Ok(origin) => _ = cors_origins.insert(origin),
                Err(invalid) => problems.add(CORS_ORIGINS, format!("{text:?} {invalid}")),
            }
        }
        let own = others.first().copied().unwrap_or_default();
        let issuers = issuers::check(&self.issuers, own).unwrap_or_else(|rule| {
            problems.add("gate.issuers", rule);
            Vec::new()
        });
        Gate {
            upstreams,
            issuers,
            forward_auth: self.forward_auth,
            audience: self.audience.clone(),
            cors_origins,
            max_message: self.max_message_bytes,
            drain: Duration::from_secs(self.drain_seconds),
            internal_services: self.internal_services,
            configured,
        }
    }
}

impl UpstreamSection {
    fn check(&self, setting: &str, others: &[&str], problems: &mut Problems) -> Option<Upstream> {
        let url = parse_upstream(&self.url);
        if url.is_none() {
            let rule = "must be a URL that has only a scheme, a host and a port, such as http://flyte:8090";
            problems.add(setting, rule);
        }
        let mut pattern = |text: &String| {
            let parsed = Pattern::parse(text);
            parsed.map_err(|invalid| problems.add(setting, format!("{text:?} {invalid}"))).ok()
        };
        let mut matches = Vec::new();
        for text in &self.matches {
            match text.as_str() {
                "grpc" => matches.push(Match::Grpc),
                _ => matches.extend(pattern(text).map(Match::Path)),
            }
        }
        let own_paths = self.pass.iter().filter_map(&mut pattern).collect();
        let (audience, ca_file) = (self.audience.clone(), self.ca_file.clone());
        if let Some(Err(rule)) = audience.as_deref().map(|one| check_audience(one, others)) {
            problems.add(setting, format!("has an audience that {rule}"));
        }
        Some(Upstream { url: url?, matches, own_paths, audience, ca_file })
    }
}

/// Checks the audience of tokens for a backend. `others` are the audiences of tokens that clients
/// fetch.
fn check_audience(audience: &str, others: &[&str]) -> Result<(), &'static str> {
    let is_same = |other: &&str| {
        other.trim_end_matches('/').eq_ignore_ascii_case(audience.trim_end_matches('/'))
    };
    if audience.is_empty() || audience.contains(char::is_whitespace) {
        return Err("must not be empty or contain whitespace");
    }
    if others.iter().any(is_same) {
        return Err(
            "must differ from the public URL and from `tokens.audiences`: whoever has such a token \
                    could use it there",
        );
    }
    Ok(())
}

fn parse_upstream(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let is_bare = url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none()
        && url.has_host();
    (is_bare && matches!(url.scheme(), "http" | "https")).then_some(url)
}

#[cfg(test)]
mod tests {
    use gatekey_gate::{Access, Path, proxy::Match};
    use http::Method;

    use crate::config::tests::{broken, resolve};

    const READ: &str = "/flyteidl2.project.ProjectService/GetProject";

    #[test]
    fn asking_needs_trusted_proxies() {
        let asked = "[gate]\nforward_auth = true\n";
        assert_eq!(broken(asked), ["gate.forward_auth"]);
        let trusted = format!("[server]\ntrusted_proxies = [\"10.0.0.1\"]\n{asked}");
        assert!(resolve(&trusted).unwrap().gate.forward_auth);
        assert!(!resolve("").unwrap().gate.forward_auth);
    }

    #[test]
    fn origins_are_exact_and_never_wildcards() {
        let toml = |origin: &str| format!("[gate]\ncors_origins = [\"{origin}\"]");
        for origin in ["*", "https://*.example.com", "null", "https://a.example/", "a.example", ""]
        {
            assert_eq!(broken(&toml(origin)), ["gate.cors_origins"], "{origin}");
        }
        assert_eq!(resolve(&toml("https://a.example")).unwrap().gate.cors_origins.len(), 1);
        assert!(resolve("").unwrap().gate.cors_origins.is_empty());
    }

    #[test]
    fn the_longest_message_has_bounds() {
        for bytes in ["0", "1023", "33554433"] {
            let toml = format!("[gate]\nmax_message_bytes = {bytes}");
            assert_eq!(broken(&toml), ["gate.max_message_bytes"], "{bytes}");
        }
        let highest = resolve("[gate]\nmax_message_bytes = 33554432").unwrap().gate;
        assert_eq!(highest.max_message, 32 << 20);
        assert_eq!(resolve("").unwrap().gate.max_message, 4 << 20);
    }

    #[test]
    fn an_upstream_is_only_an_origin() {
        for url in
            ["flyte:8090", "ftp://flyte", "http://flyte/path", "http://u@flyte", "http://", ""]
        {
            let toml = format!("[gate]\nupstream = \"{url}\"");
            assert_eq!(broken(&toml), ["gate.upstream"], "{url}");
        }
        for url in ["http://flyte:8090", "https://flyte", "http://[::1]:80/"] {
            let toml = format!("[gate]\nupstream = \"{url}\"");
            assert_eq!(resolve(&toml).unwrap().gate.upstreams.len(), 1, "{url}");
        }
    }

    /// An upstream could otherwise use the tokens that it receives.
    #[test]
    fn an_upstreams_audience_is_no_other_audience() {
        let toml = |audience: &str| {
            format!(
                "[server]\npublic_url = \"https://keys.example.com\"\n[tokens]\naudiences = [\"https://api\"]\n\
                 [gate]\naudience = \"{audience}\""
            )
        };
        for audience in
            ["", "a b", "https://keys.example.com", "https://Keys.example.com/", "https://api"]
        {
            assert_eq!(broken(&toml(audience)), ["gate.audience"], "{audience}");
        }
        let with_upstream = |audience: &str| format!("{}\nupstream = \"http://f\"", toml(audience));
        let resolved = resolve(&with_upstream("https://flyte.example.com")).unwrap().gate;
        assert_eq!(resolved.upstreams[0].audience.as_deref(), Some("https://flyte.example.com"));
    }

    #[test]
    fn several_upstreams_are_tables() {
        let toml = "[[gate.upstreams]]\nurl = \"http://a:81\"\nmatch = [\"grpc\"]\n\
                    [[gate.upstreams]]\nurl = \"http://a\"\npass = [\"/me\"]\naudience = \"a\"";
        let upstreams = resolve(toml).unwrap().gate.upstreams;
        assert_eq!(upstreams[0].matches, [Match::Grpc]);
        assert_eq!(upstreams[1].audience.as_deref(), Some("a"));
        for wrong in [
            "url = \"a\"",
            "match = [\"grpc\"]",
            "url = \"http://a\"\nmatch = [\"a\"]",
            "url = \"http://a\"\npass = [\"me\"]",
            "url = \"http://a\"\naudience = \" \"",
            "url = \"http://a\"\naudience = \"https://127.0.0.1:8443\"",
            "url = \"http://a\"\nunknown = 1",
        ] {
            let toml = format!("[[gate.upstreams]]\n{wrong}");
            assert_eq!(broken(&toml), ["gate.upstreams"], "{wrong}");
        }
        let both = "[gate]\nupstream = \"http://a\"\n[[gate.upstreams]]\nurl = \"http://b\"";
        assert_eq!(broken(both), ["gate.upstream"]);
        let audience = "[gate]\naudience = \"a\"\n[[gate.upstreams]]\nurl = \"http://b\"";
        assert_eq!(broken(audience), ["gate.audience"]);
    }

    #[test]
    fn a_configured_rule_overrides_the_shipped_one() {
        let find = |toml: &str| {
            let gate = resolve(toml).unwrap().gate;
            let rules = gate.rules();
            let rule = rules.find(&Method::POST, &Path::parse(READ).unwrap()).unwrap();
            (rule.access, gate.setting(rule).map(str::to_owned))
        };
        assert_eq!(find(""), (Access::Read, None));
        let toml = format!("[gate.rules]\n\"{READ}\" = \"any-key\"");
        assert_eq!(find(&toml), (Access::AnyKey, Some(format!("gate.rules.\"{READ}\""))));
    }

    #[test]
    fn internal_services_are_a_switch() {
        let access = |toml: &str| {
            let path = Path::parse("/flyteidl2.actions.ActionsService/Enqueue").unwrap();
            let rules = resolve(toml).unwrap().gate.rules();
            rules.find(&Method::POST, &path).unwrap().access
        };
        assert_eq!(access(""), Access::Denied);
        assert_eq!(access("[gate]\ninternal_services = true"), Access::Write);
    }

    #[test]
    fn an_invalid_rule_is_reported_with_its_line() {
        let toml = "[gate.rules]\n\"/a/*\" = \"read\"\n\"a\" = \"read\"\n\"/b*\" = \"write\"\n\
                    \"/c/../d\" = \"write\"";
        let invalid = resolve(toml).unwrap_err();
        let messages: Vec<_> = invalid.iter().map(ToString::to_string).collect();
        let mut expected = [
            "gatekey.toml, line 3: gate.rules.\"a\" must begin with a slash",
            "gatekey.toml, line 4: gate.rules.\"/b*\" has a `*` that is not its last segment; write a prefix as \
             `/package.Service/*` or `/path/*`",
            "gatekey.toml, line 5: gate.rules.\"/c/../d\" is not a path that the gate accepts: write it decoded, \
             without a query",
        ];
        expected.sort_unstable_by_key(|message| message.split('"').nth(1));
        assert_eq!(messages, expected);
        let toml = "[gate.rules]\n\"/a\" = \"read\"\n\"/b\" = \"reed\"\n\"/c\" = 1";
        let invalid = resolve(toml).unwrap_err();
        let messages: Vec<_> = invalid.iter().map(ToString::to_string).collect();
        let words = "\"anonymous\", \"any-key\", \"read\", \"write\", \"admin\" or \"denied\"";
        assert_eq!(
            messages,
            [
                format!("gatekey.toml, line 3: gate.rules.\"/b\" must be {words}"),
                format!("gatekey.toml, line 4: gate.rules.\"/c\" must be {words}"),
            ]
        );
        assert_eq!(broken("[gate]\nrules = 1"), ["gate.rules"]);
    }

    #[test]
    fn a_table_in_one_line_is_the_same() {
        let one_line = "[gate]\nrules = { \"/a/*\" = \"read\", \"/b\" = \"denied\" }";
        let lines = "[gate.rules]\n\"/a/*\" = \"read\"\n\"/b\" = \"denied\"";
        assert_eq!(resolve(one_line).unwrap(), resolve(lines).unwrap());
    }

    #[test]
    fn rules_are_at_most_one_thousand() {
        let rules = |number: usize| {
            (0..number)
                .fold("[gate.rules]".to_owned(), |toml, at| format!("{toml}\n\"/{at}\" = \"read\""))
        };
        assert!(resolve(&rules(1000)).is_ok());
        assert_eq!(broken(&rules(1001)), ["gate.rules"]);
    }
}
