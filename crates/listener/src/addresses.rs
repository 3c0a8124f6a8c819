//! [`Addresses`]: how many connections each client address has.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use gatekey_core::network::{Networks, network};

use crate::{activity::Activity, limits::Limits};

/// The open connections of each client address, IPv6 by /64.
#[derive(Debug)]
pub(crate) struct Addresses {
    limit: usize,
    unlimited: Networks,
    open: Mutex<HashMap<IpAddr, Vec<Arc<Activity>>>>,
}

/// A connection's place among those of its address, which it leaves when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    addresses: Arc<Addresses>,
    network: IpAddr,
    activity: Arc<Activity>,
}

impl Addresses {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            limit: limits.connections_per_address(),
            unlimited: limits.unlimited.clone(),
            open: Mutex::default(),
        }
    }

    /// Admits a connection. If its address has as many as it may, the one that is idle for longest
    /// ends; if none is idle, the new one is not admitted.
    pub(crate) fn admit(
        self: &Arc<Self>,
        address: IpAddr,
        activity: &Arc<Activity>,
    ) -> Option<Place> {
        let network = network(address);
        let mut open = self.lock();
        let connections = open.entry(network).or_default();
        if connections.len() >= self.limit && !self.unlimited.contains(address) {
            let idle = connections
                .iter()
                .enumerate()
                .filter_map(|(at, open)| Some((open.idle_since()?, at)));
            let (_, at) = idle.min()?;
            connections.swap_remove(at).evict();
        }
        connections.push(activity.clone());
        drop(open);
        Some(Place { addresses: self.clone(), network, activity: activity.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Vec<Arc<Activity>>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.addresses.lock();
        if let Some(connections) = open.get_mut(&self.network) {
            connections.retain(|connection| !Arc::ptr_eq(connection, &self.activity));
            if connections.is_empty() {
                open.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn addresses(connections: usize, unlimited: &[&str]) -> Arc<Addresses> {
        Arc::new(Addresses::new(&Limits {
            connections,
            share_per_address: 0.125,
            unlimited: unlimited.iter().map(|address| address.parse().unwrap()).collect(),
            idle: Duration::MAX,
            age: Duration::MAX,
        }))
    }

    fn admit(addresses: &Arc<Addresses>, address: &str) -> Option<(Arc<Activity>, Place)> {
        let activity = Arc::new(Activity::new());
        let place = addresses.admit(address.parse().unwrap(), &activity)?;
        Some((activity, place))
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_idle_connection_makes_room() {
        let addresses = addresses(24, &[]);
        let mut open = Vec::new();
        for _ in 0..3 {
            open.push(admit(&addresses, "192.0.2.1").unwrap());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let request = open[0].0.begin_request();
        open.push(admit(&addresses, "192.0.2.1").unwrap());
        open[1].0.evicted().await;
        // Each of the other three works.
        for at in [2, 3] {
            open[at].0.begin_request();
        }
        assert!(admit(&addresses, "192.0.2.1").is_none());
        assert!(admit(&addresses, "192.0.2.2").is_some(), "another address");
        open[0].0.end_request(request);
        assert!(admit(&addresses, "::ffff:192.0.2.1").is_some());
        drop(open);
        assert!(addresses.lock().is_empty());
    }

    #[tokio::test]
    async fn an_ipv6_network_is_one_address() {
        let addresses = addresses(8, &["192.0.2.8/30"]);
        let (first, _place) = admit(&addresses, "2001:db8::1").unwrap();
        first.begin_request();
        assert!(admit(&addresses, "2001:db8::2:3").is_none());
        assert!(admit(&addresses, "2001:db8:0:1::1").is_some());
        let (proxy, _place) = admit(&addresses, "192.0.2.9").unwrap();
        proxy.begin_request();
        assert!(admit(&addresses, "::ffff:192.0.2.9").is_some(), "a trusted proxy");
    }
}
