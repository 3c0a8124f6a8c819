//! Certificates: from files or from the server's private CA.

mod certificate;
mod error;
pub mod judge;
pub mod private_ca;
pub mod reload;

pub use self::{
    certificate::{ReadKey, ServedCertificate, read_files, server_config},
    error::TlsError,
    judge::Judge,
    private_ca::PrivateCa,
    reload::Reload,
};
