//! [`Environment`]: what a process finds around it, as an argument.

use std::{
    fmt,
    path::{Path, PathBuf},
};

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
