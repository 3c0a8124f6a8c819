//! [`Sql`]: what the statements of this crate need of a database.
//!
//! Statements are in the SQL that SQLite and PostgreSQL share, with parameters `?1`, `?2` and so
//! on; a [`Dialect`] has the differences. Names of columns are always listed, never `*`.

use gatekey_core::{ApiKey, ledger::LedgerHead};
use gatekey_credentials::ClientId;

use super::{failure::Failure, touched::Touched};

/// A connection, in a transaction or before one.
pub(crate) trait Sql {
    fn dialect(&self) -> &'static Dialect;

    /// Passes each row of a statement to `take`.
    fn each(
        &self,
        statement: &str,
        values: &[Value<'_>],
        take: &mut dyn FnMut(&dyn Row) -> Result<(), Failure>,
    ) -> Result<(), Failure>;

    /// Runs a statement without rows, at the latest before the next read and before the commit.
    fn execute(&self, statement: &str, values: &[Value<'_>]) -> Result<(), Failure>;

    /// What the transaction read of a key when it began. Only the first call has it: later, the
    /// transaction can have changed the rows.
    #[expect(clippy::option_option, reason = "an absent key was read too")]
    fn take_prefetched(&self, _: &ClientId) -> Option<Option<KeyAndSeal>> {
        None
    }
}

/// A key and its stored seal.
pub(crate) type KeyAndSeal = (ApiKey, Option<Vec<u8>>);

/// A connection that writes.
pub(crate) trait Session: Sql {
    /// Begins a transaction that can write and sees the commits of all others. It may read keys
    /// that its calls will need.
    fn begin(&self, keys: &[ClientId]) -> Result<(), Failure>;

    /// Begins a call, which can be undone without the others of the transaction.
    fn begin_call(&self) -> Result<(), Failure>;

    fn end_call(&self) -> Result<(), Failure>;

    /// Undoes the current call. An error undoes the whole transaction.
    fn undo_call(&self) -> Result<(), Failure>;

    /// Commits the transaction, durably. `touched` is what it changed beside the ledger, which ends
    /// at `head`.
    fn commit(&self, touched: &[Touched], head: LedgerHead) -> Result<(), Failure>;

    /// Ends a transaction that was not committed. Does nothing outside of one.
    fn roll_back(&self) -> Result<(), Failure>;

    /// Reads everything in one transaction, which sees the database at one moment.
    fn read_all(
        &self,
        work: &mut dyn FnMut(&dyn Sql) -> Result<(), Failure>,
    ) -> Result<(), Failure>;

    /// Whether the connection must be replaced.
    fn is_spoiled(&self) -> bool {
        false
    }
}

/// The differences between databases in statements that they share.
pub(crate) struct Dialect {
    /// The secrets with their last use, as the source of a statement.
    pub(crate) secrets: &'static str,
    /// The texts of a JSON array `?1`, as rows.
    pub(crate) texts: &'static str,
    /// A function: where a text has another one, or 0.
    pub(crate) position: &'static str,
    /// A column in lower case, by Unicode's rules.
    pub(crate) lower: fn(&str) -> String,
    /// Whether rows of keys have their name in lower case.
    pub(crate) has_lower_name: bool,
    /// Records that secret `?1` was used at `?2`, unless a later use is recorded.
    pub(crate) record_use: &'static str,
    /// Deletes old rows that only other nodes read, if the database has such rows.
    pub(crate) purge: Option<&'static str>,
    /// Before a column, keeps a condition from choosing the index.
    pub(crate) without_index: &'static str,
}

/// A row of a result.
pub(crate) trait Row {
    fn cell(&self, index: usize) -> Cell<'_>;

    fn name(&self, index: usize) -> String;

    fn columns(&self) -> usize;
}

/// A value in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cell<'row> {
    Null,
    Integer(i64),
    Text(&'row str),
    Bytes(&'row [u8]),
    /// A value that no statement expects, such as a text that is not UTF-8.
    Other,
}

/// A value of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'v> {
    Null,
    Integer(i64),
    Text(&'v str),
    Bytes(&'v [u8]),
}

impl From<i64> for Value<'_> {
    fn from(integer: i64) -> Self {
        Self::Integer(integer)
    }
}

impl From<u32> for Value<'_> {
    fn from(integer: u32) -> Self {
        Self::Integer(integer.into())
    }
}

impl<'v> From<&'v str> for Value<'v> {
    fn from(text: &'v str) -> Self {
        Self::Text(text)
    }
}

impl<'v> From<&'v String> for Value<'v> {
    fn from(text: &'v String) -> Self {
        Self::Text(text)
    }
}

impl<'v> From<&'v [u8]> for Value<'v> {
    fn from(bytes: &'v [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'v> From<&'v Vec<u8>> for Value<'v> {
    fn from(bytes: &'v Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'v, const N: usize> From<&'v [u8; N]> for Value<'v> {
    fn from(bytes: &'v [u8; N]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'v, T: Into<Value<'v>>> From<Option<T>> for Value<'v> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// The values of a statement's parameters, in order.
macro_rules! values {
    ($($value:expr),* $(,)?) => {
        &[$($crate::sql::access::Value::from($value)),*]
    };
}

pub(crate) use values;

/// The last row of a statement that returns at most one.
pub(crate) fn optional<T>(
    sql: &dyn Sql,
    statement: &str,
    values: &[Value<'_>],
    mut read: impl FnMut(&dyn Row) -> Result<T, Failure>,
) -> Result<Option<T>, Failure> {
    let mut found = None;
    sql.each(statement, values, &mut |row| {
        found = Some(read(row)?);
        Ok(())
    })?;
    Ok(found)
}

/// All rows of a statement.
pub(crate) fn all<T>(
    sql: &dyn Sql,
    statement: &str,
    values: &[Value<'_>],
    mut read: impl FnMut(&dyn Row) -> Result<T, Failure>,
) -> Result<Vec<T>, Failure> {
    let mut found = Vec::new();
    sql.each(statement, values, &mut |row| {
        found.push(read(row)?);
        Ok(())
    })?;
    Ok(found)
}

/// The row of a statement that always returns one.
pub(crate) fn one<T>(
    sql: &dyn Sql,
    statement: &str,
    values: &[Value<'_>],
    read: impl FnMut(&dyn Row) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let found = optional(sql, statement, values, read)?;
    found.ok_or_else(|| Failure::Corrupt("a statement returned no row".to_owned()))
}
