//! `gatekey doctor`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::TcpListener,
    path::Path,
    process::Output,
    sync::Arc,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedKey, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use serde_json::{Value, json};
use tokio_rustls::TlsAcceptor;

use super::{fails, stdout, tamper};
use crate::{
    proxy::flyteadmin,
    support::{
        Credentials, PUBLIC_URL, Server, ServerProcess, gatekey, run,
        upstream::{Upstream, raw_upstream},
    },
};

const STEPS: [&str; 10] = [
    "name",
    "TCP",
    "TLS",
    "ALPN",
    "discovery over HTTPS",
    "discovery over RPC",
    "token",
    "RPC over Connect",
    "RPC over gRPC",
    "encoded key",
];

/// The steps of a report in JSON; the exit code must match them.
fn report(output: &Output) -> BTreeMap<String, Value> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("no report, but: {stderr}"));
    let steps: BTreeMap<String, Value> = report["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| (step["step"].as_str().unwrap().to_owned(), step.clone()))
        .collect();
    let failed = steps.values().any(|step| step["state"] == "failed");
    assert_eq!(output.status.code(), Some(if failed { 8 } else { 0 }), "{report:#}\n{stderr}");
    assert_eq!(report["ok"], !failed);
    for step in steps.values() {
        let trouble = step["state"] == "failed" || step["state"] == "warning";
        assert_eq!(step["mend"].is_string(), trouble, "{step}");
    }
    steps
}

fn states<'s>(steps: &'s BTreeMap<String, Value>, state: &str) -> BTreeSet<&'s str> {
    steps.iter().filter(|(_, step)| step["state"] == state).map(|(name, _)| name.as_str()).collect()
}

/// Runs the doctor for a URL, with a trusted CA and variables in its environment.
fn doctor(
    url: &str,
    ca_file: Option<&Path>,
    environment: &[(&str, &str)],
) -> BTreeMap<String, Value> {
    let mut command = gatekey();
    command.args(["doctor", url, "--output", "json"]).envs(environment.iter().copied());
    if let Some(ca_file) = ca_file {
        command.arg("--ca-file").arg(ca_file);
    }
    report(&command.output().unwrap())
}

fn assert_failed(steps: &BTreeMap<String, Value>, step: &str, found: &str, fix: &str) {
    let of = &steps[step];
    assert_eq!(of["state"], "failed", "{of}");
    assert!(of["found"].as_str().unwrap().contains(found), "no {found:?} in {of}");
    assert!(of["mend"].as_str().unwrap().contains(fix), "no {fix:?} in {of}");
}

/// An address without a listener.
fn deserted() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

#[tokio::test]
async fn a_working_setup_passes_every_step() {
    let server = Server::start().await;
    let output = server
        .process
        .as_client(&server.admin)
        .args(["doctor", "--output", "json"])
        .output()
        .unwrap();
    let steps = report(&output);
    assert_eq!(steps.keys().map(String::as_str).collect::<BTreeSet<_>>(), STEPS.into());
    let ok = states(&steps, "ok");
    // The server has a port, which Flyte's clients drop from a key; Gatekey's clients keep it.
    assert_eq!(states(&steps, "warning"), ["encoded key"].into());
    assert_eq!(ok.len(), STEPS.len() - 1, "{steps:#?}");
    for step in ["RPC over Connect", "RPC over gRPC"] {
        assert!(steps[step]["found"].as_str().unwrap().contains("admin"), "{}", steps[step]);
    }
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains(&server.admin.client_secret), "{text}");
}

#[tokio::test]
async fn doctor_reads_flytes_config_file() {
    let server = Server::start().await;
    let directory = server.write_flyte_config("config.yaml");
    let output =
        gatekey().args(["doctor", "--output", "json"]).current_dir(directory.path()).output();
    assert_eq!(states(&report(&output.unwrap()), "failed"), [].into());
}

/// Each failed step is followed by a fix.
#[tokio::test]
async fn each_step_is_one_line() {
    let server = Server::start().await;
    let text = stdout(&server.process.as_client(&server.admin).arg("doctor").output().unwrap());
    for step in STEPS {
        assert!(text.contains(&format!("  {step}  ")), "{step}: {text}");
    }
    assert!(text.contains(" fix: "), "{text}");
    let output = run(&["doctor", &format!("https://{}", deserted())]);
    assert_eq!(output.status.code(), Some(8));
    assert!(String::from_utf8_lossy(&output.stdout).contains("FAILED   TCP"), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("1 of 10 steps failed"), "{output:?}");
}

#[tokio::test]
async fn without_credentials_later_steps_are_skipped() {
    let server = ServerProcess::start();
    let steps = doctor(&server.url, Some(&server.ca_file()), &[]);
    assert_eq!(states(&steps, "skipped"), ["token", "RPC over Connect", "RPC over gRPC"].into());
    assert_eq!(states(&steps, "failed"), BTreeSet::new());
    let stderr = fails(&run(&["doctor"]), 2);
    assert!(stderr.contains("GATEKEY_API_KEY"), "{stderr}");
}

#[test]
fn an_unresolvable_or_closed_address_is_reported() {
    let steps = doctor("https://nowhere.invalid", None, &[]);
    assert_failed(&steps, "name", "nowhere.invalid", "");
    assert_eq!(states(&steps, "skipped").len(), 8);
    let steps = doctor(&format!("https://{}", deserted()), None, &[]);
    assert_failed(&steps, "TCP", "nothing listens", "--listen");
    assert_eq!(states(&steps, "skipped").len(), 7);
}

/// The fix contains the path of the CA.
#[tokio::test]
async fn an_untrusted_issuer_is_reported() {
    let server = ServerProcess::start();
    let steps = doctor(&server.url, None, &[]);
    assert_failed(&steps, "TLS", "not trusted", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH");
    assert_failed(&steps, "TLS", "not trusted", "--ca-file");
    let other = ServerProcess::start();
    let steps = doctor(&server.url, Some(&other.ca_file()), &[]);
    assert_failed(&steps, "TLS", "neither by this system nor by", "ca.pem");
}

#[tokio::test]
async fn doctor_reads_the_ca_file_variable() {
    let server = ServerProcess::start();
    let ca_file = server.ca_file();
    for variable in ["GATEKEY_CA_FILE", "SSL_CERT_FILE"] {
        let steps = doctor(&server.url, None, &[(variable, ca_file.to_str().unwrap())]);
        assert_eq!(steps["TLS"]["state"], "ok", "{variable}: {}", steps["TLS"]);
    }
}

/// A certificate and its key in PEM.
fn certificate(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    change(&mut params);
    let signing_key = KeyPair::generate().unwrap();
    let cert = params.self_signed(&signing_key).unwrap();
    let CertifiedKey { cert, signing_key } = CertifiedKey { cert, signing_key };
    (cert.pem(), signing_key.serialize_pem())
}

/// Covers certificates for another name, for another time, and of a CA.
#[tokio::test]
async fn an_unsuitable_certificate_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let expired =
        |params: &mut CertificateParams| params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let future =
        |params: &mut CertificateParams| params.not_before = rcgen::date_time_ymd(2200, 1, 1);
    let ca =
        |params: &mut CertificateParams| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    for (number, (pem, found, fix)) in [
        (certificate(&["keys.example.com"], |_| {}), "is for", "--public-url"),
        (certificate(&["127.0.0.1"], expired), "has expired", "renew it"),
        (certificate(&["127.0.0.1"], future), "not valid yet", "clock"),
        (certificate(&["127.0.0.1"], ca), "is a CA's", "CA:FALSE"),
    ]
    .into_iter()
    .enumerate()
    {
        fs::write(path("cert.pem"), pem.0).unwrap();
        fs::write(path("key.pem"), pem.1).unwrap();
        let flags = ["--tls-cert", &*path("cert.pem"), "--tls-key", &*path("key.pem")];
        let server =
            ServerProcess::start_on(&directory.path().join(format!("data-{number}")), &flags);
        let steps = doctor(&server.reached_at, Some(Path::new(&path("cert.pem"))), &[]);
        assert_failed(&steps, "TLS", found, fix);
    }
}

#[tokio::test]
async fn a_port_without_tls_is_reported() {
    let server = ServerProcess::start_with(&["--plaintext"]);
    let steps = doctor(&server.url.replace("http://", "https://"), None, &[]);
    assert_failed(&steps, "TLS", "does not speak TLS", "http://");
    let steps = doctor(&server.url, None, &[]);
    assert_eq!(steps["TLS"]["state"], "warning", "{}", steps["TLS"]);
    assert_eq!(steps["discovery over RPC"]["state"], "ok", "{}", steps["discovery over RPC"]);
}

#[tokio::test]
async fn a_port_with_tls_is_reported() {
    let server = ServerProcess::start();
    let steps = doctor(&server.url.replace("https://", "http://"), None, &[]);
    let https = format!("use {}", server.url);
    assert_failed(&steps, "discovery over HTTPS", "does not answer with plain HTTP", &https);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_without_http2_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let (pem, key) = certificate(&["127.0.0.1"], |_| {});
    let ca_file = directory.path().join("cert.pem");
    fs::write(&ca_file, &pem).unwrap();
    for (offered, found) in
        [("http/1.1", "HTTP/2 is not offered"), ("h2", "HTTP/1.1 is not offered")]
    {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap();
        config.alpn_protocols = vec![offered.as_bytes().to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let proxy = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // It completes the handshake, and never responds.
                tokio::spawn(acceptor.accept(stream));
            }
        });
        let ca_file = ca_file.clone();
        let steps =
            tokio::task::spawn_blocking(move || doctor(&url, Some(&ca_file), &[])).await.unwrap();
        assert_failed(&steps, "ALPN", found, "proxy");
        assert_failed(&steps, "discovery over HTTPS", "gives no response", "logs");
        proxy.abort();
    }
}

#[tokio::test]
async fn another_issuer_in_the_metadata_is_reported() {
    let server = ServerProcess::start_with(&["--public-url", PUBLIC_URL]);
    let steps = doctor(&server.reached_at, Some(&server.ca_file()), &[]);
    assert_failed(&steps, "discovery over HTTPS", PUBLIC_URL, "--public-url");
    assert_failed(&steps, "discovery over RPC", "the token endpoint", "--public-url");
    assert!(states(&steps, "skipped").contains("token"), "{steps:#?}");
}

#[tokio::test]
async fn a_refused_key_is_reported_with_a_fix() {
    let server = Server::start().await;
    let wrong = Credentials { client_secret: "wrong".to_owned(), ..server.admin.clone() };
    let output =
        server.process.as_client(&wrong).args(["doctor", "--output", "json"]).output().unwrap();
    let steps = report(&output);
    assert_eq!(steps["token"]["state"], "failed", "{}", steps["token"]);
    assert!(steps["token"]["found"].as_str().unwrap().contains("key admin of GATEKEY_API_KEY"));
    assert_eq!(states(&steps, "skipped"), ["RPC over Connect", "RPC over gRPC"].into());
}

/// Covers each public client.
#[tokio::test]
async fn a_port_in_the_key_is_explained() {
    let server = Server::start().await;
    let (host, port) = server.process.endpoint().split_once(':').unwrap();
    let (ca_file, encoded) =
        (server.process.ca_file(), server.admin.encoded(server.process.endpoint()));
    let steps = doctor(&server.process.url, Some(&ca_file), &[("FLYTE_API_KEY", &encoded)]);
    assert_failed(&steps, "encoded key", "misread FLYTE_API_KEY", "--endpoint");
    let readings = steps["encoded key"]["details"]["readings"].as_array().unwrap();
    assert_eq!(readings.len(), 5);
    assert_eq!((&readings[0]["endpoint"], &readings[0]["client_id"]), (&json!(host), &json!(port)));
    assert!(readings[4]["refuses"].is_string(), "{readings:?}");
    assert_eq!(steps["RPC over gRPC"]["state"], "ok", "Gatekey's client keeps the port");

    let bare = server.admin.encoded(host);
    let steps = doctor(&server.process.url, Some(&ca_file), &[("FLYTE_API_KEY", &bare)]);
    let step = &steps["encoded key"];
    assert_eq!(step["state"], "warning", "{step}");
    assert!(step["mend"].as_str().unwrap().contains(server.process.endpoint()), "{step}");
}

/// Also rejects an invalid CA file.
#[test]
fn an_invalid_url_is_a_usage_error() {
    for arguments in [
        &["doctor", "https://h/path"][..],
        &["doctor", "ftp://h"],
        &["doctor", "https://"],
        &["doctor", "https://h", "--ca-file", "/nonexistent"],
        &["doctor", "https://h", "--data-dir", "/tmp"],
    ] {
        fails(&run(arguments), 2);
    }
}

fn check_store(data_dir: &Path, more: &[&str]) -> BTreeMap<String, Value> {
    let words = ["doctor", "--data-dir", data_dir.to_str().unwrap(), "--output", "json"];
    report(&run(&[&words[..], more].concat()))
}

/// The inspection also works while a server uses the directory.
#[tokio::test]
async fn doctor_changes_nothing_in_the_data_directory() {
    let mut server = Server::start().await;
    server.create_key("ci").await;
    let steps = check_store(&server.process.data_dir, &[]);
    let all = ["database", "integrity", "keys", "ledger", "root key", "root key fits", "seal"];
    assert_eq!(states(&steps, "ok"), all.into());
    assert!(steps["keys"]["found"].as_str().unwrap().starts_with("2 "), "{}", steps["keys"]);
    assert!(server.process.stop().await.success());
    let contents = || -> BTreeMap<_, _> {
        let files = fs::read_dir(&server.process.data_dir).unwrap().map(Result::unwrap);
        files.map(|file| (file.file_name(), fs::read(file.path()).unwrap())).collect()
    };
    let before = contents();
    assert_eq!(states(&check_store(&server.process.data_dir, &[]), "ok"), all.into());
    let long = run(&["doctor", "store", "--data-dir", server.process.data_dir.to_str().unwrap()]);
    assert!(stdout(&long).contains("chain intact"), "{long:?}");
    assert_eq!(contents(), before);
}

#[tokio::test]
async fn client_settings_do_not_prevent_a_store_check() {
    let server = ServerProcess::start();
    let admin = server.init();
    for words in [&["doctor", "store"][..], &["doctor"]] {
        let mut command = server.as_client(&admin);
        command.args(words).arg("--data-dir").arg(&server.data_dir);
        assert!(stdout(&command.output().unwrap()).contains("root key fits"));
    }
}

/// Also reports secrets without a key.
#[tokio::test]
async fn a_broken_ledger_is_reported() {
    let mut server = Server::start().await;
    server.create_key("ci").await;
    assert!(server.process.stop().await.success());
    let dangling =
        "PRAGMA foreign_keys = OFF; UPDATE secret SET client_id = 'nobody' WHERE client_id = 'ci';";
    tamper(
        &server.process.data_dir,
        &format!("{dangling} UPDATE ledger SET actor = 'x' WHERE sequence = 2"),
    );
    let steps = check_store(&server.process.data_dir, &[]);
    assert_failed(&steps, "ledger", "entry 2", "");
    assert_failed(&steps, "integrity", "secret", "gatekey restore");
    assert_failed(&steps, "keys", "secret", "gatekey restore");
    assert_eq!(states(&steps, "ok"), ["database", "root key", "root key fits"].into());
}

#[tokio::test]
async fn a_wrong_or_missing_root_key_is_reported() {
    let (mut server, other) = (Server::start().await, Server::start().await);
    assert!(server.process.stop().await.success());
    let other_key = other.process.data_dir.join("root.key");
    let steps =
        check_store(&server.process.data_dir, &["--root-key-file", other_key.to_str().unwrap()]);
    assert_failed(&steps, "root key fits", "does not match", "--root-key-file");
    assert_failed(&steps, "ledger", "entry 1", "root key");
    fs::remove_file(server.process.data_dir.join("root.key")).unwrap();
    let steps = check_store(&server.process.data_dir, &[]);
    assert_failed(&steps, "root key", "is missing", "--root-key-file");
    assert_eq!(states(&steps, "skipped"), ["ledger", "root key fits", "seal"].into());
}

/// A missing directory is not created.
#[test]
fn a_missing_database_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let steps = check_store(&data_dir, &[]);
    assert_failed(&steps, "database", "cannot open", "name the data directory");
    assert!(!data_dir.exists());
}

/// Runs the doctor with the admin key, for a server with an upstream.
async fn gate(upstream: &str) -> BTreeMap<String, Value> {
    let server = Server::with_config(&format!("[gate]\nupstream = \"{upstream}\"\n")).await;
    let output =
        server.process.as_client(&server.admin).args(["doctor", "--output", "json"]).output();
    report(&output.unwrap())
}

/// The upstream runs in the test, which waits for the command.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_finds_the_gate_in_front() {
    let upstream = Upstream::start().await;
    let steps = gate(&upstream.url).await;
    assert_eq!(steps["gate"]["state"], "ok", "{}", steps["gate"]);
    assert!(steps["gate"]["found"].as_str().unwrap().contains("answers this one"));
}

#[tokio::test]
async fn doctor_finds_a_silent_upstream() {
    let steps = gate(&format!("http://{}", deserted())).await;
    assert_failed(&steps, "gate", "does not answer", "gate.upstream");
}

/// A call without a credential shows whether the gate is in front.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_tries_the_gate_without_a_key() {
    let upstream = Upstream::start().await;
    for (rule, state) in [("read", "ok"), ("anonymous", "failed")] {
        let toml = format!(
            "[gate]\nupstream = \"{}\"\n[gate.rules]\n\
             \"/flyteidl2.project.ProjectService/ListProjects\" = \"{rule}\"\n",
            upstream.url
        );
        let server = Server::with_config(&toml).await;
        let steps = doctor(&server.process.url, Some(&server.process.ca_file()), &[]);
        assert_eq!(steps["token"]["state"], "skipped");
        assert_eq!(steps["gate"]["state"], state, "{}", steps["gate"]);
    }
}

/// Runs the doctor with the admin key of a server in front of `upstreams[0]`.
async fn doctor_of(upstreams: &[&str]) -> (Server, Vec<Value>) {
    let server = Server::with_config(&format!("[gate]\nupstream = \"{}\"\n", upstreams[0])).await;
    let mut command = server.process.as_client(&server.admin);
    command.args(["doctor", "--output", "json"]);
    for upstream in upstreams {
        command.args(["--upstream", upstream]);
    }
    let output = command.output().unwrap();
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let steps = printed["steps"].as_array().unwrap().clone();
    let steps: Vec<_> = steps.into_iter().filter(|step| step["step"] == "upstream").collect();
    assert_eq!(steps.len(), upstreams.len(), "{printed:#}");
    (server, steps)
}

fn assert_found(step: &Value, state: &str, found: &str) {
    assert_eq!(step["state"], state, "{step}");
    assert!(step["found"].as_str().unwrap().contains(found), "no {found:?} in {step}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_calls_upstreams_past_the_gate() {
    let flyte = Upstream::start().await;
    let (_grpc, grpc) = flyteadmin::serve_grpc().await;
    let (_http, http) = flyteadmin::serve_http().await;
    let other = raw_upstream(b"HTTP/1.1 500 Broken\r\ncontent-length: 0\r\n\r\n").await;
    let [grpc, http] = [grpc, http].map(|address| format!("http://{address}"));
    let closed = format!("http://{}", deserted());
    let (_server, steps) = doctor_of(&[&flyte.url, &grpc, &http, &other, &closed]).await;
    assert_found(&steps[0], "ok", "every program on this machine can call it without a key");
    // flyteadmin verifies tokens itself, on both of its ports.
    assert_found(&steps[1], "ok", "refuses calls without a credential itself");
    assert_found(&steps[2], "ok", "refuses calls without a credential itself");
    assert_found(&steps[3], "warning", "not as Flyte does: 500");
    // Flyte answers through the gate, so this address is closed to this machine only.
    assert_found(&steps[4], "ok", "cannot be called past the gate from this machine");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_finds_an_upstream_that_is_down() {
    let closed = format!("http://{}", deserted());
    let (_server, steps) = doctor_of(&[&closed]).await;
    assert_found(&steps[0], "failed", "does not answer this machine");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_finds_a_gate_before_itself() {
    let plain = Server::with_config("[tls]\nplaintext = true\n").await;
    let server = Server::start().await;
    let mut command = server.process.as_client(&server.admin);
    command.args(["doctor", "--output", "json", "--upstream", &server.process.url]);
    command.args(["--upstream", &plain.process.reached_at]);
    let output = command.output().unwrap();
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let steps = printed["steps"].as_array().unwrap().iter();
    let found: Vec<_> = steps.filter(|step| step["step"] == "upstream").collect();
    assert_found(found[0], "failed", "is the public URL");
    assert_found(found[1], "failed", "is Gatekey");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_reads_upstreams_from_the_configuration() {
    let upstream = Upstream::start().await;
    let toml = format!("[gate]\nupstream = \"{}\"\n", upstream.url);
    let server = Server::with_config(&toml).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gatekey.toml");
    let public = format!("[server]\npublic_url = \"{}\"\n{toml}", server.process.url);
    fs::write(&file, public).unwrap();
    let output = gatekey()
        .args(["doctor", "--output", "json", "--config"])
        .arg(&file)
        .arg("--ca-file")
        .arg(server.process.ca_file())
        .output()
        .unwrap();
    let steps = report(&output);
    assert_eq!(steps["gate"]["state"], "ok", "{}", steps["gate"]);
    assert_found(&steps["upstream"], "ok", &upstream.url);
}

/// Flyte 2 without anything in front of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_finds_a_missing_gate_without_login() {
    let flyte = Upstream::start().await;
    let steps = doctor(&flyte.url, None, &[]);
    assert_eq!(steps["token"]["state"], "skipped");
    assert_failed(&steps, "gate", "Flyte answers calls without a key", "gatekey serve --upstream");
}
