//! [`Keys`]: the keys of one issuer, and when they are fetched again.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use aws_lc_rs::digest;
use gatekey_core::{Env, Timestamp};
use serde::Deserialize;
use tokio::{sync::Mutex, time::timeout};
use url::Url;

use crate::{
    fetch::Fetcher,
    jwks::KeySet,
    settings::{IssuerSettings, is_loopback, is_secure},
};

/// Keys are fetched again in the background when they are older.
const REFRESH: Duration = Duration::from_mins(10);
/// Keys are not used any more when they could not be fetched again for so long.
const STALE: Duration = Duration::from_hours(24);
/// Keys are fetched at most this often, whatever tokens name as their key.
const INTERVAL: Duration = Duration::from_mins(1);
/// Keys are fetched again after a failure.
const RETRY: Duration = Duration::from_secs(5);
/// How long fetching keys may take, including discovery.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The keys of one issuer.
pub(crate) struct Keys {
    issuer: String,
    settings: Arc<IssuerSettings>,
    fetcher: Arc<Fetcher>,
    env: Env,
    current: ArcSwapOption<Fetched>,
    /// Before this second, the keys are not fetched again.
    next: AtomicI64,
    /// Whether they could not be fetched when that was tried last.
    has_failed: AtomicBool,
    fetching: Mutex<()>,
}

/// Keys, and when they were fetched.
struct Fetched {
    set: Arc<KeySet>,
    digest: [u8; 32],
    at: Timestamp,
}

/// The members of a discovery document that matter (OpenID Connect Discovery section 3).
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

/// The keys could not be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unavailable;

impl Keys {
    pub(crate) fn new(settings: Arc<IssuerSettings>, fetcher: Arc<Fetcher>, env: Env) -> Self {
        Self {
            issuer: settings.issuer.clone(),
            settings,
            fetcher,
            env,
            current: ArcSwapOption::empty(),
            next: AtomicI64::new(i64::MIN),
            has_failed: AtomicBool::new(false),
            fetching: Mutex::default(),
        }
    }

    /// The keys, if they are so recent that nothing needs to be fetched.
    pub(crate) fn recent(&self) -> Option<Arc<KeySet>> {
        let now = self.env.now();
        let known = self.current.load();
        let known = known.as_ref().filter(|known| known.is_younger(REFRESH, now))?;
        Some(known.set.clone())
    }

    /// The keys, fetched again if they are too old or lack a key that a token names.
    ///
    /// # Errors
    /// If there are none that are recent enough, or if they lack the key and fetching them failed.
    pub(crate) async fn with(self: &Arc<Self>, kid: &str) -> Result<Arc<KeySet>, Unavailable> {
        let now = self.env.now();
        let known = self.current(now);
        let is_known = known.as_ref().is_some_and(|known| known.set.has(kid));
        let is_recent = known.as_ref().is_some_and(|known| known.is_younger(REFRESH, now));
        let fetching = (!is_known || !is_recent) && self.may_fetch(now);
        if fetching {
            // A task of its own: a caller that hangs up must not stop it.
            let keys = self.clone();
            let fetched = tokio::spawn(async move { keys.refresh().await });
            if !is_known {
                let _ = fetched.await;
            }
        } else if !is_known {
            // Someone else may be fetching them.
            drop(self.fetching.lock().await);
        }
        // Fetching took time.
        let known = self.current(self.env.now()).ok_or(Unavailable)?;
        let set = known.set.clone();
        if !set.has(kid) && self.has_failed.load(Ordering::Acquire) {
            return Err(Unavailable);
        }
        Ok(set)
    }

    /// The keys that were fetched last, unless they are stale.
    fn current(&self, now: Timestamp) -> Option<Arc<Fetched>> {
        self.current.load_full().filter(|known| known.is_younger(STALE, now))
    }

    fn may_fetch(&self, now: Timestamp) -> bool {
        let next = self.next.load(Ordering::Acquire);
        // If the clock was set back, the interval would last longer than it should.
        let longest = now.after(INTERVAL).as_seconds();
        next <= now.as_seconds() || longest < next
    }

    /// Fetches the keys, unless they were fetched while this waited for others to do so.
    async fn refresh(&self) {
        let _fetching = self.fetching.lock().await;
        if !self.may_fetch(self.env.now()) {
            return;
        }
        let fetched = timeout(TIMEOUT, self.fetch()).await;
        let fetched = fetched.unwrap_or_else(|_| Err("timed out".to_owned()));
        let now = self.env.now();
        self.has_failed.store(fetched.is_err(), Ordering::Release);
        let wait = match fetched {
            Ok((set, digest)) => {
                let same = self.current.load_full().filter(|known| known.digest == digest);
                let set = same.map_or_else(|| Arc::new(set), |known| known.set.clone());
                self.current.store(Some(Arc::new(Fetched { set, digest, at: now })));
                INTERVAL
            }
            Err(error) => {
                let issuer = &*self.issuer;
                tracing::warn!(issuer, error, "failed to fetch the keys of an issuer of tokens");
                RETRY
            }
        };
        self.next.store(now.after(wait).as_seconds(), Ordering::Release);
    }

    async fn fetch(&self) -> Result<(KeySet, [u8; 32]), String> {
        let url = match &self.settings.jwks_url {
            Some(url) => url.clone(),
            None => self.discover().await?,
        };
        let document = self
            .fetcher
            .fetch(&url, self.settings.ca_file.as_deref())
            .await
            .map_err(|error| format!("{url}: {error}"))?;
        let set = KeySet::parse(&document, &self.settings.algorithms)
            .map_err(|rule| format!("{url} {rule}"))?;
        let digest = digest::digest(&digest::SHA256, &document);
        Ok((set, digest.as_ref().try_into().expect("SHA-256 has 32 bytes")))
    }

    /// The address of the keys, by the issuer's discovery document.
    async fn discover(&self) -> Result<Url, String> {
        let url = discovery_url(&self.issuer)?;
        let document = self
            .fetcher
            .fetch(&url, self.settings.ca_file.as_deref())
            .await
            .map_err(|error| format!("{url}: {error}"))?;
        let document: Discovery = serde_json::from_slice(&document)
            .map_err(|_| format!("{url} is not a discovery document"))?;
        if document.issuer != self.issuer {
            return Err(format!("{url} names another issuer"));
        }
        // An issuer elsewhere must not make this server call itself.
        let may_be = |jwks: &Url| is_secure(jwks) && (is_loopback(&url) || !is_loopback(jwks));
        let jwks = Url::parse(&document.jwks_uri).ok().filter(may_be);
        jwks.ok_or_else(|| format!("{url} names a jwks_uri that is not an https URL"))
    }
}

/// OpenID Connect Discovery section 4.
fn discovery_url(issuer: &str) -> Result<Url, String> {
    let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    Url::parse(&url).map_err(|error| format!("{url}: {error}"))
}

impl Fetched {
    /// `false` also if the clock was set back, apart from the time that reading it takes.
    fn is_younger(&self, age: Duration, now: Timestamp) -> bool {
        (self.at.before(INTERVAL)..self.at.after(age)).contains(&now)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Keys({})", self.issuer)
    }
}
