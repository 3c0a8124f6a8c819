//! `cloudidl.authorizer.AuthorizerService`: the roles of keys, in the terms of Union's public
//! clients.
//!
//! Each role is a built-in policy of the same name, and a key may hold several.

use std::sync::Arc;

use connectrpc::{ConnectError, RequestContext, Response, ServiceRequest, ServiceResult};
use gatekey_core::{
    Caller,
    api_key::{Assignment, LastAdmin},
};
use gatekey_proto::cloudidl::authorizer::{
    AssignIdentityRequest, AssignIdentityResponse, AuthorizerService, GetIdentityAssignmentRequest,
    GetIdentityAssignmentResponse, GetPolicyRequest, GetPolicyResponse, GetRoleRequest,
    GetRoleResponse, UnassignIdentityRequest, UnassignIdentityResponse,
};

use super::{
    Rpc, authorize,
    convert::authorizer::{self, Assigned},
    error::render,
    organization,
};

pub struct Authorizer {
    pub(super) rpc: Arc<Rpc>,
}

impl Authorizer {
    /// Checks that every organization in the request is this server's.
    async fn admin(
        &self,
        context: &RequestContext,
        organizations: &[&str],
    ) -> Result<Caller, ConnectError> {
        let caller = authorize::admin(&self.rpc, context).await?;
        for organization in organizations {
            organization::check(&self.rpc, context, &caller, organization).await?;
        }
        Ok(caller)
    }

    async fn change(
        &self,
        context: &RequestContext,
        organization: &str,
        assigned: Assigned,
        assignment: impl FnOnce(gatekey_credentials::Role) -> Assignment,
    ) -> Result<(), ConnectError> {
        let caller = self.admin(context, &[organization, &assigned.organization]).await?;
        let client_id = assigned.client_id.map_err(render)?;
        let assignment = assignment(assigned.role.map_err(render)?);
        let changed = self.rpc.api_keys.assign(&caller, &client_id, assignment, LastAdmin::Keep);
        changed.await.map(drop).map_err(render)
    }
}

impl AuthorizerService for Authorizer {
    async fn assign_identity(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, AssignIdentityRequest>,
    ) -> ServiceResult<AssignIdentityResponse> {
        let request = request.to_owned_message();
        let assigned = authorizer::assign(request.identity.into_option(), request.assignment);
        self.change(&context, &request.organization, assigned, Assignment::Assign).await?;
        Response::ok(AssignIdentityResponse::default())
    }

    async fn unassign_identity(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, UnassignIdentityRequest>,
    ) -> ServiceResult<UnassignIdentityResponse> {
        let request = request.to_owned_message();
        let assigned = authorizer::unassign(request.identity.into_option(), request.assignment);
        self.change(&context, &request.organization, assigned, Assignment::Unassign).await?;
        Response::ok(UnassignIdentityResponse::default())
    }

    async fn get_identity_assignments(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, GetIdentityAssignmentRequest>,
    ) -> ServiceResult<GetIdentityAssignmentResponse> {
        let request = request.to_owned_message();
        self.admin(&context, &[&request.organization]).await?;
        let client_id = authorizer::client_id(request.identity.into_option()).map_err(render)?;
        let key = self.rpc.api_keys.get(&client_id).await.map_err(render)?;
        Response::ok(GetIdentityAssignmentResponse {
            identity_assignment: authorizer::from_key(&key, &request.organization).into(),
            ..Default::default()
        })
    }

    async fn get_policy(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, GetPolicyRequest>,
    ) -> ServiceResult<GetPolicyResponse> {
        let id = request.to_owned_message().id.into_option().unwrap_or_default();
        self.admin(&context, &[&id.organization]).await?;
        let role = authorizer::policy_named(&id.name).map_err(render)?;
        Response::ok(GetPolicyResponse {
            policy: authorizer::policy(role, &id.organization).into(),
            ..Default::default()
        })
    }

    async fn get_role(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, GetRoleRequest>,
    ) -> ServiceResult<GetRoleResponse> {
        let id = request.to_owned_message().id.into_option().unwrap_or_default();
        self.admin(&context, &[&id.organization]).await?;
        let role = authorizer::role_named(&id.name).map_err(render)?;
        Response::ok(GetRoleResponse {
            role: authorizer::role(role, &id.organization).into(),
            ..Default::default()
        })
    }
}
