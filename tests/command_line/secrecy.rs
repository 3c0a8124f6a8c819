//! Places that must never contain a credential.

use std::fs;

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD as BASE64URL},
};
use gatekey_core::store::LedgerStore as _;
use http::Method;
use serde_json::json;

use crate::{
    rpc::health_and_reflection::served_methods,
    support::{Credentials, Http, Server, ServerProcess, collector::Collector, copied_store},
};

/// Every credential that a server has issued.
struct Issued {
    keys: Vec<Credentials>,
    tokens: Vec<String>,
}

impl Issued {
    /// Uses secrets and tokens of each kind, valid and invalid.
    async fn by(server: &ServerProcess) -> Self {
        let http = server.http();
        let admin = server.init();
        let token = server.token(&admin).await;
        let created = http.create(&token, "ci").await;
        let rotate = "/gatekey.v1.ApiKeyService/RotateSecret";
        let body = json!({ "clientId": "ci", "grace": "3600s" });
        let rotated = http.connect_json(rotate, &token, &body).await.json();
        let secret = rotated["clientSecret"].as_str().unwrap().to_owned();
        let rotated = Credentials { client_id: "ci".to_owned(), client_secret: secret };
        let key_token = server.token(&rotated).await;
        let wrong = json!({ "clientId": "ci", "currentSecret": created.client_secret, "grace": "9999999s" });
        http.connect_json(rotate, &key_token, &wrong).await;
        let mut unknown = wrong;
        unknown["unknown"] = json!(rotated.client_secret);
        http.connect_json(rotate, &key_token, &unknown).await;
        let revoked = server.token(&rotated).await;
        for (path, body) in [
            ("/oauth2/introspect", format!("token={key_token}")),
            ("/oauth2/revoke", format!("token={revoked}")),
            ("/oauth2/token", format!("grant_type={}", rotated.client_secret)),
            ("/oauth2/token", format!("grant_type=client_credentials&scope={key_token}")),
            ("/oauth2/token", format!("{}={key_token}", rotated.client_secret)),
        ] {
            http.form(path, &[("authorization", &rotated.basic())], &body).await;
        }
        // Mistakes that people make: the secret as the client id, in a URL, as a token.
        let swapped = crate::support::basic(&rotated.client_secret, &rotated.client_id);
        http.form("/oauth2/token", &[("authorization", &swapped)], "grant_type=client_credentials")
            .await;
        let bearer = format!("Bearer {}", rotated.client_secret);
        http.get("/me", &[("authorization", &bearer)]).await;
        http.get(&format!("/me?access_token={key_token}"), &[]).await;
        let method = Method::from_bytes(rotated.client_secret.as_bytes()).unwrap();
        http.send(method, "/me", &[], "").await;
        let get = json!({ "clientId": created.client_secret });
        http.connect_json("/gatekey.v1.ApiKeyService/Get", &token, &get).await;
        http.connect_json("/gatekey.v1.ApiKeyService/Get", &key_token, &get).await;
        Self { keys: vec![admin, created, rotated], tokens: vec![token, key_token, revoked] }
    }

    /// Each form in which a credential could appear.
    fn forms(&self) -> Vec<String> {
        let mut traces = self.tokens.clone();
        for key in &self.keys {
            traces.push(key.client_secret.clone());
            // Only the random part, and both encodings of the secret in requests.
            traces.push(key.client_secret[3..34].to_owned());
            traces.push(key.basic().split_off("Basic ".len()));
            // The part of an encoded key that contains the secret, for any endpoint before it.
            for pad in ["", "x", "xx"] {
                let encoded = BASE64_STANDARD.encode(format!("{pad}{}", key.client_secret));
                traces.push(encoded[4..encoded.len() - 4].to_owned());
            }
        }
        // A signature is enough to complete a token with known claims.
        traces.extend(self.tokens.iter().map(|token| token.rsplit_once('.').unwrap().1.to_owned()));
        traces
    }
}

#[tokio::test]
async fn no_credential_is_logged_at_any_level() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let mut server = ServerProcess::start_in(&data_dir, &[], &[("GATEKEY_LOG", "trace")]);
    let issued = Issued::by(&server).await;
    assert!(server.stop().await.success());
    let lines = server.log();
    assert!(lines.iter().any(|line| line["level"] == "TRACE"), "the log is too short");
    for line in lines {
        let line = line.to_string();
        for trace in issued.forms() {
            assert!(!line.contains(&trace), "{trace} is in the log: {line}");
        }
    }
}

#[tokio::test]
async fn no_credential_is_on_disk() {
    let mut server = ServerProcess::start();
    let issued = Issued::by(&server).await;
    let mut seen = 0;
    for stopped in [false, true] {
        if stopped {
            assert!(server.stop().await.success());
        }
        for file in fs::read_dir(&server.data_dir).unwrap().map(Result::unwrap) {
            if file.file_name() == "control.sock" {
                continue;
            }
            let bytes = fs::read(file.path()).unwrap();
            for trace in issued.forms() {
                let found = bytes.windows(trace.len()).any(|window| window == trace.as_bytes());
                assert!(!found, "{trace} is in {}", file.path().display());
            }
            seen += usize::from(file.file_name().to_str().unwrap().starts_with("gatekey.db"));
        }
    }
    assert_eq!(seen, 4, "the database with its log and index, and the database after a checkpoint");
}

#[tokio::test]
async fn private_keys_are_encrypted_in_the_database() {
    let server = ServerProcess::start();
    server.init();
    for name in ["gatekey.db", "gatekey.db-wal"] {
        let bytes = fs::read(server.data_dir.join(name)).unwrap();
        for trace in [
            &b"PRIVATE KEY"[..],
            b"private_key",
            &fs::read(server.data_dir.join("root.key")).unwrap(),
        ] {
            assert!(!bytes.windows(trace.len()).any(|window| window == trace), "{name}");
        }
    }
}

#[tokio::test]
async fn no_secret_is_in_process_arguments() {
    let server = ServerProcess::start();
    let issued = Issued::by(&server).await;
    for name in ["cmdline", "environ"] {
        let text = fs::read(format!("/proc/{}/{name}", server.pid())).unwrap();
        for trace in issued.forms() {
            assert!(!text.windows(trace.len()).any(|window| window == trace.as_bytes()), "{name}");
        }
    }
}

#[tokio::test]
async fn only_create_and_rotate_return_a_secret() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let body = json!({ "clientId": "ci" });
    let named =
        json!({ "apiKey": { "clientId": "ci", "clientName": "x" }, "updateMask": "clientName" });
    let apps = "/cloudidl.identity.AppsService";
    let own = "/gatekey.v1.ApiKeyService";
    for (procedure, body) in [
        (format!("{apps}/Get"), &body),
        (format!("{apps}/List"), &json!({})),
        (format!("{apps}/Update"), &json!({ "clientId": "ci", "clientName": "y" })),
        (format!("{own}/Get"), &body),
        (format!("{own}/List"), &json!({})),
        (format!("{own}/Update"), &named),
        (format!("{own}/Disable"), &body),
        (format!("{own}/Enable"), &body),
        (format!("{apps}/Delete"), &body),
    ] {
        let response = server.http.connect_json(&procedure, &server.admin_token, body).await;
        assert_eq!(response.status, 200, "{procedure}: {}", response.text());
        assert!(
            !response.text().contains("gk_") && !response.text().contains(&key.client_secret),
            "{procedure}"
        );
    }
}

/// Percent-encodes every byte.
fn url_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |encoded, byte| format!("{encoded}%{byte:02X}"))
}

/// The encodings of a credential: plain, in base64 at each alignment and in both alphabets, and
/// percent-encoded.
fn encodings(credential: &str) -> Vec<String> {
    let mut encodings = vec![
        credential.to_owned(),
        url_encoded(credential),
        url_encoded(credential).to_lowercase(),
    ];
    for pad in ["", "x", "xx"] {
        let padded = format!("{pad}{credential}");
        for encoded in [BASE64_STANDARD.encode(&padded), BASE64URL.encode(&padded)] {
            // Without the characters that depend on adjacent bytes.
            encodings.push(encoded[4..encoded.len() - 4].to_owned());
        }
    }
    encodings
}

/// Sends a credential to a path, in every part of a request that can contain it.
async fn send_everywhere(http: &Http, path: &str, credential: &str) {
    let encoded = url_encoded(credential);
    for query in
        [format!("?access_token={credential}"), format!("/{credential}"), format!("/{encoded}")]
    {
        let _ = http.try_send(Method::GET, &format!("{path}{query}"), &[], "").await;
    }
    for authorization in ["Bearer ", "Basic ", "bearer  ", ""] {
        let value = format!("{authorization}{credential}");
        let _ = http
            .try_send(
                Method::POST,
                path,
                &[("authorization", &value), ("content-type", "application/json")],
                "{}",
            )
            .await;
    }
    for name in [
        "x-request-id",
        "user-agent",
        "cookie",
        "referer",
        "origin",
        "x-forwarded-for",
        "content-type",
        "accept",
        "content-encoding",
        "connect-timeout-ms",
        "grpc-timeout",
        "x-anything",
        "traceparent",
        "te",
    ] {
        let mut headers = vec![(name, credential)];
        if name != "content-type" {
            headers.push(("content-type", "application/json"));
        }
        let _ = http.try_send(Method::POST, path, &headers, "{}").await;
    }
    for body in [
        json!({ "clientId": credential }).to_string(),
        json!({ "clientId": "nobody", "organization": credential, "token": credential, "pageToken": credential }).to_string(),
        json!({ "clientId": "nobody", "secretId": credential, "updateMask": credential }).to_string(),
        json!({ credential: credential, "service": credential }).to_string(),
        format!("{{\"{credential}"),
        credential.to_owned(),
    ] {
        let _ = http.try_send(Method::POST, path, &[("content-type", "application/json")], body).await;
    }
    for content_type in
        ["application/proto", "application/grpc", "application/grpc-web+proto", "text/plain"]
    {
        let _ = http
            .try_send(Method::POST, path, &[("content-type", content_type)], credential.to_owned())
            .await;
    }
    for body in [
        format!("{encoded}={encoded}"),
        format!("grant_type={encoded}&client_id={encoded}&client_secret={encoded}"),
        format!("token={encoded}&token_type_hint={encoded}&scope={encoded}&audience={encoded}"),
        format!("{encoded}=1&{encoded}=2"),
    ] {
        let _ = http
            .try_send(
                Method::POST,
                path,
                &[("content-type", "application/x-www-form-urlencoded")],
                body,
            )
            .await;
    }
}

/// People paste credentials in the wrong place; a server that echoes, logs or records its input
/// would keep them.
#[tokio::test]
async fn no_misplaced_credential_is_stored_or_logged() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let collector = Collector::start().await;
    let flags = ["--otlp-endpoint", &collector.url];
    let mut server = ServerProcess::start_in(&data_dir, &flags, &[("GATEKEY_LOG", "trace")]);
    let (http, admin) = (server.http(), server.init());
    let admin_token = server.token(&admin).await;
    let key = http.create(&admin_token, "ci").await;
    let token = server.token(&key).await;
    let encoded = key.encoded(server.endpoint());
    let credentials = [&key.client_secret, &token, &encoded];
    // Streaming methods would never end.
    let served =
        served_methods(&server, &admin_token).await.into_iter().filter(|(_, streams)| !streams);
    let mut paths: Vec<_> = served.map(|(path, _)| path).collect();
    for path in [
        "/oauth2/token",
        "/oauth2/introspect",
        "/oauth2/revoke",
        "/oauth2/jwks",
        "/oauth2/userinfo",
        "/me",
        "/",
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
        "/config/v1/flyte_client",
        "/gatekey.v1.ApiKeyService/Unknown",
        "/no.such.Service/Method",
    ] {
        paths.push(path.to_owned());
    }
    for path in &paths {
        futures::future::join_all(
            credentials.map(|credential| send_everywhere(&http, path, credential)),
        )
        .await;
    }
    // Again by a known caller, whose refusals have ledger entries: in the request id, the request
    // and the user agent.
    for (bearer, own) in [(&token, false), (&admin_token, true)] {
        for path in
            paths.iter().filter(|path| path.contains("Service/") && !path.ends_with("/Create"))
        {
            for credential in credentials {
                let authorization = format!("Bearer {bearer}");
                let headers = [
                    ("authorization", &*authorization),
                    ("content-type", "application/json"),
                    ("x-request-id", credential),
                    ("user-agent", credential),
                ];
                let body = json!({ "clientId": if own { "nobody" } else { credential }, "secretId": credential });
                let _ = http.try_send(Method::POST, path, &headers, body.to_string()).await;
            }
        }
    }
    assert!(server.stop().await.success());
    let log = server.log();
    let wrong = log.iter().find(|line| line["level"] == "ERROR");
    assert_eq!(wrong, None, "no request causes an internal error");
    let log: Vec<_> = log.iter().map(ToString::to_string).collect();
    let mut resting = vec![("the log".to_owned(), log.join("\n"))];
    assert!(resting[0].1.len() > 1 << 20, "the log is too short");
    for file in fs::read_dir(&data_dir).unwrap().map(Result::unwrap) {
        let bytes = fs::read(file.path()).unwrap();
        resting.push((
            file.path().display().to_string(),
            String::from_utf8_lossy(&bytes).into_owned(),
        ));
    }
    let (store, _, _copy) = copied_store(&data_dir);
    let ledger = store.ledger_entries(0, 100_000).await.unwrap();
    assert!(ledger.iter().any(|entry| entry.entry.action == "refuse"), "no refusal has an entry");
    resting.push(("the ledger".to_owned(), format!("{ledger:?}")));
    let batches = collector.batches();
    assert!(batches.len() > 1, "few spans were sent");
    let sent = batches.iter().map(|batch| String::from_utf8_lossy(&batch.body)).collect();
    resting.push(("what the collector was sent".to_owned(), sent));
    // The signature of a token, without which the rest is not a credential; the secret of an
    // encoded key.
    let signature = token.rsplit_once('.').unwrap().1;
    for credential in [&key.client_secret, &admin.client_secret, signature] {
        for spelling in encodings(credential) {
            let found: Vec<_> = resting
                .iter()
                .filter(|(_, text)| text.contains(&spelling))
                .map(|(place, _)| place)
                .collect();
            assert!(found.is_empty(), "{spelling} is in {found:?}");
        }
    }
}
