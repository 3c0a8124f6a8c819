//! [`with_retries`]: retries a request while the server is unavailable.

use std::time::Duration;

use tokio::time::Instant;

use crate::{Error, random};

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Retries while the server is unavailable, with pauses that double, until the deadline.
pub(crate) async fn with_retries<T, F>(
    retries: u32,
    deadline: Option<Instant>,
    attempt: impl Fn() -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut longest = FIRST_PAUSE;
    for _ in 0..retries {
        match attempt().await {
            Err(error) if error.is_unavailable() && error.is_retryable() => {
                let pause = random::jittered(longest);
                // The last failure explains more than a timeout during the pause would.
                if deadline.is_some_and(|deadline| Instant::now() + pause >= deadline) {
                    return Err(error);
                }
                tokio::time::sleep(pause).await;
                longest = (longest * 2).min(LONGEST_PAUSE);
            }
            outcome => return outcome,
        }
    }
    attempt().await
}
