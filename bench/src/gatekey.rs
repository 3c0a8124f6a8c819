//! Gatekey as it is measured: data directories, servers on them, and keys made through the front door.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};
use gatekey_credentials::jwt::Algorithm;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::{
    ALGORITHMS, Options,
    certificate::Certificate,
    load::{self, Connection, Requests},
    process::Server,
    request::{self, Client},
};

/// Who makes keys at the same time when there are many to make.
pub(crate) const CALLERS: usize = 64;

/// What the cases share.
pub(crate) struct Bench {
    /// What was asked for.
    pub(crate) options: Options,
    directory: TempDir,
    home: OnceCell<Home>,
}

impl Bench {
    /// With an empty directory beside the programs: what is temporary may be in memory, and an fsync there costs
    /// nothing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn new(options: Options) -> anyhow::Result<Self> {
        let own = std::env::current_exe()?;
        let beside = own.parent().context("the program is in a directory")?;
        let directory = tempfile::Builder::new().prefix("bench-").tempdir_in(beside)?;
        Ok(Self { options, directory, home: OnceCell::new() })
    }

    /// Where everything that is measured writes.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A data directory with the keys that most cases use, made when first asked for; no server is on it.
    pub(crate) async fn home(&self) -> anyhow::Result<&Home> {
        self.home.get_or_try_init(async || self.home_with_keys(None, self.options.keys()).await).await
    }

    /// A data directory with so many keys, of this build or of another program; no server is on it.
    pub(crate) async fn home_with_keys(&self, program: Option<&Path>, keys: usize) -> anyhow::Result<Home> {
        let mut home = self.new_home(if program.is_some() { "keys-other" } else { "keys" }, program)?;
        let server = home.serve(&Settings::default())?;
        home.init()?;
        home.clients = home.make_keys(&server, "bench", keys).await?;
        Ok(home)
    }

    /// An empty data directory, of this build or of another program.
    pub(crate) fn new_home(&self, name: &str, program: Option<&Path>) -> anyhow::Result<Home> {
        let own = std::env::current_exe()?;
        let program = program.map_or_else(|| own.with_file_name("gatekey"), Path::to_owned);
        let data_dir = self.directory().join(name);
        Ok(Home { program, data_dir, admin: None, clients: Vec::new() })
    }
}

/// How Gatekey serves; by default as nobody says: ES256, and here in the clear.
#[derive(Clone)]
pub(crate) struct Settings {
    /// How tokens are signed.
    pub(crate) algorithm: Algorithm,
    /// With TLS.
    pub(crate) tls: Option<Certificate>,
    /// The address; port 0 picks a free one.
    pub(crate) listen: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { algorithm: Algorithm::ES256, tls: None, listen: "127.0.0.1:0".to_owned() }
    }
}

/// A data directory.
pub(crate) struct Home {
    program: PathBuf,
    data_dir: PathBuf,
    admin: Option<Client>,
    /// The keys that were made.
    pub(crate) clients: Vec<Client>,
}

impl Home {
    /// Starts a server and waits until it serves.
    pub(crate) fn serve(&self, settings: &Settings) -> anyhow::Result<Server> {
        let ready = |line: &str| Some(line.split_once("\"listen\":\"")?.1.split('"').next()?.to_owned());
        let (mut server, address) = Server::start(&self.program, &self.arguments(settings)?, ready)?;
        server.address = address;
        Ok(server)
    }

    /// Starts a server and does not wait for it. The settings name its port.
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
        if settings.algorithm != ALGORITHMS[0] {
            let config = self.configuration(settings.algorithm)?;
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

    /// A file with the one setting that has no flag.
    fn configuration(&self, algorithm: Algorithm) -> anyhow::Result<PathBuf> {
        let file = self.data_dir.with_extension("toml");
        let setting = format!("signing_algorithm = \"{algorithm}\"\n");
        fs::write(&file, format!("[tokens]\n{setting}"))?;
        let check = Command::new(&self.program).args(["config", "check", "--config"]).arg(&file).output()?;
        if !check.status.success() {
            // A build from before the file had sections.
            fs::write(&file, setting)?;
        }
        Ok(file)
    }

    /// Makes the admin key.
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

    /// The admin key.
    pub(crate) fn admin(&self) -> anyhow::Result<&Client> {
        self.admin.as_ref().context("init was run")
    }

    /// A token of the admin key.
    pub(crate) async fn log_in(&self, server: &Server) -> anyhow::Result<String> {
        let mut connection = Connection::open(&server.address).await?;
        access_token(connection.call(&request::token(self.admin()?)).await?)
    }

    /// Makes keys with [`CALLERS`] callers at the same time; they are named with the prefix.
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

    /// A token request of each key, round and round.
    pub(crate) fn token_requests(&self) -> Requests {
        Requests::again(self.clients.iter().map(request::token).collect())
    }
}

/// Names sort as they count.
pub(crate) fn name(prefix: &str, number: usize) -> String {
    format!("{prefix}-{number:07}")
}

fn created(answer: &[u8]) -> anyhow::Result<Client> {
    let answer: Value = serde_json::from_slice(answer)?;
    let text = |field: &str| answer["app"][field].as_str().map(str::to_owned).context("a new key's field");
    Ok(Client { id: text("clientId")?, secret: text("clientSecret")? })
}

/// What a token endpoint gave.
///
/// # Errors
/// When it is no token response.
pub(crate) fn access_token(answer: &[u8]) -> anyhow::Result<String> {
    let answer: Value = serde_json::from_slice(answer)?;
    answer["access_token"].as_str().map(str::to_owned).context("a token response has a token")
}

/// Asks for a token with each request, once.
///
/// # Errors
/// When an answer is no token response.
pub(crate) async fn fetch_tokens(
    address: &str,
    connections: usize,
    requests: impl Iterator<Item = Vec<u8>> + 'static,
) -> anyhow::Result<Vec<String>> {
    load::collect(address, connections, requests, access_token).await
}

/// How many bytes the answer to a request has.
///
/// # Errors
/// When it is not 200.
pub(crate) async fn answer_length(server: &Server, request: &[u8]) -> anyhow::Result<usize> {
    Ok(Connection::open(&server.address).await?.call(request).await?.len())
}
