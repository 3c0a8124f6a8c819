//! Connections to other servers, through the proxies that the environment names.
//!
//! # Layout
//! - [`proxies`]: which proxy leads to a URL, from the variables that curl reads as well.
//! - [`connector`]: opens connections for an HTTP client, directly or through a proxy.

pub mod connector;
pub mod proxies;

pub use self::{
    connector::{Connector, Failure, Io, PlainHttp, Stream},
    proxies::{InvalidProxy, Proxies, Proxy, VARIABLES},
};
