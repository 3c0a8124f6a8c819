//! [`Activity`]: what a connection waits for, and therefore how long it may stay open.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hyper::body::Incoming;
use tokio::{sync::Notify, time::Instant};

use crate::limits::{CLOSE_TIMEOUT, HEADER_TIMEOUT, WRITE_TIMEOUT};

/// What happens on one connection: its requests, and whether the client or the server has to act.
#[derive(Debug)]
pub(crate) struct Activity {
    state: Mutex<State>,
    evicted: Notify,
}

#[derive(Debug)]
struct State {
    http2: bool,
    requests: Vec<InFlight>,
    next_id: u64,
    /// When the last response ended, or the connection began.
    idle_since: Instant,
    answered: bool,
    /// When the first byte of the next request in HTTP/1.1 arrived.
    headers_since: Option<Instant>,
    /// Since when the client's socket accepts nothing.
    blocked_since: Option<Instant>,
    /// The connection accepts no request after the next.
    last_request: bool,
    /// Since when the connection accepts no more requests.
    closing_since: Option<Instant>,
    /// Since when the server stops.
    draining_since: Option<Instant>,
}

/// A request whose response has not ended.
#[derive(Debug)]
struct InFlight {
    id: u64,
    /// Whether its handler waits for its body.
    awaits_body: bool,
    /// Whether it may wait for its body while the server stops.
    lasts: bool,
    /// Since when a part of its response waits for the client.
    unread_since: Option<Instant>,
    /// The rest of its body, which its handler did not read.
    rest: Option<Incoming>,
}

/// What is due on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Accept no more requests.
    Close,
    /// End now; why, for the log.
    Abort(&'static str),
}

impl Activity {
    /// Begins with a connection that was just accepted.
    pub(crate) fn new() -> Self {
        let state = State {
            http2: false,
            requests: Vec::new(),
            next_id: 0,
            idle_since: Instant::now(),
            answered: false,
            headers_since: None,
            blocked_since: None,
            last_request: false,
            closing_since: None,
            draining_since: None,
        };
        Self { state: Mutex::new(state), evicted: Notify::new() }
    }

    /// The protocol is known, and its first request is due.
    pub(crate) fn begin(&self, http2: bool) {
        let mut state = self.lock();
        state.http2 = http2;
        state.headers_since = None;
        state.idle_since = Instant::now();
    }

    /// Bytes arrived.
    pub(crate) fn received(&self) {
        let mut state = self.lock();
        if !state.http2 && state.requests.is_empty() && state.headers_since.is_none() {
            state.headers_since = Some(Instant::now());
        }
    }

    /// The client's socket accepted bytes, or did not.
    pub(crate) fn wrote(&self, accepted: bool) {
        let mut state = self.lock();
        if accepted {
            state.blocked_since = None;
        } else if state.blocked_since.is_none() {
            state.blocked_since = Some(Instant::now());
        }
    }

    /// The headers of a request are complete. Returns its number.
    pub(crate) fn begin_request(&self) -> u64 {
        let mut state = self.lock();
        let id = state.next_id;
        state.next_id += 1;
        state.headers_since = None;
        state.requests.push(InFlight {
            id,
            awaits_body: false,
            lasts: false,
            unread_since: None,
            rest: None,
        });
        id
    }

    /// The handler of a request waits for its body, or no longer.
    pub(crate) fn awaits_body(&self, id: u64, awaits: bool) {
        if let Some(request) = self.lock().request(id) {
            request.awaits_body = awaits;
        }
    }

    /// A request may wait for its body while the server stops.
    pub(crate) fn lasts(&self, id: u64) {
        if let Some(request) = self.lock().request(id) {
            request.lasts = true;
        }
    }

    /// Keeps the rest of a request's body.
    pub(crate) fn keep_rest(&self, id: u64, rest: Incoming) {
        if let Some(request) = self.lock().request(id) {
            request.rest = Some(rest);
        }
    }

    /// Returns the part of a request's body that its handler did not read.
    pub(crate) fn take_rest(&self, id: u64) -> Option<Incoming> {
        self.lock().request(id)?.rest.take()
    }

    /// A part of a response waits for the client, or the next part for the handler.
    pub(crate) fn unread(&self, id: u64, unread: bool) {
        if let Some(request) = self.lock().request(id) {
            request.unread_since = unread.then(Instant::now);
        }
    }

    pub(crate) fn end_request(&self, id: u64) {
        let mut state = self.lock();
        state.requests.retain(|request| request.id != id);
        state.answered = true;
        if state.requests.is_empty() {
            state.idle_since = Instant::now();
        }
    }

    /// Returns whether the response that comes next must be the last of an HTTP/1.1 connection.
    pub(crate) fn is_last_request(&self) -> bool {
        let state = self.lock();
        !state.http2 && state.last_request
    }

    /// The connection is old: it accepts no more requests. Over HTTP/1.1 it answers one more, with
    /// `connection: close`: a proxy must not repeat a POST that meets a closed connection (RFC 9110
    /// section 9.2.2). Returns whether the connection begins to close now.
    pub(crate) fn retire(&self) -> bool {
        let mut state = self.lock();
        state.last_request = true;
        state.http2
    }

    /// The connection accepts no more requests.
    pub(crate) fn close(&self) {
        self.lock().closing_since.get_or_insert_with(Instant::now);
    }

    /// The server stops.
    pub(crate) fn drain(&self) {
        self.lock().draining_since.get_or_insert_with(Instant::now);
    }

    /// Ends the connection to make room for another.
    pub(crate) fn evict(&self) {
        self.evicted.notify_one();
    }

    /// Waits until the connection must make room for another.
    pub(crate) async fn evicted(&self) {
        self.evicted.notified().await;
    }

    /// Returns since when the connection has no request; `None` if it has one.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        let state = self.lock();
        state.requests.is_empty().then_some(state.idle_since)
    }

    /// Returns what is due next, and when; `None` if it is time to look again.
    pub(crate) fn due(&self, idle: Duration) -> (Instant, Option<Due>) {
        let state = self.lock();
        let waits_for_headers =
            state.headers_since.or((!state.http2 && !state.answered).then_some(state.idle_since));
        let mut next = if !state.requests.is_empty() {
            // Requests begin to wait for the client without notice.
            (Instant::now() + CLOSE_TIMEOUT, None)
        } else if let Some(closing) = state.since_last_response(state.closing_since) {
            (closing + CLOSE_TIMEOUT, Some(Due::Abort("timed out closing")))
        } else if let Some(since) = waits_for_headers {
            let reason = "timed out in the headers of a request";
            (since + HEADER_TIMEOUT, Some(Due::Abort(reason)))
        } else {
            (state.idle_since + idle, Some(Due::Close))
        };
        for other in [state.stalled(), state.ends_draining()].into_iter().flatten() {
            if other.0 < next.0 {
                next = other;
            }
        }
        next
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn request(&mut self, id: u64) -> Option<&mut InFlight> {
        self.requests.iter_mut().find(|request| request.id == id)
    }

    /// Whether the server works on a request: its next step is not the client's.
    fn is_working(&self) -> bool {
        let is_working = |request: &InFlight| !request.awaits_body || request.lasts;
        self.requests.iter().any(|request| is_working(request) && request.unread_since.is_none())
    }

    /// Returns `since`, or when the last part of a response was there for the client, if later.
    fn since_last_response(&self, since: Option<Instant>) -> Option<Instant> {
        let parts = self.requests.iter().filter_map(|request| request.unread_since);
        Some(parts.chain([self.idle_since]).fold(since?, Instant::max))
    }

    /// What is due because the server stops. Requests that it works on are answered first.
    fn ends_draining(&self) -> Option<(Instant, Option<Due>)> {
        let since = self.since_last_response(self.draining_since)?;
        let due = Due::Abort("waited for the client while the server stops");
        (!self.is_working()).then_some((since + CLOSE_TIMEOUT, Some(due)))
    }

    /// What is due because the client accepts nothing. Other requests are answered first.
    fn stalled(&self) -> Option<(Instant, Option<Due>)> {
        let unread = self.requests.iter().filter_map(|request| request.unread_since);
        let since = unread.chain(self.blocked_since).min()?;
        let due = match (self.is_working(), self.closing_since) {
            (false, _) => Due::Abort("timed out sending a response"),
            (true, None) => Due::Close,
            (true, Some(_)) => return None,
        };
        Some((since + WRITE_TIMEOUT, Some(due)))
    }
}
