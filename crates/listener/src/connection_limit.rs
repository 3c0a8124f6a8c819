//! [`ConnectionLimit`]: limits concurrent connections.

use std::{io, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(crate) struct ConnectionLimit {
    free: Arc<Semaphore>,
    limit: usize,
    /// Whether reaching the limit has been logged.
    reported: bool,
}

impl ConnectionLimit {
    pub(crate) fn new(limit: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(limit)), limit, reported: false }
    }

    /// Waits for a free connection slot; the permit holds it. Logs once when the limit is reached,
    /// and again only after a tenth was free.
    pub(crate) async fn acquire(&mut self) -> io::Result<OwnedSemaphorePermit> {
        if self.reported && self.free.available_permits() > self.limit / 10 {
            self.reported = false;
            tracing::info!("accepting new connections again");
        }
        if self.free.available_permits() == 0 && !self.reported {
            self.reported = true;
            tracing::warn!(
                limit = self.limit,
                "connection limit reached; new connections wait (raise `ulimit -n`)"
            );
        }
        self.free.clone().acquire_owned().await.map_err(io::Error::other)
    }
}
