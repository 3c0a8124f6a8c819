//! The client of the commands that talk to a server.

use gatekey_client::{Client, Error};

use crate::{args, output};

/// Builds a client from flags, environment and config files. Prints what the user should know about
/// them to standard error.
pub(crate) fn from_flags(flags: &args::Client) -> Result<Client, Error> {
    let mut builder = Client::builder()
        .user_agent(concat!("gatekey/", env!("CARGO_PKG_VERSION")))
        .plaintext(flags.plaintext);
    if let Some(endpoint) = &flags.endpoint {
        builder = builder.endpoint(endpoint);
    }
    if let Some(ca_file) = &flags.ca_file {
        builder = builder.ca_file(ca_file);
    }
    let client = builder.fill_from_env()?.build()?;
    print_notices(&client);
    Ok(client)
}

/// Prints what the user should know about the sources of a client's settings.
pub(crate) fn print_notices(client: &Client) {
    for notice in client.notices() {
        output::note(&format!("{} {}", output::note_word(), output::printable(notice)));
    }
}
