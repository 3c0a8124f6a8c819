//! `gatekey signing-key`.

use gatekey_core::{Env, signing_key::SigningKeyFacts};
use gatekey_server::control::{ListSigningKeys, RetireSigningKey, RotateSigningKey};
use serde_json::{Value, json};

use crate::{
    administration::Administration,
    args::{Format, SigningKey},
    clock,
    logging::{self, LogFormat},
    output,
};

pub(crate) async fn run(arguments: SigningKey) -> anyhow::Result<()> {
    let _logging = logging::start(LogFormat::Auto, "warn");
    match arguments {
        SigningKey::Rotate { data_dir, settings } => {
            let settings = settings.read_and_warn()?;
            let holder = "gatekey signing-key rotate";
            let administration = Administration::open(&data_dir.data_dir, settings, holder).await?;
            let kid = administration.execute(RotateSigningKey).await?;
            say!("{kid}")?;
            Ok(())
        }
        SigningKey::Retire { kid, data_dir, root_key } => {
            let settings = root_key.read_and_warn()?;
            let holder = "gatekey signing-key retire";
            let administration =
                Administration::open_existing(&data_dir.data_dir, settings, holder).await?;
            administration.execute(RetireSigningKey { kid: kid.clone() }).await?;
            say!("{kid}")?;
            Ok(())
        }
        SigningKey::List { data_dir, root_key, output } => {
            let settings = root_key.read_and_warn()?;
            let holder = "gatekey signing-key list";
            let administration =
                Administration::open_existing(&data_dir.data_dir, settings, holder).await?;
            print(&administration.execute(ListSigningKeys).await?, output.output)
        }
    }
}

fn print(keys: &[SigningKeyFacts], format: Format) -> anyhow::Result<()> {
    let now = Env::system().now();
    let state = |key: &SigningKeyFacts| match key.published_until {
        None => "signs",
        Some(until) if now < until => "published",
        Some(_) => "retired",
    };
    if let Some(notation) = format.notation() {
        let keys = keys.iter().map(|key| {
            json!({
                "kid": key.kid,
                "algorithm": key.algorithm,
                "state": state(key),
                "created_at": clock::rfc_3339(key.created_at),
                "published_until": key.published_until.map(clock::rfc_3339),
            })
        });
        return notation.print(&keys.collect::<Value>());
    }
    let rows = keys.iter().map(|key| {
        let created_at = output::date(Some(clock::system_time(key.created_at)), "");
        let until = output::date(key.published_until.map(clock::system_time), "");
        vec![key.kid.clone(), key.algorithm.to_string(), state(key).to_owned(), created_at, until]
    });
    say!("{}", output::table(&["KID", "ALGORITHM", "STATE", "CREATED", "PUBLISHED UNTIL"], rows))?;
    Ok(())
}
