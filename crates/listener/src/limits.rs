//! [`Limits`]: how many connections there may be, and how long each may last.

use std::time::Duration;

use gatekey_core::network::Networks;

/// Connections at once, if the process may have as many descriptors. More wait in the kernel's
/// queue.
const MAX_CONNECTIONS: usize = 10_000;
/// Descriptors reserved for the database, logs, local administration and the admin listener.
const RESERVED_DESCRIPTORS: usize = 64;

/// How long a client may take for its first bytes, its TLS handshake, or the headers of a request.
pub(crate) const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may accept nothing of a response.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may delay the end of a connection that the server closes.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How many connections there may be, and how long each may last.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Share of `connections` that one client address may have, IPv6 by /64; from 0 to 1.
    pub share_per_address: f64,
    /// Addresses that may have every connection: trusted proxies.
    pub unlimited: Networks,
    /// How long a connection may be open without a request.
    pub idle: Duration,
    /// Age at which a connection accepts no more requests. It is up to a tenth shorter, so that
    /// clients do not reconnect all at once.
    pub age: Duration,
}

impl Limits {
    /// Returns how many connections the process has descriptors for.
    pub fn connections_of_process() -> usize {
        descriptor_limit().map_or(MAX_CONNECTIONS, |descriptors| {
            descriptors.saturating_sub(RESERVED_DESCRIPTORS).clamp(1, MAX_CONNECTIONS)
        })
    }

    /// Returns how many connections one address may have: at least one.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of a count this small is exact"
    )]
    pub(crate) fn connections_per_address(&self) -> usize {
        ((self.connections as f64 * self.share_per_address) as usize).max(1)
    }
}

fn descriptor_limit() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}
