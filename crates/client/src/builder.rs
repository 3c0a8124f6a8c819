//! [`ClientBuilder`]: builds a [`Client`].

use std::{fmt, fs, path::PathBuf, time::Duration};

use connectrpc::client::ClientConfig;
use gatekey_credentials::{EncodedCredentials, PlainSecret};
use http::HeaderValue;
use tokio::sync::OnceCell;

use crate::{
    Client, Environment, Error, Protocol, TokenCache,
    client::Inner,
    credentials::Credentials,
    endpoint::Endpoint,
    login::Login,
    settings::{Authorities, Settings, Sourced},
    single_flight::SingleFlight,
    transport::{self, Plaintext, Transport, TrustedCertificates},
};

/// The source of a setting that the caller gave.
const GIVEN: &str = "the builder";
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_RETRIES: u32 = 3;
const DEFAULT_USER_AGENT: &str = concat!("gatekey-client/", env!("CARGO_PKG_VERSION"));

impl Client {
    /// Starts to build a client.
    ///
    /// ```
    /// # use gatekey_client::{Client, PlainSecret};
    /// let builder = Client::builder().endpoint("h:8443");
    /// let client = builder.credentials("ci", PlainSecret::new("s")).build()?;
    /// assert_eq!(client.url(), "https://h:8443");
    /// # Ok::<(), gatekey_client::Error>(())
    /// ```
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// Creates a client from the environment; see [`ClientBuilder::fill_from_env`].
    ///
    /// # Errors
    /// [`is_configuration`](Error::is_configuration) if no endpoint or credentials are found, or a
    /// setting cannot be read. The message lists the places that were searched.
    ///
    /// ```no_run
    /// let client = gatekey_client::Client::from_env()?;
    /// # Ok::<(), gatekey_client::Error>(())
    /// ```
    pub fn from_env() -> Result<Self, Error> {
        Self::builder().fill_from_env()?.build()
    }
}

/// Builds a [`Client`].
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
    /// Sets the address of the server: `https://host:port`, `dns:///host:port` or `host:port`. The
    /// port defaults to 443.
    ///
    /// `http://` means plaintext HTTP, which is only allowed to a loopback address such as
    /// `127.0.0.1`, unless [`ClientBuilder::plaintext`] is set. The endpoint overrides that of an
    /// encoded key. A key from the environment must be for the same host, unless `GATEKEY_ENDPOINT`
    /// names the host as well.
    pub fn endpoint(mut self, endpoint: &str) -> Self {
        self.settings.endpoint = Some(Sourced::new(endpoint.to_owned(), GIVEN));
        self
    }

    /// Sets the client id and the secret to log in with. White space around them is removed.
    pub fn credentials(mut self, client_id: impl Into<String>, client_secret: PlainSecret) -> Self {
        let credentials = Credentials::new(&client_id.into(), client_secret);
        self.settings.credentials = Some(Sourced::new(credentials, GIVEN));
        self
    }

    /// Sets endpoint, client id, secret and organization from an encoded API key.
    ///
    /// The endpoint may have a port. [`ClientBuilder::build`] reports a malformed key.
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

    /// Sets the organization of requests. Defaults to none; a Gatekey server does not need one.
    pub fn organization(mut self, organization: impl Into<String>) -> Self {
        self.settings.organization =
            Some(organization.into()).filter(|organization| !organization.is_empty());
        self
    }

    /// Trusts the CA certificates in a PEM file, in addition to the system's. May be called
    /// repeatedly.
    ///
    /// As in OpenSSL, `SSL_CERT_FILE` and `SSL_CERT_DIR` replace the system's certificates. Those
    /// are read at the first call.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.settings.authorities.push(Sourced::new(Authorities::File(path.into()), GIVEN));
        self
    }

    /// Trusts CA certificates in PEM, in addition to the system's. May be called repeatedly.
    pub fn ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.settings.authorities.push(Sourced::new(Authorities::Pem(pem.into()), GIVEN));
        self
    }

    /// Sends requests, with their secrets, over plaintext HTTP to any host, unless the endpoint
    /// starts with `https://`. The token endpoint may then be `http` as well. Defaults to false.
    ///
    /// For a server behind a proxy that adds TLS. A server on the same machine does not need it:
    /// `http://` and a loopback address suffice.
    pub fn plaintext(mut self, plaintext: bool) -> Self {
        self.plaintext = plaintext;
        self
    }

    /// Sends all requests through an HTTP or SOCKS proxy, such as `http://proxy.example.com:3128`,
    /// except to loopback hosts. Defaults to none; [`ClientBuilder::fill_from_env`] reads the
    /// variables of proxies. [`ClientBuilder::build`] reports a malformed URL.
    ///
    /// ```
    /// # use gatekey_client::{Client, PlainSecret};
    /// let builder = Client::builder().endpoint("h").credentials("ci", PlainSecret::new("s"));
    /// assert!(builder.clone().proxy("http://me:secret@proxy.example.com:3128").build().is_ok());
    /// assert!(builder.proxy("ftp://proxy.example.com").build().unwrap_err().is_configuration());
    /// # Ok::<(), gatekey_client::Error>(())
    /// ```
    pub fn proxy(mut self, url: &str) -> Self {
        self.settings.set_proxy(url, "the given proxy");
        self
    }

    /// Sets the scopes to request (RFC 6749 section 3.3). Defaults to those that the server
    /// advertises.
    pub fn scopes(mut self, scopes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.settings.scopes = Some(scopes.into_iter().map(Into::into).collect());
        self
    }

    /// Sets the timeout of a call, including login and retries. Defaults to 30 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how often a call is retried while the server is unavailable. Defaults to 3.
    ///
    /// The pauses double from 0.2 s up to 5 s, with jitter, so that clients do not retry at the
    /// same time.
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// Sets the `user-agent` header. Defaults to `gatekey-client/` and the version.
    pub fn user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.user_agent = user_agent.into();
        self
    }

    /// Sets the wire protocol. Defaults to [`Protocol::Connect`].
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = protocol;
        self
    }

    /// Sets the cache of access tokens, to share it with other clients. Defaults to a new cache.
    pub fn token_cache(mut self, token_cache: TokenCache) -> Self {
        self.token_cache = token_cache;
        self
    }

    /// Adds a place that the caller searched for settings, to the error about a missing setting.
    /// May be called repeatedly.
    ///
    /// ```
    /// # use gatekey_client::Client;
    /// let error = Client::builder().tried("the form").build().unwrap_err();
    /// assert!(error.to_string().contains("looked in the form"));
    /// ```
    pub fn tried(mut self, place: impl Into<String>) -> Self {
        self.settings.tried.push(place.into());
        self
    }

    /// Fills unset settings from the environment of the process, in this order:
    ///
    /// 1. `GATEKEY_ENDPOINT`: the endpoint.
    /// 2. `GATEKEY_API_KEY`, `FLYTE_API_KEY` or `UNION_API_KEY`: an encoded key. The first one that
    ///    is set is used.
    /// 3. `GATEKEY_CA_FILE`: CA certificates.
    /// 4. If the endpoint or the credentials are still missing, Flyte's configuration: the first
    ///    file that has a section `admin` of `./config.yaml`, `./.flyte/config.yaml`,
    ///    `.flyte/config.yaml` in the root of the git repository, the files named by `UCTL_CONFIG`
    ///    and `FLYTECTL_CONFIG`, `~/.union/config.yaml` and `~/.flyte/config.yaml`. Its fields
    ///    `endpoint`, `insecure`, `clientId`, `clientSecretLocation`, `clientSecretEnvVar`,
    ///    `scopes`, `audience`, `caCertFilePath` and `httpProxyURL` are used. Paths are relative to
    ///    the working directory.
    /// 5. `SSL_CERT_FILE`: CA certificates.
    /// 6. `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, in lower or upper case: proxies,
    ///    as in curl. A loopback host is never reached through a proxy.
    ///
    /// A configuration file that is neither named by a variable nor the user's own file in
    /// `~/.flyte`, `~/.union` or `~/.uctl` may have been written by somebody else. It is used only
    /// if it belongs to the user or root and not everybody can write it. It may name a secret only
    /// in its own directory or below `~/.flyte` or `~/.union`, or in a variable that starts with
    /// `FLYTE_`, `UNION_` or `GATEKEY_`. [`Client::notices`] reports that such a file is used.
    ///
    /// # Errors
    /// [`is_configuration`](Error::is_configuration) if a setting is malformed, a file cannot be
    /// read or asks for too much, or a secret is for another host than the endpoint. Only
    /// [`ClientBuilder::build`] reports a missing setting.
    ///
    /// ```no_run
    /// # use gatekey_client::Client;
    /// let client = Client::builder().endpoint("localhost:8443").fill_from_env()?.build()?;
    /// # Ok::<(), gatekey_client::Error>(())
    /// ```
    pub fn fill_from_env(self) -> Result<Self, Error> {
        #[expect(clippy::disallowed_methods, reason = "the only reader of the environment")]
        let variable = |name: &str| std::env::var(name).ok();
        let home = variable("HOME").map(PathBuf::from);
        let working_directory = std::env::current_dir().unwrap_or_default();
        self.fill_from(&Environment::new(&variable, home, working_directory))
    }

    /// Fills unset settings from `environment`; see [`ClientBuilder::fill_from_env`].
    pub fn fill_from(mut self, environment: &Environment<'_>) -> Result<Self, Error> {
        self.take_encoded()?;
        self.settings.fill_from(environment)?;
        Ok(self)
    }

    /// Moves the encoded key into the settings, which must happen before they are filled from the
    /// environment.
    fn take_encoded(&mut self) -> Result<(), Error> {
        match self.encoded.take() {
            Some(encoded) => self.settings.fill_from_encoded(encoded.expose(), "the given API key"),
            None => Ok(()),
        }
    }

    /// Builds the client. Reads the CA files, but sends nothing.
    ///
    /// # Errors
    /// [`is_configuration`](Error::is_configuration) if the endpoint or the credentials are missing
    /// or malformed, or a CA file cannot be read.
    pub fn build(mut self) -> Result<Client, Error> {
        self.take_encoded()?;
        let Some(endpoint) = &self.settings.endpoint else {
            return Err(self.settings.missing("endpoint"));
        };
        let Some(credentials) = self.settings.credentials.clone() else {
            return Err(self.settings.missing("credentials"));
        };
        if credentials.value.client_id.is_empty()
            || credentials.value.client_secret.expose().is_empty()
        {
            return Err(Error::configuration("the client id and the secret must not be empty"));
        }
        // No secret looks like that: three colons and four parts in base64.
        if EncodedCredentials::decode(credentials.value.client_secret.expose()).is_ok() {
            return Err(Error::configuration(format!(
                "the client secret of {} is an encoded API key, which contains more than the secret; set \
                 GATEKEY_API_KEY to it instead",
                credentials.source
            )));
        }
        let endpoint = Sourced::new(
            Endpoint::parse(&endpoint.value, self.plaintext)?,
            endpoint.source.clone(),
        );
        let plaintext = Plaintext::new(self.plaintext, endpoint.value.is_plaintext());
        let ca_file = self.settings.authorities.iter().find_map(|source| match &source.value {
            Authorities::File(path) => Some(path.clone()),
            Authorities::Pem(_) => None,
        });
        let mut trusted = TrustedCertificates::default();
        for source in &self.settings.authorities {
            trusted.certificates.extend(read_authorities(source)?);
            trusted.sources.push(shown_authorities(source));
        }
        // An unusable proxy is a mistake in the settings, not of the network.
        let proxies = self.settings.proxies;
        proxies
            .find(&endpoint.value.uri())
            .map_err(|error| Error::configuration(error.to_string()).caused_by(error))?;
        let user_agent: HeaderValue = self.user_agent.parse().map_err(|error| {
            Error::configuration("the user agent contains characters that no header may contain")
                .caused_by(error)
        })?;
        let calls = ClientConfig::new(endpoint.value.uri())
            .with_protocol(self.protocol.into())
            .with_default_header(http::header::USER_AGENT, user_agent.clone());
        let login = Login {
            endpoint: endpoint.value.clone(),
            credentials: credentials.value.clone(),
            scopes: self.settings.scopes,
            calls: calls.clone(),
            user_agent,
            retries: self.retries,
            audience: self.settings.audience,
            cache: self.token_cache,
            discovery: SingleFlight::default(),
        };
        Ok(Client::new(Inner {
            endpoint,
            credentials,
            organization: self.settings.organization,
            ca_file,
            timeout: self.timeout,
            retries: self.retries,
            notices: self.settings.notices,
            transport: Transport::new(trusted, plaintext, self.protocol, proxies),
            calls,
            login,
            user_handle: OnceCell::new(),
        }))
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ClientBuilder")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

fn read_authorities(
    source: &Sourced<Authorities>,
) -> Result<Vec<rustls::pki_types::CertificateDer<'static>>, Error> {
    let shown = shown_authorities(source);
    match &source.value {
        Authorities::Pem(pem) => transport::parse_authorities(pem, &shown),
        Authorities::File(path) => {
            let pem = fs::read(path).map_err(|error| {
                Error::configuration(format!("cannot read the CA certificates in {shown}: {error}"))
                    .caused_by(error)
            })?;
            transport::parse_authorities(&pem, &shown)
        }
    }
}

/// Names certificates in messages. A file that the caller gave needs no further source.
fn shown_authorities(source: &Sourced<Authorities>) -> String {
    match &source.value {
        Authorities::Pem(_) => source.source.clone(),
        Authorities::File(path) if source.source == GIVEN => path.display().to_string(),
        Authorities::File(path) => format!("{} (from {})", path.display(), source.source),
    }
}
