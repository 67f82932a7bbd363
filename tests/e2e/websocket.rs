//! WebSockets by tungstenite: an endpoint that echoes, and what its clients say.

use std::io::{Read, Write};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use data_encoding::BASE64;
use tungstenite::{Message, WebSocket};

use super::origin::Origin;
use super::wire::Wire;

/// The answer to a challenge (RFC 6455 section 4.2.2).
pub(crate) fn accept_of(key: &str) -> String {
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    BASE64.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()).as_ref())
}

/// An endpoint that speaks WebSocket and says everything again; other requests are for `others`.
pub(crate) fn echoing(others: impl Fn(Wire) + Send + Sync + 'static) -> Origin {
    Origin::serving(move |wire| {
        let stream = wire.stream().try_clone().expect("a descriptor");
        let mut peeked = [0; 4096];
        let mut have = 0;
        // The whole head, without taking it.
        while !peeked[..have].windows(4).any(|bytes| bytes == b"\r\n\r\n") {
            have = match stream.peek(&mut peeked) {
                Ok(0) | Err(_) => return,
                Ok(count) => count,
            };
        }
        if !String::from_utf8_lossy(&peeked[..have]).to_ascii_lowercase().contains("upgrade: websocket") {
            return others(wire);
        }
        let Ok(mut socket) = tungstenite::accept(stream) else { return };
        while let Ok(message) = socket.read() {
            if (message.is_text() || message.is_binary()) && socket.send(message).is_err() {
                return;
            }
        }
    })
}

/// Text and bytes, small and large, go and come back; then the close is agreed on.
pub(crate) fn converses(mut socket: WebSocket<impl Read + Write>) {
    for length in [0, 1, 125, 126, 65_535, 65_536, 300_000] {
        let bytes: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).expect("a byte")).collect();
        for message in [Message::binary(bytes), Message::text("ä".repeat(length / 2))] {
            socket.send(message.clone()).expect("it goes");
            assert_eq!(socket.read().expect("it comes back"), message);
        }
    }
    socket.send(Message::Ping(b"are you?".to_vec().into())).expect("it goes");
    assert!(socket.read().expect("an answer").is_pong());
    socket.close(None).expect("it goes");
    let end = loop {
        match socket.read() {
            Ok(message) => assert!(message.is_close(), "{message:?}"),
            Err(end) => break end,
        }
    };
    assert!(matches!(end, tungstenite::Error::ConnectionClosed), "{end}");
}
