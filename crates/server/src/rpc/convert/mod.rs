//! Converts between generated messages and the domain, one file per message family.

pub mod api_key;
pub mod app;
pub mod authorizer;
pub mod list;
pub mod timestamp;

use buffa::{EnumValue, Enumeration};
use gatekey_core::Error;

/// Returns a known value of an enum.
fn known<E: Enumeration>(field: &'static str, value: EnumValue<E>) -> Result<E, Error> {
    match value {
        EnumValue::Known(known) => Ok(known),
        EnumValue::Unknown(number) => {
            Err(Error::invalid(field, format!("has the unknown enum number {number}")))
        }
    }
}

/// Returns the values of a repeated enum, if all are known.
fn all_known<E: Enumeration>(
    field: &'static str,
    values: Vec<EnumValue<E>>,
) -> Result<Vec<E>, Error> {
    values.into_iter().map(|value| known(field, value)).collect()
}
