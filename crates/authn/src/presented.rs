//! [`Presented`]: a key that calls an API behind the gate, and how it proved itself.

use std::sync::Arc;

use axum::http::HeaderMap;
use gatekey_core::{
    Actor,
    api_key::{KeyFacts, Scope},
    token::VerifiedToken,
};
use gatekey_telemetry::Record;

use crate::{
    authenticator::Authenticator,
    principal::{Principal, Refusal},
};

/// A key that calls an API behind the gate.
#[derive(Debug, Clone)]
pub struct Presented {
    /// What permits at most: the credential's scope.
    pub scope: Scope,
    proof: Proof,
}

/// How a key proved itself.
#[derive(Debug, Clone)]
enum Proof {
    /// By an access token of ours.
    Token(VerifiedToken),
}

impl Presented {
    /// The key, as it was when it was presented.
    pub fn facts(&self) -> &Arc<KeyFacts> {
        match &self.proof {
            Proof::Token(token) => &token.facts,
        }
    }

    /// The key as the actor of a ledger entry.
    pub fn actor(&self) -> Actor {
        match &self.proof {
            Proof::Token(token) => token.actor(),
        }
    }
}

impl Authenticator {
    /// Authenticates a caller of an API behind the gate. `None` if it sent no credential.
    ///
    /// # Errors
    /// Why its credential is refused.
    pub fn present(
        &self,
        record: &Record,
        headers: &HeaderMap,
    ) -> Result<Option<Presented>, Refusal> {
        match self.principal(record, headers) {
            Principal::Nobody => Ok(None),
            Principal::Refused(refusal) => Err(refusal),
            Principal::Key(token) => {
                let named =
                    |scope: &Scope| token.claims.scp.iter().any(|scp| scp == scope.as_str());
                let scope = Scope::NAMED.into_iter().find(named).unwrap_or(Scope::None);
                Ok(Some(Presented { scope, proof: Proof::Token(token) }))
            }
        }
    }

    /// Checks again, during a long call, that the key may still call.
    ///
    /// # Errors
    /// Why its credential is refused now.
    pub fn present_again(&self, presented: &Presented) -> Result<Presented, Refusal> {
        match &presented.proof {
            Proof::Token(token) => {
                let token = self.tokens().verify_again(token)?;
                Ok(Presented { scope: presented.scope, proof: Proof::Token(token) })
            }
        }
    }
}
