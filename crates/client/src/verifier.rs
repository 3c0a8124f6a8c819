//! [`Verifier`]: verifies access tokens without a call to their issuer.

use std::{
    fmt, fs,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use gatekey_credentials::jwt::Algorithm;
use gatekey_outbound::Proxies;
use tokio::time::Instant;

use crate::{
    Error, Protocol,
    access_token::{Claims, Rejection, UnverifiedToken},
    jwks::{KeySet, Source},
    single_flight::{Freshness, SingleFlight},
    transport::{Plaintext, Transport, TrustedCertificates, parse_authorities},
};

const DEFAULT_REFRESH_INTERVAL: Duration = Duration::from_secs(30);
const DEFAULT_MAX_AGE: Duration = Duration::from_mins(5);
const DEFAULT_MAX_STALE: Duration = Duration::from_hours(1);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Verifies access tokens (RFC 9068 section 4) of a Gatekey server, or of another issuer of such
/// tokens, with the keys that the issuer publishes.
///
/// Cloning is cheap, and clones share the keys. The verifier fetches the keys when it gets its
/// first token, when they are older than [`max_age`](VerifierBuilder::max_age), and when a token
/// names an unknown key. A rotated signing key is therefore known with its first token. It fetches
/// at most once per [interval](VerifierBuilder::refresh_interval), however many tokens or made-up
/// key ids arrive.
///
/// # Limitations
/// The verifier never asks the issuer about a token. It accepts a token until its `exp` even if the
/// token was revoked, or its API key was disabled, deleted or rotated; nor does it know the key's
/// role. If that is too late, introspect the token (RFC 7662), or configure a shorter token
/// lifetime.
///
/// ```no_run
/// # async fn example(token: &str) -> Result<(), Box<dyn std::error::Error>> {
/// use gatekey_client::{Verifier, VerifyError};
///
/// let (issuer, audience) = ("https://keys.example.com", "https://flyte.example.com");
/// let verifier = Verifier::builder(issuer, audience).build()?;
/// match verifier.verify(token).await {
///     Ok(claims) => println!("called by {}", claims.client_id),
///     Err(VerifyError::Rejected(why)) => println!("401: {why}"),
///     Err(VerifyError::KeysUnavailable(error)) => println!("503: {error}"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Verifier(Arc<Inner>);

struct Inner {
    issuer: String,
    audiences: Vec<String>,
    algorithms: Vec<Algorithm>,
    leeway: Duration,
    refresh_interval: Duration,
    max_age: Duration,
    max_stale: Duration,
    clock: Clock,
    source: Source,
    keys: SingleFlight<KeySet>,
    last_fetch: Mutex<Option<LastFetch>>,
}

struct LastFetch {
    ended_at: Instant,
    failure: Option<Error>,
}

type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Why a token could not be verified.
#[derive(Debug, Clone, thiserror::Error)]
pub enum VerifyError {
    /// The token is invalid: an API responds with 401.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The issuer's keys cannot be fetched, so the token may be valid: an API responds with 503.
    #[error("could not verify the token: {0}")]
    KeysUnavailable(#[source] Error),
}

impl Verifier {
    /// Starts to build a verifier of the issuer's tokens for an audience.
    ///
    /// The audience names the API that receives the tokens. Gatekey's issuer is its public URL,
    /// which is also its default audience.
    pub fn builder(issuer: impl Into<String>, audience: impl Into<String>) -> VerifierBuilder {
        VerifierBuilder {
            issuer: issuer.into(),
            audiences: vec![audience.into()],
            algorithms: Algorithm::ALL.to_vec(),
            jwks_uri: None,
            ca_files: Vec::new(),
            ca_pems: Vec::new(),
            plaintext: false,
            proxies: Proxies::default(),
            leeway: Duration::ZERO,
            refresh_interval: DEFAULT_REFRESH_INTERVAL,
            max_age: DEFAULT_MAX_AGE,
            max_stale: DEFAULT_MAX_STALE,
            timeout: DEFAULT_TIMEOUT,
            #[expect(
                clippy::disallowed_methods,
                reason = "the default, which VerifierBuilder::clock replaces"
            )]
            clock: Arc::new(SystemTime::now),
        }
    }

    /// Verifies a token, without `Bearer` before it, and returns its claims.
    ///
    /// # Errors
    /// [`VerifyError::Rejected`] with the first rule that the token breaks, or
    /// [`VerifyError::KeysUnavailable`] if the keys cannot be fetched.
    pub async fn verify(&self, token: &str) -> Result<Claims, VerifyError> {
        let token = UnverifiedToken::read(token)?;
        if !self.0.algorithms.contains(&token.algorithm) {
            return Err(Rejection::Algorithm.into());
        }
        let keys = self.keys_for(&token).await?;
        let mut candidates = keys.candidates(token.kid.as_deref(), token.algorithm).peekable();
        if candidates.peek().is_none() {
            return Err(self.unknown_key());
        }
        if !candidates.any(|key| key.accepts(token.signed.as_bytes(), &token.signature)) {
            return Err(Rejection::BadSignature.into());
        }
        let claims = serde_json::from_slice(&token.claims).map_err(|_| Rejection::Malformed)?;
        self.check(&claims)?;
        Ok(claims)
    }

    /// Returns the keys. Fetches them again if the token's key is missing, but not within
    /// `refresh_interval` of the last fetch.
    async fn keys_for(&self, token: &UnverifiedToken<'_>) -> Result<Arc<KeySet>, VerifyError> {
        let inner = &*self.0;
        let may_fetch = || {
            let last = inner.last_fetch.lock().unwrap_or_else(PoisonError::into_inner);
            last.as_ref().is_none_or(|last| last.ended_at.elapsed() >= inner.refresh_interval)
        };
        let freshness = |keys: &KeySet| {
            let age = keys.fetched_at().elapsed();
            let known = keys.candidates(token.kid.as_deref(), token.algorithm).next().is_some();
            match () {
                () if !may_fetch() && age < inner.max_stale => Freshness::Fresh,
                () if !known || age >= inner.max_stale => Freshness::Expired,
                () if age >= inner.max_age => Freshness::Aging,
                () => Freshness::Fresh,
            }
        };
        if inner.keys.kept().is_none_or(|keys| keys.fetched_at().elapsed() >= inner.max_stale)
            && !may_fetch()
            && let Some(failure) = self.last_failure()
        {
            return Err(VerifyError::KeysUnavailable(failure));
        }
        inner.keys.get(freshness, || self.fetch()).await.map_err(VerifyError::KeysUnavailable)
    }

    async fn fetch(&self) -> Result<KeySet, Error> {
        let outcome = self.0.source.fetch().await;
        let last = LastFetch { ended_at: Instant::now(), failure: outcome.as_ref().err().cloned() };
        *self.0.last_fetch.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
        outcome
    }

    fn last_failure(&self) -> Option<Error> {
        let last = self.0.last_fetch.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().and_then(|last| last.failure.clone())
    }

    /// A missing key proves nothing if the last fetch failed.
    fn unknown_key(&self) -> VerifyError {
        match self.last_failure() {
            Some(failure) => VerifyError::KeysUnavailable(failure),
            None => Rejection::UnknownKey.into(),
        }
    }

    fn check(&self, claims: &Claims) -> Result<(), Rejection> {
        let inner = &*self.0;
        let now = (inner.clock)().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let (now, leeway) = (saturating(now), saturating(inner.leeway.as_secs()));
        if claims.iss != inner.issuer {
            return Err(Rejection::WrongIssuer);
        }
        if !claims.aud.iter().any(|audience| inner.audiences.contains(audience)) {
            return Err(Rejection::WrongAudience);
        }
        if now >= claims.exp.saturating_add(leeway) {
            return Err(Rejection::Expired);
        }
        if claims.nbf.is_some_and(|nbf| now < nbf.saturating_sub(leeway)) {
            return Err(Rejection::NotYetValid);
        }
        if claims.sub.is_empty() || claims.client_id.is_empty() {
            return Err(Rejection::Malformed);
        }
        Ok(())
    }
}

fn saturating(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

impl fmt::Debug for Verifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { issuer, audiences, .. } = &*self.0;
        formatter
            .debug_struct("Verifier")
            .field("issuer", issuer)
            .field("audiences", audiences)
            .finish_non_exhaustive()
    }
}

/// Builds a [`Verifier`].
///
/// ```
/// use std::time::Duration;
/// use gatekey_client::{Algorithm, Verifier};
///
/// let verifier = Verifier::builder("https://keys.example.com", "https://flyte.example.com")
///     .audience("https://other.example.com")
///     .algorithms([Algorithm::ES256])
///     .leeway(Duration::from_secs(5))
///     .build()?;
/// # Ok::<(), gatekey_client::Error>(())
/// ```
#[must_use = "a builder does nothing before build()"]
pub struct VerifierBuilder {
    issuer: String,
    audiences: Vec<String>,
    algorithms: Vec<Algorithm>,
    jwks_uri: Option<String>,
    ca_files: Vec<PathBuf>,
    ca_pems: Vec<Vec<u8>>,
    plaintext: bool,
    proxies: Proxies,
    leeway: Duration,
    refresh_interval: Duration,
    max_age: Duration,
    max_stale: Duration,
    timeout: Duration,
    clock: Clock,
}

impl VerifierBuilder {
    /// Accepts another audience as well.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audiences.push(audience.into());
        self
    }

    /// Sets the accepted algorithms. Defaults to [`Algorithm::ALL`].
    pub fn algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.algorithms = algorithms.into_iter().collect();
        self
    }

    /// Sets the URL of the issuer's keys (JWKS). Defaults to the one in the issuer's metadata (RFC
    /// 8414, or OpenID Connect Discovery).
    pub fn jwks_uri(mut self, uri: impl Into<String>) -> Self {
        self.jwks_uri = Some(uri.into());
        self
    }

    /// Trusts the CA certificates in a PEM file, in addition to the system's. May be called
    /// repeatedly.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_files.push(path.into());
        self
    }

    /// Trusts CA certificates in PEM, in addition to the system's. May be called repeatedly.
    pub fn ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca_pems.push(pem.into());
        self
    }

    /// Allows `http` URLs for the issuer and its keys. Defaults to false: only an issuer whose URL
    /// has a loopback address, such as `http://127.0.0.1:8443`, needs no permission.
    ///
    /// Anyone on the network path can then forge tokens.
    pub fn plaintext(mut self, plaintext: bool) -> Self {
        self.plaintext = plaintext;
        self
    }

    /// Fetches through an HTTP or SOCKS proxy, such as `http://proxy.example.com:3128`, except from
    /// loopback hosts. Defaults to none.
    pub fn proxy(mut self, url: &str) -> Self {
        self.proxies = Proxies::of(url, "the given proxy");
        self
    }

    /// Fetches through the proxies of the environment: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and
    /// `NO_PROXY`, in lower or upper case, as in curl.
    pub fn proxies_from_env(mut self) -> Self {
        #[expect(clippy::disallowed_methods, reason = "the method says that it reads them")]
        let variable = |name: &str| std::env::var(name).ok();
        self.proxies = Proxies::from_variables(&variable);
        self
    }

    /// Sets the tolerated difference between this machine's clock and the issuer's, in whole
    /// seconds. Defaults to zero, because Gatekey backdates `iat` and `nbf` by five seconds.
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    /// Sets the minimum time between a fetch, even a failed one, and the next fetch for an unknown
    /// key id. A new signing key may stay unknown for as long. Defaults to 30 s.
    pub fn refresh_interval(mut self, interval: Duration) -> Self {
        self.refresh_interval = interval;
        self
    }

    /// Sets the age at which the keys are fetched again, while the current ones remain in use. A
    /// key that the issuer withdraws is accepted for about as long. Defaults to 5 minutes.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = age;
        self
    }

    /// Sets the age at which the keys are no longer used, even if no others can be fetched.
    /// Defaults to 1 hour.
    pub fn max_stale(mut self, age: Duration) -> Self {
        self.max_stale = age;
        self
    }

    /// Sets the timeout of a fetch. Defaults to 10 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the clock that `exp` and `nbf` are compared with. Defaults to the system's.
    pub fn clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Builds the verifier. Reads the CA files, but sends nothing.
    ///
    /// # Errors
    /// [`is_configuration`](Error::is_configuration) if a URL is invalid or not `https`, a CA file
    /// cannot be read, no algorithm is accepted, or an audience is empty.
    pub fn build(self) -> Result<Verifier, Error> {
        let mut trusted = TrustedCertificates::default();
        for path in &self.ca_files {
            let origin = path.display().to_string();
            let pem = fs::read(path).map_err(|error| {
                Error::configuration(format!("cannot read the CA file {origin}: {error}"))
                    .caused_by(error)
            })?;
            trusted.certificates.extend(parse_authorities(&pem, &origin)?);
            trusted.sources.push(origin);
        }
        for pem in &self.ca_pems {
            trusted.certificates.extend(parse_authorities(pem, "the builder")?);
            trusted.sources.push("the builder".to_owned());
        }
        if self.algorithms.is_empty() {
            return Err(Error::configuration(
                "no algorithm is accepted; pass at least one to `algorithms`",
            ));
        }
        if self.audiences.iter().any(String::is_empty) {
            return Err(Error::configuration("the audience must not be empty"));
        }
        let plaintext = Plaintext::new(self.plaintext, self.issuer.starts_with("http://"));
        let transport = Transport::new(trusted, plaintext, Protocol::Connect, self.proxies);
        let source = Source::new(&self.issuer, self.jwks_uri.as_deref(), transport, self.timeout)?;
        Ok(Verifier(Arc::new(Inner {
            issuer: self.issuer,
            audiences: self.audiences,
            algorithms: self.algorithms,
            leeway: self.leeway,
            refresh_interval: self.refresh_interval,
            max_age: self.max_age.min(self.max_stale),
            max_stale: self.max_stale,
            clock: self.clock,
            source,
            keys: SingleFlight::default(),
            last_fetch: Mutex::default(),
        })))
    }
}

impl fmt::Debug for VerifierBuilder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { issuer, audiences, .. } = self;
        formatter
            .debug_struct("VerifierBuilder")
            .field("issuer", issuer)
            .field("audiences", audiences)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_untrustworthy_configuration_is_refused() {
        for (issuer, jwks_uri) in [
            ("http://keys.example.com", None),
            ("http://localhost:1", None),
            ("keys.example.com", None),
            ("", None),
            ("https://keys.example.com", Some("http://keys.example.com/jwks")),
            ("https://keys.example.com", Some("/jwks")),
        ] {
            let builder = Verifier::builder(issuer, "a");
            let builder = match jwks_uri {
                Some(uri) => builder.jwks_uri(uri),
                None => builder,
            };
            assert!(builder.build().unwrap_err().is_configuration(), "{issuer} {jwks_uri:?}");
        }
        assert!(Verifier::builder("http://keys.example.com", "a").plaintext(true).build().is_ok());
        assert!(Verifier::builder("http://127.0.0.1:1", "a").build().is_ok());
        let none = Verifier::builder("https://h", "a").algorithms([]).build();
        assert!(none.unwrap_err().is_configuration());
        assert!(Verifier::builder("https://h", "").build().unwrap_err().is_configuration());
        assert!(Verifier::builder("https://h", "a").ca_file("/nonexistent").build().is_err());
    }
}
