//! The client of the commands that talk to a server.

use gatekey_client::{Client, Error};

use crate::args;

/// Builds a client from flags, environment and config files.
pub(crate) fn from_flags(flags: &args::Client) -> Result<Client, Error> {
    let mut builder = Client::builder().user_agent(concat!("gatekey/", env!("CARGO_PKG_VERSION")));
    if let Some(endpoint) = &flags.endpoint {
        // Plain HTTP only when the URL asks for it; such servers listen on loopback.
        builder = builder.endpoint(endpoint).plaintext(endpoint.starts_with("http://"));
    }
    if let Some(ca_file) = &flags.ca_file {
        builder = builder.ca_file(ca_file);
    }
    builder.fill_from_env()?.build()
}
