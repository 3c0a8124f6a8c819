//! gRPC reflection: descriptors without comments, and a bounded number of answers on a stream.
//!
//! A request is a tenth of its answer, so a stream would otherwise be an amplifier.

use std::sync::Arc;

use connectrpc::{ConnectError, RequestContext, ServiceResult, ServiceStream, StreamMessage};
use connectrpc_reflection::{
    ReflectionService, Reflector, SERVER_REFLECTION_SERVICE_NAME,
    SERVER_REFLECTION_V1ALPHA_SERVICE_NAME, ServerReflection, ServerReflectionExt,
    ServerReflectionV1alpha, ServerReflectionV1alphaExt, apply_request_limits, request_limits,
    wire,
};
use futures::StreamExt as _;

/// Requests that are answered on one stream. Tools ask for each service and each file once.
const MAX_REQUESTS: usize = 100;

/// Both versions of reflection.
struct Reflection(ReflectionService);

/// Adds reflection of `services` and of itself.
pub(super) fn install<'s>(
    router: connectrpc::Router,
    services: impl Iterator<Item = &'s str>,
) -> connectrpc::Router {
    let themselves = [SERVER_REFLECTION_SERVICE_NAME, SERVER_REFLECTION_V1ALPHA_SERVICE_NAME];
    let reflector =
        Reflector::from_descriptor_set_bytes(gatekey_proto::DESCRIPTOR_SET_WITHOUT_COMMENTS)
            .expect("the build writes a valid descriptor set")
            .with_services(services.chain(themselves));
    let reflection = Arc::new(Reflection(ReflectionService::new(reflector)));
    let router = ServerReflectionExt::register(reflection.clone(), router);
    let router = ServerReflectionV1alphaExt::register(reflection, router);
    apply_request_limits(router, request_limits())
}

/// Ends a stream of requests with an error once it has too many.
fn bounded<M: Send + 'static>(requests: ServiceStream<M>) -> ServiceStream<M> {
    Box::pin(requests.enumerate().map(|(number, request)| {
        if number < MAX_REQUESTS {
            return request;
        }
        let rule = format!("at most {MAX_REQUESTS} requests are answered on one stream");
        Err(ConnectError::resource_exhausted(rule))
    }))
}

impl ServerReflection for Reflection {
    async fn server_reflection_info(
        &self,
        context: RequestContext,
        requests: ServiceStream<StreamMessage<wire::v1::ServerReflectionRequest>>,
    ) -> ServiceResult<ServiceStream<wire::v1::ServerReflectionResponse>> {
        ServerReflection::server_reflection_info(&self.0, context, bounded(requests)).await
    }
}

impl ServerReflectionV1alpha for Reflection {
    async fn server_reflection_info(
        &self,
        context: RequestContext,
        requests: ServiceStream<StreamMessage<wire::v1alpha::ServerReflectionRequest>>,
    ) -> ServiceResult<ServiceStream<wire::v1alpha::ServerReflectionResponse>> {
        ServerReflectionV1alpha::server_reflection_info(&self.0, context, bounded(requests)).await
    }
}
