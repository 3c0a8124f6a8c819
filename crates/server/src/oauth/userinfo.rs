//! The caller's identity (OpenID Connect Core section 5.3), also at Flyte 1's `/me`.

use std::sync::Arc;

use axum::{Extension, Json, extract::State};
use gatekey_authn::{NoKey, Principal, Refusal};
use gatekey_core::token::TokenError;
use gatekey_credentials::Role;
use schemars::JsonSchema;
use serde::Serialize;

use super::{OAuth, error::OAuthError};
use crate::user_info::UserInfo;

/// The response of `/oauth2/userinfo` (OpenID Connect Core section 5.3.2).
#[derive(Serialize, JsonSchema)]
pub struct Claims {
    /// The client id.
    sub: String,
    /// The client name.
    name: String,
    /// The client name.
    given_name: String,
    /// The configured family name of every key.
    #[serde(skip_serializing_if = "String::is_empty")]
    family_name: String,
    /// The configured address of the key.
    #[serde(skip_serializing_if = "String::is_empty")]
    email: String,
    /// The client id.
    preferred_username: String,
    /// A name of the server's organization.
    userhandle: String,
    /// What the key may do.
    role: Option<Role>,
}

/// `/oauth2/userinfo`.
pub async fn handle(
    State(oauth): State<Arc<OAuth>>,
    Extension(principal): Extension<Principal>,
) -> Result<Json<Claims>, OAuthError> {
    let info = read(&oauth, &principal).await?;
    Ok(Json(Claims {
        sub: info.subject.clone(),
        given_name: info.name.clone(),
        name: info.name,
        family_name: info.family_name,
        email: info.email,
        preferred_username: info.subject,
        userhandle: info.user_handle,
        role: info.role,
    }))
}

/// The response of `/me`, with the field names of `flyteidl.service.UserInfoResponse`.
#[derive(Serialize, JsonSchema)]
pub struct Me {
    /// The client id.
    subject: String,
    /// The client name.
    name: String,
    /// The client name.
    given_name: String,
    /// The configured family name of every key.
    #[serde(skip_serializing_if = "String::is_empty")]
    family_name: String,
    /// The configured address of the key.
    #[serde(skip_serializing_if = "String::is_empty")]
    email: String,
    /// The client id.
    preferred_username: String,
    /// Facts that the message has no field for.
    additional_claims: AdditionalClaims,
}

/// Facts that `flyteidl.service.UserInfoResponse` has no field for.
#[derive(Serialize, JsonSchema)]
pub struct AdditionalClaims {
    /// A name of the server's organization.
    userhandle: String,
    /// What the key may do.
    role: Option<Role>,
}

/// `/me`.
pub async fn me(
    State(oauth): State<Arc<OAuth>>,
    Extension(principal): Extension<Principal>,
) -> Result<Json<Me>, OAuthError> {
    let info = read(&oauth, &principal).await?;
    Ok(Json(Me {
        subject: info.subject.clone(),
        given_name: info.name.clone(),
        name: info.name,
        family_name: info.family_name,
        email: info.email,
        preferred_username: info.subject,
        additional_claims: AdditionalClaims { userhandle: info.user_handle, role: info.role },
    }))
}

async fn read(oauth: &OAuth, principal: &Principal) -> Result<UserInfo, OAuthError> {
    let sent = !matches!(principal, Principal::Nobody);
    let token = principal.key().map_err(|reason| match reason {
        NoKey::Limited(limited) => OAuthError::Limited(limited),
        NoKey::Refused(Refusal::Unavailable) => TokenError::CannotDecide.into(),
        NoKey::Nobody | NoKey::Refused(_) => {
            oauth.telemetry.metrics.count_unauthenticated();
            OAuthError::Bearer { reason: reason.to_string(), sent }
        }
    })?;
    let persona = &oauth.config.identity.persona;
    let info = UserInfo::read(&oauth.api_keys, &oauth.organization, persona, token).await;
    info.map_err(|error| match error {
        gatekey_core::Error::NotFound { .. } => {
            OAuthError::Bearer { reason: "the token's key was deleted".to_owned(), sent }
        }
        gatekey_core::Error::Unavailable(cause) => TokenError::Unavailable(cause).into(),
        other => TokenError::Internal(Box::new(other)).into(),
    })
}
