//! The statements of this crate on a connection to SQLite.

use gatekey_core::ledger::LedgerHead;
use gatekey_credentials::ClientId;
use rusqlite::{
    Connection, Row, ToSql, params_from_iter,
    types::{ToSqlOutput, ValueRef},
};

use super::{
    connection::{self, LOWER_CASE},
    open, reader,
};
use crate::sql::{
    access::{self, Cell, Dialect, Session, Sql, Value},
    failure::Failure,
    touched::Touched,
};

pub(super) static DIALECT: Dialect = Dialect {
    secrets: "secret",
    texts: "SELECT value FROM json_each(?1)",
    position: "instr",
    // Not lower(), which only converts ASCII.
    lower: |column| format!("{LOWER_CASE}({column})"),
    has_lower_name: false,
    record_use: "UPDATE secret SET last_used_at = ?2
         WHERE secret_id = ?1 AND (last_used_at IS NULL OR last_used_at < ?2)",
    purge: None,
    without_index: "+",
};

impl Sql for Connection {
    fn dialect(&self) -> &'static Dialect {
        &DIALECT
    }

    fn each(
        &self,
        statement: &str,
        values: &[Value<'_>],
        take: &mut dyn FnMut(&dyn access::Row) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut statement = self.prepare_cached(statement)?;
        let mut rows = statement.query(params_from_iter(values))?;
        while let Some(row) = rows.next()? {
            take(row)?;
        }
        Ok(())
    }

    fn execute(&self, statement: &str, values: &[Value<'_>]) -> Result<(), Failure> {
        self.prepare_cached(statement)?.execute(params_from_iter(values))?;
        Ok(())
    }
}

impl Session for Connection {
    fn begin(&self, _: &[ClientId]) -> Result<(), Failure> {
        run(self, "BEGIN IMMEDIATE")
    }

    fn begin_call(&self) -> Result<(), Failure> {
        run(self, "SAVEPOINT call")
    }

    fn end_call(&self) -> Result<(), Failure> {
        run(self, "RELEASE call")
    }

    fn undo_call(&self) -> Result<(), Failure> {
        // An error if SQLite rolled back the whole transaction, as it does when the disk is full.
        run(self, "ROLLBACK TO call")?;
        run(self, "RELEASE call")
    }

    fn commit(&self, _: &[Touched], _: LedgerHead) -> Result<(), Failure> {
        Ok(self.execute_batch("COMMIT")?)
    }

    fn roll_back(&self) -> Result<(), Failure> {
        if self.is_autocommit() { Ok(()) } else { Ok(self.execute_batch("ROLLBACK")?) }
    }

    fn read_all(
        &self,
        work: &mut dyn FnMut(&dyn Sql) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        connection::read_once(self, |connection| {
            reader::in_transaction(connection, |connection| work(connection))
        })?;
        Ok(open::leave_log(self, false)?)
    }
}

fn run(connection: &Connection, statement: &str) -> Result<(), Failure> {
    connection.prepare_cached(statement)?.execute([])?;
    Ok(())
}

impl access::Row for Row<'_> {
    fn cell(&self, index: usize) -> Cell<'_> {
        match self.get_ref(index) {
            Ok(ValueRef::Null) => Cell::Null,
            Ok(ValueRef::Integer(integer)) => Cell::Integer(integer),
            Ok(ValueRef::Text(text)) => str::from_utf8(text).map_or(Cell::Other, Cell::Text),
            Ok(ValueRef::Blob(bytes)) => Cell::Bytes(bytes),
            Ok(ValueRef::Real(_)) | Err(_) => Cell::Other,
        }
    }

    fn name(&self, index: usize) -> String {
        self.as_ref().column_name(index).unwrap_or("?").to_owned()
    }

    fn columns(&self) -> usize {
        self.as_ref().column_count()
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match *self {
            Self::Null => ValueRef::Null,
            Self::Integer(integer) => ValueRef::Integer(integer),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}
