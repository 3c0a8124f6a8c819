//! `gatekey ledger`: lists, verifies and exports the record of changes and refusals.

use std::{
    collections::VecDeque,
    io::{BufWriter, Write, stdout},
};

use gatekey_core::{
    Env,
    id::Hex,
    ledger::{LedgerEntry, PAGE},
    operations::LedgerPage,
};
use gatekey_server::control::{ReadLedger, VerifyLedger};
use serde_json::{Value, json};

use crate::{
    administration::Administration,
    args::{Format, Ledger},
    atomic_file::NewFile,
    clock,
    logging::{self, LogFormat},
    output::{self, Notation},
};

pub(crate) async fn run(arguments: Ledger) -> anyhow::Result<()> {
    let _logging = logging::start(LogFormat::Auto, "warn");
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
            writeln!(out, "{}", as_json(entry))?;
        }
    }
    out.flush()?;
    Ok(())
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
                writeln!(out, "{}", as_json(entry))?;
            }
            out.flush()?;
            return Ok(());
        }
        Some(Notation::Yaml) => {
            return Notation::Yaml.print(&entries.iter().map(as_json).collect::<Value>());
        }
        None => {}
    }
    let rows = entries.iter().map(|entry| {
        let of = &entry.entry;
        let address = if of.peer.is_empty() { "this machine" } else { &of.peer };
        let cells = [
            &*of.actor,
            &of.action,
            &of.target,
            outcome(entry),
            &of.detail,
            address,
            &of.user_agent,
        ];
        let at = output::date(Some(clock::system_time(of.at)), "");
        [entry.sequence.to_string(), at].into_iter().chain(cells.map(output::printable)).collect()
    });
    let header =
        ["#", "TIME", "ACTOR", "ACTION", "TARGET", "OUTCOME", "DETAIL", "ADDRESS", "CLIENT"];
    say!("{}", output::table(&header, rows))?;
    Ok(())
}
