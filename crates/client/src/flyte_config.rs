//! [`FlyteConfig`]: Flyte's own `config.yaml`.

use std::{
    fs::{self, Metadata},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use gatekey_credentials::{EncodedCredentials, PlainSecret};
use serde::{Deserialize, Deserializer, de::IgnoredAny};
use zeroize::Zeroizing;

use crate::{
    Environment, Error, credentials::Credentials, environment::CONFIG_VARIABLES, error::one_line,
};

/// The largest file to read, in bytes. A real one has a few hundred.
const MAX_SIZE: u64 = 1 << 20;
/// The longest client secret that a file found by searching may name, in bytes.
const MAX_SECRET: usize = 512;
const ROOT: u32 = 0;
const WRITABLE_BY_OTHERS: u32 = 0o002;

pub(crate) struct FlyteConfig {
    pub(crate) path: PathBuf,
    pub(crate) trust: Trust,
    pub(crate) admin: Admin,
}

/// Whether the user chose a configuration file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Named by a variable, or the user's own file in a directory of Flyte's in the home directory.
    Named,
    /// Found by searching: anyone who can write to the directory may have written it. Its requests
    /// are limited; see [`FlyteConfig::credentials`].
    Found,
}

#[derive(Deserialize)]
struct File {
    admin: Option<Admin>,
}

/// Section `admin`: the connection to the control plane.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Admin {
    pub(crate) endpoint: Option<String>,
    #[serde(default, deserialize_with = "switch")]
    pub(crate) insecure: bool,
    #[serde(default, deserialize_with = "switch")]
    pub(crate) insecure_skip_verify: bool,
    pub(crate) auth_type: Option<String>,
    pub(crate) client_id: Option<String>,
    pub(crate) client_secret_location: Option<String>,
    pub(crate) client_secret_env_var: Option<String>,
    #[serde(default, deserialize_with = "scopes")]
    pub(crate) scopes: Option<Vec<String>>,
    pub(crate) audience: Option<String>,
    pub(crate) ca_cert_file_path: Option<String>,
    #[serde(rename = "httpProxyURL")]
    pub(crate) http_proxy_url: Option<String>,
    // Members that Flyte's clients use to connect or log in, and Gatekey does not.
    authorization_header: Option<IgnoredAny>,
    authorization_server_url: Option<IgnoredAny>,
    token_url: Option<IgnoredAny>,
    proxy_command: Option<IgnoredAny>,
    default_service_config: Option<IgnoredAny>,
}

impl Admin {
    /// Returns the names of members that would change how Flyte's clients connect, and that Gatekey
    /// ignores.
    pub(crate) fn ignored(&self) -> Vec<&'static str> {
        let members = [
            ("authorizationHeader", &self.authorization_header),
            ("authorizationServerUrl", &self.authorization_server_url),
            ("tokenUrl", &self.token_url),
            ("proxyCommand", &self.proxy_command),
            ("defaultServiceConfig", &self.default_service_config),
        ];
        members.iter().filter(|(_, value)| value.is_some()).map(|(name, _)| *name).collect()
    }
}

/// Reads a boolean, or a string with one in any notation of YAML 1.1, which Flyte's clients read.
fn switch<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Switch {
        Boolean(bool),
        Number(u8),
        Text(String),
    }
    match Option::<Switch>::deserialize(deserializer)? {
        None | Some(Switch::Number(0)) => Ok(false),
        Some(Switch::Boolean(value)) => Ok(value),
        Some(Switch::Number(1)) => Ok(true),
        Some(Switch::Text(text))
            if ["true", "yes", "on", "y", "t", "1"].contains(&&*text.to_ascii_lowercase()) =>
        {
            Ok(true)
        }
        Some(Switch::Text(text))
            if ["false", "no", "off", "n", "f", "0", ""].contains(&&*text.to_ascii_lowercase()) =>
        {
            Ok(false)
        }
        Some(Switch::Number(_) | Switch::Text(_)) => {
            Err(serde::de::Error::custom("expected true or false"))
        }
    }
}

/// Reads a list, or a string with separating commas or white space, as Flyte does.
fn scopes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Scopes {
        List(Vec<String>),
        Text(String),
    }
    Ok(Option::<Scopes>::deserialize(deserializer)?.map(|scopes| match scopes {
        Scopes::List(list) => list,
        Scopes::Text(text) => {
            let words = text.split(|separator: char| separator == ',' || separator.is_whitespace());
            words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
        }
    }))
}

/// A path that may have a configuration file.
struct Place {
    path: PathBuf,
    /// The variable that names the path. The file must then exist.
    named_by: Option<&'static str>,
    /// `./config.yaml` may belong to any program.
    may_be_foreign: bool,
}

/// Finds the first file with a section `admin`, in the order that Flyte documents. Adds the other
/// places to `tried`.
pub(crate) fn find(
    environment: &Environment<'_>,
    tried: &mut Vec<String>,
) -> Result<Option<FlyteConfig>, Error> {
    for place in places(environment) {
        let shown = match place.named_by {
            Some(variable) => format!("{} (from {variable})", place.path.display()),
            None => place.path.display().to_string(),
        };
        let (text, metadata) = match read(&place.path) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::NotFound && place.named_by.is_none() => {
                tried.push(shown);
                continue;
            }
            Err(error) => {
                return Err(
                    Error::configuration(format!("cannot read {shown}: {error}")).caused_by(error)
                );
            }
        };
        match serde_saphyr::from_str::<Option<File>>(&text) {
            Ok(Some(File { admin: Some(admin) })) => {
                let trust = if place.named_by.is_some() {
                    Trust::Named
                } else {
                    trust(&place.path, &metadata, environment)?
                };
                return Ok(Some(FlyteConfig { path: place.path, trust, admin }));
            }
            Ok(Some(File { admin: None }) | None) => {
                tried.push(format!("{shown} (no section `admin`)"));
            }
            Err(_) if place.may_be_foreign => {
                tried.push(format!("{shown} (not a Flyte configuration)"));
            }
            Err(error) => {
                let text = error.to_string();
                let why = one_line(text.lines().next().unwrap_or_default());
                return Err(Error::configuration(format!("cannot parse {shown}: {why}")));
            }
        }
    }
    Ok(None)
}

/// Reads a regular file, with the metadata of the same file.
fn read(path: &Path) -> io::Result<(String, Metadata)> {
    // A named pipe would never open.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut file = fs::File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.len() > MAX_SIZE {
        return Err(io::Error::other(format!("the file is larger than {MAX_SIZE} bytes")));
    }
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok((text, metadata))
}

/// Decides how far a file found by searching is trusted.
///
/// # Errors
/// If somebody else may have written it (as git's `safe.directory`, CVE-2022-24765).
fn trust(path: &Path, metadata: &Metadata, environment: &Environment<'_>) -> Result<Trust, Error> {
    let (owner, user) = (metadata.uid(), environment.user());
    let is_in_home = || {
        let directory = path.parent().and_then(|directory| directory.canonicalize().ok());
        let homes = environment.home().into_iter().flat_map(|home| {
            [".flyte", ".union", ".uctl"].map(|name| home.join(name).canonicalize().ok())
        });
        directory.is_some() && homes.into_iter().any(|home| home == directory)
    };
    let why = if owner != user && owner != ROOT {
        format!("belongs to the user with id {owner}, not to you")
    } else if metadata.mode() & WRITABLE_BY_OTHERS != 0 {
        "can be written by every user".to_owned()
    } else if owner == user && is_in_home() {
        return Ok(Trust::Named);
    } else {
        return Ok(Trust::Found);
    };
    Err(refused(path, &why))
}

/// The error about a file found by searching that asks for too much.
fn refused(path: &Path, why: &str) -> Error {
    Error::configuration(format!(
        "{} was found by searching and {why}, so it is not used; if you trust it, set FLYTECTL_CONFIG to its path, \
         or set GATEKEY_API_KEY",
        one_line(&path.display().to_string())
    ))
}

/// Whether a file found by searching may name a variable.
fn may_name_variable(name: &str) -> bool {
    ["FLYTE_", "UNION_", "GATEKEY_"].iter().any(|prefix| name.starts_with(prefix))
}

/// Whether a text may be a client secret, as opposed to another file or credential: one word of
/// visible ASCII (RFC 6749 appendix A.2), but no token and no encoded API key.
fn has_shape_of_secret(text: &str) -> bool {
    text.len() <= MAX_SECRET
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && !text.starts_with("eyJ")
        && EncodedCredentials::decode(text).is_err()
}

fn places(environment: &Environment<'_>) -> Vec<Place> {
    let here = environment.working_directory();
    let plain = |path: PathBuf| Place { path, named_by: None, may_be_foreign: false };
    let in_dot_flyte = |directory: &Path| plain(directory.join(".flyte").join("config.yaml"));
    let mut places = vec![
        Place { path: here.join("config.yaml"), named_by: None, may_be_foreign: true },
        in_dot_flyte(here),
    ];
    let repository = here.ancestors().find(|directory| directory.join(".git").exists());
    places.extend(repository.filter(|root| *root != here).map(in_dot_flyte));
    for variable in CONFIG_VARIABLES {
        places.extend(environment.variable(variable).map(|path| Place {
            path: environment.resolve(&path),
            named_by: Some(variable),
            may_be_foreign: false,
        }));
    }
    if let Some(home) = environment.home() {
        places.push(plain(home.join(".union").join("config.yaml")));
        places.push(in_dot_flyte(home));
    }
    places
}

impl FlyteConfig {
    /// Returns client id and secret, or `None` if the file configures another way to log in.
    ///
    /// A file found by searching may only name a secret beside itself or below `~/.flyte` and
    /// `~/.union`, or a variable of Flyte's, Union's or Gatekey's.
    pub(crate) fn credentials(
        &self,
        environment: &Environment<'_>,
    ) -> Result<Option<Credentials>, Error> {
        let file = self.path.display();
        let admin = &self.admin;
        let wants_secret = admin
            .auth_type
            .as_deref()
            .is_some_and(|kind| kind.eq_ignore_ascii_case("ClientSecret"));
        let secret = match (&admin.client_secret_location, &admin.client_secret_env_var) {
            // As in Flyte, the variable takes precedence over the file.
            (_, Some(variable)) if self.variable(variable, environment)?.is_some() => {
                self.variable(variable, environment)?
            }
            (Some(location), _) => Some(self.secret_file(location, environment)?),
            (None, Some(variable)) => {
                let variable = one_line(variable);
                return Err(Error::configuration(format!(
                    "the variable {variable}, the `clientSecretEnvVar` in {file}, is not set"
                )));
            }
            (None, None) if wants_secret => {
                return Err(Error::configuration(format!(
                    "{file} has the authType ClientSecret, but neither `clientSecretLocation` nor \
                     `clientSecretEnvVar`"
                )));
            }
            (None, None) => None,
        };
        let Some(secret) = secret else { return Ok(None) };
        if secret.expose().trim().is_empty() {
            return Err(Error::configuration(format!(
                "the client secret configured in {file} is empty"
            )));
        }
        let Some(client_id) = &admin.client_id else {
            return Err(Error::configuration(format!(
                "{file} has a client secret, but no `clientId`"
            )));
        };
        let credentials = Credentials::new(client_id, secret);
        if self.trust == Trust::Found && !has_shape_of_secret(credentials.client_secret.expose()) {
            let why = "names something that does not look like a client secret";
            return Err(refused(&self.path, why));
        }
        Ok(Some(credentials))
    }

    fn variable(
        &self,
        name: &str,
        environment: &Environment<'_>,
    ) -> Result<Option<PlainSecret>, Error> {
        if self.trust == Trust::Found && !may_name_variable(name) {
            let why = format!(
                "names the variable {} as secret, which does not start with FLYTE_, UNION_ or GATEKEY_",
                one_line(name)
            );
            return Err(refused(&self.path, &why));
        }
        Ok(environment.variable(name).map(PlainSecret::new))
    }

    fn secret_file(
        &self,
        location: &str,
        environment: &Environment<'_>,
    ) -> Result<PlainSecret, Error> {
        let path = environment.resolve(location);
        let unreadable = |error: io::Error| {
            let (shown, file) = (one_line(&path.display().to_string()), self.path.display());
            Error::configuration(format!(
                "cannot read {shown}, the `clientSecretLocation` in {file}: {error}"
            ))
            .caused_by(error)
        };
        let opened = match self.trust {
            Trust::Named => path.clone(),
            Trust::Found => self.checked_location(&path, environment, unreadable)?,
        };
        // A named file may be anything, such as a pipe.
        let mut text = Zeroizing::new(String::new());
        fs::File::open(opened)
            .and_then(|file| file.take(MAX_SIZE).read_to_string(&mut text))
            .map_err(unreadable)?;
        Ok(PlainSecret::new(text.as_str()))
    }

    /// Returns the path behind all links, if it is in an allowed place. Links count by their
    /// targets: a repository may contain them.
    fn checked_location(
        &self,
        path: &Path,
        environment: &Environment<'_>,
        unreadable: impl Fn(io::Error) -> Error,
    ) -> Result<PathBuf, Error> {
        let canonical = |path: &Path| path.canonicalize().ok();
        let beside = self.path.parent().and_then(canonical);
        let homes = environment.home().into_iter().flat_map(|home| {
            [".flyte", ".union"].into_iter().filter_map(move |name| canonical(&home.join(name)))
        });
        let homes: Vec<_> = homes.collect();
        let is_allowed = |path: &Path| {
            (beside.is_some() && path.parent() == beside.as_deref())
                || homes.iter().any(|home| path.starts_with(home))
        };
        let why = "names a secret that is neither beside it nor below ~/.flyte or ~/.union";
        // Twice, so that an error about a forbidden path does not report whether it exists.
        let directory = path.parent().and_then(canonical);
        let named = directory.map(|parent| parent.join(path.file_name().unwrap_or_default()));
        if !named.is_some_and(|named| is_allowed(&named)) {
            return Err(refused(&self.path, why));
        }
        let real = path.canonicalize().map_err(&unreadable)?;
        if !is_allowed(&real) {
            return Err(refused(&self.path, why));
        }
        if !fs::metadata(&real).map_err(&unreadable)?.is_file() {
            return Err(unreadable(io::Error::other("it is not a regular file")));
        }
        Ok(real)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// A file in a cloned repository may contain anything.
        #[test]
        fn no_text_makes_the_reader_panic(
            text in "\\PC{0,200}", member in "[a-zA-Z]{1,30}", value in "[\\PC\n]{0,60}",
        ) {
            let _ = serde_saphyr::from_str::<Option<File>>(&text);
            let _ = serde_saphyr::from_str::<Option<File>>(&format!("admin:\n  {member}: {value}\n"));
        }

        #[test]
        fn only_one_visible_word_looks_like_a_secret(text in "\\PC{1,40}") {
            let one_word = text.bytes().all(|byte| byte.is_ascii_graphic());
            prop_assert!(one_word || !has_shape_of_secret(&text));
        }
    }

    #[test]
    fn a_gatekey_secret_looks_like_one() {
        let secret = gatekey_credentials::Secret::from_random(&[7; 23]);
        assert!(has_shape_of_secret(secret.expose()));
        assert!(has_shape_of_secret("s/+=~!\"#$%&'()*,-.:;<>?@[]^_`{|}"));
    }
}
