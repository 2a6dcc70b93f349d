//! HTTP/2 frame by frame: what clients that take every reset for a failure see, which the usual client hides.

use taffrail::api::GROUP_VERSION_PATH;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::fixture::Api;
use super::transport::{BOTH, handshake, soon};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// Types and flags, RFC 9113 section 6.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// The largest payload without asking.
const PAYLOAD_MAX: usize = 16 * 1024;

/// One connection, and the stream that it is at.
struct Frames {
    io: TlsStream<TcpStream>,
    stream: u32,
}

/// What came back on one stream.
#[derive(Default)]
struct Seen {
    body: Vec<u8>,
    ended: bool,
    resets: usize,
}

impl Frames {
    async fn open(api: &Api) -> Self {
        let io = handshake(api, BOTH, &[b"h2"]).await.expect("a handshake");
        // Many small frames, each of which the other side waits for.
        io.get_ref().0.set_nodelay(true).expect("it is open");
        let mut frames = Self { io, stream: 0 };
        frames.io.write_all(PREFACE).await.expect("it is open");
        frames.send(SETTINGS, 0, &[]).await;
        // The server's windows are as wide as it says only once that is acknowledged.
        while frames.next(&mut Seen::default()).await != SETTINGS {}
        frames.send(SETTINGS, ACK, &[]).await;
        frames.stream = 1;
        frames
    }

    async fn send(&mut self, kind: u8, flags: u8, payload: &[u8]) {
        let stream = if kind == PING { 0 } else { self.stream };
        let bytes = u32::try_from(payload.len()).expect("a short payload");
        let mut frame = bytes.to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.io.write_all(&frame).await.expect("it is open");
        self.io.flush().await.expect("it is open");
    }

    /// Sends a ping and reads until it comes back: by then the server has seen all that was sent before.
    async fn round_trip(&mut self, seen: &mut Seen) {
        self.send(PING, 0, &[0; 8]).await;
        while self.next(seen).await != PING {}
    }

    /// Reads one frame and gives its type.
    async fn next(&mut self, seen: &mut Seen) -> u8 {
        let mut head = [0; 9];
        self.io.read_exact(&mut head).await.expect("a frame");
        let [a, b, c, kind, flags, id @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.io.read_exact(&mut payload).await.expect("its payload");
        if u32::from_be_bytes(id) == self.stream {
            match kind {
                DATA => seen.body.extend(payload),
                RST_STREAM => seen.resets += 1,
                _ => {}
            }
            seen.ended |= kind <= HEADERS && flags & END_STREAM != 0;
        }
        kind
    }

    /// Sends headers, gives the server time to answer at once, and only then sends the body.
    async fn request(&mut self, method: u8, path: &str, body: &[u8]) -> Seen {
        let mut seen = Seen::default();
        self.send(HEADERS, END_HEADERS, &fields(method, path)).await;
        self.round_trip(&mut seen).await;
        self.round_trip(&mut seen).await;
        for part in body.chunks(PAYLOAD_MAX) {
            self.send(DATA, 0, part).await;
        }
        self.send(DATA, END_STREAM, &[]).await;
        while !seen.ended && seen.resets == 0 {
            self.next(&mut seen).await;
        }
        self.round_trip(&mut seen).await;
        self.stream += 2;
        seen
    }
}

const GET: u8 = 2;
const POST: u8 = 3;

/// A header block in HPACK without compression; methods go by their index in its static table, RFC 7541 appendix A.
fn fields(method: u8, path: &str) -> Vec<u8> {
    let length = u8::try_from(path.len()).expect("a short path");
    assert!(length < 127, "longer ones are written otherwise");
    let https = 7;
    let mut block = vec![0x80 | method, 0x80 | https, 4, length];
    block.extend(path.as_bytes());
    block.extend([1, 1, b'x']);
    block
}

#[tokio::test]
async fn an_unwanted_body_is_answered_on_http_2_and_never_reset() {
    let api = Api::start().await;
    let path = format!("{GROUP_VERSION_PATH}/namespaces/shop/request_rate");
    let mut frames = Frames::open(&api).await;
    for round in 0..50 {
        // As much as the window of a new stream lets pass unasked, or almost.
        let body = vec![b'x'; if round == 0 { 1000 * 1024 } else { 2 }];
        for (method, code) in [(POST, r#""code":405"#), (GET, r#""code":413"#)] {
            let seen = soon("the answer", frames.request(method, &path, &body)).await;
            let text = String::from_utf8(seen.body).expect("UTF-8");
            assert!(text.contains(code), "{text}");
            assert_eq!(seen.resets, 0, "{code} after {round} rounds");
        }
    }
}
