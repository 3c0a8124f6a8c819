//! `gatekey ledger`: lists, verifies and exports the record of changes and refusals.

use std::{
    collections::VecDeque,
    io::{BufWriter, Write, stdout},
    mem,
    path::Path,
    time::Duration,
};

use gatekey_core::{
    Env,
    id::Hex,
    ledger::{LedgerEntry, PAGE},
    operations::LedgerPage,
};
use gatekey_server::control::{ReadLedger, VerifyLedger};
use gatekey_store::Inspection;
use serde_json::{Value, json};
use tracing::level_filters::LevelFilter;

use crate::{
    administration::{self, Administration},
    args::{Format, Ledger},
    atomic_file::NewFile,
    clock, data_dir,
    exit::{Coded, UNSOUND},
    logging::{self, LogFormat},
    output::{self, Notation},
};

pub(crate) async fn run(arguments: Ledger) -> anyhow::Result<()> {
    let _logging = logging::start(LogFormat::Auto, LevelFilter::WARN);
    match arguments {
        Ledger::List { limit, key, since, data_dir, root_key, output } => {
            let settings = root_key.read_and_warn()?;
            let administration =
                Administration::open_existing(&data_dir.data_dir, settings, "gatekey ledger list")
                    .await?;
            let since = since.map(|since| Env::system().now().before(since));
            let wanted = |entry: &LedgerEntry| {
                since.is_none_or(|since| since <= entry.entry.at)
                    && key.as_deref().is_none_or(|key| is_about(entry, key))
            };
            let all = since.is_none() && key.is_none();
            let entries = newest(&administration, limit, all, wanted).await?;
            print(&entries, output.output)
        }
        Ledger::Follow { after, key, data_dir, output } => {
            administration::must_exist(&data_dir.data_dir)?;
            let database = data_dir.data_dir.join(data_dir::DATABASE);
            let wanted =
                |entry: &LedgerEntry| key.as_deref().is_none_or(|key| is_about(entry, key));
            follow(&database, after, wanted, output.output).await
        }
        Ledger::Verify { known_head, data_dir, root_key, output } => {
            let settings = root_key.read_and_warn()?;
            let administration = Administration::open_existing(
                &data_dir.data_dir,
                settings,
                "gatekey ledger verify",
            )
            .await?;
            let head = administration.execute(VerifyLedger { known: known_head }).await?;
            if let Some(notation) = output.output.notation() {
                return notation
                    .print(&json!({ "entries": head.sequence, "head": head.to_string() }));
            }
            say!("{} chain intact, {} entries", output::done_mark(), head.sequence)?;
            say!("{}  {head}", output::dim("head"))?;
            Ok(())
        }
        Ledger::Export { file, after, data_dir, root_key } => {
            let settings = root_key.read_and_warn()?;
            let administration = Administration::open_existing(
                &data_dir.data_dir,
                settings,
                "gatekey ledger export",
            )
            .await?;
            match file {
                None => export(&administration, after, &mut BufWriter::new(stdout().lock())).await,
                Some(path) => {
                    let mut file = NewFile::create(&path)?;
                    export(&administration, after, &mut BufWriter::new(&mut file)).await?;
                    file.finish()
                }
            }
        }
    }
}

/// Returns the newest wanted entries in their order. Reads the ledger from its beginning unless
/// `all` entries are wanted.
async fn newest(
    administration: &Administration,
    limit: usize,
    all: bool,
    wanted: impl Fn(&LedgerEntry) -> bool,
) -> anyhow::Result<VecDeque<LedgerEntry>> {
    let mut after = 0;
    if all {
        let page = administration.execute(ReadLedger { after: 0, limit: 0 }).await?;
        after = page.last.saturating_sub_unsigned(limit as u64).max(0);
    }
    let mut newest = VecDeque::new();
    loop {
        let LedgerPage { entries, .. } =
            administration.execute(ReadLedger { after, limit: PAGE }).await?;
        let Some(last) = entries.last() else { return Ok(newest) };
        after = last.sequence;
        newest.extend(entries.into_iter().filter(&wanted));
        newest.drain(..newest.len().saturating_sub(limit));
    }
}

async fn export(
    administration: &Administration,
    mut after: i64,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    loop {
        let LedgerPage { entries, .. } =
            administration.execute(ReadLedger { after, limit: PAGE }).await?;
        let Some(last) = entries.last() else { break };
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
    let newest = Inspection::open(database)?.last_ledger_sequence()?;
    let sequence = after.unwrap_or(newest - RECENT).max(0);
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
                stdout().flush()?;
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
    let LedgerEntry { sequence, entry: of, root_key_version, state, link } = entry;
    json!({
        "sequence": sequence,
        "at": clock::rfc_3339(of.at),
        "actor": of.actor,
        "action": of.action,
        "target": of.target,
        "outcome": outcome(entry),
        "detail": of.detail,
        "request_id": of.request_id,
        "address": of.peer,
        "client": of.user_agent,
        "root_key_version": root_key_version,
        "state": state.map(|state| Hex(&state).to_string()),
        "link": Hex(link).to_string(),
    })
}

fn print(entries: &VecDeque<LedgerEntry>, format: Format) -> anyhow::Result<()> {
    match format.notation() {
        Some(Notation::Json) => {
            let mut out = BufWriter::new(stdout().lock());
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
