//! A client for the API keys of a Flyte or Union endpoint: create, list, rotate and delete keys,
//! and log in with them.
//!
//! ```no_run
//! use gatekey_client::{ApiKey, Client};
//!
//! # async fn example() -> Result<(), gatekey_client::Error> {
//! let client = Client::from_env()?;
//! let key = ApiKey::create(&client, "ci-pipeline").await?;
//! println!("export FLYTE_API_KEY={}", key.encoded_credentials().unwrap_or_default());
//! # Ok(())
//! # }
//! ```
//!
//! # Overview
//! - [`Client`] and [`ClientBuilder`]: a server, and the credentials of an API key. Missing
//!   settings come from an [`Environment`].
//! - [`ApiKey`]: the five operations of the public API, which Union's servers have as well, and the
//!   operations that only a Gatekey server has. The latter return [`KeyDetails`].
//! - [`TokenCache`]: access tokens, to share between clients.
//! - [`Verifier`]: verifies access tokens, for an API that is called with them, without a request
//!   to the issuer.
//! - [`Error`]: the error of all operations, with predicates.
//! - [`json`]: API keys as proto3 JSON.
//! - [`blocking`]: the same operations without an async runtime.
//!
//! Except for [`blocking`], the crate needs a Tokio runtime with I/O and time enabled.

#![warn(missing_docs)]

mod access_token;
mod api_key;
mod api_key_service;
mod apps_service;
pub mod blocking;
mod builder;
mod client;
mod create;
mod credentials;
mod details;
mod endpoint;
mod environment;
mod error;
mod failed;
mod flyte_config;
pub mod json;
mod jwks;
mod listing;
mod login;
mod protocol;
mod random;
mod retry;
mod settings;
mod single_flight;
mod token;
mod token_request;
mod transport;
mod user_info;
mod verifier;

pub use access_token::{Claims, Rejection};
pub use api_key::ApiKey;
pub use api_key_service::{RotateOptions, SettingsUpdate};
pub use apps_service::{ApiKeys, UpdateOptions};
pub use builder::ClientBuilder;
pub use client::Client;
pub use create::CreateOptions;
pub use details::{KeyDetails, SecretDetails};
pub use environment::{Environment, VARIABLES};
pub use error::Error;
pub use gatekey_credentials::jwt::Algorithm;
#[doc(hidden)]
pub use gatekey_credentials::text::printable;
pub use gatekey_credentials::{ClientId, EncodedCredentials, PlainSecret, Role};
/// The message that [`ApiKey::pb2`] returns.
pub use gatekey_proto::cloudidl::identity::App;
pub use listing::Listing;
pub use protocol::Protocol;
pub use token::TokenCache;
pub use user_info::UserInfo;
pub use verifier::{Verifier, VerifierBuilder, VerifyError};

/// Compiles the examples in the README.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
