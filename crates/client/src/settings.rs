//! [`Settings`]: the server and credentials of a client, from the builder, the environment and
//! Flyte's configuration files.

use std::path::PathBuf;

use gatekey_credentials::EncodedCredentials;
use gatekey_outbound::Proxies;

use crate::{
    Environment, Error,
    credentials::Credentials,
    endpoint::{self, Endpoint},
    environment::{CA_VARIABLE, COMMON_CA_VARIABLE, ENDPOINT_VARIABLE, KEY_VARIABLES},
    error::one_line,
    flyte_config::{self, FlyteConfig, Trust},
};

/// A value and its source, as text for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sourced<T> {
    pub(crate) value: T,
    pub(crate) source: String,
}

impl<T> Sourced<T> {
    pub(crate) fn new(value: T, source: impl Into<String>) -> Self {
        Self { value, source: source.into() }
    }
}

/// CA certificates to trust in addition to the system's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Authorities {
    File(PathBuf),
    Pem(Vec<u8>),
}

/// The settings that may come from several sources. A set value is never overwritten.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    pub(crate) endpoint: Option<Sourced<String>>,
    pub(crate) credentials: Option<Sourced<Credentials>>,
    pub(crate) organization: Option<String>,
    pub(crate) authorities: Vec<Sourced<Authorities>>,
    pub(crate) scopes: Option<Vec<String>>,
    /// The audience to request instead of the advertised one.
    pub(crate) audience: Option<String>,
    pub(crate) proxies: Proxies,
    has_own_proxy: bool,
    /// What a person should know about the sources, one sentence each.
    pub(crate) notices: Vec<String>,
    /// The sources that had no value, for the error about a missing setting.
    pub(crate) tried: Vec<String>,
}

impl Settings {
    /// Fills unset settings from an encoded key.
    pub(crate) fn fill_from_encoded(&mut self, encoded: &str, source: &str) -> Result<(), Error> {
        let key = EncodedCredentials::decode(encoded).map_err(|error| {
            Error::configuration(format!("{source} is invalid: {error}")).caused_by(error)
        })?;
        if self.endpoint.is_none() {
            self.endpoint = Some(Sourced::new(key.written_endpoint(), source));
        }
        if self.credentials.is_none() {
            let credentials = Credentials::new(key.client_id(), key.client_secret().clone());
            self.credentials = Some(Sourced::new(credentials, source));
            // The organization belongs to the key, so other credentials must not use it.
            if self.organization.is_none() && !key.organization().is_empty() {
                self.organization = Some(key.organization().to_owned());
            }
        }
        Ok(())
    }

    /// Fills unset settings from environment variables, then from Flyte's configuration file.
    ///
    /// # Errors
    /// If the secret of a variable or file would be sent to another host than the one it belongs
    /// to. `GATEKEY_ENDPOINT` allows it: the variable stands beside the secret.
    pub(crate) fn fill_from(&mut self, environment: &Environment<'_>) -> Result<(), Error> {
        let given = self.endpoint.as_ref().map(|endpoint| endpoint.value.clone());
        let needs_credentials = self.credentials.is_none();
        if self.endpoint.is_none()
            && let Some(endpoint) = environment.variable(ENDPOINT_VARIABLE)
        {
            self.endpoint = Some(Sourced::new(endpoint, ENDPOINT_VARIABLE));
        }
        if self.endpoint.is_none() || self.credentials.is_none() {
            match KEY_VARIABLES.iter().find_map(|name| Some((name, environment.variable(name)?))) {
                Some((name, encoded)) => {
                    self.fill_from_encoded(&encoded, name)?;
                    if let (Some(given), true) = (&given, needs_credentials) {
                        // It was decoded above.
                        let key = EncodedCredentials::decode(&encoded).ok();
                        let own = key.as_ref().map_or("", EncodedCredentials::endpoint);
                        belongs_to(own, name, given, environment)?;
                    }
                }
                None => self.tried.push(KEY_VARIABLES.join(", ")),
            }
        }
        let authority =
            |variable: &str| Some((environment.variable(variable)?, variable.to_owned()));
        self.trust(environment, authority(CA_VARIABLE));
        if self.endpoint.is_none() || self.credentials.is_none() {
            let found = flyte_config::find(environment, &mut self.tried)?;
            if let Some(found) = found {
                self.fill_from_flyte(&found, given.as_deref(), environment)?;
            }
        }
        self.trust(environment, authority(COMMON_CA_VARIABLE));
        if !self.has_own_proxy {
            self.proxies = Proxies::from_variables(&|name| environment.variable(name));
        }
        Ok(())
    }

    /// Uses one proxy for everything, instead of those of the environment.
    pub(crate) fn set_proxy(&mut self, url: &str, source: &str) {
        self.proxies = Proxies::of(url, source);
        self.has_own_proxy = true;
    }

    /// Trusts a file of CA certificates, given with its source, unless other certificates are set.
    fn trust(&mut self, environment: &Environment<'_>, named: Option<(String, String)>) {
        if self.authorities.is_empty()
            && let Some((path, source)) = named
        {
            self.authorities
                .push(Sourced::new(Authorities::File(environment.resolve(&path)), source));
        }
    }

    fn fill_from_flyte(
        &mut self,
        found: &FlyteConfig,
        given: Option<&str>,
        environment: &Environment<'_>,
    ) -> Result<(), Error> {
        let admin = &found.admin;
        let source = found.path.display().to_string();
        if admin.insecure_skip_verify && self.authorities.is_empty() {
            return Err(Error::configuration(format!(
                "`insecureSkipVerify` in {source} is not supported: it would send the secret to anyone who answers; \
                 set GATEKEY_CA_FILE to the CA certificate of the server, or replace it by `caCertFilePath`"
            )));
        }
        let had_credentials = self.credentials.is_some();
        if self.endpoint.is_none()
            && let Some(endpoint) = &admin.endpoint
        {
            if found.trust == Trust::Found && had_credentials {
                return Err(Error::configuration(format!(
                    "{source} was found by searching, so the given client secret is not sent to its endpoint; name the \
                     endpoint as well, or set GATEKEY_ENDPOINT"
                )));
            }
            let endpoint =
                if admin.insecure { endpoint::as_plaintext(endpoint) } else { endpoint.clone() };
            self.endpoint = Some(Sourced::new(endpoint, &source));
        }
        let proxy = admin.http_proxy_url.as_ref().filter(|_| !self.has_own_proxy);
        if let Some(proxy) = proxy {
            self.set_proxy(proxy, &format!("`httpProxyURL` in {source}"));
        }
        if !had_credentials {
            match found.credentials(environment)? {
                Some(credentials) => {
                    if let (Some(given), Some(own)) = (given, &admin.endpoint) {
                        belongs_to(own, &source, given, environment)?;
                    }
                    self.credentials = Some(Sourced::new(credentials, &source));
                    if self.scopes.is_none() {
                        self.scopes.clone_from(&admin.scopes);
                    }
                    self.audience.clone_from(&admin.audience);
                }
                None => self.tried.push(format!("{source} (no client secret: another authType)")),
            }
        }
        if found.trust == Trust::Found {
            let endpoint = self.endpoint.as_ref().map_or("no endpoint", |found| &found.value);
            let mut notice =
                format!("uses {source}, found by searching, for {}", one_line(endpoint));
            // Together, they can lead to another server than the one that is named.
            if proxy.is_some() {
                notice.push_str(", through the proxy that it names");
            }
            if let Some(path) = &admin.ca_cert_file_path
                && self.authorities.is_empty()
            {
                notice.push_str(", trusting the CA certificates in ");
                notice.push_str(&one_line(path));
            }
            self.notices.push(notice);
        }
        let ignored = admin.ignored();
        if !ignored.is_empty() {
            let names: Vec<_> = ignored.iter().map(|name| format!("`admin.{name}`")).collect();
            self.notices.push(format!("ignores {} in {source}", names.join(", ")));
        }
        self.trust(environment, admin.ca_cert_file_path.clone().map(|path| (path, source)));
        Ok(())
    }

    /// The error about a missing setting.
    pub(crate) fn missing(&self, what: &str) -> Error {
        let tried = if self.tried.is_empty() {
            String::new()
        } else {
            format!(" (looked in {})", self.tried.join("; "))
        };
        Error::configuration(format!(
            "no {what} configured{tried}; set GATEKEY_API_KEY to an encoded API key, or pass endpoint, \
             client id and secret"
        ))
    }
}

/// Checks that a secret from `source`, which belongs to the endpoint `own`, may be sent to the
/// given endpoint.
fn belongs_to(
    own: &str,
    source: &str,
    given: &str,
    environment: &Environment<'_>,
) -> Result<(), Error> {
    // An invalid endpoint has no host to compare.
    Endpoint::parse(given, true)?;
    let also = environment.variable(ENDPOINT_VARIABLE);
    let mut allowed = [Some(own), also.as_deref()].into_iter().flatten();
    if allowed.any(|allowed| endpoint::same_host(allowed, given)) {
        return Ok(());
    }
    let (own, given) = (one_line(endpoint::host_of(own)), one_line(endpoint::host_of(given)));
    Err(Error::configuration(format!(
        "the secret in {source} is for {own}, so it is not sent to {given}; if it belongs there as well, set \
         {ENDPOINT_VARIABLE} to that server"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::VARIABLES;
    use gatekey_credentials::PlainSecret;
    use std::{
        cell::RefCell,
        collections::{BTreeMap, BTreeSet},
        fs,
        path::Path,
    };

    /// `first.example:8443`, client id `first`, secret `one`, no organization.
    const FIRST: &str = "Zmlyc3QuZXhhbXBsZTo4NDQzOmZpcnN0Om9uZTpOb25l";
    /// `second.example`, client id `second`, secret `two`, organization `acme`.
    const SECOND: &str = "c2Vjb25kLmV4YW1wbGU6c2Vjb25kOnR3bzphY21l";

    /// A home and a working directory inside a git repository, and variables.
    struct World {
        root: tempfile::TempDir,
        variables: BTreeMap<&'static str, String>,
        /// The calling user, if it is not the real one.
        user: Option<u32>,
    }

    impl World {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            for directory in ["home", "repository/.git", "repository/work"] {
                fs::create_dir_all(root.path().join(directory)).unwrap();
            }
            Self { root, variables: BTreeMap::new(), user: None }
        }

        fn with(mut self, name: &'static str, value: &str) -> Self {
            self.variables.insert(name, value.to_owned());
            self
        }

        fn path(&self, path: &str) -> PathBuf {
            self.root.path().join(path)
        }

        fn write(&self, path: &str, text: &str) {
            fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
            fs::write(self.path(path), text).unwrap();
        }

        /// Writes a configuration file of Flyte for the endpoint `NAME.example`, with the secret in
        /// a variable.
        fn write_flyte(&self, path: &str, name: &str) {
            let text = format!(
                "admin:\n  endpoint: dns:///{name}.example\n  authType: ClientSecret\n  clientId: {name}\n  \
                 clientSecretEnvVar: FLYTE_SECRET\n"
            );
            self.write(path, &text);
        }

        fn fill(&self, mut settings: Settings) -> Result<Settings, Error> {
            let variable = |name: &str| self.variables.get(name).cloned();
            let (home, here) = (self.path("home"), self.path("repository/work"));
            let environment = Environment::new(&variable, Some(home), here);
            let user = environment.user();
            settings.fill_from(&environment.with_user(self.user.unwrap_or(user)))?;
            Ok(settings)
        }

        /// Writes a file that was found by searching; `secret` is its member for the secret.
        fn found(secret: &str) -> Self {
            let world = Self::new();
            let text = format!("admin: {{endpoint: attacker.example, clientId: ci, {secret}}}");
            world.write("repository/.flyte/config.yaml", &text);
            world
        }

        fn settings(&self) -> Settings {
            self.fill(Settings::default()).unwrap()
        }

        fn error(&self) -> String {
            let error = self.fill(Settings::default()).unwrap_err();
            assert!(error.is_configuration());
            error.to_string()
        }
    }

    fn endpoint(settings: &Settings) -> &str {
        &settings.endpoint.as_ref().unwrap().value
    }

    fn client_id(settings: &Settings) -> &str {
        &settings.credentials.as_ref().unwrap().value.client_id
    }

    fn secret(settings: &Settings) -> &str {
        settings.credentials.as_ref().unwrap().value.client_secret.expose()
    }

    #[test]
    fn the_first_key_variable_takes_precedence() {
        let world = World::new().with("UNION_API_KEY", SECOND);
        assert_eq!(client_id(&world.settings()), "second");
        let world = world.with("FLYTE_API_KEY", FIRST);
        assert_eq!(client_id(&world.settings()), "first");
        let world = world.with("GATEKEY_API_KEY", SECOND);
        let settings = world.settings();
        assert_eq!(
            (endpoint(&settings), client_id(&settings), secret(&settings)),
            ("second.example", "second", "two")
        );
        assert_eq!(settings.organization.as_deref(), Some("acme"));
        assert_eq!(settings.credentials.unwrap().source, "GATEKEY_API_KEY");
        let world = world.with("GATEKEY_API_KEY", " ");
        assert_eq!(
            endpoint(&world.settings()),
            "first.example:8443",
            "an empty variable counts as unset"
        );
    }

    #[test]
    fn a_malformed_key_error_names_only_the_variable() {
        let message = World::new().with("FLYTE_API_KEY", "n0tBase64!").error();
        assert!(message.contains("FLYTE_API_KEY") && !message.contains("n0t"), "{message}");
    }

    #[test]
    fn the_endpoint_variable_overrides_the_keys_endpoint() {
        let world = World::new().with("GATEKEY_API_KEY", FIRST).with("GATEKEY_ENDPOINT", "other:1");
        let settings = world.settings();
        assert_eq!((endpoint(&settings), client_id(&settings)), ("other:1", "first"));
        assert_eq!(settings.endpoint.unwrap().source, "GATEKEY_ENDPOINT");
    }

    #[test]
    fn a_set_value_is_kept() {
        let world = World::new().with("GATEKEY_API_KEY", SECOND).with("GATEKEY_CA_FILE", "/ca.pem");
        let own = Sourced::new(
            Credentials { client_id: "own".into(), client_secret: PlainSecret::new("s") },
            "the builder",
        );
        let given = Settings {
            endpoint: Some(Sourced::new("second.example:1".into(), "the builder")),
            authorities: vec![Sourced::new(Authorities::Pem(b"pem".to_vec()), "the builder")],
            ..Settings::default()
        };
        let settings = world.fill(given.clone()).unwrap();
        assert_eq!((endpoint(&settings), client_id(&settings)), ("second.example:1", "second"));
        assert_eq!(settings.authorities, given.authorities);

        let settings = world.fill(Settings { credentials: Some(own), ..given }).unwrap();
        assert_eq!((client_id(&settings), &settings.organization), ("own", &None));
    }

    #[test]
    fn gatekey_ca_file_overrides_ssl_cert_file() {
        let file = |world: &World| match &world.settings().authorities[0].value {
            Authorities::File(path) => path.clone(),
            Authorities::Pem(_) => panic!("expected a file"),
        };
        let world =
            World::new().with("GATEKEY_API_KEY", FIRST).with("SSL_CERT_FILE", "/bundle.pem");
        assert_eq!(file(&world), Path::new("/bundle.pem"));
        let world = world.with("GATEKEY_CA_FILE", "ca.pem");
        assert_eq!(file(&world), world.path("repository/work/ca.pem"));
    }

    #[test]
    fn flytes_certificates_take_precedence_over_ssl_cert_file() {
        let world = World::new().with("SSL_CERT_FILE", "/bundle.pem").with("FLYTE_SECRET", "s");
        let admin = "{endpoint: h, clientId: ci, clientSecretEnvVar: FLYTE_SECRET, caCertFilePath: /flyte.pem}";
        world.write("repository/work/config.yaml", &format!("admin: {admin}"));
        let file = |world: &World| world.settings().authorities[0].value.clone();
        assert_eq!(file(&world), Authorities::File("/flyte.pem".into()));
        let world = world.with("GATEKEY_CA_FILE", "/ours.pem");
        assert_eq!(file(&world), Authorities::File("/ours.pem".into()));
    }

    #[test]
    fn flytes_files_are_searched_in_the_documented_order() {
        let world = World::new().with("FLYTE_SECRET", "s");
        // In reverse order: each new file takes precedence over the earlier ones.
        for (path, name) in [
            ("home/.flyte/config.yaml", "home-flyte"),
            ("home/.union/config.yaml", "home-union"),
            ("flytectl.yaml", "flytectl"),
            ("uctl.yaml", "uctl"),
            ("repository/.flyte/config.yaml", "root"),
            ("repository/work/.flyte/config.yaml", "dot-flyte"),
            ("repository/work/config.yaml", "here"),
        ] {
            world.write_flyte(path, name);
            let variables = [("FLYTECTL_CONFIG", "flytectl.yaml"), ("UCTL_CONFIG", "uctl.yaml")];
            let existing = variables.into_iter().filter(|(_, file)| world.path(file).exists());
            let root = tempfile::tempdir().unwrap();
            let mut with = World { root, variables: world.variables.clone(), user: None };
            with.variables.extend(
                existing.map(|(name, file)| (name, world.path(file).display().to_string())),
            );
            let variable = |name: &str| with.variables.get(name).cloned();
            let environment = Environment::new(
                &variable,
                Some(world.path("home")),
                world.path("repository/work"),
            );
            let mut settings = Settings::default();
            settings.fill_from(&environment).unwrap();
            assert_eq!(client_id(&settings), name);
            assert_eq!(endpoint(&settings), format!("dns:///{name}.example"));
            assert_eq!(
                settings.credentials.unwrap().source,
                world.path(path).display().to_string()
            );
        }
    }

    #[test]
    fn a_given_key_prevents_reading_files() {
        let world = World::new().with("FLYTE_API_KEY", FIRST);
        world.write("repository/work/.flyte/config.yaml", "admin: [not what Flyte writes");
        assert_eq!(client_id(&world.settings()), "first");
    }

    #[test]
    fn every_relevant_field_of_flytes_file_is_read() {
        let world = World::new();
        world.write("repository/work/secret.txt", "s3cret\n");
        world.write(
            "repository/work/config.yaml",
            "admin:\n  # comment\n  endpoint: dns:///h:8443\n  insecure: false\n  authType: ClientSecret\n  \
             clientId: ci\n  clientSecretLocation: secret.txt\n  scopes: [a, b]\n  \
             caCertFilePath: pki/ca.pem\nlogger:\n  show-source: true\n",
        );
        let settings = world.settings();
        assert_eq!(
            (endpoint(&settings), client_id(&settings), secret(&settings)),
            ("dns:///h:8443", "ci", "s3cret")
        );
        assert_eq!(settings.scopes, Some(vec!["a".into(), "b".into()]));
        let authority = Authorities::File(world.path("repository/work/pki/ca.pem"));
        assert_eq!(settings.authorities[0].value, authority);

        let text = fs::read_to_string(world.path("repository/work/config.yaml")).unwrap();
        world.write("repository/work/config.yaml", &text.replace("[a, b]", "a, b c"));
        assert_eq!(world.settings().scopes, Some(vec!["a".into(), "b".into(), "c".into()]));
    }

    #[test]
    fn the_secret_variable_overrides_the_secret_file() {
        let world = World::new().with("FLYTE_SECRET", "from-the-variable");
        world.write("repository/work/secret.txt", "from-the-file");
        world.write(
            "repository/work/config.yaml",
            "admin: {endpoint: h, clientId: ci, clientSecretLocation: secret.txt, \
             clientSecretEnvVar: FLYTE_SECRET}",
        );
        assert_eq!(secret(&world.settings()), "from-the-variable");
        let world = World { variables: BTreeMap::new(), ..world };
        assert_eq!(secret(&world.settings()), "from-the-file");
    }

    #[test]
    fn an_incomplete_file_is_an_error() {
        for (admin, why) in [
            ("{endpoint: h, clientId: ci, clientSecretLocation: absent.txt}", "absent.txt"),
            ("{endpoint: h, clientId: ci, clientSecretEnvVar: FLYTE_ABSENT}", "FLYTE_ABSENT"),
            ("{endpoint: h, clientId: ci, authType: ClientSecret}", "neither"),
            ("{endpoint: h, clientSecretLocation: secret.txt}", "no `clientId`"),
            ("{endpoint: h, clientId: ci, clientSecretLocation: empty.txt}", "empty"),
        ] {
            let world = World::new();
            world.write("repository/work/secret.txt", "s");
            world.write("repository/work/empty.txt", "\n");
            world.write("repository/work/config.yaml", &format!("admin: {admin}"));
            let message = world.error();
            assert!(message.contains(why) && message.contains("config.yaml"), "{message}");
        }
    }

    #[test]
    fn a_file_named_by_a_variable_must_exist() {
        let message = World::new().with("UCTL_CONFIG", "absent.yaml").error();
        assert!(message.contains("absent.yaml (from UCTL_CONFIG)"), "{message}");
    }

    /// Any program may have a `config.yaml`, so a foreign one is not an error.
    #[test]
    fn only_a_foreign_file_may_be_unreadable() {
        let world = World::new().with("FLYTE_SECRET", "s");
        world.write_flyte("home/.flyte/config.yaml", "home");
        for foreign in ["a: [", "- list", "", "other: 1", "admin: 3"] {
            world.write("repository/work/config.yaml", foreign);
            assert_eq!(client_id(&world.settings()), "home", "{foreign:?}");
        }
        world.write("repository/work/.flyte/config.yaml", "admin: [");
        let message = world.error();
        assert!(message.contains("cannot parse") && !message.contains('\n'), "{message}");
    }

    #[test]
    fn the_error_lists_every_place_that_was_searched() {
        let world = World::new();
        world.write("home/.flyte/config.yaml", "admin: {endpoint: h, authType: Pkce}");
        let settings = world.settings();
        let message = settings.missing("credentials").to_string();
        for name in [
            "GATEKEY_API_KEY",
            "FLYTE_API_KEY",
            "UNION_API_KEY",
            "work/config.yaml",
            ".union",
            "another",
        ] {
            assert!(message.contains(name), "{message}");
        }
    }

    fn refused(world: &World) -> String {
        let message = world.error();
        assert!(message.contains("found by searching"), "{message}");
        assert!(message.contains("FLYTECTL_CONFIG"), "{message}");
        message
    }

    #[test]
    fn a_found_file_names_only_flytes_variables() {
        for name in ["AWS_SECRET_ACCESS_KEY", "FLYTE", "flyte_x", "MY_FLYTE_SECRET", ""] {
            let mut world = World::found(&format!("clientSecretEnvVar: {name:?}"));
            world.variables.insert("AWS_SECRET_ACCESS_KEY", "s3cret".into());
            assert!(!refused(&world).contains("s3cret"));
        }
        for name in ["FLYTE_SECRET", "UNION_SECRET", "GATEKEY_SECRET"] {
            let world =
                World::found(&format!("clientSecretEnvVar: {name}")).with(name, " s3cret\n");
            assert_eq!(secret(&world.settings()), "s3cret");
        }
    }

    #[test]
    fn a_found_file_names_only_secrets_beside_it() {
        let elsewhere = ["id_ed25519", "../id_ed25519", "../.flyte/keys/secret", "/etc/hostname"];
        for location in elsewhere {
            let world = World::found(&format!("clientSecretLocation: {location}"));
            world.write("repository/work/id_ed25519", "s3cret");
            world.write("repository/id_ed25519", "s3cret");
            world.write("repository/.flyte/keys/secret", "s3cret");
            let message = refused(&world);
            assert!(message.contains("beside it"), "{message}");
        }
        for (location, file) in [
            ("../.flyte/secret", "repository/.flyte/secret"),
            ("../../home/.flyte/a/b", "home/.flyte/a/b"),
            ("../../home/.union/secret", "home/.union/secret"),
        ] {
            let world = World::found(&format!("clientSecretLocation: {location}"));
            world.write(file, "s3cret\n");
            assert_eq!(secret(&world.settings()), "s3cret");
        }
    }

    /// A repository may contain links.
    #[test]
    fn a_found_file_names_no_secret_through_links() {
        use std::os::unix::fs::symlink;
        let world = World::found("clientSecretLocation: ../.flyte/secret");
        world.write("home/.ssh/id", "s3cret");
        symlink(world.path("home/.ssh/id"), world.path("repository/.flyte/secret")).unwrap();
        assert!(!refused(&world).contains("s3cret"));

        let world = World::found("clientSecretLocation: ../link/id");
        world.write("home/.ssh/id", "s3cret");
        symlink(world.path("home/.ssh"), world.path("repository/link")).unwrap();
        refused(&world);
    }

    #[test]
    fn a_found_files_secret_must_look_like_one() {
        let key = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaA\n-----END";
        let token = "eyJhbGciOiJFUzI1NiJ9.e30.c2ln";
        for text in [key, token, FIRST, "two words", "a\nb", "\u{e9}t\u{e9}", &"x".repeat(513)] {
            let world = World::found("clientSecretEnvVar: FLYTE_X").with("FLYTE_X", text);
            assert!(!refused(&world).contains(text), "{text}");
            let world = World::found("clientSecretLocation: ../.flyte/secret");
            world.write("repository/.flyte/secret", text);
            assert!(!refused(&world).contains(text), "{text}");
        }
    }

    #[test]
    fn a_found_file_must_belong_to_the_user() {
        use std::os::unix::fs::PermissionsExt as _;
        let world = World::found("clientSecretEnvVar: FLYTE_X").with("FLYTE_X", "s3cret");
        let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(world.root.path()).unwrap());
        let mut other = World { user: Some(owner + 1), ..world };
        if owner == 0 {
            // The owner is root, whose files are trusted.
            assert_eq!(secret(&other.settings()), "s3cret");
        } else {
            assert!(refused(&other).contains("belongs to"));
        }
        other.user = None;
        let file = other.path("repository/.flyte/config.yaml");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o646)).unwrap();
        assert!(refused(&other).contains("every user"));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o664)).unwrap();
        assert_eq!(secret(&other.settings()), "s3cret");
    }

    #[test]
    fn a_given_secret_needs_a_named_endpoint() {
        let given = || {
            let own = Credentials::new("own", PlainSecret::new("s3cret"));
            Settings { credentials: Some(Sourced::new(own, "the builder")), ..Settings::default() }
        };
        let world = World::found("clientSecretEnvVar: FLYTE_X").with("FLYTE_X", "s");
        let message = world.fill(given()).unwrap_err().to_string();
        assert!(message.contains("found by searching"), "{message}");
        let settings = world.with("GATEKEY_ENDPOINT", "h:1").fill(given()).unwrap();
        assert_eq!(endpoint(&settings), "h:1");
    }

    #[test]
    fn files_of_flyte_in_home_count_as_named() {
        for directory in [".flyte", ".union"] {
            let world = World::new().with("MY_SECRET", "s3cret");
            let text = "admin: {endpoint: h, clientId: ci, clientSecretEnvVar: MY_SECRET}";
            world.write(&format!("home/{directory}/config.yaml"), text);
            let settings = world.settings();
            assert_eq!(secret(&settings), "s3cret");
            assert!(settings.notices.is_empty());
        }
    }

    #[test]
    fn a_found_file_is_reported_with_its_endpoint() {
        let world = World::found("clientSecretEnvVar: FLYTE_X").with("FLYTE_X", "s3cret");
        let notices = world.settings().notices;
        assert!(notices[0].contains(".flyte/config.yaml"), "{notices:?}");
        assert!(notices[0].contains("attacker.example"), "{notices:?}");
        let world = world.with("FLYTECTL_CONFIG", "named.yaml");
        fs::remove_file(world.path("repository/.flyte/config.yaml")).unwrap();
        world.write(
            "repository/work/named.yaml",
            "admin: {endpoint: h, tokenUrl: u, proxyCommand: [x]}",
        );
        let notices = world.settings().notices;
        assert_eq!(notices.len(), 1);
        assert!(notices[0].contains("`admin.tokenUrl`, `admin.proxyCommand`"), "{notices:?}");
    }

    #[test]
    fn a_notice_names_only_what_applies() {
        let world = World::found(
            "clientSecretEnvVar: FLYTE_X, caCertFilePath: theirs.pem, httpProxyURL: 'http://theirs:1'",
        )
        .with("FLYTE_X", "s3cret");
        let notice = |settings: Settings| {
            let settings = world.fill(settings).unwrap();
            (settings.notices[0].contains("theirs.pem"), settings.notices[0].contains("proxy"))
        };
        assert_eq!(notice(Settings::default()), (true, true));
        let own = Sourced::new(Authorities::Pem(Vec::new()), "the builder");
        assert_eq!(
            notice(Settings { authorities: vec![own], ..Settings::default() }),
            (false, true)
        );
        let mut proxied = Settings::default();
        proxied.set_proxy("http://mine:1", "the builder");
        assert_eq!(notice(proxied), (true, false));
    }

    #[test]
    fn a_secret_is_sent_only_to_its_host() {
        let to = |endpoint: &str| Settings {
            endpoint: Some(Sourced::new(endpoint.into(), "the builder")),
            ..Settings::default()
        };
        let world = World::new().with("FLYTE_API_KEY", FIRST);
        let message = world.fill(to("https://other.example")).unwrap_err().to_string();
        for part in ["FLYTE_API_KEY", "first.example", "other.example", "GATEKEY_ENDPOINT"] {
            assert!(message.contains(part), "{message}");
        }
        let message = world.fill(to("https://me:word@first.example")).unwrap_err().to_string();
        assert!(message.contains("invalid endpoint"), "{message}");
        assert!(world.fill(to("FIRST.example:1")).is_ok());
        let world = world.with("GATEKEY_ENDPOINT", "other.example:8443");
        assert!(world.fill(to("https://other.example")).is_ok());

        let world = World::found("clientSecretEnvVar: FLYTE_X").with("FLYTE_X", "s3cret");
        assert!(world.fill(to("https://other.example")).is_err());
        assert!(world.fill(to("https://attacker.example:8443")).is_ok());
    }

    #[test]
    fn insecure_in_flytes_file_means_plain_http() {
        for (admin, expected) in [
            ("endpoint: dns:///127.0.0.1:1, insecure: true", "http://127.0.0.1:1"),
            ("endpoint: '127.0.0.1:1', insecure: 'Yes'", "http://127.0.0.1:1"),
            ("endpoint: https://127.0.0.1:1, insecure: true", "https://127.0.0.1:1"),
            ("endpoint: dns:///127.0.0.1:1, insecure: off", "dns:///127.0.0.1:1"),
        ] {
            let world = World::new();
            world.write("home/.flyte/config.yaml", &format!("admin: {{{admin}}}"));
            assert_eq!(endpoint(&world.settings()), expected);
        }
        let world = World::new();
        world.write("home/.flyte/config.yaml", "admin: {endpoint: h, insecure: maybe}");
        assert!(world.error().contains("true or false"));
    }

    #[test]
    fn insecure_skip_verify_is_refused_by_name() {
        let world = World::new();
        world.write("home/.flyte/config.yaml", "admin: {endpoint: h, insecureSkipVerify: true}");
        let message = world.error();
        assert!(message.contains("insecureSkipVerify"), "{message}");
        assert!(message.contains("GATEKEY_CA_FILE") && message.contains("caCertFilePath"));
        assert!(world.with("GATEKEY_CA_FILE", "ca.pem").fill(Settings::default()).is_ok());
    }

    #[test]
    fn flytes_proxy_overrides_those_of_the_environment() {
        let proxy = |settings: &Settings| {
            let found = settings.proxies.find(&http::Uri::from_static("https://h/")).unwrap();
            found.map(|proxy| proxy.authority().to_owned())
        };
        let world = World::new().with("https_proxy", "http://p:1");
        assert_eq!(proxy(&world.settings()).as_deref(), Some("p:1"));
        let file = "admin: {endpoint: h, httpProxyURL: 'http://me:s3cret@q:2'}";
        world.write("home/.flyte/config.yaml", file);
        let settings = world.settings();
        assert_eq!(proxy(&settings).as_deref(), Some("q:2"));
        assert!(!format!("{settings:?}").contains("s3cret"));
    }

    #[test]
    fn secrets_are_trimmed_wherever_they_enter() {
        for written in ["s3cret\n", "s3cret\r\n", " s3cret\t"] {
            let file = "admin: {endpoint: h, clientId: ' ci ', clientSecretEnvVar: S}";
            let world = World::new().with("S", written);
            world.write("home/.flyte/config.yaml", file);
            let settings = world.settings();
            assert_eq!((client_id(&settings), secret(&settings)), ("ci", "s3cret"));
            let given = Credentials::new("ci", PlainSecret::new(written));
            assert_eq!(given.client_secret.expose(), "s3cret");
        }
    }

    #[test]
    fn every_variable_that_is_read_is_documented() {
        let read = RefCell::new(BTreeSet::new());
        let variables = |name: &str| {
            read.borrow_mut().insert(name.to_owned());
            None
        };
        let nowhere = tempfile::tempdir().unwrap();
        let environment = Environment::new(&variables, Some(nowhere.path().into()), nowhere.path());
        Settings::default().fill_from(&environment).unwrap();
        let documented: BTreeSet<_> =
            VARIABLES.iter().map(|(name, _)| (*name).to_owned()).collect();
        let mut read = read.into_inner();
        // `rustls-native-certs` reads this one.
        read.insert("SSL_CERT_DIR".to_owned());
        // It tells only that a server started this program, in which case one variable is ignored.
        read.remove("REQUEST_METHOD");
        assert_eq!(read, documented);
    }
}
