//! Rules of the store on PostgreSQL only.

mod commit;
mod lease;
mod pooler;
mod proxy;
mod schema;
mod snapshot;
mod tls;
