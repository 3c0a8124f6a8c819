//! A client of a running server's control socket.

use std::{os::fd::AsRawFd as _, path::Path};

use anyhow::Context as _;
use gatekey_server::control::{Request, Response, SOCKET};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
};
use zeroize::Zeroizing;

use crate::exit::{Coded, IN_USE};

/// Sends one request and reads the reply.
pub(crate) async fn ask(data_dir: &Path, request: &Request) -> anyhow::Result<Response> {
    let mut stream = send(data_dir, request).await?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).await?;
    parse(&reply)
}

/// Sends one request and reads the reply, a line. The stream returns what follows.
pub(crate) async fn ask_for_more(
    data_dir: &Path,
    request: &Request,
) -> anyhow::Result<(Response, BufReader<UnixStream>)> {
    let mut stream = BufReader::new(send(data_dir, request).await?);
    let mut reply = Vec::new();
    stream.read_until(b'\n', &mut reply).await?;
    Ok((parse(&reply)?, stream))
}

async fn send(data_dir: &Path, request: &Request) -> anyhow::Result<UnixStream> {
    let directory = std::fs::File::open(data_dir)?;
    let short = format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd());
    let shown = data_dir.join(SOCKET);
    let mut stream = UnixStream::connect(&short).await.map_err(|error| {
        let message = format!(
            "a process uses the data directory but does not accept connections on {}: {error}; if it is starting, \
             try again",
            shown.display()
        );
        Coded { code: IN_USE, message }
    })?;
    let mut line = Zeroizing::new(serde_json::to_vec(request)?);
    line.push(b'\n');
    stream.write_all(&line).await?;
    Ok(stream)
}

fn parse(reply: &[u8]) -> anyhow::Result<Response> {
    serde_json::from_slice(reply)
        .context("cannot read the server's reply; it may run a different version of gatekey")
}
