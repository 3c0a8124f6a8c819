//! Periodic jobs: flush uses of secrets, purge expired rows, rotate keys, log the ledger's head.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use gatekey_core::{Caller, StoreError, Timestamp, id::Hex};
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at};

use gatekey_listener::tls::{PrivateCa, ServedCertificate, private_ca};

use crate::App;

/// How often uses of secrets are written.
const FLUSH: Duration = Duration::from_secs(5);
/// How often expired rows are purged and the ledger's head is logged.
const HOURLY: Duration = Duration::from_hours(1);

/// A certificate of the private CA, to be renewed before it expires.
pub struct Renewal {
    pub ca: PrivateCa,
    /// The certificate that is served.
    pub served: Arc<ServedCertificate>,
    /// When it expires.
    pub expires_at: Timestamp,
}

/// Runs until its task is dropped. Call [`flush`] after that.
pub async fn run(app: App, mut renewal: Option<Renewal>) {
    rotate_signing_key(&app).await;
    log_ledger_head(&app).await;
    let mut flushes = interval(FLUSH);
    flushes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut hours = interval_at(Instant::now() + HOURLY, HOURLY);
    loop {
        tokio::select! {
            _ = flushes.tick() => {
                report(app.last_used.flush_due(app.env.now()).await);
                rehash(&app).await;
            }
            _ = hours.tick() => {
                hourly(&app).await;
                if let Some(renewal) = &mut renewal {
                    renew(&app, renewal);
                }
            }
        }
    }
}

/// Writes everything that was collected since the last flush: uses of secrets, and their hashes
/// under a newer root key.
pub async fn flush(app: &App) {
    report(app.last_used.flush().await);
    rehash(app).await;
}

fn report(flushed: Result<(), StoreError>) {
    if let Err(error) = flushed {
        tracing::warn!(%error, "failed to write the last use of secrets; retrying with the next flush");
    }
}

async fn rehash(app: &App) {
    let rehashed = app.operations.root_keys.flush_rehashes(&Caller::server(&app.env)).await;
    if let Err(error) = rehashed {
        tracing::warn!(%error, "failed to rehash secrets under the newest root key; retrying with the next flush");
    }
}

/// Purges expired rows and logs the ledger's head, so that a truncated database can be detected.
pub async fn hourly(app: &App) {
    if let Err(error) = app.operations.purge().await {
        tracing::warn!(%error, "failed to purge expired rows; retrying in one hour");
    }
    rotate_signing_key(app).await;
    log_ledger_head(app).await;
}

/// Rotates the signing key when it has reached the configured age.
async fn rotate_signing_key(app: &App) {
    let Some(max_age) = app.config.keys.signing_key_max_age else { return };
    match app.operations.signing_keys.rotate_if_older(&Caller::server(&app.env), max_age).await {
        Ok(Some(kid)) => {
            tracing::info!(kid, "rotated the signing key: the previous one reached its maximum age");
        }
        Ok(None) => {}
        Err(error) => {
            tracing::error!(%error, "failed to rotate the signing key; retrying in one hour");
        }
    }
}

/// Logs the ledger's head, and how many calls were unauthenticated since the last report.
pub async fn log_ledger_head(app: &App) {
    let calls = app.unauthenticated_calls.swap(0, Ordering::Relaxed);
    tracing::info!(calls, "unauthenticated calls since the last report");
    match app.store.ledger_head().await {
        Ok(head) => {
            tracing::info!(sequence = head.sequence, link = %Hex(&head.link), "ledger head");
        }
        Err(error) => tracing::warn!(%error, "failed to read the ledger's head"),
    }
}

fn renew(app: &App, renewal: &mut Renewal) {
    if app.env.now().after(private_ca::RENEW_BEFORE) < renewal.expires_at {
        return;
    }
    let renewed = renewal.ca.issue_leaf(&app.env).and_then(|leaf| {
        renewal.served.replace(leaf.chain, &leaf.key)?;
        renewal.expires_at = leaf.expires_at;
        Ok(())
    });
    match renewed {
        Ok(()) => tracing::info!("renewed the server's certificate"),
        Err(error) => tracing::error!(%error, "failed to renew the server's certificate"),
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::atomic::AtomicI64};

    use gatekey_core::{
        Env,
        env::{Clock, SystemEntropy},
    };
    use gatekey_credentials::jwt::Algorithm;
    use tempfile::TempDir;

    use super::*;
    use crate::{config::Settings, server::tests::app_with};

    #[derive(Default)]
    struct Hands(AtomicI64);

    impl Hands {
        fn forward(&self, seconds: i64) {
            self.0.fetch_add(seconds * 1_000_000, Ordering::Relaxed);
        }
    }

    impl Clock for Hands {
        fn now(&self) -> Timestamp {
            Timestamp::from_seconds(1_767_225_600)
                .after(Duration::from_micros(u64::try_from(self.0.load(Ordering::Relaxed)).unwrap()))
        }
    }

    /// An application whose clock the test moves, with a key of that algorithm that signs.
    async fn at_work(toml: &str, algorithm: Algorithm) -> (App, Arc<Hands>, TempDir) {
        let hands = Arc::<Hands>::default();
        let env = Env::new(hands.clone(), Arc::new(SystemEntropy));
        let (app, directory) = app_with(&Settings::from_toml(Path::new("gatekey.toml"), toml).unwrap(), env);
        app.operations.signing_keys.ensure(&Caller::server(&app.env), Some(algorithm)).await.unwrap();
        (app, hands, directory)
    }

    fn signs(app: &App) -> (String, Algorithm) {
        let key = app.key_ring.signing_key().unwrap();
        (key.kid().to_owned(), key.algorithm())
    }

    #[tokio::test]
    async fn an_aged_key_is_rotated_but_stays_published() {
        let (app, hands, _directory) =
            at_work("[keys]\nsigning_key_max_age_seconds = 86400", Algorithm::EdDSA).await;
        let first = signs(&app);
        hands.forward(86_399);
        hourly(&app).await;
        assert_eq!(signs(&app), first);
        hands.forward(1);
        hourly(&app).await;
        let second = signs(&app);
        assert_ne!(second.0, first.0);
        assert_eq!(second.1, Algorithm::EdDSA, "of the same algorithm");
        assert_eq!(app.key_ring.jwks(app.env.now()).len(), 2);
        hourly(&app).await;
        assert_eq!(signs(&app), second, "once is enough");
        // A token lives a day at most, and a minute more is for tokens signed meanwhile.
        hands.forward(86_399);
        hourly(&app).await;
        assert_eq!(app.key_ring.jwks(app.env.now()).len(), 2);
        hands.forward(61);
        let published = app.key_ring.jwks(app.env.now());
        assert!(published.iter().all(|key| key.kid != first.0), "{published:?}");
    }

    #[tokio::test]
    async fn a_signing_key_has_no_default_maximum_age() {
        let (app, hands, _directory) = at_work("", Algorithm::ES256).await;
        let first = signs(&app);
        hands.forward(100 * 365 * 86_400);
        hourly(&app).await;
        assert_eq!(signs(&app), first);
    }
}
