//! Certificates: from files or from the server's private CA.

mod certificate;
mod error;
pub mod private_ca;
pub mod reload;

pub use self::{
    certificate::{ServedCertificate, read_files, server_config},
    error::TlsError,
    private_ca::PrivateCa,
    reload::Reload,
};
