//! [`ApiKey`]: an API key, as the public API returns it.

use std::fmt;

use gatekey_credentials::{EncodedCredentials, PlainSecret, detection::holds_credential};
use gatekey_proto::cloudidl::identity::App;
use serde_json::{Map, Value};
use zeroize::Zeroize;

use crate::{
    Client, Error, KeyDetails,
    error::{no_key_in_response, one_line},
    json,
};

/// An API key: an OAuth application for headless use, `cloudidl.identity.App` on the wire.
///
/// The operations are functions that take a [`Client`]; there is no global client. `create`, `get`,
/// `listall`, `update` and `delete` use the public API (`cloudidl.identity.AppsService`), which
/// Union's servers serve as well. The other operations need a Gatekey server; elsewhere they fail
/// with [`is_unimplemented`](Error::is_unimplemented).
///
/// `Debug` omits the secret. Dropping the key zeroizes the secret.
///
/// ```no_run
/// use gatekey_client::{ApiKey, Client};
///
/// # async fn example() -> Result<(), gatekey_client::Error> {
/// let client = Client::from_env()?;
/// let key = ApiKey::create(&client, "ci-pipeline").await?;
/// println!("export FLYTE_API_KEY={}", key.encoded_credentials().unwrap_or_default());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq)]
pub struct ApiKey {
    pb2: App,
    organization: Option<String>,
    encoded_credentials: Option<PlainSecret>,
    details: Option<Box<KeyDetails>>,
}

impl ApiKey {
    /// Returns the protobuf message. The `Debug` of the message prints the secret, if it has one.
    ///
    /// ```no_run
    /// # fn example(key: gatekey_client::ApiKey) {
    /// println!("{:?}", key.pb2().redirect_uris);
    /// # }
    /// ```
    pub fn pb2(&self) -> &App {
        &self.pb2
    }

    /// Returns the organization of the request: the client's or, on a serverless endpoint, the
    /// caller's.
    pub fn organization(&self) -> Option<&str> {
        self.organization.as_deref()
    }

    /// Returns base64 of `endpoint:client_id:client_secret:organization`, for `FLYTE_API_KEY`.
    ///
    /// `None` unless the key comes from `create` or `rotate`, because only those return a secret.
    /// Treat the text like the secret that it contains.
    pub fn encoded_credentials(&self) -> Option<&str> {
        self.encoded_credentials.as_ref().map(PlainSecret::expose)
    }

    /// Returns what a Gatekey server said of the key together with its new secret.
    ///
    /// `None` unless the key comes from `rotate`, or from `create_with` and options that only
    /// Gatekey servers have. Unlike [`ApiKey::details`], it needs no further call, for which a key
    /// that rotated itself may have no valid token.
    pub fn details_with_secret(&self) -> Option<&KeyDetails> {
        self.details.as_deref()
    }

    /// Returns the OAuth client id. Field `client_id`.
    pub fn client_id(&self) -> &str {
        &self.pb2.client_id
    }

    /// Returns the human-readable name. Field `client_name`.
    pub fn client_name(&self) -> &str {
        &self.pb2.client_name
    }

    /// Returns the secret; empty unless the key comes from `create` or `rotate`. Field
    /// `client_secret`.
    pub fn client_secret(&self) -> &str {
        &self.pb2.client_secret
    }

    /// Returns the message as proto3 JSON, equal to protobuf's `MessageToDict` in Python. Contains
    /// the secret, if there is one.
    ///
    /// ```no_run
    /// # fn example(key: gatekey_client::ApiKey) {
    /// assert_eq!(key.to_dict()["clientId"], key.client_id());
    /// # }
    /// ```
    pub fn to_dict(&self) -> Map<String, Value> {
        // Only a date out of range can fail, and `from_response` has checked the dates.
        json::to_dict(&self.pb2).unwrap_or_default()
    }

    /// Returns the message as proto3 JSON text, identical to protobuf's `MessageToJson` in Python.
    /// Contains the secret, if there is one.
    ///
    /// ```no_run
    /// # fn example(key: gatekey_client::ApiKey) {
    /// assert!(key.to_json().starts_with("{\n  "));
    /// # }
    /// ```
    pub fn to_json(&self) -> String {
        // See `to_dict`.
        json::to_json(&self.pb2).unwrap_or_else(|_| "{}".to_owned())
    }

    /// Takes a key from a response, after checking that it can be shown as JSON.
    pub(crate) fn from_response(
        app: Option<App>,
        operation: &str,
        organization: &str,
    ) -> Result<Self, Error> {
        let pb2 = app.ok_or_else(|| no_key_in_response(operation))?;
        json::to_json(&pb2).map_err(|error| {
            let message =
                format!("could not {operation}: the response contains a date out of range");
            Error::internal(message).caused_by(error)
        })?;
        let organization = Some(organization).filter(|name| !name.is_empty()).map(str::to_owned);
        Ok(Self { pb2, organization, encoded_credentials: None, details: None })
    }

    /// Sets the secret, for a response that carries it apart from the key.
    pub(crate) fn with_secret(mut self, secret: String) -> Self {
        self.pb2.client_secret.zeroize();
        self.pb2.client_secret = secret;
        self
    }

    pub(crate) fn with_details(mut self, details: KeyDetails) -> Self {
        self.details = Some(Box::new(details));
        self
    }

    /// Adds the encoded credentials, with the endpoint as the client was given it.
    pub(crate) fn encoded_for(mut self, client: &Client) -> Result<Self, Error> {
        let encoded = EncodedCredentials::new(
            client.endpoint(),
            &self.pb2.client_id,
            PlainSecret::new(self.pb2.client_secret.as_str()),
            self.organization.as_deref().unwrap_or_default(),
        );
        let encoded = encoded.map_err(|error| {
            Error::internal(format!("cannot encode the new API key: {error}")).caused_by(error)
        })?;
        self.encoded_credentials = Some(encoded.encode());
        Ok(self)
    }
}

impl Drop for ApiKey {
    fn drop(&mut self) {
        self.pb2.client_secret.zeroize();
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ApiKey")
            .field("client_id", &self.pb2.client_id)
            .field("client_name", &self.pb2.client_name)
            .field("organization", &self.organization)
            .finish_non_exhaustive()
    }
}

/// Names an operation on one key, to complete "could not ...". A secret that was given as a client
/// id is not repeated.
pub(crate) fn describe(verb: &str, client_id: &str) -> String {
    if holds_credential(client_id) {
        return format!("{verb} an API key");
    }
    format!("{verb} API key {:?}", one_line(client_id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_as_client_id_is_not_repeated() {
        let secret = gatekey_credentials::Secret::from_random(&[7; 23]);
        assert_eq!(describe("get", secret.expose()), "get an API key");
        assert_eq!(describe("get", "ci"), "get API key \"ci\"");
    }

    use buffa::Message;
    use serde::Deserialize;

    /// Written by protobuf for Python 7.36.2: `MessageToJson` and `MessageToDict` of the bytes in
    /// `wire`.
    const GOLDEN: &str = include_str!("../tests/golden/apps.json");

    #[derive(Deserialize)]
    struct Golden {
        name: String,
        wire: String,
        json: String,
        dict: Map<String, Value>,
    }

    fn bytes_of(hex: &str) -> Vec<u8> {
        (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect()
    }

    fn key_of(app: App) -> ApiKey {
        ApiKey::from_response(Some(app), "try", "").unwrap()
    }

    #[test]
    fn json_matches_protobuf_for_python() {
        let golden: Vec<Golden> = serde_json::from_str(GOLDEN).unwrap();
        assert!(golden.len() > 20);
        for Golden { name, wire, json, dict } in golden {
            let key = key_of(App::decode_from_slice(&bytes_of(&wire)).unwrap());
            assert_eq!(key.to_json(), json, "{name}");
            assert_eq!(key.to_dict(), dict, "{name}");
        }
    }

    /// The accessors can then convert the key to JSON without failing.
    #[test]
    fn a_response_with_an_impossible_date_fails() {
        let far =
            buffa_types::google::protobuf::Timestamp { seconds: i64::MAX, ..Default::default() };
        let app = App { client_id_issued_at: far.into(), ..App::default() };
        let error = ApiKey::from_response(Some(app), "get API key", "").unwrap_err();
        assert!(error.to_string().contains("a date out of range"), "{error}");
        assert!(ApiKey::from_response(None, "get API key", "").is_err());
    }

    #[test]
    fn keys_are_equal_if_all_fields_are() {
        let app = App { client_id: "ci".into(), ..App::default() };
        let key = key_of(app.clone());
        assert_eq!(key, key.clone());
        assert_ne!(key, key_of(App { client_name: "other".into(), ..app }));
        assert_ne!(key, key.clone().with_secret("s".into()));
    }
}
