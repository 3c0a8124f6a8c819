//! Calls any method with a request in JSON, over each protocol that the server supports.

use std::sync::Arc;

use buffa::view::{MessageView, OwnedView};
use connectrpc::{
    ConnectError, ErrorCode, Protocol as Wire, Spec, StreamType,
    client::{CallOptions, ClientConfig, HttpClient, UnaryResponse, call_unary},
    compression::CompressionPolicy,
};
use gatekey_proto::{
    cloudidl::{authorizer::AuthorizerServiceClient, identity::AppsServiceClient},
    flyteidl, flyteidl2,
    gatekey::v1::ApiKeyServiceClient,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{Outcome, Refusal, outcome};
use crate::support::{Http, ServerProcess, trusting};

/// A protocol that the server supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    ConnectJsonOverHttp1,
    ConnectJson,
    ConnectProtoGzip,
    Grpc,
    GrpcWeb,
}

impl Protocol {
    pub(crate) const ALL: [Self; 5] = [
        Self::ConnectJsonOverHttp1,
        Self::ConnectJson,
        Self::ConnectProtoGzip,
        Self::Grpc,
        Self::GrpcWeb,
    ];

    /// The name as part of a client id.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ConnectJsonOverHttp1 => "connect-json-h1",
            Self::ConnectJson => "connect-json-h2",
            Self::ConnectProtoGzip => "connect-proto-gzip",
            Self::Grpc => "grpc",
            Self::GrpcWeb => "grpc-web",
        }
    }
}

/// Calls over one protocol: HTTP/1.1 by hand, everything else with connectrpc's client.
pub(crate) struct RpcClient {
    protocol: Protocol,
    http1: Http,
    http2: HttpClient,
    config: ClientConfig,
}

impl RpcClient {
    pub(crate) fn new(server: &ServerProcess, protocol: Protocol) -> Self {
        let config = ClientConfig::new(server.reached_at.parse().unwrap());
        let config = match protocol {
            Protocol::ConnectJsonOverHttp1 | Protocol::ConnectJson => config.json(),
            Protocol::ConnectProtoGzip => config
                .compress_requests("gzip")
                .with_compression_policy(CompressionPolicy::default().with_min_size(0)),
            Protocol::Grpc => config.with_protocol(Wire::Grpc),
            Protocol::GrpcWeb => config.with_protocol(Wire::GrpcWeb),
        };
        let ca_file = server.ca_file();
        Self {
            protocol,
            http1: Http::over_http1(&server.reached_at, Some(&ca_file)),
            http2: HttpClient::with_tls(Arc::new(trusting(Some(&ca_file)))),
            config,
        }
    }

    /// Calls a method, with a token unless it is empty.
    pub(crate) async fn call(
        &self,
        procedure: &'static str,
        token: &str,
        request: &Value,
    ) -> Outcome {
        if self.protocol == Protocol::ConnectJsonOverHttp1 {
            let response = self.http1.connect_json(procedure, token, request).await;
            let outcome = outcome(&response);
            if let Err(refusal) = &outcome {
                let code: ErrorCode = refusal.code.parse().unwrap();
                assert_eq!(response.status, code.http_status(), "{refusal:?}");
            }
            return outcome;
        }
        let mut options = CallOptions::default();
        if !token.is_empty() {
            options = options.with_header("authorization", format!("Bearer {token}"));
        }
        let called = self.call_typed(procedure, request.clone(), options).await;
        called.map_err(|error| Refusal {
            code: error.code.as_str().to_owned(),
            message: error.message.unwrap_or_default(),
        })
    }

    async fn call_typed(
        &self,
        procedure: &'static str,
        request: Value,
        options: CallOptions,
    ) -> Result<Value, ConnectError> {
        let transport = || (self.http2.clone(), self.config.clone());
        macro_rules! methods {
            ($($procedure:literal => $client:path, $method:ident;)*) => {
                match procedure {
                    $($procedure => {
                        let (transport, config) = transport();
                        let client = <$client>::new(transport, config);
                        in_json(client.$method(typed(request), options).await?)
                    })*
                    // A method that the server does not have.
                    _ => {
                        let spec = Spec::client(procedure, StreamType::Unary);
                        let request = flyteidl2::auth::UserInfoRequest::default();
                        let (transport, config) = transport();
                        let called = call_unary(&transport, &config, spec, request, options).await?;
                        in_json::<flyteidl2::auth::UserInfoResponseView<'static>>(called)
                    }
                }
            };
        }
        let response = methods! {
            "/cloudidl.identity.AppsService/Create" => AppsServiceClient<_>, create_with_options;
            "/cloudidl.identity.AppsService/Get" => AppsServiceClient<_>, get_with_options;
            "/cloudidl.identity.AppsService/Update" => AppsServiceClient<_>, update_with_options;
            "/cloudidl.identity.AppsService/Delete" => AppsServiceClient<_>, delete_with_options;
            "/cloudidl.identity.AppsService/List" => AppsServiceClient<_>, list_with_options;
            "/cloudidl.authorizer.AuthorizerService/AssignIdentity" =>
                AuthorizerServiceClient<_>, assign_identity_with_options;
            "/cloudidl.authorizer.AuthorizerService/UnassignIdentity" =>
                AuthorizerServiceClient<_>, unassign_identity_with_options;
            "/cloudidl.authorizer.AuthorizerService/GetIdentityAssignments" =>
                AuthorizerServiceClient<_>, get_identity_assignments_with_options;
            "/cloudidl.authorizer.AuthorizerService/GetPolicy" =>
                AuthorizerServiceClient<_>, get_policy_with_options;
            "/cloudidl.authorizer.AuthorizerService/GetRole" =>
                AuthorizerServiceClient<_>, get_role_with_options;
            "/gatekey.v1.ApiKeyService/Create" => ApiKeyServiceClient<_>, create_with_options;
            "/gatekey.v1.ApiKeyService/Get" => ApiKeyServiceClient<_>, get_with_options;
            "/gatekey.v1.ApiKeyService/List" => ApiKeyServiceClient<_>, list_with_options;
            "/gatekey.v1.ApiKeyService/Update" => ApiKeyServiceClient<_>, update_with_options;
            "/gatekey.v1.ApiKeyService/Delete" => ApiKeyServiceClient<_>, delete_with_options;
            "/gatekey.v1.ApiKeyService/RotateSecret" => ApiKeyServiceClient<_>, rotate_secret_with_options;
            "/gatekey.v1.ApiKeyService/RetireSecret" => ApiKeyServiceClient<_>, retire_secret_with_options;
            "/gatekey.v1.ApiKeyService/Disable" => ApiKeyServiceClient<_>, disable_with_options;
            "/gatekey.v1.ApiKeyService/Enable" => ApiKeyServiceClient<_>, enable_with_options;
            "/flyteidl2.auth.AuthMetadataService/GetOAuth2Metadata" =>
                flyteidl2::auth::AuthMetadataServiceClient<_>, get_o_auth2_metadata_with_options;
            "/flyteidl2.auth.AuthMetadataService/GetPublicClientConfig" =>
                flyteidl2::auth::AuthMetadataServiceClient<_>, get_public_client_config_with_options;
            "/flyteidl.service.AuthMetadataService/GetOAuth2Metadata" =>
                flyteidl::service::AuthMetadataServiceClient<_>, get_o_auth2_metadata_with_options;
            "/flyteidl.service.AuthMetadataService/GetPublicClientConfig" =>
                flyteidl::service::AuthMetadataServiceClient<_>, get_public_client_config_with_options;
            "/flyteidl2.auth.IdentityService/UserInfo" =>
                flyteidl2::auth::IdentityServiceClient<_>, user_info_with_options;
            "/flyteidl.service.IdentityService/UserInfo" =>
                flyteidl::service::IdentityServiceClient<_>, user_info_with_options;
        };
        Ok(response)
    }
}

fn typed<Request: DeserializeOwned>(request: Value) -> Request {
    serde_json::from_value(request).expect("the case's request is a message")
}

fn in_json<V>(response: UnaryResponse<OwnedView<V>>) -> Value
where
    V: MessageView<'static>,
    V::Owned: Serialize,
{
    serde_json::to_value(response.into_owned()).expect("a message is JSON")
}
