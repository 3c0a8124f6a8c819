//! Who is calling (OpenID Connect Core section 5.3), also at Flyte 1's `/me`.

use axum::{Extension, Json, extract::State};
use gatekey_core::token::{TokenError, VerifiedToken};
use gatekey_credentials::Role;
use schemars::JsonSchema;
use serde::Serialize;

use super::error::OAuthError;
use crate::{App, authenticate::Principal};

/// What is told of the key that calls.
pub struct UserInfo {
    /// The client id.
    pub subject: String,
    /// The client name, as it is stored now.
    pub name: String,
    /// A name of this server's organization, for the serverless path of the public class.
    pub user_handle: String,
    /// What the key may do.
    pub role: Option<Role>,
}

impl UserInfo {
    /// Of a verified token's key.
    ///
    /// # Errors
    /// When the store cannot be read or the key has just been deleted.
    pub async fn of(app: &App, token: &VerifiedToken) -> Result<Self, gatekey_core::Error> {
        let key = app.api_keys.get(token.facts.client_id.as_ref()).await?;
        Ok(Self {
            subject: key.client_id.to_string(),
            name: key.application.client_name,
            user_handle: app.organization.user_handle().to_owned(),
            role: key.role,
        })
    }
}

/// What `/oauth2/userinfo` tells (OpenID Connect Core section 5.3.2).
#[derive(Serialize, JsonSchema)]
pub struct Claims {
    /// The client id.
    sub: String,
    /// The client name.
    name: String,
    /// The client id.
    preferred_username: String,
    /// A name of the server's organization.
    userhandle: String,
    /// What the key may do.
    role: Option<Role>,
}

/// `/oauth2/userinfo`.
pub async fn handle(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
) -> Result<Json<Claims>, OAuthError> {
    let info = read(&app, &principal).await?;
    Ok(Json(Claims {
        sub: info.subject.clone(),
        name: info.name,
        preferred_username: info.subject,
        userhandle: info.user_handle,
        role: info.role,
    }))
}

/// What `/me` tells, with the field names of `flyteidl.service.UserInfoResponse`.
#[derive(Serialize, JsonSchema)]
pub struct Me {
    /// The client id.
    subject: String,
    /// The client name.
    name: String,
    /// The client id.
    preferred_username: String,
    /// What that message has no field for.
    additional_claims: AdditionalClaims,
}

/// What `flyteidl.service.UserInfoResponse` has no field for.
#[derive(Serialize, JsonSchema)]
pub struct AdditionalClaims {
    /// A name of the server's organization.
    userhandle: String,
    /// What the key may do.
    role: Option<Role>,
}

/// `/me`.
pub async fn me(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
) -> Result<Json<Me>, OAuthError> {
    let info = read(&app, &principal).await?;
    Ok(Json(Me {
        subject: info.subject.clone(),
        name: info.name,
        preferred_username: info.subject,
        additional_claims: AdditionalClaims { userhandle: info.user_handle, role: info.role },
    }))
}

async fn read(app: &App, principal: &Principal) -> Result<UserInfo, OAuthError> {
    let sent = !matches!(principal, Principal::Nobody);
    let token = principal.key().map_err(|reason| {
        app.count_unauthenticated();
        OAuthError::Bearer { reason, sent }
    })?;
    UserInfo::of(app, token).await.map_err(|error| match error {
        gatekey_core::Error::NotFound(_) => {
            OAuthError::Bearer { reason: "the token's key was deleted".to_owned(), sent }
        }
        gatekey_core::Error::Unavailable(cause) => TokenError::Unavailable(cause).into(),
        other => TokenError::Internal(Box::new(other)).into(),
    })
}
