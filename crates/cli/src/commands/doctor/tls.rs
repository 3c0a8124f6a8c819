//! The TLS handshake, the certificate chain, and which protocols a server offers.

use std::{sync::Arc, time::Duration};

use tokio_rustls::rustls::{
    self, CertificateError, Error as TlsError, RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
    pki_types::{CertificateDer, UnixTime},
};

use super::{
    connection::{Target, causes},
    report::Step,
};
use crate::clock;

const DAY: Duration = Duration::from_hours(24);
/// A certificate that ends so soon is worth a warning; the private CA renews its own earlier.
const SOON: Duration = Duration::from_hours(7 * 24);
/// Later than any certificate ends.
const FAR: Duration = Duration::from_hours(1000 * 366 * 24);

/// Shakes hands as clients do, and looks at the chain.
pub(super) async fn shake_hands(target: &Target) -> Step {
    const NAME: &str = "TLS";
    let stream = match target.tls(&target.roots, &["h2", "http/1.1"]).await {
        Ok(stream) => stream,
        Err(error) => {
            let (found, mend) = explain(target, &error);
            return Step::failed(NAME, found, mend);
        }
    };
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default().to_vec();
    drop(stream);
    let by_system = verify(target, &target.system, &chain, now()).is_ok();
    let (authority, mend) = match &target.ca_file {
        _ if by_system => ("this system trusts".to_owned(), None),
        Some(file) => (
            format!("{file} holds"),
            Some(
                "flyte's clients trust it with SSL_CERT_FILE, and up to flyte 2.0 GRPC_DEFAULT_SSL_ROOTS_FILE_PATH, set \
                  to ca-bundle.pem beside that file",
            ),
        ),
        None => ("is trusted".to_owned(), None),
    };
    let mut found = format!("{} certificate(s), issued by an authority that {authority}", chain.len());
    // What the verifier says of a far day tells when the chain ends.
    let far = UnixTime::since_unix_epoch(FAR);
    if let Err(TlsError::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) =
        verify(target, &target.roots, &chain, far)
    {
        let left = Duration::from_secs(not_after.as_secs().saturating_sub(now().as_secs()));
        found = format!("{found}; good for {} days", left.as_secs() / DAY.as_secs());
        if left < SOON {
            return Step::warning(
                NAME,
                found,
                "renew the certificate, and see why that did not happen by itself",
            );
        }
    }
    match mend {
        None => Step::ok(NAME, found),
        Some(mend) => Step::ok(NAME, format!("{found} ({mend})")),
    }
}

fn now() -> UnixTime {
    let since_1970 = clock::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    UnixTime::since_unix_epoch(since_1970)
}

fn verify(
    target: &Target,
    roots: &Arc<RootCertStore>,
    chain: &[CertificateDer<'static>],
    at: UnixTime,
) -> Result<(), TlsError> {
    let unverified = || TlsError::General("the chain cannot be verified".to_owned());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider);
    let verifier = verifier.build().map_err(|_| unverified())?;
    let (leaf, others) = chain.split_first().ok_or_else(unverified)?;
    let name = target.server_name().map_err(|_| unverified())?;
    verifier.verify_server_cert(leaf, others, &name, &[], at).map(drop)
}

/// What a failed handshake means, and what to do about it.
fn explain(target: &Target, error: &anyhow::Error) -> (String, String) {
    let host = target.host();
    let tls = error.chain().find_map(|cause| {
        let io = cause.downcast_ref::<std::io::Error>();
        let inner = io.and_then(|io| io.get_ref()).and_then(|inner| inner.downcast_ref::<TlsError>());
        inner.or_else(|| cause.downcast_ref::<TlsError>())
    });
    let Some(tls) = tls else {
        let mend =
            format!("see whether a server that speaks TLS is on port {}, and what it logs", target.port());
        return (format!("the handshake broke off: {}", causes(error)), mend);
    };
    match tls {
        TlsError::InvalidCertificate(CertificateError::UnknownIssuer) => {
            let found = match &target.ca_file {
                None => "the certificate's issuer is not trusted by this system".to_owned(),
                Some(file) => {
                    format!("the certificate's issuer is trusted neither by this system nor by {file}")
                }
            };
            let mend = "with the private CA, name ca.pem in the server's data directory with --ca-file or \
                        GATEKEY_CA_FILE, and for flyte's clients set SSL_CERT_FILE and \
                        GRPC_DEFAULT_SSL_ROOTS_FILE_PATH to ca-bundle.pem; with a certificate of your own, let the \
                        server send the whole chain (--tls-cert)";
            (found, mend.to_owned())
        }
        TlsError::InvalidCertificate(CertificateError::NotValidForNameContext { presented, .. }) => {
            let found = format!("the certificate is for {}, not for {host}", presented.join(", "));
            (
                found,
                format!(
                    "reach the server by such a name, or let it have a certificate for {host} (--public-url)"
                ),
            )
        }
        TlsError::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            (
                "the certificate has expired".to_owned(),
                "renew it; and if it is new, set this machine's clock".to_owned(),
            )
        }
        TlsError::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => (
            "the certificate is not valid yet".to_owned(),
            "set this machine's clock, or the one of the machine that issued it".to_owned(),
        ),
        // The verifier's own error, which rustls has no name for.
        TlsError::InvalidCertificate(CertificateError::Other(reason))
            if reason.0.to_string() == "CaUsedAsEndEntity" =>
        {
            let mend = "let it have one with basicConstraints CA:FALSE; `openssl req -x509` makes one with \
                        -addext basicConstraints=critical,CA:FALSE";
            ("the certificate is a CA's, which no server may show as its own".to_owned(), mend.to_owned())
        }
        TlsError::InvalidCertificate(other) => (
            format!("the certificate is refused: {other}"),
            "let the server have another certificate".to_owned(),
        ),
        TlsError::InvalidMessage(_) => (
            format!("what listens on port {} does not speak TLS", target.port()),
            format!("use another port, or http://{} if that is meant", target.endpoint()),
        ),
        other => (
            format!("the handshake failed: {other}"),
            "see what the server, or a proxy in front of it, logs about it".to_owned(),
        ),
    }
}

/// gRPC needs HTTP/2, and the token requests of flyte's clients HTTP/1.1: both must be on offer.
pub(super) async fn offered_protocols(target: &Target) -> Step {
    const NAME: &str = "ALPN";
    let (h2, http1) = (offers(target, "h2").await, offers(target, "http/1.1").await);
    let mend = "let the proxy that ends TLS in front of the server offer both, or pass TLS through";
    match (h2, http1) {
        (true, true) => Step::ok(NAME, "HTTP/2 and HTTP/1.1 are on offer"),
        (false, true) => Step::failed(NAME, "HTTP/2 is not on offer, so that gRPC clients fail", mend),
        (true, false) => Step::failed(
            NAME,
            "HTTP/1.1 is not on offer, so that token requests of flyte's clients fail",
            mend,
        ),
        (false, false) => Step::failed(NAME, "neither HTTP/2 nor HTTP/1.1 is on offer", mend),
    }
}

async fn offers(target: &Target, protocol: &str) -> bool {
    match target.tls(&target.roots, &[protocol]).await {
        Ok(stream) => match stream.get_ref().1.alpn_protocol() {
            Some(chosen) => chosen == protocol.as_bytes(),
            // A server without ALPN speaks HTTP/1.1.
            None => protocol == "http/1.1",
        },
        Err(_) => false,
    }
}
