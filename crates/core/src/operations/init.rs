//! Creates the first admin key, and recovers from losing the last one.

use gatekey_credentials::Role;

use super::{OperationError, Operations};
use crate::{
    ApiKeyPatch, Application, Caller, Error,
    api_key::{CreateApiKey, LastAdmin, Limits, RotateSecret, WithSecret},
    network::Networks,
};

const SECRET_LABEL: &str = "init";

impl Operations {
    /// Creates an admin key. If the key exists, `rotate` gives it a new secret, revokes its earlier
    /// secrets and tokens, makes it an admin and enables it.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] without `rotate`; [`Error::Invalid`] for an invalid name; when the
    /// store cannot write.
    pub async fn init(
        &self,
        caller: &Caller,
        name: &str,
        rotate: bool,
    ) -> Result<WithSecret, OperationError> {
        let create = CreateApiKey {
            client_id: String::new(),
            application: Application::named(name),
            role: Some(Role::Admin),
            expires_at: None,
            secret_label: SECRET_LABEL.to_owned(),
            limits: Limits::default(),
        };
        match self.api_keys.create(caller, create).await {
            Err(Error::AlreadyExists(client_id)) if rotate => {
                Ok(self.take_over(caller, client_id.as_str()).await?)
            }
            created => Ok(created?),
        }
    }

    async fn take_over(&self, caller: &Caller, client_id: &str) -> Result<WithSecret, Error> {
        // The earlier secrets are revoked first, so that nobody who has one ever holds an enabled
        // admin key.
        let rotate = RotateSecret { label: SECRET_LABEL.to_owned(), ..RotateSecret::default() };
        let rotated = self.api_keys.rotate_secret(caller, client_id, rotate).await?;
        let latest = self.api_keys.lifetimes().latest_key_expiry(self.env.now());
        let patch = ApiKeyPatch {
            role: Some(Some(Role::Admin)),
            expires_at: Some(latest),
            // Limits may be what locked the admins out.
            allow_from: Some(Networks::default()),
            rate: Some(None),
            projects: Some(Vec::new()),
            domains: Some(Vec::new()),
            ..ApiKeyPatch::default()
        };
        self.api_keys.update(caller, client_id, patch, LastAdmin::Release).await?;
        let key = self.api_keys.enable(caller, client_id).await?;
        Ok(WithSecret { key, ..rotated })
    }
}
