//! `gatekey init`: the first admin key, and the way back for who lost the last one.

use std::{path::Path, sync::Arc};

use anyhow::Context as _;
use gatekey_core::Env;
use gatekey_server::{
    call::NoRequestLog,
    config,
    control::{self, ErrorKind, Request, Response},
};

use crate::{
    args::{self, LogFormat},
    control_client,
    data_dir::DataDir,
    exit::{self, Coded},
    logging,
    output::Credentials,
    running::{self, Address, LastStart, Opened, Purpose},
};

/// Makes an admin key, by the server when one runs on the data directory, else by itself.
pub(crate) async fn run(arguments: args::Init) -> anyhow::Result<()> {
    let _logging = logging::start(LogFormat::Auto, "warn");
    let path = arguments.data_dir.data_dir;
    let request = Request::Init { name: arguments.name, rotate: arguments.rotate };
    let (response, address) = administer(&path, super::settings(arguments.settings)?, &request).await?;
    let Response::Key { endpoint, client_id, client_secret, organization } = refused(response)? else {
        anyhow::bail!("the server answered something else than was asked");
    };
    let credentials = Credentials {
        endpoint: &endpoint,
        client_id: &client_id,
        client_secret: &client_secret,
        organization: &organization,
        ca_file: address.ca_file.as_deref(),
    };
    credentials.print(arguments.output.output)
}

/// Carries a request out on a data directory: by the server that runs on it, or directly.
pub(crate) async fn administer(
    path: &Path,
    settings: config::Settings,
    request: &Request,
) -> anyhow::Result<(Response, Address)> {
    let what = match request {
        Request::Init { .. } => "gatekey init",
        Request::RotateSigningKey => "gatekey signing-key rotate",
    };
    let data_dir = match DataDir::open(path, what) {
        Ok(data_dir) => data_dir,
        Err(error) if error.downcast_ref::<Coded>().is_some_and(|coded| coded.code == exit::IN_USE) => {
            let response = control_client::ask(path, request).await?;
            let start = LastStart::read(path).context("server.json of the running server cannot be read")?;
            return Ok((response, start.address));
        }
        Err(error) => return Err(error),
    };
    // Keys made now are for the server as it was last started, unless another URL is named.
    let said = settings.public_url.is_some() || settings.listen.is_some();
    let last_start = LastStart::read(data_dir.path()).filter(|_| !said);
    let settings = match &last_start {
        Some(LastStart { address, organization }) => settings.or(config::Settings {
            public_url: Some(address.url.clone()),
            plaintext: address.url.starts_with("http://").then_some(true),
            organization: Some(organization.clone()),
            ..config::Settings::default()
        }),
        None => settings,
    };
    let purpose = if last_start.is_some() { Purpose::Administer } else { Purpose::AdministerNew };
    let root_key_file = settings.root_key_path(data_dir.path());
    let listen = settings.listen();
    let config = running::resolve(settings, listen)?;
    let opened =
        Opened::open(data_dir, config, &root_key_file, Env::system(), purpose, Arc::new(NoRequestLog))
            .await?;
    let caller = running::local_caller(&opened.app.env);
    let response = control::carry_out(&opened.app, &caller, request.clone()).await;
    let address = last_start.map_or_else(|| opened.address(), |start| start.address);
    Ok((response, address))
}

/// The answer, unless it is a refusal.
pub(crate) fn refused(response: Response) -> anyhow::Result<Response> {
    let Response::Error { message, kind } = response else { return Ok(response) };
    let (code, message) = match kind {
        ErrorKind::Exists => {
            (exit::ALREADY_EXISTS, format!("{message}, or give it a new secret with --rotate"))
        }
        ErrorKind::Invalid => (exit::USAGE, message),
        ErrorKind::Unavailable => (exit::UNAVAILABLE, message),
        ErrorKind::Failed => (exit::FAILURE, message),
    };
    Err(Coded { code, message }.into())
}
