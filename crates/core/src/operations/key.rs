//! Reads a key for the operator.

use super::{OperationError, Operations};
use crate::api_key::ApiKey;

impl Operations {
    /// Returns a key as it is stored.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound), or
    /// [`Error::Invalid`](crate::Error::Invalid) for text that is not a client id.
    pub async fn key(&self, client_id: &str) -> Result<ApiKey, OperationError> {
        Ok(self.api_keys.get(client_id).await?)
    }
}
