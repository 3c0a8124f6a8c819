//! `gatekey init`: creates the first admin key, or gives a lost one a new secret.

use gatekey_client::KeyDetails;
use gatekey_server::control::{Init, NewKey};
use tracing::level_filters::LevelFilter;

use crate::{
    administration::Administration,
    args,
    clock::now,
    logging,
    output::{self, Credentials, Key, check_stdout},
};

/// Creates an admin key, through the server if one runs on the data directory.
pub(crate) async fn run(arguments: args::Init) -> anyhow::Result<()> {
    let _logging = logging::start_plain(LevelFilter::WARN);
    check_stdout()?;
    let settings = arguments.settings.read_and_warn()?;
    let data_dir = arguments.data_dir.path();
    let administration = Administration::open(&data_dir, settings, "gatekey init").await?;
    let init = Init { name: arguments.name, rotate: arguments.rotate };
    let NewKey { endpoint, key, client_secret, organization } =
        administration.execute(init).await?;
    let address = administration.address()?;
    if administration.is_guess() {
        output::note(&format!(
            "{} no server was started on this data directory yet, so the key names {}; if the server gets another \
             address, run `gatekey init --rotate` after its start, or with the flags or --config of `gatekey serve`",
            output::warning_word(),
            address.url
        ));
    }
    let key = Key::of_details(KeyDetails::from(key), now());
    let credentials = Credentials {
        url: &address.url,
        endpoint: &endpoint,
        client_id: &key.client_id,
        client_secret: &client_secret,
        organization: &organization,
        ca_file: address.ca_file.as_deref(),
    };
    let data_dir = output::shell_quoted(&data_dir.path().display().to_string());
    credentials.print(
        &key,
        arguments.output.output,
        &format!("the admin key {} exists", key.client_id),
        &format!("`gatekey init --rotate --name {} --data-dir {data_dir}`", key.client_id),
    )
}
