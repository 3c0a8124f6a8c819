//! Throttling of an address that sends too many wrong secrets.

use serde_json::{Value, json};

use super::{GRANT, refused};
use crate::support::{Credentials, Http, Response, Server, basic, eventually};

const TOKEN: &str = "/oauth2/token";

/// A server that allows `limit` failures a minute from one address.
async fn limited(limit: u16) -> Server {
    Server::with_config(&format!("limits.failed_authentications_per_minute = {limit}")).await
}

/// Fails until throttled: the count starts again if a minute ends in between.
async fn throttled(mut fail: impl AsyncFnMut() -> Response) -> Response {
    for _ in 0..1000 {
        let response = fail().await;
        if response.status != 401 {
            refused(&response, 429, "slow_down");
            return response;
        }
        refused(&response, 401, "invalid_client");
    }
    panic!("a thousand failures were not throttled")
}

async fn fail_from(http: &Http, addresses: &str) -> Response {
    let wrong = basic("admin", "wrong");
    http.form(TOKEN, &[("authorization", &wrong), ("x-forwarded-for", addresses)], GRANT).await
}

fn wrong() -> Credentials {
    Credentials { client_id: "admin".to_owned(), client_secret: "wrong".to_owned() }
}

#[tokio::test]
async fn too_many_failures_return_429_with_retry_after() {
    let server = limited(3).await;
    for _ in 0..3 {
        refused(&server.request_token(&wrong(), GRANT).await, 401, "invalid_client");
    }
    let response = throttled(async || server.request_token(&wrong(), GRANT).await).await;
    let seconds: u64 = response.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    let description = response.json()["error_description"].as_str().unwrap().to_owned();
    assert!(
        description.contains("secret") && description.contains(&format!("in {seconds} s")),
        "{description}"
    );
}

/// If five failures locked an identity for 15 minutes, anyone who knows its name could lock out its
/// owner (<https://openbao.org/docs/concepts/user-lockout>).
#[tokio::test]
async fn a_valid_secret_passes_from_a_throttled_address() {
    let limits = "{ failed_authentications_per_minute = 1, own_changes_per_minute = 0 }";
    let server = Server::with_config(&format!("limits = {limits}")).await;
    for _ in 0..20 {
        throttled(async || server.request_token(&wrong(), GRANT).await).await;
        let token = server.token(&server.admin).await;
        assert_eq!(server.introspect(&server.admin, &token).await["active"], true);
        assert_eq!(server.revoke(&server.admin, &token).await.status, 200);
    }
}

#[tokio::test]
async fn all_endpoints_share_the_failure_count() {
    let server = limited(1).await;
    let header = wrong().basic();
    for path in [TOKEN, "/oauth2/introspect", "/oauth2/revoke"] {
        throttled(async || server.http.form(path, &[("authorization", &header)], "token=x").await)
            .await;
        let body = "token=x&client_id=admin&client_secret=wrong";
        throttled(async || server.http.form(path, &[], body).await).await;
    }
    // One failure at each endpoint is still one too many in total.
    let mut paths = [TOKEN, "/oauth2/introspect", "/oauth2/revoke"].into_iter().cycle();
    throttled(async || {
        server.http.form(paths.next().unwrap(), &[("authorization", &header)], "token=x").await
    })
    .await;
}

/// Go's `golang.org/x/oauth2` tries the header and then the body before it reports a wrong secret
/// (`internal/token.go`, `RetrieveToken`).
#[tokio::test]
async fn thirty_go_logins_a_minute_get_401() {
    let server = Server::start().await;
    for _ in 0..30 {
        refused(&server.request_token(&wrong(), GRANT).await, 401, "invalid_client");
        let body = format!("{GRANT}&client_id=admin&client_secret=wrong");
        refused(&server.http.form(TOKEN, &[], &body).await, 401, "invalid_client");
    }
    throttled(async || server.request_token(&wrong(), GRANT).await).await;
}

#[tokio::test]
async fn requests_without_a_secret_are_not_counted() {
    let server = limited(1).await;
    for _ in 0..20 {
        server.http.form(TOKEN, &[], GRANT).await;
        server.http.form(TOKEN, &[("authorization", "Basic !!!")], GRANT).await;
        server.http.form("/oauth2/introspect", &[("authorization", "Bearer x")], "token=x").await;
        server.get_as("/me", "nonsense").await;
        server.request_token(&server.admin, "grant_type=password").await;
    }
    refused(&server.request_token(&wrong(), GRANT).await, 401, "invalid_client");
}

#[tokio::test]
async fn a_throttled_failure_hides_its_reason() {
    let server = limited(1).await;
    let disabled = server.create_key("disabled").await;
    server.admin_call("Disable", json!({ "clientId": "disabled" })).await;
    let unknown = Credentials { client_id: "nobody".to_owned(), ..disabled.clone() };
    let mut shown = Vec::new();
    for key in [wrong(), disabled, unknown] {
        let response = throttled(async || server.request_token(&key, GRANT).await).await;
        let mut headers = response.headers.clone();
        // These differ between any two responses.
        for name in ["x-request-id", "date", "retry-after", "content-length"] {
            assert!(headers.remove(name).is_some(), "{name}");
        }
        let description = response.json()["error_description"].as_str().unwrap().to_owned();
        shown.push((headers, description.split("try again").next().unwrap().to_owned()));
    }
    assert!(shown.iter().all(|one| *one == shown[0]), "{shown:?}");
}

#[tokio::test]
async fn a_trusted_proxys_last_address_is_throttled() {
    let server = Server::with_config(
        "limits.failed_authentications_per_minute = 1\ntls.plaintext = true\nserver.trusted_proxies = [\"127.0.0.1\"]",
    )
    .await;
    throttled(async || fail_from(&server.http, "192.0.2.1").await).await;
    // The client chose the addresses before the last: they neither evade the throttle nor
    // throttle another address.
    let mut number = 0;
    throttled(async || {
        number += 1;
        fail_from(&server.http, &format!("198.51.100.{number}, 192.0.2.1")).await
    })
    .await;
    refused(&fail_from(&server.http, "198.51.100.1").await, 401, "invalid_client");
    // An IPv6 client has a whole /64 network.
    throttled(async || {
        number += 1;
        fail_from(&server.http, &format!("2001:db8:0:1::{number:x}")).await
    })
    .await;
    refused(&fail_from(&server.http, "2001:db8:0:2::1").await, 401, "invalid_client");
}

/// A proxy in Kubernetes has another address after each start. Azure's gateways write ports, others
/// brackets and quotes.
#[tokio::test]
async fn a_proxy_network_reports_addresses_in_any_spelling() {
    let server = Server::with_config(
        "tls.plaintext = true\nserver.trusted_proxies = [\"2001:db8::/32\", \"::ffff:127.0.0.0/104\"]",
    )
    .await;
    for (number, (forwarded, peer)) in [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.2:51234", "192.0.2.2"),
        ("198.51.100.1, [2001:db8::7]:443", "2001:db8::7"),
        ("\"[2001:db8::8]\"", "2001:db8::8"),
        ("::ffff:192.0.2.3", "192.0.2.3"),
        ("192.0.2.4,", "192.0.2.4"),
        ("unknown", "127.0.0.1"),
        ("_hidden", "127.0.0.1"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("request-{number}");
        let headers =
            [("x-forwarded-for", forwarded), ("x-request-id", &id), ("forwarded", "for=192.0.2.9")];
        server.http.get("/oauth2/jwks", &headers).await;
        assert_eq!(logged_peer(&server, &id).await, peer, "{forwarded}");
    }
    let unreadable = "a trusted proxy sent a client address that is not an IP address";
    let warned =
        |line: &&Value| line["message"].as_str().is_some_and(|text| text.contains(unreadable));
    assert_eq!(server.process.log().iter().filter(warned).count(), 1);
}

#[tokio::test]
async fn rfc_7239_forwarded_can_be_chosen() {
    let server = Server::with_config(
        "server.forwarded_header = \"forwarded\"\ntls.plaintext = true\nserver.trusted_proxies = [\"127.0.0.1\"]",
    )
    .await;
    for (number, (forwarded, peer)) in [
        ("for=192.0.2.1;proto=https", "192.0.2.1"),
        ("for=198.51.100.1, For=\"[2001:db8::7]:443\"", "2001:db8::7"),
        ("for=\", for=192.0.2.2", "192.0.2.2"),
        ("for=unknown", "127.0.0.1"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("request-{number}");
        let headers =
            [("forwarded", forwarded), ("x-request-id", &id), ("x-forwarded-for", "192.0.2.9")];
        server.http.get("/oauth2/jwks", &headers).await;
        assert_eq!(logged_peer(&server, &id).await, peer, "{forwarded}");
    }
}

/// The peer in the log line of a request.
async fn logged_peer(server: &Server, request_id: &str) -> String {
    let mut peer = None;
    eventually("the request is logged", async || {
        let log = server.process.log();
        let line = log.iter().find(|line| line["request_id"] == request_id);
        peer = line.and_then(|line| line["peer"].as_str().map(str::to_owned));
        peer.is_some()
    })
    .await;
    peer.unwrap()
}

#[tokio::test]
async fn an_untrusted_forwarded_address_is_ignored() {
    let server = limited(1).await;
    let mut number = 0;
    throttled(async || {
        number += 1;
        fail_from(&server.http, &format!("198.51.100.{number}")).await
    })
    .await;
}

#[tokio::test]
async fn a_limit_of_zero_disables_throttling() {
    let server = limited(0).await;
    for _ in 0..200 {
        refused(&server.request_token(&wrong(), GRANT).await, 401, "invalid_client");
    }
}

#[tokio::test]
async fn a_throttled_address_is_logged_once_a_minute() {
    let mut server = limited(2).await;
    for _ in 0..50 {
        server.request_token(&wrong(), GRANT).await;
    }
    assert!(server.process.stop().await.success());
    let log = server.process.log();
    let lines =
        log.iter().filter(|line| line["message"].as_str().is_some_and(|m| m.contains("throttled")));
    let lines: Vec<_> = lines.map(|line| (&line["level"], &line["peer"], &line["limit"])).collect();
    // A second line if a minute ended in between.
    assert!((1..=2).contains(&lines.len()), "{lines:?}");
    assert_eq!(lines[0], (&json!("WARN"), &json!("127.0.0.1"), &json!(2)));
}

/// The CPU time that a server has used, in hundredths of a second.
fn ticks(server: &Server) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.process.pid())).unwrap();
    let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    // utime and stime (proc_pid_stat(5)).
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// With slow password hashing, a flood of wrong secrets is a denial of service (`tiagozip/cap` pull
/// request 308, `ory/hydra` issue 168).
#[tokio::test]
async fn a_wrong_secret_costs_no_extra_cpu() {
    let server = Server::start().await;
    let http = Http::over_http1(&server.process.reached_at, Some(&server.process.ca_file()));
    let mut spent = [0; 2];
    for _ in 0..10 {
        for (key, spent) in [server.admin.clone(), wrong()].iter().zip(&mut spent) {
            let before = ticks(&server);
            for _ in 0..100 {
                http.token(key, &[]).await;
            }
            *spent += ticks(&server) - before;
        }
    }
    let [right, wrong] = spent;
    assert!(right >= 10, "too little was done to be measured: {right} ticks");
    assert!(wrong <= right * 5 / 4, "wrong secrets: {wrong} ticks, right ones: {right}");
}

/// Compares valid tokens with forged ones, each seen for the first time, at a method that is open
/// to everyone: they differ only in the cost of verification.
#[tokio::test]
async fn a_forged_token_costs_no_extra_cpu() {
    let server = Server::start().await;
    let http = Http::over_http1(&server.process.reached_at, Some(&server.process.ca_file()));
    let open = "/flyteidl2.auth.AuthMetadataService/GetOAuth2Metadata";
    let mut spent = [0; 2];
    for _ in 0..10 {
        let mut tokens = [Vec::new(), Vec::new()];
        for _ in 0..100 {
            let token = server.token(&server.admin).await;
            let (signed, signature) = token.rsplit_once('.').unwrap();
            let other = if signature.starts_with('A') { 'B' } else { 'A' };
            tokens[1].push(format!("{signed}.{other}{}", &signature[1..]));
            tokens[0].push(token);
        }
        assert_eq!(server.get_as("/me", &tokens[1][0]).await.status, 401);
        for (tokens, spent) in tokens.iter().zip(&mut spent) {
            let before = ticks(&server);
            for token in tokens {
                assert_eq!(http.connect_json(open, token, &json!({})).await.status, 200);
            }
            *spent += ticks(&server) - before;
        }
    }
    let [right, forged] = spent;
    assert!(right >= 10, "too little was done to be measured: {right} ticks");
    assert!(forged <= right * 5 / 4, "forged tokens: {forged} ticks, right ones: {right}");
}
