//! Limits how often one kind of line is logged: beyond a rate, one line with a count stands for
//! many.
//!
//! Counts last until the thread that writes lines takes them, each [`PERIOD`].

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use gatekey_core::network::network;
use tracing::{
    Event, Level, Subscriber,
    callsite::Identifier,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

use super::filter::REQUESTS;

/// How often counts are taken.
pub(super) const PERIOD: Duration = Duration::from_secs(10);
/// Requests without a key that are logged for one address in a period.
const PER_ADDRESS: u64 = 50;
/// Requests without a key that are logged in a period, whatever their addresses: anyone can have
/// many. Also the number of addresses that are counted.
const ALL_ADDRESSES: usize = 1000;
/// Addresses that have a line of their own.
const NAMED: usize = 10;
/// Events of one place in the code that are logged in a period.
const PER_EVENT: u64 = 50;

/// Limits the lines of requests that no key made.
#[derive(Default)]
pub(super) struct Strangers(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    logged: usize,
    by_network: HashMap<IpAddr, u64>,
    /// Requests of addresses beyond those that are counted.
    others: u64,
}

/// Requests without a line of their own.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unlogged {
    /// `None` for all other addresses.
    pub(super) network: Option<IpAddr>,
    pub(super) requests: u64,
}

impl Strangers {
    /// Whether to log a request from an address.
    pub(super) fn admit(&self, peer: Option<IpAddr>) -> bool {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = &mut *counts;
        let network = network(peer.unwrap_or(IpAddr::from([0; 4])));
        if counts.by_network.len() >= ALL_ADDRESSES && !counts.by_network.contains_key(&network) {
            counts.others += 1;
            return false;
        }
        let of_network = counts.by_network.entry(network).or_default();
        if *of_network < PER_ADDRESS && counts.logged >= ALL_ADDRESSES {
            counts.others += 1;
            return false;
        }
        *of_network += 1;
        let admitted = *of_network <= PER_ADDRESS;
        counts.logged += usize::from(admitted);
        admitted
    }

    /// Returns the requests that were not logged, the most frequent addresses first, and resets.
    pub(super) fn take(&self) -> Vec<Unlogged> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Counts { by_network, mut others, .. } = std::mem::take(&mut *counts);
        drop(counts);
        let beyond = by_network.into_iter().filter(|(_, requests)| *requests > PER_ADDRESS);
        let mut unlogged: Vec<_> = beyond
            .map(|(network, requests)| Unlogged {
                network: Some(network),
                requests: requests - PER_ADDRESS,
            })
            .collect();
        unlogged.sort_unstable_by_key(|of| (std::cmp::Reverse(of.requests), of.network));
        others += unlogged.drain(NAMED.min(unlogged.len())..).map(|of| of.requests).sum::<u64>();
        if others > 0 {
            unlogged.push(Unlogged { network: None, requests: others });
        }
        unlogged
    }
}

/// Limits the lines of each event. A stranger may be able to cause any of them.
///
/// Lines for debugging are not limited: their reader wants them all.
#[derive(Default)]
pub(super) struct Events(Mutex<HashMap<Identifier, OfEvent>>);

#[derive(Default)]
struct OfEvent {
    events: u64,
    /// The fixed text of the event.
    message: String,
}

impl Events {
    fn admit(&self, event: &Event<'_>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO || metadata.target() == REQUESTS {
            return true;
        }
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_event = counts.entry(metadata.callsite()).or_default();
        of_event.events += 1;
        if of_event.events <= PER_EVENT {
            return true;
        }
        if of_event.message.is_empty() {
            event.record(&mut Message(&mut of_event.message));
        }
        false
    }

    /// Returns the messages of events that were not logged, with their number, and resets.
    pub(super) fn take(&self) -> Vec<(String, u64)> {
        let counts = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let beyond = counts.into_values().filter(|of_event| of_event.events > PER_EVENT);
        beyond.map(|of_event| (of_event.message, of_event.events - PER_EVENT)).collect()
    }
}

/// Reads the message of an event.
struct Message<'m>(&'m mut String);

impl Visit for Message<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            *self.0 = format!("{value:?}");
        }
    }
}

/// The events that a subscriber may log.
pub(super) struct Limited(pub(super) std::sync::Arc<Events>);

impl<S: Subscriber> Layer<S> for Limited {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        self.0.admit(event)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn address(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(0x0a00_0000 + number).into()
    }

    #[test]
    fn requests_beyond_the_rate_are_counted_by_address() {
        let strangers = Strangers::default();
        let logged =
            |peer: IpAddr, times| (0..times).filter(|_| strangers.admit(Some(peer))).count();
        assert_eq!(logged(address(1), 5000), 50);
        assert_eq!(logged(address(2), 51), 50);
        assert_eq!(logged(address(3), 7), 7);
        let of = |number, requests| Unlogged { network: Some(address(number)), requests };
        assert_eq!(strangers.take(), [of(1, 4950), of(2, 1)]);
        assert_eq!(strangers.take(), []);
        assert_eq!(logged(address(1), 3), 3);
    }

    #[test]
    fn an_ipv6_64_network_shares_a_rate() {
        let strangers = Strangers::default();
        let host =
            |number: u128| Some(IpAddr::from((0x2001_0db8_u128 << 96 | number).to_be_bytes()));
        assert_eq!((0..100).filter(|number| strangers.admit(host(*number))).count(), 50);
        assert_eq!(strangers.take().len(), 1);
    }

    #[test]
    fn any_number_of_addresses_shares_a_limit() {
        let strangers = Strangers::default();
        let requests = 100_000;
        let logged = (0..requests).filter(|number| strangers.admit(Some(address(*number)))).count();
        assert_eq!(logged, 1000);
        let unlogged = strangers.take();
        assert!(unlogged.len() <= NAMED + 1);
        let counted: u64 = unlogged.iter().map(|of| of.requests).sum();
        assert_eq!(counted + 1000, u64::from(requests));
        // Many addresses, each beyond its own rate.
        let logged =
            (0..requests).filter(|number| strangers.admit(Some(address(number % 70)))).count();
        assert_eq!(logged, 1000);
        let counted: u64 = strangers.take().iter().map(|of| of.requests).sum();
        assert_eq!(counted + 1000, u64::from(requests));
    }
}
