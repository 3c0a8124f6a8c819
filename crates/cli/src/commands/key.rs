//! `gatekey key`: manages a server's API keys through `gatekey-client`.

use std::path::PathBuf;

use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use gatekey_client::{
    ApiKey, Client, CreateOptions, Error, RotateOptions, SettingsUpdate, UpdateOptions,
};
use serde_json::json;

use crate::{
    args::{self, Format, Key},
    client,
    clock::now,
    exit,
    output::{self, Credentials},
};

#[expect(clippy::too_many_lines, reason = "one arm for each command")]
pub(crate) async fn run(arguments: Key) -> anyhow::Result<()> {
    match arguments {
        Key::Create {
            name,
            role,
            no_role,
            redirect_uris,
            expires_in,
            limits,
            client: flags,
            output,
        } => {
            output::check_stdout()?;
            let client = client::from_flags(&flags)?;
            let options = CreateOptions {
                role,
                redirect_uris,
                skip_default_policy_assignments: no_role,
                expires_at: expires_in.map(|after| now() + after),
                allow_from: limits.allow_from,
                rate: limits.rate,
                projects: limits.projects,
                domains: limits.domains,
                ..CreateOptions::new(trimmed(&name))
            };
            let created = ApiKey::create_with(&client, options).await?;
            let key = described(&client, &created).await;
            print_credentials(&client, &flags, &created, &key, "created", output.output)
        }
        Key::Get { client_id, details: _, client, output } => {
            get(&client::from_flags(&client)?, &client_id, output.output).await
        }
        Key::List { limit, details: _, client, output } => {
            list(&client::from_flags(&client)?, limit, output.output).await
        }
        Key::Update {
            client_id,
            name,
            role,
            no_role,
            redirect_uris,
            expires_in,
            no_expiry,
            limits,
            lifted,
            force,
            client,
            output,
        } => {
            let changes = SettingsUpdate {
                client_name: name,
                role: if no_role { Some(None) } else { role.map(Some) },
                redirect_uris: (!redirect_uris.is_empty()).then_some(redirect_uris),
                expires_at: if no_expiry {
                    Some(None)
                } else {
                    expires_in.map(|after| Some(now() + after))
                },
                allow_from: changed(limits.allow_from, lifted.no_allow_from),
                rate: if lifted.no_rate { Some(None) } else { limits.rate.map(Some) },
                projects: changed(limits.projects, lifted.no_projects),
                domains: changed(limits.domains, lifted.no_domains),
                force,
            };
            update(&client::from_flags(&client)?, &client_id, changes, output.output).await
        }
        Key::Rotate { client_id, grace, expires_in, label, yes, client: flags, output } => {
            output::check_stdout()?;
            let client = client::from_flags(&flags)?;
            if grace.is_zero() {
                let consequence = format!(
                    "without --grace, all secrets and tokens of {client_id} stop working at once"
                );
                output::confirm(&consequence, yes)?;
            }
            let options =
                RotateOptions { grace, label, expires_at: expires_in.map(|after| now() + after) };
            let rotated = ApiKey::rotate(&client, &client_id, options).await?;
            let key = described(&client, &rotated).await;
            print_credentials(&client, &flags, &rotated, &key, "rotated", output.output)
        }
        Key::Retire { client_id, secret_id, force, client, output } => {
            let client = client::from_flags(&client)?;
            let key = ApiKey::retire_secret_with(&client, &client_id, &secret_id, force).await?;
            output::Key::of_details(key, now()).print(output.output)
        }
        Key::Disable { key: args::OneKey { client_id, client, output }, force } => {
            let client = client::from_flags(&client)?;
            let key = ApiKey::disable_with(&client, &client_id, force).await?;
            output::Key::of_details(key, now()).print(output.output)
        }
        Key::Enable(args::OneKey { client_id, client, output }) => {
            let client = client::from_flags(&client)?;
            let key = ApiKey::enable(&client, &client_id).await?;
            output::Key::of_details(key, now()).print(output.output)
        }
        Key::Delete { client_id, yes, force, client, output } => {
            let client = client::from_flags(&client)?;
            let consequence = format!(
                "this deletes the key {client_id} permanently; its secrets and tokens stop working"
            );
            output::confirm(&consequence, yes)?;
            if force {
                ApiKey::force_delete(&client, &client_id).await?;
            } else {
                ApiKey::delete(&client, &client_id).await?;
            }
            if let Some(notation) = output.output.notation() {
                return notation.print(&json!({ "client_id": client_id, "state": "deleted" }));
            }
            output::note(&format!("deleted {client_id}; its tokens are revoked"));
            Ok(())
        }
    }
}

/// The new value of a list, if it changes.
fn changed(list: Vec<String>, lifted: bool) -> Option<Vec<String>> {
    (lifted || !list.is_empty()).then_some(list)
}

/// Trims what a client id would begin or end with a dash for, such as the last character of "My
/// key!". A name without anything else is left for the rule that refuses it.
fn trimmed(name: &str) -> &str {
    let trimmed = name.trim_matches(|character: char| !character.is_ascii_alphanumeric());
    if trimmed.is_empty() { name } else { trimmed }
}

async fn get(client: &Client, client_id: &str, format: Format) -> anyhow::Result<()> {
    let key = match ApiKey::details(client, client_id).await {
        Ok(key) => output::Key::of_details(key, now()),
        // Union's servers have no API key service; the public API returns the key without details.
        Err(error) if error.is_unimplemented() => {
            output::Key::of_public_api(&ApiKey::get(client, client_id).await?)
        }
        Err(error) => return Err(error.into()),
    };
    key.print(format)
}

async fn list(client: &Client, limit: Option<usize>, format: Format) -> anyhow::Result<()> {
    let keys = keys(client, limit).await;
    if let Some(notation) = format.notation() {
        return notation.print_list(keys).await;
    }
    let mut keys = std::pin::pin!(keys);
    let mut rows = Vec::new();
    while let Some(key) = keys.try_next().await? {
        rows.push(vec![
            key.client_id.clone(),
            key.client_name.clone(),
            key.role_name(),
            key.state.name().to_owned(),
            output::date(key.created_at, ""),
            output::date(key.expires_at, "never"),
            output::date(key.last_used_at(), "never"),
        ]);
    }
    if rows.is_empty() {
        output::note("no keys");
        return Ok(());
    }
    let header = ["CLIENT ID", "NAME", "ROLE", "STATE", "CREATED", "EXPIRES", "LAST USED"];
    say!("{}", output::table(&header, rows))?;
    Ok(())
}

/// Lists keys with their details, or without on a server that has no API key service.
async fn keys(
    client: &Client,
    limit: Option<usize>,
) -> impl Stream<Item = Result<output::Key, Error>> {
    let now = now();
    // An empty list has ended with its first item.
    let mut keys = ApiKey::list_details(client, limit).fuse();
    let first = keys.next().await;
    if let Some(Err(error)) = &first
        && error.is_unimplemented()
    {
        let keys = ApiKey::listall(client, limit);
        return keys.map_ok(|key| output::Key::of_public_api(&key)).left_stream();
    }
    let keys = stream::iter(first).chain(keys);
    keys.map_ok(move |key| output::Key::of_details(key, now)).right_stream()
}

async fn update(
    client: &Client,
    client_id: &str,
    changes: SettingsUpdate,
    format: Format,
) -> anyhow::Result<()> {
    if changes == (SettingsUpdate { force: changes.force, ..SettingsUpdate::default() }) {
        return Err(exit::usage(
            "nothing to change; use --name, --role, --no-role, --redirect-uri, --expires-in, --no-expiry, --allow-from, \
             --rate, --projects or --domains",
        ));
    }
    let key = match ApiKey::update_settings(client, client_id, changes.clone()).await {
        Ok(key) => output::Key::of_details(key, now()),
        // Union's servers can only change the name and the redirect URIs.
        Err(error)
            if error.is_unimplemented()
                && changes
                    == (SettingsUpdate {
                        client_name: changes.client_name.clone(),
                        redirect_uris: changes.redirect_uris.clone(),
                        force: changes.force,
                        ..SettingsUpdate::default()
                    }) =>
        {
            let options = UpdateOptions {
                client_name: changes.client_name,
                redirect_uris: changes.redirect_uris.unwrap_or_default(),
            };
            output::Key::of_public_api(&ApiKey::update(client, client_id, options).await?)
        }
        Err(error) => return Err(error.into()),
    };
    key.print(format)
}

/// Describes a key that has a new secret. The secret must be shown, so this cannot fail: without
/// details, the key has the fields of the public API.
async fn described(client: &Client, key: &ApiKey) -> output::Key {
    if let Some(details) = key.details_with_secret() {
        return output::Key::of_details(details.clone(), now());
    }
    match ApiKey::details(client, key.client_id()).await {
        Ok(details) => output::Key::of_details(details, now()),
        Err(_) => output::Key::of_public_api(key),
    }
}

fn print_credentials(
    client: &Client,
    flags: &args::Client,
    with_secret: &ApiKey,
    key: &output::Key,
    verb: &str,
    format: Format,
) -> anyhow::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "the client has read the same variable")]
    let trusted =
        flags.ca_file.clone().or_else(|| std::env::var_os("GATEKEY_CA_FILE").map(PathBuf::from));
    let credentials = Credentials {
        url: &client.url(),
        endpoint: client.endpoint(),
        client_id: with_secret.client_id(),
        client_secret: with_secret.client_secret(),
        organization: with_secret.organization().unwrap_or_default(),
        ca_file: trusted.as_deref().filter(|path| !path.as_os_str().is_empty()),
    };
    let client_id = with_secret.client_id();
    let made = format!("the key {client_id} was {verb}");
    credentials.print(key, format, &made, &format!("`gatekey key rotate {client_id}`"))
}
