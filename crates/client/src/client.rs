//! [`Client`]: calls a server with an API key.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use connectrpc::{
    ConnectError,
    client::{CallOptions, ClientConfig},
};
use gatekey_proto::{flyteidl, flyteidl2};
use tokio::{sync::OnceCell, time::Instant};

use crate::{
    Error, UserInfo,
    credentials::Credentials,
    endpoint::Endpoint,
    error::Kind,
    login::{Access, Login},
    random,
    retry::with_retries,
    settings::Sourced,
    transport::{Http, Transport},
};

/// A client of one server, with the credentials of one API key.
///
/// Cloning is cheap, and clones share connections and the access token.
///
/// The first call logs in: it reads the server's metadata (`AuthMetadataService`) and fetches a
/// token by client credentials (RFC 6749 section 4.4), which every call then sends. The client
/// refreshes the token 60 s before it expires, or after 80 % of its lifetime if that is later.
/// Concurrent calls share one login. A call that fails as unauthenticated logs in again and is
/// retried once, so that clients recover from a rotated signing key.
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

pub(crate) struct Inner {
    pub(crate) endpoint: Sourced<Endpoint>,
    pub(crate) credentials: Sourced<Credentials>,
    pub(crate) organization: Option<String>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) notices: Vec<String>,
    pub(crate) timeout: Duration,
    pub(crate) retries: u32,
    pub(crate) transport: Transport,
    pub(crate) calls: ClientConfig,
    pub(crate) login: Login,
    /// The caller's handle on a serverless endpoint, which is also its organization.
    pub(crate) user_handle: OnceCell<String>,
}

impl Client {
    pub(crate) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// Returns the endpoint as it was given, without a scheme. Encoded credentials contain it.
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

    /// Returns the endpoint with its scheme: `https`, or `http` if the endpoint was given like that
    /// or [`ClientBuilder::plaintext`](crate::ClientBuilder::plaintext) is set.
    pub fn url(&self) -> String {
        self.0.endpoint.value.url()
    }

    /// Returns the client id that the client logs in with.
    pub fn client_id(&self) -> &str {
        &self.0.credentials.value.client_id
    }

    /// Returns the client's secret if `client_id` is its own key, and otherwise nothing.
    pub(crate) fn own_secret(&self, client_id: &str) -> &str {
        let Credentials { client_id: own, client_secret } = &self.0.credentials.value;
        if own == client_id { client_secret.expose() } else { "" }
    }

    /// Returns the organization of requests, if the builder or the encoded key sets one.
    pub fn organization(&self) -> Option<&str> {
        self.0.organization.as_deref()
    }

    /// Returns the first file of CA certificates that the client trusts in addition to the
    /// system's.
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

    /// Returns the source of the endpoint, as text for people: `GATEKEY_API_KEY`, a path or `the
    /// builder`.
    pub fn endpoint_source(&self) -> &str {
        &self.0.endpoint.source
    }

    /// Returns the source of the credentials, as text for people.
    pub fn credentials_source(&self) -> &str {
        &self.0.credentials.source
    }

    /// Returns what a person should know about the sources of the settings, one sentence each: that
    /// a configuration file was found by searching, and which of its members are ignored.
    ///
    /// ```
    /// # use gatekey_client::{Client, PlainSecret};
    /// let builder = Client::builder().endpoint("h").credentials("ci", PlainSecret::new("s"));
    /// assert!(builder.build()?.notices().is_empty());
    /// # Ok::<(), gatekey_client::Error>(())
    /// ```
    pub fn notices(&self) -> &[String] {
        &self.0.notices
    }

    /// Returns the proxies that the client uses.
    #[doc(hidden)]
    pub fn proxies(&self) -> &gatekey_outbound::Proxies {
        self.0.transport.proxies()
    }

    /// Returns an access token for another API: the cached one, or a new one if that is about to
    /// expire.
    ///
    /// The token is a secret. Send it as `Bearer` (RFC 6750 section 2.1), and call this again
    /// rather than keep it.
    ///
    /// # Errors
    /// [`is_unauthenticated`](Error::is_unauthenticated) if the credentials are rejected, and
    /// [`is_unavailable`](Error::is_unavailable) if the server cannot be reached.
    ///
    /// ```no_run
    /// # async fn example(client: gatekey_client::Client) -> Result<(), gatekey_client::Error> {
    /// let token = client.access_token().await?;
    /// assert_eq!(token.split('.').count(), 3, "Gatekey's tokens are JWTs");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn access_token(&self) -> Result<String, Error> {
        let (deadline, request_id) = (Instant::now() + self.0.timeout, random::request_id());
        let login = tokio::time::timeout_at(deadline, self.access(&request_id)).await;
        let access = login.unwrap_or_else(|_| Err(Error::timed_out("log in", self.0.timeout)))?;
        Ok(access.token().text().expose().to_owned())
    }

    /// Returns the caller, as the server identifies it: `IdentityService/UserInfo`.
    ///
    /// # Errors
    /// The same as [`Client::access_token`].
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
        let operation = "look up the caller";
        let identity = flyte_2::IdentityServiceClient::new(self.http(), self.calls());
        let request = flyte_2::UserInfoRequest::default();
        let response = self
            .call(operation, |options| identity.user_info_with_options(request.clone(), options))
            .await;
        match response {
            Ok(response) => Ok(response.into_owned().into()),
            // Flyte 1 servers have only the older name of the service.
            Err(error) if error.is_unimplemented() => {
                let identity = flyte_1::IdentityServiceClient::new(self.http(), self.calls());
                let request = flyte_1::UserInfoRequest::default();
                let response = self.call(operation, |options| {
                    identity.user_info_with_options(request.clone(), options)
                });
                Ok(response.await?.into_owned().into())
            }
            Err(error) => Err(error),
        }
    }

    /// Returns the organization for requests: the configured one, or the caller's on a serverless
    /// endpoint, or none.
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

    pub(crate) async fn user_handle(&self) -> Result<String, Error> {
        let handle = self.0.user_handle.get_or_try_init(|| async {
            let user = self.whoami().await?;
            let handle =
                user.additional_claims.get("userhandle").and_then(serde_json::Value::as_str);
            handle.filter(|handle| !handle.is_empty()).map(str::to_owned).ok_or_else(|| {
                Error::new(
                    Kind::FailedPrecondition,
                    "cannot name the key: the server's user info has no `userhandle` claim",
                )
            })
        });
        handle.await.cloned()
    }

    #[cfg(test)]
    pub(crate) fn set_user_handle(&self, handle: &str) {
        self.0.user_handle.set(handle.to_owned()).expect("it is set only once");
    }

    pub(crate) fn http(&self) -> Http {
        self.0.transport.for_calls(self.0.endpoint.value.is_plaintext())
    }

    pub(crate) fn calls(&self) -> ClientConfig {
        self.0.calls.clone()
    }

    async fn access(&self, request_id: &str) -> Result<Access, Error> {
        self.0.login.access(&self.0.transport, request_id).await
    }

    /// Calls an RPC; `attempt` sends the request once.
    ///
    /// Logs in if there is no valid token, retries while the server is unavailable, and logs in
    /// again once if the token is rejected. All attempts share the client's timeout and one
    /// `x-request-id`, by which a Gatekey server recognizes a repeated Create: it returns a secret
    /// instead of "already exists".
    ///
    /// `attempt` is not an `AsyncFn` because the compiler cannot prove that the future of one is
    /// `Send`.
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
            let access = self.access(&request_id).await?;
            match self.attempts(operation, &access, &request_id, deadline, &attempt).await {
                Err(error) if error.is_unauthenticated() => {
                    self.0.login.forget(&access);
                    let access = self.access(&request_id).await?;
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
