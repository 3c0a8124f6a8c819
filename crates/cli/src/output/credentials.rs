//! A new secret, encoded for Gatekey's and for Flyte's tools.

use std::path::Path;

use gatekey_client::{EncodedCredentials, PlainSecret};
use serde_json::json;

use super::text::{bold, dim, shell_quoted, warning_word};
use crate::args::Format;

/// A key with its secret, which is shown only once.
pub(crate) struct Credentials<'a> {
    /// The host, with the port unless it is 443.
    pub(crate) endpoint: &'a str,
    pub(crate) client_id: &'a str,
    pub(crate) client_secret: &'a str,
    pub(crate) organization: &'a str,
    pub(crate) ca_file: Option<&'a Path>,
}

impl Credentials<'_> {
    /// Encodes the credentials for Gatekey's own tools: the endpoint may have a port.
    pub(crate) fn encoded(&self) -> anyhow::Result<PlainSecret> {
        self.encoded_for(self.endpoint)
    }

    /// Encodes the credentials for Flyte's tools, which cannot decode an endpoint with a port.
    pub(crate) fn encoded_for_flyte(&self) -> anyhow::Result<PlainSecret> {
        self.encoded_for(bare_host(self.endpoint))
    }

    fn encoded_for(&self, endpoint: &str) -> anyhow::Result<PlainSecret> {
        let secret = PlainSecret::new(self.client_secret);
        Ok(EncodedCredentials::new(endpoint, self.client_id, secret, self.organization)?.encode())
    }

    pub(crate) fn print(&self, format: Format) -> anyhow::Result<()> {
        let encoded = self.encoded()?;
        if let Some(notation) = format.notation() {
            return notation.print(&json!({
                "endpoint": self.endpoint,
                "client_id": self.client_id,
                "client_secret": self.client_secret,
                "encoded_credentials": encoded.expose(),
                "ca_file": self.ca_file,
            }));
        }
        if format == Format::Env {
            say!("export GATEKEY_API_KEY={}", encoded.expose())?;
            if let Some(port) = port_of(self.endpoint) {
                say!(
                    "# Flyte's tools drop the port {port} from a key: use them with --endpoint {}",
                    self.endpoint
                )?;
            }
            say!("export FLYTE_API_KEY={}", self.encoded_for_flyte()?.expose())?;
            if let Some(ca_file) = self.ca_file {
                say!("export GATEKEY_CA_FILE={}", shell_quoted(&ca_file.display().to_string()))?;
            }
            return Ok(());
        }
        eprintln!(
            "{} the secret is shown only once, and cannot be retrieved later",
            warning_word()
        );
        say!("{}  {}", dim("client id          "), bold(self.client_id))?;
        say!("{}  {}", dim("client secret      "), self.client_secret)?;
        say!("{}  {}", dim("endpoint           "), self.endpoint)?;
        say!("{}  {}", dim("encoded credentials"), encoded.expose())?;
        if let Some(ca_file) = self.ca_file {
            say!("{}  {}", dim("CA certificate     "), ca_file.display())?;
        }
        Ok(())
    }
}

/// The endpoint without its port.
pub(crate) fn bare_host(endpoint: &str) -> &str {
    match port_of(endpoint) {
        Some(port) => {
            endpoint.strip_suffix(port).and_then(|rest| rest.strip_suffix(':')).unwrap_or(endpoint)
        }
        None => endpoint,
    }
}

/// The port of an endpoint without a scheme; `None` for an IPv6 address without a port.
pub(crate) fn port_of(endpoint: &str) -> Option<&str> {
    let (_, port) = endpoint.rsplit_once(':')?;
    (!port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())).then_some(port)
}
