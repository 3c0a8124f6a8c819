//! [`Settings`]: the server and credentials of a client, from the builder, the environment and
//! Flyte's configuration files.

use std::path::PathBuf;

use gatekey_credentials::EncodedCredentials;

use crate::{
    Environment, Error,
    credentials::Credentials,
    environment::{CA_VARIABLE, COMMON_CA_VARIABLE, ENDPOINT_VARIABLE, KEY_VARIABLES},
    flyte_config::{self, FlyteConfig},
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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) endpoint: Option<Sourced<String>>,
    pub(crate) credentials: Option<Sourced<Credentials>>,
    pub(crate) organization: Option<String>,
    pub(crate) authorities: Vec<Sourced<Authorities>>,
    pub(crate) scopes: Option<Vec<String>>,
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
            self.endpoint = Some(Sourced::new(key.endpoint().to_owned(), source));
        }
        if self.credentials.is_none() {
            let credentials = Credentials {
                client_id: key.client_id().to_owned(),
                client_secret: key.client_secret().clone(),
            };
            self.credentials = Some(Sourced::new(credentials, source));
            // The organization belongs to the key, so other credentials must not use it.
            if self.organization.is_none() && !key.organization().is_empty() {
                self.organization = Some(key.organization().to_owned());
            }
        }
        Ok(())
    }

    /// Fills unset settings from environment variables, then from Flyte's configuration file.
    pub(crate) fn fill_from(&mut self, environment: &Environment<'_>) -> Result<(), Error> {
        if self.endpoint.is_none()
            && let Some(endpoint) = environment.variable(ENDPOINT_VARIABLE)
        {
            self.endpoint = Some(Sourced::new(endpoint, ENDPOINT_VARIABLE));
        }
        if self.endpoint.is_none() || self.credentials.is_none() {
            match KEY_VARIABLES.iter().find_map(|name| Some((name, environment.variable(name)?))) {
                Some((name, encoded)) => self.fill_from_encoded(&encoded, name)?,
                None => self.tried.push(KEY_VARIABLES.join(", ")),
            }
        }
        let authority =
            |variable: &str| Some((environment.variable(variable)?, variable.to_owned()));
        self.trust(environment, authority(CA_VARIABLE));
        if self.endpoint.is_none() || self.credentials.is_none() {
            let found = flyte_config::find(environment, &mut self.tried)?;
            if let Some(found) = found {
                self.fill_from_flyte(&found, environment)?;
            }
        }
        self.trust(environment, authority(COMMON_CA_VARIABLE));
        Ok(())
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
        environment: &Environment<'_>,
    ) -> Result<(), Error> {
        let source = found.path.display().to_string();
        if self.endpoint.is_none()
            && let Some(endpoint) = &found.admin.endpoint
        {
            self.endpoint = Some(Sourced::new(endpoint.clone(), &source));
        }
        if self.credentials.is_none() {
            match found.credentials(environment)? {
                Some(credentials) => {
                    self.credentials = Some(Sourced::new(credentials, &source));
                    if self.scopes.is_none() {
                        self.scopes.clone_from(&found.admin.scopes);
                    }
                }
                None => self.tried.push(format!("{source} (no client secret: another authType)")),
            }
        }
        self.trust(environment, found.admin.ca_cert_file_path.clone().map(|path| (path, source)));
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
    }

    impl World {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            for directory in ["home", "repository/.git", "repository/work"] {
                fs::create_dir_all(root.path().join(directory)).unwrap();
            }
            Self { root, variables: BTreeMap::new() }
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
                 clientSecretEnvVar: THE_SECRET\n"
            );
            self.write(path, &text);
        }

        fn fill(&self, mut settings: Settings) -> Result<Settings, Error> {
            let variable = |name: &str| self.variables.get(name).cloned();
            let (home, here) = (self.path("home"), self.path("repository/work"));
            settings.fill_from(&Environment::new(&variable, Some(home), here))?;
            Ok(settings)
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
            endpoint: Some(Sourced::new("own:1".into(), "the builder")),
            authorities: vec![Sourced::new(Authorities::Pem(b"pem".to_vec()), "the builder")],
            ..Settings::default()
        };
        let settings = world.fill(given.clone()).unwrap();
        assert_eq!((endpoint(&settings), client_id(&settings)), ("own:1", "second"));
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
        let world = World::new().with("SSL_CERT_FILE", "/bundle.pem").with("THE_SECRET", "s");
        let admin = "{endpoint: h, clientId: ci, clientSecretEnvVar: THE_SECRET, caCertFilePath: /flyte.pem}";
        world.write("repository/work/config.yaml", &format!("admin: {admin}"));
        let file = |world: &World| world.settings().authorities[0].value.clone();
        assert_eq!(file(&world), Authorities::File("/flyte.pem".into()));
        let world = world.with("GATEKEY_CA_FILE", "/ours.pem");
        assert_eq!(file(&world), Authorities::File("/ours.pem".into()));
    }

    #[test]
    fn flytes_files_are_searched_in_the_documented_order() {
        let world = World::new().with("THE_SECRET", "s");
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
            let mut with =
                World { root: tempfile::tempdir().unwrap(), variables: world.variables.clone() };
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
        let world = World::new().with("THE_SECRET", "from the variable");
        world.write("repository/work/secret.txt", "from the file");
        world.write(
            "repository/work/config.yaml",
            "admin: {endpoint: h, clientId: ci, clientSecretLocation: secret.txt, \
             clientSecretEnvVar: THE_SECRET}",
        );
        assert_eq!(secret(&world.settings()), "from the variable");
        let world = World { variables: BTreeMap::new(), ..world };
        assert_eq!(secret(&world.settings()), "from the file");
    }

    #[test]
    fn an_incomplete_file_is_an_error() {
        for (admin, why) in [
            ("{endpoint: h, clientId: ci, clientSecretLocation: absent.txt}", "absent.txt"),
            ("{endpoint: h, clientId: ci, clientSecretEnvVar: ABSENT}", "ABSENT"),
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
        let world = World::new().with("THE_SECRET", "s");
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
        assert_eq!(read, documented);
    }
}
