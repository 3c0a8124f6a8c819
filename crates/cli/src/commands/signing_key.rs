//! `gatekey signing-key`.

use gatekey_core::{
    Env,
    signing_key::{SigningKeyFacts, SigningKeyState, Start, states},
};
use gatekey_server::control::{ListSigningKeys, RetireSigningKey, RotateSigningKey};
use serde_json::{Value, json};
use tracing::level_filters::LevelFilter;

use crate::{
    administration::Administration,
    args::{Format, SigningKey},
    clock, logging, output,
};

pub(crate) async fn run(arguments: SigningKey) -> anyhow::Result<()> {
    let _logging = logging::start_plain(LevelFilter::WARN);
    match arguments {
        SigningKey::Rotate { now, data_dir, output, settings } => {
            let settings = settings.read_and_warn()?;
            let holder = "gatekey signing-key rotate";
            let administration = Administration::open(&data_dir.path(), settings, holder).await?;
            let start = if now { Start::Now } else { Start::Ahead };
            let rotated = administration.execute(RotateSigningKey { start }).await?;
            match output.output.notation() {
                Some(notation) => notation.print(&json!({
                    "kid": rotated.kid,
                    "signs_from": clock::rfc_3339(rotated.signs_from),
                }))?,
                None => say!("{}", rotated.kid)?,
            }
            let from = output::date(Some(clock::system_time(rotated.signs_from)), "");
            match start {
                Start::Ahead => eprintln!(
                    "The key is published now and signs from {from}; tokens stay valid. If a key has leaked, use \
                     `--now`."
                ),
                Start::Now => eprintln!(
                    "warning: the key signs from now on. Verifiers that cache the JWKS reject new tokens until they \
                     fetch it again: up to 5 minutes by its Cache-Control, 10 with Envoy's and 20 with Istio's \
                     defaults. Tokens of the previous key stay valid until it is retired: `gatekey signing-key retire`."
                ),
            }
            Ok(())
        }
        SigningKey::Retire { kid, data_dir, root_key } => {
            let settings = root_key.read_and_warn()?;
            let holder = "gatekey signing-key retire";
            let administration =
                Administration::open_existing(&data_dir.path(), settings, holder).await?;
            administration.execute(RetireSigningKey { kid: kid.clone() }).await?;
            say!("{kid}")?;
            Ok(())
        }
        SigningKey::List { data_dir, root_key, output } => {
            let settings = root_key.read_and_warn()?;
            let holder = "gatekey signing-key list";
            let administration =
                Administration::open_existing(&data_dir.path(), settings, holder).await?;
            print(&administration.execute(ListSigningKeys).await?, output.output)
        }
    }
}

fn print(keys: &[SigningKeyFacts], format: Format) -> anyhow::Result<()> {
    let now = Env::system().now();
    let states = states(keys.iter().map(SigningKeyFacts::dates), now);
    let states = states.into_iter().map(|state| match state {
        SigningKeyState::Next => "next",
        SigningKeyState::Signs => "signs",
        SigningKeyState::Published => "published",
        SigningKeyState::Retired => "retired",
    });
    let keys = keys.iter().zip(states);
    if let Some(notation) = format.notation() {
        let keys = keys.map(|(key, state)| {
            json!({
                "kid": key.kid,
                "algorithm": key.algorithm,
                "state": state,
                "created_at": clock::rfc_3339(key.created_at),
                "signs_from": clock::rfc_3339(key.signs_from),
                "published_until": key.published_until.map(clock::rfc_3339),
            })
        });
        return notation.print(&keys.collect::<Value>());
    }
    let rows = keys.map(|(key, state)| {
        let signs_from = output::date(Some(clock::system_time(key.signs_from)), "");
        let until = output::date(key.published_until.map(clock::system_time), "");
        vec![key.kid.clone(), key.algorithm.to_string(), state.to_owned(), signs_from, until]
    });
    say!(
        "{}",
        output::table(&["KID", "ALGORITHM", "STATE", "SIGNS FROM", "PUBLISHED UNTIL"], rows)
    )?;
    Ok(())
}
