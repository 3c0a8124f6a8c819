//! [`ApiKeys`]: the use cases of API keys. They expect an authorized caller.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::digest;
use gatekey_credentials::{
    ClientId, Role, Secret, client_id::InvalidClientId, detection::holds_credential,
};
use serde::Serialize;

use crate::{
    ApiKey, ApiKeyPatch, Application, Caller, Env, Error, KeyId, Organization, RootKey, SecretId,
    Store, StoreError, StoredSecret, Timestamp,
    error::Kind,
    ledger::{Action, NewEntry, Refusals},
    redact,
    store::{Assigned, Created, Rotated},
};

use super::{
    Assignment, LastAdmin, Lifetimes, Limits, MAX_SECRETS, Replay, Rotation, Switch,
    list::{ListKeys, Page},
    validate::{NO_CREDENTIAL, Validation},
};

/// A create can be repeated for this long.
pub const REPLAY_WINDOW: Duration = Duration::from_mins(10);
/// A create can be repeated this often.
pub const REPLAY_LIMIT: u32 = 3;

/// A key to create.
#[derive(Debug, Clone, Serialize)]
pub struct CreateApiKey {
    /// If empty, derived from the client name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_id: String,
    /// An empty client name defaults to the client id.
    pub application: Application,
    /// `None` for a key that can only view and rotate itself.
    pub role: Option<Role>,
    /// Must be in the future.
    pub expires_at: Option<Timestamp>,
    /// The label of the first secret.
    pub secret_label: String,
    #[serde(skip_serializing_if = "Limits::is_none")]
    pub limits: Limits,
}

impl CreateApiKey {
    /// Fills in the defaults, checks every rule, and returns the client id.
    fn validate(&mut self, lifetimes: &Lifetimes, now: Timestamp) -> Result<ClientId, Error> {
        let name = &mut self.application.client_name;
        let (field, client_id) = match (self.client_id.as_str(), name.as_str()) {
            ("", "") => return Err(Error::invalid("client_name", "must not be empty")),
            ("", name) => ("client_name", ClientId::derive_from_name(name)),
            (client_id, _) => ("client_id", client_id.parse()),
        };
        let mut validation = Validation::default();
        if let Err(rule) = &client_id {
            validation.broken(field, rule.to_string());
        }
        validation.text("client_id", &self.client_id);
        if name.is_empty() {
            name.clone_from(&self.client_id);
        }
        validation.application(&self.application);
        validation.label("secret_label", &self.secret_label);
        validation.limits(&self.limits);
        validation.expiry(self.expires_at, now);
        self.expires_at = lifetimes.key_expiry(self.expires_at, now);
        lifetimes.check_key(self.expires_at, now, &mut validation);
        validation.finish()?;
        client_id.map_err(|rule| Error::invalid(field, rule.to_string()))
    }
}

/// The arguments of [`ApiKeys::rotate_secret`].
#[derive(Debug, Clone, Default)]
pub struct RotateSecret {
    /// How long the other secrets stay valid. Zero retires them at once and revokes the key's
    /// tokens.
    pub grace: Duration,
    /// The label of the new secret.
    pub label: String,
    /// The expiry of the new secret; must be in the future.
    pub expires_at: Option<Timestamp>,
    /// Set when a key rotates itself: the permission does not extend to a later key with the same
    /// client id.
    pub only_key: Option<KeyId>,
    /// The secret by which a key rotates itself: the new one expires no later than the date that an
    /// admin set for it. `None` when an admin rotates the key.
    pub proven_by: Option<SecretId>,
}

/// A key with its new secret, which can be shown only now.
#[derive(Debug)]
pub struct WithSecret {
    pub key: ApiKey,
    pub secret: Secret,
}

/// The use cases of API keys.
#[derive(Clone)]
pub struct ApiKeys {
    store: Arc<dyn Store>,
    root_key: Arc<RootKey>,
    organization: Organization,
    env: Env,
    refusals: Arc<Refusals>,
    lifetimes: Lifetimes,
}

impl ApiKeys {
    pub fn new(
        store: Arc<dyn Store>,
        root_key: Arc<RootKey>,
        organization: Organization,
        env: Env,
    ) -> Self {
        let lifetimes = Lifetimes::default();
        Self { store, root_key, organization, env, refusals: Arc::default(), lifetimes }
    }

    /// Limits how long keys and their secrets may live. By default, nothing does.
    #[must_use]
    pub fn with_lifetimes(self, lifetimes: Lifetimes) -> Self {
        Self { lifetimes, ..self }
    }

    pub(crate) fn lifetimes(&self) -> &Lifetimes {
        &self.lifetimes
    }

    /// Creates a key with its first secret.
    ///
    /// The caller may repeat the call within ten minutes, up to three times, because the response
    /// may have been lost. The key then gets one more secret, and the call succeeds.
    ///
    /// # Errors
    /// [`Error::Invalid`] with each broken rule, [`Error::AlreadyExists`] if the client id is
    /// taken.
    pub async fn create(
        &self,
        caller: &Caller,
        mut create: CreateApiKey,
    ) -> Result<WithSecret, Error> {
        let now = self.env.now();
        let request = serde_json::to_vec(&create).map_err(|error| Error::Internal(error.into()))?;
        let digest = digest::digest(&digest::SHA256, &request);
        let client_id = create.validate(&self.lifetimes, now)?;
        let key_id = KeyId::generate(&self.env);
        let (secret, stored) = self.new_secret(create.secret_label, None, now);
        let entry = |action| NewEntry::new(now, caller, action, &client_id);
        let limits = create.limits.to_string();
        let created = entry(Action::ApiKeyCreate { key_id, role: create.role, limits: &limits });
        let replay = Replay {
            actor: caller.actor.whichever_secret().to_string(),
            request_id: caller.request_id.clone(),
            digest: digest.as_ref().try_into().expect("SHA-256 gives 32 bytes"),
            since: now.before(REPLAY_WINDOW),
            limit: REPLAY_LIMIT,
            entry: entry(Action::ApiKeyCreateReplay { secret: stored.id }),
        };
        let key = ApiKey {
            key_id,
            client_id: client_id.clone(),
            organization: self.organization.name().to_owned(),
            roles: create.role.into(),
            application: create.application,
            limits: create.limits,
            created_at: now,
            updated_at: now,
            expires_at: create.expires_at,
            disabled_at: None,
            epoch: 1,
            secrets: vec![stored],
        };
        match self.store.create_key(key, replay, created).await {
            Ok(Created::New(key) | Created::Replayed(key)) => Ok(WithSecret { key: *key, secret }),
            Err(StoreError::Conflict) => Err(Error::AlreadyExists(client_id)),
            Err(
                error @ (StoreError::LastAdmin
                | StoreError::Unavailable(_)
                | StoreError::Unreadable(_)
                | StoreError::Tampered(_)
                | StoreError::Corrupt(_)),
            ) => Err(error.into()),
        }
    }

    /// Returns the key with a client id.
    ///
    /// # Errors
    /// [`Error::NotFound`], or [`Error::Invalid`] for text that is not a client id.
    pub async fn get(&self, client_id: &str) -> Result<ApiKey, Error> {
        let client_id = parse_client_id(client_id)?;
        self.store.find_key(&client_id).await?.ok_or_else(|| not_found(&client_id))
    }

    /// Returns one page of keys.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the page token belongs to another list.
    pub async fn list(&self, list: &ListKeys) -> Result<Page, Error> {
        let selection = list.selection(&self.root_key)?;
        let page_size = list.page_size();
        let mut keys = self.store.list_keys(selection, page_size + 1).await?;
        let more = keys.len() > page_size;
        keys.truncate(page_size);
        let next_page_token = match keys.last() {
            Some(last) if more => list.token_after(&self.root_key, last),
            Some(_) | None => String::new(),
        };
        Ok(Page { keys, next_page_token })
    }

    /// Changes the fields of a patch. Secrets do not change.
    ///
    /// # Errors
    /// [`Error::Invalid`] with each broken rule, [`Error::NotFound`], [`Error::Precondition`] if no
    /// usable admin would be left.
    pub async fn update(
        &self,
        caller: &Caller,
        client_id: &str,
        patch: ApiKeyPatch,
        last_admin: LastAdmin,
    ) -> Result<ApiKey, Error> {
        let now = self.env.now();
        let client_id = parse_client_id(client_id)?;
        // Each rule is about one field, so a patched key is valid if the patch is.
        let mut probe = Application::named("unchanged");
        patch.apply_to_application(&mut probe);
        let mut limits = Limits::default();
        patch.apply_to_limits(&mut limits);
        let mut validation = Validation::default();
        validation.application(&probe);
        validation.limits(&limits);
        validation.expiry(patch.expires_at.flatten(), now);
        if let Some(expires_at) = patch.expires_at {
            self.lifetimes.check_key(expires_at, now, &mut validation);
        }
        validation.finish()?;
        let action = Action::ApiKeyUpdate {
            fields: &patch.changed_fields(),
            role: patch.role,
            limits: &patch.changed_limits(),
        };
        let entry = NewEntry::new(now, caller, action, &client_id);
        let updated = self.store.update_key(&client_id, patch, last_admin, entry).await?;
        updated.ok_or_else(|| not_found(&client_id))
    }

    /// Adds one role to a key, or takes one away.
    ///
    /// # Errors
    /// [`Error::NotFound`] for the key, or for a role that it does not hold;
    /// [`Error::Precondition`] if no usable admin would be left.
    pub async fn assign(
        &self,
        caller: &Caller,
        client_id: &str,
        assignment: Assignment,
        last_admin: LastAdmin,
    ) -> Result<ApiKey, Error> {
        let client_id = parse_client_id(client_id)?;
        let (action, role) = match assignment {
            Assignment::Assign(role) => (Action::ApiKeyAssignRole { role }, role),
            Assignment::Unassign(role) => (Action::ApiKeyUnassignRole { role }, role),
        };
        let entry = NewEntry::new(self.env.now(), caller, action, &client_id);
        match self.store.assign_role(&client_id, assignment, last_admin, entry).await? {
            Assigned::Done(key) => Ok(*key),
            Assigned::NotHeld => Err(Error::not_found(Kind::Assignment { client_id }, &role)),
            Assigned::Absent => Err(not_found(&client_id)),
        }
    }

    /// Deletes a key permanently, and so revokes its tokens.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Precondition`] if no usable admin would be left.
    pub async fn delete(
        &self,
        caller: &Caller,
        client_id: &str,
        last_admin: LastAdmin,
    ) -> Result<(), Error> {
        let client_id = parse_client_id(client_id)?;
        let entry = NewEntry::new(self.env.now(), caller, Action::ApiKeyDelete, &client_id);
        let deleted = self.store.delete_key(&client_id, last_admin, entry).await?;
        deleted.map(drop).ok_or_else(|| not_found(&client_id))
    }

    /// Adds a secret to a key, and retires the others after a grace.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a grace of more than 90 days, an expiry in the past, or a label that
    /// is too long; [`Error::Precondition`] if the key would have more than ten secrets;
    /// [`Error::NotFound`].
    pub async fn rotate_secret(
        &self,
        caller: &Caller,
        client_id: &str,
        rotate: RotateSecret,
    ) -> Result<WithSecret, Error> {
        let now = self.env.now();
        let client_id = parse_client_id(client_id)?;
        let mut validation = Validation::default();
        validation.grace(rotate.grace);
        validation.label("secret_label", &rotate.label);
        validation.expiry(rotate.expires_at, now);
        if rotate.expires_at.is_some() {
            self.lifetimes.check_secret(rotate.expires_at, now, &mut validation);
        }
        validation.finish()?;
        let (secret, stored) = self.new_secret(rotate.label, rotate.expires_at, now);
        let action =
            Action::ApiKeyRotateSecret { secret: stored.id, grace_seconds: rotate.grace.as_secs() };
        let entry = NewEntry::new(now, caller, action, &client_id);
        let rotation = Rotation {
            secret: stored,
            retire_others_at: now.after(rotate.grace),
            raise_epoch: rotate.grace.is_zero(),
            max_secrets: MAX_SECRETS,
            only_key: rotate.only_key,
            proven_by: rotate.proven_by,
        };
        match self.store.rotate_secret(&client_id, rotation, entry).await? {
            Rotated::Done(key) => Ok(WithSecret { key: *key, secret }),
            Rotated::TooManySecrets => Err(Error::Precondition(format!(
                "API key {client_id} has {MAX_SECRETS} secrets already; retire one first, or rotate with a grace of 0"
            ))),
            Rotated::Unproven => Err(Error::Precondition(
                "the current secret was retired meanwhile; rotate with another secret".to_owned(),
            )),
            Rotated::Absent => Err(not_found(&client_id)),
        }
    }

    /// Retires a secret at once, and revokes the tokens that it fetched.
    ///
    /// # Errors
    /// [`Error::NotFound`] for the key or the secret, [`Error::Precondition`] if no usable admin
    /// would be left.
    pub async fn retire_secret(
        &self,
        caller: &Caller,
        client_id: &str,
        secret_id: &str,
        last_admin: LastAdmin,
    ) -> Result<ApiKey, Error> {
        let key = self.get(client_id).await?;
        let absent = || {
            Error::not_found(Kind::Secret { client_id: key.client_id.clone() }, &bounded(secret_id))
        };
        let secret_id: SecretId = secret_id.parse().map_err(|_| absent())?;
        let action = Action::ApiKeyRetireSecret { secret: secret_id };
        let entry = NewEntry::new(self.env.now(), caller, action, &key.client_id);
        let retired =
            self.store.retire_secret(&key.client_id, secret_id, last_admin, entry).await?;
        retired.ok_or_else(absent)
    }

    /// Disables a key: it is refused until it is enabled, and its tokens are revoked.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Precondition`] if no usable admin would be left.
    pub async fn disable(
        &self,
        caller: &Caller,
        client_id: &str,
        last_admin: LastAdmin,
    ) -> Result<ApiKey, Error> {
        self.switch(caller, client_id, Switch::Disable, last_admin).await
    }

    /// Enables a disabled key. Its earlier tokens stay revoked.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn enable(&self, caller: &Caller, client_id: &str) -> Result<ApiKey, Error> {
        self.switch(caller, client_id, Switch::Enable, LastAdmin::Keep).await
    }

    async fn switch(
        &self,
        caller: &Caller,
        client_id: &str,
        switch: Switch,
        last_admin: LastAdmin,
    ) -> Result<ApiKey, Error> {
        let client_id = parse_client_id(client_id)?;
        let action = match switch {
            Switch::Disable => Action::ApiKeyDisable,
            Switch::Enable => Action::ApiKeyEnable,
        };
        let entry = NewEntry::new(self.env.now(), caller, action, &client_id);
        let switched = self.store.switch_key(&client_id, switch, last_admin, entry).await?;
        switched.ok_or_else(|| not_found(&client_id))
    }

    /// Records that an authenticated caller was refused. Within a minute, repetitions are only
    /// counted.
    ///
    /// # Errors
    /// When the store cannot write.
    pub async fn record_refusal(
        &self,
        caller: &Caller,
        target: &str,
        reason: &str,
    ) -> Result<(), Error> {
        let (now, target) = (self.env.now(), bounded(target));
        let actor = caller.actor.whichever_secret().to_string();
        let noted = self.refusals.note(now, &actor, &target, reason);
        let Some(unrecorded) = noted else { return Ok(()) };
        let entry = NewEntry::new(now, caller, Action::Refuse { reason, unrecorded }, target);
        Ok(self.store.append_entry(entry).await?)
    }

    fn new_secret(
        &self,
        label: String,
        expires_at: Option<Timestamp>,
        now: Timestamp,
    ) -> (Secret, StoredSecret) {
        let secret = Secret::from_random(&self.env.random());
        let stored = StoredSecret {
            id: SecretId::generate(&self.env),
            label,
            hash: self.root_key.hash_secret(secret.expose()),
            created_at: now,
            not_before: now,
            expires_at: self.lifetimes.secret_expiry(expires_at, now),
            // The date that an admin chose: one that comes from a setting is renewed.
            admin_expiry: expires_at,
            last_used_at: None,
        };
        (secret, stored)
    }
}

fn parse_client_id(client_id: &str) -> Result<ClientId, Error> {
    client_id.parse().map_err(|rule: InvalidClientId| Error::invalid("client_id", rule.to_string()))
}

/// A key that was created before texts with credentials were refused can still be named.
fn not_found(client_id: &ClientId) -> Error {
    if holds_credential(client_id.as_str()) {
        return Error::invalid("client_id", NO_CREDENTIAL);
    }
    Error::not_found(Kind::ApiKey, client_id)
}

/// Truncates and sanitizes text from the caller, before it is echoed or stored.
fn bounded(text: &str) -> String {
    redact(&text.chars().filter(|c| !c.is_control()).collect::<String>(), 200)
}
