//! [`Presented`]: who calls an API behind the gate, and how it proved itself.

use std::sync::Arc;

use axum::http::HeaderMap;
use gatekey_core::{
    Actor, SecretId, Timestamp,
    api_key::{KeyFacts, Roles, Scope},
    token::{AuthenticatedKey, VerifiedToken},
};
use gatekey_issuers::VerifiedSubject;
use gatekey_telemetry::Record;

use crate::{authenticator::Authenticator, encoded, gate_credential, principal::Refusal};

/// A caller of an API behind the gate.
#[derive(Debug, Clone)]
pub struct Presented {
    proof: Proof,
}

/// How a caller proved itself.
#[derive(Debug, Clone)]
pub enum Proof {
    /// A key, by an access token that this server issued.
    Token(VerifiedToken),
    /// A key, by its encoded credentials.
    EncodedCredentials(AuthenticatedKey),
    /// A subject of another issuer, by its token.
    Subject(VerifiedSubject),
}

/// Which credential a caller presented, as the key of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Credential<'p> {
    /// An access token that this server issued, by its `jti`.
    Token(&'p str),
    /// Encoded credentials, by their secret.
    Secret(SecretId),
    /// A token of another issuer, by its SHA-256.
    Foreign([u8; 32]),
}

impl Presented {
    pub fn proof(&self) -> &Proof {
        &self.proof
    }

    /// The key, as it was when it was presented; `None` for a subject of another issuer.
    pub fn key(&self) -> Option<&Arc<KeyFacts>> {
        match &self.proof {
            Proof::Token(token) => Some(&token.facts),
            Proof::EncodedCredentials(key) => Some(&key.facts),
            Proof::Subject(_) => None,
        }
    }

    /// The name that upstreams know the caller by: a key's client id, or a subject's `alias|sub`.
    pub fn user(&self) -> &str {
        match &self.proof {
            Proof::Token(token) => token.facts.client_id.as_str(),
            Proof::EncodedCredentials(key) => key.facts.client_id.as_str(),
            Proof::Subject(subject) => &subject.name,
        }
    }

    pub fn roles(&self) -> Roles {
        match &self.proof {
            Proof::Token(token) => token.facts.roles,
            Proof::EncodedCredentials(key) => key.facts.roles,
            Proof::Subject(subject) => subject.roles,
        }
    }

    /// What permits at most: the scope of a token, or the widest one of the roles.
    pub fn scope(&self) -> Scope {
        match &self.proof {
            Proof::Token(token) => {
                let has = |scope: &Scope| token.claims.scp.iter().any(|scp| scp == scope.as_str());
                Scope::NAMED.into_iter().find(has).unwrap_or(Scope::None)
            }
            Proof::EncodedCredentials(key) => Scope::of(key.facts.roles),
            Proof::Subject(subject) => Scope::of(subject.roles),
        }
    }

    /// Which credential the caller presented.
    pub fn credential(&self) -> Credential<'_> {
        match &self.proof {
            Proof::Token(token) => Credential::Token(&token.claims.jti),
            Proof::EncodedCredentials(key) => Credential::Secret(key.secret.id),
            Proof::Subject(subject) => Credential::Foreign(subject.token),
        }
    }

    /// The instant from which the credential is refused even if nothing changes.
    pub fn valid_until(&self) -> Timestamp {
        match &self.proof {
            Proof::Token(token) => token.valid_until(),
            Proof::EncodedCredentials(key) => key.valid_until(),
            Proof::Subject(subject) => subject.valid_until,
        }
    }

    /// The caller as the actor of a ledger entry.
    pub fn actor(&self) -> Actor {
        match &self.proof {
            Proof::Token(token) => token.actor(),
            Proof::EncodedCredentials(key) => key.actor(),
            Proof::Subject(subject) => Actor::Subject { name: subject.name.clone() },
        }
    }
}

impl Authenticator {
    /// Authenticates a caller of an API behind the gate. `None` if it sent no credential.
    ///
    /// # Errors
    /// Why its credential is refused.
    pub async fn present(
        &self,
        record: &Record,
        headers: &HeaderMap,
        query: Option<&str>,
    ) -> Result<Option<Presented>, Refusal> {
        let presented = match gate_credential::find(headers, self.token_header(), query) {
            Ok(Some(credential)) => self.present_one(record, credential).await.map(Some),
            Ok(None) => Ok(None),
            Err(refusal) => Err(refusal),
        };
        match &presented {
            Ok(Some(presented)) => match &presented.proof {
                Proof::Token(VerifiedToken { facts, .. })
                | Proof::EncodedCredentials(AuthenticatedKey { facts, .. }) => {
                    record.set_client_id(&facts.client_id);
                }
                Proof::Subject(subject) => record.set_subject(&subject.name),
            },
            Ok(None) => {}
            Err(refusal) => tracing::debug!(%refusal, "refused a credential"),
        }
        presented
    }

    async fn present_one(&self, record: &Record, credential: &str) -> Result<Presented, Refusal> {
        // A token has dots, which are not in base64's alphabet.
        let proof = if credential.contains('.') {
            self.token(credential).await?
        } else {
            Proof::EncodedCredentials(encoded::authenticate(self, record, credential)?)
        };
        Ok(Presented { proof })
    }

    /// Verifies a token that this server signed, or one of another issuer.
    async fn token(&self, token: &str) -> Result<Proof, Refusal> {
        let refusal = match self.tokens().verify(token) {
            Ok(token) => return Ok(Proof::Token(token)),
            Err(refusal) => refusal,
        };
        if let Some(issuers) = self.issuers()
            && refusal.may_be_of_another_issuer()
            && let Some(verified) = issuers.verify(token).await
        {
            return Ok(Proof::Subject(verified?));
        }
        Err(refusal.into())
    }

    /// Checks again, during a long call, that the caller may still call.
    ///
    /// # Errors
    /// Why its credential is refused now.
    pub fn present_again(&self, presented: &Presented) -> Result<Presented, Refusal> {
        let proof = match &presented.proof {
            Proof::Token(token) => Proof::Token(self.tokens().verify_again(token)?),
            Proof::Subject(subject) => {
                subject.check_dates(self.tokens().now())?;
                Proof::Subject(subject.clone())
            }
            Proof::EncodedCredentials(key) => {
                let key = self.tokens().authenticate_again(key)?.ok_or(Refusal::ApiKey)?;
                Proof::EncodedCredentials(encoded::with_grant(key)?)
            }
        };
        Ok(Presented { proof })
    }
}
