//! `gatekey ca`: prints the certificate that clients must trust.

use std::{fs, path::Path, process::Output};

use super::{fails, stdout};
use crate::support::{ServerProcess, run};

fn ca(data_dir: &Path, flags: &[&str]) -> Output {
    run(&[&["ca", "--data-dir", data_dir.to_str().unwrap()], flags].concat())
}

#[tokio::test]
async fn ca_prints_the_certificate_to_trust() {
    let mut server = ServerProcess::start();
    for _ in 0..2 {
        assert_eq!(
            stdout(&ca(&server.data_dir, &[])),
            fs::read_to_string(server.ca_file()).unwrap()
        );
        let bundle = fs::read_to_string(server.data_dir.join("ca-bundle.pem")).unwrap();
        assert_eq!(stdout(&ca(&server.data_dir, &["--bundle"])), bundle);
        if server.data_dir.join("control.sock").exists() {
            assert!(server.stop().await.success());
        }
    }
}

#[test]
fn ca_works_before_the_first_start() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let stderr = fails(&ca(&data_dir, &[]), 2);
    assert!(stderr.contains("no Gatekey database"), "{stderr}");
    assert!(!data_dir.exists());
    fs::create_dir(&data_dir).unwrap();
    let stderr = fails(&ca(&data_dir, &[]), 2);
    assert!(stderr.contains("no private CA"), "{stderr}");
    stdout(&run(&["init", "--data-dir", data_dir.to_str().unwrap()]));
    assert!(stdout(&ca(&data_dir, &[])).contains("BEGIN CERTIFICATE"));
}

#[tokio::test]
async fn ca_refuses_without_a_private_ca() {
    let mut server = ServerProcess::start();
    assert!(server.stop().await.success());
    let mut plain = ServerProcess::start_on(&server.data_dir, &["--plaintext"]);
    assert!(plain.stop().await.success());
    let stderr = fails(&ca(&server.data_dir, &[]), 2);
    assert!(stderr.contains("does not use its private CA"), "{stderr}");
}
