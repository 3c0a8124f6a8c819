//! [`Ongoing`]: a call whose response has begun, and [`Calls`], which ends such calls although
//! nobody reads their responses.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::time::{sleep, timeout};

use super::{metrics::Call, request_body::Cut, upstream::Lease, watch::Watch};
use crate::refusal::Refusal;

/// How long the rest of an ended response is read, so that an upstream that waits for that learns
/// of the end: it can only be told once it reads on.
const DISCARD: Duration = Duration::from_secs(10);

/// How often calls are looked at that nobody may be reading. Each is checked as often as
/// [`Watch`] has it.
const INTERVAL: Duration = Duration::from_secs(1);

/// A call whose response has begun.
pub(super) struct Ongoing {
    state: Mutex<State>,
    request: Arc<Cut>,
}

pub(super) struct State {
    /// `None` once the call has ended.
    pub(super) passed: Option<Passed>,
    pub(super) watch: Watch,
    /// Why the call was ended, until the client is told.
    pub(super) refusal: Option<Refusal>,
    /// Set once the response has ended before the request has.
    rest: Option<Registration>,
}

/// What a call holds until it ends.
pub(super) struct Passed {
    pub(super) body: Incoming,
    /// `None` for a connection that no other call can use.
    lease: Option<Lease>,
    /// Whether the response has ended by itself.
    is_whole: bool,
    _call: Call,
}

impl Passed {
    pub(super) fn new(body: Incoming, lease: Option<Lease>, call: Call) -> Self {
        Self { body, lease, is_whole: false, _call: call }
    }

    /// The response has ended. Gives the connection back.
    pub(super) fn end(&mut self) {
        self.is_whole = true;
        if let Some(lease) = &mut self.lease {
            lease.give_back();
        }
    }

    /// Breaks the response off. Over HTTP/1.1 that closes the connection. Over HTTP/2, hyper resets
    /// a stream whose request it still sends only when the upstream accepts more of that.
    fn abandon(self, request: &Arc<Cut>) {
        request.cut();
        let Self { mut body, lease, .. } = self;
        if request.is_over() || !matches!(lease, Some(Lease::Http2 { .. })) {
            return;
        }
        let request = request.clone();
        tokio::spawn(async move {
            let discarded =
                async { while !request.is_over() && matches!(body.frame().await, Some(Ok(_))) {} };
            let _ = timeout(DISCARD, discarded).await;
            drop(lease);
        });
    }
}

impl Ongoing {
    pub(super) fn new(passed: Passed, watch: Watch, request: Arc<Cut>) -> Self {
        let state = State { passed: Some(passed), watch, refusal: None, rest: None };
        Self { state: Mutex::new(state), request }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the call in both directions.
    pub(super) fn end(&self, state: &mut State, refusal: &Refusal) {
        tracing::debug!(reason = %refusal.message, "ended a call in progress");
        match state.passed.take() {
            Some(passed) => passed.abandon(&self.request),
            None => self.request.cut(),
        }
    }

    /// Whether a part of the call can still come, in either direction.
    pub(super) fn is_open(&self) -> bool {
        let response = |state: &State| state.passed.as_ref().map(|one| one.body.is_end_stream());
        response(&self.lock()) == Some(false) || !self.request.is_over()
    }

    /// Nobody wants more of the response. If it is whole, the request may go on, and the call is
    /// looked at until then.
    pub(super) fn end_response(&self, registration: Option<Registration>) {
        let mut state = self.lock();
        let Some(mut passed) = state.passed.take() else { return };
        // hyper drops a body without a last poll when it knows that nothing follows.
        if !passed.is_whole && !passed.body.is_end_stream() {
            return passed.abandon(&self.request);
        }
        if !self.request.is_over() {
            state.rest = registration;
        }
        drop(state);
        passed.end();
    }

    /// Ends the call if it may not go on.
    fn check(&self) {
        let mut state = self.lock();
        if state.passed.is_none() && (state.rest.is_none() || self.request.is_over()) {
            let _over = state.rest.take();
        } else if let Some(refusal) = state.watch.check_if_due() {
            self.end(&mut state, &refusal);
            state.refusal = Some(refusal);
        }
    }
}

/// The calls whose responses have begun.
///
/// A response is not polled while its client accepts nothing of it, and so cannot end itself: a key
/// that was revoked could go on sending.
#[derive(Default)]
pub(super) struct Calls(Arc<Mutex<Registered>>);

#[derive(Default)]
struct Registered {
    calls: Vec<Option<Arc<Ongoing>>>,
    /// Places in `calls` without a call.
    free: Vec<usize>,
    /// Whether a task looks at the calls.
    is_swept: bool,
}

/// A call's place in [`Calls`], until it is dropped.
pub(super) struct Registration {
    registered: Arc<Mutex<Registered>>,
    at: usize,
}

impl Calls {
    pub(super) fn register(&self, call: Arc<Ongoing>) -> Registration {
        let mut registered = lock(&self.0);
        let at = registered.free.pop().unwrap_or_else(|| {
            registered.calls.push(None);
            registered.calls.len() - 1
        });
        registered.calls[at] = Some(call);
        if !std::mem::replace(&mut registered.is_swept, true) {
            tokio::spawn(sweep(Arc::downgrade(&self.0)));
        }
        Registration { registered: self.0.clone(), at }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut registered = lock(&self.registered);
        let call = registered.calls[self.at].take();
        registered.free.push(self.at);
        drop(registered);
        // May end the call, which takes other locks.
        drop(call);
    }
}

/// Looks at the calls, as long as there are any.
async fn sweep(registered: Weak<Mutex<Registered>>) {
    loop {
        sleep(INTERVAL).await;
        let Some(registered) = registered.upgrade() else { return };
        let calls: Vec<_> = {
            let mut registered = lock(&registered);
            if registered.free.len() == registered.calls.len() {
                *registered = Registered::default();
                return;
            }
            registered.calls.iter().flatten().cloned().collect()
        };
        for call in calls {
            call.check();
        }
    }
}

fn lock(registered: &Mutex<Registered>) -> MutexGuard<'_, Registered> {
    registered.lock().unwrap_or_else(PoisonError::into_inner)
}
