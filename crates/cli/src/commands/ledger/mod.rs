//! `gatekey ledger`: lists, verifies, exports and archives the record of changes and refusals.

mod archive;
mod verify;

use std::{
    collections::VecDeque,
    io::{BufWriter, Write},
    mem,
    path::Path,
    time::Duration,
};

use gatekey_core::{
    Env, Timestamp,
    ledger::{EntryLine, LedgerEntry, PAGE},
    operations::LedgerPage,
};
use gatekey_server::control::ReadLedger;
use gatekey_store::Inspection;
use serde_json::Value;
use tracing::level_filters::LevelFilter;

use crate::{
    administration::{self, Administration},
    args::{Format, Ledger},
    atomic_file::NewFile,
    clock,
    exit::{Coded, UNSOUND},
    logging,
    output::{self, Notation},
};

pub(crate) async fn run(arguments: Ledger) -> anyhow::Result<()> {
    let _logging = logging::start_plain(LevelFilter::WARN);
    match arguments {
        Ledger::List { limit, key, since, data_dir, root_key, output } => {
            let settings = root_key.read_and_warn()?;
            let administration =
                Administration::open_existing(&data_dir.path(), settings, "gatekey ledger list")
                    .await?;
            let since = since.map(|since| Env::system().now().before(since));
            let wanted = |entry: &LedgerEntry| {
                since.is_none_or(|since| since <= entry.entry.at)
                    && key.as_deref().is_none_or(|key| is_about(entry, key))
            };
            let all = since.is_none() && key.is_none();
            let Newest { entries, base, begins_at } =
                newest(&administration, limit, all, wanted).await?;
            // Not if the period begins within the ledger.
            let is_within = since.is_some_and(|since| begins_at.is_some_and(|at| at < since));
            if entries.len() < limit && !is_within {
                note_archived(1, base);
            }
            print(&entries, output.output)
        }
        Ledger::Follow { after, key, data_dir, output } => {
            let database = administration::must_exist(&data_dir.path())?;
            let wanted =
                |entry: &LedgerEntry| key.as_deref().is_none_or(|key| is_about(entry, key));
            follow(&database, after, wanted, output.output).await
        }
        Ledger::Verify { archives, archives_only, known_head, data_dir, root_key, output } => {
            let arguments = verify::Arguments { archives, archives_only, known_head };
            verify::run(arguments, &data_dir.path(), root_key.read_and_warn()?, output.output).await
        }
        Ledger::Archive { file, before, through, data_dir, root_key, output } => {
            let settings = root_key.read_and_warn()?;
            let limit = archive::limit(before, through);
            archive::run(&file, limit, &data_dir.path(), settings, output.output).await
        }
        Ledger::Export { file, after, data_dir, root_key } => {
            let settings = root_key.read_and_warn()?;
            let administration =
                Administration::open_existing(&data_dir.path(), settings, "gatekey ledger export")
                    .await?;
            match file {
                Some(path) if path != Path::new("-") => {
                    let mut file = NewFile::create(&path)?;
                    export(&administration, after, &mut BufWriter::new(&mut file)).await?;
                    file.finish()
                }
                Some(_) | None => {
                    export(&administration, after, &mut BufWriter::new(output::stdout())).await
                }
            }
        }
    }
}

/// The result of [`newest`].
struct Newest {
    entries: VecDeque<LedgerEntry>,
    /// The sequence number of the last archived entry.
    base: i64,
    /// The time of the first entry that was read.
    begins_at: Option<Timestamp>,
}

/// Returns the newest wanted entries in their order. Reads the ledger from its beginning unless
/// `all` entries are wanted.
async fn newest(
    administration: &Administration,
    limit: usize,
    all: bool,
    wanted: impl Fn(&LedgerEntry) -> bool,
) -> anyhow::Result<Newest> {
    let mut after = 0;
    if all {
        let page = administration.execute(ReadLedger { after: 0, limit: 0 }).await?;
        after = page.last.saturating_sub_unsigned(limit as u64).max(0);
    }
    let mut newest = VecDeque::new();
    let mut begins_at = None;
    loop {
        let LedgerPage { entries, base, .. } =
            administration.execute(ReadLedger { after, limit: PAGE }).await?;
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return Ok(Newest { entries: newest, base: base.sequence, begins_at });
        };
        begins_at = begins_at.or(Some(first.entry.at));
        after = last.sequence;
        newest.extend(entries.into_iter().filter(&wanted));
        newest.drain(..newest.len().saturating_sub(limit));
    }
}

/// Notes on standard error that entries from `first` on are in archives, up to `last`.
fn note_archived(first: i64, last: i64) {
    let word = output::note_word();
    match last - first {
        ..0 => {}
        0 => output::note(&format!("{word} entry {first} was archived")),
        _ => output::note(&format!("{word} entries {first} to {last} were archived")),
    }
}

async fn export(
    administration: &Administration,
    mut after: i64,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    after = after.max(0);
    loop {
        let LedgerPage { entries, base, .. } =
            administration.execute(ReadLedger { after, limit: PAGE }).await?;
        let Some(last) = entries.last() else { break };
        note_archived(after + 1, base.sequence);
        after = last.sequence;
        for entry in &entries {
            writeln!(out, "{}", output::json_line(&as_json(entry)))?;
        }
    }
    out.flush()?;
    Ok(())
}

/// How often the database is read for new entries.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Entries to begin with.
const RECENT: i64 = 10;

/// Prints entries as they are added.
///
/// Reads the database itself, and opens it each time: neither a running server nor one that starts
/// meanwhile is disturbed.
async fn follow(
    database: &Path,
    after: Option<i64>,
    wanted: impl Fn(&LedgerEntry) -> bool,
    format: Format,
) -> anyhow::Result<()> {
    let inspection = Inspection::open(database)?;
    let (newest, base) = (inspection.last_ledger_sequence()?, inspection.ledger_base()?.sequence());
    drop(inspection);
    let sequence = after.unwrap_or_else(|| base.max(newest - RECENT)).max(0);
    let mut last = Last { sequence, link: None };
    let mut failing = false;
    loop {
        match last.read(database) {
            Ok(entries) => {
                failing = false;
                let is_page = entries.len() >= PAGE;
                for entry in entries {
                    let entry = last.follow(entry)?;
                    if let Some(entry) = entry.filter(&wanted) {
                        print_line(&entry, format)?;
                    }
                }
                output::stdout().flush()?;
                if is_page {
                    continue;
                }
            }
            // While a server starts or stops, the files change under the reader.
            Err(error) if !mem::replace(&mut failing, true) => {
                tracing::warn!(%error, "cannot read the database; retrying");
            }
            Err(_) => {}
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// The last entry that was printed or skipped.
struct Last {
    sequence: i64,
    link: Option<[u8; 32]>,
}

impl Last {
    /// Reads the last entry again, and the entries after it.
    fn read(&self, database: &Path) -> anyhow::Result<Vec<LedgerEntry>> {
        let after = if self.link.is_some() { self.sequence - 1 } else { self.sequence };
        Ok(Inspection::open(database)?.ledger_entries(after, PAGE + 1)?)
    }

    /// Returns an entry unless it is the last one again.
    ///
    /// # Errors
    /// If it is another entry with the same number.
    fn follow(&mut self, entry: LedgerEntry) -> anyhow::Result<Option<LedgerEntry>> {
        if self.link.is_some() && entry.sequence == self.sequence {
            if self.link == Some(entry.link) {
                return Ok(None);
            }
            let message = format!(
                "entry {} of the ledger is not the one that was printed: the ledger was replaced",
                self.sequence
            );
            return Err(Coded { code: UNSOUND, message }.into());
        }
        // The ledger has no gaps, except before its beginning.
        note_archived(self.sequence + 1, entry.sequence - 1);
        *self = Self { sequence: entry.sequence, link: Some(entry.link) };
        Ok(Some(entry))
    }
}

/// Prints one entry.
fn print_line(entry: &LedgerEntry, format: Format) -> anyhow::Result<()> {
    match format.notation() {
        Some(Notation::Json) => Ok(say!("{}", output::json_line(&as_json(entry)))?),
        // Consecutive lists of one element are one list.
        Some(Notation::Yaml) => Notation::Yaml.print(&[as_json(entry)]),
        None => Ok(say!("{}", cells(entry).join("  "))?),
    }
}

/// Whether the key is the entry's actor or target.
fn is_about(entry: &LedgerEntry, client_id: &str) -> bool {
    let by_key = entry.entry.actor.strip_prefix("key:").and_then(|key| key.split_once('/'));
    entry.entry.target == client_id || by_key.is_some_and(|(actor, _)| actor == client_id)
}

fn outcome(entry: &LedgerEntry) -> &'static str {
    if entry.entry.is_refusal() { "refused" } else { "done" }
}

/// Returns an entry as it is stored; only `outcome` is derived. `core::ledger` documents the link.
fn as_json(entry: &LedgerEntry) -> Value {
    serde_json::to_value(EntryLine::of(entry)).expect("an entry is JSON")
}

fn print(entries: &VecDeque<LedgerEntry>, format: Format) -> anyhow::Result<()> {
    match format.notation() {
        Some(Notation::Json) => {
            let mut out = BufWriter::new(output::stdout());
            for entry in entries {
                writeln!(out, "{}", output::json_line(&as_json(entry)))?;
            }
            out.flush()?;
            return Ok(());
        }
        Some(Notation::Yaml) => {
            return Notation::Yaml.print(&entries.iter().map(as_json).collect::<Value>());
        }
        None => {}
    }
    let rows = entries.iter().map(|entry| cells(entry).into());
    let header =
        ["#", "TIME", "ACTOR", "ACTION", "TARGET", "OUTCOME", "DETAIL", "ADDRESS", "CLIENT"];
    say!("{}", output::table(&header, rows))?;
    Ok(())
}

/// An entry as a row of a table.
fn cells(entry: &LedgerEntry) -> [String; 9] {
    let of = &entry.entry;
    let address = if of.peer.is_empty() { "this machine" } else { &of.peer };
    let at = output::date(Some(clock::system_time(of.at)), "");
    // The ids of the actor's key and secret are in JSON and YAML.
    let actor = of.actor.split_once('/').map_or(&*of.actor, |(actor, _)| actor);
    let [actor, action, target, outcome, detail, address, client] =
        [actor, &of.action, &of.target, outcome(entry), &of.detail, address, &of.user_agent]
            .map(|text| output::printable(text).into_owned());
    [entry.sequence.to_string(), at, actor, action, target, outcome, detail, address, client]
}
