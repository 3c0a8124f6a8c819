//! What happens by the clock: uses are written, the past is forgotten, the ledger's head is logged.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use gatekey_core::{Timestamp, api_keys::REPLAY_WINDOW, id::Hex, tokens::CLOCK_ERROR};
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at};

use crate::{
    App,
    tls::{PrivateCa, ServedCertificate, private_ca},
};

/// How often uses of secrets are written.
const FLUSH: Duration = Duration::from_secs(5);
/// How often the past is forgotten and the head logged.
const HOURLY: Duration = Duration::from_hours(1);
/// How long secrets are kept for the record once they have expired.
const KEEP_EXPIRED_SECRETS: Duration = Duration::from_hours(720);

/// A certificate of the private CA, to be renewed in time.
pub struct Renewal {
    /// The CA.
    pub ca: PrivateCa,
    /// What is served.
    pub served: Arc<ServedCertificate>,
    /// When what is served ends.
    pub ends_at: Timestamp,
}

/// Runs until its task is dropped. Call [`flush`] after that.
pub async fn run(app: App, mut renewal: Option<Renewal>) {
    log_ledger_head(&app).await;
    let mut flushes = interval(FLUSH);
    flushes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut hours = interval_at(Instant::now() + HOURLY, HOURLY);
    loop {
        tokio::select! {
            _ = flushes.tick() => flush(&app).await,
            _ = hours.tick() => {
                hourly(&app).await;
                if let Some(renewal) = &mut renewal {
                    renew(&app, renewal);
                }
            }
        }
    }
}

/// Writes the uses of secrets since the last time.
pub async fn flush(app: &App) {
    if let Err(error) = app.last_used.flush(&*app.store).await {
        tracing::warn!(%error, "last-used times could not be written; they are kept for the next try");
    }
}

/// Forgets the past and logs the ledger's head, so that truncation of the database shows.
pub async fn hourly(app: &App) {
    let now = app.env.now();
    // What the clock calls expired now it may call valid once it is set right.
    let surely_expired = now.before(CLOCK_ERROR);
    app.directory.forget_expired(surely_expired);
    let (replays, secrets) = (now.before(REPLAY_WINDOW), now.before(KEEP_EXPIRED_SECRETS));
    let purged = app.store.purge(surely_expired, replays, secrets).await;
    if let Err(error) = purged {
        tracing::warn!(%error, "what has had its time could not be removed; it is tried again in an hour");
    }
    log_ledger_head(app).await;
}

/// Logs the ledger's head, and how many calls had no credential in force since the last time.
pub async fn log_ledger_head(app: &App) {
    let calls = app.unauthenticated_calls.swap(0, Ordering::Relaxed);
    tracing::info!(calls, "calls without a credential in force");
    match app.store.ledger_head().await {
        Ok(head) => {
            tracing::info!(sequence = head.sequence, link = %Hex(&head.link), "ledger head");
        }
        Err(error) => tracing::warn!(%error, "the ledger's head could not be read"),
    }
}

fn renew(app: &App, renewal: &mut Renewal) {
    if app.env.now().after(private_ca::RENEW_BEFORE) < renewal.ends_at {
        return;
    }
    let renewed = renewal.ca.issue_leaf(&app.env).and_then(|leaf| {
        renewal.served.replace(leaf.chain, &leaf.key)?;
        renewal.ends_at = leaf.ends_at;
        Ok(())
    });
    match renewed {
        Ok(()) => tracing::info!("renewed the server's certificate"),
        Err(error) => tracing::error!(%error, "the server's certificate could not be renewed"),
    }
}
