//! Where no secret may ever be found.

use std::fs;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::json;

use crate::{
    support::{Credentials, Server},
    world::World,
};

/// Everything that lets somebody in, and is handed out once.
struct Handed {
    keys: Vec<Credentials>,
    tokens: Vec<String>,
}

impl Handed {
    /// A server's work with secrets and tokens of each kind, good and bad.
    async fn out(server: &Server) -> Self {
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
        // What people do by mistake: the secret where the client id belongs, in a URL, as a token.
        let swapped = crate::support::basic(&rotated.client_secret, &rotated.client_id);
        http.form("/oauth2/token", &[("authorization", &swapped)], "grant_type=client_credentials").await;
        let bearer = format!("Bearer {}", rotated.client_secret);
        http.get("/me", &[("authorization", &bearer)]).await;
        http.get(&format!("/me?access_token={key_token}"), &[]).await;
        let get = json!({ "clientId": created.client_secret });
        http.connect_json("/gatekey.v1.ApiKeyService/Get", &token, &get).await;
        http.connect_json("/gatekey.v1.ApiKeyService/Get", &key_token, &get).await;
        Self { keys: vec![admin, created, rotated], tokens: vec![token, key_token, revoked] }
    }

    /// Each form in which one of them could be found.
    fn traces(&self) -> Vec<String> {
        let mut traces = self.tokens.clone();
        for key in &self.keys {
            traces.push(key.client_secret.clone());
            // The random part alone, and both ways that the secret is encoded on the way.
            traces.push(key.client_secret[3..34].to_owned());
            traces.push(key.basic().split_off("Basic ".len()));
            // Of an encoded key, a part that holds the secret whatever endpoint stands before it.
            for pad in ["", "x", "xx"] {
                let encoded = BASE64_STANDARD.encode(format!("{pad}{}", key.client_secret));
                traces.push(encoded[4..encoded.len() - 4].to_owned());
            }
        }
        // A signature is enough to complete a token whose claims are known.
        traces.extend(self.tokens.iter().map(|token| token.rsplit_once('.').unwrap().1.to_owned()));
        traces
    }
}

#[tokio::test]
async fn no_secret_and_no_token_is_in_the_log_however_much_is_logged() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let mut server = Server::start_in(&data_dir, &[], &[("GATEKEY_LOG", "trace")]);
    let handed = Handed::out(&server).await;
    assert!(server.stop().await.success());
    let lines = server.log();
    assert!(lines.iter().any(|line| line["level"] == "TRACE"), "there is little to look at");
    for line in lines {
        let line = line.to_string();
        for trace in handed.traces() {
            assert!(!line.contains(&trace), "{trace} is in the log: {line}");
        }
    }
}

#[tokio::test]
async fn no_secret_and_no_token_is_on_the_disk() {
    let mut server = Server::start();
    let handed = Handed::out(&server).await;
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
            for trace in handed.traces() {
                let found = bytes.windows(trace.len()).any(|window| window == trace.as_bytes());
                assert!(!found, "{trace} is in {}", file.path().display());
            }
            seen += usize::from(file.file_name().to_str().unwrap().starts_with("gatekey.db"));
        }
    }
    assert_eq!(seen, 4, "the database with its log and index, and the database once they are put away");
}

#[tokio::test]
async fn no_private_key_is_readable_in_the_database() {
    let server = Server::start();
    server.init();
    for name in ["gatekey.db", "gatekey.db-wal"] {
        let bytes = fs::read(server.data_dir.join(name)).unwrap();
        for trace in
            [&b"PRIVATE KEY"[..], b"private_key", &fs::read(server.data_dir.join("root.key")).unwrap()]
        {
            assert!(!bytes.windows(trace.len()).any(|window| window == trace), "{name}");
        }
    }
}

#[tokio::test]
async fn no_secret_is_in_the_process_table() {
    let server = Server::start();
    let handed = Handed::out(&server).await;
    for name in ["cmdline", "environ"] {
        let text = fs::read(format!("/proc/{}/{name}", server.pid())).unwrap();
        for trace in handed.traces() {
            assert!(!text.windows(trace.len()).any(|window| window == trace.as_bytes()), "{name}");
        }
    }
}

#[tokio::test]
async fn no_answer_but_create_and_rotate_shows_a_secret() {
    let world = World::start().await;
    let key = world.key("ci").await;
    let body = json!({ "clientId": "ci" });
    let named = json!({ "apiKey": { "clientId": "ci", "clientName": "x" }, "updateMask": "clientName" });
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
        let answer = world.http.connect_json(&procedure, &world.admin_token, body).await;
        assert_eq!(answer.status, 200, "{procedure}: {}", answer.text());
        assert!(!answer.text().contains("gk_") && !answer.text().contains(&key.client_secret), "{procedure}");
    }
}
