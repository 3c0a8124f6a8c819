//! Streams: how many there may be, who delays whom, and when they end.

use std::time::{Duration, Instant};

use http::Method;
use http_body_util::BodyExt as _;
use serde_json::json;

use super::{
    Gated, READ,
    call::{Caller, endless, frames, read},
};
use crate::support::{eventually, upstream::DO};

/// A stream of this procedure may last.
const WATCH: &str = "/flyteidl2.workflow.RunService/WatchRunDetails";

/// Go's server allows 250 calls on a connection; the next would wait without an error.
#[tokio::test]
async fn watches_do_not_use_up_a_connection() {
    let gated = Gated::start().await;
    let token = gated.token_of("viewer").await;
    let callers = [true, true].map(|http2| Caller::new(&gated.server.process, http2));
    let mut watches = Vec::new();
    for at in 0..251 {
        watches.push(callers[at % 2].grpc(WATCH, &token, &[(DO, "stall")]).await);
    }
    eventually("all are open", async || gated.upstream.open() == 251).await;
    assert_eq!(gated.call(READ, &token).await.status, 200);
    assert!(!read(callers[0].grpc(READ, &token, &[]).await).await.failed);
    drop(watches);
    eventually("the upstream learns that clients left", async || gated.upstream.open() == 0).await;
}

/// What is open to everybody leads to the upstream as well.
#[tokio::test]
async fn a_stranger_cannot_take_every_place() {
    let open = format!("[gate.rules]\n\"{WATCH}\" = \"anonymous\"");
    let gated = Gated::with_settings(&open).await;
    let token = gated.token_of("viewer").await;
    let stranger = Caller::new(&gated.server.process, true);
    let mut held = Vec::new();
    for _ in 0..64 {
        held.push(stranger.grpc(WATCH, "", &[(DO, "stall")]).await);
    }
    eventually("all are open", async || gated.upstream.open() == 64).await;
    let refused = gated.call(WATCH, "").await;
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(gated.call(READ, &token).await.status, 200);
    drop(held);
    eventually("the places are free", async || gated.call(WATCH, "").await.status == 200).await;
}

#[tokio::test]
async fn a_stalled_reader_delays_nobody() {
    let gated = Gated::start().await;
    let token = gated.token_of("viewer").await;
    let stalled = Caller::new(&gated.server.process, true);
    let unread = stalled.grpc(WATCH, &token, &[(DO, "stream 20000")]).await;
    let caller = Caller::new(&gated.server.process, true);
    let calls = (0..100).map(|_| async {
        read(caller.grpc(READ, &token, &[(DO, "stream 100")]).await).await.bytes
    });
    let read_by_others = futures::future::join_all(calls).await;
    assert!(read_by_others.iter().all(|bytes| *bytes == 100 * 1024), "{read_by_others:?}");
    assert_eq!(read(unread).await.bytes, 20_000 * 1024);
}

#[tokio::test]
async fn a_long_stream_takes_no_memory() {
    let gated = Gated::start().await;
    let token = gated.token_of("viewer").await;
    let bearer = format!("Bearer {token}");
    let http1 = Caller::new(&gated.server.process, false);
    let http2 = Caller::new(&gated.server.process, true);
    let headers =
        |pieces: &'static str| [("authorization", bearer.clone()), (DO, pieces.to_owned())];
    let download = async |caller: &Caller, pieces| {
        let headers = headers(pieces);
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        read(caller.send(Method::POST, WATCH, &headers, frames(&[], &[])).await).await.bytes
    };
    download(&http1, "stream 1000").await;
    download(&http2, "stream 1000").await;
    let before = gated.server.process.resident_bytes();
    assert_eq!(download(&http1, "stream 65536").await, 64 << 20);
    assert_eq!(download(&http2, "stream 65536").await, 64 << 20);
    let ended = read(http2.grpc(WATCH, &token, &[(DO, "stream 65536")]).await).await;
    assert_eq!(ended.bytes, 64 << 20);
    let grown = gated.server.process.resident_bytes().saturating_sub(before);
    assert!(grown < 24 << 20, "memory grew by {grown} bytes");
}

#[tokio::test]
async fn messages_pass_in_both_directions_at_once() {
    let gated = Gated::start().await;
    let token = gated.token_of("viewer").await;
    let (sender, receiver) = futures::channel::mpsc::unbounded();
    let body = http_body_util::StreamBody::new(receiver);
    let caller = Caller::new(&gated.server.process, true);
    let send = |text: &'static str| {
        let frame = hyper::body::Frame::data(hyper::body::Bytes::from(text));
        sender.unbounded_send(Ok(frame)).unwrap();
    };
    send("first");
    let answered = caller.grpc_with(WATCH, &token, &[(DO, "mirror")], body.boxed()).await;
    let mut body = answered.into_body();
    let mut next =
        async || body.frame().await.unwrap().unwrap().into_data().map_err(|_| "no data").unwrap();
    assert_eq!(next().await, "first");
    send("second");
    assert_eq!(next().await, "second");
}

#[tokio::test]
async fn a_deadline_ends_a_silent_call() {
    let gated = Gated::start().await;
    let token = gated.token_of("viewer").await;
    let caller = Caller::new(&gated.server.process, true);
    let limited = [(DO, "silent"), ("grpc-timeout", "100m")];
    let answered = caller.grpc(READ, &token, &limited).await;
    assert_eq!(answered.headers()["grpc-status"], "4");
    let limited = [(DO, "stall"), ("grpc-timeout", "100m")];
    let ended = read(caller.grpc(READ, &token, &limited).await).await;
    assert_eq!((ended.bytes, ended.trailer("grpc-status")), (1024, "4"));
    let bearer = format!("Bearer {token}");
    let limited = [
        ("authorization", &*bearer),
        ("content-type", "application/proto"),
        ("connect-timeout-ms", "100"),
        (DO, "silent"),
    ];
    let answered = gated.server.http.send(Method::POST, READ, &limited, "").await;
    assert_eq!(answered.json()["code"], "deadline_exceeded");
    eventually("the upstream stops", async || gated.upstream.open() == 0).await;
}

#[tokio::test]
async fn a_revoked_key_ends_its_streams() {
    let gated = Gated::start().await;
    let key = gated.key_of("viewer").await;
    let token = gated.server.token(&key).await;
    let bearer = format!("Bearer {token}");
    let caller = Caller::new(&gated.server.process, true);
    let grpc = caller.grpc(WATCH, &token, &[(DO, "stall")]).await;
    let stream = |content_type: &'static str| {
        [("authorization", bearer.clone()), ("content-type", content_type.to_owned())]
    };
    let mut others = Vec::new();
    for content_type in ["application/connect+proto", "text/event-stream"] {
        let headers = stream(content_type);
        let mut headers: Vec<_> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        headers.push((DO, "stall"));
        others.push(caller.send(Method::POST, WATCH, &headers, frames(&[], &[])).await);
    }
    let silent = tokio::spawn({
        let (caller, token) = (caller.clone(), token.clone());
        async move { caller.grpc(WATCH, &token, &[(DO, "silent")]).await }
    });
    eventually("all are open", async || gated.upstream.open() == 4).await;
    gated.server.admin_call("Disable", json!({ "clientId": key.client_id })).await;
    let disabled = Instant::now();
    assert_eq!(read(grpc).await.trailer("grpc-status"), "16");
    let plain = read(others.pop().unwrap()).await;
    assert!(plain.failed, "{plain:?}");
    let connect = read(others.pop().unwrap()).await;
    let last = String::from_utf8_lossy(&connect.last).into_owned();
    assert!(!connect.failed && last.contains(r#""code":"unauthenticated""#), "{last}");
    assert_eq!(silent.await.unwrap().headers()["grpc-status"], "16");
    assert!(disabled.elapsed() < Duration::from_secs(5), "{:?}", disabled.elapsed());
    eventually("the upstream learns it", async || gated.upstream.open() == 0).await;
}

/// A client that reads nothing keeps its response from being asked whether it may go on.
#[tokio::test]
async fn a_revoked_key_cannot_go_on_sending() {
    let gated = Gated::start().await;
    let key = gated.key_of("viewer").await;
    let token = gated.server.token(&key).await;
    let bearer = format!("Bearer {token}");
    let mut unread = Vec::new();
    for (http2, content_type) in
        [(true, "application/grpc"), (true, "text/plain"), (false, "text/plain")]
    {
        let caller = Caller::new(&gated.server.process, http2);
        for what in ["swallow 1000000", "swallow 1", "mirror"] {
            let headers = [("authorization", &*bearer), ("content-type", content_type), (DO, what)];
            let response = caller.send(Method::POST, WATCH, &headers, endless()).await;
            unread.push((caller.clone(), response));
        }
    }
    // One for the response of each, and one for each request that is read beside it.
    eventually("all are open", async || gated.upstream.open() >= 12).await;
    gated.server.admin_call("Disable", json!({ "clientId": key.client_id })).await;
    let disabled = Instant::now();
    eventually("the upstream gets nothing more", async || gated.upstream.open() == 0).await;
    assert!(disabled.elapsed() < Duration::from_secs(5), "{:?}", disabled.elapsed());
    drop(unread);
}

#[tokio::test]
async fn a_revoked_keys_unread_responses_end() {
    let gated = Gated::start().await;
    let key = gated.key_of("viewer").await;
    let token = gated.server.token(&key).await;
    let (http1, http2) =
        (Caller::new(&gated.server.process, false), Caller::new(&gated.server.process, true));
    let bearer = format!("Bearer {token}");
    let plain = [("authorization", &*bearer), (DO, "stream 1000000")];
    let unread = [
        http2.grpc(WATCH, &token, &[(DO, "stream 1000000")]).await,
        http2.send(Method::POST, WATCH, &plain, frames(&[], &[])).await,
        http1.send(Method::POST, WATCH, &plain, frames(&[], &[])).await,
    ];
    assert_eq!(gated.upstream.open(), 3);
    gated.server.admin_call("Disable", json!({ "clientId": key.client_id })).await;
    let disabled = Instant::now();
    eventually("the upstream sends nothing more", async || gated.upstream.open() == 0).await;
    assert!(disabled.elapsed() < Duration::from_secs(5), "{:?}", disabled.elapsed());
    let [grpc, ..] = unread;
    assert_eq!(read(grpc).await.trailer("grpc-status"), "16");
}

#[tokio::test]
async fn a_narrower_role_ends_streams() {
    let gated = Gated::start().await;
    let key = gated.key_of("viewer").await;
    let token = gated.server.token(&key).await;
    let caller = Caller::new(&gated.server.process, true);
    let watch = caller.grpc(WATCH, &token, &[(DO, "stall")]).await;
    let none = json!({
        "apiKey": { "clientId": key.client_id, "role": "ROLE_UNSPECIFIED" }, "updateMask": "role"
    });
    gated.server.admin_call("Update", none).await;
    let status = read(watch).await.trailer("grpc-status").to_owned();
    assert!(["7", "16"].contains(&&*status), "{status}");
}

#[tokio::test]
async fn a_stopping_server_ends_streams() {
    let upstream = crate::support::upstream::Upstream::start().await;
    let config = format!("[gate]\nupstream = \"{}\"\ndrain_seconds = 1\n", upstream.url);
    let mut server = crate::support::Server::with_config(&config).await;
    let caller = Caller::new(&server.process, true);
    let watch = caller.grpc(WATCH, &server.admin_token, &[(DO, "stall")]).await;
    let watched = tokio::spawn(read(watch));
    let stopping = Instant::now();
    assert!(server.process.stop().await.success());
    assert_eq!(watched.await.unwrap().trailer("grpc-status"), "14");
    assert!(stopping.elapsed() < Duration::from_secs(15), "{:?}", stopping.elapsed());
}

/// Neither side of such a stream has anything to say for a while.
#[tokio::test]
async fn idle_streams_last_until_the_drain_ends() {
    let upstream = crate::support::upstream::Upstream::start().await;
    let config = format!("[gate]\nupstream = \"{}\"\ndrain_seconds = 7\n", upstream.url);
    let mut server = crate::support::Server::with_config(&config).await;
    let caller = Caller::new(&server.process, true);
    let mut streams = Vec::new();
    let mut senders = Vec::new();
    for what in ["mirror", "silent"] {
        let (caller, token) = (caller.clone(), server.admin_token.clone());
        let (sender, receiver) = futures::channel::mpsc::unbounded();
        let body = http_body_util::StreamBody::new(receiver).boxed();
        senders.push(sender);
        streams.push(tokio::spawn(async move {
            let answered = caller.grpc_with(WATCH, &token, &[(DO, what)], body).await;
            let in_headers = answered.headers().get("grpc-status").cloned();
            in_headers.map_or(read(answered).await.trailer("grpc-status").to_owned(), |status| {
                status.to_str().unwrap().to_owned()
            })
        }));
    }
    eventually("both are open", async || upstream.open() == 2).await;
    let stopping = Instant::now();
    assert!(server.process.stop().await.success());
    for stream in streams {
        assert_eq!(stream.await.unwrap(), "14");
    }
    assert!(stopping.elapsed() >= Duration::from_secs(7), "{:?}", stopping.elapsed());
}
