//! A new secret, encoded for Gatekey's and for Flyte's tools.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use gatekey_client::{EncodedCredentials, PlainSecret};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    Key,
    secret::print_once,
    text::{bold, dim, note, printable, shell_quoted, warning_word},
};
use crate::{args::Format, data_dir::CA_BUNDLE_FILE};

/// A key with its secret, which is shown only once.
pub(crate) struct Credentials<'a> {
    /// The URL of the server.
    pub(crate) url: &'a str,
    /// The host, with the port unless it is 443.
    pub(crate) endpoint: &'a str,
    pub(crate) client_id: &'a str,
    pub(crate) client_secret: &'a str,
    pub(crate) organization: &'a str,
    pub(crate) ca_file: Option<&'a Path>,
}

/// The members that commands with a new secret add to a key.
#[derive(Serialize, JsonSchema)]
pub(crate) struct WithSecret<'a> {
    #[serde(flatten)]
    key: &'a Key,
    /// The secret
    client_secret: &'a str,
    /// The URL of the server
    endpoint: &'a str,
    /// Everything that `GATEKEY_API_KEY` needs: base64 of host, client id, secret and organization
    encoded_credentials: &'a str,
    /// The certificate file of a private CA, which clients must trust
    ca_file: Option<&'a Path>,
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

    /// Prints the key and its secret. `made` says what happened, and `another` how to get another
    /// secret, in case this one cannot be printed.
    pub(crate) fn print(
        &self,
        key: &Key,
        format: Format,
        made: &str,
        another: &str,
    ) -> anyhow::Result<()> {
        let made = format!("{made}, but its secret");
        let text = match format.notation() {
            Some(notation) => notation.text(&WithSecret {
                key,
                client_secret: self.client_secret,
                endpoint: self.url,
                encoded_credentials: self.encoded()?.expose(),
                ca_file: self.ca_file,
            }),
            None if format == Format::Env => self.exports(),
            None => self.text(),
        };
        let lost = format!("{another} gives it another");
        match text {
            Ok(text) => print_once(&text, &made, &lost)?,
            // The secret exists whatever is wrong with the rest of the answer.
            Err(error) => {
                let client_id = self.client_id;
                let secret = self.client_secret;
                let text =
                    format!("client id            {client_id}\nclient secret        {secret}");
                print_once(&text, &made, &lost)?;
                return Err(error);
            }
        }
        if format == Format::Text {
            let warning = "the secret is shown only once, and cannot be retrieved later";
            note(&format!("{} {warning}", warning_word()));
        }
        Ok(())
    }

    fn text(&self) -> anyhow::Result<String> {
        let mut text = String::new();
        let encoded = self.encoded()?;
        for (title, value) in [
            ("client id          ", &*bold(&printable(self.client_id))),
            ("client secret      ", &printable(self.client_secret)),
            ("endpoint           ", &printable(self.url)),
            ("encoded credentials", encoded.expose()),
        ] {
            writeln!(text, "{}  {value}", dim(title))?;
        }
        if let Some(ca_file) = self.ca_file {
            let shown = ca_file.display().to_string();
            writeln!(text, "{}  {}", dim("CA certificate     "), printable(&shown))?;
        }
        writeln!(text, "\n{}\n", bold("Use it with Gatekey's tools:"))?;
        text.push_str(&self.gatekey_lines()?);
        writeln!(text, "\n{}\n", bold("Use it with Flyte's tools:"))?;
        text.push_str(&self.flyte_lines()?);
        text.truncate(text.trim_end().len());
        Ok(text)
    }

    fn exports(&self) -> anyhow::Result<String> {
        let text = format!("{}{}", self.gatekey_lines()?, self.flyte_lines()?);
        Ok(text.trim_end().to_owned())
    }

    /// Lines for a shell that make Gatekey's own tools use the key.
    pub(crate) fn gatekey_lines(&self) -> anyhow::Result<String> {
        let mut lines = format!("export GATEKEY_API_KEY={}\n", self.encoded()?.expose());
        if self.url.starts_with("http://") {
            // A key contains no scheme.
            writeln!(lines, "export GATEKEY_ENDPOINT={}", shell_quoted_url(self.url))?;
        }
        if let Some(ca_file) = self.ca_file {
            let quoted = shell_quoted(&ca_file.display().to_string());
            writeln!(lines, "export GATEKEY_CA_FILE={quoted}")?;
        }
        Ok(lines)
    }

    /// Lines for a shell that make Flyte's tools use the key.
    pub(crate) fn flyte_lines(&self) -> anyhow::Result<String> {
        let mut lines = String::new();
        if let Some(bundle) = self.bundle() {
            let quoted = shell_quoted(&bundle.display().to_string());
            writeln!(lines, "export SSL_CERT_FILE={quoted}")?;
            writeln!(lines, "export GRPC_DEFAULT_SSL_ROOTS_FILE_PATH={quoted}")?;
        }
        if let Some(warning) = self.flyte_warning() {
            writeln!(lines, "# {warning}")?;
        }
        writeln!(lines, "export FLYTE_API_KEY={}", self.encoded_for_flyte()?.expose())?;
        Ok(lines)
    }

    /// What Flyte's tools need beside the key.
    fn flyte_warning(&self) -> Option<String> {
        let flags = flyte_flags(self.url, self.endpoint);
        let flags = flags.trim_end();
        let needs = match (port_of(self.endpoint), self.url.starts_with("http://")) {
            (Some(port), false) => format!("Flyte's tools drop the port {port} from a key"),
            (Some(port), true) => {
                format!("Flyte's tools drop the port {port} from a key, and expect HTTPS")
            }
            (None, true) => "Flyte's tools expect HTTPS".to_owned(),
            (None, false) => return None,
        };
        Some(format!("{needs}: use them with {flags}"))
    }

    /// The bundle beside the certificate of the private CA: Flyte's tools trust a file instead of
    /// the system's certificates.
    fn bundle(&self) -> Option<PathBuf> {
        let bundle = self.ca_file?.with_file_name(CA_BUNDLE_FILE);
        bundle.is_file().then_some(bundle)
    }
}

/// The flags that Flyte's tools need for a server, with a space after them; often none.
pub(crate) fn flyte_flags(url: &str, endpoint: &str) -> String {
    let is_plain = url.starts_with("http://");
    let mut flags = String::new();
    if is_plain || port_of(endpoint).is_some() {
        let _ = write!(flags, "--endpoint {endpoint} ");
    }
    if is_plain {
        flags.push_str("--insecure ");
    }
    flags
}

fn shell_quoted_url(url: &str) -> String {
    if url.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":/.-[]_".contains(&byte)) {
        url.to_owned()
    } else {
        shell_quoted(url)
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
