//! [`Readers`]: a few connections that read, opened on demand and used on threads that can block.

use std::sync::{Arc, Mutex, PoisonError};

use gatekey_core::{Env, StoreError};
use tokio::{sync::Semaphore, task};

use super::{
    address::DatabaseUrl,
    connection::{Connection, LOCAL_SETTINGS, Statement},
    dialect::DIALECT,
    error::PostgresError,
    reconnect,
};
use crate::sql::{
    access::{self, Dialect, Sql, Value},
    failure::Failure,
};

/// The most reads at once. Further reads wait.
const CONNECTIONS: usize = 4;

pub(super) struct Readers {
    url: Arc<DatabaseUrl>,
    env: Env,
    permits: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Readers {
    /// Opens no connection yet.
    pub(super) fn new(url: Arc<DatabaseUrl>, env: Env) -> Self {
        Self { url, env, permits: Arc::new(Semaphore::new(CONNECTIONS)), idle: Arc::default() }
    }

    /// Reads in one transaction, which sees the database at one moment.
    pub(super) async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&dyn Sql) -> Result<T, Failure> + Send + 'static,
    {
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .map_err(|closed| StoreError::Unavailable(Box::new(closed)))?;
        let (url, env, idle) = (Arc::clone(&self.url), self.env.clone(), Arc::clone(&self.idle));
        let reading = task::spawn_blocking(move || {
            let connection = take(&idle, &url, &env)?;
            let read = finish(&connection, work);
            if !read.as_ref().is_err_and(Failure::spoils_connection) {
                idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            }
            drop(permit);
            read
        });
        match reading.await {
            Ok(read) => read.map_err(StoreError::from),
            Err(ended) => Err(StoreError::Unavailable(Box::new(ended))),
        }
    }
}

/// A connection that answers: one that was idle can have been closed meanwhile.
fn take(
    idle: &Mutex<Vec<Connection>>,
    url: &DatabaseUrl,
    env: &Env,
) -> Result<Connection, Failure> {
    loop {
        let pooled = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match pooled {
            Some(connection) if connection.is_closed() => {}
            Some(connection) => match begin(&connection) {
                Ok(()) => return Ok(connection),
                Err(error) => {
                    tracing::debug!(%error, "an idle connection to PostgreSQL was closed");
                }
            },
            None => {
                let connection = reconnect::open(url, env)?;
                begin(&connection)?;
                return Ok(connection);
            }
        }
    }
}

/// Reads in one transaction.
pub(super) fn in_transaction<T>(
    connection: &Connection,
    work: impl FnOnce(&dyn Sql) -> Result<T, Failure>,
) -> Result<T, Failure> {
    begin(connection)?;
    finish(connection, work)
}

fn begin(connection: &Connection) -> Result<(), PostgresError> {
    connection.batch(&format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {LOCAL_SETTINGS}"))
}

/// Reads in a transaction that has begun, and ends it.
fn finish<T>(
    connection: &Connection,
    work: impl FnOnce(&dyn Sql) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let read = work(&Reading(connection));
    let ended = connection.batch("COMMIT");
    let read = read?;
    ended?;
    Ok(read)
}

/// The statements of this crate in a transaction that reads.
struct Reading<'c>(&'c Connection);

impl Sql for Reading<'_> {
    fn dialect(&self) -> &'static Dialect {
        &DIALECT
    }

    fn each(
        &self,
        statement: &str,
        values: &[Value<'_>],
        take: &mut dyn FnMut(&dyn access::Row) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let Statement { text, values } = Statement::new(statement, values);
        self.0.rows(&text, values)?.iter().try_for_each(|row| take(row))
    }

    fn execute(&self, statement: &str, values: &[Value<'_>]) -> Result<(), Failure> {
        // Refused by the server.
        self.each(statement, values, &mut |_| Ok(()))
    }
}
