//! The messages on the control socket. An [`Operation`] is a request and its answer.
//!
//! Each message is one line of JSON. Client and server are the same binary, so the format may
//! change between versions.

use std::{error::Error, iter};

use gatekey_core::{
    Caller, Timestamp,
    api_key::{KeyFacts, Limits, WithSecret},
    ledger::{ArchiveHeader, LedgerHead},
    operations::{
        ArchiveLimit, ErrorKind, LedgerClosed, LedgerPage, OperationError, VerifiedLedger,
        backup::Passphrase,
    },
    root_key::RootKeyFacts,
    signing_key::{SigningKeyFacts, SigningKeyRotated, Start},
};
use gatekey_credentials::Role;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use super::Control;
use crate::rpc::convert::api_key::from_key;

/// A request that can be sent over the socket, or executed by the process that has the data
/// directory.
pub trait Operation: Send {
    type Answer: Serialize + DeserializeOwned + Send;

    fn into_request(self) -> Request;

    /// Executes the request.
    ///
    /// # Errors
    /// When it is refused or fails.
    fn execute(
        self,
        control: &Control,
        caller: &Caller,
    ) -> impl Future<Output = Result<Self::Answer, OperationError>> + Send;
}

/// The request as sent over the socket. The answer is `Result<Operation::Answer, Failure>`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    Init(Init),
    RotateSigningKey(RotateSigningKey),
    ListSigningKeys(ListSigningKeys),
    RetireSigningKey(RetireSigningKey),
    RotateRootKey(RotateRootKey),
    ListRootKeys(ListRootKeys),
    RetireRootKey(RetireRootKey),
    ReadKey(ReadKey),
    ReadLedger(ReadLedger),
    VerifyLedger(VerifyLedger),
    PrepareArchive(PrepareArchive),
    CloseLedger(CloseLedger),
    BackUp(BackUp),
}

/// Why an operation was refused or failed, as text for the operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub kind: ErrorKind,
    pub message: String,
}

impl From<OperationError> for Failure {
    /// Includes private causes: the operator of the machine may see them.
    fn from(error: OperationError) -> Self {
        let causes =
            iter::successors(error.source(), |cause: &&(dyn Error + 'static)| (**cause).source());
        let message =
            causes.fold(error.to_string(), |message, cause| format!("{message}: {cause}"));
        Self { kind: error.kind(), message }
    }
}

/// Creates an admin key, or gives an existing one a new secret and full rights.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Init {
    /// The key's name.
    pub name: String,
    /// Whether to take over a key that exists.
    pub rotate: bool,
}

/// A key and its new secret. No `Debug`: it contains the secret.
#[derive(Serialize, Deserialize)]
pub struct NewKey {
    /// Host and port of the server.
    pub endpoint: String,
    pub key: gatekey_proto::gatekey::v1::ApiKey,
    pub client_secret: Zeroizing<String>,
    pub organization: String,
}

impl Operation for Init {
    type Answer = NewKey;

    fn into_request(self) -> Request {
        Request::Init(self)
    }

    async fn execute(self, control: &Control, caller: &Caller) -> Result<NewKey, OperationError> {
        let WithSecret { key, secret } =
            control.operations.init(caller, &self.name, self.rotate).await?;
        Ok(NewKey {
            endpoint: control.endpoint.clone(),
            key: from_key(&key),
            client_secret: Zeroizing::new(secret.expose().to_owned()),
            organization: control.organization.clone(),
        })
    }
}

/// Creates the next signing key.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotateSigningKey {
    /// When it begins to sign.
    pub start: Start,
}

impl Operation for RotateSigningKey {
    type Answer = SigningKeyRotated;

    fn into_request(self) -> Request {
        Request::RotateSigningKey(self)
    }

    async fn execute(
        self,
        control: &Control,
        caller: &Caller,
    ) -> Result<SigningKeyRotated, OperationError> {
        Ok(control.operations.signing_keys.rotate(caller, self.start).await?)
    }
}

/// Lists every signing key, in the order they were created.
#[derive(Debug, Serialize, Deserialize)]
pub struct ListSigningKeys;

impl Operation for ListSigningKeys {
    type Answer = Vec<SigningKeyFacts>;

    fn into_request(self) -> Request {
        Request::ListSigningKeys(self)
    }

    async fn execute(
        self,
        control: &Control,
        _: &Caller,
    ) -> Result<Vec<SigningKeyFacts>, OperationError> {
        Ok(control.operations.signing_keys.list().await?)
    }
}

/// Removes from the JWKS a key that no longer signs.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetireSigningKey {
    pub kid: String,
}

impl Operation for RetireSigningKey {
    type Answer = ();

    fn into_request(self) -> Request {
        Request::RetireSigningKey(self)
    }

    async fn execute(self, control: &Control, caller: &Caller) -> Result<(), OperationError> {
        control.operations.retire_signing_key(caller, &self.kid).await
    }
}

/// Starts using a newer version of the root key.
#[derive(Debug, Serialize, Deserialize)]
pub struct RotateRootKey;

#[derive(Debug, Serialize, Deserialize)]
pub struct RootKeyRotated {
    /// The version in use.
    pub version: u32,
    /// Whether this finished a rotation that was already in progress.
    pub was_begun: bool,
    /// Why the file still marks the version as pending.
    pub still_pending: Option<String>,
}

impl Operation for RotateRootKey {
    type Answer = RootKeyRotated;

    fn into_request(self) -> Request {
        Request::RotateRootKey(self)
    }

    async fn execute(
        self,
        control: &Control,
        caller: &Caller,
    ) -> Result<RootKeyRotated, OperationError> {
        let rotated = control.operations.root_keys.rotate(caller).await?;
        Ok(RootKeyRotated {
            version: rotated.version,
            was_begun: rotated.was_begun,
            still_pending: rotated.still_pending.map(|error| error.to_string()),
        })
    }
}

/// Lists every version of the root key, the newest first.
#[derive(Debug, Serialize, Deserialize)]
pub struct ListRootKeys;

impl Operation for ListRootKeys {
    type Answer = Vec<RootKeyFacts>;

    fn into_request(self) -> Request {
        Request::ListRootKeys(self)
    }

    async fn execute(
        self,
        control: &Control,
        _: &Caller,
    ) -> Result<Vec<RootKeyFacts>, OperationError> {
        Ok(control.operations.root_keys.list().await?)
    }
}

/// Retires a version of the root key that nothing uses anymore.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetireRootKey {
    pub version: u32,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct RootKeyRetired {
    /// Why the file still has the version.
    pub still_in_file: Option<String>,
}

impl Operation for RetireRootKey {
    type Answer = RootKeyRetired;

    fn into_request(self) -> Request {
        Request::RetireRootKey(self)
    }

    async fn execute(
        self,
        control: &Control,
        caller: &Caller,
    ) -> Result<RootKeyRetired, OperationError> {
        let still_in_file = control.operations.retire_root_key(caller, self.version).await?;
        Ok(RootKeyRetired { still_in_file: still_in_file.map(|error| error.to_string()) })
    }
}

/// Reads what a key may do.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadKey {
    pub client_id: String,
}

/// What a key may do.
#[derive(Debug, Serialize, Deserialize)]
pub struct KeyRights {
    pub roles: Vec<Role>,
    /// Whether the key is enabled and within its dates.
    pub is_usable: bool,
    pub limits: Limits,
}

impl Operation for ReadKey {
    type Answer = KeyRights;

    fn into_request(self) -> Request {
        Request::ReadKey(self)
    }

    async fn execute(self, control: &Control, _: &Caller) -> Result<KeyRights, OperationError> {
        let key = control.operations.key(&self.client_id).await?;
        let limits = key.limits.clone();
        let key = KeyFacts::from(&key);
        let is_usable = key.is_usable_at(control.env.now());
        Ok(KeyRights { roles: key.roles.iter().collect(), is_usable, limits })
    }
}

/// Reads a page of the ledger.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadLedger {
    /// The sequence number before the first entry.
    pub after: i64,
    /// The maximum number of entries.
    pub limit: usize,
}

impl Operation for ReadLedger {
    type Answer = LedgerPage;

    fn into_request(self) -> Request {
        Request::ReadLedger(self)
    }

    async fn execute(self, control: &Control, _: &Caller) -> Result<LedgerPage, OperationError> {
        control.operations.ledger_page(self.after, self.limit).await
    }
}

/// Verifies the ledger.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifyLedger {
    /// Heads that the operator saved earlier; the ledger must contain them.
    pub known: Vec<LedgerHead>,
}

impl Operation for VerifyLedger {
    type Answer = VerifiedLedger;

    fn into_request(self) -> Request {
        Request::VerifyLedger(self)
    }

    async fn execute(
        self,
        control: &Control,
        _: &Caller,
    ) -> Result<VerifiedLedger, OperationError> {
        control.operations.verify_ledger(&self.known).await
    }
}

/// Verifies entries to archive; the answer is the header of their archive. Then follow
/// [`ReadLedger`] for the entries and, once the file is durable, [`CloseLedger`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrepareArchive {
    pub limit: ArchiveLimit,
}

impl Operation for PrepareArchive {
    type Answer = ArchiveHeader;

    fn into_request(self) -> Request {
        Request::PrepareArchive(self)
    }

    async fn execute(self, control: &Control, _: &Caller) -> Result<ArchiveHeader, OperationError> {
        control.operations.prepare_archive(self.limit).await
    }
}

/// Deletes the entries of an archive that is durable.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloseLedger {
    pub header: ArchiveHeader,
}

impl Operation for CloseLedger {
    type Answer = LedgerClosed;

    fn into_request(self) -> Request {
        Request::CloseLedger(self)
    }

    async fn execute(
        self,
        control: &Control,
        caller: &Caller,
    ) -> Result<LedgerClosed, OperationError> {
        control.operations.close_ledger(caller, &self.header).await
    }
}

/// Takes a backup. The answer is a [`BackupHeader`], and then the backup itself.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackUp {
    /// Seals the backup in addition to the root key.
    pub passphrase: Option<Passphrase>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct BackupHeader {
    /// The number of bytes that follow.
    pub length: u64,
    /// When the copy of the store was taken.
    pub created_at: Timestamp,
}
