//! The life of a key, step by step.

use std::{io, path::Path, time::Duration};

use anyhow::ensure;
use futures::TryStreamExt as _;
use gatekey_client::{ApiKey, Client, Error, PlainSecret, RotateOptions};
use gatekey_outbound::Proxies;
use http::StatusCode;
use rustix::fs::OFlags;

use super::backend;
use crate::{
    administration::failed,
    atomic_file,
    commands::doctor::connection::Target,
    output,
    process::local_caller,
    running_server::RunningServer,
    trusted::{self, Kind, Refusal},
};

pub(super) const KEY: &str = "ci-pipeline";
/// The file with the secret of the key `admin`, so that quickstart can run again.
pub(super) const ADMIN_SECRET: &str = "admin.secret";
const GRACE: Duration = Duration::from_hours(24);

/// Goes through the steps. Returns the secret of the remaining key.
pub(super) async fn run(running: &RunningServer) -> anyhow::Result<PlainSecret> {
    let admin = admin_client(running).await?;

    let created = match ApiKey::create(&admin, KEY).await {
        Ok(key) => {
            step(&format!(
                "Created the API key {KEY}; its secret is shown once and stored as a hash"
            ))?;
            key
        }
        Err(error) if error.is_already_exists() => {
            let key = rotate(&admin, KEY).await?;
            step(&format!("The API key {KEY} exists from an earlier run; gave it a new secret"))?;
            key
        }
        Err(error) => return Err(error.into()),
    };

    let key = client(running, KEY, &PlainSecret::new(created.client_secret()))?;
    let token = key.access_token().await?;
    step(&format!(
        "Exchanged its secret for an access token of {} bytes; tokens are not stored in the database",
        token.len()
    ))?;

    let user = key.whoami().await?;
    step(&format!(
        "Called an RPC with the token; the server identified the caller as {}",
        user.subject
    ))?;

    let behind = target(running)?;
    call_through_the_gate(&behind, &token).await?;

    let keys: Vec<_> = ApiKey::listall(&admin, None).try_collect().await?;
    let names: Vec<_> = keys.iter().take(5).map(ApiKey::client_id).collect();
    step(&format!(
        "Listed the keys: {}{}",
        names.join(", "),
        if keys.len() > 5 { ", ..." } else { "" }
    ))?;

    let rotated = rotate(&key, KEY).await?;
    step("The key rotated its own secret; the old one stays valid for 24 hours")?;

    reject_deleted(running, &admin, &behind).await?;
    Ok(PlainSecret::new(rotated.client_secret()))
}

/// Shows that a deleted key is rejected.
async fn reject_deleted(
    running: &RunningServer,
    admin: &Client,
    behind: &Target,
) -> anyhow::Result<()> {
    // Random, because any other name may be taken.
    let name = format!("throw-away-{}", gatekey_core::SecretId::generate(&running.server.env));
    let created = ApiKey::create(admin, &name).await?;
    let client = client(running, &name, &PlainSecret::new(created.client_secret()))?;
    client.whoami().await?;
    let token = client.access_token().await?;
    let (before, _) = behind.call_as(backend::PROCEDURE, Some(&token)).await?;
    ApiKey::delete(admin, &name).await?;
    let (after, _) = behind.call_as(backend::PROCEDURE, Some(&token)).await?;
    ensure!(
        (before, after) == (StatusCode::OK, StatusCode::UNAUTHORIZED),
        "the gate answered a key with {before}, and with {after} once it was deleted; please report this"
    );
    match client.whoami().await {
        Err(error) if error.is_unauthenticated() => {
            step("Created, used and deleted another key; server and gate refused it at once")?;
            Ok(())
        }
        Err(error) => Err(error.into()),
        Ok(_) => anyhow::bail!("the server accepted a deleted key; please report this"),
    }
}

/// Shows that the gate needs a key, and that the backend sees the caller but not the token.
async fn call_through_the_gate(behind: &Target, token: &str) -> anyhow::Result<()> {
    let (stranger, _) = behind.call_as(backend::PROCEDURE, None).await?;
    let (status, seen) = behind.call_as(backend::PROCEDURE, Some(token)).await?;
    ensure!(
        (stranger, status) == (StatusCode::UNAUTHORIZED, StatusCode::OK)
            && seen == backend::seen(KEY, false),
        "the gate answered a stranger with {stranger}, and {KEY} with {status} {seen}; please report this"
    );
    step("Called a backend behind the gate: a stranger was refused")?;
    step(&format!("The key called it as well; the backend saw the caller {KEY}, and no token"))?;
    Ok(())
}

/// The server, for calls that the client library does not make.
fn target(running: &RunningServer) -> anyhow::Result<Target> {
    let ca_file = running.address.ca_file.as_deref();
    let mut target = Target::new(&running.address.url, ca_file, Proxies::default())?;
    target.address = Some(running.server.config.server.listen);
    Ok(target)
}

/// Returns a client with the admin key: the one of an earlier run, or a new one.
async fn admin_client(running: &RunningServer) -> anyhow::Result<Client> {
    let file = running.data_dir.file(ADMIN_SECRET);
    if let Some(secret) = kept_secret(&file)? {
        let client = client(running, "admin", &secret)?;
        match client.access_token().await {
            Ok(_) => {
                step("The admin key exists from an earlier run")?;
                return Ok(client);
            }
            Err(error) if error.is_unauthenticated() => {}
            Err(error) => return Err(error.into()),
        }
    }
    let caller = local_caller(&running.server.env);
    let created = running.server.operations.init(&caller, "admin", true).await;
    let secret = created.map_err(|error| failed(error.into()))?.secret;
    atomic_file::write_private(&file, secret.expose().as_bytes())?;
    step(&format!("Created the admin key; its secret is in {}", file.display()))?;
    client(running, "admin", &PlainSecret::new(secret.expose()))
}

/// Reads the secret of an earlier run.
fn kept_secret(file: &Path) -> anyhow::Result<Option<PlainSecret>> {
    let (opened, _) = match trusted::open_beside(file, Kind::Secret, OFlags::RDONLY) {
        Ok(opened) => opened,
        Err(Refusal::Missing { .. }) => return Ok(None),
        Err(refused @ Refusal::Refused(_)) => return Err(refused.into()),
    };
    let bytes = trusted::read_all(opened, file, Kind::Secret)?;
    Ok(str::from_utf8(&bytes).ok().map(|secret| PlainSecret::new(secret.trim())))
}

async fn rotate(client: &Client, client_id: &str) -> Result<ApiKey, Error> {
    let options =
        |grace| RotateOptions { grace, label: Some("quickstart".to_owned()), expires_at: None };
    match ApiKey::rotate(client, client_id, options(GRACE)).await {
        // The key has the maximum number of secrets after several runs within a day.
        Err(error) if error.is_failed_precondition() => {
            ApiKey::rotate(client, client_id, options(Duration::ZERO)).await
        }
        other => other,
    }
}

fn client(
    running: &RunningServer,
    client_id: &str,
    secret: &PlainSecret,
) -> anyhow::Result<Client> {
    let mut builder =
        Client::builder().endpoint(&running.address.url).credentials(client_id, secret.clone());
    if let Some(ca_file) = &running.address.ca_file {
        builder = builder.ca_file(ca_file);
    }
    Ok(builder.build()?)
}

pub(super) fn step(text: &str) -> io::Result<()> {
    say!("{} {}", output::done_mark(), output::printable(text))
}
