//! Inspects a data directory without changing it, also while a server uses it.

use std::{
    future, io,
    path::{Path, PathBuf},
};

use gatekey_core::{RootKey, ledger, signing_key};
use gatekey_store::{Inspection, OpenError};

use super::{
    connection::causes,
    report::{Report, Step},
};
use crate::{
    args::StoreCheck,
    data_dir::{self, DataDirPath, Inspected},
    exit,
    last_start::LastStart,
    process,
    root_key_file::{self, RootKeyPath},
    trusted,
};

const MAX_FAULTS: usize = 5;
const RESTORE: &str = "restore a backup into a new data directory with `gatekey restore`";
const NAME_ROOT_KEY: &str = "name the root key of this data directory with --root-key-file";

pub(super) async fn check(arguments: StoreCheck) -> Report {
    let named = arguments.data_dir.path();
    let mut report = Report::new(named.path().display().to_string());
    let (data_dir, own, step) = directory(&named);
    if let Some(step) = step
        && !report.add(step)
    {
        let rest = ["root key", "database", "integrity", "keys", "root key fits", "ledger"];
        report.skip(&rest, "the data directory is not trusted");
        return report;
    }
    let (step, root_key) =
        read_root_key(&RootKeyPath::new(arguments.root_key_file, &data_dir), own);
    report.add(step);
    if let Some(database) = LastStart::read(&data_dir).and_then(|last_start| last_start.database) {
        report.skip(
            &["database", "integrity", "keys", "root key fits", "ledger", "seal"],
            &format!("the data is in {database}; `gatekey ledger verify` reads it"),
        );
        return report;
    }
    let database = data_dir.join(data_dir::DATABASE);
    let inspection = match Inspection::open(&database) {
        Ok(inspection) => {
            report.add(opened(&data_dir, own));
            inspection
        }
        Err(error) => {
            report.add(unopened(&database, error));
            report.skip(
                &["integrity", "keys", "root key fits", "ledger", "seal"],
                "the database does not open",
            );
            return report;
        }
    };
    report.add(integrity(&inspection));
    report.add(keys(&inspection));
    match root_key {
        Some(root_key) => {
            report.add(root_key_fits(&inspection, &root_key));
            report.add(chain(&inspection, &root_key).await);
            report.add(seal(&inspection, &root_key));
        }
        None => report.skip(&["root key fits", "ledger", "seal"], "the root key cannot be read"),
    }
    report
}

/// Returns the path of a directory and the user that serves from it, and reports a directory that a
/// server would not use.
fn directory(named: &DataDirPath) -> (PathBuf, u32, Option<Step>) {
    const NAME: &str = "data directory";
    let Inspected { path, own, exposure } = match data_dir::inspect(named) {
        Ok(inspected) => inspected,
        Err(error) => {
            let step = split(NAME, &causes(&error), "use another directory with --data-dir");
            // A missing directory is reported as a missing database.
            let step = (exit::code(&error) != exit::USAGE).then_some(step);
            return (named.path().to_owned(), process::own_uid(), step);
        }
    };
    let step = exposure.map(|exposure| {
        let fix = "if no volume with fsGroup needs this, remove the group's access with chmod g-w";
        Step::warning(NAME, exposure.to_string(), fix)
    });
    (path, own, step)
}

/// Reports files of the database that a server would not use.
fn opened(data_dir: &Path, own: u32) -> Step {
    const NAME: &str = "database";
    match data_dir::check_database(data_dir, own) {
        Ok(None) => Step::ok(NAME, "opens, and its schema is of this version"),
        Ok(Some(exposure)) => {
            let fix =
                "if no volume with fsGroup needs this, remove the group's access with chmod g=";
            Step::warning(NAME, exposure.to_string(), fix)
        }
        Err(error) => split(NAME, &causes(&error), "let only the server's user write it"),
    }
}

/// Reports that the database was not opened.
fn unopened(database: &Path, error: OpenError) -> Step {
    const NAME: &str = "database";
    let denied = match &error {
        OpenError::Io { source, .. } => source.kind() == io::ErrorKind::PermissionDenied,
        _ => false,
    };
    let is_link = matches!(error, OpenError::Link { .. });
    let found = causes(&error.into());
    if denied {
        let hint = trusted::denied(database).unwrap_or_default();
        return split(NAME, &format!("{found}{hint}"), "let the server's user read it");
    }
    if is_link {
        return split(NAME, &found, RESTORE);
    }
    let fix = "name the data directory with --data-dir; if it is the right one, restore a backup";
    Step::failed(NAME, found, fix)
}

/// A failed step of a message that ends with its own fix, after a semicolon.
fn split(name: &'static str, message: &str, otherwise: &str) -> Step {
    match message.split_once("; ") {
        Some((found, fix)) => Step::failed(name, found, fix),
        None => Step::failed(name, message, otherwise),
    }
}

fn read_root_key(file: &RootKeyPath, own: u32) -> (Step, Option<RootKey>) {
    const NAME: &str = "root key";
    let shown = file.path().display();
    match root_key_file::inspect(file, own) {
        Ok(Some((root_key, None))) => {
            (Step::ok(NAME, format!("{shown} is a valid root key file")), Some(root_key))
        }
        Ok(Some((root_key, Some(exposure)))) => {
            let fix =
                "if no volume with fsGroup needs this, remove the group's access with chmod g=";
            (Step::warning(NAME, exposure.to_string(), fix), Some(root_key))
        }
        Ok(None) => {
            let fix = "restore the file from your copy, or name another with --root-key-file";
            (Step::failed(NAME, format!("{shown} is missing"), fix), None)
        }
        Err(error) => {
            let fix = "restore the file that the server created, as it was";
            (split(NAME, &causes(&error), fix), None)
        }
    }
}

fn integrity(inspection: &Inspection) -> Step {
    const NAME: &str = "integrity";
    match inspection.faults(MAX_FAULTS) {
        Ok(faults) if faults.is_empty() => {
            Step::ok(NAME, "pages, indexes and references are sound")
        }
        Ok(faults) => Step::failed(NAME, faults.join("; "), RESTORE),
        Err(error) => Step::failed(NAME, causes(&error.into()), RESTORE),
    }
}

fn keys(inspection: &Inspection) -> Step {
    let mut keys = 0;
    match inspection.each_key(|_| keys += 1) {
        Ok(()) => Step::ok("keys", format!("{keys} can be read")),
        Err(error) => {
            let found = format!("{keys} can be read, and then: {}", causes(&error.into()));
            Step::failed("keys", found, RESTORE)
        }
    }
}

fn root_key_fits(inspection: &Inspection, root_key: &RootKey) -> Step {
    const NAME: &str = "root key fits";
    if let Err(error) = inspection.settle(root_key) {
        return Step::failed(NAME, causes(&error.into()), NAME_ROOT_KEY);
    }
    let signing_keys = match inspection.signing_keys() {
        Ok(signing_keys) => signing_keys,
        Err(error) => return Step::failed(NAME, causes(&error.into()), RESTORE),
    };
    for sealed in &signing_keys {
        if let Err(error) = signing_key::open(root_key, sealed) {
            let found = format!("signing key {} cannot be decrypted: {error}", sealed.kid);
            return Step::failed(NAME, found, NAME_ROOT_KEY);
        }
    }
    let version = root_key.version();
    let found = format!("version {version} decrypts all {} signing key(s)", signing_keys.len());
    match root_key.version_not_in_use() {
        Some(newer) => Step::ok(NAME, format!("{found}; version {newer} is not in use yet")),
        None => Step::ok(NAME, found),
    }
}

async fn chain(inspection: &Inspection, root_key: &RootKey) -> Step {
    const NAME: &str = "ledger";
    let read = |after, limit| future::ready(inspection.ledger_entries(after, limit));
    let base = match inspection.ledger_base() {
        Ok(base) => base,
        Err(error) => return Step::failed(NAME, causes(&error.into()), RESTORE),
    };
    match ledger::verify(root_key.ledger_keys(), base, &[], read).await {
        Ok(head) => {
            let entries = head.sequence - base.sequence();
            let archived = match base.sequence() {
                0 => String::new(),
                archived => format!(" after {archived} archived"),
            };
            Step::ok(NAME, format!("chain intact, {entries} entries{archived}; head {head}"))
        }
        Err(fault) => Step::failed(
            NAME,
            fault.to_string(),
            "if the root key fits, someone changed the ledger: compare it with an earlier export or backup",
        ),
    }
}

/// Verifies that no row was changed, removed or put back without the root key.
fn seal(inspection: &Inspection, root_key: &RootKey) -> Step {
    const NAME: &str = "seal";
    match inspection.verify_seals(root_key) {
        Ok(None) => Step::ok(NAME, "the next start of the server seals the rows"),
        Ok(Some(report)) => match report.faults() {
            faults if faults.is_empty() => Step::ok(NAME, "every row matches its seal"),
            faults => Step::failed(NAME, faults.join("; "), RESTORE),
        },
        Err(error) => Step::failed(NAME, causes(&error.into()), RESTORE),
    }
}
