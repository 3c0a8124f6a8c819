//! Applies the table of [`access`](super::access).
//!
//! The middleware runs before a body is read, for unary and streaming calls. Handlers get their
//! caller only from this module, which checks again once the body has arrived.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use connectrpc::{ConnectError, RequestContext};
use gatekey_authn::{NoKey, Principal, Refusal};
use gatekey_core::{
    Caller, Error, KeyId, SecretId,
    policy::{self, Action, Decision, Resource, decide},
    token::{TokenError, TokenRefusal, VerifiedToken},
};
use gatekey_telemetry::Record;

use super::{
    Rpc,
    access::{Access, access},
    error,
};
use crate::{config::Reflection, refusals};

/// Passes a call on to its handler, or refuses it in the format of its protocol before its body is
/// read. The handler checks again, by [`admin`], [`check`] or [`authenticated`]: a key may be
/// disabled while a body arrives.
pub async fn middleware(State(rpc): State<Arc<Rpc>>, request: Request, next: Next) -> Response {
    let procedure = request.uri().path();
    let record = request.extensions().get::<Arc<Record>>();
    let Some(access) = access(procedure) else {
        let record = record.map(|record| &**record);
        return error::unimplemented(record, procedure, request.headers());
    };
    let principal = request.extensions().get::<Principal>().unwrap_or(&Principal::Nobody);
    let refusal = match access {
        Access::Anonymous => None,
        Access::Reflection if rpc.config.server.reflection == Reflection::Open => None,
        Access::Reflection | Access::Authenticated | Access::AdminOrSelf => {
            require_key(&rpc, principal).err()
        }
        Access::Admin => match require_key(&rpc, principal) {
            Err(refusal) => Some(refusal),
            Ok(token) => {
                match decide(
                    policy::Principal::Key(&token.facts),
                    Action::Administer,
                    Resource::Server,
                ) {
                    Decision::Allow | Decision::AllowOnly(_) => None,
                    Decision::Deny(reason) => {
                        let caller = record.map(|record| record.caller(token.actor()));
                        Some(deny(&rpc, caller.as_ref(), procedure, reason).await)
                    }
                }
            }
        },
    };
    let Some(refusal) = refusal else { return next.run(request).await };
    if let Some(record) = record {
        record.set_grpc_status(refusal.code.grpc_code());
    }
    error::respond(refusal, request.headers())
}

/// Returns the key that calls, as it is now.
///
/// # Errors
/// UNAUTHENTICATED when there is none, or its token is no longer valid; `PERMISSION_DENIED` or
/// `RESOURCE_EXHAUSTED` when its limits do not permit its use; UNAVAILABLE while the state in
/// memory is not fresh.
pub fn authenticated(rpc: &Rpc, context: &RequestContext) -> Result<VerifiedToken, ConnectError> {
    let principal = context.extensions().get::<Principal>().unwrap_or(&Principal::Nobody);
    let token = require_key(rpc, principal)?;
    rpc.tokens.verify_again(token).map_err(|refusal| match refusal {
        TokenRefusal::CannotDecide(_) => error::cannot_decide(),
        refusal => error::unauthenticated(refusal),
    })
}

/// Permission for an action.
#[derive(Debug)]
pub struct Granted {
    pub caller: Caller,
    /// Set when a key may act only on itself: the permission is for this key id, not for a later
    /// key with the same client id.
    pub only_key: Option<KeyId>,
}

/// Asks the policy whether the caller, as it is now, may do something.
///
/// # Errors
/// UNAUTHENTICATED, or `PERMISSION_DENIED`, also when the resource does not exist: a caller without
/// the permission cannot find out.
pub async fn check(
    rpc: &Rpc,
    context: &RequestContext,
    action: Action,
    resource: Resource<'_>,
) -> Result<Granted, ConnectError> {
    let (token, record) = (authenticated(rpc, context)?, record(context)?);
    let caller = record.caller(token.actor());
    match decide(policy::Principal::Key(&token.facts), action, resource) {
        Decision::Allow => Ok(Granted { caller, only_key: None }),
        Decision::AllowOnly(key_id) => Ok(Granted { caller, only_key: Some(key_id) }),
        Decision::Deny(reason) => {
            let procedure = context.path().unwrap_or_default();
            Err(deny(rpc, Some(&caller), procedure, reason).await)
        }
    }
}

/// Checks that a key that changes itself knows one of its secrets, so that a stolen token does not
/// become a secret, and that it does not change itself too often. Returns the secret.
///
/// # Errors
/// `INVALID_ARGUMENT` without a secret, `PERMISSION_DENIED` for a wrong one, `RESOURCE_EXHAUSTED`
/// after too many wrong ones from one address, or too many changes.
pub async fn prove(
    rpc: &Rpc,
    context: &RequestContext,
    client_id: &str,
    key_id: KeyId,
    current_secret: &str,
) -> Result<SecretId, ConnectError> {
    if current_secret.is_empty() {
        let rule = "must be a valid secret of the API key, because it rotates itself; a token is not enough";
        return Err(error::render(Error::invalid("current_secret", rule)));
    }
    let record = record(context)?;
    let authenticated_key = rpc.tokens.authenticate(client_id, current_secret, record.peer);
    let refusal = match authenticated_key.map_err(TokenError::from) {
        Ok(key) if key.facts.key_id == key_id => {
            let within_limit = rpc.tokens.count_own_change(key_id);
            return within_limit.map(|()| key.secret.id).map_err(|refusal| {
                let reason = "the API key changes itself too often".to_owned();
                error::render(Error::TooManyRequests { reason, retry_after: refusal.retry_after })
            });
        }
        Err(TokenError::TooManyFailures { retry_after, .. }) => {
            let reason = "current_secret is wrong, too often from this address".to_owned();
            return Err(error::render(Error::TooManyRequests { reason, retry_after }));
        }
        Err(TokenError::CannotDecide) => return Err(error::cannot_decide()),
        Ok(_) | Err(_) => "current_secret is not a valid secret of the API key",
    };
    let caller = record.caller(authenticated(rpc, context)?.actor());
    Err(deny(rpc, Some(&caller), context.path().unwrap_or_default(), refusal).await)
}

/// Returns the caller of a procedure for admins.
///
/// # Errors
/// See [`check`].
pub async fn admin(rpc: &Rpc, context: &RequestContext) -> Result<Caller, ConnectError> {
    Ok(check(rpc, context, Action::Administer, Resource::Server).await?.caller)
}

fn record(context: &RequestContext) -> Result<&Record, ConnectError> {
    let record = context.extensions().get::<Arc<Record>>();
    record.map(|record| &**record).ok_or_else(|| ConnectError::internal("internal error"))
}

fn require_key<'p>(rpc: &Rpc, principal: &'p Principal) -> Result<&'p VerifiedToken, ConnectError> {
    principal.key().map_err(|reason| match reason {
        NoKey::Limited(limited) => error::limited(&limited),
        NoKey::Refused(Refusal::Unavailable) => error::cannot_decide(),
        NoKey::Nobody | NoKey::Refused(_) => {
            rpc.telemetry.metrics.count_unauthenticated();
            error::unauthenticated(reason)
        }
    })
}

/// Records the refusal of a known caller, and returns the error.
async fn deny(rpc: &Rpc, caller: Option<&Caller>, procedure: &str, reason: &str) -> ConnectError {
    if let Some(caller) = caller {
        refusals::record(&rpc.api_keys, caller, procedure, reason).await;
    }
    error::render(Error::Forbidden(reason.to_owned()))
}
