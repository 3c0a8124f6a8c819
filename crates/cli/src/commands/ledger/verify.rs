//! `gatekey ledger verify`: verifies the ledger, and its archives.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
};

use gatekey_core::{
    RootKey,
    ledger::{ArchiveError, ArchiveReader, ArchivedRange, LedgerHead, LedgerKeys},
    operations::{LedgerPage, VerifiedLedger},
};
use gatekey_server::{
    config::Settings,
    control::{ReadLedger, VerifyLedger},
};
use gatekey_store::Inspection;
use serde_json::{Value, json};

use crate::{
    administration::{self, Administration},
    args::Format,
    data_dir::{self, DataDirPath, Inspected},
    exit::{self, Coded},
    output, process,
    root_key_file::{self, RootKeyPath},
};

pub(super) struct Arguments {
    pub(super) archives: Vec<PathBuf>,
    pub(super) archives_only: bool,
    pub(super) known_head: Option<LedgerHead>,
}

pub(super) async fn run(
    arguments: Arguments,
    data_dir: &DataDirPath,
    settings: Settings,
    format: Format,
) -> anyhow::Result<()> {
    let Arguments { archives, archives_only, mut known_head } = arguments;
    let archives = if archives.is_empty() {
        None
    } else {
        let opened = archives.into_iter().map(open).collect::<anyhow::Result<Vec<_>>>()?;
        let root_key = root_key(data_dir, &settings)?;
        if !archives_only {
            let database = administration::must_exist(data_dir)?;
            // Decrypts the ledger keys of versions that are retired.
            Inspection::open(&database)?.settle(&root_key)?;
        }
        Some(Archives::verify(opened, &root_key.ledger_keys(), known_head)?)
    };
    if let (Some(archives), Some(known)) = (&archives, known_head)
        && archives.contain(known)?
    {
        known_head = None;
    }
    let live = if archives_only {
        if let (Some(known), Some(archives)) = (known_head, &archives) {
            let (known, last) = (known.sequence, archives.head.sequence);
            return Err(unsound(format!(
                "the archives end at entry {last}, before the known head {known}: verify them with the ledger"
            )));
        }
        None
    } else {
        let administration =
            Administration::open_existing(data_dir, settings, "gatekey ledger verify").await?;
        Some(verify_ledger(&administration, archives.as_ref(), known_head).await?)
    };
    print(archives.as_ref(), live.as_ref(), format)
}

/// Verifies the ledger, and that it continues where the archives end.
async fn verify_ledger(
    administration: &Administration,
    archives: Option<&Archives>,
    known_head: Option<LedgerHead>,
) -> anyhow::Result<VerifiedLedger> {
    if let Some(archives) = archives {
        let LedgerPage { base, .. } =
            administration.execute(ReadLedger { after: 0, limit: 0 }).await?;
        let end = archives.head.sequence;
        if end < base.sequence {
            let first = end + 1;
            return Err(missing(first, base.sequence, "between the archives and the ledger"));
        }
    }
    let known = known_head.into_iter().chain(archives.map(|archives| archives.head)).collect();
    administration.execute(VerifyLedger { known }).await
}

/// Opens the root key, also while a server uses it.
fn root_key(data_dir: &DataDirPath, settings: &Settings) -> anyhow::Result<RootKey> {
    let named = settings.root_key_file();
    let (directory, own) = match data_dir::inspect(data_dir) {
        Ok(Inspected { path, own, .. }) => (path, own),
        // Archives can be verified without a data directory.
        Err(error) if named.is_some() || exit::code(&error) == exit::USAGE => {
            (data_dir.path().to_owned(), process::own_uid())
        }
        Err(error) => return Err(error),
    };
    let file = RootKeyPath::new(named, &directory);
    let Some((root_key, exposure)) = root_key_file::inspect(&file, own)? else {
        let shown = file.path().display();
        return Err(exit::usage(format!(
            "archives need the root key, and {shown} is missing; name it with --root-key-file"
        )));
    };
    if let Some(exposure) = exposure {
        exposure.log();
    }
    Ok(root_key)
}

type Opened = (PathBuf, ArchiveReader<BufReader<File>>);

fn open(path: PathBuf) -> anyhow::Result<Opened> {
    let file = File::open(&path).map_err(|error| {
        exit::usage(format!("cannot read the archive {}: {error}", path.display()))
    })?;
    let reader =
        ArchiveReader::new(BufReader::new(file)).map_err(|error| refused(&path, &error))?;
    Ok((path, reader))
}

fn refused(path: &Path, error: &ArchiveError) -> anyhow::Error {
    let code = match error {
        _ if error.is_damage() => exit::UNSOUND,
        ArchiveError::MissingRootKey(_) | ArchiveError::AnotherRootKey => exit::USAGE,
        _ => exit::FAILURE,
    };
    Coded { code, message: format!("{}: {error}", path.display()) }.into()
}

fn unsound(message: String) -> anyhow::Error {
    Coded { code: exit::UNSOUND, message }.into()
}

fn missing(first: i64, last: i64, place: &str) -> anyhow::Error {
    let entries = if first == last {
        format!("entry {first} is")
    } else {
        format!("entries {first} to {last} are")
    };
    unsound(format!("{entries} missing {place}; name the archive that contains them"))
}

/// Archives that were verified, and that continue each other.
struct Archives {
    /// In the order of their entries.
    ranges: Vec<(PathBuf, ArchivedRange)>,
    /// The last entry.
    head: LedgerHead,
    /// The links where an archive begins, and of the known head.
    links: BTreeMap<i64, [u8; 32]>,
}

impl Archives {
    fn verify(
        mut opened: Vec<Opened>,
        keys: &LedgerKeys,
        known_head: Option<LedgerHead>,
    ) -> anyhow::Result<Self> {
        opened.sort_by_key(|(_, reader)| {
            (reader.header().range.first(), reader.header().range.last())
        });
        let begins = opened.iter().map(|(_, reader)| reader.header().range.base.sequence());
        let wanted: BTreeSet<_> = begins.chain(known_head.map(|known| known.sequence)).collect();
        let mut verified =
            Self { ranges: Vec::new(), head: LedgerHead::EMPTY, links: BTreeMap::new() };
        for (path, reader) in opened {
            let base = reader.header().range.base.head;
            let mut links = vec![base];
            let header = reader
                .verify(keys, |head| {
                    if wanted.contains(&head.sequence) {
                        links.push(head);
                    }
                })
                .map_err(|error| refused(&path, &error))?;
            let before = verified.head;
            if !verified.ranges.is_empty() && base.sequence > before.sequence {
                let place = format!("before {}", path.display());
                return Err(missing(before.sequence + 1, base.sequence, &place));
            }
            links.push(header.range.end.head);
            verified.add(&path, &links)?;
            if header.range.last() > before.sequence {
                verified.head = header.range.end.head;
            }
            verified.ranges.push((path, header.range));
        }
        Ok(verified)
    }

    fn add(&mut self, path: &Path, links: &[LedgerHead]) -> anyhow::Result<()> {
        for LedgerHead { sequence, link } in links {
            if self.links.insert(*sequence, *link).is_some_and(|other| other != *link) {
                return Err(unsound(format!(
                    "entry {sequence} in {} is another one than in the other archives: they are of different ledgers",
                    path.display()
                )));
            }
        }
        Ok(())
    }

    /// Whether a head is in the archives.
    ///
    /// # Errors
    /// If another entry has its number, or it is from before the archives.
    fn contain(&self, known: LedgerHead) -> anyhow::Result<bool> {
        let sequence = known.sequence;
        match self.links.get(&sequence) {
            Some(link) if *link == known.link => Ok(true),
            Some(_) => Err(unsound(format!(
                "entry {sequence} of the archives does not match the known head: the ledger was replaced"
            ))),
            None if sequence > self.head.sequence => Ok(false),
            // Every ledger contains the empty head.
            None if sequence == 0 => Ok(true),
            None => Err(unsound(format!(
                "entry {sequence} of the known head is from before the archives; name the archive that contains it"
            ))),
        }
    }
}

fn print(
    archives: Option<&Archives>,
    live: Option<&VerifiedLedger>,
    format: Format,
) -> anyhow::Result<()> {
    let named = archives.map(|archives| archives.ranges.as_slice()).unwrap_or_default();
    let head = live.map(|live| live.head).or(archives.map(|archives| archives.head));
    let head = head.unwrap_or(LedgerHead::EMPTY);
    if let Some(notation) = format.notation() {
        let archives: Value = named
            .iter()
            .map(|(file, range)| json!({ "file": file, "first": range.first(), "last": range.last() }))
            .collect();
        return notation.print(&json!({
            "entries": live.map(VerifiedLedger::entries),
            "archived": live.map(|live| live.base.sequence),
            "archives": archives,
            "head": head.to_string(),
        }));
    }
    for (file, range) in named {
        let (file, first, last) = (file.display(), range.first(), range.last());
        say!("{} {file} intact, entries {first} to {last}", output::done_mark())?;
    }
    if let Some(live) = live {
        let archived = match live.base.sequence {
            0 => String::new(),
            archived if named.is_empty() => {
                format!(" after {archived} archived; name their archives to verify them too")
            }
            archived => format!(" after {archived} archived"),
        };
        say!("{} chain intact, {} entries{archived}", output::done_mark(), live.entries())?;
    }
    if let Some((_, first)) = named.first()
        && first.first() > 1
    {
        let last = first.first() - 1;
        output::note(&format!(
            "{} entries 1 to {last} are in archives that were not named",
            output::note_word()
        ));
    }
    say!("{}  {head}", output::dim("head"))?;
    Ok(())
}
