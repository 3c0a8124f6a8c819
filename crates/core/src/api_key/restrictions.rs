//! [`Restrictions`]: what a change took away from a key, to take it away again if it was lost.

use std::collections::BTreeMap;

use super::{ApiKey, KeyChange, KeyFacts, Roles};
use crate::{SecretId, Timestamp};

/// What changes took away from a key. Limits of its use are not among it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restrictions {
    pub disabled: bool,
    pub roles: Roles,
    /// The key is refused from this instant on.
    pub expires_at: Option<Timestamp>,
    /// The secrets that are refused from an instant on; [`Timestamp::MIN`] for those retired.
    pub secrets: BTreeMap<SecretId, Timestamp>,
}

impl Restrictions {
    /// What a key lacks after a change.
    pub fn between(before: &KeyFacts, after: &KeyFacts) -> Self {
        let mut secrets = BTreeMap::new();
        for secret in &before.secrets {
            match after.secrets.iter().find(|left| left.id == secret.id) {
                None => {
                    secrets.insert(secret.id, Timestamp::MIN);
                }
                Some(left) => {
                    let end = left.expires_at.filter(|end| is_earlier(*end, secret.expires_at));
                    secrets.extend(end.map(|end| (secret.id, end)));
                }
            }
        }
        Self {
            disabled: after.disabled && !before.disabled,
            roles: before.roles.iter().filter(|role| !after.roles.contains(*role)).collect(),
            expires_at: after.expires_at.filter(|end| is_earlier(*end, before.expires_at)),
            secrets,
        }
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds those of a later change, after which the key is as `after` says.
    pub fn extend(&mut self, later: Self, after: &KeyFacts) {
        self.disabled = after.disabled && (self.disabled || later.disabled);
        let roles = self.roles.iter().chain(later.roles.iter());
        self.roles = roles.filter(|role| !after.roles.contains(*role)).collect();
        self.expires_at =
            later.expires_at.or(self.expires_at).filter(|_| after.expires_at.is_some());
        self.secrets.extend(later.secrets);
    }
}

fn is_earlier(end: Timestamp, before: Option<Timestamp>) -> bool {
    before.is_none_or(|before| end < before)
}

impl ApiKey {
    /// Takes away from the key what an earlier change did, unless the key lacks it, and raises its
    /// epoch.
    #[must_use]
    pub fn restrict(
        self,
        restrictions: &Restrictions,
        epoch: Option<u64>,
        at: Timestamp,
    ) -> KeyChange {
        self.change(|key| {
            let before = key.clone();
            key.epoch = epoch.unwrap_or(key.epoch);
            if restrictions.disabled && key.disabled_at.is_none() {
                key.disabled_at = Some(at);
            }
            for role in restrictions.roles.iter() {
                key.roles = key.roles.without(role);
            }
            if let Some(end) =
                restrictions.expires_at.filter(|end| is_earlier(*end, key.expires_at))
            {
                key.expires_at = Some(end);
            }
            for secret in &mut key.secrets {
                if let Some(end) = restrictions.secrets.get(&secret.id) {
                    secret.end(at.max(*end), at);
                }
            }
            if *key != before {
                key.updated_at = at;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Application, KeyId, SecretHash, StoredSecret,
        api_key::{Assignment, Limits, Switch},
    };
    use gatekey_credentials::Role;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(1_800_000_000 + seconds)
    }

    fn secret(number: u8) -> StoredSecret {
        StoredSecret {
            id: format!("{number:016x}").parse().unwrap(),
            label: String::new(),
            hash: SecretHash { pepper_version: 1, mac: [number; 32] },
            created_at: at(0),
            not_before: at(0),
            expires_at: None,
            admin_expiry: None,
            last_used_at: None,
        }
    }

    fn key() -> ApiKey {
        ApiKey {
            key_id: "00000000000000000000000000000001".parse::<KeyId>().unwrap(),
            client_id: "ci".parse().unwrap(),
            organization: String::new(),
            roles: Roles::from(Role::Admin).with(Role::Viewer),
            application: Application::named("CI"),
            limits: Limits::default(),
            created_at: at(0),
            updated_at: at(0),
            expires_at: None,
            disabled_at: None,
            epoch: 1,
            secrets: vec![secret(1), secret(2)],
        }
    }

    fn between(before: &ApiKey, after: &ApiKey) -> Restrictions {
        Restrictions::between(&before.into(), &after.into())
    }

    #[test]
    fn lost_restrictions_are_applied_again() {
        let lost = key();
        for after in [
            lost.clone().switch(Switch::Disable, at(5)).key,
            lost.clone().assign(Assignment::Unassign(Role::Admin), at(5)).unwrap().key,
            lost.clone().retire_secret(secret(1).id, at(5)).unwrap().key,
            ApiKey { expires_at: Some(at(9)), ..lost.clone() },
        ] {
            let restrictions = between(&lost, &after);
            assert!(!restrictions.is_empty());
            let again = lost.clone().restrict(&restrictions, None, at(20)).key;
            assert_eq!(between(&again, &after), Restrictions::default());
            assert!(again.restrict(&restrictions, None, at(21)).is_empty());
        }
        assert!(between(&lost, &lost).is_empty());
    }

    #[test]
    fn what_was_given_back_is_not_taken_again() {
        let before = key();
        let disabled = before.clone().switch(Switch::Disable, at(5)).key;
        let enabled = disabled.clone().switch(Switch::Enable, at(6)).key;
        let mut restrictions = between(&before, &disabled);
        restrictions.extend(between(&disabled, &enabled), &(&enabled).into());
        assert!(restrictions.is_empty());
    }
}
