//! [`Login`]: finds out how to log in, does it, and keeps the token fresh.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use connectrpc::client::{CallOptions, ClientConfig, HttpClient};
use gatekey_proto::{flyteidl, flyteidl2};
use http::{HeaderName, HeaderValue, Uri, header};
use tokio::time::Duration;

use crate::{
    Error, TokenCache,
    credentials::Credentials,
    endpoint::Endpoint,
    error::{Kind, one_line},
    retry::with_retries,
    single_flight::{Freshness, SingleFlight},
    token::{Token, TokenKey, TokenSlot},
    token_request::TokenRequest,
    transport::Transport,
};

/// How long one question about how to log in may take; the caller's own limit comes on top.
const DISCOVERY_TIMEOUT: Duration = Duration::from_secs(15);

/// The token source of one client.
pub(crate) struct Login {
    endpoint: Endpoint,
    credentials: Credentials,
    /// Asked for in place of the advertised ones.
    scopes: Option<Vec<String>>,
    calls: ClientConfig,
    user_agent: HeaderValue,
    retries: u32,
    cache: TokenCache,
    discovery: SingleFlight<Discovery>,
}

/// What the server says about logging in.
struct Discovery {
    token_endpoint: Uri,
    scopes: Vec<String>,
    audience: String,
    header_name: HeaderName,
    /// Where the token for all this is kept.
    tokens: Arc<TokenSlot>,
}

/// A token together with how to send it.
pub(crate) struct Access {
    discovery: Arc<Discovery>,
    token: Arc<Token>,
}

impl Access {
    pub(crate) fn token(&self) -> &Token {
        &self.token
    }

    /// The header that carries the token: the advertised `authorization_metadata_key`.
    pub(crate) fn header_name(&self) -> HeaderName {
        self.discovery.header_name.clone()
    }
}

/// The fields that matter of the two metadata answers, whichever package they are from.
#[derive(Debug, Default, PartialEq, Eq)]
struct Metadata {
    token_endpoint: String,
    scopes: Vec<String>,
    audience: String,
    authorization_metadata_key: String,
}

impl Login {
    pub(crate) fn new(
        endpoint: Endpoint,
        credentials: Credentials,
        scopes: Option<Vec<String>>,
        calls: ClientConfig,
        user_agent: HeaderValue,
        retries: u32,
        cache: TokenCache,
    ) -> Self {
        let discovery = SingleFlight::default();
        Self { endpoint, credentials, scopes, calls, user_agent, retries, cache, discovery }
    }

    /// A token that is good now.
    pub(crate) async fn access(&self, transport: &Transport) -> Result<Access, Error> {
        let discovery = self.discovery.get(|_| Freshness::Fresh, || self.discover(transport)).await?;
        let token = discovery
            .tokens
            .get(Token::freshness, || async {
                let request = TokenRequest {
                    token_endpoint: &discovery.token_endpoint,
                    client_id: &self.credentials.client_id,
                    client_secret: &self.credentials.client_secret,
                    scopes: &discovery.scopes,
                    audience: &discovery.audience,
                    user_agent: &self.user_agent,
                };
                let http = transport.for_login(request.token_endpoint)?;
                with_retries(self.retries, None, || request.send(&http)).await
            })
            .await?;
        Ok(Access { discovery, token })
    }

    /// Forgets a token that was refused, and what the server said about logging in: that may have changed
    /// as well, and is asked again at the cost of two small calls.
    pub(crate) fn forget(&self, access: &Access) {
        access.discovery.tokens.forget(&access.token);
        self.discovery.forget(&access.discovery);
    }

    async fn discover(&self, transport: &Transport) -> Result<Discovery, Error> {
        let http = transport.for_calls(self.endpoint.is_plaintext());
        let metadata = with_retries(self.retries, None, || async {
            match self.ask_flyte_2(&http).await {
                Err(error) if error.is_unimplemented() => self.ask_flyte_1(&http).await,
                answer => answer,
            }
        })
        .await?;
        self.understand(metadata)
    }

    fn understand(&self, metadata: Metadata) -> Result<Discovery, Error> {
        let server = self.endpoint.url();
        let broken = |what: String| {
            Error::new(Kind::FailedPrecondition, format!("{server} does not say how to log in: {what}"))
        };
        if metadata.token_endpoint.is_empty() {
            return Err(broken("it names no token endpoint".to_owned()));
        }
        let shown = one_line(&metadata.token_endpoint);
        let token_endpoint: Uri = metadata
            .token_endpoint
            .parse()
            .map_err(|error| broken(format!("its token endpoint {shown:?} is no URL")).caused_by(error))?;
        // Older servers leave the name of the header empty.
        let header_name = match metadata.authorization_metadata_key.as_str() {
            "" => header::AUTHORIZATION,
            name => name.parse().map_err(|error| {
                broken(format!("its authorization_metadata_key {:?} is no header", one_line(name)))
                    .caused_by(error)
            })?,
        };
        let scopes = self.scopes.clone().unwrap_or(metadata.scopes);
        let secret = digest(&SHA256, self.credentials.client_secret.expose().as_bytes());
        let key = TokenKey {
            endpoint: server.clone(),
            token_endpoint: metadata.token_endpoint,
            client_id: self.credentials.client_id.clone(),
            secret_fingerprint: secret.as_ref().try_into().expect("SHA-256 has 32 bytes"),
            scopes: scopes.clone(),
            audience: metadata.audience.clone(),
        };
        let tokens = self.cache.slot(&key);
        Ok(Discovery { token_endpoint, scopes, audience: metadata.audience, header_name, tokens })
    }

    async fn ask_flyte_2(&self, http: &HttpClient) -> Result<Metadata, Error> {
        use flyteidl2::auth::{
            AuthMetadataServiceClient, GetOAuth2MetadataRequest, GetPublicClientConfigRequest,
        };
        let service = AuthMetadataServiceClient::new(http.clone(), self.calls.clone());
        let (server, config) = futures::try_join!(
            service.get_o_auth2_metadata_with_options(GetOAuth2MetadataRequest::default(), options()),
            service.get_public_client_config_with_options(GetPublicClientConfigRequest::default(), options()),
        )
        .map_err(|error| self.error(error))?;
        let (server, config) = (server.into_owned(), config.into_owned());
        Ok(Metadata {
            token_endpoint: server.token_endpoint,
            scopes: config.scopes,
            audience: config.audience,
            authorization_metadata_key: config.authorization_metadata_key,
        })
    }

    async fn ask_flyte_1(&self, http: &HttpClient) -> Result<Metadata, Error> {
        use flyteidl::service::{
            AuthMetadataServiceClient, OAuth2MetadataRequest, PublicClientAuthConfigRequest,
        };
        let service = AuthMetadataServiceClient::new(http.clone(), self.calls.clone());
        let (server, config) = futures::try_join!(
            service.get_o_auth2_metadata_with_options(OAuth2MetadataRequest::default(), options()),
            service
                .get_public_client_config_with_options(PublicClientAuthConfigRequest::default(), options()),
        )
        .map_err(|error| self.error(error))?;
        let (server, config) = (server.into_owned(), config.into_owned());
        Ok(Metadata {
            token_endpoint: server.token_endpoint,
            scopes: config.scopes,
            audience: config.audience,
            authorization_metadata_key: config.authorization_metadata_key,
        })
    }

    fn error(&self, error: connectrpc::ConnectError) -> Error {
        Error::of_call("find out how to log in", &self.endpoint.url(), error)
    }
}

fn options() -> CallOptions {
    CallOptions::default().with_timeout(DISCOVERY_TIMEOUT)
}
