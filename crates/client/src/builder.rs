//! [`ClientBuilder`]: describes a [`Client`].

use std::{fmt, fs, path::PathBuf, time::Duration};

use connectrpc::client::ClientConfig;
use gatekey_credentials::PlainSecret;
use http::HeaderValue;
use tokio::sync::OnceCell;

use crate::{
    Client, Environment, Error, Protocol, TokenCache,
    client::Inner,
    credentials::Credentials,
    endpoint::Endpoint,
    login::Login,
    settings::{Authorities, Settings, Sourced},
    transport::{self, Transport},
};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_RETRIES: u32 = 3;
const DEFAULT_USER_AGENT: &str = concat!("gatekey-client/", env!("CARGO_PKG_VERSION"));

impl Client {
    /// Begins to describe a client.
    ///
    /// ```
    /// # use gatekey_client::{Client, PlainSecret};
    /// let client = Client::builder().endpoint("h:8443").credentials("ci", PlainSecret::new("s")).build()?;
    /// assert_eq!(client.url(), "https://h:8443");
    /// # Ok::<(), gatekey_client::Error>(())
    /// ```
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// A client as the environment describes it; [`ClientBuilder::fill_from_env`] says how.
    ///
    /// # Errors
    /// When nothing names an endpoint and credentials (the message lists what was looked at), or what does
    /// cannot be read.
    ///
    /// ```no_run
    /// let client = gatekey_client::Client::from_env()?;
    /// # Ok::<(), gatekey_client::Error>(())
    /// ```
    pub fn from_env() -> Result<Self, Error> {
        Self::builder().fill_from_env()?.build()
    }
}

/// Describes a [`Client`]; nothing is read or sent before [`ClientBuilder::build`] and
/// [`ClientBuilder::fill_from_env`].
///
/// ```no_run
/// use std::time::Duration;
/// use gatekey_client::{Client, PlainSecret, Protocol};
///
/// let client = Client::builder()
///     .endpoint("flyte.example.com:8443")
///     .credentials("ci-pipeline", PlainSecret::new("gk_..."))
///     .ca_file("ca.pem")
///     .timeout(Duration::from_secs(10))
///     .protocol(Protocol::Grpc)
///     .build()?;
/// # Ok::<(), gatekey_client::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing before build()"]
pub struct ClientBuilder {
    settings: Settings,
    encoded: Option<PlainSecret>,
    plaintext: bool,
    protocol: Protocol,
    timeout: Duration,
    retries: u32,
    user_agent: String,
    token_cache: TokenCache,
}

impl Default for ClientBuilder {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            encoded: None,
            plaintext: false,
            protocol: Protocol::default(),
            timeout: DEFAULT_TIMEOUT,
            retries: DEFAULT_RETRIES,
            user_agent: DEFAULT_USER_AGENT.to_owned(),
            token_cache: TokenCache::default(),
        }
    }
}

impl ClientBuilder {
    /// Where the server is: `https://host:port`, `dns:///host:port`, or bare `host:port`; port 443 if none.
    ///
    /// `http://` is read as `https://`, as Flyte's clients do, unless [`ClientBuilder::plaintext`] is set.
    /// Beats the endpoint of an encoded key.
    pub fn endpoint(mut self, endpoint: &str) -> Self {
        self.settings.endpoint = Some(Sourced::new(endpoint.to_owned(), "the builder"));
        self
    }

    /// The client id and the secret to log in with.
    pub fn credentials(mut self, client_id: impl Into<String>, client_secret: PlainSecret) -> Self {
        let credentials = Credentials { client_id: client_id.into(), client_secret };
        self.settings.credentials = Some(Sourced::new(credentials, "the builder"));
        self
    }

    /// An encoded API key: endpoint, client id, secret and organization in one string.
    ///
    /// The endpoint may have a port: this decoder reads from the right. A malformed key is reported by
    /// [`ClientBuilder::build`].
    ///
    /// ```
    /// # use gatekey_client::Client;
    /// let client = Client::builder().encoded_credentials("aDo4NDQzOmNpOnM6Tm9uZQ==").build()?;
    /// assert_eq!((client.endpoint(), client.client_id()), ("h:8443", "ci"));
    /// # Ok::<(), gatekey_client::Error>(())
    /// ```
    pub fn encoded_credentials(mut self, encoded: &str) -> Self {
        self.encoded = Some(PlainSecret::new(encoded));
        self
    }

    /// The organization that requests name; without it they name none, which suits a Gatekey server.
    pub fn organization(mut self, organization: impl Into<String>) -> Self {
        self.settings.organization =
            Some(organization.into()).filter(|organization| !organization.is_empty());
        self
    }

    /// A PEM file of CA certificates to trust besides the system's; may be given repeatedly.
    ///
    /// The system's certificates are, as OpenSSL has it, those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name
    /// when they are set. They are read at the first call.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.settings.authorities.push(Sourced::new(Authorities::File(path.into()), "the builder"));
        self
    }

    /// CA certificates in PEM to trust besides the system's; may be given repeatedly.
    pub fn ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.settings.authorities.push(Sourced::new(Authorities::Pem(pem.into()), "the builder"));
        self
    }

    /// Speaks HTTP in the clear, secrets included, to an endpoint that does not say `https://`; default no.
    ///
    /// For a server on the same machine or behind a proxy that adds TLS. A token endpoint may then be
    /// `http` as well.
    pub fn plaintext(mut self, plaintext: bool) -> Self {
        self.plaintext = plaintext;
        self
    }

    /// The scopes to ask for in place of those that the server advertises (RFC 6749 section 3.3).
    pub fn scopes(mut self, scopes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.settings.scopes = Some(scopes.into_iter().map(Into::into).collect());
        self
    }

    /// How long a call may take, login and retries included; default 30 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How often a call is tried again when the server is unavailable; default 3, with pauses that double
    /// from 0.2 s to 5 s and vary, so that clients do not come back together.
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// The `user-agent` header; default `gatekey-client/` and the version.
    pub fn user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.user_agent = user_agent.into();
        self
    }

    /// How calls are written on the wire; default [`Protocol::Connect`].
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = protocol;
        self
    }

    /// Tokens to share with other clients; default none.
    pub fn token_cache(mut self, token_cache: TokenCache) -> Self {
        self.token_cache = token_cache;
        self
    }

    /// Names a place that was looked at before and held nothing, for the message when something is missing; may
    /// be given repeatedly.
    ///
    /// ```
    /// # use gatekey_client::Client;
    /// let error = Client::builder().tried("the form").build().unwrap_err();
    /// assert!(error.to_string().contains("nothing in the form"));
    /// ```
    pub fn tried(mut self, place: impl Into<String>) -> Self {
        self.settings.tried.push(place.into());
        self
    }

    /// Completes from the process's environment what was not set, field by field, in this order:
    ///
    /// 1. `GATEKEY_ENDPOINT`: the endpoint.
    /// 2. `GATEKEY_API_KEY` (whose endpoint may have a port), then `FLYTE_API_KEY`, then `UNION_API_KEY`:
    ///    an encoded key. The first that is set counts.
    /// 3. `GATEKEY_CA_FILE`: CA certificates.
    /// 4. If endpoint or credentials are still missing, the first of Flyte's files that has a section
    ///    `admin`: `./config.yaml`, `./.flyte/config.yaml`, `.flyte/config.yaml` in the root of the git
    ///    repository, `UCTL_CONFIG`, `FLYTECTL_CONFIG`, `~/.union/config.yaml`, `~/.flyte/config.yaml`. Of it
    ///    count `endpoint`, `clientId`, `clientSecretLocation`, `clientSecretEnvVar`, `scopes` and
    ///    `caCertFilePath`; relative paths are relative to the working directory.
    /// 5. `SSL_CERT_FILE`: CA certificates.
    ///
    /// # Errors
    /// When something that is set cannot be read or understood. That something is missing is for
    /// [`ClientBuilder::build`] to say.
    ///
    /// ```no_run
    /// # use gatekey_client::Client;
    /// let client = Client::builder().endpoint("localhost:8443").fill_from_env()?.build()?;
    /// # Ok::<(), gatekey_client::Error>(())
    /// ```
    pub fn fill_from_env(self) -> Result<Self, Error> {
        #[expect(clippy::disallowed_methods, reason = "the one place that reads the process's environment")]
        let variable = |name: &str| std::env::var(name).ok();
        let home = variable("HOME").map(PathBuf::from);
        let working_directory = std::env::current_dir().unwrap_or_default();
        self.fill_from(&Environment::new(&variable, home, working_directory))
    }

    /// As [`ClientBuilder::fill_from_env`], from any environment.
    pub fn fill_from(mut self, environment: &Environment<'_>) -> Result<Self, Error> {
        self.take_encoded()?;
        self.settings.fill_from(environment)?;
        Ok(self)
    }

    /// Moves the encoded key into the settings, where it must be before the environment is asked.
    fn take_encoded(&mut self) -> Result<(), Error> {
        match self.encoded.take() {
            Some(encoded) => self.settings.fill_from_encoded(encoded.expose(), "the encoded API key given"),
            None => Ok(()),
        }
    }

    /// Makes the client. Reads CA files; sends nothing.
    ///
    /// # Errors
    /// When endpoint or credentials are missing or malformed, or a CA file cannot be read.
    pub fn build(mut self) -> Result<Client, Error> {
        self.take_encoded()?;
        let Some(endpoint) = &self.settings.endpoint else {
            return Err(self.settings.missing("is no endpoint"));
        };
        let Some(credentials) = self.settings.credentials.clone() else {
            return Err(self.settings.missing("are no credentials"));
        };
        if credentials.value.client_id.is_empty() || credentials.value.client_secret.expose().is_empty() {
            return Err(Error::configuration("the client id and the secret must not be empty"));
        }
        let endpoint =
            Sourced::new(Endpoint::parse(&endpoint.value, self.plaintext)?, endpoint.source.clone());
        let ca_file = self.settings.authorities.iter().find_map(|source| match &source.value {
            Authorities::File(path) => Some(path.clone()),
            Authorities::Pem(_) => None,
        });
        let mut authorities = Vec::new();
        for source in &self.settings.authorities {
            authorities.extend(read_authorities(source)?);
        }
        let user_agent: HeaderValue = self.user_agent.parse().map_err(|error| {
            Error::configuration("the user agent has characters that no header can hold").caused_by(error)
        })?;
        let calls = ClientConfig::new(endpoint.value.uri())
            .with_protocol(self.protocol.into())
            .with_default_header(http::header::USER_AGENT, user_agent.clone());
        let login = Login::new(
            endpoint.value.clone(),
            credentials.value.clone(),
            self.settings.scopes,
            calls.clone(),
            user_agent,
            self.retries,
            self.token_cache,
        );
        Ok(Client::new(Inner {
            endpoint,
            credentials,
            organization: self.settings.organization,
            ca_file,
            timeout: self.timeout,
            retries: self.retries,
            transport: Transport::new(authorities, self.plaintext, self.protocol),
            calls,
            login,
            user_handle: OnceCell::new(),
        }))
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ClientBuilder").field("settings", &self.settings).finish_non_exhaustive()
    }
}

fn read_authorities(
    source: &Sourced<Authorities>,
) -> Result<Vec<rustls::pki_types::CertificateDer<'static>>, Error> {
    match &source.value {
        Authorities::Pem(pem) => transport::parse_authorities(pem, &source.source),
        Authorities::File(path) => {
            let shown = format!("{} (from {})", path.display(), source.source);
            let pem = fs::read(path).map_err(|error| {
                Error::configuration(format!("cannot read the CA certificates in {shown}: {error}"))
                    .caused_by(error)
            })?;
            transport::parse_authorities(&pem, &shown)
        }
    }
}
