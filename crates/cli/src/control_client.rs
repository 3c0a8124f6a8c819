//! Asks a running server by its control socket.

use std::{os::fd::AsRawFd as _, path::Path};

use anyhow::Context as _;
use gatekey_server::control::{Request, Response, SOCKET};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
};
use zeroize::Zeroizing;

use crate::exit::{Coded, IN_USE};

/// Sends one request and reads its answer.
pub(crate) async fn ask(data_dir: &Path, request: &Request) -> anyhow::Result<Response> {
    let mut stream = send(data_dir, request).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    understood(&answer)
}

/// Sends one request and reads the line that answers it. What follows the line can be read from the stream.
pub(crate) async fn ask_for_more(
    data_dir: &Path,
    request: &Request,
) -> anyhow::Result<(Response, BufReader<UnixStream>)> {
    let mut stream = BufReader::new(send(data_dir, request).await?);
    let mut answer = Vec::new();
    stream.read_until(b'\n', &mut answer).await?;
    Ok((understood(&answer)?, stream))
}

async fn send(data_dir: &Path, request: &Request) -> anyhow::Result<UnixStream> {
    let directory = std::fs::File::open(data_dir)?;
    let short = format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd());
    let shown = data_dir.join(SOCKET);
    let mut stream = UnixStream::connect(&short).await.map_err(|error| {
        let message = format!(
            "a process uses the data directory but does not answer on {}: {error}; if it is just starting, try again",
            shown.display()
        );
        Coded { code: IN_USE, message }
    })?;
    let mut line = Zeroizing::new(serde_json::to_vec(request)?);
    line.push(b'\n');
    stream.write_all(&line).await?;
    Ok(stream)
}

fn understood(answer: &[u8]) -> anyhow::Result<Response> {
    serde_json::from_slice(answer).context("the server's answer on the control socket is not understood")
}
