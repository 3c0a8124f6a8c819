//! `gatekey quickstart`: serves, and goes through the life of a key step by step.

use std::{fs, io, net::SocketAddr, path::Path, time::Duration};

use anyhow::Context as _;
use futures::TryStreamExt as _;
use gatekey_client::{ApiKey, Client, Error, PlainSecret, RotateOptions};
use gatekey_core::Env;
use gatekey_server::config;
use tokio::net::TcpListener;
use zeroize::Zeroizing;

use super::serve::{StopSignals, stop};
use crate::{
    administration::failed,
    args,
    data_dir::{self, DataDir},
    exit,
    logging::{self, LogFormat},
    output::{self, Credentials},
    running::{self, Opened, Purpose, Running},
};

const KEY: &str = "ci-pipeline";
/// The file with the secret of `admin`, so that quickstart can run again. Only its owner can read
/// it.
const ADMIN_SECRET: &str = "admin.secret";
const GRACE: Duration = Duration::from_hours(24);

/// Serves, goes through the steps, and prints lines to paste for Flyte's tools.
pub(crate) async fn run(arguments: args::Quickstart) -> anyhow::Result<()> {
    let logging = logging::start(LogFormat::Auto, "warn");
    let data_dir = DataDir::open(&arguments.data_dir.data_dir, "gatekey quickstart")?;
    if data_dir.database().exists() && !data_dir.file(ADMIN_SECRET).exists() {
        let message = format!(
            "the data directory {} was not created by quickstart; choose another with --data-dir, or \
             start its server with `gatekey serve`",
            data_dir.path().display()
        );
        return Err(exit::usage(message));
    }
    let listener = listen(arguments.listen).await?;
    let config = running::resolve(&config::Settings::default(), listener.local_addr()?)?;
    let root_key_file = data_dir.file("root.key");
    let (env, request_log) = (Env::system(), logging.request_log());
    let opened = Opened::open(data_dir, config, &root_key_file, env, Purpose::Serve, request_log, None);
    let running = opened.await?.start(listener, None)?;
    step(&format!(
        "Serving on {} with a certificate from a private CA; data is stored in {}",
        running.address.url,
        running.data_dir.path().display()
    ))?;
    let toured = Box::pin(tour(&running)).await;
    if let Ok(secret) = &toured {
        print_instructions(&running, secret)?;
    }
    match toured {
        Ok(_) if !arguments.once => {
            let next = format!(
                "{} serve --data-dir {} --listen {}",
                program(),
                output::shell_quoted(&running.data_dir.path().display().to_string()),
                running.app.config.server.listen
            );
            let mut signals = StopSignals::catch()?;
            say!("\nServing until Ctrl-C. Next time: {}", output::bold(&next))?;
            signals.wait().await;
            stop(running, signals).await;
            Ok(())
        }
        toured => {
            running.stop().await;
            toured.map(|_| ())
        }
    }
}

/// Listens on the given address, or on port 443 where that is allowed: Flyte's tools need keys
/// without a port.
async fn listen(asked: Option<SocketAddr>) -> anyhow::Result<TcpListener> {
    if let Some(address) = asked {
        return running::bind(address, "--listen").await;
    }
    let best = SocketAddr::from(([127, 0, 0, 1], 443));
    match TcpListener::bind(best).await {
        Ok(listener) => Ok(listener),
        Err(error) if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::AddrInUse) => {
            running::bind(SocketAddr::from(([127, 0, 0, 1], 8443)), "--listen").await
        }
        Err(error) => Err(error).context(format!("cannot listen on {best}")),
    }
}

/// Goes through the steps. Returns the secret of the key that is left.
async fn tour(running: &Running) -> anyhow::Result<PlainSecret> {
    let admin = admin_client(running).await?;

    let created = match ApiKey::create(&admin, KEY).await {
        Ok(key) => {
            step(&format!("Created the API key {KEY}; its secret is shown once and stored as a hash"))?;
            key
        }
        Err(error) if error.is_already_exists() => {
            let key = rotate(&admin, KEY).await?;
            step(&format!("The API key {KEY} exists from an earlier run; gave it a new secret"))?;
            key
        }
        Err(error) => return Err(error.into()),
    };

    let key = client(running, KEY, &PlainSecret::new(created.client_secret()))?;
    let token = key.access_token().await?;
    step(&format!(
        "Exchanged its secret for an access token of {} bytes; tokens are not stored in the database",
        token.len()
    ))?;

    let user = key.whoami().await?;
    step(&format!("Called an RPC with the token; the server identified the caller as {}", user.subject))?;

    let keys: Vec<_> = ApiKey::listall(&admin, None).try_collect().await?;
    let names: Vec<_> = keys.iter().take(5).map(ApiKey::client_id).collect();
    step(&format!("Listed the keys: {}{}", names.join(", "), if keys.len() > 5 { ", ..." } else { "" }))?;

    let rotated = rotate(&key, KEY).await?;
    step("The key rotated its own secret; the old one stays valid for 24 hours")?;

    reject_deleted(running, &admin).await?;
    Ok(PlainSecret::new(rotated.client_secret()))
}

/// Shows that a deleted key is rejected.
async fn reject_deleted(running: &Running, admin: &Client) -> anyhow::Result<()> {
    // A random name, because any other may be taken.
    let name = format!("throw-away-{}", gatekey_core::SecretId::generate(&running.app.env));
    let created = ApiKey::create(admin, &name).await?;
    let client = client(running, &name, &PlainSecret::new(created.client_secret()))?;
    client.whoami().await?;
    ApiKey::delete(admin, &name).await?;
    match client.whoami().await {
        Err(error) if error.is_unauthenticated() => {
            step("Created, used and deleted another key; its token and secret stopped working at once")?;
            Ok(())
        }
        Err(error) => Err(error.into()),
        Ok(_) => anyhow::bail!("the server accepted a deleted key; please report this"),
    }
}

/// Returns a client with the admin key: the one of an earlier run, or a new one.
async fn admin_client(running: &Running) -> anyhow::Result<Client> {
    let file = running.data_dir.file(ADMIN_SECRET);
    if let Ok(secret) = fs::read_to_string(&file).map(Zeroizing::new) {
        let client = client(running, "admin", &PlainSecret::new(secret.trim()))?;
        match client.access_token().await {
            Ok(_) => {
                step("The admin key exists from an earlier run")?;
                return Ok(client);
            }
            Err(error) if error.is_unauthenticated() => {}
            Err(error) => return Err(error.into()),
        }
    }
    let caller = running::local_caller(&running.app.env);
    let created = running.app.operations.init(&caller, "admin", true).await;
    let secret = created.map_err(|error| failed(error.into()))?.secret;
    data_dir::write_private(&file, secret.expose().as_bytes())?;
    step(&format!("Created the admin key; its secret is in {}", file.display()))?;
    client(running, "admin", &PlainSecret::new(secret.expose()))
}

async fn rotate(client: &Client, client_id: &str) -> Result<ApiKey, Error> {
    let options = |grace| RotateOptions { grace, label: Some("quickstart".to_owned()), expires_at: None };
    match ApiKey::rotate(client, client_id, options(GRACE)).await {
        // The key has the maximum number of secrets after several runs within a day.
        Err(error) if error.is_failed_precondition() => {
            ApiKey::rotate(client, client_id, options(Duration::ZERO)).await
        }
        other => other,
    }
}

fn client(running: &Running, client_id: &str, secret: &PlainSecret) -> anyhow::Result<Client> {
    let mut builder = Client::builder().endpoint(&running.address.url).credentials(client_id, secret.clone());
    if let Some(ca_file) = &running.address.ca_file {
        builder = builder.ca_file(ca_file);
    }
    Ok(builder.build()?)
}

fn step(text: &str) -> io::Result<()> {
    say!("{} {text}", output::done_mark())
}

/// Prints lines to paste, which depend on the port.
fn print_instructions(running: &Running, secret: &PlainSecret) -> anyhow::Result<()> {
    let endpoint = running.app.config.server.endpoint();
    let credentials = Credentials {
        endpoint,
        client_id: KEY,
        client_secret: secret.expose(),
        organization: "",
        ca_file: running.address.ca_file.as_deref(),
    };
    let bundle = running.data_dir.file("ca-bundle.pem");
    let bundle = output::shell_quoted(&bundle.display().to_string());
    say!("\n{}", output::bold("Use the key with Flyte's tools (pip install flyte flyteplugins-union):"))?;
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
        output::shell_quoted(&running.data_dir.file("ca.pem").display().to_string())
    )?;
    say!("{} whoami", program())?;
    Ok(())
}

/// This program as it was called, because it need not be on `PATH`.
fn program() -> String {
    let called = std::env::args().next().unwrap_or_else(|| "gatekey".to_owned());
    output::shell_quoted(&called)
}

fn config_yaml(data_dir: &Path, endpoint: &str) -> String {
    let quoted = |name: &str| format!("{:?}", data_dir.join(name).display().to_string());
    format!(
        "admin:\n  endpoint: dns:///{endpoint}\n  authType: ClientSecret\n  clientId: admin\n  \
         clientSecretLocation: {}\n  caCertFilePath: {}",
        quoted(ADMIN_SECRET),
        quoted("ca.pem")
    )
}
