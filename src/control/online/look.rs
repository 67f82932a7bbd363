//! One endpoint, looked at once.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::reason::Reason;
use crate::config::UpstreamProtocol;
use crate::control::probes::{First, introduction};
use crate::snapshot::ProxyVersion;

/// What a client of HTTP/2 says first: its preface, and settings of which each is as it is (RFC 9113 section 3.4).
const H2_WORDS: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

/// How an endpoint is spoken to.
pub(super) struct Aim {
    /// Its own name as a `Host` field gives it.
    pub(super) authority: String,
    /// What is spoken to endpoints of its cluster.
    pub(super) protocol: UpstreamProtocol,
    /// Is it HTTP/2 with prior knowledge, whatever its cluster speaks?
    pub(super) is_h2c: bool,
    /// With what the connection is secured, and the name that the certificate must be for.
    pub(super) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    /// The header that connections begin with.
    pub(super) proxy_protocol: Option<ProxyVersion>,
}

impl Aim {
    /// What the endpoint at `address` speaks, if that is what it is spoken to, within `patience`.
    pub(super) async fn look(&self, address: SocketAddr, patience: Duration) -> Result<&'static str, Reason> {
        let late = Cell::new(Reason::ConnectTimeout);
        timeout(patience, self.converse(address, &late)).await.unwrap_or_else(|_| Err(late.get()))
    }

    /// `late` is kept to what it means when nothing more comes.
    async fn converse(&self, address: SocketAddr, late: &Cell<Reason>) -> Result<&'static str, Reason> {
        let mut stream = TcpStream::connect(address).await.map_err(|error| Reason::of_connect(&error))?;
        if let Some(version) = self.proxy_protocol {
            let said = stream.write_all(&introduction(version)).await;
            said.map_err(|_| Reason::ConnectFailed)?;
        }
        let Some((config, name)) = &self.tls else {
            let is_h2 = self.is_h2c || self.protocol == UpstreamProtocol::H2;
            return self.greet(stream, is_h2, late).await;
        };
        let must_h2 = self.protocol == UpstreamProtocol::H2;
        let secured = TlsConnector::from(Arc::clone(config)).connect(name.clone(), stream).await;
        let stream = secured.map_err(|error| Reason::of_handshake(&error, must_h2))?;
        let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        if must_h2 && !is_h2 {
            return Err(Reason::NotH2);
        }
        self.greet(stream, is_h2, late).await
    }

    /// Says the first words of a protocol, and looks at what comes back. Of HTTP/1.1 it is the request that asks for
    /// nothing (RFC 9110 section 9.3.7).
    async fn greet<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        mut stream: S,
        is_h2: bool,
        late: &Cell<Reason>,
    ) -> Result<&'static str, Reason> {
        let ping = format!("OPTIONS * HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.authority);
        let words = if is_h2 { H2_WORDS } else { ping.as_bytes() };
        if !is_h2 {
            late.set(Reason::Timeout);
        }
        // Whoever does not take it may have said why.
        if stream.write_all(words).await.is_ok() {
            drop(stream.flush().await);
        }
        let mut bytes = [0; First::BYTES];
        let mut count = 0;
        while count < bytes.len() {
            match stream.read(&mut bytes[count..]).await {
                Ok(0) => break,
                Ok(more) => count += more,
                Err(error) if count == 0 => return Err(Reason::of_answer(&error, is_h2)),
                Err(_) => break,
            }
        }
        answer(First::of(&bytes[..count]), count, is_h2)
    }
}

/// What the first bytes of an answer say.
fn answer(first: First, count: usize, is_h2: bool) -> Result<&'static str, Reason> {
    match (count, is_h2) {
        (0, true) => Err(Reason::ConnectFailed),
        (0, false) => Err(Reason::Eof),
        (_, true) if first.is_http2() => Ok("HTTP/2"),
        (_, false) if first.is_http1() => Ok("HTTP/1.1"),
        _ if first.is_tls() => Err(Reason::SpeaksTls),
        (_, false) if first.is_http2() => Err(Reason::SpeaksH2),
        (_, true) => Err(Reason::NotH2),
        (_, false) => Err(Reason::BadResponse),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell_what_is_spoken() {
        let settings = b"\x00\x00\x12\x04\x00\x00\x00\x00";
        let alert = b"\x15\x03\x01\x00\x02\x02\x46";
        for (bytes, of_http1, of_http2) in [
            (&b"HTTP/1.1 200 OK"[..8], Ok("HTTP/1.1"), Err(Reason::NotH2)),
            (&settings[..], Err(Reason::SpeaksH2), Ok("HTTP/2")),
            (&alert[..], Err(Reason::SpeaksTls), Err(Reason::SpeaksTls)),
            (&b"SSH-2.0-"[..], Err(Reason::BadResponse), Err(Reason::NotH2)),
            (&b""[..], Err(Reason::Eof), Err(Reason::ConnectFailed)),
        ] {
            assert_eq!(answer(First::of(bytes), bytes.len(), false), of_http1, "{bytes:?}");
            assert_eq!(answer(First::of(bytes), bytes.len(), true), of_http2, "{bytes:?}");
        }
    }
}
