//! [`Environment`]: environment variables and directories, as an argument.

use std::{
    fmt,
    path::{Path, PathBuf},
};

/// Variables with an encoded key, in order of precedence.
pub(crate) const KEY_VARIABLES: [&str; 3] = ["GATEKEY_API_KEY", "FLYTE_API_KEY", "UNION_API_KEY"];
pub(crate) const ENDPOINT_VARIABLE: &str = "GATEKEY_ENDPOINT";
pub(crate) const CA_VARIABLE: &str = "GATEKEY_CA_FILE";
/// OpenSSL's variable. It often names the system's certificates, so `caCertFilePath` in Flyte's
/// configuration takes precedence.
pub(crate) const COMMON_CA_VARIABLE: &str = "SSL_CERT_FILE";
/// Variables that name a configuration file of Flyte, in order of precedence.
pub(crate) const CONFIG_VARIABLES: [&str; 2] = ["UCTL_CONFIG", "FLYTECTL_CONFIG"];

/// The environment variables that [`ClientBuilder::fill_from`](crate::ClientBuilder::fill_from)
/// reads, and their meanings.
///
/// `clientSecretEnvVar` in Flyte's configuration file may name another one.
///
/// ```
/// let names: Vec<_> = gatekey_client::VARIABLES.iter().map(|(name, _)| *name).collect();
/// assert!(names.contains(&"GATEKEY_API_KEY"));
/// ```
pub const VARIABLES: [(&str, &str); 17] = [
    (ENDPOINT_VARIABLE, "URL of the server. Overrides the endpoint in an encoded key"),
    (KEY_VARIABLES[0], "Encoded API key. Its endpoint may have a port"),
    (KEY_VARIABLES[1], "Encoded API key, used if `GATEKEY_API_KEY` is not set"),
    (
        KEY_VARIABLES[2],
        "Encoded API key, used if neither `GATEKEY_API_KEY` nor `FLYTE_API_KEY` is set",
    ),
    (CA_VARIABLE, "PEM file of CA certificates to trust in addition to the system's"),
    (
        COMMON_CA_VARIABLE,
        "PEM file of CA certificates that replaces the system's, as in OpenSSL. Also used like `GATEKEY_CA_FILE` if \
         neither that variable nor `caCertFilePath` in Flyte's configuration is set",
    ),
    ("SSL_CERT_DIR", "Directory of CA certificates that replaces the system's, as in OpenSSL"),
    (CONFIG_VARIABLES[0], "Configuration file of Flyte"),
    (CONFIG_VARIABLES[1], "Configuration file of Flyte, used if `UCTL_CONFIG` is not set"),
    ("https_proxy", "Proxy for https, such as `http://proxy.example.com:3128`"),
    ("HTTPS_PROXY", "The same, used if `https_proxy` is not set"),
    ("http_proxy", "Proxy for plain HTTP"),
    ("HTTP_PROXY", "The same, used if `http_proxy` is not set"),
    ("all_proxy", "Proxy for both, used if there is none for the scheme"),
    ("ALL_PROXY", "The same, used if `all_proxy` is not set"),
    ("no_proxy", "Hosts and networks that are reached without a proxy; loopback always is"),
    ("NO_PROXY", "The same, used if `no_proxy` is not set"),
];

/// Environment variables, a home directory and a working directory, from which a
/// [`ClientBuilder`](crate::ClientBuilder) reads missing settings.
///
/// [`ClientBuilder::fill_from_env`](crate::ClientBuilder::fill_from_env) reads those of the
/// process. [`ClientBuilder::fill_from`](crate::ClientBuilder::fill_from) takes any `Environment`,
/// so that tests and embedders need not change those of the process. An empty variable counts as
/// unset.
///
/// ```
/// use gatekey_client::{Client, Environment};
///
/// let key = "Zmx5dGUuZXhhbXBsZS5jb206Y2k6c2VjcmV0Ok5vbmU=";
/// let variables = |name: &str| (name == "FLYTE_API_KEY").then(|| key.to_owned());
/// let environment = Environment::new(&variables, None, "/nowhere");
/// let client = Client::builder().fill_from(&environment)?.build()?;
/// assert_eq!(client.endpoint(), "flyte.example.com");
/// assert_eq!(client.client_id(), "ci");
/// # Ok::<(), gatekey_client::Error>(())
/// ```
pub struct Environment<'a> {
    variable: &'a dyn Fn(&str) -> Option<String>,
    home: Option<PathBuf>,
    working_directory: PathBuf,
    user: u32,
}

impl<'a> Environment<'a> {
    /// Creates an environment. Without a home directory, the files there are not searched.
    pub fn new(
        variable: &'a dyn Fn(&str) -> Option<String>,
        home: Option<PathBuf>,
        working_directory: impl Into<PathBuf>,
    ) -> Self {
        let user = rustix::process::geteuid().as_raw();
        Self { variable, home, working_directory: working_directory.into(), user }
    }

    /// Replaces the user whose files are trusted, which is that of the process.
    #[cfg(test)]
    pub(crate) fn with_user(self, user: u32) -> Self {
        Self { user, ..self }
    }

    pub(crate) fn user(&self) -> u32 {
        self.user
    }

    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        (self.variable)(name).filter(|value| !value.trim().is_empty())
    }

    pub(crate) fn home(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    pub(crate) fn working_directory(&self) -> &Path {
        &self.working_directory
    }

    /// Resolves a path relative to the working directory, as Flyte does.
    pub(crate) fn resolve(&self, path: &str) -> PathBuf {
        self.working_directory.join(path)
    }
}

impl fmt::Debug for Environment<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Environment")
            .field("home", &self.home)
            .field("working_directory", &self.working_directory)
            .finish_non_exhaustive()
    }
}
