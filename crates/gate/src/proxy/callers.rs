//! [`Callers`]: how many calls each caller has in progress, so that one cannot use up the limit of
//! all.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use gatekey_authn::Presented;
use gatekey_core::{KeyId, network::network};

use crate::{
    reason::Reason,
    refusal::{Kind, Refusal},
};

/// What each caller may have in progress.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shares {
    /// Of a key, or a subject of another issuer.
    pub(super) of_caller: u32,
    /// Of an address without a key.
    pub(super) of_address: u32,
    /// A word for them.
    pub(super) what: &'static str,
}

/// Calls of one caller at once.
const CALLS: Shares = Shares { of_caller: 2048, of_address: 64, what: "calls" };

/// When a caller with too many calls may try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A caller with a call in progress.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Who {
    Key(KeyId),
    Subject(Box<str>),
    /// Without a key, by the part of the address that counts as one client.
    At(Option<IpAddr>),
}

/// How many calls each caller has in progress.
#[derive(Debug, Clone)]
pub(super) struct Callers {
    shares: Shares,
    /// Why a caller with too many is refused.
    reason: Reason,
    counts: Arc<Mutex<HashMap<Who, u32>>>,
}

/// A call in progress, until it is dropped.
pub(super) struct Place {
    callers: Arc<Mutex<HashMap<Who, u32>>>,
    who: Who,
}

impl Default for Callers {
    fn default() -> Self {
        Self::new(CALLS, Reason::Calls)
    }
}

impl Callers {
    pub(super) fn new(shares: Shares, reason: Reason) -> Self {
        Self { shares, reason, counts: Arc::default() }
    }

    /// Takes a place for a call.
    ///
    /// # Errors
    /// [`Kind::Throttled`], if the caller has too many.
    pub(super) fn place(
        &self,
        presented: Option<&Presented>,
        peer: Option<IpAddr>,
    ) -> Result<Place, Refusal> {
        let (who, most) = match presented {
            Some(presented) => {
                let key = presented.key().map(|key| Who::Key(key.key_id));
                let who = key.unwrap_or_else(|| Who::Subject(presented.user().into()));
                (who, self.shares.of_caller)
            }
            None => (Who::At(peer.map(network)), self.shares.of_address),
        };
        let mut calls = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = calls.entry(who.clone()).or_default();
        if *count >= most {
            let message = format!("{most} {} of this caller are in progress", self.shares.what);
            let refusal = Refusal::new(Kind::Throttled, self.reason, message);
            return Err(refusal.with_retry_after(RETRY_AFTER));
        }
        *count += 1;
        Ok(Place { callers: self.counts.clone(), who })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut calls = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = calls.get_mut(&self.who) {
            *count -= 1;
            if *count == 0 {
                calls.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_bounded_number_of_calls() {
        let callers = Callers::default();
        let address = |text: &str| Some(text.parse().unwrap());
        let one = address("192.0.2.1");
        let places: Vec<_> =
            (0..CALLS.of_address).map(|_| callers.place(None, one).ok().unwrap()).collect();
        assert!(callers.place(None, one).is_err());
        assert!(callers.place(None, address("192.0.2.2")).is_ok());
        drop(places);
        assert!(callers.place(None, one).is_ok());
        assert!(
            callers.counts.lock().unwrap().is_empty(),
            "nothing is kept of callers without calls"
        );
    }
}
