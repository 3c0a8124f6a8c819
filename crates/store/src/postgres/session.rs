//! [`Session`]: the connection that writes, with statements that wait for the next answer.
//!
//! A transaction takes two round trips if its calls need only the keys that they named: one that
//! begins it, locks the head and reads those keys, and one that writes and commits. Between them,
//! decisions are made in memory, and a call that fails only drops the statements that it queued.

use std::{cell::RefCell, collections::HashMap, mem, sync::Arc};

use gatekey_core::{Env, ledger::LedgerHead};
use gatekey_credentials::ClientId;
use tokio_postgres::Row;

use super::{
    address::DatabaseUrl,
    change,
    commit::{self, Commit},
    connection::{Answer, Connection, LOCAL_SETTINGS, Request, Statement},
    dialect::{self, DIALECT},
    error::PostgresError,
    reconnect,
};
use crate::sql::{
    access::{self, Dialect, KeyAndSeal, Sql, Value},
    api_key::{list, rows},
    columns::Columns,
    failure::Failure,
    state::{NEWEST_ROOT_KEY, STATE},
    touched::Touched,
    transaction::LEDGER_HEAD,
};

/// The connection that writes.
pub(super) struct Session {
    url: Arc<DatabaseUrl>,
    env: Env,
    /// The node that writes. The head names it, unless another one took over.
    node: String,
    connection: RefCell<Connection>,
    state: RefCell<State>,
}

#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent of each other")]
struct State {
    is_in_transaction: bool,
    /// Statements that were not sent yet.
    queue: Vec<Request>,
    /// The length of the queue when the current call began.
    of_earlier_calls: usize,
    /// Whether the server has statements of the current call, which cannot be undone alone.
    has_sent_call: bool,
    /// Whether the transaction has changed anything.
    has_written: bool,
    /// The number of the last change before the transaction.
    sequence: i64,
    /// What the transaction read when it began, until it is asked for.
    rows: HashMap<&'static str, Vec<Row>>,
    keys: HashMap<ClientId, Option<KeyAndSeal>>,
    is_spoiled: bool,
}

impl State {
    /// Drops what the transaction read when it began: later reads must not see it.
    fn forget_reads(&mut self) {
        self.rows.clear();
        self.keys.clear();
    }
}

impl Session {
    pub(super) fn new(
        url: Arc<DatabaseUrl>,
        env: Env,
        node: String,
        connection: Connection,
    ) -> Self {
        let connection = RefCell::new(connection);
        Self { url, env, node, connection, state: RefCell::default() }
    }

    /// Sends the queue and a statement, and returns the statement's rows.
    fn query(&self, query: Statement) -> Result<Vec<Row>, Failure> {
        let mut state = self.state.borrow_mut();
        let mut requests = mem::take(&mut state.queue);
        let is_of_call = requests.len() > mem::take(&mut state.of_earlier_calls);
        let is_write = dialect::is_write(&query.text);
        state.has_sent_call |= is_of_call || is_write;
        state.has_written |= is_write;
        drop(state);
        requests.push(Request::Query(query));
        let answers = self.connection.borrow().all(&requests);
        match answers.map_err(|error| self.noted(error))?.pop() {
            Some(Answer::Rows(rows)) => Ok(rows),
            Some(Answer::Batch(_) | Answer::Done) | None => Ok(Vec::new()),
        }
    }

    /// Notes that the transaction is lost.
    fn noted(&self, error: PostgresError) -> PostgresError {
        let mut state = self.state.borrow_mut();
        state.has_sent_call = true;
        state.is_spoiled |= error.spoils_connection();
        error
    }

    fn begin_once(&self, keys: &[ClientId]) -> Result<(), Failure> {
        let client_ids: Vec<_> = keys.iter().map(ToString::to_string).collect();
        let client_ids = crate::sql::columns::json(&client_ids);
        let of_keys = |text: &str| Statement::new(text, &[Value::Text(&client_ids)]);
        let mut requests = vec![
            Request::Batch(format!(
                "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; {LOCAL_SETTINGS}"
            )),
            // A statement of its own: the later ones see what the one before committed.
            Request::Query(Statement::new(
                "SELECT sequence, coalesce(writer, '') FROM head FOR UPDATE",
                &[],
            )),
        ];
        for read in FIRST_READS {
            requests.push(Request::Query(Statement::new(read, &[])));
        }
        if !keys.is_empty() {
            requests.push(Request::Query(of_keys(&rows::keys_statement(&DIALECT))));
            requests.push(Request::Query(of_keys(&list::secrets_statement(&DIALECT))));
        }
        *self.state.borrow_mut() = State { is_in_transaction: true, ..State::default() };
        let answers = self.connection.borrow().all(&requests);
        let mut answers = answers.map_err(|error| self.noted(error))?.into_iter().skip(1);
        let mut next = || match answers.next() {
            Some(Answer::Rows(rows)) => rows,
            Some(Answer::Batch(_) | Answer::Done) | None => Vec::new(),
        };
        let mut state = self.state.borrow_mut();
        state.sequence = self.check_head(&next())?;
        for read in FIRST_READS {
            state.rows.insert(read, next());
        }
        if !keys.is_empty() {
            state.keys = read_keys(keys, &next(), &next())?;
        }
        Ok(())
    }

    /// The number of the last change, if this node may write.
    fn check_head(&self, head: &[Row]) -> Result<i64, Failure> {
        let missing = || PostgresError::Unusable("the table head has no row".to_owned());
        let columns = Columns::new("head", head.first().ok_or_else(missing)?);
        let writer = columns.text(1)?;
        if writer == self.node {
            return columns.integer(0);
        }
        let other = if writer.is_empty() { "none" } else { writer };
        Err(PostgresError::Displaced(other.to_owned()).into())
    }
}

/// What every transaction reads first.
const FIRST_READS: [&str; 3] = [LEDGER_HEAD, NEWEST_ROOT_KEY, STATE];

fn read_keys(
    wanted: &[ClientId],
    keys: &[Row],
    secrets: &[Row],
) -> Result<HashMap<ClientId, Option<KeyAndSeal>>, Failure> {
    let mut found: HashMap<_, _> = wanted.iter().map(|wanted| (wanted.clone(), None)).collect();
    for row in keys {
        let (key, seal) = rows::with_seal(row)?;
        found.insert(key.client_id.clone(), Some((key, seal)));
    }
    for row in secrets {
        let owner: ClientId = Columns::new("secret", row).parsed(0)?;
        if let Some(Some((key, _))) = found.get_mut(&owner) {
            key.secrets.push(rows::secret(row)?);
        }
    }
    Ok(found)
}

impl Sql for Session {
    fn dialect(&self) -> &'static Dialect {
        &DIALECT
    }

    fn each(
        &self,
        statement: &str,
        values: &[Value<'_>],
        take: &mut dyn FnMut(&dyn access::Row) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let prefetched = self.state.borrow_mut().rows.remove(statement);
        let rows = match prefetched {
            Some(rows) => rows,
            None => self.query(Statement::new(statement, values))?,
        };
        rows.iter().try_for_each(|row| take(row))
    }

    fn execute(&self, statement: &str, values: &[Value<'_>]) -> Result<(), Failure> {
        let mut state = self.state.borrow_mut();
        state.has_written = true;
        // They may be out of date from here on. The rows of keys are not: each is read before it is
        // written, which takes it away.
        state.rows.clear();
        state.queue.push(Request::Execute(Statement::new(statement, values)));
        Ok(())
    }

    fn take_prefetched(&self, client_id: &ClientId) -> Option<Option<KeyAndSeal>> {
        self.state.borrow_mut().keys.remove(client_id)
    }
}

impl access::Session for Session {
    fn begin(&self, keys: &[ClientId]) -> Result<(), Failure> {
        if !self.connection.borrow().is_closed() {
            match self.begin_once(keys) {
                // It had no effect. The connection was probably closed while nobody used it.
                Err(Failure::Postgres(error)) if error.is_of_connection() => {
                    tracing::info!(%error, "connecting to PostgreSQL again");
                }
                begun => return begun,
            }
        }
        let connection = reconnect::open(&self.url, &self.env)?;
        self.connection.replace(connection);
        self.begin_once(keys)
    }

    fn begin_call(&self) -> Result<(), Failure> {
        let mut state = self.state.borrow_mut();
        state.of_earlier_calls = state.queue.len();
        state.has_sent_call = false;
        Ok(())
    }

    fn end_call(&self) -> Result<(), Failure> {
        Ok(())
    }

    fn undo_call(&self) -> Result<(), Failure> {
        let mut state = self.state.borrow_mut();
        if state.has_sent_call {
            return Err(PostgresError::RolledBack.into());
        }
        let earlier = state.of_earlier_calls;
        state.queue.truncate(earlier);
        Ok(())
    }

    fn commit(&self, touched: &[Touched], head: LedgerHead) -> Result<(), Failure> {
        let mut state = self.state.borrow_mut();
        let mut requests = mem::take(&mut state.queue);
        if requests.is_empty() && !state.has_written {
            drop(state);
            return self.roll_back();
        }
        let commit = Commit { sequence: state.sequence, tag: self.env.random() };
        state.forget_reads();
        drop(state);
        let last = change::append(&mut requests, commit, touched, head);
        requests.push(commit::request(last));
        let sent = self.connection.borrow().send(&requests);
        let was_not_replicated = self.connection.borrow().take_not_replicated();
        let outcome = commit::judge(sent, was_not_replicated);
        self.state.borrow_mut().is_in_transaction = false;
        match outcome {
            Err(PostgresError::Unknown) => {
                tracing::warn!(
                    sequence = last.sequence,
                    "asking PostgreSQL for the outcome of a commit"
                );
                self.state.borrow_mut().is_spoiled = true;
                let connection = commit::resolve(&self.url, &self.env, last)?;
                self.connection.replace(connection);
                self.state.borrow_mut().is_spoiled = false;
                Ok(())
            }
            outcome => Ok(outcome.map_err(|error| self.noted(error))?),
        }
    }

    fn roll_back(&self) -> Result<(), Failure> {
        self.state.borrow_mut().forget_reads();
        if !mem::take(&mut self.state.borrow_mut().is_in_transaction) {
            return Ok(());
        }
        let rolled_back = self.connection.borrow().batch("ROLLBACK");
        Ok(rolled_back.map_err(|error| self.noted(error))?)
    }

    fn read_all(
        &self,
        work: &mut dyn FnMut(&dyn Sql) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if self.connection.borrow().is_closed() {
            let connection = reconnect::open(&self.url, &self.env)?;
            self.connection.replace(connection);
        }
        super::reader::in_transaction(&self.connection.borrow(), |sql| work(sql))
    }

    fn is_spoiled(&self) -> bool {
        self.state.borrow().is_spoiled
    }
}
