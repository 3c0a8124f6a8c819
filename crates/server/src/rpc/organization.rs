//! The organization that a request names, in its field and in the header of flytekit.

use connectrpc::{ConnectError, RequestContext};
use gatekey_core::{Caller, Error, redact};

use super::{Rpc, error::render};
use crate::refusals;

/// The header in which flytekit sends the organization.
const ACTIVE_ORGANIZATION: &str = "x-user-active-org";
/// Maximum characters of a name that an error repeats.
const MAX_NAME: usize = 64;

/// Checks that the organization in a request's field and header is this server's.
///
/// # Errors
/// `PERMISSION_DENIED`, never `NOT_FOUND`: that would make Terraform drop its keys from the state.
pub(super) async fn check(
    rpc: &Rpc,
    context: &RequestContext,
    caller: &Caller,
    organization: &str,
) -> Result<(), ConnectError> {
    let headers = context.headers().get_all(ACTIVE_ORGANIZATION).iter();
    let headers = headers.map(|value| value.to_str().unwrap_or("\u{fffd}"));
    for name in std::iter::once(organization).chain(headers) {
        if !rpc.organization.answers_to(name) {
            let procedure = context.path().unwrap_or_default();
            // Without the name: the caller could fill the ledger with names.
            let reason = "the organization is not served here";
            refusals::record(&rpc.api_keys, caller, procedure, reason).await;
            let name = redact(name, MAX_NAME);
            let reason = format!("organization {name:?} is not served here");
            return Err(render(Error::Forbidden(reason)));
        }
    }
    Ok(())
}
