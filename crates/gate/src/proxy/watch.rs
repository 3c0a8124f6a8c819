//! [`Watch`]: ends calls whose key was revoked, whose deadline passed, or that outlast the server.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use crate::{
    gate::{Admitted, Gate},
    reason::Reason,
    refusal::{Kind, Refusal},
};

/// How often a call in progress is checked again. A key's revocation ends its calls within this
/// time.
const INTERVAL: Duration = Duration::from_secs(2);

/// When the server stops, if it does.
#[derive(Debug, Default)]
pub(super) struct Stop {
    at: OnceLock<Instant>,
}

impl Stop {
    /// Ends all calls that are still in progress after `drain`.
    pub(super) fn announce(&self, drain: Duration) {
        let _ = self.at.set(Instant::now() + drain);
    }

    fn has_passed(&self, now: Instant) -> bool {
        self.at.get().is_some_and(|at| *at <= now)
    }
}

/// Decides whether a call may go on.
pub(super) struct Watch {
    gate: Arc<Gate>,
    admitted: Admitted,
    deadline: Option<Instant>,
    stop: Arc<Stop>,
    /// When to check next.
    next: Instant,
    /// Set up when the call first waits.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Watch {
    pub(super) fn new(
        gate: Arc<Gate>,
        admitted: Admitted,
        deadline: Option<Instant>,
        stop: Arc<Stop>,
    ) -> Self {
        let next = next(deadline);
        Self { gate, admitted, deadline, stop, next, timer: None }
    }

    /// Waits for a part of the call.
    ///
    /// # Errors
    /// Why the call may not go on.
    pub(super) async fn until<T>(&mut self, part: impl Future<Output = T>) -> Result<T, Refusal> {
        let mut part = pin!(part);
        poll_fn(|context| match part.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => self.poll(context).map(Err),
        })
        .await
    }

    /// Waits until the call may not go on.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Refusal> {
        loop {
            let next = self.next;
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(next)));
            ready!(timer.as_mut().poll(context));
            if let Some(refusal) = self.check(Instant::now()) {
                return Poll::Ready(refusal);
            }
            let next = self.next;
            if let Some(timer) = &mut self.timer {
                timer.as_mut().reset(next);
            }
        }
    }

    /// Checks, if it is time, a call that never waits.
    pub(super) fn check_if_due(&mut self) -> Option<Refusal> {
        let now = Instant::now();
        if now < self.next { None } else { self.check(now) }
    }

    fn check(&mut self, now: Instant) -> Option<Refusal> {
        self.judge(now).inspect(|refusal| self.gate.decisions.end(refusal.reason))
    }

    fn judge(&mut self, now: Instant) -> Option<Refusal> {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            let message = "the call took longer than its client allows";
            return Some(Refusal::new(Kind::DeadlineExceeded, Reason::Deadline, message));
        }
        if self.stop.has_passed(now) {
            let message = "the server stops; call again";
            return Some(Refusal::new(Kind::Unavailable, Reason::Stopping, message));
        }
        self.next = next(self.deadline);
        self.gate.check_again(&self.admitted).err()
    }
}

fn next(deadline: Option<Instant>) -> Instant {
    let next = Instant::now() + INTERVAL;
    deadline.map_or(next, |deadline| next.min(deadline))
}
