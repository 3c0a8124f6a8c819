//! Certificates from files are served anew when the files change, without a restart.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use super::{ServedCertificate, TlsError, read_files};

/// How often the files are looked at. Two calls of `stat`; watching would need a library, and miss what happens
/// behind the symbolic links by which Kubernetes swaps secrets.
const LOOK: Duration = Duration::from_secs(2);

/// Where a certificate is from, and where it is served.
pub struct Reload {
    /// The chain, PEM.
    pub cert: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// What is served.
    pub served: Arc<ServedCertificate>,
}

/// What tells that a file was written or replaced.
type Mark = Option<(SystemTime, u64, u64)>;

fn mark(path: &Path) -> Mark {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}

impl Reload {
    /// Runs until its task is dropped: serves what the files hold whenever they change, and when it is told to.
    /// What cannot be served is logged, and the earlier certificate stays.
    pub async fn run(self, mut told: mpsc::Receiver<()>) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = self.marks();
        loop {
            let asked = tokio::select! {
                _ = looks.tick() => false,
                Some(()) = told.recv() => true,
            };
            // Marked before they are read: what is written meanwhile is seen at the next look.
            let marks = self.marks();
            if !asked && marks == seen {
                continue;
            }
            seen = marks;
            match self.load() {
                Ok(()) => tracing::info!(cert = %self.cert.display(), "the certificate was loaded anew"),
                // Certificate and key are two files: between the two writes they do not fit.
                Err(error) => tracing::warn!(
                    %error,
                    cert = %self.cert.display(),
                    "the certificate could not be loaded anew; the earlier one is served until the files change again"
                ),
            }
        }
    }

    fn marks(&self) -> (Mark, Mark) {
        (mark(&self.cert), mark(&self.key))
    }

    fn load(&self) -> Result<(), TlsError> {
        let (chain, key) = read_files(&self.cert, &self.key)?;
        self.served.replace(chain, &key)
    }
}
