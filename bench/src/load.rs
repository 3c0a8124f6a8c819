//! A closed loop of keep-alive HTTP/1.1 connections.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::LocalSet,
};

/// What a run gave.
pub(crate) struct Measured {
    /// Microseconds of each request, sorted.
    latencies: Vec<u32>,
    /// How long it ran.
    pub(crate) elapsed: Duration,
}

impl Measured {
    /// How many requests were answered.
    pub(crate) fn requests(&self) -> usize {
        self.latencies.len()
    }

    /// Requests a second.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    pub(crate) fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// Milliseconds that this share of the requests took at most.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index within the list"
    )]
    pub(crate) fn percentile(&self, share: f64) -> f64 {
        let at = (self.latencies.len() as f64 * share) as usize;
        self.latencies.get(at).or(self.latencies.last()).map_or(0.0, |micros| f64::from(*micros) / 1000.0)
    }
}

/// Sends the requests round and round, each connection from its own place, until the time is up. Every answer
/// must be 200.
pub(crate) async fn run(
    address: &str,
    requests: &Rc<Vec<Vec<u8>>>,
    connections: usize,
    duration: Duration,
) -> anyhow::Result<Measured> {
    let tasks = LocalSet::new();
    let started = Instant::now();
    let mut running = Vec::new();
    for connection in 0..connections {
        let (address, requests) = (address.to_owned(), requests.clone());
        let first = requests.len() * connection / connections;
        running.push(tasks.spawn_local(async move {
            let mut stream = Connection::open(&address).await?;
            let mut latencies = Vec::with_capacity(1 << 16);
            let mut next = first;
            while started.elapsed() < duration {
                let sent = Instant::now();
                stream.call(&requests[next % requests.len()]).await?;
                latencies.push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
                next += 1;
            }
            anyhow::Ok(latencies)
        }));
    }
    tasks.await;
    let elapsed = started.elapsed();
    let mut latencies = Vec::new();
    for task in running {
        latencies.extend(task.await??);
    }
    latencies.sort_unstable();
    Ok(Measured { latencies, elapsed })
}

/// One connection that is kept.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(address: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(8192) })
    }

    /// Sends a whole request and reads the whole answer; gives its body.
    pub(crate) async fn call(&mut self, request: &[u8]) -> anyhow::Result<&[u8]> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "the server closed the connection");
            let Some(head) = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { continue };
            let text = std::str::from_utf8(&self.buffer[..head])?;
            let body = head + 4;
            let end = match content_length(text)? {
                Some(length) => body + length,
                // The chunks of an answer to an RPC; the last one is empty.
                None if self.buffer.ends_with(b"0\r\n\r\n") => dechunk(&mut self.buffer, body)?,
                None => continue,
            };
            if self.buffer.len() < end {
                continue;
            }
            if !self.buffer.starts_with(b"HTTP/1.1 200") {
                bail!("not 200: {}", String::from_utf8_lossy(&self.buffer));
            }
            return Ok(&self.buffer[body..end]);
        }
    }
}

/// Joins the chunks that begin at `body`, in place; gives the end of what they hold.
fn dechunk(buffer: &mut Vec<u8>, body: usize) -> anyhow::Result<usize> {
    let mut rest = buffer.split_off(body);
    loop {
        let line = rest.windows(2).position(|bytes| bytes == b"\r\n").context("a chunk has a length")?;
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..line])?, 16)?;
        if length == 0 {
            return Ok(buffer.len());
        }
        ensure!(rest.len() >= line + 4 + length, "a chunk is whole");
        buffer.extend_from_slice(&rest[line + 2..line + 2 + length]);
        rest.drain(..line + 4 + length);
    }
}

/// `None` for an answer in chunks.
fn content_length(head: &str) -> anyhow::Result<Option<usize>> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    Ok(found.map(|(_, length)| length.trim().parse()).transpose()?)
}
