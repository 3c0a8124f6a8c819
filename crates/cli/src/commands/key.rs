//! `gatekey key`: manages a server's API keys through `gatekey-client`.

use std::{path::PathBuf, time::SystemTime};

use futures::TryStreamExt as _;
use gatekey_client::{
    ApiKey, Client, CreateOptions, KeyDetails, RotateOptions, SettingsUpdate, UpdateOptions,
};

use crate::{
    args::{self, Format, Key},
    client,
    clock::now,
    exit,
    output::{self, Credentials, Notation},
};

pub(crate) async fn run(arguments: Key) -> anyhow::Result<()> {
    match arguments {
        Key::Create { name, role, no_role, redirect_uris, expires_in, client: flags, output } => {
            let client = client::from_flags(&flags)?;
            let options = CreateOptions {
                role,
                redirect_uris,
                skip_default_policy_assignments: no_role,
                expires_at: expires_in.map(|after| now() + after),
                ..CreateOptions::new(name)
            };
            let key = ApiKey::create_with(&client, options).await?;
            print_credentials(&client, &flags, &key, output.output)
        }
        Key::Get { client_id, details, client, output } => {
            get(&client::from_flags(&client)?, &client_id, details, output.output).await
        }
        Key::List { limit, details, client, output } => {
            list(&client::from_flags(&client)?, limit, details, output.output).await
        }
        Key::Update {
            client_id,
            name,
            role,
            no_role,
            redirect_uris,
            expires_in,
            no_expiry,
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
            };
            update(&client::from_flags(&client)?, &client_id, changes, output.output).await
        }
        Key::Rotate { client_id, grace, expires_in, label, client: flags, output } => {
            let client = client::from_flags(&flags)?;
            let options =
                RotateOptions { grace, label, expires_at: expires_in.map(|after| now() + after) };
            let key = ApiKey::rotate(&client, &client_id, options).await?;
            print_credentials(&client, &flags, &key, output.output)
        }
        Key::Retire { client_id, secret_id, client, output } => {
            let client = client::from_flags(&client)?;
            print_details(
                &ApiKey::retire_secret(&client, &client_id, &secret_id).await?,
                output.output,
            )
        }
        Key::Disable(args::OneKey { client_id, client, output }) => {
            let client = client::from_flags(&client)?;
            print_details(&ApiKey::disable(&client, &client_id).await?, output.output)
        }
        Key::Enable(args::OneKey { client_id, client, output }) => {
            let client = client::from_flags(&client)?;
            print_details(&ApiKey::enable(&client, &client_id).await?, output.output)
        }
        Key::Delete { client_id, client } => {
            ApiKey::delete(&client::from_flags(&client)?, &client_id).await?;
            eprintln!("deleted {client_id}; its tokens are revoked");
            Ok(())
        }
    }
}

async fn get(
    client: &Client,
    client_id: &str,
    details: bool,
    format: Format,
) -> anyhow::Result<()> {
    if format.notation().is_some() && !details {
        return print_key(&ApiKey::get(client, client_id).await?, format);
    }
    match ApiKey::details(client, client_id).await {
        Ok(key) => print_details(&key, format),
        // Union's servers have no API key service; the public API returns the key without details.
        Err(error) if error.is_unimplemented() => {
            print_key(&ApiKey::get(client, client_id).await?, format)
        }
        Err(error) => Err(error.into()),
    }
}

async fn list(
    client: &Client,
    limit: Option<usize>,
    details: bool,
    format: Format,
) -> anyhow::Result<()> {
    if let Some(notation) = format.notation() {
        return if details {
            notation.print_list(ApiKey::list_details(client, limit)).await
        } else {
            notation.print_list(ApiKey::listall(client, limit).map_ok(|key| key.to_dict())).await
        };
    }
    let now = now();
    let mut keys = ApiKey::list_details(client, limit);
    let mut rows = Vec::new();
    while let Some(key) = keys.try_next().await? {
        rows.push(vec![
            key.client_id.clone(),
            key.client_name.clone(),
            role(&key),
            state(&key, now).to_owned(),
            output::date(key.created_at, ""),
            output::date(key.expires_at, "never"),
            output::date(
                key.secrets.iter().filter_map(|secret| secret.last_used_at).max(),
                "never",
            ),
        ]);
    }
    if rows.is_empty() {
        eprintln!("no keys");
        return Ok(());
    }
    say!(
        "{}",
        output::table(
            &["CLIENT ID", "NAME", "ROLE", "STATE", "CREATED", "EXPIRES", "LAST USED"],
            rows
        )
    )?;
    Ok(())
}

async fn update(
    client: &Client,
    client_id: &str,
    changes: SettingsUpdate,
    format: Format,
) -> anyhow::Result<()> {
    if changes == SettingsUpdate::default() {
        return Err(exit::usage(
            "nothing to change; use --name, --role, --no-role, --redirect-uri, --expires-in or --no-expiry",
        ));
    }
    match ApiKey::update_settings(client, client_id, changes.clone()).await {
        Ok(key) => print_details(&key, format),
        // Union's servers can only change the name and the redirect URIs.
        Err(error)
            if error.is_unimplemented()
                && changes.role.is_none()
                && changes.expires_at.is_none() =>
        {
            let options = UpdateOptions {
                client_name: changes.client_name,
                redirect_uris: changes.redirect_uris.unwrap_or_default(),
            };
            print_key(&ApiKey::update(client, client_id, options).await?, format)
        }
        Err(error) => Err(error.into()),
    }
}

/// Prints a key of the public API, in JSON exactly as `ApiKey.to_json()` of the Python class.
fn print_key(key: &ApiKey, format: Format) -> anyhow::Result<()> {
    match format.notation() {
        Some(Notation::Yaml) => Notation::Yaml.print(&key.to_dict()),
        Some(Notation::Json) | None => Ok(say!("{}", key.to_json())?),
    }
}

fn print_credentials(
    client: &Client,
    flags: &args::Client,
    key: &ApiKey,
    format: Format,
) -> anyhow::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "the client has read the same variable")]
    let trusted =
        flags.ca_file.clone().or_else(|| std::env::var_os("GATEKEY_CA_FILE").map(PathBuf::from));
    let credentials = Credentials {
        endpoint: client.endpoint(),
        client_id: key.client_id(),
        client_secret: key.client_secret(),
        organization: key.organization().unwrap_or_default(),
        ca_file: trusted.as_deref().filter(|path| !path.as_os_str().is_empty()),
    };
    credentials.print(format)
}

fn print_details(key: &KeyDetails, format: Format) -> anyhow::Result<()> {
    if let Some(notation) = format.notation() {
        return notation.print(key);
    }
    for (title, value) in [
        ("client id", output::bold(&key.client_id)),
        ("name", key.client_name.clone()),
        ("key id", key.key_id.clone()),
        ("role", role(key)),
        ("state", state(key, now()).to_owned()),
        ("created", output::date(key.created_at, "")),
        ("changed", output::date(key.updated_at, "")),
        ("expires", output::date(key.expires_at, "never")),
        ("grants", key.grant_types.join(" ")),
        ("redirect URIs", key.redirect_uris.join(" ")),
    ] {
        say!("{}  {value}", output::dim(&format!("{title:<13}")))?;
    }
    say!()?;
    let rows = key.secrets.iter().map(|secret| {
        vec![
            secret.id.clone(),
            secret.label.clone(),
            output::date(secret.created_at, ""),
            output::date(secret.expires_at, "never"),
            output::date(secret.last_used_at, "never"),
        ]
    });
    say!("{}", output::table(&["SECRET", "LABEL", "CREATED", "EXPIRES", "LAST USED"], rows))?;
    Ok(())
}

fn role(key: &KeyDetails) -> String {
    key.role.map_or_else(|| "none".to_owned(), |role| role.to_string())
}

fn state(key: &KeyDetails, now: SystemTime) -> &'static str {
    if key.disabled_at.is_some() {
        "disabled"
    } else if key.expires_at.is_some_and(|at| at <= now) {
        "expired"
    } else {
        "enabled"
    }
}
