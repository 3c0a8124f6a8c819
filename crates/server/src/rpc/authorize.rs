//! Applies the table of [`access`](super::access).
//!
//! As middleware it runs before a body is read, for unary and streaming calls alike. Handlers get
//! their caller only from here, which checks again once the body has arrived.

use std::{sync::Arc, time::Duration};

use axum::{
    body::to_bytes,
    extract::{Request, State},
    http::Version,
    middleware::Next,
    response::Response,
};
use connectrpc::{ConnectError, RequestContext};
use gatekey_authn::Principal;
use gatekey_core::{Caller, Error, KeyId, token::VerifiedToken};
use gatekey_credentials::Role;
use gatekey_telemetry::{Outcome, Record};
use tokio::time::timeout;

use super::{
    Rpc,
    access::{Access, access},
    error,
};
use crate::{config::Reflection, refusals};

/// Bytes of a refused request's body that are read: HTTP/1.1 cannot reuse the connection otherwise.
const DRAINED: usize = 64 * 1024;
/// How long that may take.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Passes a call on to its handler, or refuses it in the format of its protocol before its body is
/// read. The handler checks again, by [`admin`], [`admin_or_self`] or [`authenticated`]: a key may
/// be revoked while a body arrives.
pub async fn middleware(State(rpc): State<Arc<Rpc>>, request: Request, next: Next) -> Response {
    let procedure = request.uri().path();
    let Some(access) = access(procedure) else {
        return error::unimplemented(request.headers());
    };
    let principal = request.extensions().get::<Principal>().unwrap_or(&Principal::Nobody);
    let record = request.extensions().get::<Arc<Record>>();
    let refusal = match access {
        Access::Anonymous => None,
        Access::Reflection if rpc.config.server.reflection == Reflection::Open => None,
        Access::Reflection | Access::Authenticated | Access::AdminOrSelf => {
            require_key(&rpc, principal).err()
        }
        Access::Admin => match require_key(&rpc, principal) {
            Err(refusal) => Some(refusal),
            Ok(token) => {
                require_admin(&rpc, record.map(|record| &**record), token, procedure, NOT_ADMIN).await.err()
            }
        },
    };
    let Some(refusal) = refusal else { return next.run(request).await };
    if let Some(record) = record {
        record.set_outcome(Outcome::of_grpc_code(refusal.code.grpc_code()));
    }
    let (parts, body) = request.into_parts();
    if parts.version < Version::HTTP_2 {
        let _ = timeout(DRAIN_TIMEOUT, to_bytes(body, DRAINED)).await;
    }
    error::respond(refusal, &parts.headers)
}

const NOT_ADMIN: &str = "role admin is needed";
const NOT_ADMIN_OR_SELF: &str = "role admin is needed for any key but one's own";

/// Returns the key that calls, as it is now.
///
/// # Errors
/// UNAUTHENTICATED when there is none, or its token is no longer valid.
pub fn authenticated(rpc: &Rpc, context: &RequestContext) -> Result<VerifiedToken, ConnectError> {
    let principal = context.extensions().get::<Principal>().unwrap_or(&Principal::Nobody);
    let token = require_key(rpc, principal)?;
    rpc.tokens.verify_again(token).map_err(error::unauthenticated)
}

/// Returns the caller of a procedure for admins.
///
/// # Errors
/// UNAUTHENTICATED, or `PERMISSION_DENIED` when the key is no longer an admin.
pub async fn admin(rpc: &Rpc, context: &RequestContext) -> Result<Caller, ConnectError> {
    let (token, record) = (authenticated(rpc, context)?, record(context)?);
    let procedure = context.path().unwrap_or_default();
    require_admin(rpc, Some(record), &token, procedure, NOT_ADMIN).await?;
    Ok(record.caller(token.facts.actor()))
}

/// Permission to act on one key.
#[derive(Debug)]
pub struct Granted {
    pub caller: Caller,
    /// Set when a key calls about itself: the permission is for that key id, not for any later key
    /// with the same client id.
    pub only_key: Option<KeyId>,
}

/// Returns the caller of a procedure for admins and for the key itself.
///
/// # Errors
/// UNAUTHENTICATED, or `PERMISSION_DENIED`, also when the key does not exist: a caller without the
/// permission cannot find out.
pub async fn admin_or_self(
    rpc: &Rpc,
    context: &RequestContext,
    client_id: &str,
) -> Result<Granted, ConnectError> {
    let (token, record) = (authenticated(rpc, context)?, record(context)?);
    let caller = record.caller(token.facts.actor());
    if token.facts.role == Some(Role::Admin) {
        return Ok(Granted { caller, only_key: None });
    }
    if token.facts.client_id.as_str() == client_id {
        return Ok(Granted { caller, only_key: Some(token.facts.key_id) });
    }
    let procedure = context.path().unwrap_or_default();
    require_admin(rpc, Some(record), &token, procedure, NOT_ADMIN_OR_SELF).await?;
    Ok(Granted { caller, only_key: None })
}

fn record(context: &RequestContext) -> Result<&Record, ConnectError> {
    let record = context.extensions().get::<Arc<Record>>();
    record.map(|record| &**record).ok_or_else(|| ConnectError::internal("internal error"))
}

fn require_key<'p>(rpc: &Rpc, principal: &'p Principal) -> Result<&'p VerifiedToken, ConnectError> {
    principal.key().map_err(|reason| {
        rpc.telemetry.metrics.count_unauthenticated();
        error::unauthenticated(reason)
    })
}

async fn require_admin(
    rpc: &Rpc,
    record: Option<&Record>,
    token: &VerifiedToken,
    procedure: &str,
    reason: &str,
) -> Result<(), ConnectError> {
    if token.facts.role == Some(Role::Admin) {
        return Ok(());
    }
    if let Some(record) = record {
        refusals::record(&rpc.api_keys, &record.caller(token.facts.actor()), procedure, reason).await;
    }
    Err(error::render(Error::Forbidden(reason.to_owned())))
}
