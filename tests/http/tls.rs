//! TLS with the private CA or with configured certificates.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Output};

use rcgen::{CertifiedKey, KeyPair};
use rustls::{ProtocolVersion, version};

use crate::support::{
    Http, PUBLIC_URL, Server, ServerProcess, connection::connect_with, eventually, gatekey, run,
};

/// A certificate and its key, as files.
struct Files {
    directory: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(names).unwrap();
        fs::write(directory.path().join("cert.pem"), cert.pem()).unwrap();
        fs::write(directory.path().join("key.pem"), signing_key.serialize_pem()).unwrap();
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(directory.path().join("key.pem"), private).unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    /// Starts a server with the given files, which must fail.
    fn refused(&self, cert: &str, key: &str) -> String {
        let data_dir = self.path("data");
        let output = run(&[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--data-dir",
            &data_dir,
            "--tls-cert",
            &self.path(cert),
            "--tls-key",
            &self.path(key),
        ]);
        refused(&output, 1)
    }
}

fn refused(output: &Output, code: i32) -> String {
    let error = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{error}");
    error
}

#[tokio::test]
async fn the_client_chooses_between_http1_and_http2() {
    let server = ServerProcess::start();
    let ca_file = server.ca_file();
    for (offered, chosen) in [
        (&["h2"][..], Some(&b"h2"[..])),
        (&["http/1.1"], Some(b"http/1.1")),
        (&["h2", "http/1.1"], Some(b"h2")),
        (&["http/1.1", "h2"], Some(b"h2")),
        (&["spdy/3", "http/1.1"], Some(b"http/1.1")),
        (&[], None),
    ] {
        let stream = connect_with(&server, &ca_file, rustls::ALL_VERSIONS, offered).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), chosen, "{offered:?}");
    }
    let none = connect_with(&server, &ca_file, rustls::ALL_VERSIONS, &["spdy/3"]).await;
    assert!(none.is_err(), "an unsupported protocol is not negotiated");
}

#[tokio::test]
async fn tls12_and_tls13_are_both_served() {
    let server = ServerProcess::start();
    for (version, negotiated) in
        [(&version::TLS12, ProtocolVersion::TLSv1_2), (&version::TLS13, ProtocolVersion::TLSv1_3)]
    {
        let stream = connect_with(&server, &server.ca_file(), &[version], &["h2"]).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(negotiated));
    }
}

#[tokio::test]
async fn tokens_are_issued_over_http1_and_http2() {
    let mut server = Server::start().await;
    let http1 = Http::over_http1(&server.process.reached_at, Some(&server.process.ca_file()));
    assert_eq!(http1.token(&server.admin, &[]).await.status, 200);
    assert_eq!(server.http.token(&server.admin, &[]).await.status, 200);
    assert!(server.process.stop().await.success());
    let lines = || server.process.log().into_iter().filter(|line| line["path"] == "/oauth2/token");
    let versions: Vec<_> =
        lines().map(|line| line["version"].as_str().unwrap().to_owned()).collect();
    assert!(versions.contains(&"HTTP/1.1".to_owned()) && versions.contains(&"HTTP/2.0".to_owned()));
}

#[tokio::test]
async fn a_client_must_trust_the_private_ca() {
    let (server, other) = (ServerProcess::start(), ServerProcess::start());
    let foreign = connect_with(&server, &other.ca_file(), rustls::ALL_VERSIONS, &["h2"]).await;
    assert!(foreign.is_err());
    let own = connect_with(&server, &server.ca_file(), rustls::ALL_VERSIONS, &["h2"]).await;
    assert!(own.is_ok());
}

#[tokio::test]
async fn the_bundle_contains_the_private_ca() {
    let server = ServerProcess::start();
    let bundle = fs::read_to_string(server.data_dir.join("ca-bundle.pem")).unwrap();
    assert!(bundle.starts_with(&fs::read_to_string(server.ca_file()).unwrap()));
    let stream = connect_with(
        &server,
        &server.data_dir.join("ca-bundle.pem"),
        rustls::ALL_VERSIONS,
        &["h2"],
    )
    .await;
    assert!(stream.is_ok());
}

#[tokio::test]
async fn a_configured_certificate_is_served() {
    let own = Files::new();
    let server = ServerProcess::start_with(&[
        "--tls-cert",
        &own.path("cert.pem"),
        "--tls-key",
        &own.path("key.pem"),
    ]);
    assert!(!server.ca_file().exists(), "no private CA is created");
    let admin = server.init();
    let cert = own.path("cert.pem");
    let http = Http::new(&server.url, Some(Path::new(&cert)));
    assert_eq!(http.token(&admin, &[]).await.status, 200);
    let mut client = gatekey();
    client.env("GATEKEY_API_KEY", admin.encoded(server.endpoint())).env("GATEKEY_CA_FILE", &cert);
    assert!(client.arg("whoami").output().unwrap().status.success());
}

/// Whether a new connection is served this certificate.
async fn is_served(server: &ServerProcess, cert: &str) -> bool {
    connect_with(server, Path::new(cert), rustls::ALL_VERSIONS, &["h2"]).await.is_ok()
}

#[tokio::test]
async fn a_replaced_certificate_is_served_without_restart() {
    let (own, new) = (Files::new(), Files::new());
    let server = ServerProcess::start_with(&[
        "--tls-cert",
        &own.path("cert.pem"),
        "--tls-key",
        &own.path("key.pem"),
    ]);
    let admin = server.init();
    let http = Http::new(&server.url, Some(Path::new(&own.path("cert.pem"))));
    assert_eq!(http.token(&admin, &[]).await.status, 200);
    fs::copy(new.path("key.pem"), own.path("key.pem")).unwrap();
    fs::copy(new.path("cert.pem"), own.path("cert.pem")).unwrap();
    eventually("the new certificate is served", async || {
        is_served(&server, &new.path("cert.pem")).await
    })
    .await;
    assert_eq!(http.token(&admin, &[]).await.status, 200, "an earlier connection stays open");
}

#[tokio::test]
async fn sighup_reloads_only_a_matching_certificate() {
    let (own, new) = (Files::new(), Files::new());
    let server = ServerProcess::start_with(&[
        "--tls-cert",
        &own.path("cert.pem"),
        "--tls-key",
        &own.path("key.pem"),
    ]);
    let hang_up = || {
        let pid = server.pid().to_string();
        assert!(
            std::process::Command::new("kill").args(["-HUP", &pid]).status().unwrap().success()
        );
    };
    let before = fs::read(own.path("cert.pem")).unwrap();
    fs::copy(new.path("cert.pem"), own.path("cert.pem")).unwrap();
    hang_up();
    server.wait_for_log(
        "cannot reload the certificate; serving the earlier one until the files change again",
    );
    fs::write(new.path("before.pem"), before).unwrap();
    assert!(is_served(&server, &new.path("before.pem")).await);
    fs::copy(new.path("key.pem"), own.path("key.pem")).unwrap();
    hang_up();
    server.wait_for_log("reloaded the certificate");
    assert!(is_served(&server, &new.path("cert.pem")).await);
}

/// This holds whether or not the server is running.
#[tokio::test]
async fn init_omits_the_ca_without_private_ca() {
    let own = Files::new();
    let flags = ["--tls-cert", &*own.path("cert.pem"), "--tls-key", &*own.path("key.pem")];
    let mut server = ServerProcess::start_with(&flags);
    let data_dir = server.data_dir.to_str().unwrap().to_owned();
    for (running, name) in [(true, "a"), (false, "b")] {
        if !running {
            assert!(server.stop().await.success());
        }
        let output = run(&["init", "--data-dir", &data_dir, "--name", name, "--output", "json"]);
        let made: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(made["ca_file"], serde_json::Value::Null, "{made}");
    }
    assert!(!server.ca_file().exists());
}

#[test]
fn a_key_must_match_its_certificate() {
    let own = Files::new();
    fs::write(own.path("other.pem"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let error = own.refused("cert.pem", "other.pem");
    assert!(error.contains("cannot be used together"), "{error}");
    for file in ["cert.pem", "other.pem"] {
        assert!(error.contains(file), "{error}");
    }
    let (cert, key) = (own.path("cert.pem"), own.path("other.pem"));
    let output = run(&["config", "check", "--tls-cert", &cert, "--tls-key", &key]);
    assert!(
        refused(&output, 1).contains("cannot be used together"),
        "config check reports it, too"
    );
}

#[test]
fn an_invalid_certificate_file_is_named() {
    let own = Files::new();
    fs::write(own.path("junk.pem"), "junk").unwrap();
    for (cert, key, named, what) in [
        ("missing.pem", "key.pem", "missing.pem", "cannot be read"),
        ("cert.pem", "missing.pem", "missing.pem", "cannot be read"),
        ("junk.pem", "key.pem", "junk.pem", "certificate"),
        ("cert.pem", "junk.pem", "junk.pem", "private key"),
        ("key.pem", "cert.pem", "key.pem", "certificate"),
    ] {
        let error = own.refused(cert, key);
        assert!(error.contains(named) && error.contains(what), "{cert} {key}: {error}");
    }
}

#[test]
fn a_certificate_without_its_key_is_refused() {
    let own = Files::new();
    for (flag, file) in [("--tls-cert", "cert.pem"), ("--tls-key", "key.pem")] {
        let output = run(&["serve", "--data-dir", &own.path("data"), flag, &own.path(file)]);
        let error = refused(&output, 2);
        for named in [flag, "tls.cert_file", "tls.key_file"] {
            assert!(error.contains(named), "{error}");
        }
    }
    let both = ["--tls-cert", &*own.path("cert.pem"), "--tls-key", &*own.path("key.pem")];
    let data_dir = own.path("data");
    let output = run(&[&["serve", "--data-dir", &data_dir, "--plaintext"], &both[..]].concat());
    assert!(refused(&output, 2).contains("--plaintext"));
}

#[tokio::test]
async fn the_private_ca_survives_restarts() {
    let mut server = Server::with_public_url().await;
    let before = fs::read(server.process.ca_file()).unwrap();
    server.restart().await;
    assert_eq!(fs::read(server.process.ca_file()).unwrap(), before);
    server.kill_and_restart();
    assert_eq!(fs::read(server.process.ca_file()).unwrap(), before);
    server.token(&server.admin).await;
}

/// A new CA is created only if the previous one does not cover the host name.
#[test]
fn a_new_public_url_may_replace_the_ca() {
    let directory = tempfile::tempdir().unwrap();
    let ca = |flags: &[&str]| {
        let mut server = ServerProcess::start_on(directory.path(), flags);
        let ca = fs::read_to_string(server.ca_file()).unwrap();
        assert!(server.terminate().success());
        let warned = server
            .log()
            .iter()
            .any(|line| line["level"] == "WARN" && line.to_string().contains("ca.pem"));
        (ca, warned)
    };
    let (first, _) = ca(&[]);
    // The CA always covers the names of this machine.
    for url in ["https://localhost:8443", "https://127.0.0.1", "https://[::1]:443"] {
        assert_eq!(ca(&["--public-url", url]), (first.clone(), false), "{url}");
    }
    let (second, warned) = ca(&["--public-url", PUBLIC_URL]);
    assert_ne!(second, first);
    assert!(warned, "the log asks to trust the new CA");
    assert_eq!(ca(&["--public-url", &format!("{PUBLIC_URL}:8443")]), (second.clone(), false));
    assert_eq!(ca(&[]), (second, false), "it covers everything that the first CA covered");
}

#[test]
fn a_lost_ca_file_is_written_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = ServerProcess::start_on(directory.path(), &[]);
    let before = fs::read(server.ca_file()).unwrap();
    assert!(server.terminate().success());
    fs::remove_file(server.ca_file()).unwrap();
    let server = ServerProcess::start_on(directory.path(), &[]);
    assert_eq!(fs::read(server.ca_file()).unwrap(), before);
}
