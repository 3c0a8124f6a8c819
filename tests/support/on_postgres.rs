//! Databases on PostgreSQL for servers under test.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{LazyLock, Mutex},
};

pub(crate) use super::postgres::Database;
use super::{environment, not_proven, postgres, run};

/// A new database; `None` if PostgreSQL is not installed.
pub(crate) fn database() -> Option<Database> {
    let Some(cluster) = postgres::cluster() else {
        not_proven("servers on PostgreSQL, which is not installed (Debian's package postgresql)");
        return None;
    };
    Some(cluster.database())
}

/// The databases of servers, by their data directories. They end with the cluster.
static DATABASES: LazyLock<Mutex<HashMap<PathBuf, Database>>> = LazyLock::new(Mutex::default);

/// The flags that put a server's data in PostgreSQL, with a root key to start with; none, unless
/// `GATEKEY_TEST_STORE` is `postgres`, or if the test chose a database itself.
pub(crate) fn flags(data_dir: &Path, given: &[&str]) -> Vec<String> {
    let chosen = environment("GATEKEY_TEST_STORE").is_some_and(|store| store == "postgres");
    let has_own = given.contains(&"--database") || data_dir.join("gatekey.db").exists();
    if !chosen || has_own {
        return Vec::new();
    }
    let mut databases = DATABASES.lock().unwrap();
    if !databases.contains_key(data_dir) {
        let Some(database) = database() else { return Vec::new() };
        databases.insert(data_dir.to_owned(), database);
    }
    let root_key = data_dir.join("root.key");
    if !root_key.exists() && !given.contains(&"--root-key-file") {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir).unwrap();
        let made = run(&["root-key", "new", root_key.to_str().unwrap()]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
    vec!["--database".to_owned(), databases[data_dir].url()]
}

/// The URL of the database that [`flags`] chose for a data directory.
pub(crate) fn url(data_dir: &Path) -> Option<String> {
    DATABASES.lock().unwrap().get(data_dir).map(Database::url)
}
