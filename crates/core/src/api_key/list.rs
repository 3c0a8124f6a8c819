//! [`ListKeys`]: filters, order, and page tokens that continue exactly where a page ended.

use aws_lc_rs::digest;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use gatekey_credentials::{ClientId, detection::holds_credential};
use serde::{Deserialize, Serialize};

use crate::{ApiKey, Error, RootKey, Timestamp};

use super::validate::NO_CREDENTIAL;

/// The default number of keys on a page.
pub const DEFAULT_LIMIT: usize = 100;
/// The maximum number of keys on a page.
pub const MAX_LIMIT: usize = 1000;
/// The maximum number of filters of a list, and of values of a filter.
pub const MAX_FILTERS: usize = 100;

/// A field that a filter can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Field {
    /// `client_id`, text.
    ClientId,
    /// `client_name`, text.
    ClientName,
    /// `role`, a name or absent.
    Role,
    /// `client_id_issued_at`, an instant.
    CreatedAt,
    /// `updated_at`, an instant.
    UpdatedAt,
    /// The key's own `expires_at`, an instant or absent.
    ExpiresAt,
    /// `disabled_at`, an instant or absent.
    DisabledAt,
}

/// The kind of a field's values, which determines the supported conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    /// Text, ordered by bytes; supports every condition.
    Text,
    /// One of a few names; supports equality and presence.
    Name,
    /// An instant; supports order, equality and presence.
    Instant,
}

impl Field {
    pub fn kind(self) -> FieldKind {
        match self {
            Self::ClientId | Self::ClientName => FieldKind::Text,
            Self::Role => FieldKind::Name,
            Self::CreatedAt | Self::UpdatedAt | Self::ExpiresAt | Self::DisabledAt => {
                FieldKind::Instant
            }
        }
    }
}

/// A value that a field is compared with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Operand {
    /// For text or a name.
    Text(String),
    Instant(Timestamp),
}

/// A condition on a field. An absent field is neither equal to, above nor below any value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Condition {
    In(Vec<Operand>),
    /// Absent, or another value.
    NotEqual(Operand),
    Above(Operand),
    AtLeast(Operand),
    Below(Operand),
    AtMost(Operand),
    /// Contains the text, case-sensitively.
    Contains(String),
    /// Contains the text, both in Unicode lower case.
    ContainsIgnoringCase(String),
    EndsWith(String),
    NotEndsWith(String),
    Exists,
    Absent,
}

/// Selects keys by a condition on a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Filter {
    pub field: Field,
    pub condition: Condition,
}

impl Filter {
    fn holds_credential(&self) -> bool {
        let in_operand = |operand: &Operand| match operand {
            Operand::Text(text) => holds_credential(text),
            Operand::Instant(_) => false,
        };
        match &self.condition {
            Condition::In(operands) => operands.iter().any(in_operand),
            Condition::NotEqual(operand)
            | Condition::Above(operand)
            | Condition::AtLeast(operand)
            | Condition::Below(operand)
            | Condition::AtMost(operand) => in_operand(operand),
            Condition::Contains(text)
            | Condition::ContainsIgnoringCase(text)
            | Condition::EndsWith(text)
            | Condition::NotEndsWith(text) => holds_credential(text),
            Condition::Exists | Condition::Absent => false,
        }
    }
}

/// A field that an order can name: never absent, and indexed by the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OrderField {
    ClientId,
    ClientName,
    /// `client_id_issued_at`.
    CreatedAt,
}

/// The order of a list. Client ids break ties, in the same direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    pub field: OrderField,
    /// Whether the largest value comes first.
    pub descending: bool,
}

impl Default for Order {
    fn default() -> Self {
        Self { field: OrderField::ClientId, descending: false }
    }
}

/// The last key of a page; the next page begins after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The value of the ordering field, if that is text.
    pub text: String,
    /// The value of the ordering field, if that is an instant.
    pub instant: Option<Timestamp>,
    /// Orders keys with equal values.
    pub client_id: String,
}

/// The keys to select, in which order, and where to begin.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// A key must match all of them.
    pub filters: Vec<Filter>,
    pub order: Order,
    /// Begins after this key.
    pub after: Option<Cursor>,
}

/// A request for a page of keys.
#[derive(Debug, Clone, Default)]
pub struct ListKeys {
    /// A key must match all of them.
    pub filters: Vec<Filter>,
    pub order: Order,
    /// Keys per page, at most 1,000; 0 means 100.
    pub limit: usize,
    /// From the previous page; empty for the first page.
    pub page_token: String,
}

/// A page of keys.
#[derive(Debug, Clone)]
pub struct Page {
    pub keys: Vec<ApiKey>,
    /// Empty on the last page.
    pub next_page_token: String,
}

/// The content of a page token. It is authenticated but not secret: the token's holder has already
/// seen the key it names.
#[derive(Serialize, Deserialize)]
struct Continuation {
    query: String,
    cursor: Cursor,
}

const MAC_LENGTH: usize = 16;

impl ListKeys {
    /// The maximum number of keys on the page.
    pub fn page_size(&self) -> usize {
        if self.limit == 0 { DEFAULT_LIMIT } else { self.limit.min(MAX_LIMIT) }
    }

    /// Returns the selection, with the cursor of the page token.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a filter contains a credential, or if the token was not issued here or
    /// belongs to a list with other filters or another order.
    pub fn selection(&self, root_key: &RootKey) -> Result<Selection, Error> {
        if self.filters.iter().any(Filter::holds_credential) {
            return Err(Error::invalid("filters", NO_CREDENTIAL));
        }
        let after = if self.page_token.is_empty() {
            None
        } else {
            let continuation = read_token(root_key, &self.page_token).ok_or_else(|| {
                Error::invalid(
                    "token",
                    "is not a page token of this server; start again without one",
                )
            })?;
            if continuation.query != self.fingerprint() {
                let rule = "belongs to a list with other filters or another order; start again without one";
                return Err(Error::invalid("token", rule));
            }
            Some(continuation.cursor)
        };
        Ok(Selection { filters: self.filters.clone(), order: self.order, after })
    }

    /// Returns the page token that continues after a key.
    pub fn token_after(&self, root_key: &RootKey, key: &ApiKey) -> String {
        let (text, instant) = match self.order.field {
            OrderField::ClientId => (String::new(), None),
            OrderField::ClientName => (key.application.client_name.clone(), None),
            OrderField::CreatedAt => (String::new(), Some(key.created_at)),
        };
        let cursor = Cursor { text, instant, client_id: key.client_id.to_string() };
        let content = serde_json::to_vec(&Continuation { query: self.fingerprint(), cursor })
            .expect("a continuation can be written as JSON");
        let mac = root_key.page_token_mac(&content);
        BASE64URL.encode([&mac[..MAC_LENGTH], &content].concat())
    }

    fn fingerprint(&self) -> String {
        let query = serde_json::to_vec(&(&self.filters, self.order))
            .expect("filters can be written as JSON");
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
