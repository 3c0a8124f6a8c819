//! [`AcceptedCredentials`]: the encoded credentials that are for this server.

use gatekey_core::{Organization, token::TokenSettings};
use gatekey_credentials::{EncodedCredentials, encoded_credentials::bare_endpoint};
use url::{Host, Url};

use crate::principal::Refusal;

/// The encoded credentials that are for this server.
pub(crate) struct AcceptedCredentials {
    host: String,
    /// The port that clients connect to.
    port: Option<u16>,
    organization: Organization,
}

impl AcceptedCredentials {
    pub(crate) fn of(settings: &TokenSettings) -> Self {
        let url = Url::parse(&settings.issuer).ok();
        let host = url.as_ref().and_then(Url::host_str).unwrap_or_default();
        Self {
            host: without_dot(host).to_owned(),
            port: url.as_ref().and_then(Url::port_or_known_default),
            organization: Organization::new(&settings.organization, host),
        }
    }

    /// Checks that credentials are for this server.
    ///
    /// The endpoint must be the public host, with its port or without any: Flyte's clients cannot
    /// read one. A loopback host is accepted with any port, because it is the near end of a
    /// forwarded port, and names no server.
    ///
    /// # Errors
    /// [`Refusal::Endpoint`], [`Refusal::Organization`].
    pub(crate) fn check(&self, credentials: &EncodedCredentials) -> Result<(), Refusal> {
        let endpoint = format!("https://{}", bare_endpoint(credentials.endpoint()));
        let url = Url::parse(&endpoint).map_err(|_| Refusal::Endpoint)?;
        let host = url.host_str().unwrap_or_default();
        // `Url` drops the default port of its scheme.
        let port = endpoint.ends_with(":443").then_some(443).or(url.port());
        let is_same = host_is(host, &self.host) && port.is_none_or(|port| Some(port) == self.port);
        if !is_same && !is_loopback(&url) {
            return Err(Refusal::Endpoint);
        }
        if !self.organization.answers_to(credentials.organization()) {
            return Err(Refusal::Organization);
        }
        Ok(())
    }
}

fn host_is(host: &str, own: &str) -> bool {
    without_dot(host).eq_ignore_ascii_case(own)
}

fn without_dot(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => {
            let name = without_dot(name);
            name == "localhost" || name.ends_with(".localhost")
        }
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.to_canonical().is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use gatekey_credentials::PlainSecret;

    use super::*;

    fn check(public_url: &str, endpoint: &str, organization: &str) -> Result<(), Refusal> {
        let accepted = AcceptedCredentials::of(&TokenSettings {
            issuer: public_url.to_owned(),
            audiences: Vec::new(),
            lifetime: Duration::from_hours(1),
            organization: "acme".to_owned(),
            failed_authentications_per_minute: 0,
            own_changes_per_minute: 0,
        });
        let secret = PlainSecret::new("s");
        let encoded = EncodedCredentials::new(endpoint, "ci", secret, organization).unwrap();
        accepted.check(&encoded)
    }

    #[test]
    fn every_form_of_the_public_host_fits() {
        const URL: &str = "https://keys.example.com";
        for endpoint in [
            "keys.example.com",
            "Keys.Example.COM",
            "keys.example.com.",
            "keys.example.com:443",
            "https://keys.example.com/",
            "dns:///keys.example.com",
            "localhost:9000",
            "127.0.0.1:18443",
            "[::1]:8443",
        ] {
            assert_eq!(check(URL, endpoint, ""), Ok(()), "{endpoint}");
        }
        for endpoint in [
            "keys.example.com:8443",
            "other.example.com",
            "example.com",
            "keys.example.com.evil.example",
            "evil.example@keys.example.com.evil.example",
            "localhost.evil.example",
            "10.0.0.1",
            "a b",
        ] {
            assert_eq!(check(URL, endpoint, ""), Err(Refusal::Endpoint), "{endpoint}");
        }
    }

    /// Flyte's clients cannot decode an endpoint with a port.
    #[test]
    fn the_port_may_be_missing() {
        const URL: &str = "https://keys.example.com:8443";
        assert_eq!(check(URL, "keys.example.com", ""), Ok(()));
        assert_eq!(check(URL, "keys.example.com:8443", ""), Ok(()));
        assert_eq!(check(URL, "keys.example.com:443", ""), Err(Refusal::Endpoint));
        assert_eq!(check("http://localhost", "localhost:80", ""), Ok(()));
        assert_eq!(check("https://[2001:db8::1]:8443", "[2001:DB8::1]:8443", ""), Ok(()));
    }

    #[test]
    fn an_organization_must_be_the_servers() {
        let check =
            |organization| check("https://keys.example.com", "keys.example.com", organization);
        for organization in ["", "None", "acme", "keys"] {
            assert_eq!(check(organization), Ok(()), "{organization}");
        }
        assert_eq!(check("other"), Err(Refusal::Organization));
    }
}
