//! Periodic jobs of a running server, one file each.

mod purge;
mod rehash_secrets;
mod renew_certificate;
mod report;
mod rotate_signing_key;
mod watch_expiry;
mod write_last_used;

use std::{sync::Arc, time::Duration};

use gatekey_core::{Env, LastUsed, Operations, Store};
use gatekey_listener::tls::ServedCertificate;
use gatekey_telemetry::Telemetry;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at};

use watch_expiry::ExpiryWatch;

pub use renew_certificate::Renewal;

/// Interval at which facts collected in memory, such as last uses, are written to the store.
const FLUSH_INTERVAL: Duration = Duration::from_secs(5);
/// Interval of all other jobs.
const HOURLY: Duration = Duration::from_hours(1);

/// The periodic jobs of a server.
pub struct Jobs {
    pub operations: Arc<Operations>,
    pub last_used: Arc<LastUsed>,
    pub store: Arc<dyn Store>,
    pub telemetry: Arc<Telemetry>,
    /// `None` never rotates the signing key.
    pub signing_key_max_age: Option<Duration>,
    pub env: Env,
}

impl Jobs {
    /// Runs until its task is dropped. Call [`Self::finish`] after that.
    ///
    /// `served` is the certificate that is served, and `renewal` renews it.
    pub async fn run(self, served: Option<Arc<ServedCertificate>>, mut renewal: Option<Renewal>) {
        let mut expiry = served.map(|served| ExpiryWatch::new(served, self.env.now()));
        self.rotate_signing_key().await;
        self.report().await;
        let mut flushes = interval(FLUSH_INTERVAL);
        flushes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut hours = interval_at(Instant::now() + HOURLY, HOURLY);
        loop {
            tokio::select! {
                _ = flushes.tick() => {
                    write_last_used::due(&self.last_used, self.env.now()).await;
                    rehash_secrets::run(&self.operations, &self.env).await;
                }
                _ = hours.tick() => {
                    self.hourly().await;
                    if let Some(renewal) = &mut renewal {
                        renew_certificate::run(renewal, &self.env);
                    }
                    if let Some(expiry) = &mut expiry {
                        expiry.check(self.env.now());
                    }
                }
            }
        }
    }

    /// Runs the hourly jobs, except for the renewal of the certificate.
    pub async fn hourly(&self) {
        purge::run(&self.operations).await;
        self.rotate_signing_key().await;
        self.report().await;
    }

    /// Writes everything that was collected in memory.
    pub async fn flush(&self) {
        write_last_used::all(&self.last_used).await;
        rehash_secrets::run(&self.operations, &self.env).await;
    }

    /// Flushes and reports for the last time, before the server stops.
    pub async fn finish(&self) {
        self.flush().await;
        self.report().await;
    }

    async fn rotate_signing_key(&self) {
        rotate_signing_key::run(&self.operations, &self.env, self.signing_key_max_age).await;
    }

    async fn report(&self) {
        report::run(&*self.store, &self.telemetry.metrics).await;
    }
}

#[cfg(test)]
mod tests {
    use std::{
        path::Path,
        sync::{
            Arc,
            atomic::{AtomicI64, Ordering},
        },
    };

    use gatekey_core::{
        Caller, Timestamp,
        env::{Clock, SystemEntropy},
    };
    use gatekey_credentials::jwt::Algorithm;
    use tempfile::TempDir;

    use super::*;
    use crate::{
        config::Settings,
        server::{Server, tests::server_with},
    };

    #[derive(Default)]
    struct ManualClock(AtomicI64);

    impl ManualClock {
        fn advance(&self, seconds: i64) {
            self.0.fetch_add(seconds * 1_000_000, Ordering::Relaxed);
        }
    }

    impl Clock for ManualClock {
        fn now(&self) -> Timestamp {
            Timestamp::from_seconds(1_767_225_600).after(Duration::from_micros(
                u64::try_from(self.0.load(Ordering::Relaxed)).unwrap(),
            ))
        }
    }

    /// Returns a server with a test clock and a signing key of the given algorithm.
    async fn server(toml: &str, algorithm: Algorithm) -> (Server, Arc<ManualClock>, TempDir) {
        let clock = Arc::<ManualClock>::default();
        let env = Env::new(clock.clone(), Arc::new(SystemEntropy));
        let settings = Settings::from_toml(Path::new("gatekey.toml"), toml).unwrap();
        let (server, directory) = server_with(&settings, env);
        let caller = Caller::server(&server.env);
        server.operations.signing_keys.ensure(&caller, Some(algorithm)).await.unwrap();
        (server, clock, directory)
    }

    fn signing_key(server: &Server) -> (String, Algorithm) {
        let key = server.caches.key_ring.signing_key().unwrap();
        (key.kid().to_owned(), key.algorithm())
    }

    fn published(server: &Server) -> Vec<String> {
        server.caches.key_ring.jwks(server.env.now()).into_iter().map(|key| key.kid).collect()
    }

    #[tokio::test]
    async fn an_aged_key_is_rotated_but_stays_published() {
        let (server, clock, _directory) =
            server("[keys]\nsigning_key_max_age_seconds = 86400", Algorithm::EdDSA).await;
        let jobs = server.jobs();
        let first = signing_key(&server);
        clock.advance(86_399);
        jobs.hourly().await;
        assert_eq!(signing_key(&server), first);
        clock.advance(1);
        jobs.hourly().await;
        let second = signing_key(&server);
        assert_ne!(second.0, first.0);
        assert_eq!(second.1, Algorithm::EdDSA, "the algorithm stays");
        assert_eq!(published(&server).len(), 2);
        jobs.hourly().await;
        assert_eq!(signing_key(&server), second, "a young key is not rotated");
        // A token lives for a day at most; a minute more is for tokens signed during the rotation.
        clock.advance(86_399);
        jobs.hourly().await;
        assert_eq!(published(&server).len(), 2);
        clock.advance(61);
        assert!(!published(&server).contains(&first.0));
    }

    #[tokio::test]
    async fn a_signing_key_has_no_default_maximum_age() {
        let (server, clock, _directory) = server("", Algorithm::ES256).await;
        let first = signing_key(&server);
        clock.advance(100 * 365 * 86_400);
        server.jobs().hourly().await;
        assert_eq!(signing_key(&server), first);
    }
}
