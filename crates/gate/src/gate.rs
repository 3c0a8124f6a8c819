//! [`Gate`]: checks requests. Every door asks it.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, Method, Uri};
use gatekey_authn::{Authenticator, Presented};
use gatekey_credentials::Role;
use gatekey_telemetry::Record;

use crate::{
    access::Access,
    decide::{Caller, Denial, decide},
    identity_headers::{Identity, IdentityHeaders},
    path::Path,
    refusal::Refusal,
    rules::Rules,
};

const EMPTY: HeaderValue = HeaderValue::from_static("");

/// Checks requests by their credential and by the rules.
pub struct Gate {
    pub authenticator: Arc<Authenticator>,
    pub rules: Rules,
    /// Which headers of clients are removed.
    pub identity_headers: IdentityHeaders,
    /// The organization of the server, as a header.
    pub organization: HeaderValue,
}

/// A request that may pass.
#[derive(Debug, Clone)]
pub struct Admitted {
    /// What the deciding rule demands.
    pub access: Access,
    /// The key that calls; `None` for an anonymous request.
    pub presented: Option<Presented>,
}

impl Gate {
    /// Checks a request: its path, its credential, and the rule for it, in this order.
    ///
    /// # Errors
    /// The refusal, by the first check that fails.
    pub async fn check(
        &self,
        record: &Record,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Admitted, Refusal> {
        let path = Path::parse(uri.path())?;
        let presented = self.authenticator.present(record, headers, uri.query()).await;
        let (presented, refused) = match presented {
            Ok(presented) => (presented, None),
            Err(several @ gatekey_authn::Refusal::Several) => {
                return Err(Refusal::of_credential(Some(several)));
            }
            Err(refused) => (None, Some(refused)),
        };
        let caller = presented.as_ref().map_or(Caller::Nobody, caller);
        match decide(&self.rules, method, &path, uri.query(), caller) {
            Ok(rule) => Ok(Admitted { access: rule.access, presented }),
            Err(Denial::Unauthenticated) => Err(Refusal::of_credential(refused)),
            Err(denial) => Err(denial.into()),
        }
    }

    /// Checks again, during a long call, that it may go on.
    ///
    /// # Errors
    /// Why it may not.
    pub fn check_again(&self, admitted: &Admitted) -> Result<(), Refusal> {
        let Some(presented) = &admitted.presented else { return Ok(()) };
        let presented = self.authenticator.present_again(presented);
        let presented = presented.map_err(|refused| Refusal::of_credential(Some(refused)))?;
        let access = admitted.access;
        if !access.is_within(presented.roles()) {
            return Err(Denial::Role(access).into());
        }
        if presented.scope() < access.scope() {
            return Err(Denial::Scope(access).into());
        }
        Ok(())
    }

    /// Returns what the upstream learns of the caller.
    pub fn identity(&self, admitted: &Admitted) -> Identity {
        let Some(presented) = &admitted.presented else { return Identity::nobody() };
        let roles: Vec<_> = presented.roles().iter().map(Role::as_str).collect();
        let value = |text: &str| HeaderValue::from_str(text).unwrap_or(EMPTY);
        Identity {
            user: value(presented.user()),
            email: EMPTY,
            roles: value(&roles.join(",")),
            organization: self.organization.clone(),
        }
    }
}

fn caller(presented: &Presented) -> Caller {
    Caller::Key { roles: presented.roles(), scope: presented.scope() }
}
