//! [`Client`]: a server, and the credentials to call it with.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use connectrpc::{
    ConnectError,
    client::{CallOptions, ClientConfig, HttpClient},
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
    transport::Transport,
};

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

/// What [`ClientBuilder::build`](crate::ClientBuilder::build) makes a client of.
pub(crate) struct Inner {
    pub(crate) endpoint: Sourced<Endpoint>,
    pub(crate) credentials: Sourced<Credentials>,
    pub(crate) organization: Option<String>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) timeout: Duration,
    pub(crate) retries: u32,
    pub(crate) transport: Transport,
    pub(crate) calls: ClientConfig,
    pub(crate) login: Login,
    /// Of a serverless endpoint: the handle of who calls, which is their organization.
    pub(crate) user_handle: OnceCell<String>,
}

impl Client {
    pub(crate) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
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
    pub(crate) fn set_user_handle(&self, handle: &str) {
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
