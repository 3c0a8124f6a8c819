//! [`IdentityHeaders`]: the caller's identity for the upstream. Removes every copy that a client
//! could have sent, and then sets the gate's own.
//!
//! Upstreams and the libraries in them treat different names as the same header: CGI turns
//! everything but letters and digits into underscores, and grpc-gateway passes `Grpc-Metadata-X` on
//! as `X`. So names are compared after every character but letters and digits has become `-`, and
//! without such prefixes.
//!
//! Cookies pass: the gate accepts no credential in them, and Flyte's console has its session there.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

/// The client id of the key that calls.
pub const USER: HeaderName = HeaderName::from_static("x-auth-request-user");
/// The configured e-mail address of the key.
pub const EMAIL: HeaderName = HeaderName::from_static("x-auth-request-email");
/// The roles of the key, the highest first, separated by commas.
pub const ROLES: HeaderName = HeaderName::from_static("x-auth-request-roles");
/// The organization of the server.
pub const ORGANIZATION: HeaderName = HeaderName::from_static("x-auth-request-organization");

/// The headers that the gate sets on every request that passes, with or without a value.
pub const SET: [HeaderName; 4] = [USER, EMAIL, ROLES, ORGANIZATION];

/// Normalized names that are removed.
const NAMES: &[&str] = &[
    // Credentials.
    "authorization",
    "flyte-authorization",
    "proxy-authorization",
    // What the proxy knows about the connection.
    "forwarded",
    "x-real-ip",
    "x-rewrite-url",
    // Other methods than the one that was decided about.
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    // flyteadmin's mark of a request over HTTP, which selects `disableForHttp`.
    "from-http",
    // Identities that proxies assert.
    "remote-user",
    "remote-group",
    "remote-groups",
    "remote-email",
    "remote-name",
    "x-goog-iap-jwt-assertion",
];

/// Starts of normalized names that are removed.
const PREFIXES: &[&str] = &[
    "x-auth-request-",
    "x-amzn-oidc-",
    "x-forwarded-",
    "x-original-",
    "x-envoy-",
    "x-gate-",
    "x-user-",
    "x-remote-",
    "x-webauth-",
    "x-authentik-",
    "x-pomerium-",
    "x-goog-authenticated-user-",
    "x-ms-client-principal",
    "x-ms-token-",
    "cf-access-",
];

/// The bytes that a name in [`NAMES`] or [`PREFIXES`] begins with.
const INITIALS: [bool; 256] = {
    let mut initials = [false; 256];
    let mut at = 0;
    while at < NAMES.len() {
        initials[NAMES[at].as_bytes()[0] as usize] = true;
        at += 1;
    }
    at = 0;
    while at < PREFIXES.len() {
        initials[PREFIXES[at].as_bytes()[0] as usize] = true;
        at += 1;
    }
    initials
};

/// A name that would be removed by its start, but that Flyte's clients send about themselves: the
/// organization that they work in.
const KEPT: &str = "x-user-active-org";

/// Normalized starts of names that grpc-gateway removes or adds.
const METADATA: [&str; 2] = ["grpc-metadata-", "grpcgateway-"];

/// Names in request trailers that have a meaning only in headers (RFC 9110 section 6.5.1).
const NOT_IN_TRAILERS: &[&str] = &[
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "host",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Headers that can have a credential.
const CREDENTIALS: [HeaderName; 3] = [
    header::AUTHORIZATION,
    HeaderName::from_static("flyte-authorization"),
    header::PROXY_AUTHORIZATION,
];

/// Starts of normalized names that proxies set themselves.
const OF_PROXIES: [&str; 4] = ["forwarded", "x-forwarded-", "x-real-ip", "x-envoy-"];

/// Names in `Connection` that have no effect here: the forwarder treats them by itself.
const HOP_BY_HOP: &[&str] = &["close", "keep-alive", "upgrade", "te"];

/// The identity of the caller, as the upstream receives it.
#[derive(Debug, Clone)]
pub struct Identity {
    pub user: HeaderValue,
    pub email: HeaderValue,
    pub roles: HeaderValue,
    pub organization: HeaderValue,
}

impl Identity {
    /// The identity of a request that passes without a credential.
    pub fn nobody() -> Self {
        let empty = HeaderValue::from_static("");
        Self {
            user: empty.clone(),
            email: empty.clone(),
            roles: empty.clone(),
            organization: empty,
        }
    }

    /// Returns the headers and their values: always all of them, so that no copy of a client
    /// survives in a proxy that only replaces what is there.
    pub fn into_headers(self) -> [(HeaderName, HeaderValue); 4] {
        let Self { user, email, roles, organization } = self;
        [(USER, user), (EMAIL, email), (ROLES, roles), (ORGANIZATION, organization)]
    }
}

/// Removes the identity and credential headers of clients.
#[derive(Debug, Clone)]
pub struct IdentityHeaders {
    /// The headers that can have a credential.
    credentials: Box<[HeaderName]>,
    /// The header that clients are told to send their token in, normalized.
    normalized: Box<str>,
}

impl IdentityHeaders {
    /// `token_header` is the header that clients are told to send their token in.
    pub fn new(token_header: &HeaderName) -> Self {
        let normalized = token_header.as_str().bytes().map(normalized).map(char::from);
        let mut credentials = CREDENTIALS.to_vec();
        if !credentials.contains(token_header) {
            credentials.push(token_header.clone());
        }
        Self { credentials: credentials.into(), normalized: normalized.collect() }
    }

    /// Returns the headers that can have a credential.
    pub fn credentials(&self) -> &[HeaderName] {
        &self.credentials
    }

    /// Returns whether a header of a client must not reach the upstream.
    pub fn is_removed(&self, name: &HeaderName) -> bool {
        self.is_listed(without_metadata(name.as_str()))
    }

    /// Returns whether a header must not reach an upstream behind another proxy, which itself sets
    /// the headers about the connection.
    pub fn is_claimed(&self, name: &HeaderName) -> bool {
        let bare = without_metadata(name.as_str());
        let is_of_proxy = bare.len() == name.as_str().len()
            && OF_PROXIES.iter().any(|listed| starts_with(bare, listed));
        self.is_listed(bare) && !is_of_proxy
    }

    fn is_listed(&self, name: &str) -> bool {
        // Most headers are in no list, and their first letter shows it.
        if !name.bytes().next().is_some_and(|first| self.begins_a_listed(normalized(first))) {
            return false;
        }
        let equals = |listed: &str| listed.len() == name.len() && starts_with(name, listed);
        if equals(KEPT) {
            return false;
        }
        PREFIXES.iter().any(|prefix| starts_with(name, prefix))
            || NAMES.iter().any(|listed| equals(listed))
            || equals(&self.normalized)
    }

    /// Returns whether a name in a list begins with this normalized byte.
    fn begins_a_listed(&self, first: u8) -> bool {
        INITIALS[usize::from(first)] || self.normalized.as_bytes().first() == Some(&first)
    }

    /// Removes headers that the upstream must not get from a client: credentials, identities,
    /// headers of proxies, method overrides, and the names that its `Connection` lists.
    ///
    /// The check of the credential happens before, on all headers.
    pub fn remove(&self, headers: &mut HeaderMap) {
        // The credential is in most requests; the others are rare.
        headers.remove(header::AUTHORIZATION);
        self.remove_listed(headers);
        if headers.contains_key(header::CONNECTION) {
            remove_nominated(headers);
        }
    }

    /// Removes the same names from the trailers of a request, and names allowed only in headers.
    pub fn remove_from_trailers(&self, trailers: &mut HeaderMap) {
        self.remove_listed(trailers);
        for name in NOT_IN_TRAILERS {
            trailers.remove(*name);
        }
    }

    fn remove_listed(&self, headers: &mut HeaderMap) {
        // Allocates nothing while nothing is found.
        let found: Vec<HeaderName> =
            headers.keys().filter(|name| self.is_removed(name)).cloned().collect();
        for name in found {
            headers.remove(name);
        }
    }
}

/// Sets the identity of the caller, and the token that replaces its credential. Must come after
/// [`IdentityHeaders::remove`].
pub fn set(headers: &mut HeaderMap, identity: Identity, token: Option<HeaderValue>) {
    for (name, value) in identity.into_headers() {
        headers.insert(name, value);
    }
    if let Some(token) = token {
        headers.insert(header::AUTHORIZATION, token);
    }
}

/// Removes the headers that `Connection` names (RFC 9110 section 7.6.1).
fn remove_nominated(headers: &mut HeaderMap) {
    let lines = headers.get_all(header::CONNECTION).iter();
    let names: Vec<HeaderName> = lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .filter(|name| !HOP_BY_HOP.contains(&name.as_str()))
        .collect();
    for name in names {
        headers.remove(name);
    }
}

/// Returns a name without the prefixes that grpc-gateway removes or adds.
fn without_metadata(mut name: &str) -> &str {
    while let Some(prefix) = METADATA.into_iter().find(|prefix| starts_with(name, prefix)) {
        name = &name[prefix.len()..];
    }
    name
}

/// Returns whether a header's name starts with a normalized text.
fn starts_with(name: &str, listed: &str) -> bool {
    let name = name.as_bytes();
    name.len() >= listed.len()
        && listed.bytes().zip(name).all(|(listed, byte)| listed == normalized(*byte))
}

/// Lower-cases letters, and turns everything but letters and digits into `-`.
fn normalized(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ours() -> IdentityHeaders {
        IdentityHeaders::new(&HeaderName::from_static("x-advertised_token"))
    }

    fn is_removed(name: &str) -> bool {
        ours().is_removed(&HeaderName::try_from(name).unwrap())
    }

    #[test]
    fn every_spelling_of_an_identity_is_removed() {
        for name in [
            "authorization",
            "flyte-authorization",
            "flyte_authorization",
            "x-advertised-token",
            "x.advertised.token",
            "x-auth-request-user",
            "x_auth_request_user",
            "X.Auth-Request.User",
            "x-auth-request-anything",
            "x-amzn_oidc-data",
            "x-amzn-oidc-identity",
            "x-forwarded-for",
            "x-forwarded_uri",
            "x!original~url",
            "forwarded",
            "from_http",
            "x-http-method",
            "x_http_method_override",
            "x-method-override",
            "x-envoy-original-path",
            "x-user-subject",
            "grpc-metadata-authorization",
            "grpc_metadata.authorization",
            "grpc-metadata-grpc-metadata-flyte-authorization",
            "grpc-metadata-x-amzn-oidc-data",
            "grpc-metadata-from_http",
            "grpcgateway-authorization",
        ] {
            assert!(is_removed(name), "{name}");
        }
    }

    #[test]
    fn ordinary_headers_pass() {
        for name in [
            "accept",
            "content-type",
            "cookie",
            "connect-protocol-version",
            "forwarded-by-me",
            "grpc-metadata-x-request-id",
            "grpc-metadata-",
            "grpc-timeout",
            "te",
            "traceparent",
            "user-agent",
            "x-authorization",
            "x-request-id",
            "x-user-active-org",
            "x-amzn-trace-id",
        ] {
            assert!(!is_removed(name), "{name}");
        }
    }

    /// They are the proxy's own.
    #[test]
    fn headers_of_proxies_are_not_claimed() {
        let is_claimed = |name: &'static str| ours().is_claimed(&HeaderName::from_static(name));
        for name in ["x-forwarded-for", "x-envoy-external-address", "forwarded", "x-real-ip"] {
            assert!(!is_claimed(name), "{name}");
        }
        for name in ["x_auth_request_user", "authorization", "grpc-metadata-x-forwarded-for"] {
            assert!(is_claimed(name), "{name}");
        }
    }

    #[test]
    fn nominated_headers_are_removed() {
        let mut headers = HeaderMap::new();
        headers.append("connection", HeaderValue::from_static("upgrade, X-Secret,"));
        headers.append("connection", HeaderValue::from_static("x-other"));
        for name in ["x-secret", "x-other", "x-third", "upgrade"] {
            headers.insert(name, HeaderValue::from_static("1"));
        }
        ours().remove(&mut headers);
        assert!(headers.contains_key("upgrade") && headers.contains_key("x-third"));
        assert!(!headers.contains_key("x-secret") && !headers.contains_key("x-other"));
    }

    proptest! {
        /// Whatever a name's punctuation and letter case is, and however deep it is nested.
        #[test]
        fn no_punctuation_hides_an_identity(
            listed in prop::sample::select(
                NAMES.iter().copied().chain(SET.iter().map(HeaderName::as_str).map(|name| {
                    let name: &'static str = name.to_owned().leak();
                    name
                })).collect::<Vec<_>>()
            ),
            depth in 0_usize..3,
            marks in prop::collection::vec(prop::sample::select(b"-_.!#$%&'*+^`|~".to_vec()), 64),
            upper in prop::collection::vec(any::<bool>(), 96),
        ) {
            let name = format!("{}{listed}", METADATA[0].repeat(depth));
            let mut marks = marks.into_iter().cycle();
            let spelled: String = name.bytes().zip(upper.into_iter().cycle()).map(|(byte, upper)| {
                let byte = if byte == b'-' { marks.next().unwrap() } else { byte };
                char::from(if upper { byte.to_ascii_uppercase() } else { byte })
            }).collect();
            prop_assert!(is_removed(&spelled), "{spelled}");
        }

        /// After removal and setting, the upstream sees the gate's identity and no other.
        #[test]
        fn only_our_identity_remains(
            names in prop::collection::vec("[a-z_.-]{1,12}|x[-_.]auth[-_.]request[-_.](user|email)|authorization", 0..12)
        ) {
            let mut headers = HeaderMap::new();
            for name in names {
                headers.append(HeaderName::try_from(name).unwrap(), HeaderValue::from_static("forged"));
            }
            ours().remove(&mut headers);
            let identity = Identity { user: HeaderValue::from_static("ci"), ..Identity::nobody() };
            set(&mut headers, identity, None);
            for (name, value) in &headers {
                prop_assert!(!is_removed(name.as_str()) || SET.contains(name), "{name}");
                prop_assert!(value != "forged" || !SET.contains(name), "{name}");
            }
            prop_assert_eq!(headers.get_all(USER).iter().count(), 1);
        }
    }
}
