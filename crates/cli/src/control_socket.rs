//! The control socket of a running server: binds it, and sends requests to it.
//!
//! Both go through the data directory's descriptor, because the path of a socket is limited to 108
//! bytes.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    path::PathBuf,
};

use anyhow::{Context as _, bail};
use gatekey_server::control::{Failure, Operation, Request, SOCKET};
use rustix::fs::Mode;
use serde::de::DeserializeOwned;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
};
use zeroize::Zeroizing;

use crate::{
    data_dir::{self, DataDir, DataDirPath},
    exit::{Coded, FAILURE, IN_USE},
    process, trusted,
};

/// Connections that wait to be accepted: commands come one at a time.
const BACKLOG: i32 = 128;

/// Binds the socket, for the server's own user only.
pub(crate) fn bind(data_dir: &DataDir) -> anyhow::Result<UnixListener> {
    remove(data_dir);
    let directory = File::open(data_dir.path())?;
    let path = data_dir.file(SOCKET);
    listen(&directory)
        .with_context(|| format!("cannot create the control socket {}", path.display()))
}

fn listen(directory: &File) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Linux gives the file of the socket this mode when it is bound. A change by path afterwards
    // would leave a moment in which others can connect, and could change another file.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    socket.bind(&SockAddr::unix(short_path(directory))?)?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    UnixListener::from_std(OwnedFd::from(socket).into())
}

pub(crate) fn remove(data_dir: &DataDir) {
    let _ = fs::remove_file(data_dir.file(SOCKET));
}

/// Sends a request and reads its answer.
pub(crate) async fn execute<O: Operation>(
    data_dir: &DataDirPath,
    operation: O,
) -> anyhow::Result<Result<O::Answer, Failure>> {
    let (answer, _) = send(data_dir, &operation.into_request()).await?;
    Ok(answer)
}

/// Sends a request and reads the first line of its answer. The rest can be read from the stream.
pub(crate) async fn send<A: DeserializeOwned>(
    data_dir: &DataDirPath,
    request: &Request,
) -> anyhow::Result<(Result<A, Failure>, BufReader<UnixStream>)> {
    let mut stream = connect(data_dir).await?;
    let mut line = Zeroizing::new(serde_json::to_vec(request)?);
    line.push(b'\n');
    stream.write_all(&line).await?;
    let mut stream = BufReader::new(stream);
    let mut answer = Zeroizing::new(Vec::new());
    stream.read_until(b'\n', &mut answer).await?;
    let answer = serde_json::from_slice(&answer)
        .context("unexpected reply from the server; it may run a different version of gatekey")?;
    Ok((answer, stream))
}

async fn connect(data_dir: &DataDirPath) -> anyhow::Result<UnixStream> {
    let (path, directory) = data_dir::find(data_dir)?;
    let stream = UnixStream::connect(short_path(&directory)).await.map_err(|error| {
        let socket = path.join(SOCKET);
        if error.kind() == io::ErrorKind::PermissionDenied {
            let hint = trusted::denied(&socket).unwrap_or_default();
            let message = format!("cannot connect to {}: {error}{hint}", socket.display());
            return Coded { code: FAILURE, message };
        }
        let message = format!(
            "a process uses the data directory but does not accept connections on {}: {error}; if it is starting, \
             try again",
            socket.display()
        );
        Coded { code: IN_USE, message }
    })?;
    // A request can contain a passphrase.
    let (server, own) = (stream.peer_cred()?.uid(), process::own_uid());
    if server != own && server != 0 && own != 0 {
        bail!(
            "the server on {} runs as {}; run the command as that user or as root",
            data_dir.path().display(),
            process::user(server)
        );
    }
    Ok(stream)
}

/// The socket's path while the directory is open.
fn short_path(directory: &File) -> PathBuf {
    format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd()).into()
}
