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
    /// When the key begins to sign. Until then it is only published, so that verifiers know it by
    /// the time that they see its tokens. A value at or before `created_at` sets no limit.
    pub signs_from: Timestamp,
    /// When the key leaves the JWKS. `None` for the newest key.
    pub published_until: Option<Timestamp>,
    /// Until when its tokens may have a high `s`. `None` for a key that never made one.
    pub high_s_until: Option<Timestamp>,
}

/// The dates of a signing key, which determine its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SigningKeyDates {
    pub created_at: Timestamp,
    pub signs_from: Timestamp,
    pub published_until: Option<Timestamp>,
}

/// What a signing key does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SigningKeyState {
    /// Published, and signs later.
    Next,
    Signs,
    /// Signed earlier, and still published.
    Published,
    /// No longer in the JWKS.
    Retired,
}

impl SigningKeyDates {
    pub fn is_published_at(&self, now: Timestamp) -> bool {
        self.published_until.is_none_or(|until| now < until)
    }

    /// Whether the key may sign. One that began to sign when it was created may even if the clock
    /// was ahead then and was set back since.
    fn may_sign_at(&self, now: Timestamp) -> bool {
        self.is_published_at(now) && (self.signs_from <= self.created_at || self.signs_from <= now)
    }
}

/// The place of the key that signs, in the order of creation: the newest that may.
pub fn signing_at(
    keys: &(impl DoubleEndedIterator<Item = SigningKeyDates> + ExactSizeIterator + Clone),
    now: Timestamp,
) -> Option<usize> {
    keys.clone()
        .rposition(|key| key.may_sign_at(now))
        .or_else(|| keys.clone().rposition(|key| key.is_published_at(now)))
}

/// The state of every key, in the order of creation.
pub fn states(
    keys: impl DoubleEndedIterator<Item = SigningKeyDates> + ExactSizeIterator + Clone,
    now: Timestamp,
) -> Vec<SigningKeyState> {
    let signing = signing_at(&keys, now);
    let state = |(place, key): (usize, SigningKeyDates)| {
        if !key.is_published_at(now) {
            SigningKeyState::Retired
        } else if signing == Some(place) {
            SigningKeyState::Signs
        } else if signing.is_none_or(|signing| signing < place) {
            SigningKeyState::Next
        } else {
            SigningKeyState::Published
        }
    };
    keys.enumerate().map(state).collect()
}

impl SealedSigningKey {
    pub fn dates(&self) -> SigningKeyDates {
        let Self { created_at, signs_from, published_until, .. } = *self;
        SigningKeyDates { created_at, signs_from, published_until }
    }

    /// The name that the private key is sealed under.
    pub fn sealing_name(&self) -> String {
        sealing_name(&self.kid)
    }
}

/// The name that the private key of a signing key is sealed under.
pub(super) fn sealing_name(kid: &str) -> String {
    format!("signing key {kid}")
}

/// The outcome of [`Store::rotate_signing_key`](crate::store::SigningKeyStore::rotate_signing_key).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SigningKeyAdded {
    Done,
    /// Another key was created since the caller read the keys; nothing was changed.
    Overtaken,
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

/// Adds a key at an instant. Keys that signed until then stay published until
/// `others_published_until`. A key that was to sign next, and has signed nothing, leaves the JWKS.
pub fn rotate(
    keys: &mut Vec<SealedSigningKey>,
    key: SealedSigningKey,
    others_published_until: Timestamp,
    at: Timestamp,
) {
    let states = states(keys.iter().map(SealedSigningKey::dates), at);
    for (other, state) in keys.iter_mut().zip(states) {
        other.published_until = Some(match (state, other.published_until) {
            (SigningKeyState::Next, until) => until.map_or(at, |until| at.min(until)),
            // A key that was replaced earlier keeps its date: it has signed nothing since.
            (SigningKeyState::Published | SigningKeyState::Retired, Some(until)) => until,
            (_, _) => others_published_until,
        });
    }
    keys.push(key);
}

/// Removes a key from the JWKS at an instant, unless it leaves earlier. The key that signs cannot
/// be removed. If the next one is, the key that signs goes on.
pub fn retire(keys: &mut [SealedSigningKey], kid: &str, at: Timestamp) -> SigningKeyRetired {
    let Some(place) = keys.iter().position(|key| key.kid == kid) else {
        return SigningKeyRetired::Absent;
    };
    let states = states(keys.iter().map(SealedSigningKey::dates), at);
    if states[place] == SigningKeyState::Signs {
        return SigningKeyRetired::Signs;
    }
    let until = &mut keys[place].published_until;
    *until = Some(until.map_or(at, |until| at.min(until)));
    let is_last = |(other, state): (usize, &SigningKeyState)| {
        *state == SigningKeyState::Next && other != place
    };
    if states[place] == SigningKeyState::Next
        && !states.iter().enumerate().any(is_last)
        && let Some(signing) = states.iter().position(|state| *state == SigningKeyState::Signs)
    {
        keys[signing].published_until = None;
    }
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
            signs_from: Timestamp::from_seconds(1),
            published_until: None,
            high_s_until: None,
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn next(kid: &str, from: i64) -> SealedSigningKey {
        SealedSigningKey { signs_from: at(from), ..key(kid) }
    }

    fn states_at(keys: &[SealedSigningKey], seconds: i64) -> Vec<SigningKeyState> {
        states(keys.iter().map(SealedSigningKey::dates), at(seconds))
    }

    fn dates(keys: &[SealedSigningKey]) -> Vec<Option<i64>> {
        keys.iter().map(|key| key.published_until.map(Timestamp::as_seconds)).collect()
    }

    #[test]
    fn a_replaced_key_keeps_its_first_date() {
        let mut keys = Vec::new();
        for (kid, seconds) in [("one", 10), ("two", 20), ("three", 30)] {
            rotate(&mut keys, key(kid), at(seconds), at(1));
        }
        assert_eq!(dates(&keys), [Some(20), Some(30), None]);
    }

    #[test]
    fn retiring_shortens_the_publication_of_a_replaced_key() {
        let mut keys = vec![key("one")];
        rotate(&mut keys, key("two"), at(20), at(1));
        let mut retire_at = |kid: &str, seconds| retire(&mut keys, kid, at(seconds));
        assert_eq!(retire_at("two", 5), SigningKeyRetired::Signs);
        assert_eq!(retire_at("three", 5), SigningKeyRetired::Absent);
        for seconds in [5, 9] {
            assert_eq!(retire_at("one", seconds), SigningKeyRetired::Done);
        }
        assert_eq!(dates(&keys), [Some(5), None]);
    }

    #[test]
    fn the_next_key_signs_from_its_date() {
        use SigningKeyState::{Next, Published, Retired, Signs};
        let mut keys = vec![key("one")];
        rotate(&mut keys, next("two", 10), at(30), at(2));
        assert_eq!(states_at(&keys, 9), [Signs, Next]);
        assert_eq!(states_at(&keys, 10), [Published, Signs]);
        assert_eq!(states_at(&keys, 30), [Retired, Signs]);
        assert_eq!(states_at(&keys, -9), [Signs, Next], "the clock was set back");
    }

    #[test]
    fn a_withdrawn_next_key_never_signs() {
        use SigningKeyState::{Retired, Signs};
        let mut keys = vec![key("one")];
        rotate(&mut keys, next("two", 10), at(30), at(2));
        assert_eq!(retire(&mut keys, "two", at(5)), SigningKeyRetired::Done);
        assert_eq!(dates(&keys), [None, Some(5)]);
        for seconds in [5, 10, 99] {
            assert_eq!(states_at(&keys, seconds), [Signs, Retired]);
        }
    }

    #[test]
    fn a_key_at_once_replaces_the_next_one() {
        use SigningKeyState::{Published, Retired, Signs};
        let mut keys = vec![key("one")];
        rotate(&mut keys, next("two", 10), at(30), at(2));
        rotate(&mut keys, key("three"), at(25), at(5));
        assert_eq!(dates(&keys), [Some(25), Some(5), None]);
        assert_eq!(states_at(&keys, 5), [Published, Retired, Signs]);
        assert_eq!(states_at(&keys, 11), [Published, Retired, Signs]);
    }
}
