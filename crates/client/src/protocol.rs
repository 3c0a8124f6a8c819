//! [`Protocol`]: the wire protocol of RPCs.

/// The wire protocol of RPCs. A Gatekey server understands all three on one port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// The Connect protocol over HTTP/1.1 or HTTP/2, which passes every proxy.
    #[default]
    Connect,
    /// gRPC, which needs HTTP/2 on every hop.
    Grpc,
    /// gRPC-Web, in its binary form.
    GrpcWeb,
}

impl From<Protocol> for connectrpc::Protocol {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Connect => Self::Connect,
            Protocol::Grpc => Self::Grpc,
            Protocol::GrpcWeb => Self::GrpcWeb,
        }
    }
}
