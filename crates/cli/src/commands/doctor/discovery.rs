//! Login discovery: over HTTPS as flytectl and Terraform do it, and over RPC as other clients do.

use http::StatusCode;
use serde_json::Value;

use super::{
    connection::{Target, causes},
    report::Step,
};

const HTTPS: &str = "discovery over HTTPS";
const RPC: &str = "discovery over RPC";
const ISSUER: &str = "start the server with --public-url set to the URL that clients use";
const PROXY: &str = "let the proxy in front of the server forward every path";
const METADATA_KEY: &str = "set authorization_metadata_key in the configuration";

/// Checks the RFC 8414 metadata, and the client configuration that flytectl and Terraform read.
pub(super) async fn over_https(target: &Target) -> Step {
    let path = "/.well-known/oauth-authorization-server";
    let metadata = match answered(HTTPS, target, path, target.get(path).await) {
        Ok(metadata) => metadata,
        Err(step) => return *step,
    };
    let issuer = metadata["issuer"].as_str().unwrap_or_default().trim_end_matches('/');
    if issuer != target.issuer() {
        let found = format!("the server's issuer is {issuer:?}, not {:?}", target.issuer());
        return Step::failed(HTTPS, found, format!("use the issuer's URL, or {ISSUER}"));
    }
    let token_endpoint = metadata["token_endpoint"].as_str().unwrap_or_default();
    if let Err(wrong) = check_token_endpoint(target, token_endpoint) {
        return Step::failed(HTTPS, wrong, ISSUER);
    }
    let grants = metadata["grant_types_supported"].as_array();
    if !grants.is_some_and(|grants| grants.iter().any(|grant| grant == "client_credentials")) {
        let fix = "check that the server is Gatekey: API keys log in with client credentials";
        return Step::failed(HTTPS, "the server does not offer the client_credentials grant", fix);
    }
    let path = "/config/v1/flyte_client";
    match answered(HTTPS, target, path, target.get(path).await) {
        Ok(config) => match metadata_key(&config["authorization_metadata_key"]) {
            Ok(_) => Step::ok(HTTPS, format!("the token endpoint is {token_endpoint}")),
            Err(wrong) => Step::failed(HTTPS, wrong, METADATA_KEY),
        },
        Err(step) => *step,
    }
}

/// Checks the metadata services of both generations of Flyte.
pub(super) async fn over_rpc(target: &Target) -> Step {
    let mut found = String::new();
    for service in ["flyteidl2.auth.AuthMetadataService", "flyteidl.service.AuthMetadataService"] {
        let procedure = format!("/{service}/GetOAuth2Metadata");
        let metadata = match answered(RPC, target, &procedure, target.call(&procedure).await) {
            Ok(metadata) => metadata,
            Err(step) => return *step,
        };
        let token_endpoint = metadata["tokenEndpoint"].as_str().unwrap_or_default();
        if let Err(wrong) = check_token_endpoint(target, token_endpoint) {
            return Step::failed(RPC, wrong, ISSUER);
        }
        let procedure = format!("/{service}/GetPublicClientConfig");
        let config = match answered(RPC, target, &procedure, target.call(&procedure).await) {
            Ok(config) => config,
            Err(step) => return *step,
        };
        match metadata_key(&config["authorizationMetadataKey"]) {
            Ok(key) => {
                found = format!(
                    "the token endpoint is {token_endpoint}; tokens are sent in the header {key:?}"
                );
            }
            Err(wrong) => return Step::failed(RPC, wrong, METADATA_KEY),
        }
    }
    Step::ok(RPC, found)
}

/// Returns the JSON of a response with status 200.
fn answered(
    step: &'static str,
    target: &Target,
    path: &str,
    answer: anyhow::Result<(StatusCode, Value)>,
) -> Result<Value, Box<Step>> {
    let (found, fix) = match answer {
        Ok((StatusCode::OK, json)) if json.is_object() => return Ok(json),
        Ok((StatusCode::OK, _)) => (format!("{path} does not return JSON"), PROXY.to_owned()),
        Ok((status, _)) => (format!("{path} returns {status}"), PROXY.to_owned()),
        // Such as the TLS alert with which a TLS server answers plain HTTP.
        Err(error) if target.is_plaintext() && is_not_http(&error) => (
            format!("the server does not answer with plain HTTP: {}", causes(&error)),
            format!("use https://{}", target.endpoint()),
        ),
        Err(error) => {
            let found = format!("{path} gives no response: {}", causes(&error));
            (found, "check the server's logs".to_owned())
        }
    };
    Err(Box::new(Step::failed(step, found, fix)))
}

fn is_not_http(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<hyper::Error>());
    causes.any(hyper::Error::is_parse)
}

fn check_token_endpoint(target: &Target, token_endpoint: &str) -> Result<(), String> {
    if token_endpoint.strip_prefix(target.issuer()).is_some_and(|path| path.starts_with('/')) {
        return Ok(());
    }
    Err(format!("the token endpoint {token_endpoint:?} is not below {:?}", target.issuer()))
}

/// Returns the header that clients send tokens in. flyte 2 fails on an empty one, gRPC on upper
/// case.
fn metadata_key(value: &Value) -> Result<&str, String> {
    let key = value.as_str().unwrap_or_default();
    if key.is_empty() {
        return Err("the server names no header for tokens, so flyte 2 fails".to_owned());
    }
    if key.chars().any(char::is_uppercase) {
        return Err(format!(
            "the header for tokens, {key:?}, has upper case letters, so gRPC fails"
        ));
    }
    Ok(key)
}
