//! Certificates from files, judged before clients do.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc, time::Duration};

use gatekey_core::{
    Env, Timestamp,
    env::{Clock, SystemEntropy},
};
use gatekey_listener::tls::PrivateCa;
use gatekey_store::SqliteStore;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use serde_json::Value;

use crate::support::{Http, ServerProcess, eventually, gatekey, now, root_key, run};

const DAY: u64 = 86_400;

/// A directory with certificates and keys.
struct Files(tempfile::TempDir);

/// A certificate authority, or a server's certificate, with its key.
struct Made {
    params: CertificateParams,
    key: KeyPair,
    pem: String,
}

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    /// Writes a chain and a key, and returns the flags that name them.
    fn serve(&self, chain: &[&str], key: &KeyPair) -> [String; 4] {
        self.write("chain.pem", chain.concat().as_bytes());
        self.write("key.pem", key.serialize_pem().as_bytes());
        self.flags()
    }

    fn flags(&self) -> [String; 4] {
        ["--tls-cert".into(), self.path("chain.pem"), "--tls-key".into(), self.path("key.pem")]
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// The error of a server that must not start, which `config check` reports, too.
    fn refused(&self) -> String {
        let data_dir = self.path("data");
        let flags = self.flags();
        let flags = flags.each_ref().map(String::as_str);
        let serve = ["serve", "--listen", "127.0.0.1:0", "--data-dir", &data_dir];
        let errors = [&serve[..], &["config", "check"]].map(|words| {
            let output = run(&[words, &flags].concat());
            assert_eq!(output.status.code(), Some(1));
            String::from_utf8(output.stderr).unwrap()
        });
        assert_eq!(errors[0], errors[1]);
        assert!(!Path::new(&data_dir).exists());
        errors[0].clone()
    }
}

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    CertificateParams::new(names).unwrap()
}

/// An instant that many seconds from now.
fn from_now(seconds: i64) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(now() + seconds).unwrap()
}

fn authority(name: &str, issuer: Option<&Made>) -> Made {
    let mut params = params(&[]);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    made(params, issuer)
}

fn made(params: CertificateParams, issuer: Option<&Made>) -> Made {
    let key = KeyPair::generate().unwrap();
    let certificate = match issuer {
        Some(Made { params: of, key: by, .. }) => {
            params.signed_by(&key, &Issuer::from_params(of, by)).unwrap()
        }
        None => params.self_signed(&key).unwrap(),
    };
    Made { params, key, pem: certificate.pem() }
}

/// A self-signed certificate for this machine, changed.
fn own(change: impl FnOnce(&mut CertificateParams)) -> Made {
    let mut params = params(&["localhost", "127.0.0.1"]);
    change(&mut params);
    made(params, None)
}

/// What the log of a server says about its certificate.
fn logged(server: &ServerProcess) -> Vec<String> {
    let about = |line: &Value| line["message"] == "clients may reject the certificate";
    let lines = server.log().into_iter().filter(about);
    lines.map(|line| line["problem"].as_str().unwrap().to_owned()).collect()
}

/// What a start and `config check` say about a chain; both must agree.
fn judged(chain: &[&str], key: &KeyPair, environment: &[(&str, &str)]) -> Vec<String> {
    let files = Files::new();
    let flags = files.serve(chain, key);
    let flags = flags.each_ref().map(String::as_str);
    let server =
        ServerProcess::start_in(files.0.path().join("data").as_path(), &flags, environment);
    let problems = logged(&server);
    let mut check = gatekey();
    check.args(["config", "check", "--listen", "127.0.0.1:1"]).args(flags);
    let output = check.envs(environment.iter().copied()).output().unwrap();
    assert!(output.status.success());
    let warnings = String::from_utf8(output.stderr).unwrap();
    let prefix = format!("warning: clients may reject {}: ", files.path("chain.pem"));
    let checked: Vec<_> =
        warnings.lines().map(|line| line.strip_prefix(&prefix).unwrap_or(line)).collect();
    assert_eq!(checked, problems);
    problems
}

#[tokio::test]
async fn a_certificates_dates_are_judged() {
    let day = i64::try_from(DAY).unwrap();
    for (from, to, expected) in [
        (-90 * day, -day, "the certificate expired at "),
        (day, 90 * day, "the certificate is not valid before "),
        (-day, 13 * day, "the certificate expires at "),
    ] {
        let Made { key, pem, .. } = own(|params| {
            (params.not_before, params.not_after) = (from_now(from), from_now(to));
        });
        let problems = judged(&[&pem], &key, &[]);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with(expected), "{problems:?}");
    }
    let Made { key, pem, .. } = own(|params| params.not_after = from_now(15 * day));
    assert!(judged(&[&pem], &key, &[]).is_empty());
}

#[tokio::test]
async fn a_certificate_must_name_the_public_host() {
    let Made { key, pem, .. } = own(|params| {
        params.subject_alt_names.retain(|name| format!("{name:?}").contains("localhost"));
    });
    let problems = judged(&[&pem], &key, &[]);
    assert_eq!(problems, ["the certificate is for localhost, not for 127.0.0.1"]);
}

#[tokio::test]
async fn a_certificate_must_be_a_servers() {
    let of_ca = own(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    let problems = judged(&[&of_ca.pem], &of_ca.key, &[]);
    assert!(problems[0].contains("is a CA's"), "{problems:?}");
    let client = own(|params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    let problems = judged(&[&client.pem], &client.key, &[]);
    assert!(problems[0].contains("serverAuth"), "{problems:?}");
}

#[tokio::test]
async fn a_chain_must_be_whole_and_ordered() {
    let root = authority("root", None);
    let intermediate = authority("intermediate", Some(&root));
    let other = authority("other", None);
    let leaf = made(params(&["127.0.0.1"]), Some(&intermediate));
    let files = Files::new();
    files.write("root.pem", root.pem.as_bytes());
    let trusted = files.path("root.pem");
    let trusting = [("SSL_CERT_FILE", &*trusted)];
    let judge = |chain: &[&Made], environment: &[(&str, &str)]| {
        let chain: Vec<_> = chain.iter().map(|made| &*made.pem).collect();
        judged(&chain, &leaf.key, environment)
    };
    assert!(judge(&[&leaf, &intermediate], &trusting).is_empty());
    assert!(judge(&[&leaf, &intermediate, &root], &[]).is_empty());
    for (chain, expected) in [
        (vec![&leaf], "issuer of the last certificate (1)"),
        (vec![&leaf, &root, &intermediate], "certificate 3 issued certificate 1"),
        (vec![&leaf, &other], "the chain lacks the issuer"),
    ] {
        let problems = judge(&chain, &trusting);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains(expected), "{problems:?}");
    }
    // The same name with another key, as of a CA that was renewed.
    let namesake = authority("intermediate", Some(&root));
    let problems = judge(&[&leaf, &namesake], &trusting);
    assert_eq!(problems, ["the chain has a signature that is wrong"]);
}

#[tokio::test]
async fn an_expired_intermediate_is_reported() {
    let root = authority("root", None);
    let mut expired = params(&[]);
    expired.distinguished_name.push(rcgen::DnType::CommonName, "intermediate");
    expired.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    expired.not_after = from_now(-60);
    let intermediate = made(expired, Some(&root));
    let leaf = made(params(&["127.0.0.1"]), Some(&intermediate));
    let problems = judged(&[&leaf.pem, &intermediate.pem, &root.pem], &leaf.key, &[]);
    assert!(problems[0].starts_with("certificate 2 of the chain expired at "), "{problems:?}");
}

#[tokio::test]
async fn a_reloaded_certificate_is_judged() {
    let files = Files::new();
    let sound = own(|_| {});
    let flags = files.serve(&[&sound.pem], &sound.key);
    let server = ServerProcess::start_with(&flags.each_ref().map(String::as_str));
    assert!(logged(&server).is_empty());
    let expired = own(|params| params.not_after = from_now(-60));
    files.serve(&[&expired.pem], &expired.key);
    server.wait_for_log("clients may reject the certificate");
    assert!(logged(&server)[0].contains("expired at"));
}

/// The value of the gauge, if it is there.
async fn expiry(server: &ServerProcess) -> Option<i64> {
    let http = Http::new(server.admin_url.as_deref().unwrap(), None);
    let text = http.get("/metrics", &[]).await.text();
    let line = text.lines().find(|line| line.starts_with("gatekey_certificate_expires_seconds "));
    line.map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
}

#[tokio::test]
async fn a_gauge_reports_the_certificates_expiry() {
    let admin = ["--admin-listen", "127.0.0.1:0"];
    let in_30_days = now() + 30 * i64::try_from(DAY).unwrap();
    let files = Files::new();
    let end = |seconds: i64| own(|params| params.not_after = from_now(seconds - now()));
    let first = end(in_30_days);
    let flags = files.serve(&[&first.pem], &first.key);
    let server =
        ServerProcess::start_with(&[&flags.each_ref().map(String::as_str)[..], &admin].concat());
    let near =
        |found: Option<i64>, expected: i64| found.is_some_and(|found| (found - expected).abs() < 5);
    assert!(near(expiry(&server).await, in_30_days));
    let second = end(in_30_days + 100);
    files.serve(&[&second.pem], &second.key);
    eventually("the gauge follows the file", async || {
        near(expiry(&server).await, in_30_days + 100)
    })
    .await;
    let private = ServerProcess::start_with(&admin);
    let lifetime = Duration::from_hours(2160).as_secs();
    let expected = now() + i64::try_from(lifetime).unwrap();
    assert!((expiry(&private).await.unwrap() - expected).abs() < 60);
    let plain = ServerProcess::start_with(&[&admin[..], &["--plaintext"]].concat());
    assert_eq!(expiry(&plain).await, None);
}

#[test]
fn an_unusable_pem_file_is_explained() {
    let (first, second) = (own(|_| {}), own(|_| {}));
    let key = first.key.serialize_pem();
    let bom = |pem: &str| [b"\xef\xbb\xbf", pem.as_bytes()].concat();
    let cut = second.pem.replacen('M', "!", 1);
    let short = second.pem.lines().take(4).collect::<Vec<_>>().join("\n");
    let garbage = "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n";
    let traditional = "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\
                       DEK-Info: AES-256-CBC,00\n\nAAAA\n-----END EC PRIVATE KEY-----\n";
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let utf16: Vec<u8> = first.pem.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let utf16 = [b"\xff\xfe", &*utf16].concat();
    let text = |text: &str| text.as_bytes().to_vec();
    for (chain, key, expected) in [
        (bom(&first.pem), text(&key), "chain.pem starts with a byte order mark"),
        (utf16, text(&key), "chain.pem starts with a byte order mark"),
        (text(&first.pem), bom(&key), "key.pem starts with a byte order mark"),
        (text(&first.pem), text(&encrypted), "key.pem is encrypted"),
        (text(&first.pem), text(traditional), "key.pem is encrypted"),
        (text(&first.pem), first.key.serialize_der(), "openssl pkey -inform DER"),
        (vec![0x30, 0x82, 1, 2], text(&key), "openssl x509 -inform DER"),
        (text(&format!("{}{cut}", first.pem)), text(&key), "certificate 2 in"),
        (text(&format!("{}{garbage}", first.pem)), text(&key), "certificate 2 in"),
        (text(&format!("{garbage}{}", first.pem)), text(&key), "certificate 1 in"),
        (text(&format!("{}{short}\n", first.pem)), text(&key), "certificate 2 in"),
        (
            text(&format!("{}{}", second.pem, first.pem)),
            text(&key),
            "the private key belongs to certificate 2",
        ),
    ] {
        let files = Files::new();
        files.write("chain.pem", &chain);
        files.write("key.pem", &key);
        let error = files.refused();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

/// A clock that is ahead.
struct Ahead;

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        Env::system().now().after(Duration::from_secs(100 * DAY))
    }
}

#[tokio::test]
async fn an_early_private_ca_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let flags = ["init", "--plaintext", "--data-dir", data_dir.to_str().unwrap()];
    assert!(run(&flags).status.success());
    let key = root_key(&data_dir);
    let observer = Arc::<gatekey_core::Directory>::default();
    let store = SqliteStore::open(&data_dir.join("gatekey.db"), &key, observer).unwrap();
    let env = Env::new(Arc::new(Ahead), Arc::new(SystemEntropy));
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    PrivateCa::ensure(&store, &key, &env, names).await.unwrap();
    drop(store);
    let server = ServerProcess::start_on(&data_dir, &[]);
    let about = |line: &Value| {
        line["message"].as_str().is_some_and(|text| text.starts_with("the private CA is not valid"))
    };
    assert!(server.log().iter().any(about), "{:?}", server.log());
}
