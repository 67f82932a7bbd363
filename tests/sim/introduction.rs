//! What is said ahead of everything on a connection: whose it is (PROXY protocol), by clients that come through a proxy and
//! by the gateway to its endpoints. Written from the specification and independently of the gateway's codec.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::chance::Chance;
use crate::pipe::End;
use crate::world::World;

/// The first bytes of version 2.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Longer than any time that the gateway gives for it.
const PATIENCE_MS: u64 = 4_000;

/// The words of one client, or of the proxy that it comes through.
#[derive(Clone, Debug)]
pub(crate) struct Introduction {
    words: Vec<u8>,
    /// Bytes that go at once, and the milliseconds between them.
    piece: usize,
    pause_ms: u64,
    /// Whom they name, unless they speak for themselves.
    pub(crate) source: Option<IpAddr>,
    /// Must nobody be served behind them?
    pub(crate) is_bad: bool,
    /// Does whoever says bad ones leave at once?
    leaves: bool,
}

impl Introduction {
    /// Good ones, or now and then some that are not; `required`: must there be any?
    pub(crate) fn draw(chance: &Chance, number: usize, required: bool, may_be_bad: bool) -> Self {
        let low = u8::try_from(number % 250 + 1).expect("a byte");
        let v4 = IpAddr::from(Ipv4Addr::new(203, 0, 113, low));
        let v6 = IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(low)));
        let source = if chance.one_in(3) { v6 } else { v4 };
        let named = if chance.one_in(2) { version_1(source) } else { version_2(0x21, source, chance.below(40)) };
        let (piece, pause_ms) = chance.pick(&[(1, 1), (1, 0), (5, 3), (13, 0), (1_000, 0)]);
        let good = Self { words: named, piece, pause_ms, source: Some(source), is_bad: false, leaves: false };
        if may_be_bad && chance.one_in(4) {
            let words = bad(chance, &good.words, source, required);
            return Self { words, source: None, is_bad: true, leaves: chance.one_in(2), ..good };
        }
        let own = match chance.below(6) {
            0 => b"PROXY UNKNOWN\r\n".to_vec(),
            1 => version_2(0x20, source, 0),
            2 if !required => Vec::new(),
            _ => return good,
        };
        Self { words: own, source: None, ..good }
    }

    /// Says them; false when that was all, because nobody is served behind them.
    pub(crate) async fn say(&self, world: &World, end: &End) -> bool {
        for piece in self.words.chunks(self.piece) {
            if end.send(piece).await.is_err() {
                break;
            }
            world.sleep_ms(self.pause_ms).await;
        }
        if !self.is_bad {
            return true;
        }
        if !self.leaves {
            match world.within(PATIENCE_MS, end.recv()).await {
                Some(Ok(bytes)) if !bytes.is_empty() => {
                    world.blame(format!("{}: an answer to {self:?}", end.name()));
                }
                None => world.blame(format!("{}: not closed behind {self:?}", end.name())),
                Some(_) => {}
            }
        }
        false
    }
}

/// Is this a client that words may name?
pub(crate) fn is_source(text: &str) -> bool {
    text.starts_with("203.0.113.") || text.starts_with("2001:db8::")
}

/// A line of text.
fn version_1(source: IpAddr) -> Vec<u8> {
    let (family, to) = if source.is_ipv4() { ("TCP4", "198.51.100.1") } else { ("TCP6", "2001:db8::ffff") };
    format!("PROXY {family} {source} {to} 40000 443\r\n").into_bytes()
}

/// Binary: the version with its command, the addresses, and so many bytes that say more (TLVs that nobody knows).
fn version_2(command: u8, source: IpAddr, more: usize) -> Vec<u8> {
    let mut addresses = Vec::new();
    let family = match source {
        IpAddr::V4(ip) => {
            addresses.extend(ip.octets());
            addresses.extend([198, 51, 100, 1]);
            0x11
        }
        IpAddr::V6(ip) => {
            addresses.extend(ip.octets());
            addresses.extend(ip.octets());
            0x21
        }
    };
    addresses.extend([0x9c, 0x40, 0x01, 0xbb]);
    if more > 3 {
        // A type of the private range, and its length.
        addresses.extend([0xe0, 0, u8::try_from(more - 3).expect("few")]);
        addresses.extend(std::iter::repeat_n(b'x', more - 3));
    }
    let length = u16::try_from(addresses.len()).expect("few").to_be_bytes();
    [&SIGNATURE[..], &[command, family], &length, &addresses].concat()
}

/// Words that are none, or not all of them.
fn bad(chance: &Chance, good: &[u8], source: IpAddr, required: bool) -> Vec<u8> {
    let far = if required { 9 } else { 8 };
    match chance.below(far) {
        // Cut short; the first bytes alone are those of other things as well.
        0..=2 => good[..13 + chance.below(good.len() - 13)].to_vec(),
        3 => format!("PROXY TCP4 {source} 198.51.100.1 70000 443\r\n").into_bytes(),
        4 => b"PROXY TCP5 203.0.113.1 198.51.100.1 1 2\r\n".to_vec(),
        5 => [&b"PROXY TCP4 "[..], &[b'1'; 200], b"\r\n"].concat(),
        6 => version_2(0x31, source, 0),
        7 => {
            let mut short = version_2(0x21, source, 0);
            // Fewer bytes than the addresses of its family have.
            short[15] = 5;
            short
        }
        _ => b"GET /t/nobody HTTP/1.1\r\nHost: sim.test\r\n\r\n".to_vec(),
    }
}

/// Whom a connection of the gateway's is for, in this version: reads the words, and nothing behind them. Nothing when it ends
/// before; what is wrong with them is an error.
pub(crate) async fn hear(end: &End, version: u8) -> Result<Option<IpAddr>, String> {
    let mut words = Vec::new();
    loop {
        let byte = std::future::poll_fn(|poller| end.poll_recv(poller, 1)).await.unwrap_or_default();
        if byte.is_empty() {
            return Ok(None);
        }
        words.extend(byte);
        let heard = if version == 1 { line(&words)? } else { binary(&words)? };
        if heard.is_some() {
            return Ok(heard);
        }
    }
}

fn line(words: &[u8]) -> Result<Option<IpAddr>, String> {
    let text = String::from_utf8_lossy(words).into_owned();
    if words.len() > 107 || !"PROXY ".starts_with(&text[..text.len().min(6)]) {
        return Err(format!("no words of version 1: {text:?}"));
    }
    let Some(line) = text.strip_suffix("\r\n") else { return Ok(None) };
    let parts: Vec<&str> = line.split(' ').collect();
    let is_sound = matches!(parts[..], ["PROXY", "TCP4" | "TCP6", _, to, from_port, to_port]
        if to.parse::<IpAddr>().is_ok() && from_port.parse::<u16>().is_ok() && to_port.parse::<u16>().is_ok());
    let source = parts.get(2).and_then(|source| source.parse().ok()).filter(|_| is_sound);
    source.map(Some).ok_or(format!("no words of version 1: {text:?}"))
}

fn binary(words: &[u8]) -> Result<Option<IpAddr>, String> {
    let known = words.len().min(SIGNATURE.len());
    if words[..known] != SIGNATURE[..known] {
        return Err(format!("no words of version 2: {words:?}"));
    }
    let Some(head) = words.get(..16) else { return Ok(None) };
    if words.len() < 16 + usize::from(u16::from_be_bytes([head[14], head[15]])) {
        return Ok(None);
    }
    let addresses = &words[16..];
    let source = match (head[12], head[13]) {
        (0x21, 0x11) => addresses.first_chunk::<4>().map(|octets| IpAddr::from(*octets)),
        (0x21, 0x21) => addresses.first_chunk::<16>().map(|octets| IpAddr::from(*octets)),
        _ => None,
    };
    source.map(Some).ok_or(format!("no words of version 2: {words:?}"))
}
