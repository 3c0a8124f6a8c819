//! The server's side of the control socket.

use std::{io, mem, time::Duration};

use gatekey_core::{
    Caller,
    operations::{ErrorKind, OperationError, backup::Backup},
};
use serde::Serialize;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    task, time,
};
use zeroize::Zeroizing;

use super::{BackUp, BackupHeader, Control, Failure, Operation, Request};

/// The socket's name in the data directory.
pub const SOCKET: &str = "control.sock";
/// The longest request, in bytes.
const MAX_REQUEST: u64 = 64 * 1024;
/// How long a write of a backup may block.
const WRITE_TIMEOUT: Duration = Duration::from_mins(1);
/// Pause after the socket failed to accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves requests until the task is dropped.
pub async fn serve(control: Control, listener: UnixListener, own_uid: u32) {
    let mut failing = false;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                failing = false;
                let control = control.clone();
                tokio::spawn(async move {
                    if let Err(error) = answer(&control, stream, own_uid).await {
                        tracing::warn!(%error, "failed to answer on the control socket");
                    }
                });
            }
            Err(error) => {
                if !mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "the control socket cannot accept; retrying without further messages");
                }
                time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn answer(control: &Control, mut stream: UnixStream, own_uid: u32) -> io::Result<()> {
    let uid = stream.peer_cred()?.uid();
    if uid != own_uid && uid != 0 {
        tracing::warn!(uid, "refused local administration to another user");
        return refuse(stream, "only the server's own user and root may administer it".to_owned())
            .await;
    }
    let mut line = Zeroizing::new(Vec::new());
    BufReader::new((&mut stream).take(MAX_REQUEST)).read_until(b'\n', &mut line).await?;
    let request = match serde_json::from_slice(&line) {
        Ok(request) => request,
        Err(error) => return refuse(stream, format!("the request is malformed: {error}")).await,
    };
    let caller = Caller::local(&control.env, uid, "control socket");
    match request {
        Request::Init(request) => execute(request, control, &caller, stream).await,
        Request::RotateSigningKey(request) => execute(request, control, &caller, stream).await,
        Request::ListSigningKeys(request) => execute(request, control, &caller, stream).await,
        Request::RetireSigningKey(request) => execute(request, control, &caller, stream).await,
        Request::RotateRootKey(request) => execute(request, control, &caller, stream).await,
        Request::ListRootKeys(request) => execute(request, control, &caller, stream).await,
        Request::RetireRootKey(request) => execute(request, control, &caller, stream).await,
        Request::ReadKey(request) => execute(request, control, &caller, stream).await,
        Request::ReadLedger(request) => execute(request, control, &caller, stream).await,
        Request::VerifyLedger(request) => execute(request, control, &caller, stream).await,
        Request::PrepareArchive(request) => execute(request, control, &caller, stream).await,
        Request::CloseLedger(request) => execute(request, control, &caller, stream).await,
        Request::BackUp(request) => match back_up(request, control, &caller).await {
            Ok(backup) => send_backup(stream, backup).await,
            Err(error) => respond(stream, &Err::<BackupHeader, _>(Failure::from(error))).await,
        },
    }
}

async fn execute<O: Operation>(
    operation: O,
    control: &Control,
    caller: &Caller,
    stream: UnixStream,
) -> io::Result<()> {
    let answer = operation.execute(control, caller).await;
    respond(stream, &answer.map_err(Failure::from)).await
}

async fn refuse(stream: UnixStream, message: String) -> io::Result<()> {
    respond(stream, &Err::<(), _>(Failure { kind: ErrorKind::Failed, message })).await
}

async fn respond<A: Serialize>(
    mut stream: UnixStream,
    answer: &Result<A, Failure>,
) -> io::Result<()> {
    write_line(&mut stream, answer).await?;
    stream.shutdown().await
}

async fn write_line<A: Serialize>(
    stream: &mut UnixStream,
    answer: &Result<A, Failure>,
) -> io::Result<()> {
    let mut line = Zeroizing::new(serde_json::to_vec(answer)?);
    line.push(b'\n');
    stream.write_all(&line).await
}

async fn back_up(
    request: BackUp,
    control: &Control,
    caller: &Caller,
) -> Result<Backup, OperationError> {
    let snapshot = control.operations.back_up(caller, request.passphrase).await?;
    let sealed = task::spawn_blocking(move || snapshot.seal()).await;
    Ok(sealed.map_err(io::Error::from)??)
}

/// Sends a backup from a blocking thread.
async fn send_backup(mut stream: UnixStream, backup: Backup) -> io::Result<()> {
    let header = BackupHeader { length: backup.length(), created_at: backup.created_at() };
    write_line(&mut stream, &Ok(header)).await?;
    let mut stream = stream.into_std()?;
    let sent = task::spawn_blocking(move || {
        stream.set_nonblocking(false)?;
        stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
        backup.write(&mut stream)
    });
    sent.await?
}
