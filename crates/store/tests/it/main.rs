//! The contract of [`gatekey_core::Store`]: each rule one test, run for every store by `for_each_store!`.
//!
//! # Layout
//! - `world`: a store under test with what it is given and what its observer saw. After every test the ledger
//!   must verify and the observer must know exactly what is stored.
//! - `creating`, `changing`, `secrets`, `listing`, `tokens`, `signing_keys`, `root_keys`, `ledger`,
//!   `purging`, `lasting`, `races`: the rules, by idea.
//! - `sqlite`: what holds for the embedded store alone.

#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

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
    };
}

mod changing;
mod creating;
mod lasting;
mod ledger;
mod listing;
mod purging;
mod races;
mod root_keys;
mod secrets;
mod signing_keys;
mod sqlite;
mod tokens;
mod world;
