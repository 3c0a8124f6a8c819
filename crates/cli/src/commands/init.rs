//! `gatekey init`: the first admin key, and the way back for who lost the last one.

use std::{fs, path::Path};

use gatekey_core::Env;
use gatekey_server::{
    config,
    control::{self, Request, Response},
};

use crate::{
    args::{self, LogFormat},
    control_client,
    data_dir::DataDir,
    exit::{self, Coded},
    logging,
    output::Credentials,
    running::{self, Address, Opened},
};

/// Makes an admin key, by the server when one runs on the data directory, else by itself.
pub(crate) async fn run(arguments: args::Init) -> anyhow::Result<()> {
    logging::start(LogFormat::Auto, "warn");
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
    let data_dir = match DataDir::open(path, "gatekey init") {
        Ok(data_dir) => data_dir,
        Err(error) if error.downcast_ref::<Coded>().is_some_and(|coded| coded.code == exit::IN_USE) => {
            let response = control_client::ask(path, request).await?;
            return Ok((response, serde_json::from_slice(&fs::read(path.join(Address::FILE))?)?));
        }
        Err(error) => return Err(error),
    };
    // The public URL of the last start, unless another is named: keys made now are for that server.
    let remembered = fs::read(data_dir.file(Address::FILE)).ok();
    let remembered = remembered.and_then(|json| serde_json::from_slice::<Address>(&json).ok());
    let said = settings.public_url.is_some() || settings.listen.is_some();
    let settings = match remembered.filter(|_| !said) {
        Some(address) => {
            let plaintext = address.url.starts_with("http://").then_some(true);
            settings.or(config::Settings {
                public_url: Some(address.url),
                plaintext,
                ..config::Settings::default()
            })
        }
        None => settings,
    };
    let root_key_file = settings.root_key_path(data_dir.path());
    let listen = settings.listen();
    let config = running::resolve(settings, listen)?;
    let opened = Opened::open(data_dir, config, &root_key_file, Env::system()).await?;
    let caller = running::local_caller(&opened.app.env);
    let response = control::carry_out(&opened.app, &caller, request.clone()).await;
    Ok((response, opened.address()))
}

/// The answer, unless it is a refusal.
pub(crate) fn refused(response: Response) -> anyhow::Result<Response> {
    match response {
        Response::Error { message, exists: true } => {
            let message = format!("{message}, or give it a new secret with --rotate");
            Err(Coded { code: exit::ALREADY_EXISTS, message }.into())
        }
        Response::Error { message, exists: false } => Err(Coded { code: exit::FAILURE, message }.into()),
        answer @ (Response::Key { .. } | Response::SigningKey { .. }) => Ok(answer),
    }
}
