//! [`UserInfo`]: who is calling.

use buffa_types::google::protobuf::Struct;
use gatekey_proto::{flyteidl, flyteidl2};
use serde::Serialize;
use serde_json::{Map, Value};

/// Who the server takes the caller for: `UserInfoResponse` (OpenID Connect Core section 5.3.2).
///
/// What the server does not say is empty.
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
    /// Field `subject`: for an API key its client id.
    pub subject: String,
    /// Field `name`: the name to show.
    pub name: String,
    /// Field `preferred_username`.
    pub preferred_username: String,
    /// Field `given_name`.
    pub given_name: String,
    /// Field `family_name`.
    pub family_name: String,
    /// Field `email`.
    pub email: String,
    /// Field `picture`: the address of an image.
    pub picture: String,
    /// Field `additional_claims`: whatever else the server says.
    pub additional_claims: Map<String, Value>,
}

/// A struct of the wire as JSON; numbers that JSON lacks (NaN, infinity) leave it empty.
fn claims(claims: Option<Struct>) -> Map<String, Value> {
    match claims.map(serde_json::to_value) {
        Some(Ok(Value::Object(claims))) => claims,
        Some(Ok(_) | Err(_)) | None => Map::new(),
    }
}

impl From<flyteidl2::auth::UserInfoResponse> for UserInfo {
    fn from(answer: flyteidl2::auth::UserInfoResponse) -> Self {
        Self {
            subject: answer.subject,
            name: answer.name,
            preferred_username: answer.preferred_username,
            given_name: answer.given_name,
            family_name: answer.family_name,
            email: answer.email,
            picture: answer.picture,
            additional_claims: claims(answer.additional_claims.into_option()),
        }
    }
}

impl From<flyteidl::service::UserInfoResponse> for UserInfo {
    fn from(answer: flyteidl::service::UserInfoResponse) -> Self {
        Self {
            subject: answer.subject,
            name: answer.name,
            preferred_username: answer.preferred_username,
            given_name: answer.given_name,
            family_name: answer.family_name,
            email: answer.email,
            picture: answer.picture,
            additional_claims: claims(answer.additional_claims.into_option()),
        }
    }
}
