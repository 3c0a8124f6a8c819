//! [`Protocol`]: how calls are written on the wire.

/// How calls are written on the wire; a Gatekey server understands all three on one port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// The Connect protocol over HTTP/1.1 or HTTP/2: passes every proxy.
    #[default]
    Connect,
    /// gRPC, which needs HTTP/2 all the way.
    Grpc,
    /// gRPC-Web in its binary form.
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
