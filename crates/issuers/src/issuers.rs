//! [`Issuers`]: verifies the tokens of all configured issuers.

use std::{fmt, sync::Arc};

use aws_lc_rs::digest;
use gatekey_core::{Env, memory::Lookups};
use gatekey_credentials::jwt::InvalidToken;
use gatekey_outbound::Proxies;

use crate::{
    claims::{Subject, VerifiedSubject},
    fetch::Fetcher,
    keys::Keys,
    refused::Refused,
    settings::IssuerSettings,
    token::{self, Token},
};

/// All configured issuers. Keys are cached for each issuer, so that a `kid` of one issuer never
/// finds the key of another.
pub struct Issuers {
    all: Vec<Issuer>,
    lookups: Arc<Lookups>,
    env: Env,
}

struct Issuer {
    settings: Arc<IssuerSettings>,
    keys: Arc<Keys>,
    /// Of all issuers.
    lookups: Arc<Lookups>,
}

impl Issuers {
    /// Fetches nothing yet: keys are fetched when a token needs them.
    pub fn new(issuers: Vec<IssuerSettings>, proxies: &Proxies, env: &Env) -> Self {
        let fetcher = Arc::new(Fetcher::new(proxies.clone()));
        let lookups = Arc::<Lookups>::default();
        let issuer = |settings| {
            let settings = Arc::new(settings);
            let keys = Arc::new(Keys::new(Arc::clone(&settings), fetcher.clone(), env.clone()));
            Issuer { settings, keys, lookups: lookups.clone() }
        };
        let all = issuers.into_iter().map(issuer).collect();
        Self { all, lookups, env: env.clone() }
    }

    /// How often a token was verified before.
    pub fn lookups(&self) -> &Lookups {
        &self.lookups
    }

    /// Verifies a token; `None` if it names none of the issuers.
    ///
    /// # Errors
    /// [`Refused`], by the first rule that the token breaks.
    pub async fn verify(&self, token: &str) -> Option<Result<VerifiedSubject, Refused>> {
        if self.all.is_empty() {
            return None;
        }
        let named = token::issuer(token)?;
        let issuer = self.all.iter().find(|issuer| issuer.settings.issuer == named)?;
        let subject = issuer.verify(token).await;
        Some(subject.and_then(|subject| {
            subject.check_dates(self.env.now())?;
            Ok(subject)
        }))
    }
}

impl Issuer {
    async fn verify(&self, token: &str) -> Result<VerifiedSubject, Refused> {
        let digest = digest::digest(&digest::SHA256, token.as_bytes());
        let digest = digest.as_ref().try_into().expect("SHA-256 has 32 bytes");
        let known = self.keys.recent().and_then(|keys| keys.verified.get(&digest));
        if let Some(subject) = self.lookups.count(known) {
            return Ok(subject);
        }
        let parsed = Token::parse(token)?;
        if !self.settings.algorithms.contains(&parsed.algorithm) {
            return Err(Refused::Algorithm);
        }
        let keys = self.keys.with(&parsed.kid).await.map_err(|_| Refused::Unavailable)?;
        if !keys.has(&parsed.kid) {
            return Err(InvalidToken::UnknownKey.into());
        }
        if !keys.signed(&parsed) {
            return Err(InvalidToken::BadSignature.into());
        }
        let subject = Arc::new(Subject::read(&self.settings, &parsed.claims, digest)?);
        keys.verified.insert(digest, Arc::clone(&subject));
        Ok(subject)
    }
}

impl fmt::Debug for Issuers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let issuers = self.all.iter().map(|issuer| &issuer.settings.issuer);
        formatter.debug_list().entries(issuers).finish()
    }
}
