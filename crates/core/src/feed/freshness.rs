//! [`Freshness`]: whether this node may decide about credentials by its state in memory.

use std::{fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwap;

use super::{Moment, Moments};

/// The ages of its state at which a node becomes unready, and at which it stops deciding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreshnessLimits {
    /// It is not ready, so that load balancers leave it, and refuses nothing that a newer state
    /// could permit.
    pub unready_after: Duration,
    /// It decides nothing.
    pub max_staleness: Duration,
}

impl Default for FreshnessLimits {
    fn default() -> Self {
        Self { unready_after: Duration::from_secs(4), max_staleness: Duration::from_secs(10) }
    }
}

/// Why a node cannot decide about a credential now. Never a refusal: clients drop credentials that
/// are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    #[error("this node has not read the database yet")]
    Starting,
    #[error("this node's state is {} s old: it does not reach the primary database", .age.as_secs())]
    Stale { age: Duration },
    #[error("the database lost changes that this node has seen, and is not repaired yet")]
    HistoryLost,
    #[error("this node's clock differs from the database's by {} s", .0.as_secs())]
    ClockSkew(Duration),
    /// The node can accept, but not refuse: a newer state could permit the request.
    #[error("this node could not read the latest changes in time")]
    CatchUp,
}

impl Unavailable {
    /// When the same call may succeed, in whole seconds of at least one.
    pub const RETRY_AFTER: Duration = Duration::from_secs(1);
}

/// What the feed publishes about the state in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// Nothing was read yet.
    Starting,
    /// Memory has every change that was acknowledged before this moment.
    FreshAsOf(Moment),
    HistoryLost,
    ClockSkew(Duration),
}

/// Whether a node serves, for its readiness and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeState {
    /// `None` before the first state is proven.
    pub age: Option<Duration>,
    pub is_ready: bool,
    pub unavailable: Option<Unavailable>,
}

/// Whether this node may decide about credentials by its state in memory. Cloning is cheap.
///
/// The age is computed when a decision is made: a timer stops together with a process that is
/// stopped, and the process continues with the decision.
#[derive(Clone)]
pub struct Freshness(Option<Arc<Shared>>);

struct Shared {
    published: ArcSwap<Published>,
    moments: Arc<dyn Moments>,
    limits: FreshnessLimits,
}

impl Freshness {
    /// Of a store whose memory is current after every commit.
    pub fn current() -> Self {
        Self(None)
    }

    /// Of a store whose memory follows a database that others write.
    pub fn following(moments: Arc<dyn Moments>, limits: FreshnessLimits) -> Self {
        let published = ArcSwap::from_pointee(Published::Starting);
        Self(Some(Arc::new(Shared { published, moments, limits })))
    }

    /// Publishes what the feed knows.
    pub(super) fn publish(&self, published: Published) {
        if let Some(shared) = &self.0 {
            shared.published.store(Arc::new(published));
        }
    }

    /// Begins a proof that no other node has written, on a database that one node at a time writes.
    pub fn begin_proof(&self) -> Proof {
        let shared = self.0.as_ref();
        Proof { freshness: self.clone(), began: shared.map(|shared| shared.moments.now()) }
    }

    /// Whether a decision can be made.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self) -> Result<(), Unavailable> {
        self.within(|limits| limits.max_staleness)
    }

    /// Whether something can be refused that a newer state could permit, after a catch-up.
    ///
    /// A former primary that is partitioned answers a catch-up too, but lacks what the new one
    /// acknowledged. So the limit is lower than that of [`Self::check`]: a refusal is right if no
    /// failover takes place within `unready_after` of the loss of the standby.
    ///
    /// # Errors
    /// Why not.
    pub fn check_refusal(&self) -> Result<(), Unavailable> {
        self.within(|limits| limits.unready_after)
    }

    fn within(&self, limit: impl Fn(&FreshnessLimits) -> Duration) -> Result<(), Unavailable> {
        let Some(shared) = &self.0 else { return Ok(()) };
        match **shared.published.load() {
            Published::Starting => Err(Unavailable::Starting),
            Published::HistoryLost => Err(Unavailable::HistoryLost),
            Published::ClockSkew(skew) => Err(Unavailable::ClockSkew(skew)),
            Published::FreshAsOf(moment) => {
                let age = shared.moments.now().since(moment);
                if age > limit(&shared.limits) { Err(Unavailable::Stale { age }) } else { Ok(()) }
            }
        }
    }

    /// Whether this node serves.
    pub fn state(&self) -> NodeState {
        let Some(shared) = &self.0 else {
            return NodeState { age: Some(Duration::ZERO), is_ready: true, unavailable: None };
        };
        let age = match **shared.published.load() {
            Published::FreshAsOf(moment) => Some(shared.moments.now().since(moment)),
            _ => None,
        };
        let is_ready = age.is_some_and(|age| age <= shared.limits.unready_after);
        NodeState { age, is_ready, unavailable: self.check().err() }
    }
}

/// A proof that has begun. See [`Freshness::begin_proof`].
#[must_use]
pub struct Proof {
    freshness: Freshness,
    began: Option<Moment>,
}

impl Proof {
    /// Publishes that memory has every change that was acknowledged before the proof began.
    pub fn succeed(self) {
        if let Some(began) = self.began {
            self.freshness.publish(Published::FreshAsOf(began));
        }
    }
}

impl fmt::Debug for Freshness {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Freshness({:?})", self.state())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::Timestamp;

    struct Stopped(Mutex<Moment>);

    impl Moments for Stopped {
        fn now(&self) -> Moment {
            *self.0.lock().unwrap()
        }
    }

    fn moment(since_boot: u64, wall: u64) -> Moment {
        let wall = Timestamp::from_seconds(1_767_225_600).after(Duration::from_secs(wall));
        Moment { since_boot: Duration::from_secs(since_boot), wall }
    }

    /// Its state is published before it is stopped, and nothing is after.
    #[test]
    fn a_node_that_was_stopped_decides_nothing() {
        let clock = Arc::new(Stopped(Mutex::new(moment(100, 100))));
        let freshness = Freshness::following(clock.clone(), FreshnessLimits::default());
        assert_eq!(freshness.check(), Err(Unavailable::Starting));
        freshness.publish(Published::FreshAsOf(moment(99, 99)));
        let at = |now: Moment| {
            *clock.0.lock().unwrap() = now;
            let state = freshness.state();
            assert_eq!(state.unavailable, freshness.check().err());
            (state.is_ready, freshness.check_refusal().is_ok(), freshness.check().is_ok())
        };
        assert_eq!(at(moment(103, 103)), (true, true, true));
        assert_eq!(at(moment(104, 104)), (false, false, true));
        assert_eq!(at(moment(109, 109)), (false, false, true));
        assert_eq!(at(moment(110, 110)), (false, false, false));
        // Its machine was suspended, and one clock hides it.
        assert_eq!(at(moment(100, 900)), (false, false, false));
        assert_eq!(at(moment(900, 100)), (false, false, false));
        // The wall clock was set back.
        assert_eq!(at(moment(101, 5)), (true, true, true));
    }

    #[test]
    fn the_embedded_store_is_always_current() {
        let freshness = Freshness::current();
        freshness.publish(Published::HistoryLost);
        assert_eq!((freshness.check(), freshness.check_refusal()), (Ok(()), Ok(())));
        assert!(freshness.state().is_ready);
    }
}
