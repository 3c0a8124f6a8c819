//! Rules of the store on PostgreSQL only.

mod commit;
mod lease;
mod proxy;
mod schema;
mod snapshot;
