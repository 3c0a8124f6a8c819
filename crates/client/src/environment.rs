//! [`Environment`]: what a process finds around it, as an argument.

use std::{
    fmt,
    path::{Path, PathBuf},
};

/// Environment variables that hold an encoded key, in the order in which they are asked.
pub(crate) const KEY_VARIABLES: [&str; 3] = ["GATEKEY_API_KEY", "FLYTE_API_KEY", "UNION_API_KEY"];
/// The environment variable that holds the endpoint.
pub(crate) const ENDPOINT_VARIABLE: &str = "GATEKEY_ENDPOINT";
/// The environment variable that names a file of CA certificates.
pub(crate) const CA_VARIABLE: &str = "GATEKEY_CA_FILE";
/// The one that every program knows. It often names the system's certificates, so a file of Flyte's goes before it.
pub(crate) const COMMON_CA_VARIABLE: &str = "SSL_CERT_FILE";
/// Environment variables that name one of Flyte's files, in the order in which they are asked.
pub(crate) const CONFIG_VARIABLES: [&str; 2] = ["UCTL_CONFIG", "FLYTECTL_CONFIG"];

/// Every environment variable that settings come from, and what it means.
///
/// `clientSecretEnvVar` in one of Flyte's files names one more.
///
/// ```
/// let names: Vec<_> = gatekey_client::VARIABLES.iter().map(|(name, _)| *name).collect();
/// assert!(names.contains(&"GATEKEY_API_KEY"));
/// ```
pub const VARIABLES: [(&str, &str); 9] = [
    (ENDPOINT_VARIABLE, "The server's URL; goes before the endpoint in an encoded key"),
    (KEY_VARIABLES[0], "An encoded key; its endpoint may have a port"),
    (KEY_VARIABLES[1], "The same, when that is not set"),
    (KEY_VARIABLES[2], "The same, when neither is set"),
    (CA_VARIABLE, "A file with CA certificates in PEM, trusted besides the system's"),
    (
        COMMON_CA_VARIABLE,
        "The same, when neither that nor `caCertFilePath` in the file of Flyte's that counts names one; and in place \
         of the system's, as OpenSSL has it",
    ),
    ("SSL_CERT_DIR", "A directory with CA certificates, in place of the system's, as OpenSSL has it"),
    (CONFIG_VARIABLES[0], "One of Flyte's configuration files"),
    (CONFIG_VARIABLES[1], "The same, when that is not set"),
];

/// Environment variables, home directory and working directory, from which settings are completed.
///
/// [`ClientBuilder::fill_from_env`](crate::ClientBuilder::fill_from_env) uses the process's own;
/// [`ClientBuilder::fill_from`](crate::ClientBuilder::fill_from) takes any, so that tests and embedders need
/// not change a whole process. A variable that is set and empty counts as unset.
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
}

impl<'a> Environment<'a> {
    /// An environment of these variables and directories; without a home its files are not looked for.
    pub fn new(
        variable: &'a dyn Fn(&str) -> Option<String>,
        home: Option<PathBuf>,
        working_directory: impl Into<PathBuf>,
    ) -> Self {
        Self { variable, home, working_directory: working_directory.into() }
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

    /// A path as Flyte reads it: relative to the working directory.
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
