//! [`ExtAuthz`]: `envoy.service.auth.v3.Authorization`, by which Envoy asks over gRPC.
//!
//! Envoy shows every header of the request, so that every forged identity is removed by its name.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::ConnectInfo,
    http::{HeaderMap, HeaderName, HeaderValue as Value, header},
};
use connectrpc::{ConnectError, RequestContext, Response, ServiceRequest, ServiceResult};
use gatekey_proto::envoy::service::auth::v3::{
    Authorization, CheckRequest, CheckResponse, DeniedHttpResponse, HeaderValue, HeaderValueOption,
    HttpStatus, OkHttpResponse, Status, attribute_context::HttpRequest,
    header_value_option::HeaderAppendAction,
};
use gatekey_telemetry::{ClientAddresses, Record};

use super::{
    ForwardAuth, Passed, envoy,
    family::{Malformed, Original, method, target},
};
use crate::{
    limits::projects::Body,
    protocol::Protocol,
    reason,
    refusal::{Kind, Refusal},
};

/// Envoy's service.
pub struct ExtAuthz {
    forward_auth: Arc<ForwardAuth>,
    addresses: ClientAddresses,
}

impl ExtAuthz {
    /// `addresses` finds the client of a request in its headers: Envoy reports only the peer that
    /// is connected to it.
    pub fn new(forward_auth: Arc<ForwardAuth>, addresses: ClientAddresses) -> Self {
        Self { forward_auth, addresses }
    }

    async fn decide(
        &self,
        peer: Option<IpAddr>,
        outer: &Record,
        request: &HttpRequest,
    ) -> Result<CheckResponse, ConnectError> {
        self.forward_auth.trust(peer).map_err(error)?;
        let headers = headers(request).map_err(|_| Malformed::Invalid("header"));
        let original = headers.and_then(|headers| Ok((original(request)?, headers)));
        let (original, headers) = self.forward_auth.readable(original).map_err(error)?;
        let record = outer.about(peer.map(|peer| self.addresses.of(peer, &headers)), &headers);
        let body = body(request, &headers);
        let decided = self.forward_auth.decide(&record, &original, &headers, body).await;
        if let Some(client_id) = record.client_id() {
            outer.set_client_id(client_id);
        }
        Ok(match decided {
            Ok(passed) => self.admit(&passed, &headers),
            Err(refusal) => {
                self.forward_auth.gate().decisions.refuse(refusal.reason);
                refuse(refusal, &original.protocol(&headers))
            }
        })
    }

    fn admit(&self, passed: &Passed, client: &HeaderMap) -> CheckResponse {
        let ours = &self.forward_auth.gate().identity_headers;
        let removed = envoy::to_remove(ours, client, &passed.headers).into_iter();
        let mut for_client = HeaderMap::new();
        passed.admitted.set_rate(&mut for_client);
        let ok = OkHttpResponse {
            response_headers_to_add: options(&for_client),
            headers_to_remove: removed.map(str::to_owned).collect(),
            headers: options(&passed.headers),
            ..OkHttpResponse::default()
        };
        let mut metadata = buffa_types::google::protobuf::Struct::default();
        if let Some(presented) = &passed.admitted.presented {
            let role = presented.roles().highest().map_or("", |role| role.as_str());
            metadata.fields.insert("client_id".to_owned(), presented.user().into());
            metadata.fields.insert("role".to_owned(), role.into());
        }
        CheckResponse {
            status: Status::default().into(),
            http_response: ok.into(),
            dynamic_metadata: metadata.into(),
            ..CheckResponse::default()
        }
    }
}

impl Authorization for ExtAuthz {
    async fn check(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, CheckRequest>,
    ) -> ServiceResult<CheckResponse> {
        let request = request.to_owned_message();
        let connection = context.extensions().get::<ConnectInfo<SocketAddr>>();
        let record = context.extensions().get::<Arc<Record>>().cloned().unwrap_or_default();
        let http = &request.attributes.request.http;
        let peer = connection.map(|connection| connection.0.ip());
        Response::ok(self.decide(peer, &record, http).await?)
    }
}

/// Returns the headers of a request, without pseudo-headers.
fn headers(request: &HttpRequest) -> Result<HeaderMap, http::Error> {
    let mut headers = HeaderMap::new();
    let mut add = |name: &str, value: &[u8]| -> Result<(), http::Error> {
        if !name.starts_with(':') {
            headers.append(HeaderName::from_bytes(name.as_bytes())?, Value::from_bytes(value)?);
        }
        Ok(())
    };
    if request.header_map.headers.is_empty() {
        for (name, value) in &request.headers {
            add(name, value.as_bytes())?;
        }
    } else {
        for header in &request.header_map.headers {
            let value = if header.raw_value.is_empty() {
                header.value.as_bytes()
            } else {
                &header.raw_value
            };
            add(&header.key, value)?;
        }
    }
    Ok(headers)
}

/// Returns the body, if Envoy is configured to send it (`with_request_body`) and sent all of it:
/// with `pack_as_bytes`, or as text, which only JSON survives.
fn body<'r>(request: &'r HttpRequest, headers: &HeaderMap) -> Body<'r> {
    match (&*request.raw_body, request.body.as_bytes()) {
        ([], []) => Body::Unseen,
        (bytes, []) if envoy::is_whole(headers) => Body::Whole(bytes),
        ([], text) if envoy::is_whole(headers) && envoy::is_json(headers) => Body::Whole(text),
        _ => Body::Unseen,
    }
}

fn original(request: &HttpRequest) -> Result<Original, Malformed> {
    Ok(Original {
        method: method(&request.method, "method")?,
        target: target(&request.path, "path")?,
    })
}

/// Refuses a question. Envoy treats an error as an outage, and refuses the request.
fn error(refusal: Refusal) -> ConnectError {
    let error = match refusal.kind {
        Kind::Forbidden => ConnectError::permission_denied(refusal.message),
        _ => ConnectError::invalid_argument(refusal.message),
    };
    error.with_headers([(reason::HEADER, refusal.reason.header())].into_iter().collect())
}

/// Refuses a request. Of a call over gRPC, Envoy itself makes a status, with the body as message.
fn refuse(refusal: Refusal, protocol: &Protocol) -> CheckResponse {
    let (kind, message) = (refusal.kind, refusal.message.clone().into_owned());
    let (mut parts, body) = refusal.for_proxy(kind.status(), protocol).into_parts();
    let body = if let Protocol::Grpc(_) = protocol {
        for name in [header::CONTENT_TYPE.as_str(), "grpc-status", "grpc-message"] {
            parts.headers.remove(name);
        }
        message.clone()
    } else {
        String::from_utf8_lossy(&body).into_owned()
    };
    let denied = DeniedHttpResponse {
        status: HttpStatus { code: kind.status().as_u16().into(), ..HttpStatus::default() }.into(),
        headers: options(&parts.headers),
        body,
        ..DeniedHttpResponse::default()
    };
    let code = i32::try_from(kind.code().0).unwrap_or_default();
    CheckResponse {
        status: Status { code, message, ..Status::default() }.into(),
        http_response: denied.into(),
        ..CheckResponse::default()
    }
}

/// Returns headers that replace those of the same name.
fn options(headers: &HeaderMap) -> Vec<HeaderValueOption> {
    let option = |(name, value): (&HeaderName, &Value)| HeaderValueOption {
        header: HeaderValue {
            key: name.to_string(),
            value: String::from_utf8_lossy(value.as_bytes()).into_owned(),
            ..HeaderValue::default()
        }
        .into(),
        append_action: HeaderAppendAction::OVERWRITE_IF_EXISTS_OR_ADD.into(),
        ..HeaderValueOption::default()
    };
    headers.iter().map(option).collect()
}
