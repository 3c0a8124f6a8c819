//! `IdentityService`: the caller's identity, under the names of both generations of Flyte.

use std::sync::Arc;

use buffa_types::google::protobuf::{Struct, Value};
use connectrpc::{ConnectError, RequestContext, Response, ServiceRequest, ServiceResult};
use gatekey_core::Error;
use gatekey_proto::{flyteidl, flyteidl2};

use super::{
    Rpc, authorize,
    error::{render, unauthenticated},
};
use crate::user_info::UserInfo;

/// `flyteidl2.auth.IdentityService`.
pub struct Identity2 {
    pub(super) rpc: Arc<Rpc>,
}

/// `flyteidl.service.IdentityService`.
pub struct Identity1 {
    pub(super) rpc: Arc<Rpc>,
}

async fn read(rpc: &Rpc, context: &RequestContext) -> Result<UserInfo, ConnectError> {
    let token = authorize::authenticated(rpc, context)?;
    let persona = &rpc.config.identity.persona;
    let info = UserInfo::read(&rpc.api_keys, &rpc.organization, persona, &token).await;
    info.map_err(|error| match error {
        Error::NotFound { .. } => unauthenticated("the token's key was deleted"),
        other => render(other),
    })
}

/// Returns the claims that the messages have no field for.
fn additional_claims(info: &UserInfo) -> Struct {
    let mut claims = Struct::default();
    claims.fields.insert("userhandle".into(), Value::from(info.user_handle.clone()));
    if let Some(role) = info.role {
        claims.fields.insert("role".into(), Value::from(role.as_str().to_owned()));
    }
    claims
}

impl flyteidl2::auth::IdentityService for Identity2 {
    async fn user_info(
        &self,
        context: RequestContext,
        _request: ServiceRequest<'_, flyteidl2::auth::UserInfoRequest>,
    ) -> ServiceResult<flyteidl2::auth::UserInfoResponse> {
        let info = read(&self.rpc, &context).await?;
        Response::ok(flyteidl2::auth::UserInfoResponse {
            additional_claims: additional_claims(&info).into(),
            preferred_username: info.subject.clone(),
            subject: info.subject,
            given_name: info.name.clone(),
            name: info.name,
            family_name: info.family_name,
            email: info.email,
            ..Default::default()
        })
    }
}

impl flyteidl::service::IdentityService for Identity1 {
    async fn user_info(
        &self,
        context: RequestContext,
        _request: ServiceRequest<'_, flyteidl::service::UserInfoRequest>,
    ) -> ServiceResult<flyteidl::service::UserInfoResponse> {
        let info = read(&self.rpc, &context).await?;
        Response::ok(flyteidl::service::UserInfoResponse {
            additional_claims: additional_claims(&info).into(),
            preferred_username: info.subject.clone(),
            subject: info.subject,
            given_name: info.name.clone(),
            name: info.name,
            family_name: info.family_name,
            email: info.email,
            ..Default::default()
        })
    }
}
