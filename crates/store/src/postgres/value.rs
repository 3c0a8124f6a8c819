//! Values as PostgreSQL reads and writes them.

use std::error::Error;

use tokio_postgres::{
    Row,
    types::{FromSql, IsNull, ToSql, Type, private::BytesMut},
};

use crate::sql::access::{self, Cell, Value};

/// A value of a parameter, which waits to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Parameter {
    Null,
    Integer(i64),
    Text(String),
    Bytes(Vec<u8>),
}

impl From<&Value<'_>> for Parameter {
    fn from(value: &Value<'_>) -> Self {
        match *value {
            Value::Null => Self::Null,
            Value::Integer(integer) => Self::Integer(integer),
            Value::Text(text) => Self::Text(text.to_owned()),
            Value::Bytes(bytes) => Self::Bytes(bytes.to_vec()),
        }
    }
}

impl Parameter {
    /// The value with its type, which spares the server's question for it.
    pub(super) fn typed(&self) -> (&(dyn ToSql + Sync), Type) {
        let kind = match self {
            // The server infers the type of the column.
            Self::Null => Type::UNKNOWN,
            Self::Integer(_) => Type::INT8,
            Self::Text(_) => Type::TEXT,
            Self::Bytes(_) => Type::BYTEA,
        };
        (self, kind)
    }
}

impl ToSql for Parameter {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Integer(integer) => integer.to_sql(kind, out),
            Self::Text(text) => text.to_sql(kind, out),
            Self::Bytes(bytes) => bytes.to_sql(kind, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    tokio_postgres::types::to_sql_checked!();
}

impl<'row> FromSql<'row> for Cell<'row> {
    fn from_sql(kind: &Type, bytes: &'row [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(match *kind {
            Type::INT8 => Self::Integer(i64::from_sql(kind, bytes)?),
            Type::BOOL => Self::Integer(i64::from(bool::from_sql(kind, bytes)?)),
            Type::TEXT => Self::Text(<&str>::from_sql(kind, bytes)?),
            Type::BYTEA => Self::Bytes(bytes),
            _ => Self::Other,
        })
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self::Null)
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

impl access::Row for Row {
    fn cell(&self, index: usize) -> Cell<'_> {
        self.try_get(index).unwrap_or(Cell::Other)
    }

    fn name(&self, index: usize) -> String {
        let column = Row::columns(self).get(index);
        column.map_or_else(|| "?".to_owned(), |column| column.name().to_owned())
    }

    fn columns(&self) -> usize {
        self.len()
    }
}
