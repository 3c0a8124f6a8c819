//! `gatekey restore`: restores a backup into a new data directory.

use std::{
    fs::{self, File, OpenOptions},
    future,
    io::{self, BufReader, BufWriter, Seek as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use gatekey_core::{
    Directory, Env, KeyId, RootKey, Timestamp,
    ledger::{self, LedgerFault},
    operations::{
        backup::{BackupError, Opener},
        restore::{self, Comparison, Keys},
    },
    root_key::RootKeys,
};
use gatekey_store::{Inspection, OpenError, SqliteStore};
use serde_json::json;
use tracing::level_filters::LevelFilter;

use super::backup;
use crate::{
    args, clock,
    data_dir::{self, DataDir, DataDirPath},
    exit::{self, Coded},
    logging, output,
    process::local_caller,
    root_key_file::{self, ROOT_KEY, RootKeyPath},
};

/// Maximum number of client ids of one kind in text output; JSON and YAML list all.
const MAX_SHOWN: usize = 20;

/// Checks the whole backup, and then writes it into a new data directory.
pub(crate) async fn run(arguments: args::Restore) -> anyhow::Result<()> {
    let _logging = logging::start_plain(LevelFilter::WARN);
    let passphrase = backup::passphrase(arguments.passphrase_file.as_deref())?;
    let target = &arguments.data_dir;
    refuse_used(target)?;
    let root_key = Arc::new(root_key(&arguments)?);
    let shown = arguments.file.display();
    let file = File::open(&arguments.file)
        .map_err(|error| exit::usage(format!("cannot read the backup {shown}: {error}")))?;
    let mut file = BufReader::new(file);
    let refuse = |error: BackupError| refused(&error, &arguments.file);
    let opener = Opener::new(&root_key, passphrase.as_ref(), &mut file).map_err(refuse)?;
    // Reads the backup to its end first, so that nothing is written of a damaged one.
    opener.open(&mut file, &mut io::sink()).map_err(refuse)?;
    let compared = arguments.compare.as_deref().map(keys_of).transpose()?;

    let new = NewDirectory::create(target)?;
    let staged = new.staging.join(data_dir::DATABASE);
    file.rewind()?;
    opener.skip_lines(&mut file).map_err(refuse)?;
    let mut database =
        BufWriter::new(OpenOptions::new().write(true).create_new(true).mode(0o600).open(&staged)?);
    opener.open(&mut file, &mut database).map_err(refuse)?;
    drop(database);
    let broken = check(&staged, &root_key)
        .await
        .map_err(|error| root_key_refused(error, &arguments.file))?;
    let comparison = match compared {
        Some(old) => Some(Comparison::of(&keys_of(&new.staging)?, &old)),
        None => None,
    };
    let created_at = opener.header().created_at;
    let keys = revoke_tokens(&staged, &root_key, created_at).await?;
    new.finish()?;

    let report = Report { keys, created_at, broken, comparison };
    report
        .print(&arguments)
        .with_context(|| format!("the restored {} is complete", arguments.data_dir.display()))
}

/// Refuses a directory that contains more than a root key.
fn refuse_used(target: &Path) -> anyhow::Result<()> {
    let entries = match fs::read_dir(target) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            let shown = target.display();
            return Err(exit::usage(format!("cannot read the data directory {shown}: {error}")));
        }
    };
    for entry in entries {
        let name = entry?.file_name();
        if name != ROOT_KEY {
            return Err(exit::usage(format!(
                "{} already contains {}; restore into a new or empty directory (it may contain only {ROOT_KEY})",
                target.display(),
                name.display()
            )));
        }
    }
    Ok(())
}

fn root_key(arguments: &args::Restore) -> anyhow::Result<RootKey> {
    let file = RootKeyPath::new(arguments.root_key_file.clone(), &arguments.data_dir);
    let root_key = root_key_file::open(&file)?.ok_or_else(|| {
        let shown = file.path().display();
        exit::usage(format!(
            "the root key {shown} is missing; backups do not include it: copy it there, or name it with \
             --root-key-file"
        ))
    })?;
    Ok(root_key.for_an_older_store())
}

fn refused(error: &BackupError, file: &Path) -> anyhow::Error {
    let code = match error {
        _ if error.is_damage() => exit::UNSOUND,
        BackupError::AnotherRootKey
        | BackupError::MissingRootKey(_)
        | BackupError::NoPassphrase
        | BackupError::AnotherPassphrase => exit::USAGE,
        _ => exit::FAILURE,
    };
    Coded { code, message: format!("{} was not restored: {error}", file.display()) }.into()
}

/// A data directory with a staging directory, where no server looks for a database. Dropping it
/// before it is finished removes everything that was created.
struct NewDirectory {
    data_dir: DataDir,
    staging: PathBuf,
    created: Vec<PathBuf>,
    finished: bool,
}

impl NewDirectory {
    fn create(target: &Path) -> anyhow::Result<Self> {
        let existed = target.exists();
        let data_dir = DataDir::open(&DataDirPath::Named(target.to_owned()), "gatekey restore")?;
        let staging = data_dir.file(&format!("restore-{}", KeyId::generate(&Env::system())));
        let created = if existed {
            vec![staging.clone(), data_dir.file("lock"), data_dir.file(".gitignore")]
        } else {
            vec![data_dir.path().to_owned()]
        };
        let new = Self { data_dir, staging, created, finished: false };
        fs::DirBuilder::new().mode(0o700).create(&new.staging)?;
        Ok(new)
    }

    /// Moves the database to where a server looks for it.
    fn finish(mut self) -> anyhow::Result<()> {
        File::open(self.staging.join(data_dir::DATABASE))?.sync_all()?;
        fs::rename(self.staging.join(data_dir::DATABASE), self.data_dir.database())?;
        File::open(self.data_dir.path())?.sync_all()?;
        self.finished = true;
        self.data_dir.keep();
        fs::remove_dir_all(&self.staging)?;
        Ok(())
    }
}

impl Drop for NewDirectory {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        for path in &self.created {
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
    }
}

/// Refuses a damaged database. Returns the fault of a ledger that was broken before the backup.
async fn check(database: &Path, root_key: &RootKey) -> anyhow::Result<Option<LedgerFault>> {
    let inspection = Inspection::open(database)?;
    if let Some(fault) = inspection.faults(1)?.first() {
        let message = format!("the database was damaged before it was backed up: {fault}");
        return Err(Coded { code: exit::UNSOUND, message }.into());
    }
    inspection.settle(root_key)?;
    if let Some(report) = inspection.verify_seals(root_key)?
        && let Some(mismatch) = report.mismatch()
    {
        let message = format!("the database was changed before it was backed up: {mismatch}");
        return Err(Coded { code: exit::UNSOUND, message }.into());
    }
    let read = |after, limit| future::ready(inspection.ledger_entries(after, limit));
    let base = inspection.ledger_base()?;
    Ok(ledger::verify(root_key.ledger_keys(), base, &[], read).await.err())
}

/// Converts the error of a wrong or incomplete root key to a usage error.
fn root_key_refused(error: anyhow::Error, file: &Path) -> anyhow::Error {
    match error.downcast_ref::<OpenError>() {
        Some(OpenError::RootKey(mismatch)) => {
            exit::usage(format!("{} was not restored: {mismatch}", file.display()))
        }
        Some(_) | None => error,
    }
}

async fn revoke_tokens(
    database: &Path,
    root_key: &Arc<RootKey>,
    created_at: Timestamp,
) -> anyhow::Result<usize> {
    let (env, backup_of) = (Env::system(), clock::rfc_3339(created_at));
    let store = Arc::new(SqliteStore::open(database, root_key, Arc::<Directory>::default())?);
    let caller = local_caller(&env);
    let keys = restore::revoke_tokens(&*store, &env, &caller, &backup_of).await?;
    // A server refuses a database from before the root key's newest version; a restore is allowed
    // to use one.
    if root_key.is_newer_than_store() {
        RootKeys::new(root_key.clone(), store, env).rotate(&caller).await?;
    }
    Ok(keys)
}

fn keys_of(data_dir: &Path) -> anyhow::Result<Keys> {
    let shown = data_dir.display();
    let unreadable = || format!("cannot read the keys in {shown} to compare them");
    let inspection =
        Inspection::open(&data_dir.join(data_dir::DATABASE)).with_context(unreadable)?;
    let mut keys = Keys::new();
    let read = inspection.each_key(|key| drop(keys.insert(key.client_id.to_string(), key)));
    read.with_context(unreadable)?;
    Ok(keys)
}

struct Report {
    keys: usize,
    created_at: Timestamp,
    broken: Option<LedgerFault>,
    comparison: Option<Comparison>,
}

impl Report {
    fn print(&self, arguments: &args::Restore) -> anyhow::Result<()> {
        let created_at = clock::rfc_3339(self.created_at);
        let broken = self.broken.as_ref().map(ToString::to_string);
        if let Some(notation) = arguments.output.output.notation() {
            let compared = self.comparison.as_ref().map(|compared| {
                json!({ "newer": compared.newer, "deleted": compared.deleted, "changed": compared.changed })
            });
            return notation.print(&json!({
                "data_dir": arguments.data_dir,
                "keys": self.keys,
                "created_at": created_at,
                "ledger_fault": broken,
                "compared": compared,
            }));
        }
        let target = arguments.data_dir.display();
        say!(
            "{} restored {} keys as of {created_at} into {target}",
            output::done_mark(),
            self.keys
        )?;
        say!(
            "All earlier tokens are revoked. Secrets that were valid at that time are valid again."
        )?;
        if let Some(broken) = broken {
            output::note(&format!(
                "{} {broken}; this was so before the backup",
                output::warning_word()
            ));
        }
        match &self.comparison {
            None => {
                say!(
                    "Keys deleted or disabled since then work again, and keys created since then are missing."
                )?;
                say!("Restore with --compare OLD_DATA_DIR to list them.")?;
            }
            Some(compared) => {
                list("created after the backup, missing now", &compared.newer)?;
                list("deleted after the backup, usable again (delete them)", &compared.deleted)?;
                list(
                    "changed after the backup, reverted (rotate or disable them)",
                    &compared.changed,
                )?;
            }
        }
        let root_key = arguments.root_key_file.as_ref().map(|file| {
            format!(" --root-key-file {}", output::shell_quoted(&file.display().to_string()))
        });
        let target = output::shell_quoted(&target.to_string());
        say!(
            "Start the server as before, with --data-dir {target}{}",
            root_key.unwrap_or_default()
        )?;
        Ok(())
    }
}

fn list(title: &str, client_ids: &[String]) -> io::Result<()> {
    let shown = client_ids.iter().take(MAX_SHOWN).map(String::as_str).collect::<Vec<_>>().join(" ");
    match client_ids.len() {
        0 => say!("{}  none", output::dim(title)),
        count if count > MAX_SHOWN => {
            say!(
                "{}  {shown} and {} more (--output json lists all)",
                output::dim(title),
                count - MAX_SHOWN
            )
        }
        _ => say!("{}  {shown}", output::dim(title)),
    }
}
