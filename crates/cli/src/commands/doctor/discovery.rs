//! How a client finds out how to log in: over HTTPS as flytectl and Terraform do, over RPC as the others do.

use http::StatusCode;
use serde_json::Value;

use super::{
    connection::{Target, causes},
    report::Step,
};

const HTTPS: &str = "discovery over HTTPS";
const RPC: &str = "discovery over RPC";
const ISSUER: &str = "start the server with --public-url set to the URL that clients use";
const PROXY: &str = "let the proxy in front pass every path on to the server";

/// RFC 8414 metadata, and what flytectl and Terraform read beside it.
pub(super) async fn over_https(target: &Target) -> Step {
    let path = "/.well-known/oauth-authorization-server";
    let metadata = match answered(HTTPS, path, target.get(path).await) {
        Ok(metadata) => metadata,
        Err(step) => return *step,
    };
    let issuer = metadata["issuer"].as_str().unwrap_or_default().trim_end_matches('/');
    if issuer != target.issuer() {
        let found = format!("the server calls itself {issuer:?}, not {:?}", target.issuer());
        return Step::failed(HTTPS, found, format!("use that URL; or {ISSUER}"));
    }
    let token_endpoint = metadata["token_endpoint"].as_str().unwrap_or_default();
    if let Err(wrong) = check_token_endpoint(target, token_endpoint) {
        return Step::failed(HTTPS, wrong, ISSUER);
    }
    let grants = metadata["grant_types_supported"].as_array();
    if !grants.is_some_and(|grants| grants.iter().any(|grant| grant == "client_credentials")) {
        let mend = "see whether that is Gatekey: keys log in by client credentials";
        return Step::failed(HTTPS, "client credentials are not on offer", mend);
    }
    let path = "/config/v1/flyte_client";
    match answered(HTTPS, path, target.get(path).await) {
        Ok(config) => match metadata_key(&config["authorization_metadata_key"]) {
            Ok(_) => Step::ok(HTTPS, format!("tokens come from {token_endpoint}")),
            Err(wrong) => Step::failed(HTTPS, wrong, "set authorization_metadata_key in the configuration"),
        },
        Err(step) => *step,
    }
}

/// The metadata services of both generations of Flyte.
pub(super) async fn over_rpc(target: &Target) -> Step {
    let mut found = String::new();
    for service in ["flyteidl2.auth.AuthMetadataService", "flyteidl.service.AuthMetadataService"] {
        let procedure = format!("/{service}/GetOAuth2Metadata");
        let metadata = match answered(RPC, &procedure, target.call(&procedure).await) {
            Ok(metadata) => metadata,
            Err(step) => return *step,
        };
        let token_endpoint = metadata["tokenEndpoint"].as_str().unwrap_or_default();
        if let Err(wrong) = check_token_endpoint(target, token_endpoint) {
            return Step::failed(RPC, wrong, ISSUER);
        }
        let procedure = format!("/{service}/GetPublicClientConfig");
        let config = match answered(RPC, &procedure, target.call(&procedure).await) {
            Ok(config) => config,
            Err(step) => return *step,
        };
        match metadata_key(&config["authorizationMetadataKey"]) {
            Ok(key) => found = format!("tokens come from {token_endpoint} and go into the header {key:?}"),
            Err(wrong) => {
                return Step::failed(RPC, wrong, "set authorization_metadata_key in the configuration");
            }
        }
    }
    Step::ok(RPC, found)
}

/// JSON of an answer with status 200.
fn answered(
    step: &'static str,
    path: &str,
    answer: anyhow::Result<(StatusCode, Value)>,
) -> Result<Value, Box<Step>> {
    let (found, mend) = match answer {
        Ok((StatusCode::OK, json)) if json.is_object() => return Ok(json),
        Ok((StatusCode::OK, _)) => (format!("{path} answers something else than JSON"), PROXY),
        Ok((status, _)) => (format!("{path} answers {status}"), PROXY),
        Err(error) => {
            (format!("{path} gives no answer: {}", causes(&error)), "see what the server logs about it")
        }
    };
    Err(Box::new(Step::failed(step, found, mend)))
}

fn check_token_endpoint(target: &Target, token_endpoint: &str) -> Result<(), String> {
    if token_endpoint.strip_prefix(target.issuer()).is_some_and(|path| path.starts_with('/')) {
        return Ok(());
    }
    Err(format!("tokens would come from {token_endpoint:?}, which is not below {:?}", target.issuer()))
}

/// The header that clients send tokens in: flyte 2 fails on an empty one, gRPC on upper case.
fn metadata_key(value: &Value) -> Result<&str, String> {
    let key = value.as_str().unwrap_or_default();
    if key.is_empty() {
        return Err("the server names no header for tokens, on which flyte 2 fails".to_owned());
    }
    if key.chars().any(char::is_uppercase) {
        return Err(format!("the header for tokens, {key:?}, is not in lower case, on which gRPC fails"));
    }
    Ok(key)
}
