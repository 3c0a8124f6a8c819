//! The contract of [`gatekey_core::Store`]. `for_each_store!` runs each test for every store.
//!
//! # Layout
//! - `world`: a store under test, its arguments and its observer. After each test, the ledger must
//!   verify, and the observer must have exactly the stored state.
//! - `api_key`, `token`, `signing_key`, `root_key`, `ledger`: one trait each.
//! - `purge`, `durability`, `races`: rules that concern the whole store.
//! - `sqlite`, `on_postgres`: rules of one store only.
//! - `cluster`: a PostgreSQL server for the tests.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

/// Runs tests, each an `async fn(&mut World)`, for every store.
macro_rules! for_each_store {
    ($($test:ident),* $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    let mut world = crate::world::World::new(Box::new(crate::world::SqliteFile::default()));
                    super::$test(&mut world).await;
                    world.check().await;
                }
            )*
        }

        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    let Some(database) = crate::world::PostgresDatabase::new() else { return };
                    let mut world = crate::world::World::new(Box::new(database));
                    super::$test(&mut world).await;
                    world.check().await;
                }
            )*
        }
    };
}

mod api_key;
#[path = "../../../../tests/support/postgres.rs"]
mod cluster;
mod durability;
mod ledger;
mod on_postgres;
mod purge;
mod races;
mod root_key;
mod signing_key;
mod sqlite;
mod token;
mod world;
