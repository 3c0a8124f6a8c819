//! The lines of requests, as text or JSON.

use std::{
    io::{self, Write as _},
    sync::Arc,
};

use gatekey_telemetry::{Failure, RequestLine, RequestLog};
use http::Version;

use super::{filter::REQUESTS, queue::Queue, repeats::Strangers};

/// Logs requests.
pub(super) struct Requests {
    pub(super) queue: Queue,
    /// Whether lines are text rather than JSON.
    pub(super) text: bool,
    /// `None` logs each request.
    pub(super) strangers: Option<Arc<Strangers>>,
}

impl RequestLog for Requests {
    fn log(&self, line: &RequestLine<'_>) {
        if !tracing::enabled!(target: REQUESTS, tracing::Level::INFO) {
            return;
        }
        if line.client_id.is_empty()
            && self.strangers.as_ref().is_some_and(|strangers| !strangers.admit(line.peer))
        {
            return;
        }
        if self.text {
            log_event(line);
        } else {
            // Before the lock is taken: logging a panic inside it would deadlock.
            let timestamp = humantime::format_rfc3339_micros(crate::clock::now()).to_string();
            self.queue.append(|lines| {
                // Writing to a vector cannot fail.
                let _ = write_line(lines, &timestamp, line);
            });
        }
    }

    fn dropped(&self) -> u64 {
        self.queue.dropped()
    }
}

fn log_event(line: &RequestLine<'_>) {
    tracing::info!(
        target: REQUESTS,
        request_id = line.request_id,
        method = line.method,
        path = line.path,
        version = ?line.version,
        status = line.status,
        grpc_status = line.grpc_status,
        outcome = line.outcome.label(),
        client_id = line.client_id,
        claimed_client_id = line.failure.and_then(|failure| failure.claimed_client_id.as_ref()).map(tracing::field::display),
        cause = line.failure.map(|failure| tracing::field::display(failure.cause)),
        peer = line.peer.map(tracing::field::display),
        duration_us = line.duration_us,
        "request"
    );
}

/// Writes a line of JSON with the fields of an event. The general formatter of `tracing` is a
/// measurable part of the cost of a token, and so is a serializer, which would check every byte for
/// characters to escape: only three texts can contain some.
fn write_line(lines: &mut Vec<u8>, timestamp: &str, line: &RequestLine<'_>) -> io::Result<()> {
    lines.extend_from_slice(br#"{"timestamp":""#);
    lines.extend_from_slice(timestamp.as_bytes());
    lines.extend_from_slice(br#"","level":"INFO","message":"request","request_id":"#);
    serde_json::to_writer(&mut *lines, line.request_id)?;
    lines.extend_from_slice(br#","method":""#);
    lines.extend_from_slice(line.method.as_bytes());
    lines.extend_from_slice(br#"","path":"#);
    serde_json::to_writer(&mut *lines, line.path)?;
    lines.extend_from_slice(br#","version":""#);
    lines.extend_from_slice(version(line.version).as_bytes());
    lines.extend_from_slice(br#"","status":"#);
    serde_json::to_writer(&mut *lines, &line.status)?;
    if let Some(grpc_status) = line.grpc_status {
        lines.extend_from_slice(br#","grpc_status":""#);
        lines.extend_from_slice(grpc_status.as_bytes());
        lines.push(b'"');
    }
    lines.extend_from_slice(br#","outcome":""#);
    lines.extend_from_slice(line.outcome.label().as_bytes());
    lines.extend_from_slice(br#"","client_id":""#);
    lines.extend_from_slice(line.client_id.as_bytes());
    if let Some(Failure { claimed_client_id, cause }) = line.failure {
        // Neither needs an escape.
        if let Some(client_id) = claimed_client_id {
            write!(lines, r#"","claimed_client_id":"{client_id}"#)?;
        }
        write!(lines, r#"","cause":"{cause}"#)?;
    }
    if let Some(peer) = line.peer {
        write!(lines, r#"","peer":"{peer}"#)?;
    }
    lines.extend_from_slice(br#"","duration_us":"#);
    serde_json::to_writer(&mut *lines, &line.duration_us)?;
    lines.extend_from_slice(br#","target":"gatekey::request"}"#);
    lines.push(b'\n');
    Ok(())
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}

#[cfg(test)]
mod tests {
    use gatekey_telemetry::Outcome;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    proptest! {
        #[test]
        fn a_request_line_is_always_one_json_line(
            request_id in "\\PC{0,20}", path in ".{0,20}", called: bool, peer: Option<std::net::IpAddr>,
        ) {
            let grpc_status = called.then_some("NOT_FOUND");
            let line = RequestLine {
                request_id: &request_id,
                method: "POST",
                path: &path,
                version: Version::HTTP_2,
                status: 200,
                grpc_status,
                outcome: Outcome::Refused,
                client_id: "ci",
                failure: None,
                peer,
                duration_us: 7,
            };
            let mut lines = Vec::new();
            write_line(&mut lines, "now", &line).unwrap();
            prop_assert_eq!(lines.iter().position(|byte| *byte == b'\n'), Some(lines.len() - 1));
            let mut expected = json!({
                "timestamp": "now", "level": "INFO", "message": "request", "request_id": request_id,
                "method": "POST", "path": path, "version": "HTTP/2.0", "status": 200, "outcome": "refused",
                "client_id": "ci",
                "duration_us": 7, "target": "gatekey::request",
            });
            for (name, value) in [("grpc_status", grpc_status.map(str::to_owned)), ("peer", peer.map(|peer| peer.to_string()))] {
                if let Some(value) = value {
                    expected[name] = value.into();
                }
            }
            prop_assert_eq!(serde_json::from_slice::<Value>(&lines).unwrap(), expected);
        }
    }
}
