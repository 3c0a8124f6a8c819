//! [`KeySet`]: an issuer's published keys (RFC 7517), and where they are fetched from.

use std::time::Duration;

use connectrpc::client::{ClientTransport, full_body};
use gatekey_credentials::jwt::{Algorithm, Jwk, VerifyingKey};
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Bytes;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::time::{Instant, timeout};

use crate::{
    Error,
    error::{Kind, one_line},
    transport::Transport,
};

/// Largest answer that is read.
const MAX_ANSWER: usize = 1 << 20;
/// The most keys of a set that are read; an issuer has a few.
const MAX_KEYS: usize = 100;

/// Keys that were fetched together.
pub(crate) struct KeySet {
    keys: Vec<VerifyingKey>,
    fetched_at: Instant,
}

impl KeySet {
    /// The keys that a token may be signed with: of its key id when it has one, else of its algorithm. The key says
    /// which algorithm it is for, never the token.
    pub(crate) fn candidates(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &VerifyingKey> {
        let fits =
            move |key: &&VerifyingKey| key.algorithm() == algorithm && kid.is_none_or(|kid| key.kid() == kid);
        self.keys.iter().filter(fits)
    }

    pub(crate) fn fetched_at(&self) -> Instant {
        self.fetched_at
    }

    /// Reads a set. Keys for another purpose or of a kind that is not known here are left out, as RFC 7517 section 5
    /// has it.
    fn read(set: PublishedKeys, fetched_at: Instant) -> Self {
        let keys = set.keys.into_iter().take(MAX_KEYS);
        Self { keys: keys.filter_map(|key| verifying_key(key).ok()).collect(), fetched_at }
    }
}

#[derive(Deserialize)]
struct PublishedKeys {
    keys: Vec<Value>,
}

/// A key as anybody publishes it: what RFC 7517 leaves open is optional.
#[derive(Deserialize)]
struct PublishedKey {
    kty: String,
    #[serde(rename = "use")]
    key_use: Option<String>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

/// The algorithm of that name. `Ed25519` is what RFC 9864 calls the one that `EdDSA` means here.
pub(crate) fn algorithm(name: &str) -> Option<Algorithm> {
    let name = if name == "Ed25519" { "EdDSA" } else { name };
    name.parse().ok()
}

/// The key was not made to verify tokens with, or not by us.
struct NotOurs;

fn verifying_key(key: Value) -> Result<VerifyingKey, NotOurs> {
    let PublishedKey { kty, key_use, alg, kid, crv, x, y, n, e } =
        serde_json::from_value(key).map_err(|_| NotOurs)?;
    let algorithm = match (kty.as_str(), crv.as_deref()) {
        ("EC", Some("P-256")) => Algorithm::ES256,
        ("OKP", Some("Ed25519")) => Algorithm::EdDSA,
        ("RSA", _) => Algorithm::RS256,
        _ => return Err(NotOurs),
    };
    let for_signatures = key_use.as_deref().is_none_or(|key_use| key_use == "sig");
    if !for_signatures || alg.is_some_and(|alg| self::algorithm(&alg) != Some(algorithm)) {
        return Err(NotOurs);
    }
    let alg = algorithm.as_str().to_owned();
    let jwk = Jwk { kty, key_use: "sig".to_owned(), alg, kid: kid.unwrap_or_default(), crv, x, y, n, e };
    VerifyingKey::from_jwk(&jwk).map_err(|_| NotOurs)
}

/// How an outside text is shown in an error.
fn shown(text: &str) -> String {
    format!("{:?}", one_line(text))
}

/// Where an issuer's keys are.
pub(crate) struct Source {
    issuer: String,
    /// Asked one after the other for what says where the keys are; empty when that is known.
    metadata: Vec<Uri>,
    jwks_uri: Option<Uri>,
    transport: Transport,
    timeout: Duration,
}

impl Source {
    pub(crate) fn new(
        issuer: &str,
        jwks_uri: Option<&str>,
        transport: Transport,
        timeout: Duration,
    ) -> Result<Self, Error> {
        let parse = |what: &str, text: &str| {
            let invalid = || Error::configuration(format!("{what} {} is no absolute URL", shown(text)));
            let uri: Uri = text.parse().map_err(|_| invalid())?;
            if uri.scheme().is_none() || uri.authority().is_none() {
                return Err(invalid());
            }
            transport.for_keys(&uri)?;
            Ok(uri)
        };
        let at_issuer = parse("the issuer", issuer)?;
        let (jwks_uri, metadata) = match jwks_uri {
            Some(uri) => (Some(parse("the address of the keys", uri)?), Vec::new()),
            None => (None, metadata_uris(issuer, &at_issuer)?),
        };
        Ok(Self { issuer: issuer.to_owned(), metadata, jwks_uri, transport, timeout })
    }

    /// Fetches the keys.
    pub(crate) async fn fetch(&self) -> Result<KeySet, Error> {
        let fetched = timeout(self.timeout, self.fetch_in_time()).await;
        fetched.unwrap_or_else(|_| Err(Error::timed_out("fetch the issuer's keys", self.timeout)))
    }

    async fn fetch_in_time(&self) -> Result<KeySet, Error> {
        // Their age counts from before they were asked for.
        let asked_at = Instant::now();
        let set = match &self.jwks_uri {
            Some(uri) => self.get(uri).await?,
            None => self.get(&self.discover().await?).await?,
        };
        Ok(KeySet::read(set, asked_at))
    }

    /// What the issuer's metadata says (RFC 8414 section 3).
    async fn discover(&self) -> Result<Uri, Error> {
        #[derive(Deserialize)]
        struct Metadata {
            issuer: String,
            jwks_uri: String,
        }
        let mut refused = Error::internal("an issuer has metadata somewhere");
        for address in &self.metadata {
            let metadata: Metadata = match self.get(address).await {
                Ok(metadata) => metadata,
                Err(error) if error.is_not_found() => {
                    refused = error;
                    continue;
                }
                Err(error) => return Err(error),
            };
            // RFC 8414 section 3.3: otherwise it is somebody else's metadata.
            if metadata.issuer != self.issuer {
                let (said, issuer) = (shown(&metadata.issuer), &self.issuer);
                return Err(Error::internal(format!(
                    "the metadata at {address} is of {said}, not of {issuer}"
                )));
            }
            return metadata.jwks_uri.parse().map_err(|_| {
                let said = shown(&metadata.jwks_uri);
                Error::internal(format!("the metadata at {address} says that the keys are at {said}"))
            });
        }
        Err(refused)
    }

    async fn get<T: DeserializeOwned>(&self, address: &Uri) -> Result<T, Error> {
        let operation = "fetch the issuer's keys";
        let http = self.transport.for_keys(address)?;
        let request = Request::builder()
            .method(Method::GET)
            .uri(address)
            .header(header::ACCEPT, "application/json")
            .body(full_body(Bytes::new()))
            .map_err(|error| Error::internal("the request for the keys cannot be built").caused_by(error))?;
        let server = address.to_string();
        let response = http.send(request).await.map_err(|error| Error::of_call(operation, &server, error))?;
        let kind = match response.status() {
            StatusCode::OK => None,
            StatusCode::NOT_FOUND => Some(Kind::NotFound),
            _ => Some(Kind::Unavailable),
        };
        if let Some(kind) = kind {
            let status = response.status().as_u16();
            return Err(Error::new(kind, format!("could not {operation}: {server} answered HTTP {status}")));
        }
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await.map_err(|error| {
            let message = format!("could not {operation}: the answer of {server} broke off or is too long");
            Error::new(Kind::Unavailable, message).caused_by(std::io::Error::other(error.to_string()))
        })?;
        serde_json::from_slice(&body.to_bytes()).map_err(|error| {
            let message = format!("could not {operation}: {server} answered something else");
            Error::internal(message).caused_by(error)
        })
    }
}

/// Where RFC 8414 section 3.1 puts an issuer's metadata, then where OpenID Connect Discovery section 4 does.
fn metadata_uris(issuer: &str, at_issuer: &Uri) -> Result<Vec<Uri>, Error> {
    let scheme = at_issuer.scheme_str().unwrap_or_default();
    let authority = at_issuer.authority().map(http::uri::Authority::as_str).unwrap_or_default();
    let path = at_issuer.path().trim_end_matches('/');
    let addresses = [
        format!("{scheme}://{authority}/.well-known/oauth-authorization-server{path}"),
        format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/')),
    ];
    let parse = |address: String| {
        address.parse().map_err(|_| Error::configuration(format!("the issuer {} is no URL", shown(issuer))))
    };
    addresses.into_iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(keys: Value) -> KeySet {
        KeySet::read(serde_json::from_value(keys).unwrap(), Instant::now())
    }

    #[test]
    fn what_a_key_leaves_open_follows_from_its_kind() {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let set = read(json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": x, "x5t": "ignored" }] }));
        assert_eq!(set.candidates(None, Algorithm::EdDSA).count(), 1);
        assert_eq!(set.candidates(None, Algorithm::ES256).count(), 0);
        assert_eq!(set.candidates(Some("other"), Algorithm::EdDSA).count(), 0);
        for alg in ["EdDSA", "Ed25519"] {
            let set = read(json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": x, "alg": alg }] }));
            assert_eq!(set.candidates(None, Algorithm::EdDSA).count(), 1, "{alg}");
        }
    }

    #[test]
    fn keys_for_something_else_are_left_out() {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let set = read(json!({ "keys": [
            { "kty": "OKP", "crv": "Ed25519", "x": x, "use": "enc" },
            { "kty": "OKP", "crv": "Ed25519", "x": x, "alg": "ES256" },
            { "kty": "OKP", "crv": "Ed448", "x": x },
            { "kty": "OKP", "crv": "Ed25519", "x": "short" },
            { "kty": "oct", "k": "c2VjcmV0" },
            { "kty": "RSA", "n": "AQAB", "e": "AQAB" },
            7,
        ] }));
        for algorithm in Algorithm::ALL {
            assert_eq!(set.candidates(None, algorithm).count(), 0, "{algorithm}");
        }
    }

    #[test]
    fn metadata_is_where_rfc_8414_has_it() {
        let uris = |issuer: &str| {
            let uris = metadata_uris(issuer, &issuer.parse().unwrap()).unwrap();
            uris.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(
            uris("https://h"),
            [
                "https://h/.well-known/oauth-authorization-server",
                "https://h/.well-known/openid-configuration"
            ]
        );
        assert_eq!(
            uris("https://h:8443/a/b"),
            [
                "https://h:8443/.well-known/oauth-authorization-server/a/b",
                "https://h:8443/a/b/.well-known/openid-configuration",
            ]
        );
    }
}
