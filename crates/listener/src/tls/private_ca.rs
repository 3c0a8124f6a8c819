//! [`PrivateCa`]: the certificate authority of a server without a configured certificate.
//!
//! Its certificate is constrained to the server's own host names, so clients that trust it trust no
//! other host. Addresses are not constrained: `BoringSSL`, which gRPC clients use, rejects every
//! chain that constrains them. CA and leaf pass `openssl verify -x509_strict` and the default
//! context of Python 3.13.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use gatekey_core::{Env, RootKey, Store, Timestamp, env::CLOCK_ERROR, id::Hex};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints,
    PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::error::TlsError;

/// The name under which the CA is sealed in the store.
const SEALED_NAME: &str = "private ca";
const CA_LIFETIME: Duration = Duration::from_hours(87600);
/// Clients accept at most 398 days for a leaf.
const LEAF_LIFETIME: Duration = Duration::from_hours(2160);
/// The leaf is renewed this long before it expires.
pub const RENEW_BEFORE: Duration = Duration::from_hours(720);

/// How far certificates are backdated, so that they are already valid for a client whose clock is
/// slow, or after the server's own clock is corrected.
const BACKDATED: Duration = CLOCK_ERROR;

/// The CA as the store keeps it, sealed.
#[derive(Serialize, Deserialize)]
struct Sealed {
    common_name: String,
    names: BTreeSet<String>,
    certificate: String,
    private_key: Zeroizing<String>,
    ends_at: Timestamp,
}

/// The certificate authority of this server.
pub struct PrivateCa {
    names: BTreeSet<String>,
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate of the CA for the server.
pub struct Leaf {
    /// Only the leaf: clients have the CA.
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
    pub expires_at: Timestamp,
}

impl PrivateCa {
    /// Returns the stored CA. Creates one when there is none, when it expires within the lifetime
    /// of a leaf, or when it lacks one of these host names and addresses.
    ///
    /// # Errors
    /// When the store fails or the root key does not decrypt the stored CA.
    pub async fn ensure(
        store: &dyn Store,
        root_key: &RootKey,
        env: &Env,
        names: BTreeSet<String>,
    ) -> Result<Self, TlsError> {
        loop {
            let earlier = store.find_sealed(SEALED_NAME).await?;
            if let Some(sealed) = &earlier {
                let opened = root_key.open(SEALED_NAME, sealed)?;
                let stored: Sealed =
                    serde_json::from_slice(&opened).map_err(|_| TlsError::Corrupt)?;
                if stored.names.is_superset(&names)
                    && env.now().after(LEAF_LIFETIME) < stored.ends_at
                {
                    return Self::open(&stored);
                }
                tracing::warn!(
                    "replacing the private CA: it is about to expire, or the server's names have changed; clients must \
                     trust the new ca.pem"
                );
            }
            let created = Self::create(env, names.clone())?;
            let plain =
                Zeroizing::new(serde_json::to_vec(&created).map_err(|_| TlsError::Corrupt)?);
            let sealed = root_key.seal(env, SEALED_NAME, &plain);
            // Otherwise another node created one meanwhile.
            if store.replace_sealed(SEALED_NAME, earlier, sealed).await? {
                return Self::open(&created);
            }
        }
    }

    /// Returns the CA's certificate in PEM format.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Signs a leaf for all names of the CA.
    ///
    /// # Errors
    /// When the cryptographic library fails.
    pub fn issue_leaf(&self, env: &Env) -> Result<Leaf, TlsError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let now = env.now();
        let expires_at = now.after(LEAF_LIFETIME);
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished_name("Gatekey server");
        params.subject_alt_names =
            self.names.iter().map(|name| alternative_name(name)).collect::<Result<_, _>>()?;
        params.serial_number = Some(serial_number(env));
        params.not_before = date(now.before(BACKDATED));
        params.not_after = date(expires_at);
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Leaf {
            chain: vec![certificate.der().clone()],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            expires_at,
        })
    }

    fn create(env: &Env, names: BTreeSet<String>) -> Result<Sealed, TlsError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let now = env.now();
        let ends_at = now.after(CA_LIFETIME);
        let serial_number = serial_number(env);
        // A trust store confuses two CAs that share a subject.
        let common_name = format!("Gatekey private CA {}", Hex(&serial_number.to_bytes()[..4]));
        let mut params = ca_params(&common_name);
        params.serial_number = Some(serial_number);
        params.not_before = date(now.before(BACKDATED));
        params.not_after = date(ends_at);
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: names.iter().filter_map(|name| subtree(name)).collect(),
            excluded_subtrees: Vec::new(),
        });
        let certificate = params.self_signed(&key)?;
        Ok(Sealed {
            common_name,
            names,
            certificate: certificate.pem(),
            private_key: Zeroizing::new(key.serialize_pem()),
            ends_at,
        })
    }

    fn open(sealed: &Sealed) -> Result<Self, TlsError> {
        let key = KeyPair::from_pem(&sealed.private_key)?;
        Ok(Self {
            names: sealed.names.clone(),
            certificate: sealed.certificate.clone(),
            issuer: Issuer::new(ca_params(&sealed.common_name), key),
        })
    }
}

/// The parameters that the CA's certificate and the issuer of its leaves share.
fn ca_params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished_name(common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn distinguished_name(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "Gatekey");
    name.push(DnType::CommonName, common_name);
    name
}

fn alternative_name(name: &str) -> Result<SanType, rcgen::Error> {
    match name.parse::<IpAddr>() {
        Ok(address) => Ok(SanType::IpAddress(address)),
        Err(_) => Ok(SanType::DnsName(name.to_owned().try_into()?)),
    }
}

/// Returns the constraint for a host name; `None` for an address.
fn subtree(name: &str) -> Option<GeneralSubtree> {
    name.parse::<IpAddr>().is_err().then(|| GeneralSubtree::DnsName(name.to_owned()))
}

fn serial_number(env: &Env) -> SerialNumber {
    let mut bytes: [u8; 16] = env.random();
    // Serial numbers are positive, without a leading zero byte (RFC 5280 section 4.1.2.2).
    bytes[0] = bytes[0] & 0x7f | 0x40;
    SerialNumber::from_slice(&bytes)
}

fn date(instant: Timestamp) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(instant.as_seconds())
        .expect("an instant before the year 10000 is a date")
}
