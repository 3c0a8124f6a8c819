//! `AuthMetadataService`: how clients log in, under the names of both generations of Flyte.

use std::sync::Arc;

use connectrpc::{RequestContext, Response, ServiceRequest, ServiceResult};
use gatekey_proto::{flyteidl, flyteidl2};

use super::Rpc;
use crate::metadata::{AuthorizationServer, PublicClientConfig};

/// `flyteidl2.auth.AuthMetadataService`.
pub struct AuthMetadata2 {
    pub(super) rpc: Arc<Rpc>,
}

/// `flyteidl.service.AuthMetadataService`.
pub struct AuthMetadata1 {
    pub(super) rpc: Arc<Rpc>,
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// Both generations have the same fields under different message names.
macro_rules! oauth2_metadata {
    ($rpc:expr, $response:ty) => {{
        let metadata = AuthorizationServer::new(&$rpc.config);
        Response::ok(<$response>::default_with(|response| {
            response.issuer = metadata.issuer;
            response.token_endpoint = metadata.token_endpoint;
            response.jwks_uri = metadata.jwks_uri;
            response.response_types_supported = owned(&metadata.response_types_supported);
            response.scopes_supported = owned(&metadata.scopes_supported);
            response.grant_types_supported = owned(&metadata.grant_types_supported);
            response.token_endpoint_auth_methods_supported =
                owned(&metadata.token_endpoint_auth_methods_supported);
        }))
    }};
}

macro_rules! public_client_config {
    ($rpc:expr, $response:ty) => {{
        let config = PublicClientConfig::new(&$rpc.config);
        Response::ok(<$response>::default_with(|response| {
            response.client_id = config.client_id.to_owned();
            response.redirect_uri = config.redirect_uri.to_owned();
            response.scopes = owned(&config.scopes);
            response.authorization_metadata_key = config.authorization_metadata_key;
            response.service_http_endpoint = config.service_http_endpoint;
            response.audience = config.audience.to_owned();
        }))
    }};
}

/// Fills an empty message, so that fields unknown to a generation stay unset.
trait DefaultWith: Default {
    fn default_with(fill: impl FnOnce(&mut Self)) -> Self {
        let mut message = Self::default();
        fill(&mut message);
        message
    }
}

impl<M: Default> DefaultWith for M {}

impl flyteidl2::auth::AuthMetadataService for AuthMetadata2 {
    async fn get_o_auth2_metadata(
        &self,
        _context: RequestContext,
        _request: ServiceRequest<'_, flyteidl2::auth::GetOAuth2MetadataRequest>,
    ) -> ServiceResult<flyteidl2::auth::GetOAuth2MetadataResponse> {
        oauth2_metadata!(self.rpc, flyteidl2::auth::GetOAuth2MetadataResponse)
    }

    async fn get_public_client_config(
        &self,
        _context: RequestContext,
        _request: ServiceRequest<'_, flyteidl2::auth::GetPublicClientConfigRequest>,
    ) -> ServiceResult<flyteidl2::auth::GetPublicClientConfigResponse> {
        public_client_config!(self.rpc, flyteidl2::auth::GetPublicClientConfigResponse)
    }
}

impl flyteidl::service::AuthMetadataService for AuthMetadata1 {
    async fn get_o_auth2_metadata(
        &self,
        _context: RequestContext,
        _request: ServiceRequest<'_, flyteidl::service::OAuth2MetadataRequest>,
    ) -> ServiceResult<flyteidl::service::OAuth2MetadataResponse> {
        oauth2_metadata!(self.rpc, flyteidl::service::OAuth2MetadataResponse)
    }

    async fn get_public_client_config(
        &self,
        _context: RequestContext,
        _request: ServiceRequest<'_, flyteidl::service::PublicClientAuthConfigRequest>,
    ) -> ServiceResult<flyteidl::service::PublicClientAuthConfigResponse> {
        public_client_config!(self.rpc, flyteidl::service::PublicClientAuthConfigResponse)
    }
}
