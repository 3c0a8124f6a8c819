//! Lists: filters, order, and page tokens that continue exactly where a page ended.

use aws_lc_rs::digest;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use gatekey_credentials::ClientId;
use serde::{Deserialize, Serialize};

use crate::{ApiKey, Error, RootKey, Timestamp};

/// What a page holds when nobody says.
pub const DEFAULT_LIMIT: usize = 100;
/// The most that a page holds.
pub const MAX_LIMIT: usize = 1000;
/// The most filters of a list, and values of a filter.
pub const MAX_FILTERS: usize = 100;

/// A field that filters may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Field {
    /// `client_id`: text.
    ClientId,
    /// `client_name`: text.
    ClientName,
    /// `role`: a name, or absent.
    Role,
    /// `client_id_issued_at`: an instant.
    CreatedAt,
    /// `updated_at`: an instant.
    UpdatedAt,
    /// `expires_at` of the key itself: an instant, or absent.
    ExpiresAt,
    /// `disabled_at`: an instant, or absent.
    DisabledAt,
}

/// What a field holds, and so which conditions make sense for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    /// Text in the order of its bytes: every condition.
    Text,
    /// One of a few names: equality and presence.
    Name,
    /// An instant: order, equality and presence.
    Instant,
}

impl Field {
    /// What the field holds.
    pub fn kind(self) -> FieldKind {
        match self {
            Self::ClientId | Self::ClientName => FieldKind::Text,
            Self::Role => FieldKind::Name,
            Self::CreatedAt | Self::UpdatedAt | Self::ExpiresAt | Self::DisabledAt => FieldKind::Instant,
        }
    }
}

/// What a field is compared with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Operand {
    /// Of a text or a name.
    Text(String),
    /// Of an instant.
    Instant(Timestamp),
}

/// How a field must compare. An absent field equals nothing and is above and below nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Condition {
    /// It is one of the values.
    In(Vec<Operand>),
    /// It is absent or another value.
    NotEqual(Operand),
    /// It is greater.
    Above(Operand),
    /// It is greater or equal.
    AtLeast(Operand),
    /// It is less.
    Below(Operand),
    /// It is less or equal.
    AtMost(Operand),
    /// It contains the text, upper and lower case told apart.
    Contains(String),
    /// It contains the text, both in Unicode's lower case.
    ContainsIgnoringCase(String),
    /// It ends with the text.
    EndsWith(String),
    /// It does not end with the text.
    NotEndsWith(String),
    /// It is there.
    Exists,
    /// It is absent.
    Absent,
}

/// Keeps a key when its field compares so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Filter {
    /// Which field.
    pub field: Field,
    /// How it must compare.
    pub condition: Condition,
}

/// A field that orders may name: one that is always there, and that the store has in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OrderField {
    /// `client_id`.
    ClientId,
    /// `client_name`.
    ClientName,
    /// `client_id_issued_at`.
    CreatedAt,
}

/// The order of a list. Client ids break ties, in the same direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// By which field.
    pub field: OrderField,
    /// Largest first.
    pub descending: bool,
}

impl Default for Order {
    fn default() -> Self {
        Self { field: OrderField::ClientId, descending: false }
    }
}

/// The last key of a page: the next page begins after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The ordering field's value, when it is text.
    pub text: String,
    /// The ordering field's value, when it is an instant.
    pub instant: Option<Timestamp>,
    /// The tie-breaker.
    pub client_id: String,
}

/// Which keys, in which order, from where on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// All of them must hold.
    pub filters: Vec<Filter>,
    /// In which order.
    pub order: Order,
    /// After which key.
    pub after: Option<Cursor>,
}

/// What a caller asks for.
#[derive(Debug, Clone, Default)]
pub struct ListKeys {
    /// All of them must hold.
    pub filters: Vec<Filter>,
    /// In which order.
    pub order: Order,
    /// Keys a page; 0 means 100, more than 1,000 means 1,000.
    pub limit: usize,
    /// From the page before; empty for the first.
    pub page_token: String,
}

/// One page.
#[derive(Debug, Clone)]
pub struct Page {
    /// The keys.
    pub keys: Vec<ApiKey>,
    /// For the next page; empty on the last.
    pub next_page_token: String,
}

/// What a page token says. It is signed, not secret: it names only what its holder has just been shown.
#[derive(Serialize, Deserialize)]
struct Continuation {
    query: String,
    cursor: Cursor,
}

const MAC_LENGTH: usize = 16;

impl ListKeys {
    /// How many keys the page may hold.
    pub fn page_size(&self) -> usize {
        if self.limit == 0 { DEFAULT_LIMIT } else { self.limit.min(MAX_LIMIT) }
    }

    /// Reads the page token into a selection.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the token is not one of ours, or belongs to a list with other filters or
    /// another order.
    pub fn selection(&self, root_key: &RootKey) -> Result<Selection, Error> {
        let after = if self.page_token.is_empty() {
            None
        } else {
            let continuation = read_token(root_key, &self.page_token).ok_or_else(|| {
                Error::invalid("token", "is not a page token of this server; start again without one")
            })?;
            if continuation.query != self.fingerprint() {
                let rule = "belongs to a list with other filters or another order; start again without one";
                return Err(Error::invalid("token", rule));
            }
            Some(continuation.cursor)
        };
        Ok(Selection { filters: self.filters.clone(), order: self.order, after })
    }

    /// The token that continues after a key.
    pub fn token_after(&self, root_key: &RootKey, key: &ApiKey) -> String {
        let (text, instant) = match self.order.field {
            OrderField::ClientId => (String::new(), None),
            OrderField::ClientName => (key.application.client_name.clone(), None),
            OrderField::CreatedAt => (String::new(), Some(key.created_at)),
        };
        let cursor = Cursor { text, instant, client_id: key.client_id.to_string() };
        let content = serde_json::to_vec(&Continuation { query: self.fingerprint(), cursor })
            .expect("a continuation holds nothing that JSON cannot say");
        let mac = root_key.page_token_mac(&content);
        BASE64URL.encode([&mac[..MAC_LENGTH], &content].concat())
    }

    fn fingerprint(&self) -> String {
        let query = serde_json::to_vec(&(&self.filters, self.order))
            .expect("filters hold nothing that JSON cannot say");
        BASE64URL.encode(&digest::digest(&digest::SHA256, &query).as_ref()[..9])
    }
}

fn read_token(root_key: &RootKey, token: &str) -> Option<Continuation> {
    let bytes = BASE64URL.decode(token).ok()?;
    let (mac, content) = bytes.split_first_chunk::<MAC_LENGTH>()?;
    if !root_key.is_page_token_mac(content, mac) {
        return None;
    }
    let continuation: Continuation = serde_json::from_slice(content).ok()?;
    continuation.cursor.client_id.parse::<ClientId>().is_ok().then_some(continuation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn only_the_servers_own_token_is_accepted(token in ".{0,200}") {
            prop_assume!(!token.is_empty());
            let list = ListKeys { page_token: token, ..ListKeys::default() };
            prop_assert!(list.selection(&RootKey::new(&[1; 32])).is_err());
        }
    }
}
