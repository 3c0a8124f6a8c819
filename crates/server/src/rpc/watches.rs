//! Limits how many `Health/Watch` calls one client may have open.
//!
//! They are open to everyone, and each of them occupies memory until its deadline.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use connectrpc::ConnectError;
use gatekey_core::network::network;
use gatekey_telemetry::Record;
use http_body_util::BodyExt as _;

use super::{access, error};

/// Open watches of one client.
const MAX_WATCHES: usize = 16;

/// The open watches of each client.
#[derive(Debug, Default)]
pub(super) struct Watches(Mutex<HashMap<IpAddr, usize>>);

/// Releases a watch when it is dropped.
struct Watch {
    watches: Arc<Watches>,
    client: IpAddr,
}

/// Refuses a watch of a client that has as many as it may.
pub(super) async fn limit(
    State(watches): State<Arc<Watches>>,
    request: Request,
    next: Next,
) -> Response {
    if request.uri().path() != access::WATCH {
        return next.run(request).await;
    }
    let record = request.extensions().get::<Arc<Record>>().cloned();
    let Some(peer) = record.as_ref().and_then(|record| record.peer) else {
        return next.run(request).await;
    };
    let Some(watch) = Watch::open(watches, network(peer)) else {
        let refusal = ConnectError::resource_exhausted("too many open watches from this address");
        if let Some(record) = record {
            record.set_grpc_status(refusal.code.grpc_code());
        }
        return error::respond(refusal, request.headers());
    };
    // The watch lasts as long as the response's body, which holds it.
    next.run(request).await.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _open = &watch;
            frame
        }))
    })
}

impl Watches {
    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    fn open(watches: Arc<Watches>, client: IpAddr) -> Option<Self> {
        {
            let mut open = watches.lock();
            let count = open.entry(client).or_default();
            if *count >= MAX_WATCHES {
                return None;
            }
            *count += 1;
        }
        Some(Self { watches, client })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut open = self.watches.lock();
        if let Some(count) = open.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.client);
            }
        }
    }
}
