//! [`Endpoint`]: the address of a server.

use http::{Uri, uri::Authority};

use crate::Error;

/// Endpoints of Union's serverless offering, where the client id and organization of a key are
/// derived from the caller. Union's client has the same five.
const SERVERLESS: [&str; 5] = [
    "serverless-1.us-east-2.s.union.ai",
    "serverless-gcp.cloud-staging.union.ai",
    "utt-srv-staging-1.cloud-staging.union.ai",
    "serverless-preview.canary.unionai.cloud",
    "utt-srv-canary-1.canary.unionai.cloud",
];

/// A host, or host and port, with the choice between TLS and plaintext.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    bare: String,
    plaintext: bool,
}

impl Endpoint {
    /// Parses `https://h:p`, `dns:///h:p` or `h:p`.
    ///
    /// `http://` means `https://`, as in Flyte's clients. If `plaintext` is allowed, every endpoint
    /// without `https://` is plaintext.
    pub(crate) fn parse(text: &str, allow_plaintext: bool) -> Result<Self, Error> {
        let text = text.trim();
        let invalid = |why: &str| {
            let shown = crate::error::one_line(text);
            Error::configuration(format!(
                "invalid endpoint {shown:?}: {why}; write it as https://host:port"
            ))
        };
        let bare = gatekey_credentials::encoded_credentials::bare_endpoint(text);
        if bare.is_empty() {
            return Err(invalid("it has no host"));
        }
        if bare.contains("://") {
            return Err(invalid("its scheme is not https, http or dns"));
        }
        if bare.contains(['/', '?', '#']) {
            return Err(invalid("it has a path or query"));
        }
        if bare.contains('@') {
            return Err(invalid("it has a user name"));
        }
        let authority: Authority =
            bare.parse().map_err(|_| invalid("it is not a host and port"))?;
        let after_host = &bare[authority.host().len()..];
        let port_is_valid = after_host.is_empty()
            || after_host
                .strip_prefix(':')
                .and_then(|port| port.parse::<u16>().ok())
                .is_some_and(|port| port != 0);
        if authority.host().is_empty() || !port_is_valid {
            return Err(invalid("its host or port is invalid"));
        }
        let plaintext = allow_plaintext && !text.starts_with("https://");
        Ok(Self { bare: bare.to_owned(), plaintext })
    }

    /// Returns the endpoint without scheme, as encoded credentials contain it.
    pub(crate) fn bare(&self) -> &str {
        &self.bare
    }

    pub(crate) fn is_plaintext(&self) -> bool {
        self.plaintext
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://{}", if self.plaintext { "http" } else { "https" }, self.bare)
    }

    pub(crate) fn uri(&self) -> Uri {
        self.url().parse().expect("`parse` has checked the authority")
    }

    /// Returns the tenant of a serverless endpoint: the first label of its host.
    pub(crate) fn serverless_tenant(&self) -> Option<&str> {
        SERVERLESS.contains(&self.bare()).then(|| self.bare.split('.').next().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str, plaintext: bool) -> String {
        Endpoint::parse(text, plaintext).unwrap().url()
    }

    #[test]
    fn every_notation_means_the_same_endpoint() {
        for text in
            ["https://h:8443", "dns:///h:8443", "h:8443", "http://h:8443", " https://h:8443/ "]
        {
            assert_eq!(url(text, false), "https://h:8443");
        }
        assert_eq!(url("[::1]:8443", false), "https://[::1]:8443");
        assert_eq!(url("localhost", false), "https://localhost");
    }

    #[test]
    fn plaintext_must_be_allowed_explicitly() {
        assert_eq!(url("http://h:1", true), "http://h:1");
        assert_eq!(url("h:1", true), "http://h:1");
        assert_eq!(url("https://h:1", true), "https://h:1");
    }

    #[test]
    fn an_invalid_endpoint_is_refused_with_the_reason() {
        for (text, why) in [
            ("", "no host"),
            ("https://", "no host"),
            ("ftp://h", "scheme"),
            ("h/path", "path"),
            ("user@h", "user name"),
            ("h:port", "port"),
            ("h:0", "port"),
            ("h:70000", "port"),
            ("::1", "port"),
            ("a b", "host"),
        ] {
            let error = Endpoint::parse(text, false).unwrap_err();
            assert!(error.is_configuration());
            assert!(error.to_string().contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn serverless_endpoints_are_recognized_by_name() {
        let endpoint =
            Endpoint::parse("dns:///serverless-gcp.cloud-staging.union.ai", false).unwrap();
        assert_eq!(endpoint.serverless_tenant(), Some("serverless-gcp"));
        assert_eq!(Endpoint::parse("flyte.example.com", false).unwrap().serverless_tenant(), None);
    }
}
