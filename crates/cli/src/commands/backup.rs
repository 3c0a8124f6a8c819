//! `gatekey backup`.

use std::{fs, path::Path};

use anyhow::Context as _;
use gatekey_core::{Timestamp, operations::backup::Passphrase};
use serde_json::json;
use tracing::level_filters::LevelFilter;

use crate::{
    administration::Administration,
    args::{self, Format},
    atomic_file::NewFile,
    clock, exit, logging, output,
    trusted::{self, Kind, Refusal},
};

/// Writes a backup, taken by the server if one runs on the data directory.
pub(crate) async fn run(arguments: args::Backup) -> anyhow::Result<()> {
    let _logging = logging::start_plain(LevelFilter::WARN);
    let args::Backup { file, passphrase_file, data_dir, root_key, output } = arguments;
    let passphrase = passphrase(passphrase_file.as_deref())?;
    let settings = root_key.read_and_warn()?;
    // First, because taking the backup adds an entry to the ledger.
    let mut written = NewFile::create(&file)?;
    let administration =
        Administration::open_existing(&data_dir.path(), settings, "gatekey backup").await?;
    let sealed = passphrase.is_some();
    let created_at = administration.back_up(passphrase, &mut written).await?;
    written.finish()?;
    let length = fs::metadata(&file)?.len();
    let written = Written { file: &file, length, created_at, sealed };
    written
        .print(output.output)
        .with_context(|| format!("the backup {} is complete", file.display()))
}

struct Written<'a> {
    file: &'a Path,
    length: u64,
    created_at: Timestamp,
    /// Whether restoring needs the passphrase.
    sealed: bool,
}

impl Written<'_> {
    fn print(&self, format: Format) -> anyhow::Result<()> {
        let Self { file, length, created_at, sealed } = *self;
        let created_at = clock::rfc_3339(created_at);
        if let Some(notation) = format.notation() {
            return notation.print(
            &json!({ "file": file, "bytes": length, "created_at": created_at, "passphrase": sealed }),
        );
        }
        say!(
            "{} {} contains all changes up to {created_at} ({length} bytes)",
            output::done_mark(),
            file.display()
        )?;
        say!(
            "{}",
            if sealed {
                "Only this server's root key and the passphrase together decrypt it: keep copies of both elsewhere."
            } else {
                "Only this server's root key decrypts it: keep a copy of the key elsewhere."
            }
        )?;
        Ok(())
    }
}

/// Reads a passphrase from a file, without the final line break.
pub(super) fn passphrase(file: Option<&Path>) -> anyhow::Result<Option<Passphrase>> {
    let Some(file) = file else { return Ok(None) };
    let shown = file.display();
    let refuse = |refusal: Refusal| exit::usage(refusal.to_string());
    let (bytes, exposure) = trusted::read(file, Kind::Passphrase).map_err(refuse)?;
    if let Some(exposure) = exposure {
        exposure.log();
    }
    let text = str::from_utf8(&bytes)
        .map_err(|_| exit::usage(format!("the passphrase file {shown} is not UTF-8")))?;
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        return Err(exit::usage(format!("the passphrase file {shown} is empty")));
    }
    Ok(Some(Passphrase::new(line.to_owned())))
}
