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
/// A certificate that expires sooner is reported. The private CA renews its own earlier.
const EXPIRES_SOON: Duration = Duration::from_hours(7 * 24);
/// Later than any certificate expires, counted from 1970.
const AFTER_EXPIRY: Duration = Duration::from_hours(1000 * 366 * 24);

/// Makes the handshake that clients make, and checks the certificate chain.
pub(super) async fn shake_hands(target: &Target) -> Step {
    const NAME: &str = "TLS";
    let stream = match target.tls(&target.roots, &["h2", "http/1.1"]).await {
        Ok(stream) => stream,
        Err(error) => {
            let (found, fix) = explain(target, &error);
            return Step::failed(NAME, found, fix);
        }
    };
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default().to_vec();
    drop(stream);
    let by_system = verify(target, &target.system, &chain, now()).is_ok();
    let (trusted_by, advice) = match &target.ca_file {
        Some(file) if !by_system => (
            file.as_str(),
            "; for Flyte's clients set SSL_CERT_FILE, and up to flyte 2.0 GRPC_DEFAULT_SSL_ROOTS_FILE_PATH, to \
             ca-bundle.pem next to that file",
        ),
        _ => ("this system", ""),
    };
    let mut found = format!("{} certificate(s), trusted by {trusted_by}", chain.len());
    // For an instant after any expiry, the verifier's error contains the date.
    let after_expiry = UnixTime::since_unix_epoch(AFTER_EXPIRY);
    if let Err(TlsError::InvalidCertificate(CertificateError::ExpiredContext {
        not_after, ..
    })) = verify(target, &target.roots, &chain, after_expiry)
    {
        let left = Duration::from_secs(not_after.as_secs().saturating_sub(now().as_secs()));
        found = format!("{found}, valid for {} days", left.as_secs() / DAY.as_secs());
        if left < EXPIRES_SOON {
            let fix = "renew the certificate, and check why it was not renewed automatically";
            return Step::warning(NAME, found, fix);
        }
    }
    Step::ok(NAME, format!("{found}{advice}"))
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

/// Explains a failed handshake, and how to fix it.
fn explain(target: &Target, error: &anyhow::Error) -> (String, String) {
    let host = target.host();
    let tls = error.chain().find_map(|cause| {
        let io = cause.downcast_ref::<std::io::Error>();
        let inner =
            io.and_then(|io| io.get_ref()).and_then(|inner| inner.downcast_ref::<TlsError>());
        inner.or_else(|| cause.downcast_ref::<TlsError>())
    });
    let Some(tls) = tls else {
        let fix = format!(
            "check that a TLS server listens on port {}, and check its logs",
            target.port()
        );
        return (format!("the handshake failed: {}", causes(error)), fix);
    };
    match tls {
        TlsError::InvalidCertificate(CertificateError::UnknownIssuer) => {
            let found = match &target.ca_file {
                None => "the certificate's issuer is not trusted by this system".to_owned(),
                Some(file) => {
                    format!(
                        "the certificate's issuer is trusted neither by this system nor by {file}"
                    )
                }
            };
            let fix = "with the private CA, pass ca.pem of the server's data directory as --ca-file or \
                       GATEKEY_CA_FILE, and for Flyte's clients set SSL_CERT_FILE and \
                       GRPC_DEFAULT_SSL_ROOTS_FILE_PATH to ca-bundle.pem; with a certificate of your own, give the \
                       server the whole chain (--tls-cert)";
            (found, fix.to_owned())
        }
        TlsError::InvalidCertificate(CertificateError::NotValidForNameContext {
            presented,
            ..
        }) => {
            let found = format!("the certificate is for {}, not for {host}", presented.join(", "));
            let fix = format!(
                "use a name from the certificate, or give the server a certificate for {host} (--public-url)"
            );
            (found, fix)
        }
        TlsError::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => (
            "the certificate has expired".to_owned(),
            "renew it; if it is new, check this machine's clock".to_owned(),
        ),
        TlsError::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => (
            "the certificate is not valid yet".to_owned(),
            "check the clocks of this machine and of the machine that issued it".to_owned(),
        ),
        // The verifier's error, for which rustls has no variant.
        TlsError::InvalidCertificate(CertificateError::Other(reason))
            if reason.0.to_string() == "CaUsedAsEndEntity" =>
        {
            let fix = "use a certificate with basicConstraints CA:FALSE; `openssl req -x509` creates one with \
                       -addext basicConstraints=critical,CA:FALSE";
            (
                "the certificate is a CA's, which clients reject as a server's".to_owned(),
                fix.to_owned(),
            )
        }
        TlsError::InvalidCertificate(other) => (
            format!("the certificate is invalid: {other}"),
            "give the server another certificate".to_owned(),
        ),
        TlsError::InvalidMessage(_) => (
            format!("the server on port {} does not speak TLS", target.port()),
            format!("use another port, or http://{} for plain HTTP", target.endpoint()),
        ),
        other => (
            format!("the handshake failed: {other}"),
            "check the logs of the server, and of the proxy in front of it".to_owned(),
        ),
    }
}

/// Checks that both protocols are offered: gRPC needs HTTP/2, token requests of Flyte's clients
/// HTTP/1.1.
pub(super) async fn offered_protocols(target: &Target) -> Step {
    const NAME: &str = "ALPN";
    let (h2, http1) = (offers(target, "h2").await, offers(target, "http/1.1").await);
    let fix = "let the proxy that terminates TLS offer both, or pass TLS through to the server";
    match (h2, http1) {
        (true, true) => Step::ok(NAME, "HTTP/2 and HTTP/1.1 are offered"),
        (false, true) => Step::failed(NAME, "HTTP/2 is not offered, so gRPC clients fail", fix),
        (true, false) => {
            let found = "HTTP/1.1 is not offered, so token requests of Flyte's clients fail";
            Step::failed(NAME, found, fix)
        }
        (false, false) => Step::failed(NAME, "neither HTTP/2 nor HTTP/1.1 is offered", fix),
    }
}

async fn offers(target: &Target, protocol: &str) -> bool {
    match target.tls(&target.roots, &[protocol]).await {
        Ok(stream) => match stream.get_ref().1.alpn_protocol() {
            Some(chosen) => chosen == protocol.as_bytes(),
            // Without ALPN, the protocol is HTTP/1.1.
            None => protocol == "http/1.1",
        },
        Err(_) => false,
    }
}
