//! Creating and migrating the tables.

use std::{sync::Arc, thread};

use gatekey_store::{PostgresStore, postgres::PostgresOpenError};

use crate::world::{Mirror, PostgresDatabase, root_key};

/// The reason why a database was not opened.
fn refused(database: &PostgresDatabase) -> String {
    let opened = PostgresStore::open(database.options(), &root_key(), Arc::new(Mirror::default()));
    match opened.unwrap_err() {
        PostgresOpenError::Failed { source, .. } => source.to_string(),
        error => panic!("{error}"),
    }
}

#[test]
fn nodes_may_create_the_tables_at_once() {
    let Some(database) = PostgresDatabase::new() else { return };
    let open = || PostgresStore::open(database.options(), &root_key(), Arc::new(Mirror::default()));
    let opened: Vec<_> = thread::scope(|scope| {
        let nodes: Vec<_> = (0..5).map(|_| scope.spawn(open)).collect();
        // Each is dropped at the end: of all that race, one has the database first.
        nodes.into_iter().map(|node| node.join().unwrap()).collect()
    });
    assert_eq!(opened.iter().filter(|opened| opened.is_ok()).count(), 1, "{opened:?}");
    let in_use = |error: &PostgresOpenError| matches!(error, PostgresOpenError::InUse { .. });
    assert!(opened.iter().filter_map(|opened| opened.as_ref().err()).all(in_use), "{opened:?}");
}

#[test]
fn a_schema_that_is_too_new_is_refused() {
    let Some(database) = PostgresDatabase::new() else { return };
    drop(database.open_postgres(Arc::new(Mirror::default())));
    database.database.run("UPDATE schema_version SET version = 99");
    // Newer, but made for this program too.
    drop(database.open_postgres(Arc::new(Mirror::default())));
    database.database.run("UPDATE schema_version SET min_writer = 98");
    assert!(refused(&database).contains("too new"));
}

#[test]
fn the_tables_of_another_program_are_left_alone() {
    let Some(database) = PostgresDatabase::new() else { return };
    database.database.run("CREATE TABLE schema_version (number BIGINT)");
    assert!(refused(&database).contains("another program"));
    let tables =
        database.database.run("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'");
    assert_eq!(tables, "1");
}
