//! A data directory, looked at without being changed; also while a server uses it.

use std::path::Path;

use gatekey_core::{RootKey, signing_key};
use gatekey_store::Inspection;

use super::{
    connection::causes,
    report::{Report, Step},
};
use crate::{args::StoreCheck, commands::verify_ledger, data_dir};

/// Faults of the database that are told.
const SHOWN: usize = 5;
const RESTORE: &str = "restore a backup into a new data directory with `gatekey restore`";

/// Goes as far as it comes.
pub(super) fn check(arguments: &StoreCheck) -> Report {
    let data_dir = &arguments.data_dir;
    let mut report = Report::new(data_dir.display().to_string());
    let root_key_file = arguments.root_key_file.clone().unwrap_or_else(|| data_dir.join("root.key"));
    let (step, root_key) = read_root_key(&root_key_file);
    report.add(step);
    let inspection = match Inspection::open(&data_dir.join(data_dir::DATABASE)) {
        Ok(inspection) => {
            report.add(Step::ok("database", "it opens, and is of this version"));
            inspection
        }
        Err(error) => {
            let found = causes(&error.into());
            report.add(Step::failed(
                "database",
                found,
                "name the data directory; if it is the right one, restore a backup",
            ));
            report.skip(&["integrity", "keys", "root key fits", "ledger"], "the database does not open");
            return report;
        }
    };
    report.add(integrity(&inspection));
    report.add(keys(&inspection));
    match root_key {
        Some(root_key) => {
            report.add(root_key_fits(&inspection, &root_key));
            report.add(ledger(&inspection, &root_key));
        }
        None => report.skip(&["root key fits", "ledger"], "there is no root key"),
    }
    report
}

fn read_root_key(file: &Path) -> (Step, Option<RootKey>) {
    const NAME: &str = "root key";
    match data_dir::read_root_key(file) {
        Ok(Some(root_key)) => (Step::ok(NAME, format!("{} is one", file.display())), Some(root_key)),
        Ok(None) => {
            let mend = "put it back from where you keep it, or name it with --root-key-file";
            (Step::failed(NAME, format!("{} is missing", file.display()), mend), None)
        }
        Err(error) => {
            let mend = "let it be the file that the server made, for its owner alone";
            (Step::failed(NAME, causes(&error), mend), None)
        }
    }
}

fn integrity(inspection: &Inspection) -> Step {
    const NAME: &str = "integrity";
    match inspection.faults(SHOWN) {
        Ok(faults) if faults.is_empty() => Step::ok(NAME, "pages, indexes and references hold"),
        Ok(faults) => Step::failed(NAME, faults.join("; "), RESTORE),
        Err(error) => Step::failed(NAME, causes(&error.into()), RESTORE),
    }
}

fn keys(inspection: &Inspection) -> Step {
    let mut keys = 0;
    match inspection.each_key(|_| keys += 1) {
        Ok(()) => Step::ok("keys", format!("{keys} can be read")),
        Err(error) => Step::failed("keys", format!("after {keys}: {}", causes(&error.into())), RESTORE),
    }
}

fn root_key_fits(inspection: &Inspection, root_key: &RootKey) -> Step {
    const NAME: &str = "root key fits";
    if let Err(error) = inspection.settle(root_key) {
        let mend = "name the root key that belongs to this directory with --root-key-file";
        return Step::failed(NAME, causes(&error.into()), mend);
    }
    let signing_keys = match inspection.signing_keys() {
        Ok(signing_keys) => signing_keys,
        Err(error) => return Step::failed(NAME, causes(&error.into()), RESTORE),
    };
    for sealed in &signing_keys {
        if let Err(error) = signing_key::open(root_key, sealed) {
            let found = format!("signing key {} does not open: {error}", sealed.kid);
            return Step::failed(
                NAME,
                found,
                "name the root key that belongs to this directory with --root-key-file",
            );
        }
    }
    let found =
        format!("{} signing key(s) open under it; version {}", signing_keys.len(), root_key.version());
    match root_key.version_not_in_use() {
        Some(newer) => Step::ok(NAME, format!("{found}; version {newer} is not in use yet")),
        None => Step::ok(NAME, found),
    }
}

fn ledger(inspection: &Inspection, root_key: &RootKey) -> Step {
    const NAME: &str = "ledger";
    match verify_ledger(inspection, root_key, None) {
        Ok(head) => {
            Step::ok(NAME, format!("{} entries follow one from the other; head {head}", head.sequence))
        }
        Err(fault) => Step::failed(
            NAME,
            fault.to_string(),
            "if the root key fits, somebody changed the ledger: compare it with an export or a backup from before",
        ),
    }
}
