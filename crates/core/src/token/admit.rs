//! Whether a key that proved itself is within its limits.

use std::{net::IpAddr, time::Duration};

use super::Tokens;
use crate::api_key::{Exhausted, KeyFacts, Rate, Remaining};

/// Why a key that proved itself may not be used now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Limited {
    /// The address is in none of the key's networks, or unknown.
    #[error("this API key may not be used from this address")]
    Network,
    /// The key is used more often than its rate permits.
    #[error("this API key is used more often than {rate}; try again in {} s", whole_seconds(exhausted.retry_after))]
    Rate { rate: Rate, exhausted: Exhausted },
}

impl Limited {
    /// The word for the reason in metrics, headers and the ledger.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Rate { .. } => "rate",
        }
    }

    /// When a use is possible, in whole seconds of at least one; `None` if time does not help.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Network => None,
            Self::Rate { exhausted, .. } => {
                Some(Duration::from_secs(whole_seconds(exhausted.retry_after)))
            }
        }
    }
}

/// Rounds up, to at least one second.
fn whole_seconds(duration: Duration) -> u64 {
    (duration.as_secs() + u64::from(duration.subsec_nanos() > 0)).max(1)
}

impl Tokens {
    /// Counts a use of a key from an address, if the key's limits permit it. Returns what is left
    /// of its rate, if it has one.
    ///
    /// Each request counts once, whatever it is for.
    ///
    /// # Errors
    /// [`Limited`]. A use from another network does not count.
    pub fn admit(
        &self,
        key: &KeyFacts,
        from: Option<IpAddr>,
    ) -> Result<Option<(Rate, Remaining)>, Limited> {
        let Some(facts) = key.limits.as_deref() else { return Ok(None) };
        let networks = &facts.limits.allow_from;
        if !networks.is_empty() && !from.is_some_and(|from| networks.contains(from)) {
            return Err(Limited::Network);
        }
        let Some(rate) = facts.limits.rate else { return Ok(None) };
        match facts.quota.take(rate, self.env.now()) {
            Ok(remaining) => Ok(Some((rate, remaining))),
            Err(exhausted) => Err(Limited::Rate { rate, exhausted }),
        }
    }
}
