//! API keys: their fields and rules, and the use cases on them.

mod application;
mod change;
mod facts;
mod key;
mod lifetimes;
mod limits;
pub mod list;
mod patch;
mod quota;
pub mod redirect_uri;
mod replay;
mod restrictions;
mod roles;
mod scope;
mod secret;
mod use_cases;
mod validate;

pub use application::{
    Application, ApplicationType, ConsentMethod, DEFAULT_REDIRECT_URI, GrantType, ResponseType,
    TokenEndpointAuthMethod,
};
pub use change::{
    Assignment, KeyChange, LastAdmin, Rotation, Switch, TooManySecrets, raised_epoch,
};
pub(crate) use facts::MAX_ENDED;
pub use facts::{KeyFacts, LimitFacts};
pub use key::ApiKey;
pub use lifetimes::Lifetimes;
pub use limits::{InvalidRate, Limits, MAX_LIMIT_ENTRIES, Rate};
pub use patch::ApiKeyPatch;
pub use quota::{Exhausted, Quota, Remaining};
pub use replay::{RememberedCreate, Replay};
pub use restrictions::Restrictions;
pub use roles::Roles;
pub use scope::Scope;
pub use secret::{EndedSecret, MAX_SECRETS, SecretFacts, StoredSecret};
pub use use_cases::{ApiKeys, CreateApiKey, REPLAY_LIMIT, REPLAY_WINDOW, RotateSecret, WithSecret};
pub use validate::{MAX_GRACE, MAX_LIST_LENGTH, MAX_NAME_LENGTH, MAX_URI_LENGTH};
