//! [`Record`]: the facts about one request.

use std::{
    net::{IpAddr, SocketAddr},
    sync::OnceLock,
};

use axum::{
    extract::{ConnectInfo, Request},
    http::{HeaderMap, header},
};
use gatekey_core::{Actor, Caller, redact, token::FailureCause};
use gatekey_credentials::{ClientId, detection::holds_credential};

use crate::{
    client_address::ClientAddresses,
    outcome::GrpcStatus,
    request_id::{self, RequestIds},
};

/// Characters of a user agent that are kept.
const MAX_USER_AGENT: usize = 200;

/// A failed authentication, for the log.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The client id that was sent, if it has the form of one and contains no credential.
    pub claimed_client_id: Option<ClientId>,
    /// The cause, which the caller does not learn.
    pub cause: FailureCause,
}

/// The facts about one request.
///
/// Every request has an `Arc<Record>` in its extensions. Layers and handlers add what they learn;
/// the outermost layer reads it once the response is there. Each fact is recorded once: a later
/// value is ignored.
#[derive(Debug, Default)]
pub struct Record {
    /// The caller's `x-request-id`, or a random id.
    pub request_id: String,
    /// The address of the client; see [`ClientAddresses`].
    pub peer: Option<IpAddr>,
    pub user_agent: String,
    route: OnceLock<&'static str>,
    client_id: OnceLock<ClientId>,
    subject: OnceLock<Box<str>>,
    failure: OnceLock<Failure>,
    grpc_status: OnceLock<GrpcStatus>,
}

impl Record {
    /// Begins the record of a request.
    pub fn new(request: &Request, addresses: &ClientAddresses, ids: &RequestIds) -> Self {
        let headers = request.headers();
        let connection = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let peer = connection.map(|connection| connection.0.ip());
        let user_agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        Self {
            request_id: request_id::of(headers).unwrap_or_else(|| ids.generate()),
            peer: peer.map(|peer| addresses.of(peer, headers)),
            user_agent: redact(user_agent.unwrap_or_default(), MAX_USER_AGENT),
            ..Self::default()
        }
    }

    /// Begins the record of a request that this one asks about, as a proxy does. It has the id of
    /// this request unless it has its own.
    #[must_use]
    pub fn about(&self, client: Option<IpAddr>, headers: &HeaderMap) -> Self {
        let user_agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        Self {
            request_id: request_id::of(headers).unwrap_or_else(|| self.request_id.clone()),
            peer: client,
            user_agent: redact(user_agent.unwrap_or_default(), MAX_USER_AGENT),
            ..Self::default()
        }
    }

    /// Records the route, where the request's path is not the route itself but matches a pattern.
    pub fn set_route(&self, route: &'static str) {
        let _ = self.route.set(route);
    }

    pub fn route(&self) -> Option<&'static str> {
        self.route.get().copied()
    }

    /// Records the API key that called.
    pub fn set_client_id(&self, client_id: &ClientId) {
        let _ = self.client_id.set(client_id.clone());
    }

    pub fn client_id(&self) -> Option<&ClientId> {
        self.client_id.get()
    }

    /// Records the subject of another issuer that called. The name has no characters that JSON
    /// escapes.
    pub fn set_subject(&self, name: &str) {
        let _ = self.subject.set(name.into());
    }

    /// Returns the client id of the key that called, or the name of the subject.
    pub fn caller_name(&self) -> Option<&str> {
        let subject = || self.subject.get().map(|name| &**name);
        self.client_id.get().map(ClientId::as_str).or_else(subject)
    }

    /// Records that the caller failed to authenticate.
    pub fn set_failure(&self, claimed: &str, cause: FailureCause) {
        let claimed_client_id = claimed.parse().ok().filter(|_| !holds_credential(claimed));
        let _ = self.failure.set(Failure { claimed_client_id, cause });
    }

    pub fn failure(&self) -> Option<&Failure> {
        self.failure.get()
    }

    /// Records the status of a call, which not every response shows: plain HTTP and Connect have
    /// none, gRPC has it in trailers, and gRPC-Web in the body.
    pub fn set_grpc_status(&self, code: u32) {
        if let Some(status) = GrpcStatus::of_code(code) {
            let _ = self.grpc_status.set(status);
        }
    }

    pub fn grpc_status(&self) -> Option<GrpcStatus> {
        self.grpc_status.get().copied()
    }

    /// Returns the caller as the ledger records it.
    pub fn caller(&self, actor: Actor) -> Caller {
        Caller {
            actor,
            request_id: self.request_id.clone(),
            peer: self.peer.map(|peer| peer.to_string()).unwrap_or_default(),
            user_agent: self.user_agent.clone(),
        }
    }
}
