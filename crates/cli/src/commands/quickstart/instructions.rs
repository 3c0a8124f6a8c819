//! Lines to paste, for Flyte's tools and for this binary.

use std::path::Path;

use gatekey_client::PlainSecret;

use super::steps::{ADMIN_SECRET, KEY};
use crate::{
    data_dir::{CA_BUNDLE_FILE, CA_FILE},
    output::{self, Credentials},
    running_server::RunningServer,
};

/// Prints lines to paste, which depend on the port.
pub(super) fn print(running: &RunningServer, secret: &PlainSecret) -> anyhow::Result<()> {
    let endpoint = running.server.config.server.endpoint();
    let credentials = Credentials {
        endpoint,
        client_id: KEY,
        client_secret: secret.expose(),
        organization: "",
        ca_file: running.address.ca_file.as_deref(),
    };
    let bundle = running.data_dir.file(CA_BUNDLE_FILE);
    let bundle = output::shell_quoted(&bundle.display().to_string());
    say!(
        "\n{}",
        output::bold("Use the key with Flyte's tools (pip install flyte flyteplugins-union):")
    )?;
    say!()?;
    say!("export SSL_CERT_FILE={bundle}")?;
    say!("export GRPC_DEFAULT_SSL_ROOTS_FILE_PATH={bundle}")?;
    say!("export FLYTE_API_KEY={}", credentials.encoded_for_flyte()?.expose())?;
    match output::port_of(endpoint) {
        None => say!("flyte get api-key {KEY}")?,
        Some(_) => say!("flyte --endpoint {endpoint} get api-key {KEY}")?,
    }
    say!("\n{}", output::bold("Manage keys with Flyte's tools, as admin:"))?;
    say!()?;
    say!("cat > config.yaml <<'END'")?;
    say!("{}", config_yaml(running.data_dir.path(), endpoint))?;
    say!("END")?;
    say!("unset FLYTE_API_KEY")?;
    say!("flyte -c config.yaml get api-key")?;
    say!("\n{}", output::bold(&format!("Use the key {KEY} with this binary:")))?;
    say!()?;
    say!("export GATEKEY_API_KEY={}", credentials.encoded()?.expose())?;
    say!(
        "export GATEKEY_CA_FILE={}",
        output::shell_quoted(&running.data_dir.file(CA_FILE).display().to_string())
    )?;
    say!("{} whoami", program())?;
    Ok(())
}

/// This program as it was called, because it need not be on `PATH`.
pub(super) fn program() -> String {
    let called = std::env::args().next().unwrap_or_else(|| "gatekey".to_owned());
    output::shell_quoted(&called)
}

fn config_yaml(data_dir: &Path, endpoint: &str) -> String {
    let quoted = |name: &str| format!("{:?}", data_dir.join(name).display().to_string());
    format!(
        "admin:\n  endpoint: dns:///{endpoint}\n  authType: ClientSecret\n  clientId: admin\n  \
         clientSecretLocation: {}\n  caCertFilePath: {}",
        quoted(ADMIN_SECRET),
        quoted(CA_FILE)
    )
}
