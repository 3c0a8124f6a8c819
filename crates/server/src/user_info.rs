//! [`UserInfo`]: the caller's identity. Both OAuth and RPC endpoints return it.

use gatekey_core::{
    ApiKeys, Error, Organization,
    token::{Persona, VerifiedToken},
};
use gatekey_credentials::Role;

/// The identity of the API key that calls.
pub struct UserInfo {
    /// The client id.
    pub subject: String,
    /// The client name, as it is stored now.
    pub name: String,
    /// Empty if none is configured.
    pub family_name: String,
    /// Empty if none is configured.
    pub email: String,
    /// A name of this server's organization, for the serverless path of the public class.
    pub user_handle: String,
    pub role: Option<Role>,
}

impl UserInfo {
    /// Looks up the key of a verified token.
    ///
    /// # Errors
    /// When the store cannot be read or the key has just been deleted.
    pub async fn read(
        api_keys: &ApiKeys,
        organization: &Organization,
        persona: &Persona,
        token: &VerifiedToken,
    ) -> Result<Self, Error> {
        let key = api_keys.get(token.facts.client_id.as_ref()).await?;
        Ok(Self {
            subject: key.client_id.to_string(),
            role: key.role(),
            family_name: persona.family_name.clone(),
            email: persona.email_of(key.client_id.as_str()),
            name: key.application.client_name,
            user_handle: organization.user_handle().to_owned(),
        })
    }
}
