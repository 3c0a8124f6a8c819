//! Messages and services of Gatekey's wire, generated from the `.proto` files in `proto/`.
//!
//! # Layout
//! One module per proto package: [`cloudidl`] is the wire of Union's public clients, [`flyteidl2`] and
//! [`flyteidl`] are how those clients discover where to log in, [`gatekey`] is our own service.
//! [`DESCRIPTOR_SET`] is the same as bytes, for server reflection.

#![expect(clippy::pedantic, clippy::allow_attributes, reason = "generated code")]

connectrpc::include_generated!();

/// Every file of the wire as an encoded `google.protobuf.FileDescriptorSet`, imports included.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
