//! [`ClockSkew`]: how far this machine's clock is from the database's.

use std::time::Duration;

use super::Moment;
use crate::Timestamp;

/// A difference that is logged.
pub const SKEW_WARNING: Duration = Duration::from_secs(1);
/// A difference with which a node decides nothing: expiry is by each node's own clock, so the
/// difference is part of every bound.
pub const SKEW_UNFIT: Duration = Duration::from_secs(5);

/// How far this machine's clock is from the database's, as one poll shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockSkew {
    /// Positive if this machine's clock is ahead.
    pub ahead_micros: i64,
    /// The most by which that can be wrong: the database's clock was read between sending and
    /// receiving.
    pub error: Duration,
}

impl ClockSkew {
    pub(super) fn of(sent: Moment, received: Moment, database: Timestamp) -> Self {
        let round_trip = received.since_boot.saturating_sub(sent.since_boot);
        let error = round_trip / 2;
        // By the wall clock when the answer arrived, so that a step during the poll counts.
        let middle = received.wall.before(error);
        Self { ahead_micros: middle.as_micros().saturating_sub(database.as_micros()), error }
    }

    /// The least difference that explains the poll.
    pub fn at_least(self) -> Duration {
        Duration::from_micros(self.ahead_micros.unsigned_abs()).saturating_sub(self.error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_the_round_trip_is_no_skew() {
        let moment = |since_boot, wall: i64| Moment {
            since_boot: Duration::from_millis(since_boot),
            wall: Timestamp::from_micros(wall * 1000),
        };
        let skew = |received: Moment, database: i64| {
            ClockSkew::of(moment(0, 5000), received, Timestamp::from_micros(database * 1000))
        };
        let slow = moment(4000, 9000);
        for database in [5000, 7000, 9000] {
            assert_eq!(skew(slow, database).at_least(), Duration::ZERO);
        }
        assert_eq!(skew(slow, 12_000).at_least(), Duration::from_secs(3));
        assert_eq!(skew(slow, 2000).at_least(), Duration::from_secs(3));
        // The clock was set forward by a minute during a poll that took 10 ms.
        assert!(skew(moment(10, 65_010), 5005).at_least() > Duration::from_secs(59));
    }
}
