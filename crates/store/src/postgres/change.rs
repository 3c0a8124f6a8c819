//! The rows of the head and of changes, which end every transaction.

use gatekey_core::ledger::LedgerHead;

use super::{
    commit::Commit,
    connection::{Request, Statement},
    value::Parameter,
};
use crate::sql::touched::Touched;

/// Rows in one statement, which has at most 65,535 parameters.
const ROWS: usize = 1000;

/// The most keys that a transaction names one by one.
const KEYS: usize = 10_000;

/// Queues the rows of what a transaction touched, at least one, and moves the head after them.
/// Returns where the last of them is.
pub(super) fn append(
    requests: &mut Vec<Request>,
    begun: Commit,
    touched: &[Touched],
    head: LedgerHead,
) -> Commit {
    let nothing = [("nothing", None, None)];
    let everything = [("everything", None, None)];
    let rows: Vec<_> = touched.iter().map(row).collect();
    let rows = match rows.len() {
        0 => &nothing[..],
        1..=KEYS => &rows,
        _ => &everything,
    };
    let mut sequence = begun.sequence;
    for rows in rows.chunks(ROWS) {
        let mut values = vec![Parameter::Bytes(begun.tag.to_vec())];
        let mut places = Vec::with_capacity(rows.len());
        for (kind, client_id, key_id) in rows {
            sequence += 1;
            let first = values.len() + 1;
            values.push(Parameter::Integer(sequence));
            values.push(client_id.clone().map_or(Parameter::Null, Parameter::Text));
            values.push(key_id.clone().map_or(Parameter::Null, Parameter::Text));
            places.push(format!("(${first}, '{kind}', ${}, ${}, $1)", first + 1, first + 2));
        }
        let places = places.join(", ");
        requests.push(Request::Execute(Statement {
            text: format!(
                "INSERT INTO change (sequence, kind, client_id, key_id, tag) VALUES {places}"
            ),
            values,
        }));
    }
    requests.push(Request::Execute(Statement {
        text: "UPDATE head SET sequence = $1, ledger_sequence = $2, link = $3".to_owned(),
        values: vec![
            Parameter::Integer(sequence),
            Parameter::Integer(head.sequence),
            Parameter::Bytes(head.link.to_vec()),
        ],
    }));
    Commit { sequence, ..begun }
}

/// The kind of a row, and the key that it names.
fn row(touched: &Touched) -> (&'static str, Option<String>, Option<String>) {
    match touched {
        Touched::Key { client_id, key_id } => {
            ("key", Some(client_id.to_string()), Some(key_id.to_string()))
        }
        Touched::SigningKeys => ("signing_keys", None, None),
        Touched::RootKeys => ("root_keys", None, None),
        Touched::Everything => ("everything", None, None),
    }
}
