//! `gatekey ledger archive`: moves entries to a file.

use std::{
    fs::{self, File},
    io::{BufReader, BufWriter, Write as _},
    path::Path,
};

use anyhow::{Context as _, bail};
use gatekey_core::{
    Env,
    ledger::{ArchiveHeader, ArchiveReader, ContentDigest, PAGE},
    operations::{ArchiveLimit, LedgerClosed, LedgerPage},
};
use gatekey_server::{
    config::Settings,
    control::{CloseLedger, PrepareArchive, ReadLedger},
};
use serde_json::json;

use crate::{
    administration::Administration,
    args::{Format, TimeOrAge},
    atomic_file::{self, NewFile},
    clock,
    data_dir::DataDirPath,
    output,
};

/// The limit that the flags name; one of them is present.
pub(super) fn limit(before: Option<TimeOrAge>, through: Option<i64>) -> ArchiveLimit {
    let before = before.map(|before| ArchiveLimit::Before(before.from(Env::system().now())));
    let through = through.map(ArchiveLimit::Through);
    through.or(before).expect("clap requires --before or --through")
}

/// Writes an archive, and deletes its entries from the ledger once it is durable.
pub(super) async fn run(
    file: &Path,
    limit: ArchiveLimit,
    data_dir: &DataDirPath,
    settings: Settings,
    format: Format,
) -> anyhow::Result<()> {
    let complete =
        if file.symlink_metadata().is_ok() { Some(complete(file, limit)?) } else { None };
    // First, so that a file that cannot be written is refused before anything else.
    let new = if complete.is_none() { Some(NewFile::create(file)?) } else { None };
    let administration =
        Administration::open_existing(data_dir, settings, "gatekey ledger archive").await?;
    let resumed = complete.is_some();
    let header = match (complete, new) {
        (Some(header), _) => header,
        (None, Some(new)) => write(&administration, limit, new).await?,
        (None, None) => bail!("no file to write"),
    };
    let shown = file.display();
    let close = administration.execute(CloseLedger { header: header.clone() }).await;
    let closed = close.with_context(|| {
        format!(
            "{shown} is complete, but its entries were not deleted from the ledger; run the same command again"
        )
    })?;
    if resumed && closed == LedgerClosed::Already {
        return Err(atomic_file::already_exists(file));
    }
    print(file, &header, resumed, format)
}

/// Reads an archive that an interrupted run left: complete, with entries that may still be in the
/// ledger. The process that has the ledger verifies its header.
fn complete(file: &Path, limit: ArchiveLimit) -> anyhow::Result<ArchiveHeader> {
    let refused = || atomic_file::already_exists(file);
    let opened = File::open(file).map_err(|_| refused())?;
    let header = ArchiveReader::new(BufReader::new(&opened))
        .and_then(ArchiveReader::check_content)
        .map_err(|_| refused())?;
    if matches!(limit, ArchiveLimit::Through(last) if last != header.range.last()) {
        return Err(refused());
    }
    // The run may have been interrupted before the file was durable.
    atomic_file::sync(file, &opened)
        .with_context(|| format!("cannot write {} to the disk", file.display()))?;
    Ok(header)
}

/// Writes the archive, and returns once it is durable.
async fn write(
    administration: &Administration,
    limit: ArchiveLimit,
    mut file: NewFile,
) -> anyhow::Result<ArchiveHeader> {
    let header = administration.execute(PrepareArchive { limit }).await?;
    let mut out = BufWriter::new(&mut file);
    out.write_all(header.lines().as_bytes())?;
    let mut content = ContentDigest::default();
    let mut after = header.range.base.sequence();
    while after < header.range.last() {
        let left = usize::try_from(header.range.last() - after).unwrap_or(PAGE);
        let limit = left.min(PAGE);
        let LedgerPage { entries, .. } =
            administration.execute(ReadLedger { after, limit }).await?;
        let Some(last) = entries.last() else { break };
        after = last.sequence;
        out.write_all(content.write(&entries).as_bytes())?;
    }
    out.flush()?;
    drop(out);
    if !header.is_of(content) {
        bail!("the ledger was changed while it was archived; nothing was archived: try again");
    }
    file.finish()?;
    Ok(header)
}

fn print(file: &Path, header: &ArchiveHeader, resumed: bool, format: Format) -> anyhow::Result<()> {
    let (first, last, head) = (header.range.first(), header.range.last(), header.range.end.head);
    if let Some(notation) = format.notation() {
        return notation.print(&json!({
            "file": file,
            "bytes": fs::metadata(file)?.len(),
            "created_at": clock::rfc_3339(header.created_at),
            "first": first,
            "last": last,
            "head": head.to_string(),
            "resumed": resumed,
        }));
    }
    let shown = file.display();
    let already = if resumed { " since an earlier run" } else { "" };
    say!("{} {shown} contains entries {first} to {last}{already}", output::done_mark())?;
    say!("{}  {head}", output::dim("head"))?;
    say!("The ledger now begins after them. Keep the file: nothing else has these entries.")?;
    let file = output::shell_quoted(&shown.to_string());
    say!("Verify it with `gatekey ledger verify {file}`, which needs the root key.")?;
    Ok(())
}
