//! `gatekey root-key`.

use std::io::Write as _;

use gatekey_core::{
    Env,
    root_key::{RootKeyFacts, RootKeyState, RootKeyVersions},
};
use gatekey_server::control::{ListRootKeys, RetireRootKey, RootKeyRotated, RotateRootKey};
use serde_json::{Value, json};
use tracing::level_filters::LevelFilter;

use crate::{
    administration::Administration,
    args::{Format, RootKeys},
    atomic_file::NewFile,
    clock, exit, logging, output,
    root_key_file::{self, RootKeyPath},
};

pub(crate) async fn run(arguments: RootKeys) -> anyhow::Result<()> {
    let _logging = logging::start_plain(LevelFilter::ERROR);
    match arguments {
        RootKeys::Rotate { data_dir, root_key, output } => {
            let settings = root_key.read_and_warn()?;
            let holder = "gatekey root-key rotate";
            let administration =
                Administration::open_older(&data_dir.path(), settings, holder).await?;
            print_rotated(&administration.execute(RotateRootKey).await?, output.output)
        }
        RootKeys::List { data_dir, root_key, output } => {
            let settings = root_key.read_and_warn()?;
            let holder = "gatekey root-key list";
            let administration =
                Administration::open_existing(&data_dir.path(), settings, holder).await?;
            print(&administration.execute(ListRootKeys).await?, output.output)
        }
        RootKeys::Retire { version, data_dir, root_key } => {
            let settings = root_key.read_and_warn()?;
            let holder = "gatekey root-key retire";
            let administration =
                Administration::open_existing(&data_dir.path(), settings, holder).await?;
            let retired = administration.execute(RetireRootKey { version }).await?;
            say!("{} retired version {version} of the root key", output::done_mark())?;
            if let Some(reason) = retired.still_in_file {
                output::note(&format!(
                    "{} cannot change the root key file: remove the line gatekey-root-key-{version}:... by hand \
                     ({reason})",
                    output::warning_word()
                ));
            }
            say!(
                "Earlier backups still need it: keep a copy of the old root key file as long as those backups."
            )?;
            Ok(())
        }
        RootKeys::New { file, root_key_file: None } => {
            let mut written = NewFile::create(&file)?;
            let keys = RootKeyVersions::generate(&Env::system());
            written.write_all(keys.to_text().as_bytes())?;
            written.finish()?;
            say!("{} wrote a new root key to {}", output::done_mark(), file.display())?;
            say!("Keep a copy apart from backups of the database: without it, they are lost.")?;
            Ok(())
        }
        RootKeys::New { file, root_key_file: Some(root_key_file) } => {
            let named = RootKeyPath::Named(root_key_file.clone());
            let keys = root_key_file::read_versions(&named)?;
            if keys.is_pending() {
                let shown = root_key_file.display();
                return Err(exit::usage(format!(
                    "a rotation is already pending in {shown}; finish it with `gatekey root-key rotate`, and remove \
                     the word pending from the file"
                )));
            }
            let keys = keys.with_new(&Env::system(), 0);
            let mut written = NewFile::create(&file)?;
            written.write_all(keys.to_text().as_bytes())?;
            written.finish()?;
            say!(
                "{} wrote version {} of the root key and the earlier versions to {}",
                output::done_mark(),
                keys.newest(),
                file.display()
            )?;
            say!(
                "Replace {} with it, and run `gatekey root-key rotate`.",
                root_key_file.display()
            )?;
            Ok(())
        }
    }
}

fn print_rotated(rotated: &RootKeyRotated, format: Format) -> anyhow::Result<()> {
    let RootKeyRotated { version, was_begun, still_pending } = rotated;
    if let Some(notation) = format.notation() {
        let still_pending = still_pending.is_some();
        notation.print(
            &json!({ "version": version, "was_begun": was_begun, "still_pending": still_pending }),
        )?;
    } else {
        let begun = if *was_begun { "; finished an interrupted rotation" } else { "" };
        say!("{} version {version} of the root key is in use{begun}", output::done_mark())?;
        say!(
            "Copy the root key file now, and keep it apart from backups: earlier copies do not decrypt new ones."
        )?;
        say!("`gatekey root-key list` shows when older versions are no longer needed.")?;
    }
    if let Some(reason) = still_pending {
        output::note(&format!(
            "{} cannot change the root key file: remove the word pending by hand; until then, a database from before \
             the rotation is accepted ({reason})",
            output::warning_word()
        ));
    }
    Ok(())
}

fn print(versions: &[RootKeyFacts], format: Format) -> anyhow::Result<()> {
    if let Some(notation) = format.notation() {
        let versions = versions.iter().map(|facts| {
            json!({
                "version": facts.version,
                "state": facts.state,
                "since": facts.since.map(clock::rfc_3339),
                "secrets": facts.secrets,
                "in_file": facts.in_file,
            })
        });
        return notation.print(&versions.collect::<Value>());
    }
    let rows = versions.iter().map(|facts| {
        let state = match facts.state {
            RootKeyState::NotInUse => "not in use",
            RootKeyState::InUse => "in use",
            RootKeyState::Older => "older",
            RootKeyState::Retired => "retired",
        };
        let since = output::date(facts.since.map(clock::system_time), "");
        let in_file = if facts.in_file { "yes" } else { "no" };
        vec![
            facts.version.to_string(),
            state.to_owned(),
            since,
            facts.secrets.to_string(),
            in_file.to_owned(),
        ]
    });
    say!("{}", output::table(&["VERSION", "STATE", "SINCE", "SECRETS", "IN FILE"], rows))?;
    Ok(())
}
