//! The rules for changing a key, each a pure function from a key and a request to a [`KeyChange`].
//!
//! A store reads a key's rows, applies one of these rules, writes the difference, and appends the
//! ledger entry, all in one transaction.

use gatekey_credentials::Role;

use super::{ApiKey, ApiKeyPatch, GrantType, Scope, StoredSecret};
use crate::{KeyId, SecretId, Timestamp};

/// A changed key, and the differences to its stored rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyChange {
    pub key: ApiKey,
    /// Whether the application, the limits, the roles or the expiry differs.
    pub fields_changed: bool,
    /// Whether `updated_at`, `disabled_at` or `epoch` differs.
    pub state_changed: bool,
    /// Whether the epoch was raised. The key's denials are then no longer needed.
    pub epoch_raised: bool,
    /// New secrets, to append after the existing ones.
    pub added: Vec<StoredSecret>,
    /// Secrets whose `not_before` or `expires_at` differs.
    pub dated: Vec<StoredSecret>,
    /// Secrets that the key no longer has.
    pub removed: Vec<SecretId>,
}

/// A request to add a secret to a key and to end its other secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    pub secret: StoredSecret,
    /// The other secrets are refused from this instant on. At the time of the rotation or before,
    /// they are retired: no longer valid at any time.
    pub retire_others_at: Timestamp,
    /// Whether to revoke all tokens of the key.
    pub raise_epoch: bool,
    /// Maximum number of unexpired secrets after the rotation. The same number of expired secrets,
    /// the newest, are kept for the record.
    pub max_secrets: usize,
    /// Set when a key rotates itself: another key with the same client id counts as absent.
    pub only_key: Option<KeyId>,
    /// The secret by which a key rotates itself. `None` when an admin rotates it.
    pub proven_by: Option<SecretId>,
}

/// The key would have more than [`Rotation::max_secrets`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManySecrets;

/// A request to disable or enable a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    /// Refuses the key, and revokes its tokens.
    Disable,
    /// Accepts the key again. Its earlier tokens stay revoked.
    Enable,
}

/// A request to add one role to a key, or to take one away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Assignment {
    Assign(Role),
    Unassign(Role),
}

/// Whether a change may leave the server without a usable admin key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastAdmin {
    /// Refuses the change, with [`StoreError::LastAdmin`](crate::StoreError::LastAdmin).
    Keep,
    /// Permits the change.
    Release,
}

impl Rotation {
    /// Whether the rotation is for this key.
    pub fn is_for(&self, key: &ApiKey) -> bool {
        self.only_key.is_none_or(|only_key| key.key_id == only_key)
    }

    /// Whether the secret that proves the rotation, if one must, is still valid. It may have been
    /// retired after it was checked.
    pub fn is_proven(&self, key: &ApiKey, at: Timestamp) -> bool {
        self.proven_by.is_none_or(|proven_by| {
            key.secrets.iter().any(|secret| secret.id == proven_by && secret.is_valid_at(at))
        })
    }
}

impl ApiKey {
    /// Whether the key can manage the server's keys: it is an admin, enabled and within its dates,
    /// and has a valid secret that fetches tokens.
    pub fn is_usable_admin(&self, now: Timestamp) -> bool {
        self.roles.contains(Role::Admin)
            && self.disabled_at.is_none()
            && self.expires_at.is_none_or(|expires_at| now < expires_at)
            && self.application.may_use(GrantType::ClientCredentials)
            && self.secrets.iter().any(|secret| secret.is_valid_at(now))
    }

    /// When a change of this key takes away a usable admin; `None` if it does not. An earlier
    /// expiry does so when it comes. `after` is `None` for a deletion.
    pub fn admin_lost_at(&self, after: Option<&Self>, now: Timestamp) -> Option<Timestamp> {
        if !self.is_usable_admin(now) {
            return None;
        }
        let Some(after) = after.filter(|after| after.is_usable_admin(now)) else {
            return Some(now);
        };
        after.expires_at.filter(|end| self.expires_at.is_none_or(|earlier| *end < earlier))
    }

    /// Whether this key manages the server's keys in place of an admin that is lost at `from`.
    pub fn replaces_admin(&self, from: Timestamp, now: Timestamp) -> bool {
        self.is_usable_admin(now) && self.expires_at.is_none_or(|end| from < end)
    }

    /// Applies a patch.
    #[must_use]
    pub fn update(self, patch: &ApiKeyPatch, at: Timestamp) -> KeyChange {
        self.change(|key| patch.apply(key, at))
    }

    /// Adds a secret, and ends the others.
    pub fn rotate_secret(
        self,
        rotation: Rotation,
        at: Timestamp,
    ) -> Result<KeyChange, TooManySecrets> {
        let Rotation {
            mut secret,
            retire_others_at,
            raise_epoch,
            max_secrets,
            only_key: _,
            proven_by,
        } = rotation;
        let change = self.change(|key| {
            if let Some(proven_by) = proven_by {
                let proof = key.secrets.iter().find(|other| other.id == proven_by);
                // A secret that is gone meanwhile proves nothing.
                secret.admin_expiry = proof.map_or(Some(at), |proof| proof.admin_expiry);
            }
            secret.expires_at = earlier(secret.expires_at, secret.admin_expiry);
            for other in &mut key.secrets {
                other.end(retire_others_at, at);
                if proven_by.is_none() {
                    other.admin_expiry = earlier(other.admin_expiry, Some(retire_others_at));
                }
            }
            // Bounds the expired secrets, so that frequent rotation does not grow the key.
            let expired: Vec<_> =
                key.secrets.iter().filter(|other| other.has_expired(at)).collect();
            let surplus = expired.len().saturating_sub(max_secrets);
            let surplus: Vec<_> = expired[..surplus].iter().map(|other| other.id).collect();
            key.secrets.retain(|other| !surplus.contains(&other.id));
            key.secrets.push(secret);
            if raise_epoch {
                key.raise_epoch();
            }
            key.updated_at = at;
        });
        let unexpired = change.key.secrets.iter().filter(|secret| !secret.has_expired(at)).count();
        if unexpired > max_secrets { Err(TooManySecrets) } else { Ok(change) }
    }

    /// Ends a secret permanently; `None` if the key has no such secret.
    pub fn retire_secret(self, id: SecretId, at: Timestamp) -> Option<KeyChange> {
        let place = self.secrets.iter().position(|secret| secret.id == id)?;
        Some(self.change(|key| {
            key.secrets[place].end(at, at);
            key.updated_at = at;
        }))
    }

    /// Adds a role to the key, or takes one away. `None` if the key lacks the role to take away. A
    /// key that has the role to add does not change.
    pub fn assign(self, assignment: Assignment, at: Timestamp) -> Option<KeyChange> {
        let roles = match assignment {
            Assignment::Assign(role) => self.roles.with(role),
            Assignment::Unassign(role) if self.roles.contains(role) => self.roles.without(role),
            Assignment::Unassign(_) => return None,
        };
        Some(self.change(|key| {
            if key.roles != roles {
                key.roles = roles;
                key.updated_at = at;
            }
        }))
    }

    /// Disables or enables the key. A key that is already disabled or enabled does not change.
    #[must_use]
    pub fn switch(self, switch: Switch, at: Timestamp) -> KeyChange {
        self.change(|key| match (switch, key.disabled_at) {
            (Switch::Disable, None) => {
                key.disabled_at = Some(at);
                key.raise_epoch();
                key.updated_at = at;
            }
            (Switch::Enable, Some(_)) => {
                key.disabled_at = None;
                key.updated_at = at;
            }
            (Switch::Disable, Some(_)) | (Switch::Enable, None) => {}
        })
    }

    /// Revokes all tokens of the key.
    #[must_use]
    pub fn revoke_tokens(self, at: Timestamp) -> KeyChange {
        self.change(|key| {
            key.raise_epoch();
            key.updated_at = at;
        })
    }

    /// Adds the secrets of a repeated create.
    #[must_use]
    pub(super) fn add_secrets(self, secrets: Vec<StoredSecret>, at: Timestamp) -> KeyChange {
        self.change(|key| {
            key.secrets.extend(secrets);
            key.updated_at = at;
        })
    }

    /// Removes secrets that expired before an instant, except the last secret of the key.
    #[must_use]
    pub fn purge_secrets(self, expired_before: Timestamp) -> KeyChange {
        self.change(|key| {
            let is_old =
                |secret: &StoredSecret| secret.expires_at.is_some_and(|at| at < expired_before);
            let newest = key.secrets.last().map(|secret| secret.id);
            let keeps_newest = key.secrets.iter().all(is_old).then_some(newest).flatten();
            key.secrets.retain(|secret| !is_old(secret) || Some(secret.id) == keeps_newest);
        })
    }

    fn raise_epoch(&mut self) {
        self.epoch = raised_epoch(self.epoch, 0);
    }

    pub(super) fn change(self, change: impl FnOnce(&mut Self)) -> KeyChange {
        let mut key = self.clone();
        change(&mut key);
        if key.epoch == self.epoch && Scope::of(key.roles) < Scope::of(self.roles) {
            // Its tokens have a scope that it no longer has.
            key.raise_epoch();
        }
        KeyChange::between(&self, key)
    }
}

/// The earlier of two expiries; `None` is never.
fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}

/// The epoch that revokes all tokens of a key at `epoch`. After a restore, `least` is higher than
/// any epoch that a token can carry.
///
/// A store may raise the epochs of all keys in one statement, to the same values.
pub fn raised_epoch(epoch: u64, least: u64) -> u64 {
    least.max(epoch + 1)
}

impl KeyChange {
    /// Compares a key before and after a change.
    fn between(before: &ApiKey, key: ApiKey) -> Self {
        let earlier = |id| before.secrets.iter().find(|secret| secret.id == id);
        let (mut added, mut dated) = (Vec::new(), Vec::new());
        for secret in &key.secrets {
            match earlier(secret.id) {
                None => added.push(secret.clone()),
                Some(earlier) if earlier.dates() != secret.dates() => dated.push(secret.clone()),
                Some(_) => {}
            }
        }
        let is_kept = |id| key.secrets.iter().any(|secret| secret.id == id);
        let removed =
            before.secrets.iter().map(|secret| secret.id).filter(|id| !is_kept(*id)).collect();
        Self {
            fields_changed: (&before.application, &before.limits, before.roles, before.expires_at)
                != (&key.application, &key.limits, key.roles, key.expires_at),
            state_changed: (before.updated_at, before.disabled_at, before.epoch)
                != (key.updated_at, key.disabled_at, key.epoch),
            epoch_raised: before.epoch < key.epoch,
            added,
            dated,
            removed,
            key,
        }
    }

    /// Whether the key is as it was before.
    pub fn is_empty(&self) -> bool {
        let Self { fields_changed, state_changed, added, dated, removed, .. } = self;
        !fields_changed
            && !state_changed
            && added.is_empty()
            && dated.is_empty()
            && removed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        Application, SecretHash,
        api_key::{Limits, Roles},
    };

    const START: Timestamp = Timestamp::from_seconds(1_767_225_600);

    fn at(seconds: u64) -> Timestamp {
        START.after(std::time::Duration::from_secs(seconds))
    }

    fn secret(number: u64, created_at: Timestamp) -> StoredSecret {
        StoredSecret {
            id: format!("{number:016x}").parse().unwrap(),
            label: String::new(),
            hash: SecretHash { pepper_version: 1, mac: [7; 32] },
            created_at,
            not_before: created_at,
            expires_at: None,
            admin_expiry: None,
            last_used_at: None,
        }
    }

    fn key() -> ApiKey {
        ApiKey {
            key_id: "00000000000000000000000000000001".parse().unwrap(),
            client_id: "ci".parse().unwrap(),
            organization: String::new(),
            roles: Role::Contributor.into(),
            application: Application::named("CI"),
            limits: Limits::default(),
            created_at: START,
            updated_at: START,
            expires_at: None,
            disabled_at: None,
            epoch: 1,
            secrets: vec![secret(0, START)],
        }
    }

    fn rotation(number: u64, seconds: u64, grace: u64, max_secrets: usize) -> Rotation {
        Rotation {
            secret: secret(number, at(seconds)),
            retire_others_at: at(seconds + grace),
            raise_epoch: grace == 0,
            max_secrets,
            only_key: None,
            proven_by: None,
        }
    }

    fn ids(key: &ApiKey) -> Vec<SecretId> {
        key.secrets.iter().map(|secret| secret.id).collect()
    }

    #[test]
    fn a_rotation_without_grace_retires_the_other_secrets() {
        let change = key().rotate_secret(rotation(1, 5, 0, 10), at(5)).unwrap();
        assert_eq!((change.key.epoch, change.epoch_raised), (2, true));
        assert_eq!((change.added.len(), change.dated.len(), change.removed.len()), (1, 1, 0));
        for seconds in [0, 4, 5, 6] {
            assert!(
                !change.key.secrets[0].is_valid_at(at(seconds)),
                "even if the clock is set back"
            );
        }
        assert!(change.key.secrets[1].is_valid_at(at(5)));
    }

    #[test]
    fn a_rotation_with_grace_revokes_no_token() {
        let change = key().rotate_secret(rotation(1, 5, 60, 10), at(5)).unwrap();
        assert_eq!((change.key.epoch, change.epoch_raised), (1, false));
        assert!(
            change.key.secrets[0].is_valid_at(at(64)) && !change.key.secrets[0].is_valid_at(at(65))
        );
        let again = change.key.rotate_secret(rotation(2, 6, 600, 10), at(6)).unwrap();
        assert_eq!(
            again.key.secrets[0].expires_at,
            Some(at(65)),
            "a rotation never extends a secret"
        );
        assert_eq!(again.dated.len(), 1);
    }

    #[test]
    fn a_rotation_counts_only_unexpired_secrets() {
        let key = key().rotate_secret(rotation(1, 0, 60, 2), at(0)).unwrap().key;
        assert_eq!(key.clone().rotate_secret(rotation(2, 1, 60, 2), at(1)), Err(TooManySecrets));
        assert!(key.clone().rotate_secret(rotation(2, 60, 60, 2), at(60)).is_ok());
        assert!(key.rotate_secret(rotation(2, 1, 0, 1), at(1)).is_ok(), "it ends the others first");
    }

    #[test]
    fn a_rotation_keeps_the_newest_expired_secrets() {
        let mut key = key();
        for number in 1..=6 {
            key = key.rotate_secret(rotation(number, number, 0, 3), at(number)).unwrap().key;
        }
        let expected: Vec<SecretId> = (3..=6).map(|number| secret(number, START).id).collect();
        assert_eq!(ids(&key), expected);
    }

    fn by_itself(number: u64, seconds: u64, by: u64) -> Rotation {
        Rotation { proven_by: Some(secret(by, START).id), ..rotation(number, seconds, 60, 10) }
    }

    #[test]
    fn a_key_cannot_outlive_an_admins_expiry() {
        let until = Some(at(100));
        let mut by_admin = rotation(1, 0, 0, 10);
        by_admin.secret.expires_at = until;
        by_admin.secret.admin_expiry = until;
        let mut key = key().rotate_secret(by_admin, at(0)).unwrap().key;
        for number in 2..5 {
            let mut own = by_itself(number, number, number - 1);
            own.secret.expires_at = (number == 3).then_some(at(9999));
            key = key.rotate_secret(own, at(number)).unwrap().key;
            let newest = key.secrets.last().unwrap();
            assert_eq!((newest.expires_at, newest.admin_expiry), (until, until), "{number}");
        }
        let mut short = by_itself(5, 5, 4);
        short.secret.expires_at = Some(at(50));
        let newest = key.rotate_secret(short, at(5)).unwrap().key.secrets.pop().unwrap();
        assert_eq!((newest.expires_at, newest.admin_expiry), (Some(at(50)), until));
    }

    #[test]
    fn an_admins_grace_limits_the_old_secrets_successors() {
        let key = key().rotate_secret(rotation(1, 0, 60, 10), at(0)).unwrap().key;
        let own = key.clone().rotate_secret(by_itself(2, 5, 0), at(5)).unwrap().key;
        assert_eq!(own.secrets[2].expires_at, Some(at(60)));
        let own = key.rotate_secret(by_itself(2, 5, 1), at(5)).unwrap().key;
        assert_eq!(own.secrets[2].expires_at, None);
    }

    #[test]
    fn a_keys_own_grace_limits_no_successor() {
        let key = key().rotate_secret(by_itself(1, 0, 0), at(0)).unwrap().key;
        let again = key.rotate_secret(by_itself(2, 5, 0), at(5)).unwrap().key;
        assert_eq!(again.secrets[2].expires_at, None);
    }

    #[test]
    fn a_rotation_may_require_a_key_id() {
        let other = "00000000000000000000000000000002".parse().unwrap();
        assert!(rotation(1, 0, 0, 9).is_for(&key()));
        assert!(Rotation { only_key: Some(key().key_id), ..rotation(1, 0, 0, 9) }.is_for(&key()));
        assert!(!Rotation { only_key: Some(other), ..rotation(1, 0, 0, 9) }.is_for(&key()));
    }

    #[test]
    fn a_narrower_scope_revokes_the_tokens() {
        let roles = [Some(Role::Admin), Some(Role::Contributor), Some(Role::Viewer), None];
        for (place, before) in roles.into_iter().enumerate() {
            for (other, after) in roles.into_iter().enumerate() {
                let key = ApiKey { roles: before.into(), ..key() };
                let patch = ApiKeyPatch { role: Some(after), ..ApiKeyPatch::default() };
                let change = key.update(&patch, at(1));
                // Admins and contributors have the same scope.
                let narrows = place.max(1) < other.max(1);
                assert_eq!(change.epoch_raised, narrows, "{before:?} {after:?}");
                assert_eq!(change.key.role(), after);
            }
        }
    }

    #[test]
    fn an_assignment_changes_one_role() {
        let assign = |key: ApiKey, role| key.assign(Assignment::Assign(role), at(1)).unwrap();
        let both = assign(key(), Role::Viewer);
        assert_eq!((both.key.roles.iter().count(), both.key.role()), (2, Some(Role::Contributor)));
        assert!(!both.epoch_raised && both.fields_changed && both.key.updated_at == at(1));
        assert!(assign(both.key.clone(), Role::Viewer).is_empty());
        let unassign = |key: ApiKey, role| key.assign(Assignment::Unassign(role), at(2));
        let viewer = unassign(both.key.clone(), Role::Contributor).unwrap();
        assert_eq!((viewer.key.role(), viewer.epoch_raised), (Some(Role::Viewer), true));
        let contributor = unassign(both.key, Role::Viewer).unwrap();
        assert_eq!((contributor.key.role(), contributor.epoch_raised), (key().role(), false));
        assert_eq!(unassign(contributor.key, Role::Viewer), None);
    }

    #[test]
    fn a_usable_admin_can_fetch_tokens() {
        let admin = ApiKey { roles: Role::Admin.into(), ..key() };
        assert!(admin.is_usable_admin(at(0)));
        assert!(!key().is_usable_admin(at(0)));
        let unusable: [fn(&mut ApiKey); 5] = [
            |key| key.roles = Roles::NONE,
            |key| key.disabled_at = Some(START),
            |key| key.expires_at = Some(START),
            |key| key.application.grant_types = vec![GrantType::DeviceCode],
            |key| key.secrets[0].end(START, START),
        ];
        for (number, change) in unusable.into_iter().enumerate() {
            let mut key = admin.clone();
            change(&mut key);
            assert!(!key.is_usable_admin(at(0)), "{number}");
        }
    }

    #[test]
    fn disabling_revokes_the_tokens_and_enabling_revokes_none() {
        let disabled = key().switch(Switch::Disable, at(1));
        assert_eq!((disabled.key.disabled_at, disabled.epoch_raised), (Some(at(1)), true));
        let enabled = disabled.key.clone().switch(Switch::Enable, at(2));
        assert_eq!((enabled.key.disabled_at, enabled.key.epoch), (None, 2));
        for (key, switch) in [(disabled.key, Switch::Disable), (enabled.key, Switch::Enable)] {
            assert!(key.switch(switch, at(3)).is_empty());
        }
    }

    #[test]
    fn a_retired_secret_is_never_valid_again() {
        let key = key().rotate_secret(rotation(1, 0, 60, 9), at(0)).unwrap().key;
        let retired = key.clone().retire_secret(key.secrets[1].id, at(7)).unwrap();
        assert_eq!((retired.dated.len(), retired.epoch_raised), (1, false));
        assert!((0..99).all(|seconds| !retired.key.secrets[1].is_valid_at(at(seconds))));
        assert!(retired.key.secrets[0].is_valid_at(at(7)));
        assert_eq!(key.retire_secret(secret(9, START).id, at(7)), None);
    }

    #[test]
    fn a_purge_keeps_the_last_secret() {
        let key = key().rotate_secret(rotation(1, 0, 10, 9), at(0)).unwrap().key;
        assert!(key.clone().purge_secrets(at(10)).is_empty(), "it expires at 10, not before");
        let purged = key.clone().purge_secrets(at(11));
        assert_eq!((ids(&purged.key), purged.state_changed), (vec![key.secrets[1].id], false));
        let retired = key.retire_secret(purged.key.secrets[0].id, at(5)).unwrap().key;
        assert_eq!(ids(&retired.purge_secrets(at(99)).key), ids(&purged.key));
    }

    #[test]
    fn a_restore_raises_every_epoch_beyond_its_tokens() {
        assert_eq!((raised_epoch(1, 0), raised_epoch(1, 9), raised_epoch(9, 9)), (2, 9, 10));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Rotate(u64, usize),
        Retire(usize),
        Update(Option<Role>),
        Assign(Assignment),
        Switch(Switch),
        RevokeTokens,
        Purge(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (prop_oneof![Just(0), 1..20_u64], 1..4_usize).prop_map(|(grace, max)| Step::Rotate(grace, max)),
            2 => (0..5_usize).prop_map(Step::Retire),
            1 => prop_oneof![Just(None), Just(Some(Role::Admin))].prop_map(Step::Update),
            1 => Just(Step::Assign(Assignment::Assign(Role::Viewer))),
            1 => Just(Step::Assign(Assignment::Unassign(Role::Admin))),
            1 => Just(Step::Switch(Switch::Disable)),
            1 => Just(Step::Switch(Switch::Enable)),
            1 => Just(Step::RevokeTokens),
            2 => (0..20_u64).prop_map(Step::Purge),
        ];
        prop::collection::vec(step, 1..40)
    }

    fn apply(key: ApiKey, step: &Step, number: u64) -> Option<KeyChange> {
        let now = at(number);
        match step {
            Step::Rotate(grace, max) => {
                key.rotate_secret(rotation(number, number, *grace, *max), now).ok()
            }
            Step::Retire(place) => {
                let id = key.secrets.get(*place)?.id;
                key.retire_secret(id, now)
            }
            Step::Update(role) => {
                Some(key.update(&ApiKeyPatch { role: Some(*role), ..ApiKeyPatch::default() }, now))
            }
            Step::Assign(assignment) => key.assign(*assignment, now),
            Step::Switch(switch) => Some(key.switch(*switch, now)),
            Step::RevokeTokens => Some(key.revoke_tokens(now)),
            Step::Purge(ago) => Some(key.purge_secrets(at(number.saturating_sub(*ago)))),
        }
    }

    /// Writes a change to a key the way a store writes it to rows.
    fn write(mut rows: ApiKey, change: &KeyChange) -> ApiKey {
        let key = &change.key;
        if change.fields_changed {
            rows.application = key.application.clone();
            (rows.roles, rows.expires_at) = (key.roles, key.expires_at);
        }
        if change.state_changed {
            (rows.updated_at, rows.disabled_at, rows.epoch) =
                (key.updated_at, key.disabled_at, key.epoch);
        }
        rows.secrets.retain(|secret| !change.removed.contains(&secret.id));
        for dated in &change.dated {
            let secret = rows.secrets.iter_mut().find(|secret| secret.id == dated.id).unwrap();
            (secret.not_before, secret.expires_at) = (dated.not_before, dated.expires_at);
            secret.admin_expiry = dated.admin_expiry;
        }
        rows.secrets.extend(change.added.iter().cloned());
        rows
    }

    proptest! {
        #[test]
        fn a_change_contains_everything_to_write(steps in steps()) {
            let mut key = key();
            for (number, step) in (1..).zip(&steps) {
                let before = key.clone();
                let Some(change) = apply(before.clone(), step, number) else { continue };
                prop_assert_eq!(&write(before.clone(), &change), &change.key);
                prop_assert_eq!(change.is_empty(), before == change.key);
                key = change.key;
                prop_assert!(!key.secrets.is_empty());
                prop_assert_eq!(key.epoch, before.epoch + u64::from(change.epoch_raised));
                if let Step::Rotate(_, max) = step {
                    let valid = key.secrets.iter().filter(|secret| !secret.has_expired(at(number)));
                    prop_assert!(valid.count() <= *max && key.secrets.len() <= 2 * max + 1);
                }
            }
        }
    }
}
