//! Connects again after a connection broke.

use std::{
    thread,
    time::{Duration, Instant},
};

use gatekey_core::Env;

use super::{address::DatabaseUrl, connection::Connection, error::PostgresError};

/// How long calls wait for a connection before they fail. Their callers have deadlines too.
const WITHIN: Duration = Duration::from_secs(4);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Connects, if necessary several times.
pub(super) fn open(url: &DatabaseUrl, env: &Env) -> Result<Connection, PostgresError> {
    let began = Instant::now();
    for attempt in 0.. {
        match Connection::open(url) {
            Ok(connection) => return Ok(connection),
            Err(error) => {
                let pause = pause(env, attempt);
                if !error.is_of_connection() || began.elapsed() + pause >= WITHIN {
                    return Err(error);
                }
                wait(pause);
            }
        }
    }
    Err(PostgresError::Unknown)
}

/// A random pause before an attempt after the first, so that many nodes do not all come at once.
pub(super) fn pause(env: &Env, attempt: u32) -> Duration {
    let longest = FIRST_PAUSE.saturating_mul(1 << attempt.min(10)).min(LONGEST_PAUSE);
    let part = u32::from(u16::from_be_bytes(env.random()));
    longest.saturating_mul(part) / u32::from(u16::MAX)
}

/// Waits between two attempts.
#[expect(clippy::disallowed_methods, reason = "a server that does not answer sends no event")]
pub(super) fn wait(pause: Duration) {
    thread::sleep(pause);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_differ_and_are_bounded() {
        let env = Env::system();
        let pauses: Vec<_> = (0..40).map(|attempt| pause(&env, attempt)).collect();
        assert!(pauses.iter().all(|pause| *pause <= LONGEST_PAUSE));
        assert!(pauses[0] <= FIRST_PAUSE);
        assert!(pauses.windows(2).any(|pair| pair[0] != pair[1]));
    }
}
