//! Local administration while the server runs: a socket in the data directory, for the server's own user and
//! root alone.
//!
//! One JSON object a line: a [`Request`], then a [`Response`]. Whoever can open the socket could read the root
//! key beside it as well, so a request needs no further proof; the kernel tells who asks.

use std::io;

use gatekey_core::{
    Actor, ApiKeyPatch, Application, Caller, Error,
    api_keys::{CreateApiKey, RotateSecret, WithSecret},
};
use gatekey_credentials::Role;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
};
use zeroize::Zeroizing;

use crate::App;

/// The socket's name in the data directory.
pub const SOCKET: &str = "control.sock";
const MAX_LINE: u64 = 64 * 1024;

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
    /// It was refused or failed.
    Error {
        /// Why, for people.
        message: String,
        /// What kind of refusal or failure.
        kind: ErrorKind,
    },
}

/// Kinds of refusals and failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// A key of that name exists already.
    Exists,
    /// The name is wrong.
    Invalid,
    /// The store is unavailable.
    Unavailable,
    /// Anything else.
    Failed,
}

/// Carries a request out, on the socket's behalf or before the server's first start.
pub async fn carry_out(app: &App, caller: &Caller, request: Request) -> Response {
    match request {
        Request::Init { name, rotate } => match init(app, caller, &name, rotate).await {
            Ok(WithSecret { key, secret }) => Response::Key {
                endpoint: app.config.endpoint().to_owned(),
                client_id: key.client_id.to_string(),
                client_secret: Zeroizing::new(secret.expose().to_owned()),
                organization: app.config.organization.clone(),
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
            let algorithm = ring.signing_key().map_or(app.config.signing_algorithm, |key| key.algorithm());
            match ring.rotate(&*app.store, &app.env, algorithm, caller).await {
                Ok(kid) => Response::SigningKey { kid },
                Err(error) => Response::Error { message: error.to_string(), kind: ErrorKind::Failed },
            }
        }
    }
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

async fn answer(app: &App, stream: UnixStream, own_uid: u32) -> io::Result<()> {
    let uid = stream.peer_cred()?.uid();
    let (read, mut write) = stream.into_split();
    let response = if uid != own_uid && uid != 0 {
        tracing::warn!(uid, "refused local administration to another user");
        Response::Error {
            message: "only the server's own user and root may administer it".to_owned(),
            kind: ErrorKind::Failed,
        }
    } else {
        let mut line = Vec::new();
        BufReader::new(read.take(MAX_LINE)).read_until(b'\n', &mut line).await?;
        match serde_json::from_slice(&line) {
            Ok(request) => {
                let caller = Caller {
                    actor: Actor::Local { uid },
                    request_id: format!("local-{}", gatekey_core::SecretId::generate(&app.env)),
                    peer: String::new(),
                    user_agent: "control socket".to_owned(),
                };
                carry_out(app, &caller, request).await
            }
            Err(error) => Response::Error {
                message: format!("the request is malformed: {error}"),
                kind: ErrorKind::Failed,
            },
        }
    };
    let mut line = Zeroizing::new(serde_json::to_vec(&response)?);
    line.push(b'\n');
    write.write_all(&line).await?;
    write.shutdown().await
}
