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
        signing_key::Start,
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
        server
            .operations
            .signing_keys
            .ensure(&caller, Some(algorithm), Start::Ahead)
            .await
            .unwrap();
        (server, clock, directory)
    }

    fn signing_key(server: &Server) -> (String, Algorithm) {
        let key = server.caches.key_ring.signing_key(server.env.now()).unwrap();
        (key.kid().to_owned(), key.algorithm())
    }

    fn published(server: &Server) -> Vec<String> {
        server.caches.key_ring.jwks(server.env.now()).into_iter().map(|key| key.kid).collect()
    }

    const DAY: i64 = 86_400;

    #[tokio::test]
    async fn an_aged_key_is_rotated_but_stays_published() {
        let age = 10 * DAY;
        let toml = format!("[keys]\nsigning_key_max_age_seconds = {age}");
        let (server, clock, _directory) = server(&toml, Algorithm::EdDSA).await;
        let jobs = server.jobs();
        let first = signing_key(&server);
        clock.advance(9 * DAY - 1);
        jobs.hourly().await;
        assert_eq!(published(&server), std::slice::from_ref(&first.0));
        clock.advance(1);
        jobs.hourly().await;
        assert_eq!(published(&server).len(), 2);
        assert_eq!(signing_key(&server), first, "the next key is only published");
        jobs.hourly().await;
        assert_eq!(published(&server).len(), 2, "one next key is enough");
        clock.advance(DAY - 1);
        assert_eq!(signing_key(&server), first);
        clock.advance(1);
        let second = signing_key(&server);
        assert_eq!(published(&server), [first.0.clone(), second.0.clone()]);
        assert_eq!(second.1, Algorithm::EdDSA, "the algorithm stays");
        jobs.hourly().await;
        assert_eq!(signing_key(&server), second, "a young key is not rotated");
        // A token lives for a day at most; a minute more is for tokens signed during the rotation.
        clock.advance(DAY + 59);
        jobs.hourly().await;
        assert_eq!(published(&server).len(), 2);
        clock.advance(1);
        jobs.hourly().await;
        assert_eq!(published(&server), [second.0]);
    }

    #[tokio::test]
    async fn a_signing_key_is_rotated_every_90_days() {
        let (server, clock, _directory) = server("", Algorithm::ES256).await;
        let mut kids = vec![signing_key(&server).0];
        for _ in 0..3 {
            clock.advance(89 * DAY);
            server.jobs().hourly().await;
            assert_eq!(signing_key(&server).0, *kids.last().unwrap());
            clock.advance(DAY);
            let next = signing_key(&server).0;
            assert!(!kids.contains(&next));
            kids.push(next);
        }
    }

    #[tokio::test]
    async fn zero_disables_the_scheduled_rotation() {
        let toml = "[keys]\nsigning_key_max_age_seconds = 0";
        let (server, clock, _directory) = server(toml, Algorithm::ES256).await;
        let first = signing_key(&server);
        clock.advance(100 * 365 * DAY);
        server.jobs().hourly().await;
        assert_eq!(signing_key(&server), first);
    }

    #[tokio::test]
    async fn another_algorithm_is_published_before_it_signs() {
        let (server, clock, _directory) = server("", Algorithm::ES256).await;
        let caller = Caller::server(&server.env);
        let keys = &server.operations.signing_keys;
        let rsa = Some(Algorithm::RS256);
        let next = keys.ensure(&caller, rsa, Start::Ahead).await.unwrap().unwrap();
        assert_eq!(keys.ensure(&caller, rsa, Start::Ahead).await.unwrap(), None);
        assert_eq!(signing_key(&server).1, Algorithm::ES256);
        assert!(published(&server).contains(&next.kid));
        // Changed back in time, the next key is withdrawn.
        keys.ensure(&caller, Some(Algorithm::ES256), Start::Ahead).await.unwrap();
        assert!(!published(&server).contains(&next.kid));
        let next = keys.ensure(&caller, rsa, Start::Ahead).await.unwrap().unwrap();
        clock.advance(DAY);
        assert_eq!(signing_key(&server), (next.kid, Algorithm::RS256));
    }

    #[tokio::test]
    async fn the_next_key_stays_next_after_a_restart() {
        let (server, clock, _directory) = server("", Algorithm::ES256).await;
        let caller = Caller::server(&server.env);
        let keys = &server.operations.signing_keys;
        let first = signing_key(&server);
        let next = keys.rotate(&caller, Start::Ahead).await.unwrap();
        assert!(keys.rotate(&caller, Start::Ahead).await.is_err());
        keys.ensure(&caller, Some(Algorithm::ES256), Start::Ahead).await.unwrap();
        assert_eq!(signing_key(&server), first);
        clock.advance(DAY);
        assert_eq!(signing_key(&server).0, next.kid);
        clock.advance(-DAY);
        assert_eq!(signing_key(&server), first, "the clock was set back");
    }
}
