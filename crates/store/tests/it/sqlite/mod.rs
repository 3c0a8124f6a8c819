//! Rules of the embedded store only.

mod commit;
mod faults;
mod inspection;
mod open;
mod seal;
mod spans;
