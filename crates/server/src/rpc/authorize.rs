//! The one table of who may call what.
//!
//! It is applied as middleware, before a body is read, so it covers unary and streaming calls alike; what it
//! lacks is denied.

use std::sync::atomic::Ordering;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use connectrpc::{ConnectError, RequestContext};
use gatekey_core::tokens::VerifiedToken;
use gatekey_credentials::Role;

use super::{error, render};
use crate::{
    App,
    authenticate::{Principal, actor},
    call::Call,
};

/// Who may call a procedure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Anonymous,
    /// Every key.
    Authenticated,
    /// Keys with role admin.
    Admin,
    /// Keys with role admin, and the key that the request is about: [`admin_or_self`] tells, once it is read.
    AdminOrSelf,
}

const TABLE: &[(&str, Access)] = &[
    ("/cloudidl.identity.AppsService/Create", Access::Admin),
    ("/cloudidl.identity.AppsService/Get", Access::AdminOrSelf),
    ("/cloudidl.identity.AppsService/Update", Access::Admin),
    ("/cloudidl.identity.AppsService/Delete", Access::Admin),
    ("/cloudidl.identity.AppsService/List", Access::Admin),
    ("/gatekey.v1.ApiKeyService/Create", Access::Admin),
    ("/gatekey.v1.ApiKeyService/Get", Access::AdminOrSelf),
    ("/gatekey.v1.ApiKeyService/List", Access::Admin),
    ("/gatekey.v1.ApiKeyService/Update", Access::Admin),
    ("/gatekey.v1.ApiKeyService/Delete", Access::Admin),
    ("/gatekey.v1.ApiKeyService/RotateSecret", Access::AdminOrSelf),
    ("/gatekey.v1.ApiKeyService/RetireSecret", Access::Admin),
    ("/gatekey.v1.ApiKeyService/Disable", Access::Admin),
    ("/gatekey.v1.ApiKeyService/Enable", Access::Admin),
    ("/flyteidl2.auth.AuthMetadataService/GetOAuth2Metadata", Access::Anonymous),
    ("/flyteidl2.auth.AuthMetadataService/GetPublicClientConfig", Access::Anonymous),
    ("/flyteidl.service.AuthMetadataService/GetOAuth2Metadata", Access::Anonymous),
    ("/flyteidl.service.AuthMetadataService/GetPublicClientConfig", Access::Anonymous),
    ("/flyteidl2.auth.IdentityService/UserInfo", Access::Authenticated),
    ("/flyteidl.service.IdentityService/UserInfo", Access::Authenticated),
    ("/grpc.health.v1.Health/Check", Access::Anonymous),
    ("/grpc.health.v1.Health/Watch", Access::Anonymous),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Access::Anonymous),
    ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Access::Anonymous),
];

/// Who may call a procedure; `None` for one that the table lacks.
pub fn access(procedure: &str) -> Option<Access> {
    TABLE.iter().find(|(known, _)| *known == procedure).map(|(_, access)| *access)
}

/// Lets a call through to its handler, or refuses it in the shape of its protocol.
pub async fn middleware(State(app): State<App>, request: Request, next: Next) -> Response {
    let procedure = request.uri().path();
    let Some(access) = access(procedure) else {
        return super::unimplemented(request.headers());
    };
    let needed = match access {
        Access::Anonymous => return next.run(request).await,
        Access::Authenticated | Access::AdminOrSelf => None,
        Access::Admin => Some(Role::Admin),
    };
    let principal = request.extensions().get::<Principal>().unwrap_or(&Principal::Nobody);
    let refusal = match (principal.key(), needed) {
        (Err(reason), _) => {
            // Every public client begins with such a call, so it is no event for the ledger.
            app.unauthenticated_calls.fetch_add(1, Ordering::Relaxed);
            error::unauthenticated(reason)
        }
        (Ok(_), None) => return next.run(request).await,
        (Ok(token), Some(role)) if token.facts.role == Some(role) => return next.run(request).await,
        (Ok(token), Some(role)) => {
            let reason = format!("role {role} is needed");
            if let Some(call) = request.extensions().get::<Call>() {
                record_refusal(&app, call, token, procedure, &reason).await;
            }
            ConnectError::permission_denied(format!("permission denied: {reason}"))
        }
    };
    render(refusal, request.headers())
}

/// Refuses a key that asks about another without being an admin.
///
/// # Errors
/// `PERMISSION_DENIED`, also when the other key does not exist: who may not ask learns nothing.
pub async fn admin_or_self(app: &App, context: &RequestContext, client_id: &str) -> Result<(), ConnectError> {
    let token = super::token(context)?;
    if token.facts.role == Some(Role::Admin) || token.facts.client_id.as_str() == client_id {
        return Ok(());
    }
    let reason = "role admin is needed for any key but one's own";
    if let Some(call) = context.extensions().get::<Call>() {
        record_refusal(app, call, token, context.path().unwrap_or_default(), reason).await;
    }
    Err(ConnectError::permission_denied(format!("permission denied: {reason}")))
}

async fn record_refusal(app: &App, call: &Call, token: &VerifiedToken, procedure: &str, reason: &str) {
    if let Err(error) = app.api_keys.record_refusal(&call.by(actor(token)), procedure, reason).await {
        tracing::error!(%error, procedure, "a refusal could not be entered into the ledger");
    }
}
