//! [`Stopwatch`]: when a span starts and ends.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use gatekey_core::Env;

/// Takes the start from the server's clock, and the duration from a clock that never goes back.
///
/// The two clocks cannot be read at once. They are read in an order in which a request never seems
/// to end before a call within it.
pub(super) struct Stopwatch {
    started: Instant,
    started_at: SystemTime,
}

impl Stopwatch {
    /// Starts for a request, whose end may appear late but not early.
    pub(super) fn of_request(env: &Env) -> Self {
        let started = Instant::now();
        Self { started, started_at: system_time(env) }
    }

    /// Starts for a call within a request, whose end may appear early but not late.
    pub(super) fn of_call(env: &Env) -> Self {
        let started_at = system_time(env);
        Self { started: Instant::now(), started_at }
    }

    pub(super) fn started_at(&self) -> SystemTime {
        self.started_at
    }

    pub(super) fn now(&self) -> SystemTime {
        self.started_at + self.started.elapsed()
    }
}

fn system_time(env: &Env) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(u64::try_from(env.now().as_micros()).unwrap_or_default())
}
