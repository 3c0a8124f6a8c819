//! A node: the feed of the core, its memory, and the decision about a credential.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use gatekey_core::{
    Directory, KeyId, Timestamp,
    feed::{
        Answer, CatchUp, Feed, Freshness, FreshnessLimits, Moment, Moments, Outcome, Position,
        Revoked, Tag, Ticket,
    },
    store::{ChangeObserver, Observers},
};
use gatekey_credentials::ClientId;

use crate::{
    clock::{self, NodeClock},
    world::{Event, Micros},
};

/// The time between two polls.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// What a client presents: a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Credential {
    pub(crate) client_id: ClientId,
    pub(crate) key_id: KeyId,
    pub(crate) epoch: u64,
    pub(crate) jti: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    Accepted,
    Refused,
    Unavailable,
    /// Refused, unless a newer state permits it.
    TooNew,
}

/// A request that waits for a catch-up.
pub(crate) struct Pending {
    pub(crate) credential: Credential,
    pub(crate) came: Micros,
    pub(crate) ticket: Ticket,
}

pub(crate) struct Node {
    clock: Arc<NodeClock>,
    pub(crate) feed: Feed,
    pub(crate) freshness: Freshness,
    pub(crate) directory: Arc<Directory>,
    pub(crate) revoked: Arc<Revoked>,
    memory: Observers,
    pub(crate) catch_up: CatchUp,
    /// The server that it is connected to.
    pub(crate) server: usize,
    pub(crate) pending: Vec<Pending>,
    /// Changes that are committed, and answered once memory has them.
    pub(crate) unanswered: BTreeMap<u64, (Position, usize)>,
    /// The changes that memory has, since it was loaded.
    pub(crate) seen: BTreeMap<u64, Tag>,
    /// The transaction of its repair, and when to try again.
    pub(crate) repair: Option<(u64, Micros)>,
    /// Set while it is stopped. What arrives meanwhile waits.
    pub(crate) stopped: bool,
    pub(crate) inbox: Vec<Event>,
    /// By how much its clocks differ from the true time.
    pub(crate) boot_behind: Micros,
    pub(crate) wall_ahead: i64,
}

impl Node {
    pub(crate) fn new() -> Self {
        let clock = NodeClock::new();
        let freshness = Freshness::following(clock.clone(), FreshnessLimits::default());
        let directory = Arc::<Directory>::default();
        let revoked = Arc::new(Revoked::new(directory.clone(), clock.env()));
        let observers: Vec<Arc<dyn ChangeObserver>> = vec![revoked.clone(), directory.clone()];
        Self {
            feed: Feed::new(freshness.clone()),
            clock,
            freshness,
            directory,
            revoked,
            memory: Observers(observers),
            catch_up: CatchUp::new(POLL_INTERVAL),
            server: 0,
            pending: Vec::new(),
            unanswered: BTreeMap::new(),
            seen: BTreeMap::new(),
            repair: None,
            stopped: false,
            inbox: Vec::new(),
            boot_behind: 0,
            wall_ahead: 0,
        }
    }

    /// Sets its clocks by the true time.
    pub(crate) fn set_clock(&self, now: Micros) {
        let wall = clock::wall(now).as_micros() + self.wall_ahead;
        let wall = Timestamp::from_micros(wall);
        self.clock.set(now - self.boot_behind, wall);
    }

    pub(crate) fn now(&self) -> Moment {
        Moments::now(&*self.clock)
    }

    pub(crate) fn apply(&mut self, number: u64, answer: Answer) -> Outcome {
        let now = self.now();
        self.feed.apply(number, answer, now, &self.memory)
    }

    /// Decides about a credential as the core does about a token.
    pub(crate) fn decide(&self, credential: &Credential) -> Decision {
        if self.freshness.check().is_err() {
            return Decision::Unavailable;
        }
        let Some(key) = self.directory.find(credential.client_id.as_str()) else {
            return Decision::TooNew;
        };
        if key.key_id != credential.key_id {
            return Decision::TooNew;
        }
        if credential.epoch < key.epoch {
            return Decision::Refused;
        }
        if credential.epoch > key.epoch || !key.is_usable_at(self.now().wall) {
            return Decision::TooNew;
        }
        if self.directory.is_denied(key.key_id, &credential.jti) {
            return Decision::Refused;
        }
        Decision::Accepted
    }
}
