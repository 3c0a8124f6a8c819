//! Compiles `proto/` with protox, which needs no protoc, and generates messages and services.

#![expect(clippy::disallowed_methods, reason = "cargo configures build scripts by the environment")]

use std::{env, error::Error, fs, path::PathBuf, time::UNIX_EPOCH};

use buffa::{Message as _, MessageField};
use buffa_descriptor::generated::descriptor::FileDescriptorSet;

const FILES: [&str; 21] = [
    "google/api/http.proto",
    "google/api/annotations.proto",
    "common/list.proto",
    "common/identifier.proto",
    "common/identity.proto",
    "common/authorization.proto",
    "common/policy.proto",
    "common/role.proto",
    "authorizer/definition.proto",
    "authorizer/payload.proto",
    "authorizer/authorizer.proto",
    "identity/enums.proto",
    "identity/app_definition.proto",
    "identity/app_payload.proto",
    "identity/app_service.proto",
    "flyteidl2/auth/auth_service.proto",
    "flyteidl2/auth/identity.proto",
    "flyteidl/service/auth.proto",
    "flyteidl/service/identity.proto",
    "gatekey/v1/api_key.proto",
    "envoy/service/auth/v3/external_auth.proto",
];

/// Compiled only for reflection: another crate serves it, but does not publish its descriptors.
const DESCRIBED: [&str; 1] = ["grpc/health/v1/health.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let descriptors = out.join("compiled.bin");
    let mut compiler = protox::Compiler::new([&root])?;
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(FILES.iter().chain(&DESCRIBED))?;
    let compiled = compiler.encode_file_descriptor_set();
    fs::write(&descriptors, &compiled)?;
    fs::write(out.join("without_comments.bin"), without_comments(&compiled)?)?;
    // connectrpc_build tells cargo to rerun this script if the file is newer than the last run, so
    // make it old.
    fs::File::options().write(true).open(&descriptors)?.set_modified(UNIX_EPOCH)?;
    connectrpc_build::Config::new()
        .files(&FILES)
        .descriptor_set(&descriptors)
        .include_file("_connectrpc.rs")
        .emit_descriptor_set("descriptors.bin")
        .gate_client_feature(true)
        .compile()?;
    println!("cargo:rerun-if-changed={}", root.display());
    Ok(())
}

/// Removes comments and the places of definitions, which are most of a set.
fn without_comments(set: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut set = FileDescriptorSet::decode_from_slice(set)?;
    for file in &mut set.file {
        file.source_code_info = MessageField::none();
    }
    Ok(set.encode_to_vec())
}
