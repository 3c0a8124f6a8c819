//! A proxy in front of PostgreSQL that loses the answer to a commit.

use std::{
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    thread,
};

use tempfile::TempDir;

/// What the next commit meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Fault {
    None = 0,
    /// The connection ends before the server gets the commit.
    BeforeCommit = 1,
    /// The connection ends after the server's answer, which is lost.
    AfterCommit = 2,
}

/// What every commit of a change begins with.
const COMMIT: &[u8] = b"COMMIT; SELECT 1 FROM change";

/// The end of the server's answer to it.
const COMMITTED: &[u8] = b"COMMIT\0";

pub(super) struct Proxy {
    directory: TempDir,
    fault: Arc<AtomicU8>,
}

impl Proxy {
    /// In front of the server with a socket in `directory`.
    pub(super) fn start(directory: &Path) -> Self {
        let own = tempfile::tempdir_in("/tmp").unwrap();
        let listener = UnixListener::bind(own.path().join(SOCKET)).unwrap();
        let fault = Arc::new(AtomicU8::new(Fault::None as u8));
        let (server, next) = (directory.join(SOCKET), Arc::clone(&fault));
        thread::spawn(move || {
            for client in listener.incoming() {
                let server = UnixStream::connect(&server).unwrap();
                let next = Arc::clone(&next);
                thread::spawn(move || forward(&client.unwrap(), &server, &next));
            }
        });
        Self { directory: own, fault }
    }

    pub(super) fn directory(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    pub(super) fn set(&self, fault: Fault) {
        self.fault.store(fault as u8, Ordering::SeqCst);
    }
}

const SOCKET: &str = ".s.PGSQL.5432";

/// Forwards both ways. A fault happens once.
fn forward(client: &UnixStream, server: &UnixStream, fault: &AtomicU8) {
    let (answers, mut to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    let loses = Arc::new(AtomicU8::new(0));
    let lost = Arc::clone(&loses);
    thread::spawn(move || {
        let mut answers = answers;
        let mut bytes = vec![0; 65_536];
        while let Ok(length @ 1..) = answers.read(&mut bytes) {
            let answer = &bytes[..length];
            if lost.load(Ordering::SeqCst) == 0 {
                if to_client.write_all(answer).is_err() {
                    break;
                }
            // Not earlier: a server that cannot send an answer ends the transaction.
            } else if answer.windows(COMMITTED.len()).any(|part| part == COMMITTED) {
                break;
            }
        }
        let _ = to_client.shutdown(std::net::Shutdown::Both);
    });
    let (mut requests, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let mut bytes = vec![0; 65_536];
    while let Ok(length @ 1..) = requests.read(&mut bytes) {
        let request = &bytes[..length];
        if request.windows(COMMIT.len()).any(|part| part == COMMIT) {
            let fault = fault.swap(Fault::None as u8, Ordering::SeqCst);
            if fault == Fault::BeforeCommit as u8 {
                break;
            }
            loses.store(fault, Ordering::SeqCst);
        }
        if to_server.write_all(request).is_err() {
            break;
        }
    }
    let _ = server.shutdown(std::net::Shutdown::Write);
    let _ = client.shutdown(std::net::Shutdown::Both);
}
