//! [`KeySet`]: an issuer's published keys (RFC 7517), and [`Source`], which fetches them.

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

/// The largest response to read, in bytes.
const MAX_RESPONSE: usize = 1 << 20;
/// The most keys to read from a set. An issuer has a few.
const MAX_KEYS: usize = 100;
pub(crate) struct KeySet {
    keys: Vec<VerifyingKey>,
    fetched_at: Instant,
}

impl KeySet {
    /// Returns the keys that may have signed a token: those with its key id, if it has one, and its
    /// algorithm. A key verifies only its own algorithm, whatever the token's header says.
    pub(crate) fn candidates(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &VerifyingKey> {
        let matches = move |key: &&VerifyingKey| {
            key.algorithm() == algorithm && kid.is_none_or(|kid| key.kid() == kid)
        };
        self.keys.iter().filter(matches)
    }

    pub(crate) fn fetched_at(&self) -> Instant {
        self.fetched_at
    }

    /// Reads a set, and skips keys of another use or an unknown type (RFC 7517 section 5).
    fn read(set: PublishedKeys, fetched_at: Instant) -> Self {
        let keys = set.keys.into_iter().take(MAX_KEYS);
        Self { keys: keys.filter_map(|key| verifying_key(key).ok()).collect(), fetched_at }
    }
}

#[derive(Deserialize)]
struct PublishedKeys {
    keys: Vec<Value>,
}

/// A key as any issuer may publish it, with the optional members of RFC 7517.
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

/// Parses the name of an algorithm. `Ed25519` (RFC 9864) is another name for `EdDSA` with that
/// curve.
pub(crate) fn algorithm(name: &str) -> Option<Algorithm> {
    let name = if name == "Ed25519" { "EdDSA" } else { name };
    name.parse().ok()
}

/// The key is not for signatures, or of a type that this crate does not support.
struct Unusable;

fn verifying_key(key: Value) -> Result<VerifyingKey, Unusable> {
    let PublishedKey { kty, key_use, alg, kid, crv, x, y, n, e } =
        serde_json::from_value(key).map_err(|_| Unusable)?;
    let algorithm = match (kty.as_str(), crv.as_deref()) {
        ("EC", Some("P-256")) => Algorithm::ES256,
        ("OKP", Some("Ed25519")) => Algorithm::EdDSA,
        ("RSA", _) => Algorithm::RS256,
        _ => return Err(Unusable),
    };
    let for_signatures = key_use.as_deref().is_none_or(|key_use| key_use == "sig");
    if !for_signatures || alg.is_some_and(|alg| self::algorithm(&alg) != Some(algorithm)) {
        return Err(Unusable);
    }
    let alg = algorithm.as_str().to_owned();
    let jwk =
        Jwk { kty, key_use: "sig".to_owned(), alg, kid: kid.unwrap_or_default(), crv, x, y, n, e };
    VerifyingKey::from_jwk(&jwk).map_err(|_| Unusable)
}

/// Quotes untrusted text for an error message.
fn quoted(text: &str) -> String {
    format!("{:?}", one_line(text))
}

/// Fetches an issuer's keys.
pub(crate) struct Source {
    issuer: String,
    /// The candidate URLs of the issuer's metadata, in order. Empty if `jwks_uri` is set.
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
            let invalid =
                || Error::configuration(format!("{what} {} is not an absolute URL", quoted(text)));
            let uri: Uri = text.parse().map_err(|_| invalid())?;
            if uri.scheme().is_none() || uri.authority().is_none() {
                return Err(invalid());
            }
            transport.for_keys(&uri)?;
            Ok(uri)
        };
        let at_issuer = parse("the issuer", issuer)?;
        let (jwks_uri, metadata) = match jwks_uri {
            Some(uri) => (Some(parse("the JWKS URL", uri)?), Vec::new()),
            None => (None, metadata_uris(issuer, &at_issuer)?),
        };
        Ok(Self { issuer: issuer.to_owned(), metadata, jwks_uri, transport, timeout })
    }

    pub(crate) async fn fetch(&self) -> Result<KeySet, Error> {
        let fetched = timeout(self.timeout, self.fetch_in_time()).await;
        fetched.unwrap_or_else(|_| Err(Error::timed_out("fetch the issuer's keys", self.timeout)))
    }

    async fn fetch_in_time(&self) -> Result<KeySet, Error> {
        // The age of the keys counts from before the request.
        let sent_at = Instant::now();
        let set = match &self.jwks_uri {
            Some(uri) => self.get(uri).await?,
            None => self.get(&self.discover().await?).await?,
        };
        Ok(KeySet::read(set, sent_at))
    }

    /// Reads the URL of the keys from the issuer's metadata (RFC 8414 section 3).
    async fn discover(&self) -> Result<Uri, Error> {
        #[derive(Deserialize)]
        struct Metadata {
            issuer: String,
            jwks_uri: String,
        }
        let mut not_found = Error::internal("no URL of the issuer's metadata is known");
        for address in &self.metadata {
            let metadata: Metadata = match self.get(address).await {
                Ok(metadata) => metadata,
                Err(error) if error.is_not_found() => {
                    not_found = error;
                    continue;
                }
                Err(error) => return Err(error),
            };
            // RFC 8414 section 3.3: metadata of another issuer must not be used.
            if metadata.issuer != self.issuer {
                let (actual, expected) = (quoted(&metadata.issuer), quoted(&self.issuer));
                return Err(Error::internal(format!(
                    "the metadata at {address} has the issuer {actual}, not {expected}"
                )));
            }
            return metadata.jwks_uri.parse().map_err(|_| {
                let uri = quoted(&metadata.jwks_uri);
                Error::internal(format!(
                    "the metadata at {address} has an invalid `jwks_uri` {uri}"
                ))
            });
        }
        Err(not_found)
    }

    async fn get<T: DeserializeOwned>(&self, address: &Uri) -> Result<T, Error> {
        let operation = "fetch the issuer's keys";
        let http = self.transport.for_keys(address)?;
        let request = Request::builder()
            .method(Method::GET)
            .uri(address)
            .header(header::ACCEPT, "application/json")
            .body(full_body(Bytes::new()))
            .map_err(|error| {
                Error::internal("cannot build the request for the keys").caused_by(error)
            })?;
        let server = address.to_string();
        let response =
            http.send(request).await.map_err(|error| Error::of_call(operation, &server, error))?;
        let kind = match response.status() {
            StatusCode::OK => None,
            StatusCode::NOT_FOUND => Some(Kind::NotFound),
            _ => Some(Kind::Unavailable),
        };
        if let Some(kind) = kind {
            let status = response.status().as_u16();
            return Err(Error::new(
                kind,
                format!("could not {operation}: {server} returned HTTP {status}"),
            ));
        }
        let body =
            Limited::new(response.into_body(), MAX_RESPONSE).collect().await.map_err(|error| {
                let message = format!(
                    "could not {operation}: the response of {server} is incomplete or too long"
                );
                Error::new(Kind::Unavailable, message).caused_by(std::io::Error::other(error))
            })?;
        serde_json::from_slice(&body.to_bytes()).map_err(|error| {
            let message = format!("could not {operation}: unexpected response from {server}");
            Error::internal(message).caused_by(error)
        })
    }
}

/// Returns the metadata URLs of RFC 8414 section 3.1 and of OpenID Connect Discovery section 4.
fn metadata_uris(issuer: &str, at_issuer: &Uri) -> Result<Vec<Uri>, Error> {
    let scheme = at_issuer.scheme_str().unwrap_or_default();
    let authority = at_issuer.authority().map(http::uri::Authority::as_str).unwrap_or_default();
    let path = at_issuer.path().trim_end_matches('/');
    let addresses = [
        format!("{scheme}://{authority}/.well-known/oauth-authorization-server{path}"),
        format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/')),
    ];
    let parse = |address: String| {
        address.parse().map_err(|_| {
            Error::configuration(format!("the issuer {} is not a URL", quoted(issuer)))
        })
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
    fn missing_key_members_follow_from_its_type() {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let set =
            read(json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": x, "x5t": "ignored" }] }));
        assert_eq!(set.candidates(None, Algorithm::EdDSA).count(), 1);
        assert_eq!(set.candidates(None, Algorithm::ES256).count(), 0);
        assert_eq!(set.candidates(Some("other"), Algorithm::EdDSA).count(), 0);
        for alg in ["EdDSA", "Ed25519"] {
            let set =
                read(json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": x, "alg": alg }] }));
            assert_eq!(set.candidates(None, Algorithm::EdDSA).count(), 1, "{alg}");
        }
    }

    #[test]
    fn keys_for_other_uses_are_skipped() {
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
    fn metadata_urls_follow_rfc_8414() {
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
