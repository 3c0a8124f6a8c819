//! WebSocket through the proxy: which requests may become tunnels, and the tunnels.
//!
//! A tunnel hides all requests in it from the gate, so only WebSocket (RFC 6455) may begin one: to
//! HTTP/2 or to another protocol, an upstream could be called past the rules. Nothing is passed on
//! before the upstream has accepted.

use std::{
    future::poll_fn,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header, request::Parts};
use gatekey_authn::Presented;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::{io::copy_bidirectional_with_sizes, sync::watch};

use super::{
    callers::{self, Callers, Shares},
    watch::Watch,
};
use crate::{
    reason::Reason,
    refusal::{Kind, Refusal},
};

/// Tunnels at once. Each takes two connections, which no other limit counts.
const MAX_TUNNELS: usize = 1024;
/// Tunnels of one caller at once.
const SHARES: Shares = Shares { of_caller: 128, of_address: 16, what: "websockets" };
/// Bytes that a tunnel reads at a time, in each direction.
const BUFFER: usize = 16 * 1024;

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
/// Base64 of 16 bytes (RFC 6455 section 4.1).
const KEY_LENGTH: usize = 24;

/// Returns whether a request begins a WebSocket.
///
/// # Errors
/// For every other upgrade, and a malformed handshake.
pub(super) fn is_handshake(head: &Parts) -> Result<bool, Refusal> {
    let Some(upgrade) = only(&head.headers, &header::UPGRADE)? else { return Ok(false) };
    let refuse = |message| Err(Refusal::new(Kind::Invalid, Reason::Upgrade, message));
    if !upgrade.as_bytes().eq_ignore_ascii_case(b"websocket") {
        return refuse("the only upgrade that the gate passes on is to websocket");
    }
    let names_upgrade = head.headers.get_all(header::CONNECTION).iter().any(|line| {
        let mut names = line.as_bytes().split(|byte| *byte == b',');
        names.any(|name| name.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
    });
    let version = only(&head.headers, &header::SEC_WEBSOCKET_VERSION)?;
    let key = only(&head.headers, &header::SEC_WEBSOCKET_KEY)?;
    let has_body = head.headers.contains_key(header::TRANSFER_ENCODING)
        || head.headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0");
    let is_complete = head.version == Version::HTTP_11
        && head.method == Method::GET
        && names_upgrade
        && version.is_some_and(|version| version == "13")
        && key.is_some_and(|key| key.len() == KEY_LENGTH);
    if !is_complete || has_body {
        return refuse("the handshake of the websocket is malformed");
    }
    Ok(true)
}

fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h HeaderValue>, Refusal> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (_, Some(_)) => {
            let message = format!("{name} is repeated");
            Err(Refusal::new(Kind::Invalid, Reason::Upgrade, message))
        }
        (value, None) => Ok(value),
    }
}

/// Sets the headers of a handshake, which belong to one connection.
pub(super) fn set_upgrade(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, WEBSOCKET);
}

/// Returns whether a response accepts a WebSocket.
pub(super) fn accepts(headers: &HeaderMap) -> bool {
    let upgrade = headers.get(header::UPGRADE);
    upgrade.is_some_and(|upgrade| upgrade.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// The tunnels in progress.
#[derive(Debug, Clone)]
pub(super) struct Tunnels {
    open: Arc<AtomicUsize>,
    callers: Callers,
    /// Changes when one ends.
    ended: Arc<watch::Sender<()>>,
}

/// A tunnel in progress, until it is dropped.
pub(super) struct Place {
    tunnels: Tunnels,
    _of_caller: callers::Place,
}

impl Default for Tunnels {
    fn default() -> Self {
        let callers = Callers::new(SHARES, Reason::Websockets);
        Self { open: Arc::default(), callers, ended: Arc::default() }
    }
}

impl Tunnels {
    /// Returns a place for another tunnel.
    ///
    /// # Errors
    /// If its caller has too many, or all callers have.
    pub(super) fn place(
        &self,
        presented: Option<&Presented>,
        peer: Option<IpAddr>,
    ) -> Result<Place, Refusal> {
        let of_caller = self.callers.place(presented, peer)?;
        let taken = self.open.fetch_add(1, Ordering::Relaxed);
        let place = Place { tunnels: self.clone(), _of_caller: of_caller };
        if taken < MAX_TUNNELS {
            Ok(place)
        } else {
            let message = "too many websockets are open";
            Err(Refusal::new(Kind::Unavailable, Reason::Websockets, message))
        }
    }

    pub(super) fn count(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Waits until there is none.
    pub(super) async fn closed(&self) {
        let mut ended = self.ended.subscribe();
        // The sender is in `self`, so waiting does not fail.
        while self.count() > 0 && ended.changed().await.is_ok() {}
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.tunnels.open.fetch_sub(1, Ordering::Relaxed);
        self.tunnels.ended.send_replace(());
    }
}

/// Passes bytes on in both directions, until both sides have ended or the call may not go on.
pub(super) async fn run(client: OnUpgrade, upstream: OnUpgrade, mut watch: Watch, place: Place) {
    let both = async {
        let (client, upstream) =
            tokio::try_join!(client, upstream).map_err(std::io::Error::other)?;
        let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
        copy_bidirectional_with_sizes(&mut client, &mut upstream, BUFFER, BUFFER).await
    };
    tokio::select! {
        ended = both => match ended {
            Ok((sent, received)) => tracing::debug!(sent, received, "a websocket ended"),
            Err(error) => tracing::debug!(%error, "a websocket ended with an error"),
        },
        refusal = poll_fn(|context| watch.poll(context)) => {
            tracing::debug!(reason = %refusal.message, "ended a websocket");
        }
    }
    drop(place);
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    const HANDSHAKE: [(&str, &str); 4] = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    fn of(method: Method, headers: &[(&str, &str)]) -> Option<bool> {
        let mut request = Request::builder().method(method).uri("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        is_handshake(&request.body(()).unwrap().into_parts().0).ok()
    }

    #[test]
    fn only_a_whole_handshake_may_upgrade() {
        assert_eq!(of(Method::GET, &[]), Some(false));
        assert_eq!(of(Method::GET, &HANDSHAKE), Some(true));
        assert_eq!(of(Method::POST, &HANDSHAKE), None);
        for changed in 0..HANDSHAKE.len() {
            let mut headers = HANDSHAKE.to_vec();
            headers[changed].1 = "h2c";
            assert_eq!(of(Method::GET, &headers), None, "{headers:?}");
            let mut headers = HANDSHAKE.to_vec();
            headers.push(HANDSHAKE[changed]);
            let is_repeatable = HANDSHAKE[changed].0 == "connection";
            assert_eq!(of(Method::GET, &headers), is_repeatable.then_some(true), "{headers:?}");
        }
        for body in [("content-length", "1"), ("transfer-encoding", "chunked")] {
            assert_eq!(of(Method::GET, &[&HANDSHAKE[..], &[body]].concat()), None, "{body:?}");
        }
    }
}
