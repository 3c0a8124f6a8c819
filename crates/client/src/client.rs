//! [`Client`]: a server, and the credentials to call it with.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use buffa_types::google::protobuf as well_known;
use connectrpc::{
    ConnectError,
    client::{CallOptions, ClientConfig, HttpClient},
};
use gatekey_credentials::PlainSecret;
use gatekey_proto::{flyteidl, flyteidl2};
use http::HeaderValue;
use tokio::{sync::OnceCell, time::Instant};

use crate::{
    Environment, Error, TokenCache, UserInfo,
    endpoint::Endpoint,
    error::Kind,
    login::{Access, Login},
    random,
    settings::{Authorities, Credentials, Settings, Sourced},
    transport::{self, Transport},
};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_RETRIES: u32 = 3;
const DEFAULT_USER_AGENT: &str = concat!("gatekey-client/", env!("CARGO_PKG_VERSION"));
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How calls are written on the wire; a Gatekey server understands all three on one port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// The Connect protocol over HTTP/1.1 or HTTP/2: passes every proxy.
    #[default]
    Connect,
    /// gRPC, which needs HTTP/2 all the way.
    Grpc,
    /// gRPC-Web in its binary form.
    GrpcWeb,
}

impl From<Protocol> for connectrpc::Protocol {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Connect => Self::Connect,
            Protocol::Grpc => Self::Grpc,
            Protocol::GrpcWeb => Self::GrpcWeb,
        }
    }
}

/// A server, and the credentials to call it with.
///
/// Cloning is cheap, and clones share connections and the access token. A client logs in when it first needs
/// to: it asks the server how (`AuthMetadataService`), fetches a token by client credentials (RFC 6749
/// section 4.4), and sends it with every call. The token is refreshed 60 s before it expires, or after 80 %
/// of its life when that is later; many calls at once cause one login. A call that is refused as
/// unauthenticated logs in anew and is made once more, so that a rotated signing key heals by itself.
///
/// ```no_run
/// use gatekey_client::{Client, PlainSecret};
///
/// # async fn example() -> Result<(), gatekey_client::Error> {
/// let client = Client::builder()
///     .endpoint("https://flyte.example.com")
///     .credentials("ci-pipeline", PlainSecret::new("gk_..."))
///     .build()?;
/// println!("logged in as {}", client.whoami().await?.subject);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    endpoint: Sourced<Endpoint>,
    credentials: Sourced<Credentials>,
    organization: Option<String>,
    ca_file: Option<PathBuf>,
    timeout: Duration,
    retries: u32,
    transport: Transport,
    calls: ClientConfig,
    login: Login,
    /// Of a serverless endpoint: the handle of who calls, which is their organization.
    user_handle: OnceCell<String>,
}

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

    /// The endpoint as it was written, without a scheme: what goes into encoded credentials.
    ///
    /// ```
    /// # use gatekey_client::{Client, PlainSecret};
    /// let builder = Client::builder().endpoint("dns:///h:8443");
    /// let client = builder.credentials("ci", PlainSecret::new("s")).build()?;
    /// assert_eq!(client.endpoint(), "h:8443");
    /// # Ok::<(), gatekey_client::Error>(())
    /// ```
    pub fn endpoint(&self) -> &str {
        self.0.endpoint.value.bare()
    }

    /// The endpoint with its scheme, `https` unless [`ClientBuilder::plaintext`] says otherwise.
    pub fn url(&self) -> String {
        self.0.endpoint.value.url()
    }

    /// The client id that the client logs in with.
    pub fn client_id(&self) -> &str {
        &self.0.credentials.value.client_id
    }

    /// The organization that requests name; none unless the builder or the encoded key has one.
    pub fn organization(&self) -> Option<&str> {
        self.0.organization.as_deref()
    }

    /// The first file of CA certificates that are trusted besides the system's; none unless one was named.
    ///
    /// ```
    /// # use gatekey_client::{Client, PlainSecret};
    /// let builder = Client::builder().endpoint("h").credentials("ci", PlainSecret::new("s"));
    /// assert_eq!(builder.build()?.ca_file(), None);
    /// # Ok::<(), gatekey_client::Error>(())
    /// ```
    pub fn ca_file(&self) -> Option<&Path> {
        self.0.ca_file.as_deref()
    }

    /// Where the endpoint was found, in words for people: `GATEKEY_API_KEY`, a file, `the builder`.
    pub fn endpoint_source(&self) -> &str {
        &self.0.endpoint.source
    }

    /// Where the credentials were found, in words for people.
    pub fn credentials_source(&self) -> &str {
        &self.0.credentials.source
    }

    /// An access token for use elsewhere: the cached one while it is good, else a fetched one.
    ///
    /// It is a secret. Send it as `Bearer` (RFC 6750 section 2.1); do not keep it, ask again.
    ///
    /// # Errors
    /// [`is_unauthenticated`](Error::is_unauthenticated) when the credentials are refused, and
    /// [`is_unavailable`](Error::is_unavailable) when nobody answers.
    ///
    /// ```no_run
    /// # async fn example(client: gatekey_client::Client) -> Result<(), gatekey_client::Error> {
    /// let token = client.access_token().await?;
    /// assert_eq!(token.split('.').count(), 3, "Gatekey's tokens are JWTs");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn access_token(&self) -> Result<String, Error> {
        let deadline = Instant::now() + self.0.timeout;
        let login = tokio::time::timeout_at(deadline, self.access()).await;
        let access = login.unwrap_or_else(|_| Err(Error::timed_out("log in", self.0.timeout)))?;
        Ok(access.token().text().expose().to_owned())
    }

    /// Who the server takes the caller for: `IdentityService/UserInfo`.
    ///
    /// # Errors
    /// As [`Client::access_token`].
    ///
    /// ```no_run
    /// # async fn example(client: gatekey_client::Client) -> Result<(), gatekey_client::Error> {
    /// println!("{}", client.whoami().await?.subject);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn whoami(&self) -> Result<UserInfo, Error> {
        use flyteidl::service as flyte_1;
        use flyteidl2::auth as flyte_2;
        let operation = "ask who is calling";
        let identity = flyte_2::IdentityServiceClient::new(self.http(), self.calls());
        let request = flyte_2::UserInfoRequest::default();
        let answer =
            self.call(operation, |options| identity.user_info_with_options(request.clone(), options)).await;
        match answer {
            Ok(answer) => Ok(answer.into_owned().into()),
            // Servers of Flyte 1 know the older name of the service alone.
            Err(error) if error.is_unimplemented() => {
                let identity = flyte_1::IdentityServiceClient::new(self.http(), self.calls());
                let request = flyte_1::UserInfoRequest::default();
                let answer =
                    self.call(operation, |options| identity.user_info_with_options(request.clone(), options));
                Ok(answer.await?.into_owned().into())
            }
            Err(error) => Err(error),
        }
    }

    /// The organization for requests: the configured one, that of a serverless caller, or none.
    pub(crate) async fn request_organization(&self) -> Result<String, Error> {
        if let Some(organization) = &self.0.organization {
            return Ok(organization.clone());
        }
        if self.serverless_tenant().is_some() {
            return self.user_handle().await;
        }
        Ok(String::new())
    }

    pub(crate) fn serverless_tenant(&self) -> Option<&str> {
        self.0.endpoint.value.serverless_tenant()
    }

    /// The caller's handle on a serverless endpoint.
    pub(crate) async fn user_handle(&self) -> Result<String, Error> {
        let handle = self.0.user_handle.get_or_try_init(|| async {
            let user = self.whoami().await?;
            let handle = user.additional_claims.get("userhandle").and_then(serde_json::Value::as_str);
            handle.filter(|handle| !handle.is_empty()).map(str::to_owned).ok_or_else(|| {
                Error::new(
                    Kind::FailedPrecondition,
                    "the server does not say the userhandle of the caller, which its keys are named after",
                )
            })
        });
        handle.await.cloned()
    }

    /// Spares a test the question.
    #[cfg(test)]
    pub(crate) fn know_user_handle(&self, handle: &str) {
        self.0.user_handle.set(handle.to_owned()).expect("nobody asked before");
    }

    pub(crate) fn http(&self) -> HttpClient {
        self.0.transport.for_calls(self.0.endpoint.value.is_plaintext())
    }

    pub(crate) fn calls(&self) -> ClientConfig {
        self.0.calls.clone()
    }

    async fn access(&self) -> Result<Access, Error> {
        self.0.login.access(&self.0.transport).await
    }

    /// Makes a call of an RPC; `attempt` sends the request once.
    ///
    /// Logs in if there is no valid token, retries while the server is unavailable, and logs in again
    /// once if the token is refused. All attempts share the client's timeout and one `x-request-id`, by
    /// which a Gatekey server recognizes a repeated Create: it returns a secret instead of "already
    /// exists".
    ///
    /// `attempt` is not an `AsyncFn` because the compiler cannot prove that the future of one is `Send`.
    pub(crate) async fn call<T, F>(
        &self,
        operation: &str,
        attempt: impl Fn(CallOptions) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, ConnectError>>,
    {
        let request_id = random::request_id();
        let deadline = Instant::now() + self.0.timeout;
        let attempts = async {
            let access = self.access().await?;
            match self.attempts(operation, &access, &request_id, deadline, &attempt).await {
                Err(error) if error.is_unauthenticated() => {
                    self.0.login.forget(&access);
                    let access = self.access().await?;
                    self.attempts(operation, &access, &request_id, deadline, &attempt).await
                }
                outcome => outcome,
            }
        };
        tokio::time::timeout_at(deadline, attempts)
            .await
            .unwrap_or_else(|_| Err(Error::timed_out(operation, self.0.timeout)))
            .map_err(|error| error.with_request_id(&request_id))
    }

    async fn attempts<T, F>(
        &self,
        operation: &str,
        access: &Access,
        request_id: &str,
        deadline: Instant,
        attempt: &impl Fn(CallOptions) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, ConnectError>>,
    {
        let server = self.url();
        with_retries(self.0.retries, Some(deadline), || async {
            let options = CallOptions::default()
                .with_timeout(deadline.saturating_duration_since(Instant::now()))
                .with_header("x-request-id", request_id)
                .with_header(access.header_name(), access.token().header().clone());
            attempt(options).await.map_err(|error| Error::of_call(operation, &server, error))
        })
        .await
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Client")
            .field("url", &self.url())
            .field("client_id", &self.client_id())
            .finish_non_exhaustive()
    }
}

/// Tries again while the server is unavailable, with pauses that double, as long as the deadline lets it.
pub(crate) async fn with_retries<T, F>(
    retries: u32,
    deadline: Option<Instant>,
    attempt: impl Fn() -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut longest = FIRST_PAUSE;
    for _ in 0..retries {
        match attempt().await {
            Err(error) if error.is_unavailable() => {
                let pause = random::jittered(longest);
                // What failed says more than that time ran out while waiting.
                if deadline.is_some_and(|deadline| Instant::now() + pause >= deadline) {
                    return Err(error);
                }
                tokio::time::sleep(pause).await;
                longest = (longest * 2).min(LONGEST_PAUSE);
            }
            outcome => return outcome,
        }
    }
    attempt().await
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
        Ok(Client(Arc::new(Inner {
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
        })))
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

/// Converts a timestamp of the wire; one that the clock's type cannot hold counts as unset.
pub(crate) fn time_of(timestamp: Option<&well_known::Timestamp>) -> Option<std::time::SystemTime> {
    timestamp.and_then(|timestamp| timestamp.clone().try_into().ok())
}
