//! [`Config`]: what an administrator can set.
//!
//! [`Settings`] is what was said, in a file or on the command line; [`Config`] is what follows from it, checked.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use gatekey_core::{api_key::redirect_uri, signing_key::MAX_TOKEN_LIFETIME};
use gatekey_credentials::jwt::Algorithm;
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

/// Where the server listens when nobody says.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:8443";
/// Where probes and Prometheus are answered when nobody says where.
pub const DEFAULT_ADMIN_LISTEN: &str = "127.0.0.1:9464";
/// How long a token lives when nobody says.
pub const DEFAULT_TOKEN_LIFETIME: Duration = Duration::from_hours(1);
/// The header that clients are told to send their token in when nobody says.
pub const DEFAULT_METADATA_KEY: &str = "authorization";
/// The youngest age at which a signing key may be replaced: what goes by the clock goes hourly.
pub const MIN_SIGNING_KEY_AGE: Duration = Duration::from_hours(1);
/// The oldest, which is ten years.
pub const MAX_SIGNING_KEY_AGE: Duration = Duration::from_hours(10 * 365 * 24);

/// Failed authentications of one address a minute when nobody says: a client of Go's `x/oauth2` fails twice a login,
/// first with the header and then with the body, so thirty of its logins.
pub const DEFAULT_FAILED_AUTHENTICATIONS: u16 = 60;
/// What the server is called in traces when nobody says.
pub const DEFAULT_SERVICE_NAME: &str = "gatekey";
/// Which part of the traces that begin here is recorded when nobody says: all.
pub const DEFAULT_TRACE_RATIO: f64 = 1.0;
/// Where traces are sent below a collector's URL (OTLP specification, "OTLP/HTTP Request").
const TRACES_PATH: &str = "/v1/traces";
const MAX_FAILED_AUTHENTICATIONS: u16 = 10_000;

/// What was said in a configuration file (TOML) or on the command line. What is not said has a default.
///
/// The comments are what [`Settings::schema`] and the reference page say.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Address and port to listen on; port 0 picks a free one.
    #[schemars(extend("default" = DEFAULT_LISTEN))]
    pub listen: Option<SocketAddr>,
    /// The URL that clients use: scheme, host, and a port unless it is the scheme's own. It is the issuer of
    /// every token. Default: the address listened on.
    pub public_url: Option<String>,
    /// The server's certificate chain, PEM. Default: one of a private CA.
    pub tls_cert: Option<PathBuf>,
    /// The private key of `tls_cert`, PEM.
    pub tls_key: Option<PathBuf>,
    /// Plain HTTP: on a loopback address, or behind `trusted_proxies`.
    #[schemars(extend("default" = false))]
    pub plaintext: Option<bool>,
    /// Addresses of proxies that end TLS in front: with `plaintext` beyond loopback only they may connect,
    /// and their `X-Forwarded-For` is believed.
    #[schemars(extend("default" = []))]
    pub trusted_proxies: Option<Vec<IpAddr>>,
    /// Whom the server serves; may be empty.
    #[schemars(regex(pattern = r"^[A-Za-z0-9._-]{0,63}$"), extend("default" = ""))]
    pub organization: Option<String>,
    /// Seconds that a token lives, 60 to 86,400.
    #[schemars(
        range(min = 60, max = MAX_TOKEN_LIFETIME.as_secs()),
        extend("default" = DEFAULT_TOKEN_LIFETIME.as_secs())
    )]
    pub token_lifetime_seconds: Option<u64>,
    /// `ES256`, `RS256` or `EdDSA`; AWS's load balancer verifies RS256 only.
    #[schemars(extend("default" = Algorithm::ES256))]
    pub signing_algorithm: Option<Algorithm>,
    /// Seconds after which another key signs, looked at hourly: one hour to ten years. The old key is published until
    /// its last token has expired. Default: never.
    #[schemars(range(min = MIN_SIGNING_KEY_AGE.as_secs(), max = MAX_SIGNING_KEY_AGE.as_secs()))]
    pub signing_key_max_age_seconds: Option<u64>,
    /// Whom tokens may be for; the first is whom they are for when nobody says. Default: the public URL alone.
    #[schemars(length(min = 1))]
    pub audiences: Option<Vec<String>>,
    /// The header that clients are told to send their token in.
    #[schemars(regex(pattern = "^[a-z0-9-]+$"), extend("default" = DEFAULT_METADATA_KEY))]
    pub authorization_metadata_key: Option<String>,
    /// Failed authentications of one address a minute before it is told to wait, 0 to 10,000; 0 for any number.
    #[schemars(
        range(max = MAX_FAILED_AUTHENTICATIONS),
        extend("default" = DEFAULT_FAILED_AUTHENTICATIONS)
    )]
    pub failed_authentications_per_minute: Option<u16>,
    /// The root key's file. Default `root.key` in the data directory.
    pub root_key_file: Option<PathBuf>,
    /// Address and port of `/healthz`, `/readyz` and `/metrics`, in the clear; port 0 picks a free one.
    /// Default: nowhere.
    pub admin_listen: Option<SocketAddr>,
    /// URL of a collector that takes traces by OTLP over HTTP, such as `http://localhost:4318`; they go to `/v1/traces`
    /// below it. Default: nowhere.
    pub otlp_endpoint: Option<String>,
    /// The whole URL that traces are sent to. Default: what `otlp_endpoint` says.
    pub otlp_traces_endpoint: Option<String>,
    /// Certificates that the collector's is checked by, besides the system's, PEM.
    pub otlp_ca_file: Option<PathBuf>,
    /// What the server is called in traces.
    #[schemars(length(min = 1), extend("default" = DEFAULT_SERVICE_NAME))]
    pub otlp_service_name: Option<String>,
    /// Which part of the traces that begin here is recorded, 0 to 1. Of those that a caller began, its `traceparent` says
    /// whether they are.
    #[schemars(range(min = 0, max = 1), extend("default" = DEFAULT_TRACE_RATIO))]
    pub otlp_trace_ratio: Option<f64>,
}

/// A setting that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting} {rule}")]
pub struct InvalidSetting {
    /// The setting, as the file names it.
    pub setting: &'static str,
    /// The rule, as a clause that follows the setting's name.
    pub rule: String,
}

/// How connections are secured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsMode {
    /// With a certificate of the server's own private CA.
    PrivateCa,
    /// With a certificate from files.
    Files {
        /// The chain, PEM.
        cert: PathBuf,
        /// The private key, PEM.
        key: PathBuf,
    },
    /// Not at all.
    Plaintext,
}

/// Where traces are sent, and which.
#[derive(Debug, Clone, PartialEq)]
pub struct Traces {
    /// The whole URL.
    pub endpoint: Url,
    /// Certificates that are trusted besides the system's, PEM.
    pub ca_file: Option<PathBuf>,
    /// What the server is called, if somebody said.
    pub service_name: Option<String>,
    /// Which part of the traces that begin here is recorded, 0 to 1.
    pub ratio: f64,
}

/// The configuration of a server, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The URL that clients use.
    pub public_url: Url,
    /// How connections are secured.
    pub tls: TlsMode,
    /// Who may say for whom a request is.
    pub trusted_proxies: Vec<IpAddr>,
    /// Whom the server serves; may be empty.
    pub organization: String,
    /// How long a token lives.
    pub token_lifetime: Duration,
    /// How tokens are signed.
    pub signing_algorithm: Algorithm,
    /// The age at which another key signs; `None` for never.
    pub signing_key_max_age: Option<Duration>,
    /// Whom tokens may be for; never empty.
    pub audiences: Vec<String>,
    /// The header that clients are told to send their token in.
    pub authorization_metadata_key: String,
    /// Failed authentications of one address a minute before it is told to wait; 0 for any number.
    pub failed_authentications_per_minute: u16,
    /// Where probes and Prometheus are answered; `None` for nowhere.
    pub admin_listen: Option<SocketAddr>,
    /// Where traces are sent; `None` for nowhere.
    pub traces: Option<Traces>,
    issuer: String,
}

impl Settings {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// When the text is not TOML or names an unknown setting; the message has line and column.
    pub fn from_toml(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// JSON Schema (2020-12) of a configuration file, for editors and for the reference page. TOML has no null, so
    /// neither has the schema: what is not said is not there.
    pub fn schema() -> Value {
        let generator = SchemaSettings::draft2020_12().into_generator();
        let mut schema = Value::from(generator.into_root_schema_for::<Self>());
        without_null(&mut schema);
        schema["title"] = Value::from("Configuration of a Gatekey server");
        schema["description"] = Value::from("What is not said has a default.");
        schema
    }

    /// These settings, and the others where these say nothing. Certificate, key and plaintext go together, and so do the
    /// two that say where traces go.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let own_tls = self.tls_cert.is_some() || self.tls_key.is_some() || self.plaintext.is_some();
        let tls = if own_tls { &self } else { &other };
        let own_otlp = self.otlp_endpoint.is_some() || self.otlp_traces_endpoint.is_some();
        let otlp = if own_otlp { &self } else { &other };
        Self {
            tls_cert: tls.tls_cert.clone(),
            tls_key: tls.tls_key.clone(),
            plaintext: tls.plaintext,
            otlp_endpoint: otlp.otlp_endpoint.clone(),
            otlp_traces_endpoint: otlp.otlp_traces_endpoint.clone(),
            listen: self.listen.or(other.listen),
            public_url: self.public_url.or(other.public_url),
            trusted_proxies: self.trusted_proxies.or(other.trusted_proxies),
            organization: self.organization.or(other.organization),
            token_lifetime_seconds: self.token_lifetime_seconds.or(other.token_lifetime_seconds),
            signing_algorithm: self.signing_algorithm.or(other.signing_algorithm),
            signing_key_max_age_seconds: self
                .signing_key_max_age_seconds
                .or(other.signing_key_max_age_seconds),
            audiences: self.audiences.or(other.audiences),
            authorization_metadata_key: self.authorization_metadata_key.or(other.authorization_metadata_key),
            failed_authentications_per_minute: self
                .failed_authentications_per_minute
                .or(other.failed_authentications_per_minute),
            root_key_file: self.root_key_file.or(other.root_key_file),
            admin_listen: self.admin_listen.or(other.admin_listen),
            otlp_ca_file: self.otlp_ca_file.or(other.otlp_ca_file),
            otlp_service_name: self.otlp_service_name.or(other.otlp_service_name),
            otlp_trace_ratio: self.otlp_trace_ratio.or(other.otlp_trace_ratio),
        }
    }

    /// Where the root key is.
    pub fn root_key_path(&self, data_dir: &Path) -> PathBuf {
        self.root_key_file.clone().unwrap_or_else(|| data_dir.join("root.key"))
    }

    /// Where to listen.
    pub fn listen(&self) -> SocketAddr {
        self.listen.unwrap_or_else(|| DEFAULT_LISTEN.parse().expect("the default is an address"))
    }

    /// Checks everything. With port 0 the address must be the one that was given in the end.
    ///
    /// # Errors
    /// Each setting that cannot be.
    pub fn resolve(self, listening: SocketAddr) -> Result<Config, Vec<InvalidSetting>> {
        let mut broken = Vec::new();
        let mut refuse = |setting, rule: &str| {
            broken.push(InvalidSetting { setting, rule: rule.to_owned() });
        };
        let plaintext = self.plaintext.unwrap_or(false);
        let trusted_proxies = self.trusted_proxies.unwrap_or_default();
        let (tls, unfit) = tls_mode(self.tls_cert, self.tls_key, plaintext);
        if let Some((setting, rule)) = unfit {
            refuse(setting, rule);
        }
        if tls == TlsMode::Plaintext && !listening.ip().is_loopback() && trusted_proxies.is_empty() {
            let rule = "beyond a loopback address would send secrets in the clear; listen on 127.0.0.1, use TLS, or \
                        name the proxy that ends TLS in front in trusted_proxies";
            refuse("plaintext", rule);
        }
        let given = self.public_url.unwrap_or_else(|| default_public_url(listening, &tls));
        let public_url = match parse_public_url(&given) {
            Ok(url) => url,
            Err(rule) => {
                refuse("public_url", rule);
                Url::parse("https://localhost").expect("this is a URL")
            }
        };
        if public_url.scheme() == "http" && tls != TlsMode::Plaintext {
            refuse("public_url", "says http, but the server speaks TLS; say https, or set plaintext");
        }
        let organization = self.organization.unwrap_or_default();
        if organization.len() > 63
            || !organization
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
        {
            refuse("organization", "may hold only A-Z a-z 0-9 . _ -, at most 63 of them");
        }
        let token_lifetime = self.token_lifetime_seconds.map_or(DEFAULT_TOKEN_LIFETIME, Duration::from_secs);
        if token_lifetime < Duration::from_mins(1) || token_lifetime > MAX_TOKEN_LIFETIME {
            refuse("token_lifetime_seconds", "must be from 60 to 86400");
        }
        let signing_key_max_age = self.signing_key_max_age_seconds.map(Duration::from_secs);
        if signing_key_max_age.is_some_and(|age| !(MIN_SIGNING_KEY_AGE..=MAX_SIGNING_KEY_AGE).contains(&age))
        {
            let (least, most) = (MIN_SIGNING_KEY_AGE.as_secs(), MAX_SIGNING_KEY_AGE.as_secs());
            refuse("signing_key_max_age_seconds", &format!("must be from {least} to {most}"));
        }
        let issuer = public_url.as_str().trim_end_matches('/').to_owned();
        let audiences = self.audiences.unwrap_or_else(|| vec![issuer.clone()]);
        if audiences.is_empty()
            || audiences
                .iter()
                .any(|audience| audience.is_empty() || audience.chars().any(char::is_whitespace))
        {
            refuse("audiences", "must name at least one audience, none of them empty or with blanks");
        }
        let authorization_metadata_key =
            self.authorization_metadata_key.unwrap_or_else(|| DEFAULT_METADATA_KEY.to_owned());
        let is_header = !authorization_metadata_key.is_empty()
            && authorization_metadata_key
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if !is_header {
            refuse(
                "authorization_metadata_key",
                "must be a header's name in lower case; clients fail on an empty one",
            );
        }
        let failed_authentications_per_minute =
            self.failed_authentications_per_minute.unwrap_or(DEFAULT_FAILED_AUTHENTICATIONS);
        if failed_authentications_per_minute > MAX_FAILED_AUTHENTICATIONS {
            refuse("failed_authentications_per_minute", "must be from 0 to 10000; 0 lets any number through");
        }
        if self.admin_listen.is_some_and(|admin| admin == listening && admin.port() != 0) {
            refuse("admin_listen", "must be another address than listen");
        }
        let traces = traces(
            (self.otlp_endpoint, self.otlp_traces_endpoint),
            self.otlp_ca_file,
            self.otlp_service_name,
            self.otlp_trace_ratio,
            &mut refuse,
        );
        if !broken.is_empty() {
            return Err(broken);
        }
        Ok(Config {
            listen: listening,
            public_url,
            tls,
            trusted_proxies,
            organization,
            token_lifetime,
            signing_algorithm: self.signing_algorithm.unwrap_or(Algorithm::ES256),
            signing_key_max_age,
            audiences,
            authorization_metadata_key,
            failed_authentications_per_minute,
            admin_listen: self.admin_listen,
            traces,
            issuer,
        })
    }
}

/// Where traces go, and which; each setting is checked, also when they go nowhere.
fn traces(
    (collector, whole): (Option<String>, Option<String>),
    ca_file: Option<PathBuf>,
    service_name: Option<String>,
    ratio: Option<f64>,
    refuse: &mut impl FnMut(&'static str, &str),
) -> Option<Traces> {
    if service_name.as_ref().is_some_and(String::is_empty) {
        refuse("otlp_service_name", "must not be empty");
    }
    let ratio = ratio.unwrap_or(DEFAULT_TRACE_RATIO);
    if !(0.0..=1.0).contains(&ratio) {
        refuse("otlp_trace_ratio", "must be from 0 to 1");
    }
    let is_whole = whole.is_some();
    let Some(mut endpoint) = parse_collector(&whole.or(collector)?) else {
        let rule = "must be an http or https URL without user, password, query and fragment, such as \
                    http://localhost:4318";
        refuse(if is_whole { "otlp_traces_endpoint" } else { "otlp_endpoint" }, rule);
        return None;
    };
    if !is_whole {
        let path = format!("{}{TRACES_PATH}", endpoint.path().trim_end_matches('/'));
        endpoint.set_path(&path);
    }
    Some(Traces { endpoint, ca_file, service_name, ratio })
}

fn parse_collector(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let bare = url.has_host()
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    (bare && matches!(url.scheme(), "http" | "https")).then_some(url)
}

/// What three settings mean together, and which of them does not fit the others.
fn tls_mode(
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    plaintext: bool,
) -> (TlsMode, Option<(&'static str, &'static str)>) {
    match (cert, key, plaintext) {
        (None, None, false) => (TlsMode::PrivateCa, None),
        (Some(cert), Some(key), false) => (TlsMode::Files { cert, key }, None),
        (None, None, true) => (TlsMode::Plaintext, None),
        (Some(_), None, false) => (TlsMode::PrivateCa, Some(("tls_cert", "needs tls_key beside it"))),
        (None, Some(_), false) => (TlsMode::PrivateCa, Some(("tls_key", "needs tls_cert beside it"))),
        (Some(_), _, true) | (_, Some(_), true) => {
            (TlsMode::Plaintext, Some(("plaintext", "excludes tls_cert and tls_key")))
        }
    }
}

impl Config {
    /// The public URL without a slash at the end: the issuer of every token.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The public host, without brackets around an IPv6 address.
    pub fn public_host(&self) -> &str {
        self.public_url.host_str().unwrap_or_default().trim_matches(['[', ']'])
    }

    /// Host, and port unless it is the scheme's own: how encoded credentials name the server.
    pub fn endpoint(&self) -> &str {
        self.issuer.split_once("://").map_or(&self.issuer, |(_, endpoint)| endpoint)
    }

    /// The absolute URL of a path of this server.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.issuer)
    }
}

/// Takes out that a setting may be null, and that its default is.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            members.retain(|name, member| name != "default" || !member.is_null());
            if let Some(Value::Array(types)) = members.get_mut("type") {
                types.retain(|kind| kind != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    members.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(choices)) = members.get_mut("anyOf") {
                choices.retain(|choice| choice["type"] != "null");
                if let [Value::Object(only)] = choices.as_slice() {
                    let only = only.clone();
                    members.remove("anyOf");
                    members.extend(only);
                }
            }
            members.values_mut().for_each(without_null);
        }
        Value::Array(members) => members.iter_mut().for_each(without_null),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn default_public_url(listening: SocketAddr, tls: &TlsMode) -> String {
    let (scheme, own_port) = if *tls == TlsMode::Plaintext { ("http", 80) } else { ("https", 443) };
    let host = match listening.ip() {
        address if address.is_unspecified() => "localhost".to_owned(),
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    let port = listening.port();
    if port == own_port { format!("{scheme}://{host}") } else { format!("{scheme}://{host}:{port}") }
}

fn parse_public_url(text: &str) -> Result<Url, &'static str> {
    let rule = "must be an absolute URL with scheme and host alone, such as https://keys.example.com";
    let url = Url::parse(text).map_err(|_| rule)?;
    let bare = url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none()
        && url.has_host();
    if !bare || !matches!(url.scheme(), "https" | "http") {
        return Err(rule);
    }
    if url.scheme() == "http" && redirect_uri::validate(text).is_err() {
        return Err("must use https; http is for localhost, 127.0.0.1 and [::1] alone");
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(toml: &str, listening: &str) -> Result<Config, Vec<InvalidSetting>> {
        Settings::from_toml(toml).unwrap().resolve(listening.parse().unwrap())
    }

    fn broken(toml: &str, listening: &str) -> Vec<&'static str> {
        resolve(toml, listening).unwrap_err().into_iter().map(|broken| broken.setting).collect()
    }

    #[test]
    fn the_public_url_follows_from_the_address() {
        assert_eq!(resolve("", "127.0.0.1:8443").unwrap().issuer(), "https://127.0.0.1:8443");
        assert_eq!(resolve("", "127.0.0.1:443").unwrap().endpoint(), "127.0.0.1");
        assert_eq!(resolve("", "0.0.0.0:8443").unwrap().endpoint(), "localhost:8443");
        assert_eq!(resolve("plaintext = true", "127.0.0.1:80").unwrap().issuer(), "http://127.0.0.1");
    }

    #[test]
    fn plaintext_beyond_loopback_needs_a_trusted_proxy() {
        assert_eq!(broken("plaintext = true", "0.0.0.0:8080"), ["plaintext"]);
        let config = r#"
            plaintext = true
            trusted_proxies = ["10.0.0.7"]
            public_url = "https://keys.example.com"
        "#;
        assert!(resolve(config, "0.0.0.0:8080").is_ok());
    }

    #[test]
    fn the_schema_has_every_setting_with_what_it_means() {
        let schema = Settings::schema();
        let settings = toml::Table::try_from(Settings {
            listen: Some(DEFAULT_LISTEN.parse().unwrap()),
            public_url: Some(String::new()),
            tls_cert: Some(PathBuf::new()),
            tls_key: Some(PathBuf::new()),
            plaintext: Some(false),
            trusted_proxies: Some(Vec::new()),
            organization: Some(String::new()),
            token_lifetime_seconds: Some(60),
            signing_algorithm: Some(Algorithm::EdDSA),
            signing_key_max_age_seconds: Some(3600),
            audiences: Some(Vec::new()),
            authorization_metadata_key: Some(String::new()),
            failed_authentications_per_minute: Some(60),
            root_key_file: Some(PathBuf::new()),
            admin_listen: Some(DEFAULT_LISTEN.parse().unwrap()),
            otlp_endpoint: Some(String::new()),
            otlp_traces_endpoint: Some(String::new()),
            otlp_ca_file: Some(PathBuf::new()),
            otlp_service_name: Some(String::new()),
            otlp_trace_ratio: Some(1.0),
        })
        .unwrap();
        let properties = schema["properties"].as_object().unwrap();
        assert!(settings.keys().eq(properties.keys()), "{:?}", properties.keys());
        for (name, setting) in properties {
            assert!(setting["description"].is_string(), "{name}");
        }
        assert_eq!(schema["additionalProperties"], false);
        assert!(!schema.to_string().contains("null"), "{schema}");
    }

    #[test]
    fn the_defaults_that_the_schema_names_are_those_that_are_used() {
        let schema = Settings::schema();
        let defaults = schema["properties"].as_object().unwrap().iter();
        let defaults: serde_json::Map<_, _> = defaults
            .filter_map(|(name, setting)| Some((name.clone(), setting.get("default")?.clone())))
            .collect();
        assert!(defaults.len() > 5, "{defaults:?}");
        let said: Settings = serde_json::from_value(Value::Object(defaults)).unwrap();
        let listen = said.listen();
        assert_eq!(listen, Settings::default().listen());
        assert_eq!(said.resolve(listen).unwrap(), Settings::default().resolve(listen).unwrap());
    }

    #[test]
    fn traces_go_below_the_collector_or_to_the_whole_url() {
        let endpoint = |toml: &str| {
            resolve(toml, "127.0.0.1:1").unwrap().traces.map(|traces| traces.endpoint.to_string())
        };
        assert_eq!(endpoint(""), None);
        let below = "http://localhost:4318/v1/traces";
        assert_eq!(endpoint(r#"otlp_endpoint = "http://localhost:4318""#).unwrap(), below);
        assert_eq!(endpoint(r#"otlp_endpoint = "http://localhost:4318/""#).unwrap(), below);
        let deeper = r#"otlp_endpoint = "https://example.com/otlp""#;
        assert_eq!(endpoint(deeper).unwrap(), "https://example.com/otlp/v1/traces");
        let whole = format!("{deeper}\notlp_traces_endpoint = \"https://example.com/t\"");
        assert_eq!(endpoint(&whole).unwrap(), "https://example.com/t");
    }

    #[test]
    fn a_flag_that_says_where_traces_go_goes_before_either_setting_of_the_file() {
        let flags = Settings::from_toml(r#"otlp_endpoint = "http://flag""#).unwrap();
        let file = Settings::from_toml(r#"otlp_traces_endpoint = "http://file/t""#).unwrap();
        let config = flags.or(file).resolve("127.0.0.1:1".parse().unwrap()).unwrap();
        assert_eq!(config.traces.unwrap().endpoint.as_str(), "http://flag/v1/traces");
    }

    #[test]
    fn what_cannot_be_is_named() {
        assert_eq!(broken(r#"tls_cert = "c.pem""#, "127.0.0.1:1"), ["tls_cert"]);
        assert_eq!(broken(r#"public_url = "https://h/path""#, "127.0.0.1:1"), ["public_url"]);
        assert_eq!(broken(r#"public_url = "http://keys.example.com""#, "127.0.0.1:1"), ["public_url"]);
        assert_eq!(broken(r#"organization = "a:b""#, "127.0.0.1:1"), ["organization"]);
        assert_eq!(broken("token_lifetime_seconds = 1", "127.0.0.1:1"), ["token_lifetime_seconds"]);
        for age in [0, 3599, 315_360_001] {
            let toml = format!("signing_key_max_age_seconds = {age}");
            assert_eq!(broken(&toml, "127.0.0.1:1"), ["signing_key_max_age_seconds"]);
        }
        assert_eq!(broken("audiences = []", "127.0.0.1:1"), ["audiences"]);
        assert_eq!(
            broken(r#"authorization_metadata_key = """#, "127.0.0.1:1"),
            ["authorization_metadata_key"]
        );
        let setting = "failed_authentications_per_minute";
        assert_eq!(broken(&format!("{setting} = 10001"), "127.0.0.1:1"), [setting]);
        assert_eq!(broken(r#"admin_listen = "127.0.0.1:1""#, "127.0.0.1:1"), ["admin_listen"]);
        for setting in ["otlp_endpoint", "otlp_traces_endpoint"] {
            for url in
                ["", "localhost:4318", "grpc://h", "http://", "http://u:p@h", "http://h?q", "http://h#f"]
            {
                let toml = format!("{setting} = \"{url}\"");
                assert_eq!(broken(&toml, "127.0.0.1:1"), [setting], "{url}");
            }
        }
        assert_eq!(broken(r#"otlp_service_name = """#, "127.0.0.1:1"), ["otlp_service_name"]);
        for ratio in ["-0.1", "1.5", "nan"] {
            let toml = format!("otlp_trace_ratio = {ratio}");
            assert_eq!(broken(&toml, "127.0.0.1:1"), ["otlp_trace_ratio"], "{ratio}");
        }
        assert!(Settings::from_toml("lisen = 1").is_err());
    }
}
