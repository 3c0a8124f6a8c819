//! `gatekey ledger`: who did what to which key, when, from where, and with which client.

use std::{
    collections::VecDeque,
    io::{BufWriter, Write, stdout},
};

use gatekey_core::{
    Env,
    id::Hex,
    ledger::{LedgerEntry, PAGE},
};
use gatekey_server::control::{Request, Response};
use serde_json::{Value, json};

use crate::{
    administration::{Administration, misunderstood},
    args::{Format, Ledger, LogFormat},
    clock,
    data_dir::NewFile,
    logging,
    output::{self, Notation},
};

/// Shows, verifies or writes out a ledger.
pub(crate) async fn run(arguments: Ledger) -> anyhow::Result<()> {
    let _logging = logging::start(LogFormat::Auto, "warn");
    match arguments {
        Ledger::List { limit, key, since, data_dir, root_key, output } => {
            let settings = super::settings_of(root_key)?;
            let administration =
                Administration::of_existing(&data_dir.data_dir, settings, "gatekey ledger list").await?;
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
            let settings = super::settings_of(root_key)?;
            let administration =
                Administration::of_existing(&data_dir.data_dir, settings, "gatekey ledger verify").await?;
            let request = Request::VerifyLedger { known: known_head };
            let Response::LedgerVerified { head } = administration.carry_out(request).await? else {
                return Err(misunderstood());
            };
            if let Some(notation) = output.output.notation() {
                return notation.print(&json!({ "entries": head.sequence, "head": head.to_string() }));
            }
            say!("{} {} entries follow one from the other", output::done_mark(), head.sequence)?;
            say!("{}  {head}", output::dim("head"))?;
            Ok(())
        }
        Ledger::Export { file, after, data_dir, root_key } => {
            let settings = super::settings_of(root_key)?;
            let administration =
                Administration::of_existing(&data_dir.data_dir, settings, "gatekey ledger export").await?;
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

/// The newest entries that are wanted, in their order. Unless `all` are, the ledger is read from its beginning.
async fn newest(
    administration: &Administration,
    limit: usize,
    all: bool,
    wanted: impl Fn(&LedgerEntry) -> bool,
) -> anyhow::Result<VecDeque<LedgerEntry>> {
    let mut after = 0;
    if all {
        let (_, last) = page(administration, 0, 0).await?;
        after = last.saturating_sub_unsigned(limit as u64).max(0);
    }
    let mut newest = VecDeque::new();
    loop {
        let (entries, _) = page(administration, after, PAGE).await?;
        let Some(last) = entries.last() else { return Ok(newest) };
        after = last.sequence;
        newest.extend(entries.into_iter().filter(&wanted));
        newest.drain(..newest.len().saturating_sub(limit));
    }
}

async fn export(administration: &Administration, mut after: i64, out: &mut impl Write) -> anyhow::Result<()> {
    loop {
        let (entries, _) = page(administration, after, PAGE).await?;
        let Some(last) = entries.last() else { break };
        after = last.sequence;
        for entry in &entries {
            writeln!(out, "{}", as_json(entry))?;
        }
    }
    out.flush()?;
    Ok(())
}

async fn page(
    administration: &Administration,
    after: i64,
    limit: usize,
) -> anyhow::Result<(Vec<LedgerEntry>, i64)> {
    match administration.carry_out(Request::Ledger { after, limit }).await? {
        Response::Ledger { entries, last } => Ok((entries, last)),
        _ => Err(misunderstood()),
    }
}

/// Whether a key did it, or it was done to the key.
fn is_about(entry: &LedgerEntry, client_id: &str) -> bool {
    let by_key = entry.entry.actor.strip_prefix("key:").and_then(|key| key.split_once('/'));
    entry.entry.target == client_id || by_key.is_some_and(|(actor, _)| actor == client_id)
}

fn outcome(entry: &LedgerEntry) -> &'static str {
    if entry.entry.is_refusal() { "refused" } else { "done" }
}

/// An entry for programs. What a link covers is said in `core::ledger`; the rest is as it is stored.
fn as_json(entry: &LedgerEntry) -> Value {
    let LedgerEntry { sequence, entry: of, root_key_version, link } = entry;
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
        let cells = [&*of.actor, &of.action, &of.target, outcome(entry), &of.detail, address, &of.user_agent];
        let at = output::date(Some(clock::instant(of.at)), "");
        [entry.sequence.to_string(), at].into_iter().chain(cells.map(output::printable)).collect()
    });
    let header = ["#", "AT", "WHO", "WHAT", "TO", "OUTCOME", "DETAIL", "FROM", "CLIENT"];
    say!("{}", output::table(&header, rows))?;
    Ok(())
}
