//! API keys: their fields and rules, and the use cases on them.

mod key;
pub mod list;
pub mod redirect_uri;
mod use_cases;

pub use key::{
    ApiKey, ApiKeyPatch, Application, ApplicationType, ConsentMethod, DEFAULT_REDIRECT_URI, GrantType,
    MAX_LIST_LENGTH, MAX_NAME_LENGTH, MAX_SECRETS, MAX_URI_LENGTH, ResponseType, StoredSecret,
    TokenEndpointAuthMethod,
};
pub use use_cases::{
    ApiKeys, CreateApiKey, MAX_GRACE, REPLAY_LIMIT, REPLAY_WINDOW, RotateSecret, WithSecret,
};
