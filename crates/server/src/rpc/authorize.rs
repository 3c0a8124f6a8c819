//! The one table of who may call what.
//!
//! It is applied as middleware, before a body is read, so it covers unary and streaming calls alike; what it
//! lacks is denied. Handlers get their caller from here alone, checked once more when the body has arrived.

use std::time::Duration;

use axum::{
    body::to_bytes,
    extract::{Request, State},
    http::Version,
    middleware::Next,
    response::Response,
};
use connectrpc::{ConnectError, RequestContext};
use gatekey_core::{Caller, Error, KeyId, token::VerifiedToken};
use gatekey_credentials::Role;
use tokio::time::timeout;

use super::{error, render};
use crate::{
    App,
    authenticate::Principal,
    call::Call,
    metrics::{Outcome, Told},
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

/// Every procedure.
pub fn procedures() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|(procedure, _)| *procedure)
}

/// The procedures whose requests are empty or nearly so.
pub fn with_small_requests() -> impl Iterator<Item = &'static str> {
    let small = |access: &Access| matches!(access, Access::Anonymous | Access::Authenticated);
    TABLE.iter().filter(move |(_, access)| small(access)).map(|(procedure, _)| *procedure)
}

/// How much of a refused request's body is read: HTTP/1.1 cannot go on with the connection otherwise.
const DRAINED: usize = 64 * 1024;
/// How long that may take.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// Lets a call through to its handler, or refuses it in the shape of its protocol before its body is read. The
/// handler asks again, by [`admin`], [`admin_or_self`] or [`authenticated`]: while a body arrives, a key may go.
pub async fn middleware(State(app): State<App>, request: Request, next: Next) -> Response {
    let procedure = request.uri().path();
    let Some(access) = access(procedure) else {
        return super::unimplemented(request.headers());
    };
    let principal = request.extensions().get::<Principal>().unwrap_or(&Principal::Nobody);
    let refusal = match access {
        Access::Anonymous => None,
        Access::Authenticated | Access::AdminOrSelf => refuse_nobody(&app, principal).err(),
        Access::Admin => match refuse_nobody(&app, principal) {
            Err(refusal) => Some(refusal),
            Ok(token) => {
                let call = request.extensions().get::<Call>();
                refuse_all_but_admin(&app, call, token, procedure, NOT_ADMIN).await.err()
            }
        },
    };
    let Some(refusal) = refusal else { return next.run(request).await };
    let (parts, body) = request.into_parts();
    if let Some(told) = parts.extensions.get::<Told>() {
        told.tell(Outcome::of_code(refusal.code));
    }
    if parts.version < Version::HTTP_2 {
        let _ = timeout(DRAIN_TIME, to_bytes(body, DRAINED)).await;
    }
    render(refusal, &parts.headers)
}

const NOT_ADMIN: &str = "role admin is needed";
const NOT_ADMIN_OR_SELF: &str = "role admin is needed for any key but one's own";

/// The key that calls, as it is now.
///
/// # Errors
/// UNAUTHENTICATED when there is none, or its token is not in force any more.
pub fn authenticated(app: &App, context: &RequestContext) -> Result<VerifiedToken, ConnectError> {
    let principal = context.extensions().get::<Principal>().unwrap_or(&Principal::Nobody);
    let token = refuse_nobody(app, principal)?;
    app.tokens.verify_again(token).map_err(error::unauthenticated)
}

/// The caller of a procedure for admins.
///
/// # Errors
/// UNAUTHENTICATED, or `PERMISSION_DENIED` when it is no admin now.
pub async fn admin(app: &App, context: &RequestContext) -> Result<Caller, ConnectError> {
    let (token, call) = (authenticated(app, context)?, call(context)?);
    let procedure = context.path().unwrap_or_default();
    refuse_all_but_admin(app, Some(call), &token, procedure, NOT_ADMIN).await?;
    Ok(call.by(token.facts.actor()))
}

/// Who may do something to one key.
#[derive(Debug)]
pub struct Granted {
    /// Who calls.
    pub caller: Caller,
    /// Set when it is the key itself: the right is to that key, not to its name.
    pub only_key: Option<KeyId>,
}

/// The caller of a procedure for admins and for the key itself.
///
/// # Errors
/// UNAUTHENTICATED, or `PERMISSION_DENIED`, also when the key asked for does not exist: who may not ask learns
/// nothing.
pub async fn admin_or_self(
    app: &App,
    context: &RequestContext,
    client_id: &str,
) -> Result<Granted, ConnectError> {
    let (token, call) = (authenticated(app, context)?, call(context)?);
    let caller = call.by(token.facts.actor());
    if token.facts.role == Some(Role::Admin) {
        return Ok(Granted { caller, only_key: None });
    }
    if token.facts.client_id.as_str() == client_id {
        return Ok(Granted { caller, only_key: Some(token.facts.key_id) });
    }
    let procedure = context.path().unwrap_or_default();
    refuse_all_but_admin(app, Some(call), &token, procedure, NOT_ADMIN_OR_SELF).await?;
    Ok(Granted { caller, only_key: None })
}

fn call(context: &RequestContext) -> Result<&Call, ConnectError> {
    context.extensions().get::<Call>().ok_or_else(|| ConnectError::internal("internal error"))
}

fn refuse_nobody<'p>(app: &App, principal: &'p Principal) -> Result<&'p VerifiedToken, ConnectError> {
    principal.key().map_err(|reason| {
        app.count_unauthenticated();
        error::unauthenticated(reason)
    })
}

async fn refuse_all_but_admin(
    app: &App,
    call: Option<&Call>,
    token: &VerifiedToken,
    procedure: &str,
    reason: &str,
) -> Result<(), ConnectError> {
    if token.facts.role == Some(Role::Admin) {
        return Ok(());
    }
    if let Some(call) = call {
        app.record_refusal(&call.by(token.facts.actor()), procedure, reason).await;
    }
    Err(error::render(Error::Forbidden(reason.to_owned())))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[tokio::test]
    async fn the_table_has_every_method_that_is_routed_and_nothing_else() {
        let app = crate::app::tests::app();
        let router = super::super::router(&app);
        let routed: BTreeSet<String> = router.methods().map(|method| format!("/{method}")).collect();
        let known: BTreeSet<String> = TABLE.iter().map(|(procedure, _)| (*procedure).to_owned()).collect();
        assert_eq!(known, routed);
        assert_eq!(known.len(), TABLE.len(), "a procedure is named twice, and its first line counts");
    }
}
