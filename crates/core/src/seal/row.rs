//! [`SealedRow`]: the content of a row that its seal covers.
//!
//! The content lists every column that grants something, each with its length or of a fixed one, so
//! that different rows never have the same content. The patterns below name every field of a row: a
//! new field does not compile until it is sealed here, or left out on purpose.

use std::mem;

use gatekey_credentials::Role;

use super::{Seal, SealKey, SealKeys, Table};
use crate::{
    ApiKey, Application, SecretHash, StoredSecret, Timestamp,
    api_key::{
        ApplicationType, ConsentMethod, GrantType, Limits, ResponseType, TokenEndpointAuthMethod,
    },
    signing_key::SealedSigningKey,
    token::DeniedToken,
};

/// A row that has a seal.
#[derive(Debug, Clone, Copy)]
pub enum SealedRow<'r> {
    /// A key with its secrets, which share its seal.
    ApiKey(&'r ApiKey),
    Denial(&'r DeniedToken),
    SigningKey(&'r SealedSigningKey),
}

impl SealedRow<'_> {
    /// The table of the row.
    pub fn table(self) -> Table {
        match self {
            Self::ApiKey(_) => Table::ApiKeys,
            Self::Denial(_) => Table::Denials,
            Self::SigningKey(_) => Table::SigningKeys,
        }
    }

    /// Seals the row.
    pub fn seal(self, key: &SealKey) -> Seal {
        key.seal(&self.content(Vec::new()))
    }

    /// Whether it is the seal of this row, under any version in use.
    pub fn verify(self, keys: &SealKeys, seal: &Seal) -> bool {
        self.verify_in(&mut Vec::new(), keys, seal)
    }

    /// Like [`Self::verify`], in a buffer that many rows share.
    pub(super) fn verify_in(self, buffer: &mut Vec<u8>, keys: &SealKeys, seal: &Seal) -> bool {
        let Some(key) = keys.find(seal.version) else { return false };
        *buffer = self.content(mem::take(buffer));
        key.verify(buffer, seal)
    }

    fn content(self, mut buffer: Vec<u8>) -> Vec<u8> {
        buffer.clear();
        buffer.reserve(512);
        let mut content = Content(buffer);
        content.byte(self.table().number());
        match self {
            Self::ApiKey(key) => content.key(key),
            Self::Denial(denied) => content.denial(denied),
            Self::SigningKey(key) => content.signing_key(key),
        }
        content.0
    }
}

struct Content(Vec<u8>);

impl Content {
    fn key(&mut self, key: &ApiKey) {
        let ApiKey {
            key_id,
            client_id,
            organization,
            roles,
            application,
            limits,
            created_at,
            updated_at,
            expires_at,
            disabled_at,
            epoch,
            secrets,
        } = key;
        self.0.extend(key_id.as_bytes());
        self.text(client_id.as_str());
        self.text(organization);
        // One role, or none, as it was before a key could hold several.
        let names = || roles.iter().map(Role::as_str);
        self.length(names().map(|name| name.len() + 1).sum::<usize>().saturating_sub(1));
        for (number, name) in names().enumerate() {
            if number > 0 {
                self.byte(b' ');
            }
            self.0.extend(name.as_bytes());
        }
        self.application(application);
        self.instant(*created_at);
        self.instant(*updated_at);
        self.optional_instant(*expires_at);
        self.optional_instant(*disabled_at);
        self.0.extend(epoch.to_be_bytes());
        self.list(secrets, Self::secret);
        // Nothing for a key without limits, as it was before a key could have any.
        if !limits.is_none() {
            self.limits(limits);
        }
    }

    fn limits(&mut self, limits: &Limits) {
        let Limits { allow_from, rate, projects, domains } = limits;
        let networks: Vec<_> = allow_from.iter().map(ToString::to_string).collect();
        self.list(&networks, |content, network| content.text(network));
        self.text(&rate.map(|rate| rate.to_string()).unwrap_or_default());
        self.list(projects, |content, project| content.text(project));
        self.list(domains, |content, domain| content.text(domain));
    }

    /// What a key may do with OAuth. Names, contacts and links grant nothing.
    fn application(&mut self, application: &Application) {
        let Application {
            client_name: _,
            redirect_uris,
            response_types,
            grant_types,
            application_type,
            contacts: _,
            logo_uri: _,
            client_uri: _,
            policy_uri: _,
            tos_uri: _,
            jwks_uri,
            token_endpoint_auth_method,
            consent_method,
        } = application;
        self.list(redirect_uris, |content, uri| content.text(uri));
        self.list(response_types, |content, name| {
            content.byte(match name {
                ResponseType::Code => 1,
                ResponseType::Token => 2,
                ResponseType::IdToken => 3,
            });
        });
        self.list(grant_types, |content, name| {
            content.byte(match name {
                GrantType::AuthorizationCode => 1,
                GrantType::Implicit => 2,
                GrantType::Password => 3,
                GrantType::ClientCredentials => 4,
                GrantType::RefreshToken => 5,
                GrantType::DeviceCode => 6,
            });
        });
        self.byte(match application_type {
            ApplicationType::Web => 1,
            ApplicationType::Native => 2,
        });
        self.text(jwks_uri);
        self.byte(match token_endpoint_auth_method {
            TokenEndpointAuthMethod::ClientSecretPost => 1,
            TokenEndpointAuthMethod::ClientSecretBasic => 2,
            TokenEndpointAuthMethod::None => 3,
        });
        self.byte(match consent_method {
            ConsentMethod::None => 1,
            ConsentMethod::Trusted => 2,
            ConsentMethod::Required => 3,
        });
    }

    fn secret(&mut self, secret: &StoredSecret) {
        let StoredSecret {
            id,
            label: _,
            hash: SecretHash { pepper_version, mac },
            created_at,
            not_before,
            expires_at,
            admin_expiry,
            // Written for each use, in batches, and grants nothing.
            last_used_at: _,
        } = secret;
        self.0.extend(id.as_bytes());
        self.0.extend(pepper_version.to_be_bytes());
        self.0.extend(mac);
        self.instant(*created_at);
        self.instant(*not_before);
        self.optional_instant(*expires_at);
        self.optional_instant(*admin_expiry);
    }

    fn denial(&mut self, denied: &DeniedToken) {
        let DeniedToken { jti, key_id, expires_at } = denied;
        self.text(jti);
        self.0.extend(key_id.as_bytes());
        self.instant(*expires_at);
    }

    fn signing_key(&mut self, key: &SealedSigningKey) {
        let SealedSigningKey {
            kid,
            algorithm,
            sealed,
            created_at,
            signs_from,
            published_until,
            high_s_until,
        } = key;
        self.text(kid);
        self.text(algorithm.as_str());
        self.bytes(sealed);
        self.instant(*created_at);
        self.instant(*signs_from);
        self.optional_instant(*published_until);
        self.optional_instant(*high_s_until);
    }

    fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    /// Seven bits a byte, the lowest first; all bytes but the last have the highest bit set. Most
    /// lengths take one byte, and each block of content costs a start 50 ns a key.
    fn length(&mut self, mut length: usize) {
        while length > 0x7f {
            let [.., lowest] = length.to_be_bytes();
            self.0.push(0x80 | lowest);
            length >>= 7;
        }
        let [.., lowest] = length.to_be_bytes();
        self.0.push(lowest);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.0.extend(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn instant(&mut self, instant: Timestamp) {
        self.0.extend(instant.as_micros().to_be_bytes());
    }

    fn optional_instant(&mut self, instant: Option<Timestamp>) {
        match instant {
            None => self.byte(0),
            Some(instant) => {
                self.byte(1);
                self.instant(instant);
            }
        }
    }

    fn list<T>(&mut self, list: &[T], mut item: impl FnMut(&mut Self, &T)) {
        self.length(list.len());
        for each in list {
            item(self, each);
        }
    }
}

#[cfg(test)]
mod tests {
    use gatekey_credentials::jwt::Algorithm;

    use super::*;
    use crate::{RootKey, api_key::Roles};

    fn secret() -> StoredSecret {
        StoredSecret {
            id: "1111111111111111".parse().unwrap(),
            label: String::new(),
            hash: SecretHash { pepper_version: 1, mac: [7; 32] },
            created_at: Timestamp::from_micros(1),
            not_before: Timestamp::from_micros(2),
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
            roles: Roles::NONE,
            application: Application::named("CI"),
            limits: Limits::default(),
            created_at: Timestamp::from_micros(1),
            updated_at: Timestamp::from_micros(2),
            expires_at: None,
            disabled_at: None,
            epoch: 1,
            secrets: vec![secret()],
        }
    }

    #[test]
    fn lengths_are_as_documented() {
        for (length, bytes) in [
            (0, &[0][..]),
            (127, &[127]),
            (128, &[128, 1]),
            (300, &[0xac, 2]),
            (16384, &[128, 128, 1]),
        ] {
            let mut content = Content(Vec::new());
            content.length(length);
            assert_eq!(content.0, bytes);
        }
    }

    type Change = Box<dyn FnOnce(&mut ApiKey)>;

    /// Whether the seal of the key still matches after a change.
    fn survives(change: impl FnOnce(&mut ApiKey)) -> bool {
        let keys = RootKey::new(&[1; 32]).seal_keys();
        let mut key = key();
        let seal = SealedRow::ApiKey(&key).seal(keys.find(1).unwrap());
        change(&mut key);
        SealedRow::ApiKey(&key).verify(&keys, &seal)
    }

    #[test]
    fn a_seal_covers_everything_that_grants() {
        assert!(survives(|_| ()));
        let at = || Some(Timestamp::from_micros(2));
        let changes: Vec<Change> = vec![
            Box::new(|key| key.key_id = "00000000000000000000000000000002".parse().unwrap()),
            Box::new(|key| key.client_id = "co".parse().unwrap()),
            Box::new(|key| key.organization = "other".to_owned()),
            Box::new(|key| key.roles = Role::Admin.into()),
            Box::new(|key| key.roles = Role::Viewer.into()),
            Box::new(|key| key.created_at = Timestamp::from_micros(0)),
            Box::new(|key| key.updated_at = Timestamp::from_micros(3)),
            Box::new(move |key| key.expires_at = at()),
            Box::new(move |key| key.disabled_at = at()),
            Box::new(|key| key.epoch = 0),
            Box::new(|key| key.application.grant_types.push(GrantType::Password)),
            Box::new(|key| key.application.response_types.push(ResponseType::Token)),
            Box::new(|key| key.application.redirect_uris.push("https://a".to_owned())),
            Box::new(|key| key.application.application_type = ApplicationType::Native),
            Box::new(|key| key.application.jwks_uri = "https://a".to_owned()),
            Box::new(|key| key.application.consent_method = ConsentMethod::Trusted),
            Box::new(|key| key.limits.rate = "9/s".parse().ok()),
            Box::new(|key| {
                key.limits.allow_from = ["10.0.0.0/8".parse().unwrap()].into_iter().collect();
            }),
            Box::new(|key| key.limits.projects.push("web".to_owned())),
            Box::new(|key| key.limits.domains.push("web".to_owned())),
            Box::new(|key| key.secrets.clear()),
            Box::new(|key| key.secrets.push(secret())),
            Box::new(|key| key.secrets[0].id = "1111111111111112".parse().unwrap()),
            Box::new(|key| key.secrets[0].hash.pepper_version = 2),
            Box::new(|key| key.secrets[0].hash.mac[31] = 0),
            Box::new(|key| key.secrets[0].created_at = Timestamp::from_micros(0)),
            Box::new(|key| key.secrets[0].not_before = Timestamp::from_micros(0)),
            Box::new(move |key| key.secrets[0].expires_at = at()),
            Box::new(move |key| key.secrets[0].admin_expiry = at()),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            assert!(!survives(change), "change {number}");
        }
    }

    /// As it was when keys had no limits, so that stored seals still match.
    #[test]
    fn limits_are_sealed_only_where_there_are_some() {
        let mut limited = key();
        let unlimited = SealedRow::ApiKey(&limited).content(Vec::new());
        limited.limits.rate = "9/s".parse().ok();
        let content = SealedRow::ApiKey(&limited).content(Vec::new());
        let limits = content.strip_prefix(unlimited.as_slice());
        assert_eq!(limits, Some(b"\0\x039/s\0\0".as_slice()));
    }

    #[test]
    fn names_and_uses_are_outside_the_seal() {
        assert!(survives(|key| {
            key.application.client_name = "other".to_owned();
            key.application.contacts.push("me".to_owned());
            key.secrets[0].label = "other".to_owned();
            key.secrets[0].last_used_at = Some(Timestamp::from_micros(9));
        }));
    }

    #[test]
    fn a_seal_fits_one_row_and_root_key() {
        let keys = RootKey::new(&[1; 32]).seal_keys();
        let denied = DeniedToken {
            jti: "a".to_owned(),
            key_id: key().key_id,
            expires_at: Timestamp::from_micros(1),
        };
        let signing_key = SealedSigningKey {
            kid: "a".to_owned(),
            algorithm: Algorithm::ES256,
            sealed: vec![1],
            created_at: Timestamp::from_micros(1),
            signs_from: Timestamp::from_micros(1),
            published_until: None,
            high_s_until: None,
        };
        let key = key();
        let rows = [
            SealedRow::ApiKey(&key),
            SealedRow::Denial(&denied),
            SealedRow::SigningKey(&signing_key),
        ];
        for (number, row) in rows.into_iter().enumerate() {
            let seal = row.seal(keys.find(1).unwrap());
            assert_eq!(Seal::from_bytes(&seal.to_bytes()), Some(seal));
            for (other, row) in rows.into_iter().enumerate() {
                assert_eq!(row.verify(&keys, &seal), number == other);
            }
            assert!(!row.verify(&RootKey::new(&[2; 32]).seal_keys(), &seal));
        }
        let later = SealedSigningKey {
            published_until: Some(Timestamp::from_micros(1)),
            ..signing_key.clone()
        };
        let seal = SealedRow::SigningKey(&signing_key).seal(keys.find(1).unwrap());
        assert!(!SealedRow::SigningKey(&later).verify(&keys, &seal));
    }
}
