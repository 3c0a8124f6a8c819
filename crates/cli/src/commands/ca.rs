//! `gatekey ca`: prints the private CA's certificate, for clients.

use std::io::Write as _;

use rustix::fs::OFlags;
use serde_json::json;

use crate::{
    args,
    data_dir::{self, CA_BUNDLE_FILE, CA_FILE},
    exit,
    last_start::LastStart,
    output,
    trusted::{self, Kind, Refusal},
};

pub(crate) fn run(arguments: args::Ca) -> anyhow::Result<()> {
    let named = arguments.data_dir.path();
    let data_dir = data_dir::inspect(&named)?.path;
    let shown = named.path().display();
    // The file stays when a server is given a certificate of its own.
    if LastStart::read(&data_dir).is_some_and(|start| start.address.ca_file.is_none()) {
        return Err(exit::usage(format!(
            "the server on {shown} does not use its private CA: clients need the CA of its certificate, or none"
        )));
    }
    let path = data_dir.join(if arguments.bundle { CA_BUNDLE_FILE } else { CA_FILE });
    let (file, _) = match trusted::open_beside(&path, Kind::Certificate, OFlags::RDONLY) {
        Ok(opened) => opened,
        Err(Refusal::Missing { .. }) => {
            return Err(exit::usage(format!(
                "there is no private CA in {shown} yet: the first `gatekey serve` or `gatekey init` creates it"
            )));
        }
        Err(refused @ Refusal::Refused(_)) => return Err(refused.into()),
    };
    let pem = trusted::read_all(file, &path, Kind::Certificate)?;
    match arguments.output.output.notation() {
        Some(notation) => notation.print(&json!({ "certificates": str::from_utf8(&pem)? })),
        None => Ok(output::stdout().write_all(&pem)?),
    }
}
