//! Keys and their secrets.

mod change;
mod create;
mod list;
mod secrets;
