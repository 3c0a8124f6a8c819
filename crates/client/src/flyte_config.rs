//! [`FlyteConfig`]: Flyte's own `config.yaml`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use gatekey_credentials::PlainSecret;
use serde::{Deserialize, Deserializer};

use crate::{
    Environment, Error, credentials::Credentials, environment::CONFIG_VARIABLES, error::one_line,
};

/// The largest file to read, in bytes. A real one has a few hundred.
const MAX_SIZE: u64 = 1 << 20;

pub(crate) struct FlyteConfig {
    pub(crate) path: PathBuf,
    pub(crate) admin: Admin,
}

#[derive(Deserialize)]
struct File {
    admin: Option<Admin>,
}

/// Section `admin`: the connection to the control plane.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Admin {
    pub(crate) endpoint: Option<String>,
    pub(crate) auth_type: Option<String>,
    pub(crate) client_id: Option<String>,
    pub(crate) client_secret_location: Option<String>,
    pub(crate) client_secret_env_var: Option<String>,
    #[serde(default, deserialize_with = "scopes")]
    pub(crate) scopes: Option<Vec<String>>,
    pub(crate) ca_cert_file_path: Option<String>,
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
        let text = match read(&place.path) {
            Ok(text) => text,
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
                return Ok(Some(FlyteConfig { path: place.path, admin }));
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

fn read(path: &Path) -> io::Result<String> {
    if fs::metadata(path)?.len() > MAX_SIZE {
        return Err(io::Error::other(format!("the file is larger than {MAX_SIZE} bytes")));
    }
    fs::read_to_string(path)
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
            (_, Some(variable)) if environment.variable(variable).is_some() => {
                environment.variable(variable)
            }
            (Some(location), _) => {
                let path = environment.resolve(location);
                let text = fs::read_to_string(&path).map_err(|error| {
                    let shown = path.display();
                    Error::configuration(format!(
                        "cannot read {shown}, the `clientSecretLocation` in {file}: {error}"
                    ))
                    .caused_by(error)
                })?;
                Some(text.trim().to_owned())
            }
            (None, Some(variable)) => {
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
        match (&admin.client_id, secret) {
            (Some(client_id), Some(secret)) if !secret.is_empty() => Ok(Some(Credentials {
                client_id: client_id.clone(),
                client_secret: PlainSecret::new(secret),
            })),
            (Some(_), Some(_)) => Err(Error::configuration(format!(
                "the client secret configured in {file} is empty"
            ))),
            (None, Some(_)) => {
                Err(Error::configuration(format!("{file} has a client secret, but no `clientId`")))
            }
            (_, None) => Ok(None),
        }
    }
}
