//! [`UpstreamTokens`]: the short-lived token that an upstream gets in place of the credential.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use axum::http::HeaderValue;
use gatekey_authn::{Credential, Presented, Proof};
use gatekey_core::{
    ApiKeys, Env, SecretId, Timestamp, Tokens,
    api_key::KeyFacts,
    memory::Lookups,
    token::{PersonClaims, Persona, TokenError},
};
use quick_cache::{Equivalent, sync::Cache};

use crate::{
    reason::Reason,
    refusal::{Kind, Refusal},
};

/// Tokens that are cached: signing one costs more than everything else that the gate does about a
/// request. An entry takes about 1.5 KiB, so the cache takes at most 6 MiB; only callers that were
/// allowed enter.
const CACHED: usize = 4096;

/// Mints tokens for upstreams, and caches them by credential and audience.
pub struct UpstreamTokens {
    tokens: Arc<Tokens>,
    api_keys: ApiKeys,
    persona: Persona,
    cache: Cache<Key, Arc<Minted>>,
    lookups: Lookups,
    env: Env,
}

/// A token, for as long as neither its key nor the time demands another one.
struct Minted {
    /// Replaced in the directory whenever the key changes.
    facts: Option<Arc<KeyFacts>>,
    authorization: HeaderValue,
    replace_at: Timestamp,
}

impl UpstreamTokens {
    pub fn new(tokens: Arc<Tokens>, api_keys: ApiKeys, persona: &Persona, env: Env) -> Self {
        let persona = persona.without_gaps();
        let (cache, lookups) = (Cache::new(CACHED), Lookups::default());
        Self { tokens, api_keys, persona, cache, lookups, env }
    }

    /// How often there was a token already.
    pub fn lookups(&self) -> &Lookups {
        &self.lookups
    }

    /// Returns the `Authorization` that an upstream with this audience gets, for a caller that was
    /// just presented.
    ///
    /// # Errors
    /// See [`Tokens::mint_for_upstream`].
    pub async fn authorization(
        &self,
        caller: &Presented,
        audience: &str,
    ) -> Result<HeaderValue, TokenError> {
        let credential = caller.credential();
        let now = self.env.now();
        let cached = self.cache.get(&Wanted { credential, audience });
        let cached = cached.filter(|minted| minted.is_for(caller, now));
        if let Some(minted) = self.lookups.count(cached) {
            return Ok(minted.authorization.clone());
        }
        let person = self.person(caller).await;
        let valid_until = caller.valid_until();
        let minted =
            self.tokens.mint_for_upstream(caller.user(), &person, audience, valid_until)?;
        let authorization = HeaderValue::try_from(format!("Bearer {}", minted.token));
        let mut authorization =
            authorization.map_err(|error| TokenError::Internal(error.into()))?;
        authorization.set_sensitive(true);
        let key = Key { credential: Owned::of(credential), audience: audience.into() };
        let minted = Minted {
            facts: caller.key().cloned(),
            authorization: authorization.clone(),
            replace_at: minted.replace_at,
        };
        self.cache.insert(key, Arc::new(minted));
        Ok(authorization)
    }

    /// The claims about the person that the caller is presented as. If the store cannot be read,
    /// the name is the client id, as in access tokens.
    async fn person(&self, caller: &Presented) -> PersonClaims {
        let user = caller.user();
        if let Proof::Subject(subject) = caller.proof() {
            let alias = user.split('|').next().unwrap_or_default();
            let or =
                |text: &str, other: String| if text.is_empty() { other } else { text.to_owned() };
            let persona = Persona {
                family_name: or(&subject.family_name, format!("({alias})")),
                email: or(&subject.email, Persona::default().without_gaps().email_of(user)),
            };
            let given_name = or(&subject.given_name, user.to_owned());
            return persona.claims(user, &given_name);
        }
        let stored = self.api_keys.get(user).await;
        let name = stored.map(|key| key.application.client_name).unwrap_or_default();
        self.persona.claims(user, if name.is_empty() { user } else { &name })
    }
}

/// Why there is no token, as a refusal of the request.
pub fn refusal(error: TokenError) -> Refusal {
    match error {
        TokenError::InvalidClient => {
            let message = "the credential expires now; send one that lasts longer";
            Refusal::new(Kind::Unauthenticated { sent: true }, Reason::Credential, message)
        }
        TokenError::CannotDecide => {
            Refusal::of_credential(Some(gatekey_authn::Refusal::Unavailable))
        }
        error => {
            tracing::error!(%error, "failed to sign a token for the upstream");
            Refusal::new(Kind::Internal, Reason::Internal, "internal error")
        }
    }
}

impl fmt::Debug for UpstreamTokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "UpstreamTokens({} cached)", self.cache.len())
    }
}

impl Minted {
    fn is_for(&self, caller: &Presented, now: Timestamp) -> bool {
        let same = match (&self.facts, caller.key()) {
            (Some(facts), Some(present)) => Arc::ptr_eq(facts, present),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        same && now < self.replace_at
    }
}

#[derive(PartialEq, Eq, Hash)]
struct Key {
    credential: Owned,
    audience: Box<str>,
}

/// A [`Credential`] of its own.
#[derive(PartialEq, Eq)]
enum Owned {
    Token(Box<str>),
    Secret(SecretId),
    Foreign([u8; 32]),
}

/// A borrowed [`Key`] for lookups; has the same hash.
#[derive(Hash)]
struct Wanted<'w> {
    credential: Credential<'w>,
    audience: &'w str,
}

impl Owned {
    fn of(credential: Credential<'_>) -> Self {
        match credential {
            Credential::Token(jti) => Self::Token(jti.into()),
            Credential::Secret(id) => Self::Secret(id),
            Credential::Foreign(digest) => Self::Foreign(digest),
        }
    }

    fn borrowed(&self) -> Credential<'_> {
        match self {
            Self::Token(jti) => Credential::Token(jti),
            Self::Secret(id) => Credential::Secret(*id),
            Self::Foreign(digest) => Credential::Foreign(*digest),
        }
    }
}

impl Hash for Owned {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.borrowed().hash(state);
    }
}

impl Equivalent<Key> for Wanted<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.credential == key.credential.borrowed() && *self.audience == *key.audience
    }
}
