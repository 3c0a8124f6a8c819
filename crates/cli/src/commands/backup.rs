//! `gatekey backup`.

use std::{fs, path::Path};

use gatekey_core::operations::backup::Passphrase;
use serde_json::json;
use zeroize::Zeroizing;

use crate::{
    administration::Administration,
    args::{self, LogFormat},
    clock,
    data_dir::NewFile,
    exit, logging, output,
};

/// Writes a backup, taken by the server when one runs on the data directory, else by itself.
pub(crate) async fn run(arguments: args::Backup) -> anyhow::Result<()> {
    let _logging = logging::start(LogFormat::Auto, "warn");
    let args::Backup { file, passphrase_file, data_dir, root_key, output } = arguments;
    let passphrase = passphrase(passphrase_file.as_deref())?;
    let settings = super::settings_of(root_key)?;
    // Before anything is entered into the ledger.
    let mut written = NewFile::create(&file)?;
    let administration = Administration::of_existing(&data_dir.data_dir, settings, "gatekey backup").await?;
    let sealed = passphrase.is_some();
    let created_at = administration.back_up(passphrase, &mut written).await?;
    written.finish()?;
    let length = fs::metadata(&file)?.len();
    let created_at = clock::rfc_3339(created_at);
    if let Some(notation) = output.output.notation() {
        return notation.print(
            &json!({ "file": file, "bytes": length, "created_at": created_at, "passphrase": sealed }),
        );
    }
    say!("{} {} has everything until {created_at}, {length} bytes", output::done_mark(), file.display())?;
    let also = if sealed { " and the passphrase" } else { "" };
    say!("It opens with this server's root key{also} alone: keep them apart from it, and keep them.")?;
    Ok(())
}

/// The passphrase in a file; a line's end behind it is no part of it.
pub(super) fn passphrase(file: Option<&Path>) -> anyhow::Result<Option<Passphrase>> {
    let Some(file) = file else { return Ok(None) };
    let shown = file.display();
    let text = fs::read_to_string(file)
        .map_err(|error| exit::usage(format!("the passphrase file {shown} cannot be read: {error}")))?;
    let text = Zeroizing::new(text);
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        return Err(exit::usage(format!("the passphrase file {shown} is empty")));
    }
    Ok(Some(Passphrase::new(line.to_owned())))
}
