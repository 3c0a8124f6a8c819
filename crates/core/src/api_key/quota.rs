//! [`Quota`]: how much of its rate a key has used.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::Rate;
use crate::Timestamp;

/// How much of its rate a key has used: the generic cell rate algorithm, in one word.
///
/// It stores the instant at which the whole rate will be available again, in microseconds. Each use
/// moves it by the rate's window divided by its count; a use that would move it further than one
/// window ahead is refused. An unused key can therefore use its whole count at once.
#[derive(Debug, Default)]
pub struct Quota(AtomicU64);

/// What a use leaves of a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remaining {
    /// The uses that are available at once.
    pub count: u32,
    /// The time until the whole rate is available.
    pub reset_after: Duration,
}

/// A use was refused, because the rate is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exhausted {
    /// The time until a use is possible.
    pub retry_after: Duration,
    /// The time until the whole rate is available.
    pub reset_after: Duration,
}

impl Quota {
    /// Counts a use.
    ///
    /// # Errors
    /// [`Exhausted`], and then the use is not counted.
    pub fn take(&self, rate: Rate, now: Timestamp) -> Result<Remaining, Exhausted> {
        // Nanoseconds, because a million uses a second are a microsecond apart.
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let window = nanos(rate.window());
        let interval = window / u64::from(rate.count());
        let now = u64::try_from(now.as_micros()).unwrap_or_default().saturating_mul(1000);
        let mut available_at = self.0.load(Ordering::Relaxed);
        loop {
            // If the clock was set back, the quota is as if it had never been used.
            let earlier =
                if available_at > now.saturating_add(window) { now } else { available_at.max(now) };
            let later = earlier.saturating_add(interval);
            let ahead = later - now;
            if ahead > window {
                return Err(Exhausted {
                    retry_after: Duration::from_nanos(ahead - window),
                    reset_after: Duration::from_nanos(earlier - now),
                });
            }
            match self.0.compare_exchange_weak(
                available_at,
                later,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    let count = (window - ahead) / interval;
                    return Ok(Remaining {
                        count: u32::try_from(count).unwrap_or(u32::MAX).min(rate.count()),
                        reset_after: Duration::from_nanos(ahead),
                    });
                }
                Err(meanwhile) => available_at = meanwhile,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_micros(1_767_225_600_000_000 + millis * 1000)
    }

    #[test]
    fn a_whole_count_is_available_at_once() {
        let (quota, rate) = (Quota::default(), "3/s".parse().unwrap());
        let counts: Vec<_> = (0..3).map(|_| quota.take(rate, at(0)).unwrap().count).collect();
        assert_eq!(counts, [2, 1, 0]);
        let refused = quota.take(rate, at(0)).unwrap_err();
        assert!((333..=334).contains(&refused.retry_after.as_millis()), "{refused:?}");
        assert!((999..=1000).contains(&refused.reset_after.as_millis()), "{refused:?}");
    }

    #[test]
    fn a_rate_becomes_available_again_evenly() {
        let (quota, rate) = (Quota::default(), "2/m".parse().unwrap());
        assert!(quota.take(rate, at(0)).is_ok() && quota.take(rate, at(0)).is_ok());
        assert!(quota.take(rate, at(29_999)).is_err());
        assert!(quota.take(rate, at(30_000)).is_ok());
        assert!(quota.take(rate, at(30_000)).is_err());
        assert_eq!(quota.take(rate, at(600_000)).unwrap().count, 1);
    }

    #[test]
    fn a_clock_set_back_refuses_nobody_for_long() {
        let (quota, rate) = (Quota::default(), "1/h".parse().unwrap());
        assert!(quota.take(rate, at(100_000_000)).is_ok());
        assert!(quota.take(rate, at(0)).is_ok());
        let refused = quota.take(rate, at(0)).unwrap_err();
        assert!(refused.retry_after <= Duration::from_hours(1), "{refused:?}");
    }

    proptest! {
        /// In a time of `windows` windows, at most one count more than the rate permits.
        #[test]
        fn a_rate_is_never_exceeded(count in 1..50_u32, mut times in prop::collection::vec(0..5000_i64, 0..400)) {
            times.sort_unstable();
            let (quota, rate) = (Quota::default(), format!("{count}/s").parse().unwrap());
            let taken = times.iter().filter(|millis| quota.take(rate, at(**millis)).is_ok()).count();
            let elapsed = times.last().copied().unwrap_or_default() - times.first().copied().unwrap_or_default();
            let most = i64::from(count) * (1000 + elapsed) / 1000 + 1;
            prop_assert!(i64::try_from(taken).unwrap() <= most, "{taken} of {most}");
        }
    }
}
