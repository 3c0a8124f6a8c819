//! [`Judge`]: what clients will object to in a certificate chain, before they do.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use gatekey_core::Timestamp;
use rustls::{
    RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime},
};
use webpki::{EndEntityCert, Error, KeyUsage, anchor_from_trusted_cert};

/// A certificate that expires within this time is reported.
pub const EXPIRES_SOON: Duration = Duration::from_hours(14 * 24);

/// Before and after the validity of every certificate: at these instants, the verifier's error
/// contains the date.
const BEFORE_ALL: Duration = Duration::ZERO;
const AFTER_ALL: Duration = Duration::from_hours(70_389_528);

/// Judges chains for a host name.
#[derive(Clone)]
pub struct Judge {
    host: Option<ServerName<'static>>,
    roots: Arc<RootCertStore>,
}

/// When a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

/// Something in a chain that clients will object to. Certificates are counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    NotYetValid {
        number: usize,
        not_before: Timestamp,
    },
    Expired {
        number: usize,
        not_after: Timestamp,
    },
    ExpiresSoon {
        number: usize,
        not_after: Timestamp,
    },
    /// It is not for the server's public host.
    WrongHost {
        host: String,
        presented: Vec<String>,
    },
    /// The server's own certificate is a CA's.
    CertificateOfCa,
    /// Its extended key usage does not include servers.
    NotForServers,
    /// The issuer of a certificate stands elsewhere than after it.
    Order {
        number: usize,
        issuer: usize,
    },
    /// The next certificate did not issue this one.
    Unrelated {
        number: usize,
    },
    /// The last certificate was issued by none that this system trusts.
    UnknownIssuer {
        number: usize,
    },
    /// A signature in the chain is wrong.
    Signature,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotYetValid { number, not_before } => {
                write!(
                    formatter,
                    "{} is not valid before {}",
                    Certificate(*number),
                    Date(*not_before)
                )
            }
            Self::Expired { number, not_after } => {
                write!(formatter, "{} expired at {}", Certificate(*number), Date(*not_after))
            }
            Self::ExpiresSoon { number, not_after } => {
                write!(formatter, "{} expires at {}", Certificate(*number), Date(*not_after))
            }
            Self::WrongHost { host, presented } if presented.is_empty() => {
                write!(formatter, "the certificate has no subject alternative name, so not {host}")
            }
            Self::WrongHost { host, presented } => {
                let presented = presented.join(", ");
                write!(formatter, "the certificate is for {presented}, not for {host}")
            }
            Self::CertificateOfCa => {
                formatter.write_str("the certificate is a CA's, which clients reject as a server's")
            }
            Self::NotForServers => formatter
                .write_str("the certificate's extended key usage does not include serverAuth"),
            Self::Order { number, issuer } => write!(
                formatter,
                "the chain is in the wrong order: certificate {issuer} issued certificate {number} and must follow it"
            ),
            Self::Unrelated { number } => {
                let next = number + 1;
                write!(
                    formatter,
                    "certificate {next} did not issue certificate {number}: the chain lacks the issuer"
                )
            }
            Self::UnknownIssuer { number } => write!(
                formatter,
                "this system does not trust the issuer of the last certificate ({number}): if it is an intermediate, \
                 the file lacks it; if it is a private CA, clients must trust it"
            ),
            Self::Signature => formatter.write_str("the chain has a signature that is wrong"),
        }
    }
}

struct Certificate(usize);

impl fmt::Display for Certificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => formatter.write_str("the certificate"),
            number => write!(formatter, "certificate {number} of the chain"),
        }
    }
}

struct Date(Timestamp);

impl fmt::Display for Date {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = u64::try_from(self.0.as_seconds()).unwrap_or_default();
        let at = UNIX_EPOCH + Duration::from_secs(seconds);
        humantime::format_rfc3339_seconds(at).fmt(formatter)
    }
}

impl Judge {
    /// Judges chains for a host name or address, on a system that trusts these roots.
    pub fn new(host: &str, roots: Arc<RootCertStore>) -> Self {
        Self { host: ServerName::try_from(host.to_owned()).ok(), roots }
    }

    /// Returns everything that clients will object to at an instant.
    pub fn problems(&self, chain: &[CertificateDer<'_>], now: Timestamp) -> Vec<Problem> {
        let parsed: Vec<_> = chain.iter().map(|der| EndEntityCert::try_from(der).ok()).collect();
        let mut problems = dates(chain, now);
        let Some(Some(leaf)) = parsed.first() else { return problems };
        if let Some(host) = &self.host
            && let Err(Error::CertNotValidForName(context)) =
                leaf.verify_is_valid_for_subject_name(host)
        {
            let host = host.to_str().into_owned();
            let presented = context.presented.iter().map(|name| bare(name)).collect();
            problems.push(Problem::WrongHost { host, presented });
        }
        let at = validity(&chain[0]).map_or(now, |validity| validity.not_before);
        let at = u64::try_from(at.as_seconds()).unwrap_or_default();
        let at = UnixTime::since_unix_epoch(Duration::from_secs(at));
        match verify(leaf, &[], &[], at) {
            Err(Error::CaUsedAsEndEntity) => problems.push(Problem::CertificateOfCa),
            Err(Error::RequiredEkuNotFoundContext(_)) => problems.push(Problem::NotForServers),
            _ => {}
        }
        problems.extend(self.order(&parsed));
        let anchors = chain.last().into_iter().filter_map(|der| anchor_from_trusted_cert(der).ok());
        let anchors: Vec<_> = self.roots.roots.iter().cloned().chain(anchors).collect();
        if let Err(Error::InvalidSignatureForPublicKey) = verify(leaf, &anchors, &chain[1..], at) {
            problems.push(Problem::Signature);
        }
        problems
    }

    /// Checks that each certificate is followed by its issuer, and that the last one's is known.
    /// Returns the first fault: others follow from it.
    fn order(&self, chain: &[Option<EndEntityCert<'_>>]) -> Option<Problem> {
        for (index, certificate) in chain.iter().enumerate() {
            let Some(certificate) = certificate else { continue };
            let (number, issuer) = (index + 1, certificate.issuer());
            if issuer == certificate.subject() {
                continue;
            }
            let is_issuer = |other: &Option<EndEntityCert<'_>>| {
                other.as_ref().is_some_and(|other| other.subject() == issuer)
            };
            if chain.get(number).is_some_and(is_issuer) {
                continue;
            }
            if let Some(found) = chain.iter().position(is_issuer) {
                return Some(Problem::Order { number, issuer: found + 1 });
            } else if number < chain.len() {
                return Some(Problem::Unrelated { number });
            } else if !self.roots.roots.iter().any(|root| root.subject.as_ref() == issuer) {
                return Some(Problem::UnknownIssuer { number });
            }
        }
        None
    }
}

/// Returns a name without the verifier's description of it, such as `DnsName("localhost")`.
fn bare(name: &str) -> String {
    let name = name.split_once('(').map_or(name, |(_, name)| name);
    name.trim_end_matches(')').trim_matches('"').to_owned()
}

/// Checks the dates of each certificate.
fn dates(chain: &[CertificateDer<'_>], now: Timestamp) -> Vec<Problem> {
    let judge = |(index, der): (usize, &CertificateDer<'_>)| {
        let number = index + 1;
        let Validity { not_before, not_after } = validity(der)?;
        if now < not_before {
            Some(Problem::NotYetValid { number, not_before })
        } else if not_after < now {
            Some(Problem::Expired { number, not_after })
        } else if not_after < now.after(EXPIRES_SOON) {
            Some(Problem::ExpiresSoon { number, not_after })
        } else {
            None
        }
    };
    chain.iter().enumerate().filter_map(judge).collect()
}

/// Returns when a certificate is valid; `None` if it cannot be parsed.
pub fn validity(der: &CertificateDer<'_>) -> Option<Validity> {
    let certificate = EndEntityCert::try_from(der).ok()?;
    let at = |instant| verify(&certificate, &[], &[], UnixTime::since_unix_epoch(instant));
    let not_before = match at(BEFORE_ALL) {
        Err(Error::CertNotValidYet { not_before, .. }) => seconds(not_before),
        Err(Error::BadDer | Error::BadDerTime | Error::InvalidCertValidity) => return None,
        // It is valid in 1970 already.
        _ => 0,
    };
    let not_after = match at(AFTER_ALL) {
        Err(Error::CertExpired { not_after, .. }) => seconds(not_after),
        _ => return None,
    };
    let [not_before, not_after] = [not_before, not_after].map(Timestamp::from_seconds);
    Some(Validity { not_before, not_after })
}

fn seconds(instant: UnixTime) -> i64 {
    i64::try_from(instant.as_secs()).unwrap_or(i64::MAX)
}

/// Verifies a chain. Dates come first, then the constraints of the certificate itself, and then its
/// issuer.
fn verify(
    leaf: &EndEntityCert<'_>,
    anchors: &[TrustAnchor<'_>],
    others: &[CertificateDer<'_>],
    at: UnixTime,
) -> Result<(), Error> {
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms.all;
    let usage = KeyUsage::server_auth();
    leaf.verify_for_usage(algorithms, anchors, others, at, usage, None, None).map(drop)
}
