//! [`Columns`]: reads the columns of a row. A column with an invalid value is [`Failure::Corrupt`].

use std::str::FromStr;

use gatekey_core::{Timestamp, api_key::Limits};

use super::{
    access::{Cell, Row},
    failure::Failure,
};
use crate::names::{self, Named};

/// The columns of a row, by their position in the statement.
pub(crate) struct Columns<'row> {
    table: &'static str,
    row: &'row dyn Row,
}

impl<'row> Columns<'row> {
    pub(crate) fn new(table: &'static str, row: &'row dyn Row) -> Self {
        Self { table, row }
    }

    pub(crate) fn text(&self, index: usize) -> Result<&'row str, Failure> {
        match self.row.cell(index) {
            Cell::Text(text) => Ok(text),
            _ => Err(self.corrupt(index)),
        }
    }

    pub(crate) fn string(&self, index: usize) -> Result<String, Failure> {
        self.text(index).map(str::to_owned)
    }

    pub(crate) fn parsed<T: FromStr>(&self, index: usize) -> Result<T, Failure> {
        self.text(index)?.parse().map_err(|_| self.corrupt(index))
    }

    pub(crate) fn optional_parsed<T: FromStr>(&self, index: usize) -> Result<Option<T>, Failure> {
        if self.is_null(index) { Ok(None) } else { self.parsed(index).map(Some) }
    }

    pub(crate) fn named<T: Named>(&self, index: usize) -> Result<T, Failure> {
        T::from_name(self.text(index)?).ok_or_else(|| self.corrupt(index))
    }

    pub(crate) fn names<T: Named>(&self, index: usize) -> Result<Vec<T>, Failure> {
        names::split(self.text(index)?).ok_or_else(|| self.corrupt(index))
    }

    pub(crate) fn optional_names<T: Named>(&self, index: usize) -> Result<Vec<T>, Failure> {
        if self.is_null(index) { Ok(Vec::new()) } else { self.names(index) }
    }

    pub(crate) fn texts(&self, index: usize) -> Result<Vec<String>, Failure> {
        // Most keys have no contacts, and a comparison costs less than a parser.
        match self.text(index)? {
            "[]" => Ok(Vec::new()),
            json => serde_json::from_str(json).map_err(|_| self.corrupt(index)),
        }
    }

    pub(crate) fn limits(&self, index: usize) -> Result<Limits, Failure> {
        if self.is_null(index) {
            return Ok(Limits::default());
        }
        serde_json::from_str(self.text(index)?).map_err(|_| self.corrupt(index))
    }

    pub(crate) fn integer<T: TryFrom<i64>>(&self, index: usize) -> Result<T, Failure> {
        match self.row.cell(index) {
            Cell::Integer(integer) => integer.try_into().map_err(|_| self.corrupt(index)),
            _ => Err(self.corrupt(index)),
        }
    }

    pub(crate) fn boolean(&self, index: usize) -> Result<bool, Failure> {
        self.integer::<u8>(index).map(|integer| integer != 0)
    }

    pub(crate) fn instant(&self, index: usize) -> Result<Timestamp, Failure> {
        self.integer(index).map(Timestamp::from_micros)
    }

    pub(crate) fn optional_instant(&self, index: usize) -> Result<Option<Timestamp>, Failure> {
        if self.is_null(index) { Ok(None) } else { self.instant(index).map(Some) }
    }

    pub(crate) fn bytes(&self, index: usize) -> Result<&'row [u8], Failure> {
        match self.row.cell(index) {
            Cell::Bytes(bytes) => Ok(bytes),
            _ => Err(self.corrupt(index)),
        }
    }

    pub(crate) fn optional_bytes(&self, index: usize) -> Result<Option<&'row [u8]>, Failure> {
        if self.is_null(index) { Ok(None) } else { self.bytes(index).map(Some) }
    }

    pub(crate) fn array<const N: usize>(&self, index: usize) -> Result<[u8; N], Failure> {
        self.bytes(index)?.try_into().map_err(|_| self.corrupt(index))
    }

    pub(crate) fn optional_array<const N: usize>(
        &self,
        index: usize,
    ) -> Result<Option<[u8; N]>, Failure> {
        if self.is_null(index) { Ok(None) } else { self.array(index).map(Some) }
    }

    /// A column whose value contradicts another one.
    pub(crate) fn contradiction(&self, index: usize) -> Failure {
        self.corrupt(index)
    }

    fn is_null(&self, index: usize) -> bool {
        self.row.cell(index) == Cell::Null
    }

    /// Names the column but not the value, which can be anything, such as a secret.
    fn corrupt(&self, index: usize) -> Failure {
        let column = self.row.name(index);
        Failure::Corrupt(format!(
            "{}.{column} has a value that this version cannot read",
            self.table
        ))
    }
}

/// Encodes a list as JSON.
pub(crate) fn json(texts: &[String]) -> String {
    serde_json::to_string(texts).expect("strings can always be encoded")
}

/// Encodes an instant.
pub(crate) fn micros(instant: Option<Timestamp>) -> Option<i64> {
    instant.map(Timestamp::as_micros)
}
