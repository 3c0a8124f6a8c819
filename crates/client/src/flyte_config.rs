//! Flyte's own `config.yaml`: where it lies and what of it matters here.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use gatekey_credentials::PlainSecret;
use serde::{Deserialize, Deserializer};

use crate::{Environment, Error, credentials::Credentials, environment::CONFIG_VARIABLES, error::one_line};

/// Largest file that is read; a real one has a few hundred bytes.
const MAX_SIZE: u64 = 1 << 20;

/// The file that was found.
pub(crate) struct FlyteConfig {
    pub(crate) path: PathBuf,
    pub(crate) admin: Admin,
}

#[derive(Deserialize)]
struct File {
    admin: Option<Admin>,
}

/// Section `admin`: how to reach the control plane.
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

/// A list, or a string of several separated by commas or blanks: Flyte reads both.
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

/// One place to look.
struct Place {
    path: PathBuf,
    /// A variable names it, so it must be there.
    named_by: Option<&'static str>,
    /// `config.yaml` beside any program may be that program's and not Flyte's.
    may_be_foreign: bool,
}

/// The first file with a section `admin`, in the order that Flyte documents. What held nothing is added to
/// `tried`.
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
                return Err(Error::configuration(format!("cannot read {shown}: {error}")).caused_by(error));
            }
        };
        match serde_saphyr::from_str::<Option<File>>(&text) {
            Ok(Some(File { admin: Some(admin) })) => {
                return Ok(Some(FlyteConfig { path: place.path, admin }));
            }
            Ok(Some(File { admin: None }) | None) => tried.push(format!("{shown} (no section admin)")),
            Err(_) if place.may_be_foreign => tried.push(format!("{shown} (no file of Flyte's)")),
            Err(error) => {
                let text = error.to_string();
                let why = one_line(text.lines().next().unwrap_or_default());
                return Err(Error::configuration(format!("cannot understand {shown}: {why}")));
            }
        }
    }
    Ok(None)
}

fn read(path: &Path) -> io::Result<String> {
    if fs::metadata(path)?.len() > MAX_SIZE {
        return Err(io::Error::other(format!("it is larger than {MAX_SIZE} bytes")));
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
    /// Client id and secret, none when the file means another way to log in.
    pub(crate) fn credentials(&self, environment: &Environment<'_>) -> Result<Option<Credentials>, Error> {
        let file = self.path.display();
        let admin = &self.admin;
        let wants_secret =
            admin.auth_type.as_deref().is_some_and(|kind| kind.eq_ignore_ascii_case("ClientSecret"));
        let secret = match (&admin.client_secret_location, &admin.client_secret_env_var) {
            // As in Flyte, a variable that is set beats the file.
            (_, Some(variable)) if environment.variable(variable).is_some() => environment.variable(variable),
            (Some(location), _) => {
                let path = environment.resolve(location);
                let text = fs::read_to_string(&path).map_err(|error| {
                    let shown = path.display();
                    Error::configuration(format!(
                        "cannot read {shown}, the clientSecretLocation of {file}: {error}"
                    ))
                    .caused_by(error)
                })?;
                Some(text.trim().to_owned())
            }
            (None, Some(variable)) => {
                return Err(Error::configuration(format!(
                    "the variable {variable}, the clientSecretEnvVar of {file}, is not set"
                )));
            }
            (None, None) if wants_secret => {
                return Err(Error::configuration(format!(
                    "{file} says authType ClientSecret, but neither clientSecretLocation nor \
                     clientSecretEnvVar"
                )));
            }
            (None, None) => None,
        };
        match (&admin.client_id, secret) {
            (Some(client_id), Some(secret)) if !secret.is_empty() => Ok(Some(Credentials {
                client_id: client_id.clone(),
                client_secret: PlainSecret::new(secret),
            })),
            (Some(_), Some(_)) => {
                Err(Error::configuration(format!("the client secret that {file} names is empty")))
            }
            (None, Some(_)) => Err(Error::configuration(format!("{file} names a secret but no clientId"))),
            (_, None) => Ok(None),
        }
    }
}
