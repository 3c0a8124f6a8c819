//! Warns each day while the served certificate is about to expire.

use std::{sync::Arc, time::Duration};

use gatekey_core::Timestamp;
use gatekey_listener::tls::{ServedCertificate, judge::EXPIRES_SOON};

/// Half an hour less than a day, because the hourly calls may be a moment early.
const DAILY: Duration = Duration::from_mins(24 * 60 - 30);

/// The expiry of the served certificate, which the start and each reload have already judged.
pub(super) struct ExpiryWatch {
    served: Arc<ServedCertificate>,
    last: Timestamp,
}

impl ExpiryWatch {
    pub(super) fn new(served: Arc<ServedCertificate>, now: Timestamp) -> Self {
        Self { served, last: now }
    }

    /// Logs a certificate that expires soon, at most once a day. Called hourly.
    pub(super) fn check(&mut self, now: Timestamp) {
        let Some(seconds) = self.seconds_left(now) else { return };
        self.last = now;
        if seconds < 0 {
            tracing::error!("the server's certificate has expired: clients reject it");
        } else {
            let days = seconds / 86_400;
            tracing::warn!(days, "the server's certificate expires soon, and was not renewed");
        }
    }

    /// Returns the seconds to report, if it is time to.
    fn seconds_left(&self, now: Timestamp) -> Option<i64> {
        let expires_at = self.served.expires_at()?;
        let is_due = self.last.after(DAILY) <= now;
        (is_due && expires_at < now.after(EXPIRES_SOON))
            .then(|| expires_at.as_seconds() - now.as_seconds())
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use rustls::pki_types::PrivatePkcs8KeyDer;

    use super::*;

    const HOUR: i64 = 3600;

    fn served(expires_at: Timestamp) -> Arc<ServedCertificate> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_after =
            time::OffsetDateTime::from_unix_timestamp(expires_at.as_seconds()).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        Arc::new(ServedCertificate::new(vec![certificate.der().clone()], &key).unwrap())
    }

    #[test]
    fn an_expiring_certificate_is_reported_once_a_day() {
        let at = |hours: i64| Timestamp::from_seconds(1_800_000_000 + hours * HOUR);
        let expiry = at(30 * 24);
        let mut watch = ExpiryWatch::new(served(expiry), at(0));
        let mut reported = Vec::new();
        for hour in 1..=32 * 24 {
            if let Some(seconds) = watch.seconds_left(at(hour)) {
                reported.push((hour, seconds));
            }
            watch.check(at(hour));
        }
        let hours: Vec<_> = reported.iter().map(|(hour, _)| *hour).collect();
        let first = 16 * 24 + 1;
        let days = (0..).map(|day| first + day * 24).take_while(|hour| *hour <= 32 * 24);
        assert_eq!(hours, days.collect::<Vec<_>>());
        assert_eq!(reported[0].1, 14 * 24 * HOUR - HOUR);
        assert!(reported.last().unwrap().1 < 0, "after the expiry, too");
    }
}
