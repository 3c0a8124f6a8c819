//! How the client commands connect: plain HTTP, TLS and errors on the way.

use std::{fs, net::TcpListener, process::Command};

use super::{fails, run_with, stdout, value_of};
use crate::support::{Credentials, Proxy, Server, eventually, gatekey};

/// The calls that a client begins with, at the same time: they read the metadata of the server.
const CALLS: usize = 2;

async fn in_the_clear() -> Server {
    Server::with_flags(&["--plaintext"]).await
}

fn with_key(key: &str) -> Command {
    let mut command = gatekey();
    command.env("GATEKEY_API_KEY", key);
    command
}

/// Where a server listens, whatever its public URL.
fn address_of(server: &Server) -> &str {
    server.process.reached_at.split_once("://").unwrap().1
}

/// In the flag, in the variable, in an encoded key and in Flyte's file.
#[tokio::test]
async fn the_written_scheme_counts_everywhere() {
    let server = in_the_clear().await;
    let (url, endpoint) = (&server.process.url, server.process.endpoint());
    assert!(url.starts_with("http://"), "{url}");
    let key = server.admin.encoded(endpoint);
    let whoami = |command: &mut Command, words: &str| {
        let output = run_with(command, words);
        assert_eq!(value_of(&stdout(&output), "subject"), "admin", "{words}");
    };
    whoami(&mut with_key(&key), &format!("whoami --endpoint {url}"));
    whoami(with_key(&key).env("GATEKEY_ENDPOINT", url), "whoami");
    whoami(with_key(&key).env("GATEKEY_ENDPOINT", url.replace("http", "HTTP")), "whoami");
    let written = base64_of(&format!("{url}:admin:{}:None", server.admin.client_secret));
    whoami(&mut with_key(&written), "whoami");

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("flyte.yaml");
    for (address, insecure) in [
        (format!("dns:///{endpoint}"), "true"),
        (endpoint.to_owned(), "yes"),
        (url.clone(), "false"),
    ] {
        let text = format!(
            "admin: {{endpoint: '{address}', insecure: {insecure}, authType: ClientSecret, clientId: admin, \
             clientSecretEnvVar: S}}"
        );
        fs::write(&file, text).unwrap();
        for end in ["", "\r\n"] {
            let secret = format!("{}{end}", server.admin.client_secret);
            whoami(gatekey().env("FLYTECTL_CONFIG", &file).env("S", secret), "whoami");
        }
    }
}

/// A name that looks like loopback may resolve to any address.
#[tokio::test]
async fn plain_http_needs_a_loopback_address() {
    let server = in_the_clear().await;
    let (_, port) = server.process.endpoint().rsplit_once(':').unwrap();
    for host in
        ["localhost", "127.0.0.1.example.com", "localhost.example.com", "10.0.0.1", "0.0.0.0"]
    {
        let key = server.admin.encoded(&format!("{host}:{port}"));
        let url = format!("http://{host}:{port}");
        let refused = |command: &mut Command, words: &str| {
            let stderr = fails(&run_with(command, words), 2);
            assert!(stderr.contains("--plaintext") && stderr.contains(host), "{stderr}");
        };
        refused(&mut with_key(&key), &format!("whoami --endpoint {url}"));
        refused(with_key(&key).env("GATEKEY_ENDPOINT", &url), "key list");
    }
    let url = format!("http://localhost:{port}");
    let key = server.admin.encoded(&format!("localhost:{port}"));
    let words = format!("whoami --endpoint {url} --plaintext");
    let text = stdout(&run_with(&mut with_key(&key), &words));
    assert_eq!(value_of(&text, "subject"), "admin");
}

#[tokio::test]
async fn insecure_skip_verify_is_refused() {
    let server = Server::start().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("flyte.yaml");
    let text = format!(
        "admin: {{endpoint: '{}', insecureSkipVerify: true, clientId: admin, clientSecretEnvVar: S}}",
        server.process.endpoint()
    );
    fs::write(&file, text).unwrap();
    let command = || {
        let mut command = gatekey();
        command.env("FLYTECTL_CONFIG", &file).env("S", &server.admin.client_secret);
        command
    };
    let stderr = fails(&run_with(&mut command(), "whoami"), 2);
    assert!(stderr.contains("insecureSkipVerify"), "{stderr}");
    assert!(stderr.contains("GATEKEY_CA_FILE"), "{stderr}");
    let trusting = run_with(command().env("GATEKEY_CA_FILE", server.process.ca_file()), "whoami");
    assert_eq!(value_of(&stdout(&trusting), "subject"), "admin");
}

#[test]
fn a_bare_secret_is_recognized() {
    let secret = gatekey_credentials::Secret::from_random(&[7; 23]);
    for variable in ["GATEKEY_API_KEY", "FLYTE_API_KEY", "UNION_API_KEY"] {
        let stderr = fails(&run_with(gatekey().env(variable, secret.expose()), "whoami"), 2);
        assert!(stderr.contains("client secret") && stderr.contains("encoded credentials"));
        assert!(!stderr.contains(secret.expose()), "{stderr}");
    }
}

#[test]
fn quotation_marks_around_a_key_are_recognized() {
    let key = Credentials { client_id: "ci".into(), client_secret: "s3cret".into() }.encoded("h");
    for quoted in [format!("\"{key}\""), format!("'{key}'")] {
        let stderr = fails(&run_with(&mut with_key(&quoted), "whoami"), 2);
        assert!(stderr.contains("quotation marks"), "{stderr}");
    }
}

/// The name of the server resolves nowhere but at the proxy.
#[tokio::test]
async fn a_proxy_leads_to_the_server() {
    let server = Server::with_public_url().await;
    let authorization = "proxy-authorization: Basic bWU6czNAY3JldA==";
    let proxy = Proxy::start(address_of(&server), Some(authorization));
    let key = server.admin.encoded("keys.example.com");
    let url = format!("http://me:s3%40cret@{}", proxy.address);
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        for words in ["whoami", "key list", "doctor"] {
            let mut command = with_key(&key);
            command.env("GATEKEY_CA_FILE", server.process.ca_file()).env(variable, &url);
            let output = run_with(&mut command, words);
            let text = stdout(&output);
            assert!(text.contains("admin"), "{variable} {words}: {text}");
            assert!(!text.contains("s3") && output.stderr.is_empty(), "{output:?}");
        }
    }
    for head in proxy.heads() {
        assert!(head.starts_with("CONNECT keys.example.com:443 HTTP/1.1\r\n"), "{head}");
    }
}

#[tokio::test]
async fn flytes_file_may_name_a_proxy() {
    let server = Server::with_public_url().await;
    let proxy = Proxy::start(address_of(&server), None);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("flyte.yaml");
    let text = format!(
        "admin: {{endpoint: keys.example.com, httpProxyURL: 'http://{}', clientId: admin, clientSecretEnvVar: S}}",
        proxy.address
    );
    fs::write(&file, text).unwrap();
    let mut command = gatekey();
    command.env("FLYTECTL_CONFIG", &file).env("S", &server.admin.client_secret);
    command.env("GATEKEY_CA_FILE", server.process.ca_file());
    assert_eq!(value_of(&stdout(&run_with(&mut command, "whoami")), "subject"), "admin");
    assert!(!proxy.heads().is_empty());
}

/// Plain HTTP is forwarded, not tunneled. The token endpoint is on loopback, and reached directly.
#[tokio::test]
async fn a_proxy_forwards_plain_http() {
    let server = in_the_clear().await;
    let proxy = Proxy::start(address_of(&server), Some("proxy-authorization: Basic bWU6"));
    let mut command = with_key(&server.admin.encoded("keys.example.com"));
    command.env("HTTP_PROXY", format!("me:@{}", proxy.address));
    let words = "whoami --endpoint http://keys.example.com --plaintext";
    assert_eq!(value_of(&stdout(&run_with(&mut command, words)), "subject"), "admin");
    let heads = proxy.heads();
    assert!(!heads.is_empty());
    assert!(
        heads.iter().all(|head| head.starts_with("POST http://keys.example.com/")),
        "{heads:?}"
    );
}

#[tokio::test]
async fn a_loopback_server_is_reached_without_proxy() {
    let server = Server::start().await;
    for exceptions in ["", "example.com"] {
        let mut client = server.process.as_client(&server.admin);
        client.env("ALL_PROXY", "http://127.0.0.1:1").env("NO_PROXY", exceptions);
        assert_eq!(value_of(&stdout(&run_with(&mut client, "whoami")), "subject"), "admin");
    }
}

#[test]
fn an_unusable_proxy_is_reported_with_its_source() {
    let key = Credentials { client_id: "ci".into(), client_secret: "s3cret".into() };
    let key = key.encoded("keys.example.com");
    let deserted = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let unreachable = format!("http://me:pa55word@{deserted}");
    for (url, code, part) in [
        ("ftp://me:pa55word@p", 2, "not the URL of a proxy"),
        (&*unreachable, 6, "cannot reach the proxy"),
    ] {
        let stderr = fails(&run_with(with_key(&key).env("https_proxy", url), "token"), code);
        assert!(stderr.contains("https_proxy") && stderr.contains(part), "{stderr}");
        assert!(!stderr.contains("pa55word"), "{stderr}");
        let output = run_with(with_key(&key).env("NO_PROXY", "*").env("https_proxy", url), "token");
        assert!(!String::from_utf8(output.stderr).unwrap().contains("proxy"), "NO_PROXY counts");
    }
}

#[tokio::test]
async fn a_refusing_proxy_is_named() {
    let proxy = Proxy::start("127.0.0.1:1", Some("proxy-authorization: never"));
    let key = Credentials { client_id: "ci".into(), client_secret: "s3cret".into() };
    let mut command = with_key(&key.encoded("keys.example.com"));
    command.env("HTTPS_PROXY", format!("http://{}", proxy.address));
    let stderr = fails(&run_with(&mut command, "token"), 6);
    for part in ["https://keys.example.com", &proxy.address, "HTTPS_PROXY", "407", "NO_PROXY"] {
        assert!(stderr.contains(part), "no {part}: {stderr}");
    }
    assert!(proxy.heads().len() <= CALLS, "another attempt would be refused as well");
}

/// The proxy resolves the name.
#[tokio::test]
async fn a_socks_proxy_leads_to_the_server() {
    let server = Server::with_public_url().await;
    let proxy = Proxy::start_socks5(address_of(&server), ("me", "s3@cret"));
    let key = server.admin.encoded("keys.example.com");
    let whoami = |account: &str| {
        let mut command = with_key(&key);
        command.env("GATEKEY_CA_FILE", server.process.ca_file());
        command.env("ALL_PROXY", format!("socks5h://{account}@{}", proxy.address));
        run_with(&mut command, "whoami")
    };
    assert_eq!(value_of(&stdout(&whoami("me:s3%40cret")), "subject"), "admin");
    assert_eq!(proxy.heads()[0], "keys.example.com:443");
    let stderr = fails(&whoami("me:wr0ng"), 6);
    assert!(stderr.contains(&proxy.address) && !stderr.contains("wr0ng"), "{stderr}");
}

#[tokio::test]
async fn a_proxy_may_be_reached_over_tls() {
    let server = Server::with_public_url().await;
    let (proxy, certificate) = Proxy::start_tls(address_of(&server));
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem");
    let ca = fs::read_to_string(server.process.ca_file()).unwrap();
    let key = server.admin.encoded("keys.example.com");
    let whoami = || {
        let mut command = with_key(&key);
        command.env("GATEKEY_CA_FILE", &ca_file);
        command.env("HTTPS_PROXY", format!("https://{}", proxy.address));
        run_with(&mut command, "whoami")
    };
    fs::write(&ca_file, &ca).unwrap();
    let stderr = fails(&whoami(), 6);
    assert!(stderr.contains("cannot reach the proxy"), "{stderr}");
    fs::write(&ca_file, format!("{ca}{certificate}")).unwrap();
    assert_eq!(value_of(&stdout(&whoami()), "subject"), "admin");
    assert!(proxy.heads()[0].starts_with("CONNECT keys.example.com:443 "), "{:?}", proxy.heads());
}

/// URL, cause and cure; no request id, since no server saw one.
#[tokio::test]
async fn a_connection_error_names_its_cure() {
    let server = Server::start().await;
    let plain = in_the_clear().await;
    let deserted = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let other = Server::start().await;
    let ca_file = other.process.ca_file();
    let ca_file = ca_file.to_str().unwrap();
    let endpoint = server.process.endpoint();
    for (url, flags, parts) in [
        (
            format!("https://{deserted}"),
            String::new(),
            ["connection refused", "check that the server runs"],
        ),
        (
            plain.process.url.replace("http:", "https:"),
            String::new(),
            ["does not speak TLS", "use http://"],
        ),
        (format!("https://{endpoint}"), String::new(), ["is not trusted", "GATEKEY_CA_FILE"]),
        (
            format!("https://{endpoint}"),
            format!("--ca-file {ca_file}"),
            ["is not trusted", ca_file],
        ),
    ] {
        let key = server.admin.encoded(url.trim_start_matches("https://"));
        let stderr = fails(&run_with(&mut with_key(&key), &format!("token {flags}")), 6);
        for part in [&*url, parts[0], parts[1]] {
            assert!(stderr.contains(part), "no {part}: {stderr}");
        }
        assert!(!stderr.contains("request id"), "{stderr}");
    }
    let key = server.admin.encoded(endpoint);
    let words = format!("token --endpoint http://{endpoint}");
    let stderr = fails(&run_with(&mut with_key(&key), &words), 6);
    assert!(stderr.contains(&format!("use https://{endpoint}")), "{stderr}");
    let key = server.admin.encoded("nowhere.invalid");
    let stderr = fails(&run_with(&mut with_key(&key), "token"), 6);
    assert!(stderr.contains("https://nowhere.invalid") && stderr.contains("DNS"), "{stderr}");
}

/// By the request id, the operator finds the failed login in the log.
#[tokio::test]
async fn a_failed_login_carries_its_request_id() {
    let server = Server::start().await;
    let wrong = Credentials { client_secret: "wrong".to_owned(), ..server.admin.clone() };
    let stderr = fails(&run_with(&mut server.process.as_client(&wrong), "whoami"), 5);
    assert!(stderr.contains("deleted, disabled, expired or rotated"), "{stderr}");
    let (_, id) = stderr.split_once("request id: ").unwrap();
    let id = id.lines().next().unwrap().trim();
    let logged = |line: &serde_json::Value| {
        line["request_id"] == id && line["path"] == "/oauth2/token" && line["status"] == 401
    };
    eventually("the login is in the log", async || server.process.log().iter().any(logged)).await;
}

fn base64_of(text: &str) -> String {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    BASE64_STANDARD.encode(text)
}
