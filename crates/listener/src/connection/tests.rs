//! Deadlines, on a clock that advances by itself.

use axum::body::Bytes;
use futures::{StreamExt as _, stream};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
    task::JoinHandle,
};

use super::*;

const IDLE: Duration = Duration::from_secs(75);
const AGE: Duration = Duration::from_hours(1);
const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: h\r\n\r\n";
/// Preface, and empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// The same, with an initial window of zero.
const NO_WINDOW: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0";
const GOAWAY: u8 = 7;

/// A request on stream 1 of HTTP/2; `path` is shorter than 127 bytes.
fn get(path: &str) -> Vec<u8> {
    // Indexed :method GET, :scheme http; literal :path and :authority (RFC 7541 appendix A).
    let length = u8::try_from(path.len()).unwrap();
    let block = [b"\x82\x86\x04", &[length][..], path.as_bytes(), b"\x01\x01h"].concat();
    let length = u8::try_from(block.len()).unwrap();
    [&[0, 0, length, 1, 5, 0, 0, 0, 1][..], &block].concat()
}

struct Client {
    stream: DuplexStream,
    activity: Arc<Activity>,
    stop: watch::Sender<bool>,
    began: Instant,
    served: JoinHandle<()>,
}

impl Client {
    /// Connects; the server can send `buffer` bytes that are not read.
    fn connect(http2: bool, buffer: usize) -> Self {
        Self::connect_until(AGE, http2, buffer)
    }

    fn connect_until(age: Duration, http2: bool, buffer: usize) -> Self {
        let (stream, other) = tokio::io::duplex(buffer);
        let (stop, stopping) = watch::channel(false);
        let activity = Arc::new(Activity::new());
        let connection = Connection {
            peer: SocketAddr::from(([192, 0, 2, 1], 1)),
            activity: activity.clone(),
            protocols: Arc::new(Protocols::new()),
            idle: IDLE,
            age,
            stopping,
            service: tower::service_fn(answer),
        };
        let other = Observed::new(other, activity.clone());
        let served = tokio::spawn(connection.serve(other, http2));
        Self { stream, activity, stop, began: Instant::now(), served }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Sends a request of HTTP/1.1, and reads the small response.
    async fn ask(&mut self) -> String {
        self.send(GET).await;
        let mut response = Vec::new();
        while !response.ends_with(b"\r\n\r\nok") {
            assert_ne!(self.stream.read_buf(&mut response).await.unwrap(), 0);
        }
        String::from_utf8(response).unwrap()
    }

    /// Reads until the server closes the connection. Returns what it sent, and the seconds since
    /// the beginning.
    async fn read_to_end(&mut self) -> (Vec<u8>, u64) {
        let mut read = Vec::new();
        let _ = self.stream.read_to_end(&mut read).await;
        (read, self.began.elapsed().as_secs())
    }

    /// Waits, without reading, until the server closes the connection.
    async fn until_closed(self) -> u64 {
        self.served.await.unwrap();
        self.began.elapsed().as_secs()
    }
}

/// `/` is small, `/large` is not, `/slow` takes a minute, `/body` reads the request.
async fn answer(request: Request) -> Result<Response, Infallible> {
    let body = match request.uri().path() {
        "/large" => Body::from(vec![b'x'; 1 << 20]),
        "/slow" => {
            tokio::time::sleep(Duration::from_mins(1)).await;
            Body::from("ok")
        }
        "/body" => {
            let _ = axum::body::to_bytes(request.into_body(), 100).await;
            Body::from("ok")
        }
        "/parts" => Body::from_stream(stream::iter(0..20).then(|_| async {
            tokio::time::sleep(Duration::from_secs(10)).await;
            Ok::<_, Infallible>(Bytes::from_static(b"part"))
        })),
        _ => Body::from("ok"),
    };
    Ok(Response::new(body))
}

/// Whether frames of HTTP/2 have one of a type.
fn has_frame(mut frames: &[u8], kind: u8) -> bool {
    while let [high, middle, low, found, _, _, _, _, _, rest @ ..] = frames {
        if *found == kind {
            return true;
        }
        frames = &rest[u32::from_be_bytes([0, *high, *middle, *low]) as usize..];
    }
    false
}

#[tokio::test(start_paused = true)]
async fn headers_take_at_most_ten_seconds() {
    assert_eq!(Client::connect(false, 1024).read_to_end().await.1, 10, "silent");
    let mut dripping = Client::connect(false, 1024);
    dripping.ask().await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    let began = Instant::now();
    let (mut reading, mut writing) = tokio::io::split(dripping.stream);
    let drip = tokio::spawn(async move {
        while writing.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let _ = reading.read_to_end(&mut Vec::new()).await;
    assert_eq!(began.elapsed().as_secs(), 10, "dripping");
    drip.abort();
}

/// Proxies keep idle connections for a minute, and must not repeat a POST that meets a closed one.
#[tokio::test(start_paused = true)]
async fn an_answered_connection_may_be_idle() {
    let mut client = Client::connect(false, 1024);
    client.ask().await;
    tokio::time::sleep(Duration::from_secs(70)).await;
    client.ask().await;
    let began = Instant::now();
    client.read_to_end().await;
    assert_eq!(began.elapsed().as_secs(), IDLE.as_secs());
}

#[tokio::test(start_paused = true)]
async fn pings_do_not_extend_http2() {
    let mut client = Client::connect(true, 1 << 20);
    client.send(PREFACE).await;
    client.send(&get("/")).await;
    let (mut reading, mut writing) = tokio::io::split(client.stream);
    let pings = tokio::spawn(async move {
        while writing.write_all(b"\0\0\x08\x06\0\0\0\0\0pingpong").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(7)).await;
        }
    });
    let mut read = Vec::new();
    let _ = reading.read_to_end(&mut read).await;
    let took = client.began.elapsed().as_secs();
    assert!((75..=80).contains(&took), "{took}");
    assert!(has_frame(&read, GOAWAY));
    pings.abort();
}

#[tokio::test(start_paused = true)]
async fn an_unread_response_ends_the_connection() {
    let mut client = Client::connect(false, 1024);
    client.send(b"GET /large HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let took = client.until_closed().await;
    assert!((30..=35).contains(&took), "HTTP/1.1: {took}");
    for path in ["/", "/large"] {
        let mut client = Client::connect(true, 1 << 20);
        client.send(NO_WINDOW).await;
        client.send(&get(path)).await;
        let took = client.read_to_end().await.1;
        assert!((30..=35).contains(&took), "HTTP/2, {path}: {took}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_response_is_not_unread() {
    let mut client = Client::connect(false, 1024);
    client.send(b"GET /parts HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await;
    let (read, took) = client.read_to_end().await;
    assert!(read.ends_with(b"0\r\n\r\n") && took >= 200, "{took}");
}

#[tokio::test(start_paused = true)]
async fn an_old_connection_finishes_its_requests() {
    let mut client = Client::connect(false, 1024);
    let mut requests = 0;
    while !client.ask().await.contains("connection: close") {
        requests += 1;
        tokio::time::sleep(Duration::from_secs(55)).await;
    }
    assert_eq!(requests, 66);
    assert_eq!(client.read_to_end().await.0, b"");
    let mut client = Client::connect_until(Duration::from_secs(50), true, 1 << 20);
    client.send(PREFACE).await;
    client.send(&get("/slow")).await;
    let (read, took) = client.read_to_end().await;
    assert!(has_frame(&read, GOAWAY) && read.ends_with(b"ok"), "{took}");
    assert!((60..=65).contains(&took), "{took}");
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_only_for_the_server() {
    let stop = async |http2, bytes: &[u8]| {
        let mut client = Client::connect(http2, 4096);
        client.send(bytes).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        client.stop.send(true).unwrap();
        client.read_to_end().await.1 - 1
    };
    assert!(stop(false, b"").await <= 5, "silent");
    assert!(stop(false, b"GET / HT").await <= 5, "unfinished headers");
    let body = b"POST /body HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\nx";
    assert_eq!(stop(false, body).await, 5, "unfinished body");
    assert_eq!(stop(false, GET).await, 0, "idle");
    assert_eq!(stop(false, b"GET /slow HTTP/1.1\r\nhost: h\r\n\r\n").await, 59, "working");
    assert_eq!(stop(true, &[NO_WINDOW, &get("/")].concat()).await, 5, "unread");
}

#[tokio::test(start_paused = true)]
async fn an_evicted_connection_ends() {
    let mut client = Client::connect(false, 1024);
    client.ask().await;
    client.activity.evict();
    assert_eq!(client.read_to_end().await, (Vec::new(), 0));
}
