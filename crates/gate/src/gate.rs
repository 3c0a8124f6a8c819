//! [`Gate`]: checks requests. Every door asks it.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, Method, Uri};
use gatekey_authn::{Authenticator, Presented, Proof, rate_limit};
use gatekey_core::api_key::{Limits, Rate, Remaining, Roles};
use gatekey_core::{
    ApiKeys,
    token::{Limited, Persona},
};
use gatekey_credentials::Role;
use gatekey_telemetry::Record;

use crate::{
    access::Access,
    decide::{Caller, Denial, decide},
    decisions::Decisions,
    identity_headers::{Identity, IdentityHeaders},
    limits::projects::{self, Body, Seen},
    own_paths::OwnPaths,
    path::{InvalidPath, Path},
    reason::Reason,
    refusal::{Kind, Refusal},
    rules::Rules,
};

const EMPTY: HeaderValue = HeaderValue::from_static("");

/// Checks requests by their credential and by the rules.
pub struct Gate {
    pub authenticator: Arc<Authenticator>,
    /// Records the refusals of known callers.
    pub api_keys: ApiKeys,
    pub rules: Rules,
    /// No request for another spelling of them passes.
    pub own_paths: Arc<OwnPaths>,
    /// Which headers of clients are removed.
    pub identity_headers: IdentityHeaders,
    /// How keys are presented where Flyte expects a person.
    pub persona: Persona,
    /// The longest body that is read of a limited key, in bytes.
    pub max_message: usize,
    pub decisions: Decisions,
    /// The organization of the server, as a header.
    pub organization: HeaderValue,
}

/// A request that may pass.
#[derive(Debug, Clone)]
pub struct Admitted {
    /// The access that the deciding rule requires.
    pub access: Access,
    /// The caller; `None` for an anonymous request.
    pub presented: Option<Presented>,
    /// What is left of the rate of its key, if it has one.
    pub rate: Option<(Rate, Remaining)>,
}

impl Admitted {
    /// Tells the caller its rate, in place of what the upstream says about its own.
    pub(crate) fn set_rate(&self, headers: &mut HeaderMap) {
        if let Some((rate, remaining)) = &self.rate {
            for (name, value) in rate_limit::headers_of_use(*rate, remaining) {
                headers.insert(name, value);
            }
        }
    }
}

impl Gate {
    /// Checks a request: its path, its credential, the networks and the rate of its key, the rule
    /// for it, and the projects of its key, in this order.
    ///
    /// # Errors
    /// The refusal, by the first check that fails. That of a known caller becomes a ledger entry.
    pub async fn check(
        &self,
        record: &Record,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: Body<'_>,
    ) -> Result<Admitted, Refusal> {
        let admitted = self.check_head(record, method, uri, headers).await?;
        self.check_projects(record, &admitted, method, uri, headers, body)?;
        Ok(admitted)
    }

    /// Checks a request, apart from the projects and domains of its key: they are in the body,
    /// which [`Self::check_projects`] must be asked about.
    ///
    /// # Errors
    /// The refusal, by the first check that fails.
    pub async fn check_head(
        &self,
        record: &Record,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Admitted, Refusal> {
        let path = Path::parse(uri.path())?;
        if self.own_paths.has_respelled(&path, uri.path()) {
            return Err(InvalidPath::Respelled.into());
        }
        let presented = self.authenticator.present(record, headers, uri.query()).await;
        let (presented, refused) = match presented {
            Ok(presented) => (presented, None),
            Err(several @ gatekey_authn::Refusal::Several) => {
                return Err(Refusal::of_credential(Some(several)));
            }
            Err(refused) => (None, Some(refused)),
        };
        let decide = |caller| decide(&self.rules, method, &path, uri.query(), caller);
        let counted = presented.as_ref().map(|presented| self.count_use(record, presented));
        let rate = match counted.transpose() {
            Ok(rate) => rate.flatten(),
            Err(limited) => {
                // Such a path is open to everybody, and so to a key that is nobody.
                let rule = decide(Caller::Nobody).map_err(|_| limited)?;
                return Ok(self.admit(rule.access, None, None));
            }
        };
        match decide(presented.as_ref().map_or(Caller::Nobody, caller)) {
            Ok(rule) => Ok(self.admit(rule.access, presented, rate)),
            Err(Denial::Unauthenticated) => Err(Refusal::of_credential(refused)),
            Err(denial) => {
                if let Some(presented) = &presented {
                    let target = target_of_entry(&self.rules, method, &path);
                    self.record_refusal(record, presented, target, denial);
                }
                Err(Refusal::from(denial).with_rate(rate))
            }
        }
    }

    /// Counts the use of a key, if its limits on network and rate permit it. Returns the rest of
    /// its rate, if it has one.
    ///
    /// Rules come later, so that a stolen key that is used from elsewhere tells nothing about its
    /// role, and so that refused requests count as well.
    ///
    /// # Errors
    /// [`Limited`].
    fn count_use(
        &self,
        record: &Record,
        presented: &Presented,
    ) -> Result<Option<(Rate, Remaining)>, Limited> {
        let Some(key) = presented.key() else { return Ok(None) };
        self.authenticator.admit(record, key, presented.actor())
    }

    fn admit(
        &self,
        access: Access,
        presented: Option<Presented>,
        rate: Option<(Rate, Remaining)>,
    ) -> Admitted {
        let admitted = Admitted { access, presented, rate };
        if scope_limits(&admitted).is_none() {
            self.decisions.allow(admitted.presented.is_some());
        }
        admitted
    }

    /// Whether the body of a request decides about it.
    pub fn reads_body(&self, admitted: &Admitted, method: &Method, uri: &Uri) -> bool {
        let is_limited = scope_limits(admitted).is_some();
        is_limited
            && Path::parse(uri.path()).is_ok_and(|path| projects::reads_body(method, path.as_str()))
    }

    /// Checks that a request stays within the projects and domains of its key.
    ///
    /// # Errors
    /// If the request names another project or domain, or cannot be read.
    pub fn check_projects(
        &self,
        record: &Record,
        admitted: &Admitted,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: Body<'_>,
    ) -> Result<(), Refusal> {
        let Some((presented, limits)) = scope_limits(admitted) else { return Ok(()) };
        let path = Path::parse(uri.path())?;
        let (path, query) = (path.as_str(), uri.query());
        let seen = Seen { method, path, query, headers, body, most: self.max_message };
        let checked = projects::check(limits, &seen);
        if checked.is_ok() {
            self.decisions.allow(true);
        }
        checked.map_err(|denial| {
            self.authenticator.record_denial(record, presented.actor(), denial.reason().as_str());
            Refusal::from(denial).with_rate(admitted.rate)
        })
    }

    /// Checks again, during a long call, that it may go on.
    ///
    /// # Errors
    /// Why it may not.
    pub fn check_again(&self, admitted: &Admitted) -> Result<(), Refusal> {
        let Some(presented) = &admitted.presented else { return Ok(()) };
        let presented = self.authenticator.present_again(presented);
        let presented = presented.map_err(|refused| Refusal::of_credential(Some(refused)))?;
        if limits_of(&presented) != admitted.presented.as_ref().and_then(limits_of) {
            return Err(Refusal::new(
                Kind::Unavailable,
                Reason::Changed,
                "the limits of the API key changed; call again",
            ));
        }
        let access = admitted.access;
        if !access.is_within(presented.roles()) {
            return Err(Denial::Role(access).into());
        }
        if presented.scope() < access.scope() {
            return Err(Denial::Scope(access).into());
        }
        Ok(())
    }

    /// Returns the identity of the caller for the upstream.
    pub fn identity(&self, admitted: &Admitted) -> Identity {
        let Some(presented) = &admitted.presented else { return Identity::nobody() };
        let value = |text: &str| HeaderValue::from_str(text).unwrap_or(EMPTY);
        let email = match presented.proof() {
            Proof::Subject(subject) => value(&subject.email),
            Proof::Token(_) | Proof::EncodedCredentials(_) if self.persona.email.is_empty() => {
                EMPTY
            }
            Proof::Token(_) | Proof::EncodedCredentials(_) => {
                value(&self.persona.email_of(presented.user()))
            }
        };
        Identity {
            user: value(presented.user()),
            email,
            roles: roles(presented.roles()),
            organization: self.organization.clone(),
        }
    }

    /// Records the refusal of a known caller in the ledger, at most once a minute for each target
    /// and reason. Does not delay the response.
    fn record_refusal(&self, record: &Record, by: &Presented, target: String, denial: Denial) {
        let (caller, api_keys) = (record.caller(by.actor()), self.api_keys.clone());
        tokio::spawn(async move {
            let reason = denial.to_string();
            if let Err(error) = api_keys.record_refusal(&caller, &target, &reason).await {
                tracing::error!(%error, target, "failed to record a refusal in the ledger");
            }
        });
    }
}

/// Returns the target of a refusal's ledger entry: the rule that decided, and not the path, of
/// which one caller could invent enough to fill the ledger.
fn target_of_entry(rules: &Rules, method: &Method, path: &Path<'_>) -> String {
    match rules.find(method, path) {
        Some(rule) => rule.pattern.to_string(),
        None => "a path without a rule".to_owned(),
    }
}

/// Returns roles as the value of a header, the highest first.
fn roles(roles: Roles) -> HeaderValue {
    let mut roles = roles.iter().map(Role::as_str);
    let (first, second) = (roles.next(), roles.next());
    match (first, second) {
        (None, _) => EMPTY,
        (Some(only), None) => HeaderValue::from_static(only),
        (Some(first), Some(second)) => {
            let all: Vec<_> = [first, second].into_iter().chain(roles).collect();
            HeaderValue::from_str(&all.join(",")).unwrap_or(EMPTY)
        }
    }
}

fn limits_of(presented: &Presented) -> Option<&Limits> {
    presented.key().and_then(|key| key.limits.as_deref()).map(|facts| &facts.limits)
}

/// The caller and its limits, if they are about projects or domains.
fn scope_limits(admitted: &Admitted) -> Option<(&Presented, &Limits)> {
    let presented = admitted.presented.as_ref()?;
    let limits = limits_of(presented).filter(|limits| limits.has_scope())?;
    // What is open to everybody is open to every key.
    (admitted.access != Access::Anonymous).then_some((presented, limits))
}

fn caller(presented: &Presented) -> Caller {
    Caller::Key { roles: presented.roles(), scope: presented.scope() }
}
