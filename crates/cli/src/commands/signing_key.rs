//! `gatekey signing-key`.

use gatekey_server::control::{Request, Response};

use crate::{
    administration::{Administration, misunderstood},
    args::{LogFormat, SigningKey},
    logging,
};

/// Makes a new key sign.
pub(crate) async fn run(arguments: SigningKey) -> anyhow::Result<()> {
    let _logging = logging::start(LogFormat::Auto, "warn");
    let SigningKey::Rotate { data_dir, settings } = arguments;
    let settings = super::settings(settings)?;
    let what = "gatekey signing-key rotate";
    let administration = Administration::open(&data_dir.data_dir, settings, what).await?;
    let Response::SigningKey { kid } = administration.carry_out(Request::RotateSigningKey).await? else {
        return Err(misunderstood());
    };
    say!("{kid}")?;
    Ok(())
}
