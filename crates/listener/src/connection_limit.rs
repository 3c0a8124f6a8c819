//! [`ConnectionLimit`]: limits concurrent connections.

use std::{io, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Maximum concurrent connections, if the process may open as many descriptors. Further connections
/// wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 10_000;
/// Descriptors reserved for the database, logs and local administration.
const RESERVED_DESCRIPTORS: usize = 64;

pub(crate) struct ConnectionLimit {
    free: Arc<Semaphore>,
    limit: usize,
    /// Whether reaching the limit has been logged.
    reported: bool,
}

impl ConnectionLimit {
    /// Allows as many connections as the process has descriptors for.
    pub(crate) fn of_process() -> Self {
        let limit = descriptor_limit().map_or(MAX_CONNECTIONS, |descriptors| {
            descriptors.saturating_sub(RESERVED_DESCRIPTORS).clamp(1, MAX_CONNECTIONS)
        });
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

fn descriptor_limit() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}
