//! `gatekey signing-key`.

use gatekey_server::control::{Request, Response};

use super::init::{administer, refused};
use crate::{
    args::{LogFormat, SigningKey},
    logging,
};

/// Makes a new key sign.
pub(crate) async fn run(arguments: SigningKey) -> anyhow::Result<()> {
    let _logging = logging::start(LogFormat::Auto, "warn");
    let SigningKey::Rotate { data_dir, settings } = arguments;
    let settings = super::settings(settings)?;
    let (response, _) = administer(&data_dir.data_dir, settings, &Request::RotateSigningKey).await?;
    if let Response::SigningKey { kid } = refused(response)? {
        say!("{kid}")?;
    }
    Ok(())
}
