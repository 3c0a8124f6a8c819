//! Local administration while the server runs: a socket in the data directory, for the server's own user and
//! root alone.
//!
//! One JSON object a line: a [`Request`], then a [`Response`], which a backup follows as it is. Whoever can open the socket could read the root
//! key beside it as well, so a request needs no further proof; the kernel tells who asks.

use std::{io, time::Duration};

use gatekey_core::{
    Actor, ApiKeyPatch, Application, Caller, Error, StoreError, Timestamp,
    api_key::{CreateApiKey, RotateSecret, WithSecret},
    ledger::{self, LedgerEntry, LedgerFault, LedgerHead},
    operations::backup::Passphrase,
    root_key::{Retired, RootKeyFacts, RootKeyRetired, Rotated},
    signing_key::{SealedSigningKey, SigningKeyRetired},
};
use gatekey_credentials::{ClientId, Role, jwt::Algorithm};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    task,
};
use zeroize::Zeroizing;

use crate::{App, backup::Backup};

/// The socket's name in the data directory.
pub const SOCKET: &str = "control.sock";
const MAX_LINE: u64 = 64 * 1024;
/// How long whoever fetches a backup may keep the server waiting.
const PATIENCE: Duration = Duration::from_mins(1);

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "operation", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Makes an admin key.
    Init {
        /// Its name.
        name: String,
        /// When it exists: give it a new secret, make it an admin and enable it, instead of refusing.
        rotate: bool,
    },
    /// Makes a new signing key sign from now on.
    RotateSigningKey,
    /// Gives every signing key.
    ListSigningKeys,
    /// Publishes a signing key that signs no more not any longer.
    RetireSigningKey {
        /// The header's `kid`.
        kid: String,
    },
    /// Brings a newer version of the root key into use.
    RotateRootKey,
    /// Gives every version of the root key.
    ListRootKeys,
    /// Ends a version of the root key that nothing needs.
    RetireRootKey {
        /// Which one.
        version: u32,
    },
    /// Gives a page of the ledger: at most [`ledger::PAGE`] entries.
    Ledger {
        /// The sequence number after which it begins.
        after: i64,
        /// At most so many entries.
        limit: usize,
    },
    /// Walks the ledger's chain from its first entry.
    VerifyLedger {
        /// A head that must be met on the way.
        known: Option<LedgerHead>,
    },
    /// Takes a backup.
    BackUp {
        /// What it is sealed under besides the root key.
        passphrase: Option<Passphrase>,
    },
}

/// What is answered. No `Debug`: it may hold a secret.
#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Response {
    /// A key with its secret.
    Key {
        /// Host and port.
        endpoint: String,
        /// Its client id.
        client_id: String,
        /// Its secret.
        client_secret: Zeroizing<String>,
        /// Whom the server serves.
        organization: String,
    },
    /// A signing key's id.
    SigningKey {
        /// The header's `kid`.
        kid: String,
    },
    /// Every signing key, in the order of making.
    SigningKeys {
        /// What is known of each.
        keys: Vec<SigningKeyFacts>,
    },
    /// A newer version of the root key is in use.
    RootKeyRotated {
        /// Which one.
        version: u32,
        /// Whether it was in the file already.
        was_begun: bool,
        /// Why the file says still that the rotation is pending.
        still_pending: Option<String>,
    },
    /// Every version of the root key, the newest first.
    RootKeys {
        /// What is known of each.
        versions: Vec<RootKeyFacts>,
    },
    /// A version of the root key is needed no more.
    RootKeyRetired {
        /// Why the file has it still.
        still_in_file: Option<String>,
    },
    /// A page of the ledger.
    Ledger {
        /// In their order.
        entries: Vec<LedgerEntry>,
        /// The sequence number of the ledger's last entry; 0 when it is empty.
        last: i64,
    },
    /// The ledger holds.
    LedgerVerified {
        /// Its last entry, whose sequence number is how many there are.
        head: LedgerHead,
    },
    /// A backup, which follows.
    Backup {
        /// Its bytes.
        length: u64,
        /// When the copy was taken.
        created_at: Timestamp,
    },
    /// It was refused or failed.
    Error {
        /// Why, for people.
        message: String,
        /// What kind of refusal or failure.
        kind: ErrorKind,
    },
}

/// What may be known of a signing key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningKeyFacts {
    /// The header's `kid`.
    pub kid: String,
    /// What it signs with.
    pub algorithm: Algorithm,
    /// When it was made.
    pub created_at: Timestamp,
    /// Until when it is published; `None` for the key that signs.
    pub published_until: Option<Timestamp>,
}

/// Kinds of refusals and failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// A key of that name exists already.
    Exists,
    /// There is no such key.
    NotFound,
    /// The name is wrong, or the key is not one of which that can be asked.
    Invalid,
    /// The store is unavailable.
    Unavailable,
    /// The ledger does not hold.
    BrokenLedger,
    /// Anything else.
    Failed,
}

impl Response {
    /// Whoever administers the machine may know the causes.
    fn failed(error: &dyn std::error::Error) -> Self {
        let causes = std::iter::successors(Some(error), |error| error.source());
        let message = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
        Self::Error { message, kind: ErrorKind::Failed }
    }
}

/// Takes a backup, on the socket's behalf or while nothing serves.
///
/// # Errors
/// The response that says why there is none.
pub async fn back_up(
    app: &App,
    caller: &Caller,
    passphrase: Option<Passphrase>,
) -> Result<Backup, Box<Response>> {
    Backup::take(app, caller, passphrase).await.map_err(|error| Box::new(Response::failed(&error)))
}

/// Carries a request out, on the socket's behalf or while nothing serves. For a backup there is [`back_up`].
pub async fn carry_out(app: &App, caller: &Caller, request: Request) -> Response {
    match request {
        Request::BackUp { .. } => {
            Response::Error { message: "a backup needs somewhere to go".to_owned(), kind: ErrorKind::Failed }
        }
        Request::Init { name, rotate } => match init(app, caller, &name, rotate).await {
            Ok(WithSecret { key, secret }) => Response::Key {
                endpoint: app.config.server.endpoint().to_owned(),
                client_id: key.client_id.to_string(),
                client_secret: Zeroizing::new(secret.expose().to_owned()),
                organization: app.config.server.organization.clone(),
            },
            Err(error) => {
                let kind = match &error {
                    Error::AlreadyExists(_) => ErrorKind::Exists,
                    Error::Invalid(_) => ErrorKind::Invalid,
                    Error::Unavailable(_) => ErrorKind::Unavailable,
                    Error::NotFound(_)
                    | Error::SecretNotFound { .. }
                    | Error::Precondition(_)
                    | Error::UnknownOrganization(_)
                    | Error::Forbidden(_)
                    | Error::Internal(_) => ErrorKind::Failed,
                };
                Response::Error { message: error.to_string(), kind }
            }
        },
        Request::RotateSigningKey => {
            let ring = &app.key_ring;
            // What signs now is what is configured: a start sees to that.
            let algorithm =
                ring.signing_key().map_or(app.config.keys.signing_algorithm, |key| key.algorithm());
            match ring.rotate(&*app.store, &app.env, algorithm, caller).await {
                Ok(kid) => Response::SigningKey { kid },
                Err(error) => Response::failed(&error),
            }
        }
        Request::ListSigningKeys => match app.store.signing_keys().await {
            Ok(keys) => Response::SigningKeys { keys: keys.into_iter().map(SigningKeyFacts::from).collect() },
            Err(error) => Response::failed(&error),
        },
        Request::RetireSigningKey { kid } => {
            match app.key_ring.retire(&*app.store, &app.env, &kid, caller).await {
                Ok(SigningKeyRetired::Done) => Response::SigningKey { kid },
                Ok(SigningKeyRetired::Signs) => Response::Error {
                    message: format!("signing key {kid} signs; rotate first, and then retire it"),
                    kind: ErrorKind::Invalid,
                },
                Ok(SigningKeyRetired::Absent) => Response::Error {
                    message: format!("there is no signing key {kid}"),
                    kind: ErrorKind::NotFound,
                },
                Err(error) => Response::failed(&error),
            }
        }
        Request::RotateRootKey => match app.root_key.rotate(&*app.store, &app.env, caller).await {
            Ok(Rotated { version, was_begun, still_pending }) => {
                tracing::info!(version, "another version of the root key is in use");
                let still_pending = still_pending.map(|error| error.to_string());
                Response::RootKeyRotated { version, was_begun, still_pending }
            }
            Err(error) => Response::failed(&error),
        },
        Request::ListRootKeys => match app.root_key.list(&*app.store, &app.env).await {
            Ok(versions) => Response::RootKeys { versions },
            Err(error) => Response::failed(&error),
        },
        Request::RetireRootKey { version } => {
            match app.root_key.retire(&*app.store, &app.env, version, caller).await {
                Ok(retired) => root_key_retired(version, retired),
                Err(error) => Response::failed(&error),
            }
        }
        Request::Ledger { after, limit } => match ledger_page(app, after, limit.min(ledger::PAGE)).await {
            Ok((entries, last)) => Response::Ledger { entries, last },
            Err(error) => Response::failed(&error),
        },
        Request::VerifyLedger { known } => {
            if let Err(error) = app.root_key.settle_anew(&*app.store).await {
                return Response::failed(&error);
            }
            match verify_ledger(app, known).await {
                Ok(head) => Response::LedgerVerified { head },
                Err(LedgerFault::Store(error)) => Response::failed(&error),
                Err(fault) => Response::Error { message: fault.to_string(), kind: ErrorKind::BrokenLedger },
            }
        }
    }
}

/// Verifies the ledger; once more when the root key was rotated meanwhile, because the keys that were begun with do not
/// know the new one's links.
async fn verify_ledger(app: &App, known: Option<LedgerHead>) -> Result<LedgerHead, LedgerFault> {
    loop {
        let version = app.root_key.version();
        let verified = ledger::verify(app.root_key.ledger_keys(), known, |after, limit| {
            app.store.ledger_entries(after, limit)
        })
        .await;
        if verified.is_ok() || app.root_key.version() == version {
            return verified;
        }
    }
}

impl From<SealedSigningKey> for SigningKeyFacts {
    fn from(key: SealedSigningKey) -> Self {
        let SealedSigningKey { kid, algorithm, created_at, published_until, .. } = key;
        Self { kid, algorithm, created_at, published_until }
    }
}

fn root_key_retired(version: u32, retired: Retired) -> Response {
    let (message, kind) = match retired.outcome {
        RootKeyRetired::Done | RootKeyRetired::Already => {
            let still_in_file = retired.still_in_file.map(|error| error.to_string());
            return Response::RootKeyRetired { still_in_file };
        }
        RootKeyRetired::Newest => (
            format!("version {version} of the root key is in use; rotate first, and then retire it"),
            ErrorKind::Invalid,
        ),
        RootKeyRetired::Needed { secrets, client_ids } => {
            let names = client_ids.iter().map(ClientId::as_str).collect::<Vec<_>>().join(", ");
            let message = format!(
                "version {version} of the root key is needed by {secrets} secret(s) that have not been used since it \
                 was replaced, among them those of {names}; rotate or delete those keys, or wait until they are used"
            );
            (message, ErrorKind::Invalid)
        }
        RootKeyRetired::Absent => {
            (format!("the database knows no version {version} of the root key"), ErrorKind::NotFound)
        }
    };
    Response::Error { message, kind }
}

async fn ledger_page(app: &App, after: i64, limit: usize) -> Result<(Vec<LedgerEntry>, i64), StoreError> {
    Ok((app.store.ledger_entries(after, limit).await?, app.store.ledger_head().await?.sequence))
}

/// The way in, and the way back for who lost the last admin key.
async fn init(app: &App, caller: &Caller, name: &str, rotate: bool) -> Result<WithSecret, Error> {
    let create = CreateApiKey {
        client_id: String::new(),
        application: Application::named(name),
        role: Some(Role::Admin),
        expires_at: None,
        secret_label: "init".to_owned(),
    };
    match app.api_keys.create(caller, create).await {
        Err(Error::AlreadyExists(client_id)) if rotate => {
            let client_id = client_id.as_str();
            // The earlier secrets die first: whoever else has one must never hold an enabled admin.
            let rotate = RotateSecret { label: "init".to_owned(), ..RotateSecret::default() };
            let rotated = app.api_keys.rotate_secret(caller, client_id, rotate).await?;
            let patch = ApiKeyPatch {
                role: Some(Some(Role::Admin)),
                expires_at: Some(None),
                ..ApiKeyPatch::default()
            };
            app.api_keys.update(caller, client_id, patch).await?;
            app.api_keys.enable(caller, client_id).await?;
            Ok(rotated)
        }
        other => other,
    }
}

/// Answers on the socket until the task is dropped.
pub async fn serve(app: App, listener: UnixListener, own_uid: u32) {
    let mut failing = false;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                failing = false;
                let app = app.clone();
                tokio::spawn(async move {
                    if let Err(error) = answer(&app, stream, own_uid).await {
                        tracing::warn!(%error, "local administration failed");
                    }
                });
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "the control socket cannot accept; it goes on trying in silence");
                }
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(app: &App, mut stream: UnixStream, own_uid: u32) -> io::Result<()> {
    let uid = stream.peer_cred()?.uid();
    if uid != own_uid && uid != 0 {
        tracing::warn!(uid, "refused local administration to another user");
        let response = Response::Error {
            message: "only the server's own user and root may administer it".to_owned(),
            kind: ErrorKind::Failed,
        };
        return respond(&mut stream, &response).await;
    }
    let mut line = Zeroizing::new(Vec::new());
    BufReader::new((&mut stream).take(MAX_LINE)).read_until(b'\n', &mut line).await?;
    let request = match serde_json::from_slice(&line) {
        Ok(request) => request,
        Err(error) => {
            let message = format!("the request is malformed: {error}");
            return respond(&mut stream, &Response::Error { message, kind: ErrorKind::Failed }).await;
        }
    };
    let caller = Caller {
        actor: Actor::Local { uid },
        request_id: format!("local-{}", gatekey_core::SecretId::generate(&app.env)),
        peer: String::new(),
        user_agent: "control socket".to_owned(),
    };
    let response = match request {
        Request::BackUp { passphrase } => match back_up(app, &caller, passphrase).await {
            Ok(backup) => return send_backup(stream, backup).await,
            Err(response) => *response,
        },
        request => carry_out(app, &caller, request).await,
    };
    respond(&mut stream, &response).await
}

async fn respond(stream: &mut UnixStream, response: &Response) -> io::Result<()> {
    write_line(stream, response).await?;
    stream.shutdown().await
}

async fn write_line(stream: &mut UnixStream, response: &Response) -> io::Result<()> {
    let mut line = Zeroizing::new(serde_json::to_vec(response)?);
    line.push(b'\n');
    stream.write_all(&line).await
}

/// Sends a backup from a thread that may block.
async fn send_backup(mut stream: UnixStream, backup: Backup) -> io::Result<()> {
    let response = Response::Backup { length: backup.length(), created_at: backup.created_at() };
    write_line(&mut stream, &response).await?;
    let mut stream = stream.into_std()?;
    let sent = task::spawn_blocking(move || {
        stream.set_nonblocking(false)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        backup.write(&mut stream)
    });
    sent.await?
}
