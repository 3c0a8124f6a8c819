//! [`SealedSigningKey`]: a signing key as it is stored.

use gatekey_credentials::jwt::Algorithm;

use crate::Timestamp;

/// A signing key as it is stored: the private key is sealed under the root key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedSigningKey {
    /// Its id, the `kid` in a token's header.
    pub kid: String,
    pub algorithm: Algorithm,
    /// The private key, sealed under [`Self::sealing_name`].
    pub sealed: Vec<u8>,
    pub created_at: Timestamp,
    /// When the key leaves the JWKS. `None` for the key that signs.
    pub published_until: Option<Timestamp>,
}

impl SealedSigningKey {
    /// The name that the private key is sealed under.
    pub fn sealing_name(&self) -> String {
        sealing_name(&self.kid)
    }
}

/// The name that the private key of a signing key is sealed under.
pub(super) fn sealing_name(kid: &str) -> String {
    format!("signing key {kid}")
}

/// The outcome of [`Store::retire_signing_key`](crate::store::SigningKeyStore::retire_signing_key).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SigningKeyRetired {
    /// The key left the JWKS.
    Done,
    /// The key signs; nothing was changed.
    Signs,
    Absent,
}

/// Adds the key that signs from now on. The others stay published until an instant.
pub fn rotate(
    keys: &mut Vec<SealedSigningKey>,
    key: SealedSigningKey,
    others_published_until: Timestamp,
) {
    for other in &mut *keys {
        // A key that was replaced earlier keeps its date: it has signed nothing since.
        other.published_until.get_or_insert(others_published_until);
    }
    keys.push(key);
}

/// Removes a key from the JWKS at an instant, unless it leaves earlier. The key that signs cannot
/// be removed.
pub fn retire(keys: &mut [SealedSigningKey], kid: &str, at: Timestamp) -> SigningKeyRetired {
    let Some(key) = keys.iter_mut().find(|key| key.kid == kid) else {
        return SigningKeyRetired::Absent;
    };
    let Some(until) = &mut key.published_until else { return SigningKeyRetired::Signs };
    *until = at.min(*until);
    SigningKeyRetired::Done
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kid: &str) -> SealedSigningKey {
        SealedSigningKey {
            kid: kid.to_owned(),
            algorithm: Algorithm::ES256,
            sealed: Vec::new(),
            created_at: Timestamp::from_seconds(1),
            published_until: None,
        }
    }

    fn dates(keys: &[SealedSigningKey]) -> Vec<Option<i64>> {
        keys.iter().map(|key| key.published_until.map(Timestamp::as_seconds)).collect()
    }

    #[test]
    fn a_replaced_key_keeps_its_first_date() {
        let mut keys = Vec::new();
        for (kid, seconds) in [("one", 10), ("two", 20), ("three", 30)] {
            rotate(&mut keys, key(kid), Timestamp::from_seconds(seconds));
        }
        assert_eq!(dates(&keys), [Some(20), Some(30), None]);
    }

    #[test]
    fn retiring_shortens_the_publication_of_a_replaced_key() {
        let mut keys = vec![key("one")];
        rotate(&mut keys, key("two"), Timestamp::from_seconds(20));
        let mut retire_at =
            |kid: &str, seconds| retire(&mut keys, kid, Timestamp::from_seconds(seconds));
        assert_eq!(retire_at("two", 5), SigningKeyRetired::Signs);
        assert_eq!(retire_at("three", 5), SigningKeyRetired::Absent);
        for seconds in [5, 9] {
            assert_eq!(retire_at("one", seconds), SigningKeyRetired::Done);
        }
        assert_eq!(dates(&keys), [Some(5), None]);
    }
}
