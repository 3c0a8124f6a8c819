//! The file of a backup.

use std::{fs, io};

use gatekey_store::Inspection;

use crate::world::{
    PostgresDatabase, World, add_signing_key, entry, later, root_key, rotation_at, signing_key,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_a_database_file() {
    let Some(database) = PostgresDatabase::new() else { return };
    let mut world = World::new(Box::new(database));
    for number in 0..600 {
        world.create(&format!("key-{number}")).await;
    }
    world.rotate("key-7", rotation_at(later(1), 60)).await;
    let secret = world.find("key-7").await.unwrap().secrets[0].id;
    world.store().record_last_used(vec![(secret, later(5))]).await.unwrap();
    add_signing_key(&**world.store(), signing_key("kid"), later(60), entry(later(2), "kid")).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gatekey.db");
    let mut snapshot = world.store().snapshot().await.unwrap();
    io::copy(&mut snapshot, &mut fs::File::create(&path).unwrap()).unwrap();

    let inspection = Inspection::open(&path).unwrap();
    assert_eq!(inspection.faults(9).unwrap(), [""; 0]);
    let report = inspection.verify_seals(&root_key()).unwrap().unwrap();
    assert_eq!(report.faults(), [""; 0]);
    let mut keys = Vec::new();
    inspection.each_key(|key| keys.push(key)).unwrap();
    assert_eq!(keys.len(), 600);
    for id in ["key-7", "key-599"] {
        let key = keys.iter().find(|key| key.client_id.as_str() == id);
        assert_eq!(key.cloned(), world.find(id).await, "{id}");
    }
    let entries = inspection.ledger_entries(0, 1000).unwrap();
    assert_eq!(entries, world.verified_ledger().await);
    world.check().await;
}
