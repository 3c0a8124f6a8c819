//! Retire signing keys and versions of the root key.

use gatekey_credentials::ClientId;

use super::{OperationError, Operations};
use crate::{
    Caller, Error,
    error::Kind,
    root_key::{FileError, RootKeyRetired},
    signing_key::SigningKeyRetired,
};

impl Operations {
    /// Removes from the JWKS a key that no longer signs.
    ///
    /// # Errors
    /// [`Error::Precondition`] for the key that signs, [`Error::NotFound`]; when the change cannot
    /// be stored.
    pub async fn retire_signing_key(
        &self,
        caller: &Caller,
        kid: &str,
    ) -> Result<(), OperationError> {
        match self.signing_keys.retire(caller, kid).await? {
            SigningKeyRetired::Done => Ok(()),
            SigningKeyRetired::Signs => {
                let message = format!("signing key {kid} signs; rotate first, and then retire it");
                Err(Error::Precondition(message).into())
            }
            SigningKeyRetired::Absent => Err(Error::not_found(Kind::SigningKey, &kid).into()),
        }
    }

    /// Retires a version of the root key that nothing needs. Returns why the file still has it, if
    /// it does.
    ///
    /// # Errors
    /// [`Error::Precondition`] for a version in use or needed by secrets, [`Error::NotFound`]; when
    /// the file cannot be read, or the change cannot be stored.
    pub async fn retire_root_key(
        &self,
        caller: &Caller,
        version: u32,
    ) -> Result<Option<FileError>, OperationError> {
        let retired = self.root_keys.retire(caller, version).await?;
        let message = match retired.outcome {
            RootKeyRetired::Done | RootKeyRetired::Already => return Ok(retired.still_in_file),
            RootKeyRetired::Newest => {
                format!(
                    "version {version} of the root key is in use; rotate first, and then retire it"
                )
            }
            RootKeyRetired::Needed { secrets, client_ids } => {
                let names = client_ids.iter().map(ClientId::as_str).collect::<Vec<_>>().join(", ");
                format!(
                    "version {version} of the root key is needed by {secrets} secret(s) that have not been used since \
                     it was replaced, among them those of {names}; rotate or delete those keys, or wait until they \
                     are used"
                )
            }
            RootKeyRetired::Absent => {
                return Err(Error::not_found(Kind::RootKeyVersion, &version).into());
            }
        };
        Err(Error::Precondition(message).into())
    }
}
