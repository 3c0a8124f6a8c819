//! [`SingleFlight`]: a value that many callers want and one fetches.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::Error;

/// How long a failed early refresh is not tried again.
const PAUSE_AFTER_FAILED_REFRESH: Duration = Duration::from_secs(5);

/// How good a kept value still is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// Use it.
    Good,
    /// Usable, but one caller should fetch another.
    Aging,
    /// No longer usable.
    Gone,
}

/// A kept value with at most one fetch for it under way.
///
/// Who finds no usable value waits for the fetch that runs, and shares its outcome, the error included: a
/// server that refuses a login is asked once, not once by each waiting caller. A fetch runs in the task of
/// the caller that began it; when that caller gives up, the next in line begins anew.
pub(crate) struct SingleFlight<T> {
    kept: Mutex<Option<Arc<T>>>,
    flight: tokio::sync::Mutex<Flight>,
    /// Fetches that have ended.
    ended: AtomicU64,
}

#[derive(Default)]
struct Flight {
    /// The number of the fetch that failed last, and how.
    failure: Option<(u64, Error)>,
    no_early_refresh_before: Option<Instant>,
}

impl<T> Default for SingleFlight<T> {
    fn default() -> Self {
        Self { kept: Mutex::default(), flight: tokio::sync::Mutex::default(), ended: AtomicU64::new(0) }
    }
}

impl<T> SingleFlight<T> {
    /// The kept value while it is good, else a fetched one.
    pub(crate) async fn get<F>(
        &self,
        freshness: impl Fn(&T) -> Freshness,
        fetch: impl FnOnce() -> F,
    ) -> Result<Arc<T>, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let ended_before = self.ended.load(Ordering::Acquire);
        let kept = self.kept().map(|value| (freshness(&value), value));
        let mut flight = match kept {
            Some((Freshness::Good, value)) => return Ok(value),
            Some((Freshness::Aging, value)) => {
                // Somebody else refreshes already: what is kept serves meanwhile.
                let Ok(mut flight) = self.flight.try_lock() else { return Ok(value) };
                if flight.no_early_refresh_before.is_some_and(|until| Instant::now() < until) {
                    return Ok(value);
                }
                // Nor is a failure any trouble before the kept value is gone.
                return Ok(self.fetch(&mut flight, fetch).await.unwrap_or(value));
            }
            Some((Freshness::Gone, _)) | None => self.flight.lock().await,
        };
        if let Some(value) = self.kept().filter(|value| freshness(value) != Freshness::Gone) {
            return Ok(value);
        }
        if let Some((number, error)) = &flight.failure
            && *number > ended_before
        {
            return Err(error.clone());
        }
        self.fetch(&mut flight, fetch).await
    }

    async fn fetch<F>(&self, flight: &mut Flight, fetch: impl FnOnce() -> F) -> Result<Arc<T>, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let outcome = fetch().await.map(Arc::new);
        let number = self.ended.fetch_add(1, Ordering::AcqRel) + 1;
        match &outcome {
            Ok(value) => {
                *flight = Flight::default();
                *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(value));
            }
            Err(error) => {
                flight.failure = Some((number, error.clone()));
                flight.no_early_refresh_before = Some(Instant::now() + PAUSE_AFTER_FAILED_REFRESH);
            }
        }
        outcome
    }

    /// Drops the value if it is still this one: when many callers find the same value refused, only the
    /// first of them causes a new fetch.
    pub(crate) fn forget(&self, refused: &Arc<T>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.as_ref().is_some_and(|value| Arc::ptr_eq(value, refused)) {
            *kept = None;
        }
    }

    /// The kept value, however old.
    pub(crate) fn kept(&self) -> Option<Arc<T>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::join_all;
    use std::sync::atomic::AtomicUsize;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn many_callers_share_one_fetch() {
        let (cell, fetches) = (SingleFlight::default(), AtomicUsize::new(0));
        let get = || {
            cell.get(
                |_| Freshness::Good,
                || async {
                    tokio::time::sleep(SECOND).await;
                    Ok(fetches.fetch_add(1, Ordering::SeqCst))
                },
            )
        };
        for outcome in join_all((0..100).map(|_| get())).await {
            assert_eq!(*outcome.unwrap(), 0);
        }
        assert_eq!(fetches.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn many_callers_share_one_failure_and_later_callers_try_again() {
        let (cell, fetches) = (SingleFlight::<()>::default(), AtomicUsize::new(0));
        let get = || {
            cell.get(
                |()| Freshness::Good,
                || async {
                    tokio::time::sleep(SECOND).await;
                    fetches.fetch_add(1, Ordering::SeqCst);
                    Err(Error::internal("no"))
                },
            )
        };
        assert!(join_all((0..100).map(|_| get())).await.iter().all(Result::is_err));
        assert_eq!(fetches.load(Ordering::SeqCst), 1);
        assert!(get().await.is_err());
        assert_eq!(fetches.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_gives_up_does_not_strand_the_others() {
        let cell = SingleFlight::default();
        let slow = cell.get(|()| Freshness::Good, std::future::pending);
        let quick = cell.get(|()| Freshness::Good, || async { Ok(()) });
        let (slow, quick) = tokio::join!(tokio::time::timeout(SECOND, slow), quick);
        assert!(slow.is_err());
        assert!(quick.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn an_aging_value_serves_while_one_caller_refreshes() {
        let (cell, fetches) = (SingleFlight::default(), AtomicUsize::new(0));
        let get = || {
            cell.get(
                |_| Freshness::Aging,
                || async {
                    tokio::time::sleep(SECOND).await;
                    Ok(fetches.fetch_add(1, Ordering::SeqCst))
                },
            )
        };
        assert_eq!(*get().await.unwrap(), 0);
        let values: Vec<_> =
            join_all((0..10).map(|_| get())).await.into_iter().map(|v| *v.unwrap()).collect();
        assert_eq!(values, [1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_early_refresh_is_no_trouble_and_not_repeated_at_once() {
        let (cell, fetches) = (SingleFlight::default(), AtomicUsize::new(0));
        assert!(cell.get(|()| Freshness::Good, || async { Ok(()) }).await.is_ok());
        let get = || {
            cell.get(
                |()| Freshness::Aging,
                || async {
                    fetches.fetch_add(1, Ordering::SeqCst);
                    Err(Error::internal("no"))
                },
            )
        };
        assert!(get().await.is_ok());
        assert!(get().await.is_ok());
        assert_eq!(fetches.load(Ordering::SeqCst), 1);
        tokio::time::advance(PAUSE_AFTER_FAILED_REFRESH).await;
        assert!(get().await.is_ok());
        assert_eq!(fetches.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn only_the_value_that_was_refused_is_forgotten() {
        let cell = SingleFlight::default();
        let first = cell.get(|_| Freshness::Good, || async { Ok(1) }).await.unwrap();
        cell.forget(&first);
        let second = cell.get(|_| Freshness::Good, || async { Ok(2) }).await.unwrap();
        cell.forget(&first);
        assert_eq!(cell.kept().as_deref(), Some(&2));
        cell.forget(&second);
        assert!(cell.kept().is_none());
    }
}
