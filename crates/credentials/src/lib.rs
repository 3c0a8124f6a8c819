//! The formats that Gatekey's server and clients share: client ids, secrets, encoded credentials
//! and access tokens. The crate does no I/O.
//!
//! # Overview
//! - [`client_id`]: the identifier of an API key, and its derivation from a name.
//! - [`secret`]: the secret of an API key.
//! - [`encoded_credentials`]: endpoint, client id, secret and organization in one base64 string.
//! - [`detection`]: finds leaked secrets.
//! - [`role`]: the permissions of an API key.
//! - [`text`]: the characters of names, and text from elsewhere made printable.
//! - [`claims`] and [`jwt`]: access tokens (RFC 9068), their signing and verification.
//!
//! ```
//! use gatekey_credentials::{ClientId, EncodedCredentials};
//!
//! let client_id = ClientId::derive_from_name("CI Pipeline")?;
//! assert_eq!(client_id.as_str(), "ci-pipeline");
//!
//! let decoded = EncodedCredentials::decode("bG9jYWxob3N0Ojg0NDM6Y2k6c2VjcmV0Ok5vbmU=")?;
//! assert_eq!(decoded.endpoint(), "localhost:8443");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![warn(missing_docs)]

pub mod claims;
pub mod client_id;
pub mod detection;
pub mod encoded_credentials;
pub mod jwt;
pub mod role;
pub mod secret;
pub mod text;

pub use claims::AccessTokenClaims;
pub use client_id::ClientId;
pub use encoded_credentials::EncodedCredentials;
pub use role::Role;
pub use secret::{PlainSecret, Secret};
