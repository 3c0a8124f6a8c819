//! Sends requests to a running server over its control socket.

use std::{os::fd::AsRawFd as _, path::Path};

use anyhow::Context as _;
use gatekey_server::control::{Failure, Operation, Request, SOCKET};
use serde::de::DeserializeOwned;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
};
use zeroize::Zeroizing;

use crate::exit::{Coded, IN_USE};

/// Sends a request and reads its answer.
pub(crate) async fn execute<O: Operation>(
    data_dir: &Path,
    operation: O,
) -> anyhow::Result<Result<O::Answer, Failure>> {
    let (answer, _) = send(data_dir, &operation.into_request()).await?;
    Ok(answer)
}

/// Sends a request and reads the first line of its answer. The rest can be read from the stream.
pub(crate) async fn send<A: DeserializeOwned>(
    data_dir: &Path,
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

/// Connects by the directory's descriptor, because a socket's path is limited to 108 bytes.
async fn connect(data_dir: &Path) -> anyhow::Result<UnixStream> {
    let directory = std::fs::File::open(data_dir)?;
    let short = format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd());
    Ok(UnixStream::connect(&short).await.map_err(|error| {
        let message = format!(
            "a process uses the data directory but does not accept connections on {}: {error}; if it is starting, \
             try again",
            data_dir.join(SOCKET).display()
        );
        Coded { code: IN_USE, message }
    })?)
}
