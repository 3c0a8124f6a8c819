//! The clocks of the model: true time, and each node's two clocks.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use gatekey_core::{
    Env, Timestamp,
    env::{Clock, Entropy},
    feed::{Moment, Moments},
};

use crate::world::Micros;

/// The database's clock: 2026-01-01T00:00:00Z at the start.
pub(crate) fn wall(now: Micros) -> Timestamp {
    Timestamp::from_seconds(1_767_225_600).after(Duration::from_micros(now))
}

/// The clocks of one node.
pub(crate) struct NodeClock(Mutex<Moment>);

impl NodeClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Moment { since_boot: Duration::ZERO, wall: wall(0) })))
    }

    pub(crate) fn set(&self, since_boot: Micros, wall: Timestamp) {
        *self.0.lock().unwrap() = Moment { since_boot: Duration::from_micros(since_boot), wall };
    }

    pub(crate) fn env(self: &Arc<Self>) -> Env {
        Env::new(self.clone(), self.clone())
    }
}

impl Moments for NodeClock {
    fn now(&self) -> Moment {
        *self.0.lock().unwrap()
    }
}

impl Clock for NodeClock {
    fn now(&self) -> Timestamp {
        self.0.lock().unwrap().wall
    }
}

impl Entropy for NodeClock {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
}
