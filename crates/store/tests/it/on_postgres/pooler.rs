//! A pooler in transaction mode, which gives each transaction another session.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, chown},
        net::UnixStream,
        process::CommandExt,
    },
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use futures::future::join_all;
use gatekey_core::{Store, store::ApiKeyStore};
use gatekey_store::{PostgresStore, postgres::PostgresOptions};
use tempfile::TempDir;

use crate::world::{
    Mirror, NOW, PostgresDatabase, entry, later, new_call, new_key, not_proven, root_key,
};

const PROGRAM: &str = "/usr/sbin/pgbouncer";
/// The pooler refuses to run as root, as PostgreSQL does.
const PLAIN_USER: u32 = 65_534;

struct Pooler {
    directory: TempDir,
    /// Ends the pooler when its standard input is closed.
    _shell: Child,
}

impl Pooler {
    fn start(server: &Path) -> Self {
        let directory = tempfile::tempdir_in("/tmp").unwrap();
        let place = directory.path().display();
        let settings = format!(
            "[databases]\n* = host={}\n[pgbouncer]\nunix_socket_dir = {place}\nlisten_port = 5432\n\
             auth_type = trust\nauth_file = {place}/users\npool_mode = transaction\ndefault_pool_size = 3\n",
            server.display()
        );
        fs::write(directory.path().join("pgbouncer.ini"), settings).unwrap();
        fs::write(directory.path().join("users"), "\"gatekey\" \"\"\n").unwrap();
        let script = r#"
            "$1" -q "$2/pgbouncer.ini" &
            pooler=$!
            while read -r line; do :; done
            kill -KILL "$pooler"
        "#;
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", script, "sh", PROGRAM]).arg(directory.path());
        if fs::metadata("/proc/self").unwrap().uid() == 0 {
            chown(directory.path(), Some(PLAIN_USER), Some(PLAIN_USER)).unwrap();
            shell.uid(PLAIN_USER).gid(PLAIN_USER);
        }
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let pooler = Self { _shell: shell.spawn().unwrap(), directory };
        let socket = pooler.directory.path().join(".s.PGSQL.5432");
        while UnixStream::connect(&socket).is_err() {
            std::thread::yield_now();
        }
        pooler
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_in_transaction_mode_works() {
    let Some(database) = PostgresDatabase::new() else { return };
    if !Path::new(PROGRAM).exists() {
        not_proven(
            "the store behind PgBouncer, which is not installed (Debian's package pgbouncer)",
        );
        return;
    }
    let pooler = Pooler::start(database.database.directory());
    let url = database.database.url_at(pooler.directory.path());
    let options = || PostgresOptions { url: url.parse().unwrap(), ..database.options() };
    let mirror = Arc::new(Mirror::default());
    let store = PostgresStore::open(options(), &root_key(), mirror.clone()).unwrap();
    let ids: Vec<_> = (0..60).map(|number| format!("key-{number}")).collect();
    let create = async |id: &String| {
        store.create_key(new_key(id), new_call(id), entry(NOW, id)).await.unwrap();
        let found = store.find_key(&id.parse().unwrap()).await.unwrap();
        assert_eq!(found, mirror.key(id));
    };
    join_all(ids.iter().map(create)).await;
    store.purge(later(1), NOW, NOW).await.unwrap();
    drop(store);
    let store = PostgresStore::open(options(), &root_key(), Arc::new(Mirror::default())).unwrap();
    store.load().await.unwrap();
    assert_eq!(store.verify_seals().await.unwrap().faults(), [""; 0]);
}
