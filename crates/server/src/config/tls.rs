//! `[tls]`: how connections are secured.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::invalid_setting::Problems;

/// How connections are secured.
///
/// Without any of these settings the server creates a private CA and serves a certificate of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Section {
    /// Certificate chain of the server, a PEM file; reloaded when it changes.
    #[schemars(extend(
        "x-flag" = "--tls-cert",
        "x-value" = "FILE",
        "x-group" = "certificate",
        "x-unset" = "a certificate of the private CA, unless plaintext"
    ))]
    pub(super) cert_file: Option<PathBuf>,
    /// Private key of the certificate, a PEM file.
    #[schemars(extend(
        "x-flag" = "--tls-key",
        "x-value" = "FILE",
        "x-group" = "certificate",
        "x-unset" = "the key of that certificate"
    ))]
    pub(super) key_file: Option<PathBuf>,
    /// Plain HTTP instead of TLS: only on a loopback address or behind `server.trusted_proxies`.
    #[schemars(extend("x-flag" = "--plaintext", "x-group" = "certificate"))]
    pub(super) plaintext: bool,
}

/// How connections are secured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsMode {
    /// With a certificate of the server's private CA.
    PrivateCa,
    /// With a certificate chain and a private key from PEM files.
    Files { cert: PathBuf, key: PathBuf },
    /// Not at all.
    Plaintext,
}

impl Section {
    pub(super) fn check(&self, is_shielded: bool, problems: &mut Problems) -> TlsMode {
        let mode = match (&self.cert_file, &self.key_file, self.plaintext) {
            (None, None, false) => TlsMode::PrivateCa,
            (Some(cert), Some(key), false) => {
                TlsMode::Files { cert: cert.clone(), key: key.clone() }
            }
            (Some(_), None, false) => {
                problems.add("tls.cert_file", "requires tls.key_file");
                TlsMode::PrivateCa
            }
            (None, Some(_), false) => {
                problems.add("tls.key_file", "requires tls.cert_file");
                TlsMode::PrivateCa
            }
            (cert, key, true) => {
                if cert.is_some() || key.is_some() {
                    problems.add(
                        "tls.plaintext",
                        "cannot be combined with tls.cert_file and tls.key_file",
                    );
                }
                TlsMode::Plaintext
            }
        };
        if mode == TlsMode::Plaintext && !is_shielded {
            let rule = "would send secrets unencrypted beyond this machine; listen on 127.0.0.1, use TLS, or name the \
                        proxy that terminates TLS in server.trusted_proxies";
            problems.add("tls.plaintext", rule);
        }
        mode
    }
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{broken, broken_on, resolve_on};

    #[test]
    fn plaintext_beyond_loopback_needs_a_trusted_proxy() {
        assert_eq!(broken_on("0.0.0.0:8080", "[tls]\nplaintext = true"), ["tls.plaintext"]);
        let toml = r#"
            [server]
            trusted_proxies = ["10.0.0.7"]
            public_url = "https://keys.example.com"
            [tls]
            plaintext = true
        "#;
        assert!(resolve_on("0.0.0.0:8080", toml).is_ok());
        assert!(resolve_on("0.0.0.0:8080", &toml.replace("10.0.0.7", "10.42.0.0/16")).is_ok());
    }

    #[test]
    fn certificate_and_key_go_together_and_exclude_plaintext() {
        assert_eq!(broken("[tls]\ncert_file = \"c.pem\""), ["tls.cert_file"]);
        assert_eq!(broken("[tls]\nkey_file = \"k.pem\""), ["tls.key_file"]);
        assert_eq!(broken("[tls]\nkey_file = \"k.pem\"\nplaintext = true"), ["tls.plaintext"]);
        let all = "[tls]\ncert_file = \"c.pem\"\nkey_file = \"k.pem\"\nplaintext = true";
        assert_eq!(broken(all), ["tls.plaintext"]);
    }
}
