//! [`Lease`]: the right to write, which one node has at a time.
//!
//! Nodes do not read each other's changes yet, so a second one would issue and accept tokens by an
//! old state. The holder proves that it lives every two seconds. A node takes over when the proofs
//! end; the former holder, should it wake up, finds another name in the head and can write nothing.
//! Without a proof for as long, it decides nothing by its memory either.

use std::{
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use gatekey_core::{Env, feed::Freshness};
use tokio::sync::watch;

use super::{
    address::DatabaseUrl, connection::Connection, error::PostgresError, reconnect, value::Parameter,
};

/// How often the holder proves that it lives.
const PROOF: Duration = Duration::from_secs(2);
/// How long a holder without a proof keeps the lease.
const EXPIRY_SECONDS: i64 = 10;

/// How often a node that waits for the lease asks for it.
const ASKED_EVERY: Duration = Duration::from_millis(300);

/// A node's right to write. Given back when it is dropped.
pub(super) struct Lease {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
    lost: watch::Receiver<bool>,
}

/// Tells when another node took over.
#[derive(Clone)]
pub(super) struct Lost(watch::Receiver<bool>);

impl Lost {
    /// Waits for ever if the lease is given back.
    pub(super) fn wait(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut lost = self.0.clone();
        async move {
            if lost.wait_for(|is_lost| *is_lost).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// A node, as others see it.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) id: String,
    /// Of its machine, for people.
    pub(super) name: String,
}

/// Takes the lease. Waits for one that is about to expire.
pub(super) fn take(
    connection: &Connection,
    node: &Node,
    freshness: &Freshness,
) -> Result<(), PostgresError> {
    let began = Instant::now();
    let mut seen: Option<String> = None;
    loop {
        let proof = freshness.begin_proof();
        let Some(Holder { name, proven_at }) = try_take(connection, node)? else {
            // Otherwise the next proof decides: see `Keeper::run`.
            if !connection.take_not_replicated() {
                proof.succeed();
            }
            return Ok(());
        };
        let lives = seen.as_ref().is_some_and(|seen| *seen != proven_at);
        if lives || began.elapsed().as_secs() > EXPIRY_SECONDS.unsigned_abs() + 2 {
            return Err(PostgresError::Displaced(name));
        }
        if seen.is_none() {
            tracing::info!(node = name, "another node has the database; waiting whether it lives");
        }
        seen = Some(proven_at);
        reconnect::wait(ASKED_EVERY);
    }
}

/// The node that has the lease.
struct Holder {
    name: String,
    /// As the database shows it.
    proven_at: String,
}

/// Takes the lease, unless another node has it.
fn try_take(connection: &Connection, node: &Node) -> Result<Option<Holder>, PostgresError> {
    connection
        .batch("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL lock_timeout = '5s'")?;
    let taken = try_take_in_transaction(connection, node);
    connection.batch(if matches!(taken, Ok(None)) { "COMMIT" } else { "ROLLBACK" })?;
    taken
}

fn try_take_in_transaction(
    connection: &Connection,
    node: &Node,
) -> Result<Option<Holder>, PostgresError> {
    connection.rows("SELECT sequence FROM head FOR UPDATE", Vec::new())?;
    let holder = connection.rows(
        "SELECT node.name, CAST(node.seen_at AS TEXT) FROM node JOIN head ON head.writer = node.id
         WHERE node.id <> $1 AND node.seen_at > clock_timestamp() - $2 * INTERVAL '1 second'",
        vec![Parameter::Text(node.id.clone()), Parameter::Integer(EXPIRY_SECONDS)],
    )?;
    if let Some(holder) = holder.first() {
        return Ok(Some(Holder { name: holder.get(0), proven_at: holder.get(1) }));
    }
    let id = Parameter::Text(node.id.clone());
    connection.rows("DELETE FROM node WHERE id <> $1 RETURNING id", vec![id.clone()])?;
    connection.rows(
        "INSERT INTO node (id, name, build, seen_at) VALUES ($1, $2, $3, clock_timestamp())
         ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at RETURNING id",
        vec![
            id.clone(),
            Parameter::Text(node.name.clone()),
            Parameter::Text(env!("CARGO_PKG_VERSION").to_owned()),
        ],
    )?;
    connection.rows("UPDATE head SET writer = $1 RETURNING sequence", vec![id])?;
    Ok(None)
}

impl Lease {
    /// Keeps a lease that was taken.
    pub(super) fn keep(
        url: Arc<DatabaseUrl>,
        env: Env,
        node: Node,
        freshness: Freshness,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::channel::<()>();
        let (lose, lost) = watch::channel(false);
        let keeper = Keeper { url, env, node, freshness, connection: None };
        let thread = thread::Builder::new()
            .name("gatekey-lease".to_owned())
            .spawn(move || keeper.keep(&stopped, &lose))?;
        Ok(Self { stop: Some(stop), thread: Some(thread), lost })
    }

    pub(super) fn lost(&self) -> Lost {
        Lost(self.lost.clone())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that keeps the database's lease panicked");
        }
    }
}

struct Keeper {
    url: Arc<DatabaseUrl>,
    env: Env,
    node: Node,
    freshness: Freshness,
    connection: Option<Connection>,
}

impl Keeper {
    fn keep(mut self, stopped: &mpsc::Receiver<()>, lose: &watch::Sender<bool>) {
        while stopped.recv_timeout(PROOF) == Err(mpsc::RecvTimeoutError::Timeout) {
            let prove = "UPDATE node SET seen_at = clock_timestamp() WHERE id = $1 RETURNING id";
            let proof = self.freshness.begin_proof();
            match self.run(prove) {
                Ok(0) => {
                    if !lose.send_replace(true) {
                        tracing::error!(
                            "another server took the database over; this one can write nothing"
                        );
                    }
                }
                Ok(_) => proof.succeed(),
                Err(error) => {
                    tracing::warn!(%error, "cannot prove to the database that this server lives");
                    self.connection = None;
                }
            }
        }
        // Others need not wait. They would not wait long if this failed.
        let give_back = "DELETE FROM node WHERE id = $1 RETURNING id";
        if let Err(error) = self.run(give_back) {
            tracing::debug!(%error, "cannot give the database's lease back");
        }
    }

    /// Runs a statement about the node, and returns the number of its rows.
    fn run(&mut self, statement: &str) -> Result<usize, PostgresError> {
        let connection = match self.connection.take() {
            Some(connection) if !connection.is_closed() => connection,
            _ => reconnect::open(&self.url, &self.env)?,
        };
        let rows = connection.rows(statement, vec![Parameter::Text(self.node.id.clone())])?.len();
        // A former primary answers too, but no standby has what it commits.
        let was_not_replicated = connection.take_not_replicated();
        self.connection = Some(connection);
        if was_not_replicated { Err(PostgresError::NotReplicated) } else { Ok(rows) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use gatekey_core::feed::FreshnessLimits;

    use super::EXPIRY_SECONDS;

    /// Otherwise a node could take over while the former one still decides.
    #[test]
    fn a_lease_outlives_its_holders_last_decision() {
        let expiry = Duration::from_secs(EXPIRY_SECONDS.unsigned_abs());
        assert!(FreshnessLimits::default().max_staleness <= expiry);
    }
}
