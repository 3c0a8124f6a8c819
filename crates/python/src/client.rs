//! [`Client`]: a client of one server, and the operations on keys.

use std::{
    path::PathBuf,
    process,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use gatekey_client::{
    ApiKey, ClientBuilder, CreateOptions, Error, PlainSecret, Role, RotateOptions, TokenCache,
    UpdateOptions,
};
use pyo3::{
    exceptions::{PyTypeError, PyValueError},
    prelude::*,
    types::PyString,
};

use crate::{app::key, call::Call, details::KeyDetails, error, listing::Listing};

/// Extracts a secret. Python's own errors would contain it.
fn text_of_secret(name: &str, secret: &Bound<'_, PyAny>) -> PyResult<PlainSecret> {
    let text = secret.cast::<PyString>().map_err(|_| wrong_type(name, "str", secret))?;
    let text = text.to_str().map_err(|_| {
        PyValueError::new_err(format!("{name} is not valid text: it has a lone surrogate"))
    })?;
    Ok(PlainSecret::new(text))
}

/// Extracts a sequence of strings. Rejects a single string, which is also a sequence in Python.
fn texts(name: &str, value: Option<Bound<'_, PyAny>>) -> PyResult<Option<Vec<String>>> {
    value
        .map(|value| value.extract().map_err(|_| wrong_type(name, "a sequence of str", &value)))
        .transpose()
}

/// Extracts a `datetime` with a time zone.
fn date(name: &str, value: Option<Bound<'_, PyAny>>) -> PyResult<Option<SystemTime>> {
    value
        .map(|value| {
            value.extract().map_err(|_| wrong_type(name, "a datetime with a time zone", &value))
        })
        .transpose()
}

/// Names the argument in the message, because exceptions have no notes before Python 3.11.
fn wrong_type(name: &str, wanted: &str, value: &Bound<'_, PyAny>) -> PyErr {
    let found = value.get_type();
    let found = found.name().map_or_else(|_| "another type".to_owned(), |name| name.to_string());
    PyTypeError::new_err(format!("{name} must be {wanted}, not {found}"))
}

/// A client, and the process in whose runtime its connections are.
struct Connected {
    process: u32,
    client: gatekey_client::Client,
}

/// A client of one server. Each operation starts a call.
#[pyclass(frozen, module = "gatekey._native")]
pub(crate) struct Client {
    builder: ClientBuilder,
    connected: ArcSwap<Connected>,
}

impl Client {
    fn connect(builder: &ClientBuilder) -> Result<Arc<Connected>, Error> {
        // A new cache: the builder's may stay locked forever in a forked process.
        let client = builder.clone().token_cache(TokenCache::default()).build()?;
        Ok(Arc::new(Connected { process: process::id(), client }))
    }

    /// Returns the client of this process. A forked process creates a new one, because the
    /// connections belong to its parent.
    fn connected(&self, python: Python<'_>) -> PyResult<gatekey_client::Client> {
        let current = self.connected.load();
        if current.process == process::id() {
            return Ok(current.client.clone());
        }
        let connected =
            Self::connect(&self.builder).map_err(|error| error::exception(python, &error))?;
        let client = connected.client.clone();
        // Not dropped, because it needs threads that this process does not have.
        std::mem::forget(self.connected.swap(connected));
        Ok(client)
    }
}

#[pymethods]
impl Client {
    /// Fills missing settings from the environment. `tried` names the places that the caller
    /// searched before, for the error about a missing setting.
    #[new]
    #[pyo3(signature = (
        *, endpoint=None, api_key=None, client_id=None, client_secret=None, ca_file=None,
        organization=None, scopes=None, plaintext=false, proxy=None, timeout=None, retries=None,
        user_agent=None, tried=Vec::new(),
    ))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments in Python")]
    fn new(
        python: Python<'_>,
        endpoint: Option<&str>,
        api_key: Option<Bound<'_, PyAny>>,
        client_id: Option<String>,
        client_secret: Option<Bound<'_, PyAny>>,
        ca_file: Option<PathBuf>,
        organization: Option<String>,
        scopes: Option<Bound<'_, PyAny>>,
        plaintext: bool,
        proxy: Option<&str>,
        timeout: Option<f64>,
        retries: Option<u32>,
        user_agent: Option<String>,
        tried: Vec<String>,
    ) -> PyResult<Self> {
        let mut builder = gatekey_client::Client::builder().plaintext(plaintext);
        if let Some(endpoint) = endpoint {
            builder = builder.endpoint(endpoint);
        }
        if let Some(api_key) = api_key {
            builder = builder.encoded_credentials(text_of_secret("api_key", &api_key)?.expose());
        }
        match (client_id, client_secret) {
            (Some(client_id), Some(client_secret)) => {
                let client_secret = text_of_secret("client_secret", &client_secret)?;
                builder = builder.credentials(client_id, client_secret);
            }
            (None, None) => {}
            (Some(_), None) => {
                return Err(PyValueError::new_err("client_id needs client_secret as well"));
            }
            (None, Some(_)) => {
                return Err(PyValueError::new_err("client_secret needs client_id as well"));
            }
        }
        if let Some(ca_file) = ca_file {
            builder = builder.ca_file(ca_file);
        }
        if let Some(proxy) = proxy {
            builder = builder.proxy(proxy);
        }
        if let Some(organization) = organization {
            builder = builder.organization(organization);
        }
        if let Some(scopes) = texts("scopes", scopes)? {
            builder = builder.scopes(scopes);
        }
        if let Some(timeout) = timeout {
            let timeout =
                Duration::try_from_secs_f64(timeout).ok().filter(|timeout| !timeout.is_zero());
            let invalid = || PyValueError::new_err("timeout must be a positive number of seconds");
            builder = builder.timeout(timeout.ok_or_else(invalid)?);
        }
        if let Some(retries) = retries {
            builder = builder.retries(retries);
        }
        if let Some(user_agent) = user_agent {
            builder = builder.user_agent(user_agent);
        }
        for place in tried {
            builder = builder.tried(place);
        }
        let build = || {
            let builder = builder.fill_from_env()?;
            let connected = Self::connect(&builder)?;
            Ok(Self { builder, connected: ArcSwap::new(connected) })
        };
        build().map_err(|error: Error| error::exception(python, &error))
    }

    #[getter]
    fn endpoint(&self) -> String {
        self.connected.load().client.endpoint().to_owned()
    }

    /// What a person should know about the sources of the settings, one sentence each.
    #[getter]
    fn notices(&self) -> Vec<String> {
        self.connected.load().client.notices().to_vec()
    }

    #[getter]
    fn client_id(&self) -> String {
        self.connected.load().client.client_id().to_owned()
    }

    #[pyo3(signature = (
        name, *, client_id=None, redirect_uris=None, skip_default_policy_assignments=false, role=None,
        expires_at=None, secret_label=None, allow_from=None, rate=None, projects=None, domains=None,
    ))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments in Python")]
    fn create(
        &self,
        python: Python<'_>,
        name: String,
        client_id: Option<String>,
        redirect_uris: Option<Bound<'_, PyAny>>,
        skip_default_policy_assignments: bool,
        role: Option<&str>,
        expires_at: Option<Bound<'_, PyAny>>,
        secret_label: Option<String>,
        allow_from: Option<Bound<'_, PyAny>>,
        rate: Option<String>,
        projects: Option<Bound<'_, PyAny>>,
        domains: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Call> {
        let role = role.map(|text| {
            text.parse::<Role>()
                .map_err(|error| PyValueError::new_err(format!("unknown role {text:?}; {error}")))
        });
        let options = CreateOptions {
            name,
            client_id,
            redirect_uris: texts("redirect_uris", redirect_uris)?.unwrap_or_default(),
            skip_default_policy_assignments,
            role: role.transpose()?,
            expires_at: date("expires_at", expires_at)?,
            secret_label,
            allow_from: texts("allow_from", allow_from)?.unwrap_or_default(),
            rate,
            projects: texts("projects", projects)?.unwrap_or_default(),
            domains: texts("domains", domains)?.unwrap_or_default(),
        };
        let client = self.connected(python)?;
        Call::start(async move { ApiKey::create_with(&client, options).await }, |api_key| {
            key(&api_key)
        })
    }

    fn get(&self, python: Python<'_>, client_id: String) -> PyResult<Call> {
        let client = self.connected(python)?;
        Call::start(async move { ApiKey::get(&client, &client_id).await }, |api_key| key(&api_key))
    }

    #[pyo3(signature = (*, limit))]
    fn listall(&self, python: Python<'_>, limit: Option<usize>) -> PyResult<Listing> {
        Ok(Listing::new(ApiKey::listall(&self.connected(python)?, limit)))
    }

    #[pyo3(signature = (client_id, *, client_name=None, redirect_uris=None))]
    fn update(
        &self,
        python: Python<'_>,
        client_id: String,
        client_name: Option<String>,
        redirect_uris: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Call> {
        let client = self.connected(python)?;
        let options = UpdateOptions {
            client_name,
            redirect_uris: texts("redirect_uris", redirect_uris)?.unwrap_or_default(),
        };
        Call::start(async move { ApiKey::update(&client, &client_id, options).await }, |api_key| {
            key(&api_key)
        })
    }

    fn delete(&self, python: Python<'_>, client_id: String) -> PyResult<Call> {
        let client = self.connected(python)?;
        Call::start(async move { ApiKey::delete(&client, &client_id).await }, |()| None::<u8>)
    }

    #[pyo3(signature = (client_id, *, grace, label=None, expires_at=None))]
    fn rotate(
        &self,
        python: Python<'_>,
        client_id: String,
        grace: Duration,
        label: Option<String>,
        expires_at: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Call> {
        let client = self.connected(python)?;
        let options = RotateOptions { grace, label, expires_at: date("expires_at", expires_at)? };
        Call::start(async move { ApiKey::rotate(&client, &client_id, options).await }, |api_key| {
            key(&api_key)
        })
    }

    fn disable(&self, python: Python<'_>, client_id: String) -> PyResult<Call> {
        let client = self.connected(python)?;
        Call::start(async move { ApiKey::disable(&client, &client_id).await }, KeyDetails::from)
    }

    fn enable(&self, python: Python<'_>, client_id: String) -> PyResult<Call> {
        let client = self.connected(python)?;
        Call::start(async move { ApiKey::enable(&client, &client_id).await }, KeyDetails::from)
    }

    fn details(&self, python: Python<'_>, client_id: String) -> PyResult<Call> {
        let client = self.connected(python)?;
        Call::start(async move { ApiKey::details(&client, &client_id).await }, KeyDetails::from)
    }

    fn __repr__(&self) -> String {
        format!("<Client of {:?} as {:?}>", self.endpoint(), self.client_id())
    }
}
