//! [`Connection`]: a connection to PostgreSQL that blocks its thread, with a limit on every wait.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::{MaybeDone, maybe_done};
use tokio::{runtime::Runtime, time::timeout};
use tokio_postgres::{
    AsyncMessage, Client, Config, NoTls, Row, SimpleQueryMessage, Socket,
    config::{SslMode, TargetSessionAttrs},
    error::{Severity, SqlState},
    tls::{MakeTlsConnect, TlsStream},
};

use super::{
    address::{DatabaseUrl, Host, Tls},
    error::PostgresError,
    tls::Verified,
    value::Parameter,
};
use crate::sql::access::Value;

/// Beyond what the server allows a statement, see [`LOCAL_SETTINGS`]: it ends first.
pub(super) const ANSWER: Duration = Duration::from_secs(20);
/// How long the kernel waits for a dead server, which would otherwise be a quarter of an hour.
const UNACKNOWLEDGED: Duration = Duration::from_secs(15);
const KEEPALIVE_IDLE: Duration = Duration::from_secs(20);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// Settings of a transaction. Not of a session, so that a pooler may give each transaction another
/// one.
pub(super) const LOCAL_SETTINGS: &str = "SET LOCAL statement_timeout = '15s';
    SET LOCAL lock_timeout = '5s';
    SET LOCAL idle_in_transaction_session_timeout = '10s'";

/// A connection, driven while its thread waits for an answer.
pub(super) struct Connection {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    client: Client,
    /// Whether the server gave up waiting for a standby: what it acknowledges then can get lost.
    was_not_replicated: Arc<AtomicBool>,
}

/// What is sent to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    /// Statements without parameters, separated by semicolons.
    Batch(String),
    /// A statement whose rows are read.
    Query(Statement),
    /// A statement without rows.
    Execute(Statement),
}

/// A statement with its values. It has no name on the server, which a pooler would lose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) text: String,
    pub(super) values: Vec<Parameter>,
}

impl Statement {
    /// A statement with the parameters of [`Sql`](crate::sql::access::Sql).
    pub(super) fn new(text: &str, values: &[Value<'_>]) -> Self {
        Self { text: text.replace('?', "$"), values: values.iter().map(Parameter::from).collect() }
    }
}

/// What the server answered to a [`Request`].
pub(super) enum Answer {
    /// The first columns of the rows of a batch.
    Batch(Vec<Option<String>>),
    Rows(Vec<Row>),
    Done,
}

impl Connection {
    /// Connects to the first host that answers and accepts writes.
    pub(super) fn open(url: &DatabaseUrl) -> Result<Self, PostgresError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(PostgresError::Io)?;
        let was_not_replicated = Arc::<AtomicBool>::default();
        let hosts = u32::try_from(url.hosts.len()).unwrap_or(u32::MAX);
        // A host has several addresses, and then come TLS and authentication.
        let limit = url.connect_timeout.saturating_mul(hosts.saturating_add(2));
        let flag = Arc::clone(&was_not_replicated);
        let connect = async {
            match &url.tls {
                Tls::Disabled => connect(url, NoTls, SslMode::Disable, flag).await,
                Tls::Verified(authorities) => {
                    let tls = Verified::new(authorities).map_err(PostgresError::Io)?;
                    connect(url, tls, SslMode::Require, flag).await
                }
            }
        };
        let connected = runtime.block_on(async { timeout(limit, connect).await });
        let client = connected.unwrap_or(Err(PostgresError::TimedOut(limit)))?;
        Ok(Self { runtime: Some(runtime), client, was_not_replicated })
    }

    /// Sends requests at once, and returns their answers. One that fails ends the transaction, so
    /// the later ones fail too.
    pub(super) fn send(
        &self,
        requests: &[Request],
    ) -> Result<Vec<Result<Answer, PostgresError>>, PostgresError> {
        let Some(runtime) = &self.runtime else { return Err(PostgresError::Unknown) };
        let answered = runtime.block_on(async { timeout(ANSWER, self.pipelined(requests)).await });
        answered.map_err(|_| PostgresError::TimedOut(ANSWER))
    }

    /// The answers to requests that all succeed.
    pub(super) fn all(&self, requests: &[Request]) -> Result<Vec<Answer>, PostgresError> {
        self.send(requests)?.into_iter().collect()
    }

    /// The rows of a statement.
    pub(super) fn rows(
        &self,
        text: &str,
        values: Vec<Parameter>,
    ) -> Result<Vec<Row>, PostgresError> {
        let query = Request::Query(Statement { text: text.to_owned(), values });
        match self.all(&[query])?.pop() {
            Some(Answer::Rows(rows)) => Ok(rows),
            Some(Answer::Batch(_) | Answer::Done) | None => Ok(Vec::new()),
        }
    }

    /// Runs statements without parameters.
    pub(super) fn batch(&self, statements: &str) -> Result<(), PostgresError> {
        self.all(&[Request::Batch(statements.to_owned())]).map(drop)
    }

    /// Whether the server, or the network, ended the connection. Known only from an earlier answer.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Whether a commit since the last call was acknowledged without a standby that it waits for.
    pub(super) fn take_not_replicated(&self) -> bool {
        self.was_not_replicated.swap(false, Ordering::SeqCst)
    }

    async fn pipelined(&self, requests: &[Request]) -> Vec<Result<Answer, PostgresError>> {
        let mut calls: Vec<_> =
            requests.iter().map(|request| Box::pin(maybe_done(self.answer(request)))).collect();
        // The first poll of each sends it.
        for call in &mut calls {
            let _ = futures::poll!(call.as_mut());
        }
        let mut answers = Vec::with_capacity(calls.len());
        for mut call in calls {
            if !matches!(&*call, MaybeDone::Done(_)) {
                call.as_mut().await;
            }
            answers.push(call.as_mut().take_output().unwrap_or(Err(PostgresError::Unknown)));
        }
        answers
    }

    async fn answer(&self, request: &Request) -> Result<Answer, PostgresError> {
        match request {
            Request::Batch(statements) => {
                let messages = self.client.simple_query(statements).await?;
                let rows = messages.into_iter().filter_map(|message| match message {
                    SimpleQueryMessage::Row(row) => Some(row.get(0).map(str::to_owned)),
                    _ => None,
                });
                Ok(Answer::Batch(rows.collect()))
            }
            Request::Query(Statement { text, values }) => {
                let values: Vec<_> = values.iter().map(Parameter::typed).collect();
                Ok(Answer::Rows(self.client.query_typed(text, &values).await?))
            }
            Request::Execute(Statement { text, values }) => {
                let values: Vec<_> = values.iter().map(Parameter::typed).collect();
                self.client.execute_typed(text, &values).await?;
                Ok(Answer::Done)
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waits for nothing: it can be dropped on a thread of another runtime.
            runtime.shutdown_background();
        }
    }
}

async fn connect<T>(
    url: &DatabaseUrl,
    tls: T,
    mode: SslMode,
    was_not_replicated: Arc<AtomicBool>,
) -> Result<Client, PostgresError>
where
    T: MakeTlsConnect<Socket> + Send,
    T::Stream: TlsStream + Send + 'static,
{
    let (client, mut connection) = config(url, mode).connect(tls).await?;
    let driven = async move {
        while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
            match message {
                Ok(AsyncMessage::Notice(notice)) => {
                    // The warnings of a commit that no standby has (syncrep.c). Their text can be
                    // translated, and no statement of ours causes others of these codes.
                    let codes = [&SqlState::WARNING, &SqlState::ADMIN_SHUTDOWN];
                    if notice.parsed_severity() == Some(Severity::Warning)
                        && codes.contains(&notice.code())
                    {
                        was_not_replicated.store(true, Ordering::SeqCst);
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%error, "a connection to PostgreSQL ended");
                    break;
                }
            }
        }
    };
    tokio::spawn(driven);
    Ok(client)
}

fn config(url: &DatabaseUrl, mode: SslMode) -> Config {
    let mut config = Config::new();
    for host in &url.hosts {
        match host {
            Host::Tcp { name, port } => config.host(name).port(*port),
            Host::Unix { directory, port } => config.host_path(directory).port(*port),
        };
    }
    if let Some(password) = &url.password {
        config.password(password.as_bytes());
    }
    config
        .user(&url.user)
        .dbname(&url.database)
        .application_name(&url.application_name)
        .ssl_mode(mode)
        .connect_timeout(url.connect_timeout)
        .tcp_user_timeout(UNACKNOWLEDGED)
        .keepalives_idle(KEEPALIVE_IDLE)
        .keepalives_interval(KEEPALIVE_INTERVAL)
        .target_session_attrs(TargetSessionAttrs::ReadWrite);
    config
}
