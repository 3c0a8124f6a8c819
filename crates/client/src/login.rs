//! [`Login`]: discovers how to log in, logs in, and refreshes the token.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use connectrpc::client::{CallOptions, ClientConfig};
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
    transport::{Http, Transport},
};

/// The timeout of one request for metadata. The caller's own timeout applies as well.
const DISCOVERY_TIMEOUT: Duration = Duration::from_secs(15);

/// The token source of one client.
pub(crate) struct Login {
    pub(crate) endpoint: Endpoint,
    pub(crate) credentials: Credentials,
    /// The scopes to request. `None` means the advertised ones.
    pub(crate) scopes: Option<Vec<String>>,
    /// The audience to request. `None` means the advertised one.
    pub(crate) audience: Option<String>,
    pub(crate) calls: ClientConfig,
    pub(crate) user_agent: HeaderValue,
    pub(crate) retries: u32,
    pub(crate) cache: TokenCache,
    pub(crate) discovery: SingleFlight<Discovery>,
}

/// How to log in, from the server's metadata.
pub(crate) struct Discovery {
    token_endpoint: Uri,
    scopes: Vec<String>,
    audience: String,
    header_name: HeaderName,
    tokens: Arc<TokenSlot>,
}

/// A token, and the header to send it in.
pub(crate) struct Access {
    discovery: Arc<Discovery>,
    token: Arc<Token>,
}

impl Access {
    pub(crate) fn token(&self) -> &Token {
        &self.token
    }

    /// The advertised `authorization_metadata_key`.
    pub(crate) fn header_name(&self) -> HeaderName {
        self.discovery.header_name.clone()
    }
}

/// The relevant fields of the metadata, from either version of Flyte's API.
#[derive(Debug, Default, PartialEq, Eq)]
struct Metadata {
    token_endpoint: String,
    scopes: Vec<String>,
    audience: String,
    authorization_metadata_key: String,
}

impl Login {
    /// Returns a valid token.
    ///
    /// A login has the id of the call that needs it. Calls that wait for the same login share its
    /// error, with that id.
    pub(crate) async fn access(
        &self,
        transport: &Transport,
        request_id: &str,
    ) -> Result<Access, Error> {
        let discovery = self
            .discovery
            .get(|_| Freshness::Fresh, || self.discover(transport, request_id))
            .await?;
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
                    request_id,
                };
                let http = transport.for_login(request.token_endpoint)?;
                with_retries(self.retries, None, || request.send(&http)).await
            })
            .await?;
        Ok(Access { discovery, token })
    }

    /// Drops a rejected token, and the metadata, which may have changed as well.
    pub(crate) fn forget(&self, access: &Access) {
        access.discovery.tokens.forget(&access.token);
        self.discovery.forget(&access.discovery);
    }

    async fn discover(&self, transport: &Transport, request_id: &str) -> Result<Discovery, Error> {
        let http = transport.for_calls(self.endpoint.is_plaintext());
        let metadata = with_retries(self.retries, None, || async {
            match self.metadata_from_flyte_2(&http, request_id).await {
                Err(error) if error.is_unimplemented() => {
                    self.metadata_from_flyte_1(&http, request_id).await
                }
                response => response,
            }
        })
        .await
        .map_err(|error| error.with_request_id(request_id))?;
        self.read_metadata(metadata)
    }

    fn read_metadata(&self, metadata: Metadata) -> Result<Discovery, Error> {
        let server = self.endpoint.url();
        let invalid = |what: String| {
            Error::new(
                Kind::FailedPrecondition,
                format!("invalid login metadata from {server}: {what}"),
            )
        };
        if metadata.token_endpoint.is_empty() {
            return Err(invalid("no token endpoint".to_owned()));
        }
        let shown = one_line(&metadata.token_endpoint);
        let token_endpoint: Uri = metadata.token_endpoint.parse().map_err(|error| {
            invalid(format!("token endpoint {shown:?} is not a URL")).caused_by(error)
        })?;
        // Older servers leave the name of the header empty.
        let header_name = match metadata.authorization_metadata_key.as_str() {
            "" => header::AUTHORIZATION,
            name => name.parse().map_err(|error| {
                let name = one_line(name);
                invalid(format!("authorization_metadata_key {name:?} is not a header name"))
                    .caused_by(error)
            })?,
        };
        let scopes = self.scopes.clone().unwrap_or(metadata.scopes);
        let audience = self.audience.clone().unwrap_or(metadata.audience);
        let secret = digest(&SHA256, self.credentials.client_secret.expose().as_bytes());
        let key = TokenKey {
            endpoint: server.clone(),
            token_endpoint: metadata.token_endpoint,
            client_id: self.credentials.client_id.clone(),
            secret_fingerprint: secret.as_ref().try_into().expect("SHA-256 has 32 bytes"),
            scopes: scopes.clone(),
            audience: audience.clone(),
        };
        let tokens = self.cache.slot(&key);
        Ok(Discovery { token_endpoint, scopes, audience, header_name, tokens })
    }

    async fn metadata_from_flyte_2(
        &self,
        http: &Http,
        request_id: &str,
    ) -> Result<Metadata, Error> {
        use flyteidl2::auth::{
            AuthMetadataServiceClient, GetOAuth2MetadataRequest, GetPublicClientConfigRequest,
        };
        let service = AuthMetadataServiceClient::new(http.clone(), self.calls.clone());
        let (server, config) = futures::try_join!(
            service.get_o_auth2_metadata_with_options(
                GetOAuth2MetadataRequest::default(),
                options(request_id)
            ),
            service.get_public_client_config_with_options(
                GetPublicClientConfigRequest::default(),
                options(request_id)
            ),
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

    async fn metadata_from_flyte_1(
        &self,
        http: &Http,
        request_id: &str,
    ) -> Result<Metadata, Error> {
        use flyteidl::service::{
            AuthMetadataServiceClient, OAuth2MetadataRequest, PublicClientAuthConfigRequest,
        };
        let service = AuthMetadataServiceClient::new(http.clone(), self.calls.clone());
        let (server, config) = futures::try_join!(
            service.get_o_auth2_metadata_with_options(
                OAuth2MetadataRequest::default(),
                options(request_id)
            ),
            service.get_public_client_config_with_options(
                PublicClientAuthConfigRequest::default(),
                options(request_id)
            ),
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
        Error::of_call("read the server's login metadata", &self.endpoint.url(), error)
    }
}

fn options(request_id: &str) -> CallOptions {
    CallOptions::default().with_timeout(DISCOVERY_TIMEOUT).with_header("x-request-id", request_id)
}
