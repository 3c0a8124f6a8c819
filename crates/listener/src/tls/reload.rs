//! [`Reload`]: serves changed certificate files without a restart.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use gatekey_core::{Env, Timestamp};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use super::{
    certificate::{ReadKey, ServedCertificate, read_files},
    error::TlsError,
    judge::Judge,
};

/// How often the files are checked, which costs two calls of `stat`. Watching them would need a
/// library, and miss changes behind the symbolic links by which Kubernetes swaps secrets.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// The files of a certificate, and where it is served.
pub struct Reload {
    /// The chain, PEM.
    pub cert: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    pub read_key: ReadKey,
    pub judge: Judge,
    pub env: Env,
    pub served: Arc<ServedCertificate>,
}

/// Modification time, length and inode: one of them changes when a file is written or replaced.
type Version = Option<(SystemTime, u64, u64)>;

fn version(path: &Path) -> Version {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}

/// Logs everything that clients will object to in a chain from a file.
pub fn log_problems(judge: &Judge, served: &ServedCertificate, cert: &Path, now: Timestamp) {
    for problem in judge.problems(&served.chain(), now) {
        tracing::warn!(%problem, cert = %cert.display(), "clients may reject the certificate");
    }
}

impl Reload {
    /// Loads the files whenever they change and whenever `requests` has a message, until the task
    /// is dropped. A failure is logged, and the earlier certificate stays.
    pub async fn run(self, mut requests: mpsc::Receiver<()>) {
        let mut checks = interval(CHECK_INTERVAL);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut loaded = self.versions();
        loop {
            let requested = tokio::select! {
                _ = checks.tick() => false,
                Some(()) = requests.recv() => true,
            };
            // Taken before the files are read, so that the next check sees a change in between.
            let versions = self.versions();
            if !requested && versions == loaded {
                continue;
            }
            loaded = versions;
            match self.load() {
                Ok(()) => {
                    tracing::info!(cert = %self.cert.display(), "reloaded the certificate");
                    log_problems(&self.judge, &self.served, &self.cert, self.env.now());
                }
                // Certificate and key are two files: between the two writes they do not match.
                Err(error) => tracing::warn!(
                    %error,
                    cert = %self.cert.display(),
                    "cannot reload the certificate; serving the earlier one until the files change again"
                ),
            }
        }
    }

    fn versions(&self) -> (Version, Version) {
        (version(&self.cert), version(&self.key))
    }

    fn load(&self) -> Result<(), TlsError> {
        let (chain, key) = read_files(&self.cert, &self.key, self.read_key)?;
        self.served.replace(chain, &key)
    }
}
