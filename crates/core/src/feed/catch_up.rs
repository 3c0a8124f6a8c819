//! [`CatchUp`]: one poll, shared by all requests that wait for it before they are refused.

use std::time::Duration;

/// Catch-ups begin at least this far apart, whatever the number of requests: at most 20 a second.
pub const CATCH_UP_INTERVAL: Duration = Duration::from_millis(50);
/// A request waits at most this long.
pub const CATCH_UP_WAIT: Duration = Duration::from_millis(250);

/// What a request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// The number of the first poll that was sent after the request came.
    poll: u64,
    /// By the clock since the start of the machine.
    pub deadline: Duration,
}

/// Decides when polls are sent: regularly, and earlier if a request is about to be refused.
///
/// A key that was created on one node is used on another at once, so an unknown key may just be too
/// new. A refusal that a newer state could reverse therefore waits for a poll that is sent after
/// the request arrived, and the request is decided again.
///
/// Instants are by the clock since the start of the machine.
#[derive(Debug)]
pub struct CatchUp {
    interval: Duration,
    /// The last poll that was sent, and when.
    sent: Option<(u64, Duration)>,
    in_flight: bool,
    /// The last poll of which everything was applied.
    applied: u64,
    /// The last poll that a request waits for.
    wanted: u64,
}

impl CatchUp {
    /// `interval` is the time between two polls that no request waits for.
    pub fn new(interval: Duration) -> Self {
        Self { interval, sent: None, in_flight: false, applied: 0, wanted: 0 }
    }

    /// Takes a ticket for a request that came now.
    pub fn request(&mut self, now: Duration) -> Ticket {
        let poll = self.sent.map_or(1, |(number, _)| number + 1);
        self.wanted = self.wanted.max(poll);
        Ticket { poll, deadline: now.saturating_add(CATCH_UP_WAIT) }
    }

    /// Whether the state in memory is as of a moment after the request came.
    pub fn is_served(&self, ticket: Ticket) -> bool {
        self.applied >= ticket.poll
    }

    /// When to send the next poll; `None` while one is in flight.
    pub fn next(&self) -> Option<Duration> {
        if self.in_flight {
            return None;
        }
        let Some((number, at)) = self.sent else { return Some(Duration::ZERO) };
        let is_wanted = number < self.wanted;
        let wait = if is_wanted { CATCH_UP_INTERVAL.min(self.interval) } else { self.interval };
        Some(at.saturating_add(wait))
    }

    /// Notes that a poll was sent.
    pub fn sent(&mut self, number: u64, now: Duration) {
        self.sent = Some((number, now));
        self.in_flight = true;
    }

    /// Notes that a poll was answered or given up. `is_complete` if everything was applied that
    /// was acknowledged before it was sent.
    pub fn ended(&mut self, number: u64, is_complete: bool) {
        if self.sent.is_some_and(|(last, _)| last == number) {
            self.in_flight = false;
        }
        if is_complete {
            self.applied = self.applied.max(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn catch_up() -> CatchUp {
        let mut catch_up = CatchUp::new(ms(250));
        assert_eq!(catch_up.next(), Some(ms(0)));
        catch_up.sent(1, ms(1000));
        catch_up
    }

    #[test]
    fn a_poll_in_flight_does_not_serve() {
        let mut catch_up = catch_up();
        let ticket = catch_up.request(ms(1001));
        assert_eq!(ticket.deadline, ms(1251));
        assert_eq!(catch_up.next(), None);
        catch_up.ended(1, true);
        assert!(!catch_up.is_served(ticket));
        assert_eq!(catch_up.next(), Some(ms(1050)));
        catch_up.sent(2, ms(1050));
        catch_up.ended(2, false);
        assert!(!catch_up.is_served(ticket));
        catch_up.sent(3, ms(1100));
        catch_up.ended(3, true);
        assert!(catch_up.is_served(ticket));
        assert_eq!(catch_up.next(), Some(ms(1350)));
    }

    #[test]
    fn many_requests_share_one_poll() {
        let mut catch_up = catch_up();
        catch_up.ended(1, true);
        let tickets: Vec<_> = (0..1000).map(|_| catch_up.request(ms(1200))).collect();
        catch_up.sent(2, ms(1200));
        catch_up.ended(2, true);
        assert!(tickets.iter().all(|ticket| catch_up.is_served(*ticket)));
        assert_eq!(catch_up.next(), Some(ms(1450)));
    }

    #[test]
    fn an_abandoned_poll_serves_nothing() {
        let mut catch_up = catch_up();
        catch_up.ended(1, false);
        let ticket = catch_up.request(ms(2000));
        catch_up.sent(2, ms(2000));
        catch_up.ended(1, true);
        assert!(!catch_up.is_served(ticket));
        assert_eq!(catch_up.next(), None);
    }
}
