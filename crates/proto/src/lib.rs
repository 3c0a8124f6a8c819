//! Protobuf messages and services, generated from the `.proto` files in `proto/`.
//!
//! # Overview
//! There is one module per proto package. [`cloudidl`] is the public API, which Union's clients
//! use. [`flyteidl2`] and [`flyteidl`] describe how those clients log in. [`gatekey`] is Gatekey's
//! API key service. [`envoy`] is what Envoy asks about requests. [`DESCRIPTOR_SET`] has the same
//! files in binary form.

#![expect(clippy::pedantic, clippy::allow_attributes, reason = "generated code")]

connectrpc::include_generated!();

/// All files and their imports, as an encoded `google.protobuf.FileDescriptorSet` with comments.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The same without comments and the places of definitions, for servers, which keep it decoded.
pub const DESCRIPTOR_SET_WITHOUT_COMMENTS: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/without_comments.bin"));
