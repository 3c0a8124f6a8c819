//! [`SingleFlight`]: a value that one caller fetches and many share.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::Error;

/// How long to wait after a failed early refresh before the next one.
const PAUSE_AFTER_FAILED_REFRESH: Duration = Duration::from_secs(5);

/// Whether a kept value may still be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    Fresh,
    /// Usable, but one caller should fetch a new value.
    Aging,
    Expired,
}

/// A kept value, with at most one fetch for it at a time.
///
/// A caller that finds no usable value waits for the running fetch and shares its outcome, even an
/// error: a server that rejects a login gets one request, not one from each waiting caller. A fetch
/// runs in the task of the caller that began it; if that caller is cancelled, the next one in line
/// starts a new fetch.
pub(crate) struct SingleFlight<T> {
    kept: Mutex<Option<Arc<T>>>,
    flight: tokio::sync::Mutex<Flight>,
    /// The number of finished fetches.
    finished: AtomicU64,
}

#[derive(Default)]
struct Flight {
    /// The number and the error of the last failed fetch.
    failure: Option<(u64, Error)>,
    no_early_refresh_before: Option<Instant>,
}

impl<T> Default for SingleFlight<T> {
    fn default() -> Self {
        Self {
            kept: Mutex::default(),
            flight: tokio::sync::Mutex::default(),
            finished: AtomicU64::new(0),
        }
    }
}

impl<T> SingleFlight<T> {
    /// Returns the kept value while it is usable, or else fetches one.
    pub(crate) async fn get<F>(
        &self,
        freshness: impl Fn(&T) -> Freshness,
        fetch: impl FnOnce() -> F,
    ) -> Result<Arc<T>, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let finished_before = self.finished.load(Ordering::Acquire);
        let kept = self.kept().map(|value| (freshness(&value), value));
        let mut flight = match kept {
            Some((Freshness::Fresh, value)) => return Ok(value),
            Some((Freshness::Aging, value)) => {
                // If another caller is already refreshing, the kept value serves meanwhile.
                let Ok(mut flight) = self.flight.try_lock() else { return Ok(value) };
                if flight.no_early_refresh_before.is_some_and(|until| Instant::now() < until) {
                    return Ok(value);
                }
                // A failed refresh does no harm before the kept value expires.
                return Ok(self.fetch(&mut flight, fetch).await.unwrap_or(value));
            }
            Some((Freshness::Expired, _)) | None => self.flight.lock().await,
        };
        if let Some(value) = self.kept().filter(|value| freshness(value) != Freshness::Expired) {
            return Ok(value);
        }
        if let Some((number, error)) = &flight.failure
            && *number > finished_before
        {
            return Err(error.clone());
        }
        self.fetch(&mut flight, fetch).await
    }

    async fn fetch<F>(
        &self,
        flight: &mut Flight,
        fetch: impl FnOnce() -> F,
    ) -> Result<Arc<T>, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let outcome = fetch().await.map(Arc::new);
        let number = self.finished.fetch_add(1, Ordering::AcqRel) + 1;
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

    /// Drops the value if it is still this one: if many callers see the same value rejected, only
    /// the first of them causes a new fetch.
    pub(crate) fn forget(&self, rejected: &Arc<T>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.as_ref().is_some_and(|value| Arc::ptr_eq(value, rejected)) {
            *kept = None;
        }
    }

    /// Returns the kept value, even if it has expired.
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
                |_| Freshness::Fresh,
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
    async fn callers_share_one_failure_and_later_ones_retry() {
        let (cell, fetches) = (SingleFlight::<()>::default(), AtomicUsize::new(0));
        let get = || {
            cell.get(
                |()| Freshness::Fresh,
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
    async fn a_cancelled_caller_does_not_strand_the_others() {
        let cell = SingleFlight::default();
        let slow = cell.get(|()| Freshness::Fresh, std::future::pending);
        let quick = cell.get(|()| Freshness::Fresh, || async { Ok(()) });
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
    async fn a_failed_early_refresh_is_retried_later() {
        let (cell, fetches) = (SingleFlight::default(), AtomicUsize::new(0));
        assert!(cell.get(|()| Freshness::Fresh, || async { Ok(()) }).await.is_ok());
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
    async fn only_the_rejected_value_is_forgotten() {
        let cell = SingleFlight::default();
        let first = cell.get(|_| Freshness::Fresh, || async { Ok(1) }).await.unwrap();
        cell.forget(&first);
        let second = cell.get(|_| Freshness::Fresh, || async { Ok(2) }).await.unwrap();
        cell.forget(&first);
        assert_eq!(cell.kept().as_deref(), Some(&2));
        cell.forget(&second);
        assert!(cell.kept().is_none());
    }
}
