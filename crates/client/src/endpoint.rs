//! [`Endpoint`]: where a server is.

use http::{Uri, uri::Authority};

use crate::Error;

/// Endpoints of Union's serverless offering, where a key's client id and organization come from who asks.
/// The public class knows the same five by name.
const SERVERLESS: [&str; 5] = [
    "serverless-1.us-east-2.s.union.ai",
    "serverless-gcp.cloud-staging.union.ai",
    "utt-srv-staging-1.cloud-staging.union.ai",
    "serverless-preview.canary.unionai.cloud",
    "utt-srv-canary-1.canary.unionai.cloud",
];

/// Host, or host and port, and whether it is spoken to in the clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    bare: String,
    plaintext: bool,
}

impl Endpoint {
    /// Reads `https://h:p`, `dns:///h:p` or bare `h:p`. `http://` is read as `https://`, as Flyte's clients
    /// do, unless `plaintext` is allowed; then whatever does not say `https://` is spoken to in the clear.
    pub(crate) fn parse(text: &str, allow_plaintext: bool) -> Result<Self, Error> {
        let text = text.trim();
        let invalid = |why: &str| {
            let shown = crate::error::one_line(text);
            Error::configuration(format!("the endpoint {shown:?} {why}; write it like https://host:port"))
        };
        let bare = gatekey_credentials::encoded_credentials::bare_endpoint(text);
        if bare.is_empty() {
            return Err(invalid("names no host"));
        }
        if bare.contains("://") {
            return Err(invalid("has a scheme other than https, http or dns"));
        }
        if bare.contains(['/', '?', '#']) {
            return Err(invalid("has a path or query"));
        }
        if bare.contains('@') {
            return Err(invalid("has a user name"));
        }
        let authority: Authority = bare.parse().map_err(|_| invalid("is no host and port"))?;
        let after_host = &bare[authority.host().len()..];
        let port_is_good = after_host.is_empty()
            || after_host
                .strip_prefix(':')
                .and_then(|port| port.parse::<u16>().ok())
                .is_some_and(|port| port != 0);
        if authority.host().is_empty() || !port_is_good {
            return Err(invalid("has no proper host or port"));
        }
        let plaintext = allow_plaintext && !text.starts_with("https://");
        Ok(Self { bare: bare.to_owned(), plaintext })
    }

    /// As written, without scheme: what goes into an encoded key.
    pub(crate) fn bare(&self) -> &str {
        &self.bare
    }

    pub(crate) fn is_plaintext(&self) -> bool {
        self.plaintext
    }

    /// With scheme.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}", if self.plaintext { "http" } else { "https" }, self.bare)
    }

    pub(crate) fn uri(&self) -> Uri {
        self.url().parse().expect("the authority was parsed when the endpoint was")
    }

    /// The tenant, which is the first label of the host, of a serverless endpoint; none elsewhere.
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
    fn every_way_of_writing_it_means_the_same() {
        for text in ["https://h:8443", "dns:///h:8443", "h:8443", "http://h:8443", " https://h:8443/ "] {
            assert_eq!(url(text, false), "https://h:8443");
        }
        assert_eq!(url("[::1]:8443", false), "https://[::1]:8443");
        assert_eq!(url("localhost", false), "https://localhost");
    }

    #[test]
    fn only_an_explicit_choice_speaks_in_the_clear() {
        assert_eq!(url("http://h:1", true), "http://h:1");
        assert_eq!(url("h:1", true), "http://h:1");
        assert_eq!(url("https://h:1", true), "https://h:1");
    }

    #[test]
    fn what_is_no_endpoint_says_why() {
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
    fn serverless_endpoints_are_known_by_name() {
        let endpoint = Endpoint::parse("dns:///serverless-gcp.cloud-staging.union.ai", false).unwrap();
        assert_eq!(endpoint.serverless_tenant(), Some("serverless-gcp"));
        assert_eq!(Endpoint::parse("flyte.example.com", false).unwrap().serverless_tenant(), None);
    }
}
