//! [`UserInfo`]: the caller, as the server identifies it.

use buffa_types::google::protobuf::Struct;
use gatekey_proto::{flyteidl, flyteidl2};
use serde::Serialize;
use serde_json::{Map, Value};

/// The caller, as the server identifies it: `UserInfoResponse` (OpenID Connect Core section 5.3.2).
///
/// Fields that the server does not set are empty.
///
/// ```no_run
/// # async fn example(client: gatekey_client::Client) -> Result<(), gatekey_client::Error> {
/// let user = client.whoami().await?;
/// println!("{} ({})", user.subject, user.name);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct UserInfo {
    /// Field `subject`: for an API key, its client id.
    pub subject: String,
    /// Field `name`: the display name.
    pub name: String,
    /// Field `preferred_username`.
    pub preferred_username: String,
    /// Field `given_name`.
    pub given_name: String,
    /// Field `family_name`.
    pub family_name: String,
    /// Field `email`.
    pub email: String,
    /// Field `picture`: the URL of an image.
    pub picture: String,
    /// Field `additional_claims`: all other claims.
    pub additional_claims: Map<String, Value>,
}

/// Converts claims to JSON. The result is empty if they contain NaN or infinity, which JSON lacks.
fn claims(claims: Option<Struct>) -> Map<String, Value> {
    match claims.map(serde_json::to_value) {
        Some(Ok(Value::Object(claims))) => claims,
        Some(Ok(_) | Err(_)) | None => Map::new(),
    }
}

impl From<flyteidl2::auth::UserInfoResponse> for UserInfo {
    fn from(response: flyteidl2::auth::UserInfoResponse) -> Self {
        Self {
            subject: response.subject,
            name: response.name,
            preferred_username: response.preferred_username,
            given_name: response.given_name,
            family_name: response.family_name,
            email: response.email,
            picture: response.picture,
            additional_claims: claims(response.additional_claims.into_option()),
        }
    }
}

impl From<flyteidl::service::UserInfoResponse> for UserInfo {
    fn from(response: flyteidl::service::UserInfoResponse) -> Self {
        Self {
            subject: response.subject,
            name: response.name,
            preferred_username: response.preferred_username,
            given_name: response.given_name,
            family_name: response.family_name,
            email: response.email,
            picture: response.picture,
            additional_claims: claims(response.additional_claims.into_option()),
        }
    }
}
