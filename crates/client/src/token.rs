//! [`TokenCache`]: access tokens, kept until they expire.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use gatekey_credentials::PlainSecret;
use http::HeaderValue;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::single_flight::{Freshness, SingleFlight};

/// The longest lifetime of a token; a longer one is cut, so that no arithmetic on instants
/// overflows.
pub(crate) const LONGEST_LIFETIME: Duration = Duration::from_hours(365 * 24);

/// A cache of access tokens, to share between [`Client`](crate::Client)s.
///
/// Every client has a cache of its own unless
/// [`ClientBuilder::token_cache`](crate::ClientBuilder::token_cache) sets another. A client reuses
/// a token only if its endpoint, token endpoint, client id, secret, scopes and audience are the
/// same. Tokens are kept only in memory, and dropped with the last clone of the cache.
///
/// ```
/// use gatekey_client::{Client, PlainSecret, TokenCache};
///
/// let cache = TokenCache::default();
/// let client = |protocol| {
///     Client::builder()
///         .endpoint("flyte.example.com")
///         .credentials("ci", PlainSecret::new("secret"))
///         .protocol(protocol)
///         .token_cache(cache.clone())
///         .build()
/// };
/// client(gatekey_client::Protocol::Connect)?;
/// client(gatekey_client::Protocol::Grpc)?;
/// # Ok::<(), gatekey_client::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct TokenCache(Arc<Mutex<HashMap<TokenKey, Arc<TokenSlot>>>>);

pub(crate) type TokenSlot = SingleFlight<Token>;

/// All that distinguishes one token from another.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct TokenKey {
    pub(crate) endpoint: String,
    pub(crate) token_endpoint: String,
    pub(crate) client_id: String,
    /// SHA-256, so that the cache does not keep the secret itself.
    pub(crate) secret_fingerprint: [u8; 32],
    pub(crate) scopes: Vec<String>,
    pub(crate) audience: String,
}

impl TokenCache {
    pub(crate) fn slot(&self, key: &TokenKey) -> Arc<TokenSlot> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(key) {
            return Arc::clone(slot);
        }
        // Each rotated secret leaves a slot behind: drop the slots that no client uses and whose
        // token has expired.
        slots.retain(|_, slot| {
            Arc::strong_count(slot) > 1
                || slot.kept().is_some_and(|token| token.freshness() != Freshness::Expired)
        });
        Arc::clone(slots.entry(key.clone()).or_default())
    }
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TokenCache")
    }
}

/// An access token, with its dates on this machine's monotonic clock.
pub(crate) struct Token {
    text: PlainSecret,
    header: HeaderValue,
    refresh_at: Instant,
    expires_at: Instant,
}

impl Token {
    /// `None` if `text` contains a character that no header may contain.
    pub(crate) fn new(text: &str, lifetime: Duration, now: Instant) -> Option<Self> {
        let bearer = Zeroizing::new(format!("Bearer {text}"));
        let mut header = HeaderValue::from_str(&bearer).ok()?;
        header.set_sensitive(true);
        let lifetime = lifetime.min(LONGEST_LIFETIME);
        Some(Self {
            text: PlainSecret::new(text),
            header,
            refresh_at: now + refresh_after(lifetime),
            expires_at: now + lifetime,
        })
    }

    pub(crate) fn text(&self) -> &PlainSecret {
        &self.text
    }

    /// The value of the header that carries the token (RFC 6750 section 2.1).
    pub(crate) fn header(&self) -> &HeaderValue {
        &self.header
    }

    pub(crate) fn freshness(&self) -> Freshness {
        let now = Instant::now();
        if now < self.refresh_at {
            Freshness::Fresh
        } else if now < self.expires_at {
            Freshness::Aging
        } else {
            Freshness::Expired
        }
    }
}

/// A token is refreshed 60 s before it expires, or after 80 % of its lifetime if that is later: a
/// token of five minutes or less would otherwise be fetched too often.
fn refresh_after(lifetime: Duration) -> Duration {
    lifetime.saturating_sub(Duration::from_mins(1)).max(lifetime * 4 / 5)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_token_is_refreshed_before_it_expires() {
        assert_eq!(refresh_after(3600 * SECOND), 3540 * SECOND);
        assert_eq!(refresh_after(300 * SECOND), 240 * SECOND);
        assert_eq!(refresh_after(100 * SECOND), 80 * SECOND);
        assert_eq!(refresh_after(30 * SECOND), 24 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_ages_and_expires() {
        let token = Token::new("t", 100 * SECOND, Instant::now()).unwrap();
        assert_eq!(token.text().expose(), "t");
        assert_eq!(token.header(), "Bearer t");
        assert!(token.header().is_sensitive());
        for (wait, freshness) in
            [(79, Freshness::Fresh), (1, Freshness::Aging), (20, Freshness::Expired)]
        {
            tokio::time::advance(wait * SECOND).await;
            assert_eq!(token.freshness(), freshness);
        }
    }

    #[test]
    fn tokens_are_shared_only_between_equal_clients() {
        let key = TokenKey {
            endpoint: "https://h".into(),
            token_endpoint: "https://h/token".into(),
            client_id: "ci".into(),
            secret_fingerprint: [0; 32],
            scopes: vec!["all".into()],
            audience: String::new(),
        };
        let cache = TokenCache::default();
        let slot = cache.slot(&key);
        assert!(Arc::ptr_eq(&slot, &cache.clone().slot(&key)));
        for other in [
            TokenKey { endpoint: "https://i".into(), ..key.clone() },
            TokenKey { token_endpoint: "https://i/token".into(), ..key.clone() },
            TokenKey { client_id: "cd".into(), ..key.clone() },
            TokenKey { secret_fingerprint: [1; 32], ..key.clone() },
            TokenKey { scopes: Vec::new(), ..key.clone() },
            TokenKey { audience: "a".into(), ..key.clone() },
        ] {
            assert!(!Arc::ptr_eq(&slot, &cache.slot(&other)));
        }
    }
}
