//! [`Moment`]: an instant by two clocks, so that neither can hide how long ago it was.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::{
    Timestamp,
    env::{Clock, SystemClock},
};

/// An instant of this machine by two clocks.
///
/// The clock since the start of the machine counts suspension, and no operator sets it; a virtual
/// machine that was restored from a snapshot hides the time between from it. The wall clock shows
/// that time, but can be set back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Since the machine started, including suspension.
    pub since_boot: Duration,
    pub wall: Timestamp,
}

impl Moment {
    /// The time since an earlier moment, by the clock that shows more of it.
    pub fn since(self, earlier: Self) -> Duration {
        let by_wall = self.wall.as_micros().saturating_sub(earlier.wall.as_micros());
        let by_wall = Duration::from_micros(u64::try_from(by_wall).unwrap_or_default());
        self.since_boot.saturating_sub(earlier.since_boot).max(by_wall)
    }
}

/// Reads both clocks.
pub trait Moments: Send + Sync {
    fn now(&self) -> Moment;
}

/// The system's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemMoments;

impl Moments for SystemMoments {
    fn now(&self) -> Moment {
        // `std::time::Instant` stands still while a Linux machine is suspended.
        let boot = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(boot.tv_sec).unwrap_or_default();
        let nanoseconds = u32::try_from(boot.tv_nsec).unwrap_or_default();
        Moment { since_boot: Duration::new(seconds, nanoseconds), wall: SystemClock.now() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(since_boot: u64, wall: i64) -> Moment {
        Moment { since_boot: Duration::from_secs(since_boot), wall: Timestamp::from_seconds(wall) }
    }

    #[test]
    fn age_is_by_the_clock_that_shows_more() {
        let then = moment(100, 1000);
        for (now, age) in [
            (moment(107, 1007), 7),
            (moment(107, 400), 7),
            (moment(101, 4600), 3600),
            (moment(3, 1009), 9),
            (moment(99, 999), 0),
        ] {
            assert_eq!(now.since(then), Duration::from_secs(age), "{now:?}");
        }
    }

    #[test]
    fn the_system_clocks_advance() {
        let before = SystemMoments.now();
        let after = SystemMoments.now();
        assert!(before.since_boot > Duration::ZERO && before.since_boot <= after.since_boot);
    }
}
