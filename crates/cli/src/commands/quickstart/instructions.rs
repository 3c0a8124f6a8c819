//! Lines to paste, for Flyte's tools and for this binary.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::Context as _;
use gatekey_client::PlainSecret;
use zeroize::Zeroizing;

use super::{
    backend::PROCEDURE,
    steps::{ADMIN_SECRET, KEY},
};
use crate::{
    atomic_file,
    data_dir::CA_FILE,
    output::{self, Credentials},
    running_server::RunningServer,
};

/// Flyte's configuration for the admin key. The user's own files stay as they are.
const FLYTE_CONFIG: &str = "flyte-admin.yaml";

/// Returns lines to paste, which depend on the port, and writes the file that they use. The backend
/// can be called only while quickstart serves.
pub(super) fn write(
    running: &RunningServer,
    secret: &PlainSecret,
    goes_on: bool,
) -> anyhow::Result<String> {
    let endpoint = running.server.config.server.endpoint();
    let admin_secret = fs::read_to_string(running.data_dir.file(ADMIN_SECRET)).map(Zeroizing::new);
    let admin_secret = admin_secret.context("cannot read the secret of the admin key")?;
    let credentials = |client_id, client_secret| Credentials {
        url: &running.address.url,
        endpoint,
        client_id,
        client_secret,
        organization: "",
        ca_file: running.address.ca_file.as_deref(),
    };
    let config = running.data_dir.file(FLYTE_CONFIG);
    let yaml = config_yaml(running.data_dir.path(), endpoint);
    atomic_file::write_private(&config, yaml.as_bytes())?;
    let config = output::shell_quoted(&config.display().to_string());
    let flags = output::flyte_flags(&running.address.url, endpoint);

    let mut text = String::new();
    let title = "Use the key with Flyte's tools (pip install flyte flyteplugins-union):";
    writeln!(text, "\n{}\n", output::bold(title))?;
    text.push_str(&credentials(KEY, secret.expose()).flyte_lines()?);
    writeln!(text, "flyte {flags}get api-key {KEY}")?;
    if goes_on {
        let title = "Call the small backend behind the gate; without the key it is refused:";
        writeln!(text, "\n{}\n\n{}", output::bold(title), call_of_backend(running))?;
    }
    writeln!(text, "\n{}\n", output::bold("Manage keys with Flyte's tools, as admin:"))?;
    writeln!(text, "unset FLYTE_API_KEY")?;
    writeln!(text, "flyte -c {config} get api-key")?;
    writeln!(text, "\n{}\n", output::bold("Manage keys with this binary, as admin:"))?;
    text.push_str(&credentials("admin", admin_secret.trim()).gatekey_lines()?);
    write!(text, "{} key list", program())?;
    Ok(text)
}

/// Returns the line that calls the backend with the key that the other lines export.
fn call_of_backend(running: &RunningServer) -> String {
    let url = format!("{}{PROCEDURE}", running.address.url);
    let ca_file = running.address.ca_file.as_deref();
    let ca_file = ca_file.map(|file| output::shell_quoted(&file.display().to_string()));
    let ca_file = ca_file.map_or_else(String::new, |file| format!(" --cacert {file}"));
    format!(
        "curl{ca_file} -H \"authorization: Bearer $FLYTE_API_KEY\" -H 'content-type: application/json' -d '{{}}' {url}"
    )
}

/// This program as it was called, because it need not be on `PATH`.
pub(super) fn program() -> String {
    let called = std::env::args().next().unwrap_or_else(|| "gatekey".to_owned());
    output::shell_quoted(&called)
}

fn config_yaml(data_dir: &Path, endpoint: &str) -> String {
    let quoted = |name: &str| format!("{:?}", data_dir.join(name).display().to_string());
    format!(
        "# Written by gatekey quickstart: Flyte's tools use it with `flyte -c FILE`.\nadmin:\n  endpoint: \
         dns:///{endpoint}\n  authType: ClientSecret\n  clientId: admin\n  clientSecretLocation: \
         {}\n  caCertFilePath: {}\n",
        quoted(ADMIN_SECRET),
        quoted(CA_FILE)
    )
}
