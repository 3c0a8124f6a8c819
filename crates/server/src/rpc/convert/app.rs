//! `cloudidl.identity.App` and its requests.

use gatekey_core::{
    ApiKey, ApiKeyPatch, Application, Error, Timestamp,
    api_key::{
        ApplicationType, ConsentMethod, CreateApiKey, GrantType, Limits, ResponseType,
        TokenEndpointAuthMethod,
    },
};
use gatekey_credentials::Role;
use gatekey_proto::cloudidl::identity as wire;

use super::{all_known, known, timestamp};

/// The role of a key that the public API creates, which has no field for it.
const DEFAULT_ROLE: Role = Role::Contributor;

/// Converts a key, without its secrets. The `App` names the organization of the request.
pub fn from_key(key: &ApiKey, organization: &str) -> wire::App {
    let application = &key.application;
    wire::App {
        organization: organization.to_owned(),
        client_id: key.client_id.to_string(),
        client_id_issued_at: timestamp::to_wire(key.created_at).into(),
        redirect_uris: application.redirect_uris.clone(),
        response_types: application
            .response_types
            .iter()
            .map(|kind| response_type(*kind).into())
            .collect(),
        grant_types: application.grant_types.iter().map(|kind| grant_type(*kind).into()).collect(),
        application_type: application_type(application.application_type).into(),
        contacts: application.contacts.clone(),
        client_name: application.client_name.clone(),
        logo_uri: application.logo_uri.clone(),
        client_uri: application.client_uri.clone(),
        policy_uri: application.policy_uri.clone(),
        tos_uri: application.tos_uri.clone(),
        jwks_uri: application.jwks_uri.clone(),
        token_endpoint_auth_method: auth_method(application.token_endpoint_auth_method).into(),
        client_secret_expires_at: secret_expires_at(key).map(timestamp::to_wire).into(),
        ..Default::default()
    }
}

/// Returns when the newest secret expires, by its own expiry or by the key's.
fn secret_expires_at(key: &ApiKey) -> Option<Timestamp> {
    let newest = key.secrets.iter().max_by_key(|secret| (secret.created_at, secret.id));
    [key.expires_at, newest.and_then(|secret| secret.expires_at)].into_iter().flatten().min()
}

/// Converts a Create. Lists and the authentication method are stored as they were sent, also when
/// they are empty or NONE, so that a client that compares finds no difference.
///
/// # Errors
/// [`Error::Invalid`] for an unknown enum number.
pub fn create(request: wire::CreateAppRequest) -> Result<CreateApiKey, Error> {
    let grant_types = all_known("grant_types", request.grant_types)?;
    let response_types = all_known("response_types", request.response_types)?;
    Ok(CreateApiKey {
        client_id: request.client_id,
        application: Application {
            client_name: request.client_name,
            redirect_uris: request.redirect_uris,
            response_types: response_types.into_iter().map(response_type_from).collect(),
            grant_types: grant_types.into_iter().map(grant_type_from).collect(),
            application_type: application_type_from(known(
                "application_type",
                request.application_type,
            )?),
            contacts: request.contacts,
            logo_uri: request.logo_uri,
            client_uri: request.client_uri,
            policy_uri: request.policy_uri,
            tos_uri: request.tos_uri,
            jwks_uri: request.jwks_uri,
            token_endpoint_auth_method: auth_method_from(known(
                "token_endpoint_auth_method",
                request.token_endpoint_auth_method,
            )?),
            consent_method: consent_method_from(known("consent_method", request.consent_method)?),
        },
        role: (!request.skip_default_policy_assignments).then_some(DEFAULT_ROLE),
        expires_at: None,
        secret_label: String::new(),
        limits: Limits::default(),
    })
}

/// Converts an Update. The redirect URIs, the response types, the grants and the authentication
/// method always replace the stored ones, because public clients always send them. Of the other
/// fields, those that are not empty do; an enum's zero is empty.
///
/// # Errors
/// [`Error::Invalid`] for an unknown enum number.
pub fn patch(request: wire::UpdateAppRequest) -> Result<ApiKeyPatch, Error> {
    fn filled(text: String) -> Option<String> {
        (!text.is_empty()).then_some(text)
    }
    let grant_types = all_known("grant_types", request.grant_types)?;
    let response_types = all_known("response_types", request.response_types)?;
    Ok(ApiKeyPatch {
        client_name: filled(request.client_name),
        redirect_uris: Some(request.redirect_uris),
        response_types: Some(response_types.into_iter().map(response_type_from).collect()),
        grant_types: Some(grant_types.into_iter().map(grant_type_from).collect()),
        application_type: match known("application_type", request.application_type)? {
            wire::ApplicationType::WEB => None,
            wire::ApplicationType::NATIVE => Some(ApplicationType::Native),
        },
        contacts: (!request.contacts.is_empty()).then_some(request.contacts),
        logo_uri: filled(request.logo_uri),
        client_uri: filled(request.client_uri),
        policy_uri: filled(request.policy_uri),
        tos_uri: filled(request.tos_uri),
        jwks_uri: filled(request.jwks_uri),
        token_endpoint_auth_method: Some(auth_method_from(known(
            "token_endpoint_auth_method",
            request.token_endpoint_auth_method,
        )?)),
        role: None,
        expires_at: None,
        allow_from: None,
        rate: None,
        projects: None,
        domains: None,
    })
}

fn response_type(kind: ResponseType) -> wire::ResponseTypes {
    match kind {
        ResponseType::Code => wire::ResponseTypes::CODE,
        ResponseType::Token => wire::ResponseTypes::TOKEN,
        ResponseType::IdToken => wire::ResponseTypes::ID_TOKEN,
    }
}

fn response_type_from(kind: wire::ResponseTypes) -> ResponseType {
    match kind {
        wire::ResponseTypes::CODE => ResponseType::Code,
        wire::ResponseTypes::TOKEN => ResponseType::Token,
        wire::ResponseTypes::ID_TOKEN => ResponseType::IdToken,
    }
}

fn grant_type(kind: GrantType) -> wire::GrantTypes {
    match kind {
        GrantType::AuthorizationCode => wire::GrantTypes::AUTHORIZATION_CODE,
        GrantType::Implicit => wire::GrantTypes::IMPLICIT,
        GrantType::Password => wire::GrantTypes::PASSWORD,
        GrantType::ClientCredentials => wire::GrantTypes::CLIENT_CREDENTIALS,
        GrantType::RefreshToken => wire::GrantTypes::REFRESH_TOKEN,
        GrantType::DeviceCode => wire::GrantTypes::DEVICE_CODE,
    }
}

fn grant_type_from(kind: wire::GrantTypes) -> GrantType {
    match kind {
        wire::GrantTypes::AUTHORIZATION_CODE => GrantType::AuthorizationCode,
        wire::GrantTypes::IMPLICIT => GrantType::Implicit,
        wire::GrantTypes::PASSWORD => GrantType::Password,
        wire::GrantTypes::CLIENT_CREDENTIALS => GrantType::ClientCredentials,
        wire::GrantTypes::REFRESH_TOKEN => GrantType::RefreshToken,
        wire::GrantTypes::DEVICE_CODE => GrantType::DeviceCode,
    }
}

fn application_type(kind: ApplicationType) -> wire::ApplicationType {
    match kind {
        ApplicationType::Web => wire::ApplicationType::WEB,
        ApplicationType::Native => wire::ApplicationType::NATIVE,
    }
}

fn application_type_from(kind: wire::ApplicationType) -> ApplicationType {
    match kind {
        wire::ApplicationType::WEB => ApplicationType::Web,
        wire::ApplicationType::NATIVE => ApplicationType::Native,
    }
}

fn auth_method(method: TokenEndpointAuthMethod) -> wire::TokenEndpointAuthMethod {
    match method {
        TokenEndpointAuthMethod::None => wire::TokenEndpointAuthMethod::NONE,
        TokenEndpointAuthMethod::ClientSecretPost => {
            wire::TokenEndpointAuthMethod::CLIENT_SECRET_POST
        }
        TokenEndpointAuthMethod::ClientSecretBasic => {
            wire::TokenEndpointAuthMethod::CLIENT_SECRET_BASIC
        }
    }
}

fn auth_method_from(method: wire::TokenEndpointAuthMethod) -> TokenEndpointAuthMethod {
    match method {
        wire::TokenEndpointAuthMethod::NONE => TokenEndpointAuthMethod::None,
        wire::TokenEndpointAuthMethod::CLIENT_SECRET_POST => {
            TokenEndpointAuthMethod::ClientSecretPost
        }
        wire::TokenEndpointAuthMethod::CLIENT_SECRET_BASIC => {
            TokenEndpointAuthMethod::ClientSecretBasic
        }
    }
}

fn consent_method_from(method: wire::ConsentMethod) -> ConsentMethod {
    match method {
        wire::ConsentMethod::CONSENT_METHOD_NONE => ConsentMethod::None,
        wire::ConsentMethod::CONSENT_METHOD_TRUSTED => ConsentMethod::Trusted,
        wire::ConsentMethod::CONSENT_METHOD_REQUIRED => ConsentMethod::Required,
    }
}
