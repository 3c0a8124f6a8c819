//! Gatekey under test: data directories, servers on them, and keys created through the API.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use gatekey_credentials::jwt::Algorithm;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::{
    certificate::Certificate,
    load::{self, Connection, Requests},
    options::{ALGORITHMS, Options},
    process::Server,
    request::{self, Client},
};

/// How many callers create keys concurrently when many are needed.
pub(crate) const CALLERS: usize = 64;

/// State that all cases share.
pub(crate) struct Bench {
    pub(crate) options: Options,
    directory: TempDir,
    home: OnceCell<Home>,
}

impl Bench {
    /// Creates an empty directory beside the programs. The system's temporary directory may be in
    /// memory, where an fsync costs nothing.
    ///
    /// # Errors
    /// When the directory cannot be created.
    pub(crate) fn new(options: Options) -> anyhow::Result<Self> {
        let own = std::env::current_exe()?;
        let beside = own.parent().context("the program is in a directory")?;
        let directory = tempfile::Builder::new().prefix("bench-").tempdir_in(beside)?;
        Ok(Self { options, directory, home: OnceCell::new() })
    }

    /// Where all measured programs write.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The data directory that most cases use, created at the first call. No server runs on it.
    pub(crate) async fn home(&self) -> anyhow::Result<&Home> {
        self.home.get_or_try_init(async || self.home_with_keys(None, ALGORITHMS[0]).await).await
    }

    /// A data directory with keys, for this build or another program. Its first signing key has
    /// the algorithm. No server runs on it.
    pub(crate) async fn home_with_keys(
        &self,
        program: Option<&Path>,
        algorithm: Algorithm,
    ) -> anyhow::Result<Home> {
        let build = if program.is_some() { "-other" } else { "" };
        let mut home = self.new_home(&format!("keys-{algorithm}{build}"), program)?;
        home.algorithm = algorithm;
        let server = home.serve(&Settings::default())?;
        home.init()?;
        home.check_algorithm(&home.log_in(&server).await?)?;
        home.clients = home.make_keys(&server, "bench", self.options.keys()).await?;
        Ok(home)
    }

    /// An empty data directory, for this build or another program.
    pub(crate) fn new_home(&self, name: &str, program: Option<&Path>) -> anyhow::Result<Home> {
        let own = std::env::current_exe()?;
        let program = program.map_or_else(|| own.with_file_name("gatekey"), Path::to_owned);
        let data_dir = self.directory().join(name);
        let algorithm = ALGORITHMS[0];
        Ok(Home { program, data_dir, algorithm, admin: None, clients: Vec::new() })
    }
}

/// How Gatekey serves. Defaults to no TLS.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) tls: Option<Certificate>,
    /// Port 0 picks a free one.
    pub(crate) listen: String,
    /// Where the gate leads.
    pub(crate) upstream: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { tls: None, listen: "127.0.0.1:0".to_owned(), upstream: None }
    }
}

pub(crate) struct Home {
    program: PathBuf,
    data_dir: PathBuf,
    /// Of the first signing key. A later one is published for a day before it signs, so each
    /// algorithm has a data directory of its own.
    algorithm: Algorithm,
    admin: Option<Client>,
    pub(crate) clients: Vec<Client>,
}

impl Home {
    /// Starts a server and waits until it is ready.
    pub(crate) fn serve(&self, settings: &Settings) -> anyhow::Result<Server> {
        let ready =
            |line: &str| Some(line.split_once("\"listen\":\"")?.1.split('"').next()?.to_owned());
        let (mut server, address) =
            Server::start(&self.program, &self.arguments(settings)?, ready)?;
        server.address = address;
        Ok(server)
    }

    /// Starts a server without waiting for it. The settings must name its port.
    pub(crate) fn serve_unready(&self, settings: &Settings) -> anyhow::Result<Server> {
        Server::start_on(&settings.listen, &self.program, &self.arguments(settings)?)
    }

    fn arguments(&self, settings: &Settings) -> anyhow::Result<Vec<String>> {
        fs::create_dir_all(&self.data_dir)?;
        let mut arguments = vec![
            "serve".to_owned(),
            "--log-format=json".to_owned(),
            format!("--listen={}", settings.listen),
            format!("--data-dir={}", self.data_dir.display()),
        ];
        if let Some(upstream) = &settings.upstream {
            let config = self.data_dir.with_extension("gate.toml");
            // The load is also the proxy that asks.
            let trusted = "[server]\ntrusted_proxies = [\"127.0.0.1\"]\n";
            let gate = format!("[gate]\nupstream = \"{upstream}\"\nforward_auth = true\n");
            fs::write(&config, format!("{trusted}{gate}"))?;
            arguments.push(format!("--config={}", config.display()));
        } else if self.algorithm != ALGORITHMS[0] {
            let config = self.configuration()?;
            arguments.push(format!("--config={}", config.display()));
        }
        match &settings.tls {
            Some(Certificate { chain, key }) => {
                arguments.push(format!("--tls-cert={}", chain.display()));
                arguments.push(format!("--tls-key={}", key.display()));
            }
            None => arguments.push("--plaintext".to_owned()),
        }
        Ok(arguments)
    }

    /// Writes a configuration file with the one setting that has no flag.
    fn configuration(&self) -> anyhow::Result<PathBuf> {
        let file = self.data_dir.with_extension("toml");
        let setting = format!("signing_algorithm = \"{}\"\n", self.algorithm);
        fs::write(&file, format!("[keys]\n{setting}"))?;
        let check = Command::new(&self.program)
            .args(["config", "check", "--config"])
            .arg(&file)
            .output()?;
        if !check.status.success() {
            // A build that predates sections in the file.
            fs::write(&file, setting)?;
        }
        Ok(file)
    }

    /// Creates the admin key.
    ///
    /// # Errors
    /// When `gatekey init` fails.
    pub(crate) fn init(&mut self) -> anyhow::Result<()> {
        let init = Command::new(&self.program)
            .args(["init", "--output=json", "--data-dir"])
            .arg(&self.data_dir)
            .output()?;
        ensure!(init.status.success(), "{}", String::from_utf8_lossy(&init.stderr));
        self.admin = Some(serde_json::from_slice(&init.stdout)?);
        Ok(())
    }

    pub(crate) fn admin(&self) -> anyhow::Result<&Client> {
        self.admin.as_ref().context("init was run")
    }

    /// Returns a token of the admin key.
    pub(crate) async fn log_in(&self, server: &Server) -> anyhow::Result<String> {
        let mut connection = Connection::open(&server.address).await?;
        access_token(connection.call(&request::token(self.admin()?)).await?)
    }

    /// Fails if a token is signed with another algorithm than the one to measure.
    fn check_algorithm(&self, token: &str) -> anyhow::Result<()> {
        let header = token.split('.').next().unwrap_or_default();
        let header: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(header)?)?;
        ensure!(
            header["alg"] == self.algorithm.as_str(),
            "a token has the header {header} instead of {}",
            self.algorithm
        );
        Ok(())
    }

    /// Creates keys named after `prefix`, with [`CALLERS`] concurrent callers.
    pub(crate) async fn make_keys(
        &self,
        server: &Server,
        prefix: &'static str,
        keys: usize,
    ) -> anyhow::Result<Vec<Client>> {
        let token = self.log_in(server).await?;
        let requests = (0..keys).map(move |number| request::create(&token, &name(prefix, number)));
        load::collect(&server.address, CALLERS, requests, created).await
    }

    /// A token request of each key, in a cycle.
    pub(crate) fn token_requests(&self) -> Requests {
        Requests::again(self.clients.iter().map(request::token).collect())
    }
}

/// Names sort in numeric order.
pub(crate) fn name(prefix: &str, number: usize) -> String {
    format!("{prefix}-{number:07}")
}

fn created(answer: &[u8]) -> anyhow::Result<Client> {
    let answer: Value = serde_json::from_slice(answer)?;
    let text =
        |field: &str| answer["app"][field].as_str().map(str::to_owned).context("a new key's field");
    Ok(Client { id: text("clientId")?, secret: text("clientSecret")? })
}

/// The access token of a token response.
///
/// # Errors
/// When it is not a token response.
pub(crate) fn access_token(answer: &[u8]) -> anyhow::Result<String> {
    let answer: Value = serde_json::from_slice(answer)?;
    answer["access_token"].as_str().map(str::to_owned).context("a token response has a token")
}

/// Sends each token request once and returns the tokens.
///
/// # Errors
/// When an answer is not a token response.
pub(crate) async fn fetch_tokens(
    address: &str,
    connections: usize,
    requests: impl Iterator<Item = Vec<u8>> + 'static,
) -> anyhow::Result<Vec<String>> {
    load::collect(address, connections, requests, access_token).await
}

/// The length of the answer to a request, in bytes.
///
/// # Errors
/// When its status is not 200.
pub(crate) async fn answer_length(server: &Server, request: &[u8]) -> anyhow::Result<usize> {
    Ok(Connection::open(&server.address).await?.call(request).await?.len())
}
