//! [`Verifier`]: access tokens checked without a call to their issuer.

use std::{
    fmt, fs,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use gatekey_credentials::jwt::{Algorithm, MAX_LENGTH};
use serde::{Deserialize, Deserializer, Serialize, de::IgnoredAny};
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::{
    Error, Protocol,
    jwks::{KeySet, Source, algorithm},
    single_flight::{Freshness, SingleFlight},
    transport::{Transport, parse_authorities},
};

const DEFAULT_REFRESH_INTERVAL: Duration = Duration::from_secs(30);
const DEFAULT_MAX_AGE: Duration = Duration::from_mins(5);
const DEFAULT_MAX_STALE: Duration = Duration::from_hours(1);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Checks access tokens (RFC 9068 section 4) of a Gatekey, or of any other issuer of such tokens, with the issuer's
/// published keys.
///
/// Cloning is cheap, and clones share the keys. They are fetched when the first token comes, again when they are
/// older than [`max_age`](VerifierBuilder::max_age), and when a token names a key that is not among them: a rotated
/// signing key is known with its first token. Neither many tokens at once nor made-up key ids cause more than one
/// fetch an [interval](VerifierBuilder::refresh_interval).
///
/// # What it does not see
/// It asks nobody about the token. A token that was revoked, or whose API key was disabled, deleted or rotated, is
/// accepted until its `exp`, and the role of its key is not known here. Where that is too late, ask the issuer
/// (RFC 7662), or have tokens live shorter.
///
/// ```no_run
/// # async fn example(token: &str) -> Result<(), Box<dyn std::error::Error>> {
/// use gatekey_client::{Verifier, VerifyError};
///
/// let verifier = Verifier::builder("https://keys.example.com", "https://flyte.example.com").build()?;
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

/// When a fetch ended, and how when it failed.
struct LastFetch {
    at: Instant,
    failure: Option<Error>,
}

type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Describes a [`Verifier`].
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
    leeway: Duration,
    refresh_interval: Duration,
    max_age: Duration,
    max_stale: Duration,
    timeout: Duration,
    clock: Clock,
}

/// What an access token says (RFC 9068 section 2.2). Times are seconds since 1970 (RFC 7519 section 2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Claims {
    /// The issuer.
    pub iss: String,
    /// The subject: for an API key its client id.
    pub sub: String,
    /// The client that fetched the token: the API key's client id.
    pub client_id: String,
    /// Whom the token is for; one of them is this verifier's audience.
    #[serde(deserialize_with = "one_or_many")]
    pub aud: Vec<String>,
    /// Refused from then on.
    #[serde(deserialize_with = "seconds")]
    pub exp: i64,
    /// When it was issued.
    #[serde(deserialize_with = "seconds")]
    pub iat: i64,
    /// Refused before.
    #[serde(default, deserialize_with = "optional_seconds", skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// Identifies the token.
    pub jti: String,
    /// The granted scopes, separated by blanks; see [`Claims::scopes`].
    #[serde(default)]
    pub scope: String,
    /// All else that the token says: of a Gatekey `org`, `scp`, `epoch` and `key`.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Claims {
    /// The granted scopes (RFC 8693 section 4.2).
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        self.scope.split(' ').filter(|scope| !scope.is_empty())
    }
}

/// Why there are no claims.
#[derive(Debug, Clone, thiserror::Error)]
pub enum VerifyError {
    /// The token is not to be accepted: an API answers 401.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The issuer's keys cannot be had, so nothing is known of the token: an API answers 503.
    #[error("the token could not be checked: {0}")]
    KeysUnavailable(#[source] Error),
}

/// Why a token is rejected. Never repeats the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// Not a compact JWS of at most 8,192 bytes with the claims of an access token.
    #[error("the token is malformed")]
    Malformed,
    /// The header's `typ` is not `at+jwt`: it is another kind of token.
    #[error("the token is no access token")]
    NotAnAccessToken,
    /// The header's `alg` is not one that the verifier takes.
    #[error("the token is signed by an algorithm that is not accepted")]
    Algorithm,
    /// The header has a `crit` (RFC 7515 section 4.1.11): extensions that the verifier does not know.
    #[error("the token needs extensions that are not understood")]
    Critical,
    /// The issuer publishes no such key.
    #[error("the token is signed with an unknown key")]
    UnknownKey,
    /// The signature does not fit.
    #[error("the token's signature is wrong")]
    BadSignature,
    /// `iss` is another issuer.
    #[error("the token is of another issuer")]
    WrongIssuer,
    /// `aud` is somebody else.
    #[error("the token is for another audience")]
    WrongAudience,
    /// Before its `nbf`.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// At or after its `exp`.
    #[error("the token has expired")]
    Expired,
}

impl Verifier {
    /// Begins to describe a verifier of an issuer's tokens for an audience, which is a name of the API that is
    /// called. Gatekey's issuer is its public URL, and its audience the same unless `audiences` says otherwise.
    pub fn builder(issuer: impl Into<String>, audience: impl Into<String>) -> VerifierBuilder {
        VerifierBuilder {
            issuer: issuer.into(),
            audiences: vec![audience.into()],
            algorithms: Algorithm::ALL.to_vec(),
            jwks_uri: None,
            ca_files: Vec::new(),
            ca_pems: Vec::new(),
            plaintext: false,
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

    /// Checks a token, and gives what it says. Without `Bearer` before it.
    ///
    /// # Errors
    /// [`VerifyError::Rejected`] by the first rule that the token breaks, and [`VerifyError::KeysUnavailable`] when
    /// the keys to check it with cannot be had.
    pub async fn verify(&self, token: &str) -> Result<Claims, VerifyError> {
        let parsed = Parsed::read(token)?;
        if !self.0.algorithms.contains(&parsed.algorithm) {
            return Err(Rejection::Algorithm.into());
        }
        let keys = self.keys_for(&parsed).await?;
        let mut candidates = keys.candidates(parsed.kid.as_deref(), parsed.algorithm).peekable();
        if candidates.peek().is_none() {
            return Err(self.unknown_key());
        }
        if !candidates.any(|key| key.accepts(parsed.signed.as_bytes(), &parsed.signature)) {
            return Err(Rejection::BadSignature.into());
        }
        let claims = serde_json::from_slice(&parsed.claims).map_err(|_| Rejection::Malformed)?;
        self.check(&claims)?;
        Ok(claims)
    }

    /// The keys, fetched anew when the token's is not among them, unless that was done just now.
    async fn keys_for(&self, parsed: &Parsed<'_>) -> Result<Arc<KeySet>, VerifyError> {
        let inner = &*self.0;
        let may_fetch = || {
            let last = inner.last_fetch.lock().unwrap_or_else(PoisonError::into_inner);
            last.as_ref().is_none_or(|last| last.at.elapsed() >= inner.refresh_interval)
        };
        let freshness = |keys: &KeySet| {
            let age = keys.fetched_at().elapsed();
            let known = keys.candidates(parsed.kid.as_deref(), parsed.algorithm).next().is_some();
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
        let last = LastFetch { at: Instant::now(), failure: outcome.as_ref().err().cloned() };
        *self.0.last_fetch.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
        outcome
    }

    fn last_failure(&self) -> Option<Error> {
        let last = self.0.last_fetch.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().and_then(|last| last.failure.clone())
    }

    /// That a key is unknown is known only when the last fetch told.
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

impl VerifierBuilder {
    /// One more audience to accept.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audiences.push(audience.into());
        self
    }

    /// The algorithms to accept; by default ES256, RS256 and Ed25519, which are all that there are here.
    pub fn algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.algorithms = algorithms.into_iter().collect();
        self
    }

    /// Where the keys are published; by default what the issuer's metadata says (RFC 8414, or OpenID Connect
    /// Discovery).
    pub fn jwks_uri(mut self, uri: impl Into<String>) -> Self {
        self.jwks_uri = Some(uri.into());
        self
    }

    /// A file with CA certificates in PEM to trust besides the system's; may be given repeatedly.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_files.push(path.into());
        self
    }

    /// CA certificates in PEM to trust besides the system's; may be given repeatedly.
    pub fn ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca_pems.push(pem.into());
        self
    }

    /// Lets issuer and keys be at `http`: whoever is in between can then make tokens. For one machine; default no.
    pub fn plaintext(mut self, plaintext: bool) -> Self {
        self.plaintext = plaintext;
        self
    }

    /// By how much this machine's clock may differ from the issuer's; whole seconds, none by default. Gatekey dates
    /// its tokens five seconds back by itself.
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    /// How long after a fetch, also after a failed one, an unknown key id causes no other: 30 s by default. So long a
    /// new signing key may be unknown here.
    pub fn refresh_interval(mut self, interval: Duration) -> Self {
        self.refresh_interval = interval;
        self
    }

    /// The age at which keys are fetched anew while the old ones serve on: 5 minutes by default. About so long a key
    /// that the issuer publishes no more is accepted.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = age;
        self
    }

    /// The age at which keys serve no longer when no others can be had: 1 hour by default.
    pub fn max_stale(mut self, age: Duration) -> Self {
        self.max_stale = age;
        self
    }

    /// How long a fetch may take: 10 s by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// What tells the time; by default the machine.
    pub fn clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// The verifier. Nothing is sent yet.
    ///
    /// # Errors
    /// [`is_configuration`](Error::is_configuration) for an issuer or address that is no URL, or not `https`; for a
    /// CA file that cannot be read; when no algorithm is left.
    pub fn build(self) -> Result<Verifier, Error> {
        let mut authorities = Vec::new();
        for path in &self.ca_files {
            let origin = path.display().to_string();
            let pem = fs::read(path).map_err(|error| {
                Error::configuration(format!("the CA file {origin} cannot be read")).caused_by(error)
            })?;
            authorities.extend(parse_authorities(&pem, &origin)?);
        }
        for pem in &self.ca_pems {
            authorities.extend(parse_authorities(pem, "the builder")?);
        }
        if self.algorithms.is_empty() {
            return Err(Error::configuration("no algorithm is left to accept"));
        }
        if self.audiences.iter().any(String::is_empty) {
            return Err(Error::configuration("an audience is empty"));
        }
        let transport = Transport::new(authorities, self.plaintext, Protocol::Connect);
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

/// A token taken apart; nothing of it is believed yet.
struct Parsed<'t> {
    signed: &'t str,
    claims: Vec<u8>,
    signature: Vec<u8>,
    algorithm: Algorithm,
    kid: Option<String>,
}

/// The members of a JOSE header that mean something here. Others are ignored (RFC 7515 section 4), so that `jku`,
/// `jwk` and `x5u` never get a meaning.
#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: Option<String>,
    kid: Option<String>,
    crit: Option<IgnoredAny>,
}

impl<'t> Parsed<'t> {
    fn read(token: &'t str) -> Result<Self, Rejection> {
        if token.len() > MAX_LENGTH {
            return Err(Rejection::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(Rejection::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(Rejection::Malformed)?;
        let decode = |part: &str| BASE64URL.decode(part).map_err(|_| Rejection::Malformed);
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| Rejection::Malformed)?;
        let typ = header.typ.unwrap_or_default().to_ascii_lowercase();
        if typ.strip_prefix("application/").unwrap_or(&typ) != "at+jwt" {
            return Err(Rejection::NotAnAccessToken);
        }
        if header.crit.is_some() {
            return Err(Rejection::Critical);
        }
        Ok(Self {
            signed,
            claims: decode(claims)?,
            signature: decode(signature)?,
            algorithm: algorithm(&header.alg).ok_or(Rejection::Algorithm)?,
            kid: header.kid,
        })
    }
}

/// A `NumericDate` (RFC 7519 section 2), which may have a fraction.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let number = serde_json::Number::deserialize(deserializer)?;
    let whole = || {
        let float = number.as_f64().filter(|float| float.abs() < 1e15)?;
        #[expect(clippy::cast_possible_truncation, reason = "bounded above, and the fraction does not count")]
        Some(float.floor() as i64)
    };
    number.as_i64().or_else(whole).ok_or_else(|| serde::de::Error::custom("no date"))
}

fn optional_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    seconds(deserializer).map(Some)
}

/// `aud` is a text or a list (RFC 7519 section 4.1.3).
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Audience {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Audience::deserialize(deserializer)? {
        Audience::One(one) => vec![one],
        Audience::Many(many) => many,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn token(header: &Value) -> String {
        let claims = BASE64URL.encode("{}");
        format!("{}.{claims}.AAAA", BASE64URL.encode(header.to_string()))
    }

    fn rejected(token: &str) -> Option<Rejection> {
        Parsed::read(token).err()
    }

    #[test]
    fn a_header_is_of_an_access_token_that_needs_nothing_unknown() {
        for (header, why) in [
            (json!({ "alg": "ES256", "typ": "at+jwt", "kid": "k" }), None),
            (json!({ "alg": "EdDSA", "typ": "application/AT+JWT" }), None),
            (json!({ "alg": "Ed25519", "typ": "at+jwt" }), None),
            (json!({ "alg": "ES256", "typ": "at+jwt", "jku": "https://evil.example" }), None),
            (json!({ "alg": "ES256", "typ": "JWT" }), Some(Rejection::NotAnAccessToken)),
            (json!({ "alg": "ES256" }), Some(Rejection::NotAnAccessToken)),
            (json!({ "alg": "none", "typ": "at+jwt" }), Some(Rejection::Algorithm)),
            (json!({ "alg": "HS256", "typ": "at+jwt" }), Some(Rejection::Algorithm)),
            (json!({ "alg": "ES256", "typ": "at+jwt", "crit": ["exp"] }), Some(Rejection::Critical)),
            (json!({ "typ": "at+jwt" }), Some(Rejection::Malformed)),
            (json!([]), Some(Rejection::Malformed)),
        ] {
            assert_eq!(rejected(&token(&header)), why, "{header}");
        }
        let good = token(&json!({ "alg": "ES256", "typ": "at+jwt" }));
        for text in ["", ".", "..", "a.b", &good[1..], &format!("{good}="), &format!("{good}.x")] {
            assert_eq!(rejected(text), Some(Rejection::Malformed), "{text}");
        }
        assert_eq!(rejected(&format!("{good}{}", "A".repeat(MAX_LENGTH))), Some(Rejection::Malformed));
    }

    #[test]
    fn claims_are_read_as_rfc_7519_has_them() {
        let minimal = json!({ "iss": "i", "sub": "s", "client_id": "c", "aud": "a", "exp": 10.9, "iat": 1,
            "jti": "j" });
        let claims: Claims = serde_json::from_value(minimal.clone()).unwrap();
        assert_eq!((claims.aud, claims.exp, claims.nbf), (vec!["a".to_owned()], 10, None));
        let mut full = minimal.clone();
        (full["aud"], full["nbf"], full["scope"], full["org"]) =
            (json!(["a", "b"]), json!(2), json!("x  y"), json!("o"));
        let claims: Claims = serde_json::from_value(full).unwrap();
        assert_eq!((claims.aud.len(), claims.nbf, &claims.other["org"]), (2, Some(2), &json!("o")));
        assert_eq!(claims.scopes().collect::<Vec<_>>(), ["x", "y"]);
        for claim in ["iss", "sub", "client_id", "aud", "exp", "iat", "jti"] {
            for broken in [Value::Null, json!({}), json!(true)] {
                let mut claims = minimal.clone();
                claims[claim] = broken;
                assert!(serde_json::from_value::<Claims>(claims).is_err(), "{claim}");
            }
            let mut claims = minimal.clone();
            claims.as_object_mut().unwrap().remove(claim);
            assert!(serde_json::from_value::<Claims>(claims).is_err(), "without {claim}");
        }
    }

    #[test]
    fn a_verifier_is_not_made_of_what_cannot_be_trusted() {
        for (issuer, jwks_uri) in [
            ("http://keys.example.com", None),
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
        assert!(Verifier::builder("http://127.0.0.1:1", "a").plaintext(true).build().is_ok());
        let none = Verifier::builder("https://h", "a").algorithms([]).build();
        assert!(none.unwrap_err().is_configuration());
        assert!(Verifier::builder("https://h", "").build().unwrap_err().is_configuration());
        assert!(Verifier::builder("https://h", "a").ca_file("/nonexistent").build().is_err());
    }
}
