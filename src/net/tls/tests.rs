//! Both sides against rustls' own streams, over real sockets, on either driver.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use super::*;
use crate::net::{Alarms, Buffer, BufferPool, Driver, Pending, Reactor, Stream, TcpPeer, run_reactor};

const DRIVERS: [Driver; 2] = [Driver::IoUring, Driver::Epoll];

/// A server for `localhost`, and a client that believes it.
fn configs() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    configs_of("one")
}

/// The same, with a certificate that calls itself so.
fn configs_of(subject: &str) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let signing_key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, subject);
    let cert = params.self_signed(&signing_key).unwrap();
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der()).into();
    let provider = || Arc::new(aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let server = server.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let client = client.with_root_certificates(roots).with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

fn name() -> ServerName<'static> {
    ServerName::try_from("localhost").unwrap()
}

/// Runs a peer on a thread of its own, which is given a connected socket.
fn with_peer<T: Send + 'static>(peer: impl FnOnce(TcpStream) -> T + Send + 'static) -> (TcpStream, JoinHandle<T>) {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = TcpStream::connect(socket.local_addr().unwrap()).unwrap();
    let theirs = socket.accept().unwrap().0;
    theirs.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    (ours, Builder::new().spawn(move || peer(theirs)).unwrap())
}

fn on_reactor<T: Send + 'static, F: Future<Output = T>>(
    driver: Driver,
    socket: TcpStream,
    body: impl FnOnce(TcpPeer) -> F + Send + 'static,
) -> T {
    let run = move || run_reactor(driver, async move { body(Reactor::new(driver).adopt(socket).unwrap()).await });
    Builder::new().spawn(run).unwrap().join().unwrap().unwrap()
}

async fn accepted(
    stream: TcpPeer,
    config: Arc<ServerConfig>,
    pool: &BufferPool,
) -> Result<Box<Tls<TcpPeer>>, TlsFailure> {
    let alarm = Alarms::new(0).register();
    match accept(stream, None, (config, false), pool, &alarm, u64::MAX).await {
        Accepted::Secured(tls) => Ok(tls),
        Accepted::Failed(_, why) => Err(why),
    }
}

async fn connected(
    stream: TcpPeer,
    config: Arc<ClientConfig>,
    pool: &BufferPool,
) -> Result<Box<Tls<TcpPeer>>, TlsFailure> {
    let alarm = Alarms::new(0).register();
    connect(stream, config, name(), pool, &alarm, u64::MAX).await
}

async fn write_all(tls: &Tls<TcpPeer>, mut from: Buffer) -> Buffer {
    while !from.is_empty() {
        let (written, back) = tls.write(from).await;
        from = back;
        from.consume(written.unwrap());
    }
    from
}

/// Sends back what comes, `room` bytes at a time, until the peer ends its direction.
async fn echo(tls: &Tls<TcpPeer>, pool: &BufferPool, room: usize) -> u64 {
    let mut total = 0;
    loop {
        let mut into = pool.lend();
        into.rewind(crate::limits::BUFFER_BYTES - room, 0);
        let (read, into) = tls.read(into).await;
        let count = read.unwrap();
        assert!(count <= room);
        if count == 0 {
            return total;
        }
        total += count as u64;
        drop(write_all(tls, into).await);
    }
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

#[test]
fn what_a_client_sends_comes_back_whole_at_any_size_of_read() {
    for (driver, room, length) in [(DRIVERS[0], 16_384, 400_000), (DRIVERS[1], 16_384, 400_000), (DRIVERS[0], 7, 2_000)]
    {
        let (server, client) = configs();
        let (socket, peer) = with_peer(move |socket| {
            let writing = socket.try_clone().unwrap();
            let mut tls = StreamOwned::new(ClientConnection::new(client, name()).unwrap(), socket);
            let sent = pattern(length);
            let mut received: Vec<u8> = Vec::new();
            // In pieces, or both sides would wait for the other to read.
            for piece in sent.chunks(50_000) {
                tls.write_all(piece).unwrap();
                let mut back = vec![0; piece.len()];
                tls.read_exact(&mut back).unwrap();
                received.extend(back);
            }
            assert!(received == sent);
            tls.conn.send_close_notify();
            tls.flush().unwrap();
            let ended = tls.read(&mut [0]).unwrap();
            drop(writing);
            ended
        });
        let total = on_reactor(driver, socket, move |stream| async move {
            let pool = BufferPool::new();
            let tls = accepted(stream, server, &pool).await.unwrap();
            let total = echo(&tls, &pool, room).await;
            assert_eq!(pool.lent(), 0, "a connection at rest holds no buffer");
            total
        });
        assert_eq!((total, peer.join().unwrap()), (length as u64, 0), "{driver:?}: ended by an alert");
    }
}

#[test]
fn a_large_body_leaves_in_few_writes_and_arrives_whole() {
    for driver in DRIVERS {
        let (server, client) = configs();
        let (socket, peer) = with_peer(move |socket| {
            let mut tls = StreamOwned::new(ServerConnection::new(server).unwrap(), socket);
            let mut received = vec![0; 1_000_000];
            tls.read_exact(&mut received).unwrap();
            tls.write_all(&received).unwrap();
            tls.conn.send_close_notify();
            tls.flush().unwrap();
            assert_eq!(tls.read(&mut [0]).unwrap(), 0, "ended by an alert");
        });
        on_reactor(driver, socket, move |stream| async move {
            let pool = BufferPool::new();
            let tls = connected(stream, client, &pool).await.unwrap();
            let sent = pattern(1_000_000);
            let mut writes = 0;
            for piece in sent.chunks(crate::limits::BODY_BUFFER_BYTES) {
                let mut from = pool.try_lend_large().unwrap();
                from.extend(piece);
                while !from.is_empty() {
                    let (written, back) = tls.write(from).await;
                    from = back;
                    from.consume(written.unwrap());
                    writes += 1;
                }
            }
            assert!(writes <= 9, "{writes} writes");
            let mut received: Vec<u8> = Vec::new();
            loop {
                let (read, into) = tls.read(pool.try_lend_large().unwrap()).await;
                if read.unwrap() == 0 {
                    break;
                }
                received.extend(into.filled());
            }
            assert!(received == sent);
            assert_eq!((pool.lent(), tls.pending()), (0, Pending::End));
        });
        peer.join().unwrap();
    }
}

/// A record of 32 bytes that nobody encrypted.
const BROKEN: [u8; 37] = {
    let mut record = [7; 37];
    (record[0], record[1], record[2], record[3], record[4]) = (23, 3, 3, 0, 32);
    record
};

#[test]
fn a_broken_record_is_told_once_and_ends_all_that_follows() {
    for driver in DRIVERS {
        let (server, client) = configs();
        let (socket, peer) = with_peer(move |socket| {
            let mut tls = StreamOwned::new(ClientConnection::new(client, name()).unwrap(), socket);
            tls.write_all(b"x").unwrap();
            // Before that it would break the handshake.
            tls.read_exact(&mut [0; 2]).unwrap();
            tls.sock.write_all(&[BROKEN, BROKEN].concat()).unwrap();
            tls.read(&mut [0]).unwrap_err().to_string()
        });
        on_reactor(driver, socket, move |stream| async move {
            let pool = BufferPool::new();
            let tls = accepted(stream, server, &pool).await.unwrap();
            let mut go = pool.lend();
            go.extend(b"go");
            assert_eq!(tls.write(go).await.0.unwrap(), 2);
            let (read, _) = tls.read(pool.lend()).await;
            if read.is_ok() {
                assert_eq!(tls.read(pool.lend()).await.0.unwrap_err().kind(), io::ErrorKind::InvalidData);
            }
            assert_eq!(tls.read(pool.lend()).await.0.unwrap_err().kind(), io::ErrorKind::InvalidData);
            let mut more = pool.lend();
            more.extend(b"more");
            assert_eq!(tls.write(more).await.0.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
            assert_eq!(pool.lent(), 0);
        });
        let told = peer.join().unwrap();
        assert!(told.contains("BadRecordMac"), "{told}");
    }
}

#[test]
fn what_comes_behind_the_end_is_dropped_unseen() {
    for driver in DRIVERS {
        let (server, client) = configs();
        let (socket, peer) = with_peer(move |socket| {
            let mut tls = StreamOwned::new(ClientConnection::new(client, name()).unwrap(), socket);
            tls.write_all(b"x").unwrap();
            assert_eq!(tls.read(&mut [0]).unwrap(), 0);
            // As if a read that was abandoned had taken the front of a record along.
            tls.sock.write_all(&BROKEN[9..]).unwrap();
            tls.sock.shutdown(Shutdown::Write).unwrap();
        });
        on_reactor(driver, socket, move |stream| async move {
            let pool = BufferPool::new();
            let tls = accepted(stream, server, &pool).await.unwrap();
            assert_eq!(tls.read(pool.lend()).await.0.unwrap(), 1);
            tls.shutdown_write();
            tls.stop_listening();
            assert_eq!(tls.read(pool.lend()).await.0.unwrap(), BROKEN.len() - 9);
            assert_eq!(tls.read(pool.lend()).await.0.unwrap(), 0);
        });
        peer.join().unwrap();
    }
}

/// To say something the session looks at all records that have come: what they carry, and the end behind them, stays for
/// whoever reads.
#[test]
fn nothing_that_waits_to_be_read_is_lost_when_something_is_said() {
    for (driver, says_end) in DRIVERS.into_iter().flat_map(|driver| [(driver, false), (driver, true)]) {
        let (server, client) = configs();
        let (socket, peer) = with_peer(move |socket| {
            let mut tls = StreamOwned::new(ClientConnection::new(client, name()).unwrap(), socket);
            tls.conn.complete_io(&mut tls.sock).unwrap();
            // All at once, as several records.
            for piece in pattern(12_000).chunks(3_000) {
                tls.conn.writer().write_all(piece).unwrap();
            }
            tls.conn.send_close_notify();
            tls.flush().unwrap();
            let mut heard = Vec::new();
            tls.read_to_end(&mut heard).unwrap();
            heard
        });
        on_reactor(driver, socket, move |stream| async move {
            let pool = BufferPool::new();
            let tls = accepted(stream, server, &pool).await.unwrap();
            let mut first = pool.lend();
            first.rewind(crate::limits::BUFFER_BYTES - 1_000, 0);
            let (read, first) = tls.read(first).await;
            let mut received = first.filled().to_vec();
            assert!(read.unwrap() == 1_000 && tls.has_record(), "more has come than was asked for");
            drop(first);
            if says_end {
                tls.announce_end().await;
            } else {
                let mut word = pool.lend();
                word.extend(b"word");
                drop(write_all(&tls, word).await);
            }
            loop {
                let (read, into) = tls.read(pool.lend()).await;
                if read.expect("an end in order") == 0 {
                    break;
                }
                received.extend(into.filled());
            }
            assert!(received == pattern(12_000), "{} bytes", received.len());
            assert_eq!((pool.lent(), tls.pending()), (0, Pending::End));
            tls.announce_end().await;
        });
        assert_eq!(peer.join().unwrap(), if says_end { &b""[..] } else { b"word" });
    }
}

#[test]
fn an_end_without_an_alert_is_not_an_end() {
    let (server, client) = configs();
    let (socket, peer) = with_peer(move |socket| {
        let mut tls = StreamOwned::new(ClientConnection::new(client, name()).unwrap(), socket);
        tls.write_all(b"cut").unwrap();
        tls.sock.shutdown(Shutdown::Write).unwrap();
        // A close with tickets unread would be a reset.
        drop(tls.read(&mut [0]));
    });
    on_reactor(Driver::IoUring, socket, move |stream| async move {
        let pool = BufferPool::new();
        let tls = accepted(stream, server, &pool).await.unwrap();
        let (read, into) = tls.read(pool.lend()).await;
        assert_eq!((read.unwrap(), into.filled()), (3, &b"cut"[..]));
        let (read, _) = tls.read(pool.lend()).await;
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    });
    peer.join().unwrap();
}

#[test]
fn tickets_behind_a_handshake_are_no_bytes_for_anybody() {
    for driver in DRIVERS {
        let (server, client) = configs();
        let (socket, peer) = with_peer(move |socket| {
            let mut tls = StreamOwned::new(ServerConnection::new(server).unwrap(), socket);
            let mut word = [0; 3];
            tls.read_exact(&mut word).unwrap();
            tls.write_all(b"two").unwrap();
            word
        });
        on_reactor(driver, socket, move |stream| async move {
            let pool = BufferPool::new();
            let tls = connected(stream, client, &pool).await.unwrap();
            let mut one = pool.lend();
            one.extend(b"one");
            drop(write_all(&tls, one).await);
            tls.readable().await.unwrap();
            while tls.pending() == Pending::Nothing {
                // What was there were tickets.
                tls.readable().await.unwrap();
            }
            assert_eq!(tls.pending(), Pending::Bytes);
            let (read, into) = tls.read(pool.lend()).await;
            assert_eq!((read.unwrap(), into.filled()), (3, &b"two"[..]));
        });
        assert_eq!(&peer.join().unwrap(), b"one");
    }
}

#[test]
fn words_that_are_no_tls_are_told_apart() {
    let cases: [(&[u8], TlsFailure); 4] = [
        (b"GET / HTTP/1.1\r\n\r\n", TlsFailure::PlainHttp),
        (b"\x80\x2e\x01\x03\x01", TlsFailure::NotTls),
        (b"\x16\x03\x01\xff\xff\xff\xff", TlsFailure::NotTls),
        (b"", TlsFailure::Closed),
    ];
    for (words, why) in cases {
        let (server, _) = configs();
        let (socket, peer) = with_peer(move |mut socket| socket.write_all(words).unwrap());
        let failed = on_reactor(Driver::Epoll, socket, move |stream| async move {
            accepted(stream, server, &BufferPool::new()).await.err()
        });
        peer.join().unwrap();
        assert_eq!(failed, Some(why), "{words:?}");
    }
}

#[test]
fn a_certificate_that_is_not_believed_is_told_by_its_reason_and_by_an_alert() {
    let ((server, _), (_, stranger)) = (configs(), configs_of("two"));
    let (socket, peer) = with_peer(move |socket| {
        let mut tls = StreamOwned::new(ServerConnection::new(server).unwrap(), socket);
        tls.read(&mut [0]).unwrap_err().to_string()
    });
    let failed = on_reactor(Driver::IoUring, socket, move |stream| async move {
        connected(stream, stranger, &BufferPool::new()).await.err()
    });
    assert_eq!(failed, Some(TlsFailure::UnknownIssuer));
    let told = peer.join().unwrap();
    assert!(told.contains("UnknownCA"), "{told}");
}

#[test]
fn a_refusal_behind_other_messages_is_told_too() {
    let (mut server, mut client) = configs();
    Arc::make_mut(&mut server).alpn_protocols = vec![b"one".to_vec()];
    Arc::make_mut(&mut client).alpn_protocols = vec![b"two".to_vec()];
    for driver in DRIVERS {
        let (server, client) = (Arc::clone(&server), Arc::clone(&client));
        let (socket, peer) = with_peer(move |socket| {
            let mut tls = StreamOwned::new(ClientConnection::new(client, name()).unwrap(), socket);
            tls.read(&mut [0]).unwrap_err().to_string()
        });
        let failed = on_reactor(driver, socket, move |stream| async move {
            accepted(stream, server, &BufferPool::new()).await.err()
        });
        assert_eq!(failed, Some(TlsFailure::NoSharedProtocol));
        // The server's hello is out before the protocols are compared.
        let told = peer.join().unwrap();
        assert!(told.contains("NoApplicationProtocol"), "{told}");
    }
}

#[test]
fn an_answer_in_plain_text_is_no_handshake() {
    let (_, client) = configs();
    let (socket, peer) = with_peer(move |mut socket| {
        socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        drop(socket.read(&mut [0; 1000]));
    });
    let failed = on_reactor(Driver::IoUring, socket, move |stream| async move {
        connected(stream, client, &BufferPool::new()).await.err()
    });
    peer.join().unwrap();
    assert_eq!(failed, Some(TlsFailure::NotTls));
}

#[test]
fn every_failure_knows_its_place() {
    for (index, failure) in TlsFailure::ALL.into_iter().enumerate() {
        assert_eq!(failure.index(), index, "{}", failure.label());
    }
}

/// What one read of a body fills goes out in one write, and not in a large record and a small one.
#[test]
fn a_full_large_buffer_leaves_at_once() {
    let (server, client) = configs();
    let (socket, peer) = with_peer(move |socket| {
        let mut tls = StreamOwned::new(ClientConnection::new(client, name()).unwrap(), socket);
        let mut received = Vec::new();
        tls.read_to_end(&mut received).unwrap();
        received
    });
    let sent = on_reactor(DRIVERS[0], socket, |stream| async move {
        let pool = BufferPool::new();
        let tls = accepted(stream, server, &pool).await.unwrap();
        let mut body = pool.try_lend_large().unwrap();
        body.extend(&pattern(crate::limits::BODY_BUFFER_BYTES));
        let (written, body) = tls.write(body).await;
        assert_eq!(written.unwrap(), body.len());
        drop(body);
        tls.announce_end().await;
        assert_eq!(pool.lent(), 0);
        pattern(crate::limits::BODY_BUFFER_BYTES)
    });
    assert!(peer.join().unwrap() == sent);
}
