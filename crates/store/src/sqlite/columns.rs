//! [`Columns`]: reads the columns of a row. A column with an invalid value is [`Failure::Corrupt`].

use std::str::FromStr;

use gatekey_core::{Timestamp, api_key::Limits};
use rusqlite::{Row, types::ValueRef};

use super::failure::Failure;
use crate::names::{self, Named};

/// The columns of a row, by their position in the statement.
pub(super) struct Columns<'row> {
    table: &'static str,
    row: &'row Row<'row>,
}

impl<'row> Columns<'row> {
    pub(super) fn new(table: &'static str, row: &'row Row<'row>) -> Self {
        Self { table, row }
    }

    pub(super) fn text(&self, index: usize) -> Result<&'row str, Failure> {
        self.row.get_ref(index)?.as_str().map_err(|_| self.corrupt(index))
    }

    pub(super) fn string(&self, index: usize) -> Result<String, Failure> {
        self.text(index).map(str::to_owned)
    }

    pub(super) fn parsed<T: FromStr>(&self, index: usize) -> Result<T, Failure> {
        self.text(index)?.parse().map_err(|_| self.corrupt(index))
    }

    pub(super) fn optional_parsed<T: FromStr>(&self, index: usize) -> Result<Option<T>, Failure> {
        if self.is_null(index)? { Ok(None) } else { self.parsed(index).map(Some) }
    }

    pub(super) fn named<T: Named>(&self, index: usize) -> Result<T, Failure> {
        T::from_name(self.text(index)?).ok_or_else(|| self.corrupt(index))
    }

    pub(super) fn names<T: Named>(&self, index: usize) -> Result<Vec<T>, Failure> {
        names::split(self.text(index)?).ok_or_else(|| self.corrupt(index))
    }

    pub(super) fn optional_names<T: Named>(&self, index: usize) -> Result<Vec<T>, Failure> {
        if self.is_null(index)? { Ok(Vec::new()) } else { self.names(index) }
    }

    pub(super) fn texts(&self, index: usize) -> Result<Vec<String>, Failure> {
        // Most keys have no contacts, and a comparison costs less than a parser.
        match self.text(index)? {
            "[]" => Ok(Vec::new()),
            json => serde_json::from_str(json).map_err(|_| self.corrupt(index)),
        }
    }

    pub(super) fn limits(&self, index: usize) -> Result<Limits, Failure> {
        if self.is_null(index)? {
            return Ok(Limits::default());
        }
        serde_json::from_str(self.text(index)?).map_err(|_| self.corrupt(index))
    }

    pub(super) fn integer<T: TryFrom<i64>>(&self, index: usize) -> Result<T, Failure> {
        let integer = self.row.get_ref(index)?.as_i64().map_err(|_| self.corrupt(index))?;
        integer.try_into().map_err(|_| self.corrupt(index))
    }

    pub(super) fn instant(&self, index: usize) -> Result<Timestamp, Failure> {
        self.integer(index).map(Timestamp::from_micros)
    }

    pub(super) fn optional_instant(&self, index: usize) -> Result<Option<Timestamp>, Failure> {
        if self.is_null(index)? { Ok(None) } else { self.instant(index).map(Some) }
    }

    pub(super) fn bytes(&self, index: usize) -> Result<&'row [u8], Failure> {
        self.row.get_ref(index)?.as_blob().map_err(|_| self.corrupt(index))
    }

    pub(super) fn optional_bytes(&self, index: usize) -> Result<Option<&'row [u8]>, Failure> {
        if self.is_null(index)? { Ok(None) } else { self.bytes(index).map(Some) }
    }

    pub(super) fn array<const N: usize>(&self, index: usize) -> Result<[u8; N], Failure> {
        self.bytes(index)?.try_into().map_err(|_| self.corrupt(index))
    }

    pub(super) fn optional_array<const N: usize>(
        &self,
        index: usize,
    ) -> Result<Option<[u8; N]>, Failure> {
        if self.is_null(index)? { Ok(None) } else { self.array(index).map(Some) }
    }

    /// A column whose value contradicts another one.
    pub(super) fn contradiction(&self, index: usize) -> Failure {
        self.corrupt(index)
    }

    fn is_null(&self, index: usize) -> Result<bool, Failure> {
        Ok(self.row.get_ref(index)? == ValueRef::Null)
    }

    /// Names the column but not the value, which can be anything, such as a secret.
    fn corrupt(&self, index: usize) -> Failure {
        let column = self.row.as_ref().column_name(index).unwrap_or("?");
        Failure::Corrupt(format!(
            "{}.{column} has a value that this version cannot read",
            self.table
        ))
    }
}

/// Encodes a list as JSON.
pub(super) fn json(texts: &[String]) -> String {
    serde_json::to_string(texts).expect("strings can always be encoded")
}

/// Encodes an instant.
pub(super) fn micros(instant: Option<Timestamp>) -> Option<i64> {
    instant.map(Timestamp::as_micros)
}
