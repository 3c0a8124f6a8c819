//! gRPC health, which is open to everyone, and reflection, which is open to keys.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use buffa::Message as _;
use buffa_descriptor::generated::descriptor::FileDescriptorProto;
use connectrpc::{
    ErrorCode, Protocol,
    client::{ClientConfig, HttpClient},
};
use connectrpc_health::{
    HealthClient,
    wire::{HealthCheckRequest, ServingStatus},
};
use connectrpc_reflection::{
    ServerReflectionClient,
    wire::v1::{
        ServerReflectionRequest, ServerReflectionResponse,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    },
};
use serde_json::json;

use crate::support::{Server, ServerProcess, eventually, trusting};

const WATCH: &str = "/grpc.health.v1.Health/Watch";

/// Calls over gRPC without a credential.
fn grpc(server: &ServerProcess) -> (HttpClient, ClientConfig) {
    let transport = HttpClient::with_tls(Arc::new(trusting(Some(&server.ca_file()))));
    (transport, ClientConfig::new(server.reached_at.parse().unwrap()).with_protocol(Protocol::Grpc))
}

/// Sends reflection requests in order, on one stream.
async fn reflect(
    server: &ServerProcess,
    token: &str,
    questions: impl IntoIterator<Item = MessageRequest>,
) -> Vec<MessageResponse> {
    let (transport, config) = grpc(server);
    let config = if token.is_empty() {
        config
    } else {
        config.with_default_header("authorization", format!("Bearer {token}"))
    };
    let client = ServerReflectionClient::new(transport, config);
    let mut stream = client.server_reflection_info().await.unwrap();
    let mut answers = Vec::new();
    for question in questions {
        let request =
            ServerReflectionRequest { message_request: Some(question), ..Default::default() };
        stream.send(request).await.unwrap();
        let response: ServerReflectionResponse =
            stream.message().await.unwrap().unwrap().to_owned_message();
        answers.push(response.message_response.unwrap());
    }
    stream.close_send();
    assert!(stream.message().await.unwrap().is_none());
    answers
}

/// The services that the server lists.
async fn services(server: &ServerProcess, token: &str) -> Vec<String> {
    let answers = reflect(server, token, [MessageRequest::ListServices(String::new())]).await;
    let MessageResponse::ListServicesResponse(list) = &answers[0] else { panic!("{answers:?}") };
    list.service.iter().map(|service| service.name.clone()).collect()
}

/// Every method that is served, by its procedure, and whether it streams; from the server's
/// descriptors.
pub(crate) async fn served_methods(server: &ServerProcess, token: &str) -> BTreeMap<String, bool> {
    let services = services(server, token).await;
    let questions = services.iter().cloned().map(MessageRequest::FileContainingSymbol);
    let mut methods = BTreeMap::new();
    for (service, response) in services.iter().zip(reflect(server, token, questions).await) {
        let MessageResponse::FileDescriptorResponse(files) = response else {
            panic!("{service}: {response:?}")
        };
        let (package, name) = service.rsplit_once('.').unwrap();
        let described = files.file_descriptor_proto.iter().find_map(|bytes| {
            let file = FileDescriptorProto::decode_from_slice(bytes).unwrap();
            let here = file.package.as_deref() == Some(package);
            here.then_some(file.service)?
                .into_iter()
                .find(|service| service.name.as_deref() == Some(name))
        });
        for method in described.expect("the response has the service's file").method {
            let streams = method.client_streaming.unwrap_or(false)
                || method.server_streaming.unwrap_or(false);
            methods.insert(format!("/{service}/{}", method.name.unwrap()), streams);
        }
    }
    methods
}

#[tokio::test]
async fn the_server_and_each_service_report_serving() {
    let server = Server::start().await;
    let (transport, config) = grpc(&server.process);
    let client = HealthClient::new(transport, config);
    let check = async |service: &str| {
        let request = HealthCheckRequest { service: service.to_owned(), ..Default::default() };
        client.check(request).await.map(|response| response.into_owned().status)
    };
    for service in ["", "cloudidl.identity.AppsService", "gatekey.v1.ApiKeyService"] {
        assert_eq!(check(service).await.unwrap(), ServingStatus::SERVING, "{service:?}");
    }
    assert_eq!(check("no.such.Service").await.unwrap_err().code, ErrorCode::NotFound);
    let over_connect = server.call("", "/grpc.health.v1.Health/Check", json!({})).await.unwrap();
    assert_eq!(over_connect["status"], "SERVING");
}

#[tokio::test]
async fn a_health_watch_begins_with_the_status() {
    let server = Server::start().await;
    let (transport, config) = grpc(&server.process);
    let client = HealthClient::new(transport, config);
    let mut stream = client.watch(HealthCheckRequest::default()).await.unwrap();
    let first = stream.message().await.unwrap().unwrap().to_owned_message();
    assert_eq!(first.status, ServingStatus::SERVING);
}

/// Otherwise, a stranger occupies a connection or memory for as long as it likes.
#[tokio::test]
async fn a_health_watch_ends_at_its_deadline() {
    let server = Server::start().await;
    let headers = [("content-type", "application/connect+json"), ("connect-timeout-ms", "200")];
    let response =
        server.http.send(http::Method::POST, WATCH, &headers, &b"\0\0\0\0\x02{}"[..]).await;
    let text = response.text();
    assert!(text.contains("SERVING") && text.contains("deadline_exceeded"), "{text}");
}

/// A silent request stream is not read for longer than any other.
#[tokio::test]
async fn a_silent_reflection_stream_ends_at_its_deadline() {
    let server = Server::start().await;
    let (transport, config) = grpc(&server.process);
    let config = config
        .with_default_header("authorization", format!("Bearer {}", server.admin_token))
        .with_default_header("grpc-timeout", "200m");
    let client = ServerReflectionClient::new(transport, config);
    let mut stream = client.server_reflection_info().await.unwrap();
    assert_eq!(stream.message().await.unwrap_err().code, ErrorCode::DeadlineExceeded);
}

#[tokio::test]
async fn one_address_has_few_health_watches() {
    let server = Server::start().await;
    let (transport, config) = grpc(&server.process);
    let client = HealthClient::new(transport, config);
    let mut open = Vec::new();
    let refusal = loop {
        assert!(open.len() < 100, "as many watches as the client likes");
        match client.watch(HealthCheckRequest::default()).await {
            Ok(mut stream) => {
                let status = stream.message().await.unwrap().unwrap().to_owned_message().status;
                assert_eq!(status, ServingStatus::SERVING);
                open.push(stream);
            }
            Err(refusal) => break refusal,
        }
    };
    assert_eq!(refusal.code, ErrorCode::ResourceExhausted);
    assert_eq!(
        client.check(HealthCheckRequest::default()).await.unwrap().into_owned().status,
        ServingStatus::SERVING
    );
    // A watch that ends makes room.
    open.clear();
    eventually("there is room again", async || {
        client.watch(HealthCheckRequest::default()).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_stopping_server_ends_health_watches() {
    let mut server = Server::start().await;
    let (transport, config) = grpc(&server.process);
    let client = HealthClient::new(transport, config);
    let mut stream = client.watch(HealthCheckRequest::default()).await.unwrap();
    stream.message().await.unwrap().unwrap();
    let (started, stopping) = (Instant::now(), server.process.stop());
    let watched = async {
        let last = stream.message().await.unwrap().unwrap().to_owned_message();
        assert_eq!(last.status, ServingStatus::NOT_SERVING);
        assert!(stream.message().await.unwrap().is_none());
    };
    let (status, ()) = tokio::join!(stopping, watched);
    assert!(status.success());
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[tokio::test]
async fn reflection_needs_a_key_unless_open() {
    let list = || [MessageRequest::ListServices(String::new())];
    let server = Server::start().await;
    let (transport, config) = grpc(&server.process);
    let mut stream =
        ServerReflectionClient::new(transport, config).server_reflection_info().await.unwrap();
    stream.close_send();
    assert_eq!(stream.message().await.unwrap_err().code, ErrorCode::Unauthenticated);
    let open = Server::with_config("[server]\nreflection = \"open\"\n").await;
    assert!(matches!(
        reflect(&open.process, "", list()).await[0],
        MessageResponse::ListServicesResponse(_)
    ));
}

/// Comments are most of a descriptor, and a stream of small requests would amplify them.
#[tokio::test]
async fn a_reflection_stream_is_bounded_and_terse() {
    let server = Server::start().await;
    let (transport, config) = grpc(&server.process);
    let config =
        config.with_default_header("authorization", format!("Bearer {}", server.admin_token));
    let mut stream =
        ServerReflectionClient::new(transport, config).server_reflection_info().await.unwrap();
    let mut answered = 0;
    let refusal = loop {
        let question = MessageRequest::FileContainingSymbol("gatekey.v1.ApiKey".to_owned());
        let request =
            ServerReflectionRequest { message_request: Some(question), ..Default::default() };
        if stream.send(request).await.is_err() {
            break stream.message().await.unwrap_err();
        }
        match stream.message().await {
            Ok(response) => {
                let response = response.unwrap().to_owned_message().message_response;
                let Some(MessageResponse::FileDescriptorResponse(files)) = response else {
                    panic!("{response:?}")
                };
                for file in &files.file_descriptor_proto {
                    let file = FileDescriptorProto::decode_from_slice(file).unwrap();
                    assert!(file.source_code_info.is_unset(), "{:?}", file.name);
                }
                answered += 1;
            }
            Err(refusal) => break refusal,
        }
    };
    assert_eq!((answered, refusal.code), (100, ErrorCode::ResourceExhausted));
}

#[tokio::test]
async fn reflection_lists_every_service_to_a_key() {
    let server = Server::start().await;
    let mut listed = services(&server.process, &server.admin_token).await;
    listed.sort_unstable();
    assert_eq!(
        listed,
        [
            "cloudidl.authorizer.AuthorizerService",
            "cloudidl.identity.AppsService",
            "flyteidl.service.AuthMetadataService",
            "flyteidl.service.IdentityService",
            "flyteidl2.auth.AuthMetadataService",
            "flyteidl2.auth.IdentityService",
            "gatekey.v1.ApiKeyService",
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
        ]
    );
}

#[tokio::test]
async fn both_versions_of_reflection_are_served() {
    let server = Server::start().await;
    // ServerReflectionRequest.list_services is field 7.
    let question = &b"\0\0\0\0\x02\x3a\0"[..];
    for version in ["v1", "v1alpha"] {
        let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
        let bearer = format!("Bearer {}", server.admin_token);
        let headers =
            [("content-type", "application/grpc"), ("te", "trailers"), ("authorization", &*bearer)];
        let response = server.http.send(http::Method::POST, &path, &headers, question).await;
        assert!(response.text().contains("gatekey.v1.ApiKeyService"), "{version}: {response:?}");
    }
}

#[tokio::test]
async fn reflection_describes_messages_and_refuses_unknown_names() {
    let server = Server::start().await;
    let questions = ["cloudidl.identity.App", "gatekey.v1.ApiKey", "no.such.Message"];
    let questions = questions.map(|symbol| MessageRequest::FileContainingSymbol(symbol.to_owned()));
    let answers = reflect(&server.process, &server.admin_token, questions).await;
    assert!(matches!(answers[0], MessageResponse::FileDescriptorResponse(_)), "{answers:?}");
    assert!(matches!(answers[1], MessageResponse::FileDescriptorResponse(_)), "{answers:?}");
    assert!(matches!(answers[2], MessageResponse::ErrorResponse(_)), "{answers:?}");
}
