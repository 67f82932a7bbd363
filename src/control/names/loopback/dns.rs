//! A DNS server on loopback that answers as a test tells it to, over UDP and TCP on one port.
//!
//! A name that nobody set does not exist. An answer that does not fit into the asker's UDP buffer is truncated, as
//! RFC 2181 section 9 wants it. The end-to-end tests include this file as well.

#![allow(clippy::disallowed_types, reason = "a test tells the server's threads what to answer")]

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hickory_resolver::proto::op::{Edns, Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::CNAME;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

/// Bytes of the largest message.
const MESSAGE_BYTES: usize = 65_535;
/// Ports tried until one is free for both protocols.
const PORTS: usize = 64;
/// Aliases followed within one answer.
const ALIASES: usize = 8;

/// A running server; it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct DnsServer {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    stopped: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct Zone {
    names: HashMap<String, Reply>,
    queries: HashMap<String, usize>,
    tcp_queries: HashMap<String, usize>,
    refuses_edns: bool,
}

#[derive(Debug, Clone)]
enum Reply {
    Addresses { ttl_s: u32, addresses: Vec<IpAddr> },
    Alias { ttl_s: u32, target: String, is_bare: bool },
    Code(ResponseCode),
    Silence,
    Rubbish,
}

impl DnsServer {
    /// Listens on a free port of loopback.
    pub(crate) fn start() -> Self {
        let (udp, tcp) = sockets();
        let address = tcp.local_addr().expect("a bound socket");
        let zone: Arc<Mutex<Zone>> = Arc::default();
        let stopped = Arc::new(AtomicBool::new(false));
        let (udp_zone, udp_stopped) = (Arc::clone(&zone), Arc::clone(&stopped));
        thread("dns-udp", move || serve_udp(&udp, &udp_zone, &udp_stopped));
        let (tcp_zone, tcp_stopped) = (Arc::clone(&zone), Arc::clone(&stopped));
        thread("dns-tcp", move || serve_tcp(&tcp, &tcp_zone, &tcp_stopped));
        Self { address, zone, stopped }
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on `name` has these addresses, of both families, for `ttl_s` seconds.
    pub(crate) fn set(&self, name: &str, ttl_s: u32, addresses: &[IpAddr]) {
        self.reply(name, Reply::Addresses { ttl_s, addresses: addresses.to_vec() });
    }

    /// From now on `name` is an alias of `target`, whose records come along when there are any.
    pub(crate) fn set_alias(&self, name: &str, ttl_s: u32, target: &str) {
        self.reply(name, Reply::Alias { ttl_s, target: target.to_owned(), is_bare: false });
    }

    /// From now on `name` is an alias of `target`, whose records have to be asked for.
    pub(crate) fn set_bare_alias(&self, name: &str, ttl_s: u32, target: &str) {
        self.reply(name, Reply::Alias { ttl_s, target: target.to_owned(), is_bare: true });
    }

    /// From now on `name` does not exist.
    pub(crate) fn set_nxdomain(&self, name: &str) {
        self.set_code(name, u16::from(ResponseCode::NXDomain));
    }

    /// From now on questions for `name` are answered with this code: 2 is SERVFAIL, 5 REFUSED.
    pub(crate) fn set_code(&self, name: &str, code: u16) {
        self.reply(name, Reply::Code(code.into()));
    }

    /// From now on questions for `name` get no answer.
    pub(crate) fn set_silent(&self, name: &str) {
        self.reply(name, Reply::Silence);
    }

    /// From now on questions for `name` get bytes that are no message.
    pub(crate) fn set_rubbish(&self, name: &str) {
        self.reply(name, Reply::Rubbish);
    }

    /// From now on questions that announce EDNS (RFC 6891) are answered with FORMERR, as old servers do.
    pub(crate) fn refuse_edns(&self) {
        lock(&self.zone).refuses_edns = true;
    }

    /// Questions for `name` so far: both families, both protocols, repeated ones included.
    pub(crate) fn queries(&self, name: &str) -> usize {
        lock(&self.zone).queries.get(name).copied().unwrap_or_default()
    }

    /// Those of them that came over TCP.
    pub(crate) fn tcp_queries(&self, name: &str) -> usize {
        lock(&self.zone).tcp_queries.get(name).copied().unwrap_or_default()
    }

    fn reply(&self, name: &str, reply: Reply) {
        lock(&self.zone).names.insert(name.to_owned(), reply);
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // Both threads wait for a peer: whatever comes, they then see that it is over.
        drop(TcpStream::connect(self.address));
        if let Ok(socket) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)) {
            drop(socket.send_to(&[], self.address));
        }
    }
}

fn lock(zone: &Mutex<Zone>) -> MutexGuard<'_, Zone> {
    zone.lock().unwrap_or_else(PoisonError::into_inner)
}

fn thread(name: &str, body: impl FnOnce() + Send + 'static) {
    drop(std::thread::Builder::new().name(name.to_owned()).spawn(body).expect("a test may have threads"));
}

/// One port for both protocols.
fn sockets() -> (UdpSocket, TcpListener) {
    let both = || {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
        let udp = UdpSocket::bind(tcp.local_addr().ok()?).ok()?;
        Some((udp, tcp))
    };
    (0..PORTS).find_map(|_| both()).expect("a port that is free for UDP and TCP")
}

fn serve_udp(socket: &UdpSocket, zone: &Mutex<Zone>, stopped: &AtomicBool) {
    let mut buffer = vec![0; MESSAGE_BYTES];
    while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
        if stopped.load(Ordering::Relaxed) {
            return;
        }
        if let Some(answer) = answer(&buffer[..length], zone, false) {
            // The asker may be gone by now.
            drop(socket.send_to(&answer, peer));
        }
    }
}

fn serve_tcp(listener: &TcpListener, zone: &Arc<Mutex<Zone>>, stopped: &AtomicBool) {
    for stream in listener.incoming().map_while(Result::ok) {
        if stopped.load(Ordering::Relaxed) {
            return;
        }
        let zone = Arc::clone(zone);
        thread("dns-connection", move || drop(serve_connection(stream, &zone)));
    }
}

/// RFC 1035 section 4.2.2: each message stands behind its length in two bytes.
fn serve_connection(mut stream: TcpStream, zone: &Mutex<Zone>) -> std::io::Result<()> {
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut question)?;
        if let Some(answer) = answer(&question, zone, true) {
            let length = u16::try_from(answer.len()).expect("a message that fits");
            stream.write_all(&[&length.to_be_bytes()[..], &answer].concat())?;
        }
    }
}

/// What goes back for one message, `None` for nothing.
fn answer(question: &[u8], zone: &Mutex<Zone>, is_tcp: bool) -> Option<Vec<u8>> {
    let question = Message::from_vec(question).ok()?;
    let query = question.queries.first()?;
    let name = plain(query.name());
    let mut zone = lock(zone);
    *zone.queries.entry(name.clone()).or_default() += 1;
    if is_tcp {
        *zone.tcp_queries.entry(name.clone()).or_default() += 1;
    }
    let mut response = Message::response(question.metadata.id, question.metadata.op_code);
    response.metadata.recursion_desired = question.metadata.recursion_desired;
    response.metadata.recursion_available = true;
    response.add_query(query.clone());
    let has_edns = question.edns.is_some();
    if has_edns && zone.refuses_edns {
        response.metadata.response_code = ResponseCode::FormErr;
        return Some(bytes(&response));
    }
    if has_edns {
        response.set_edns(Edns::new());
    }
    match zone.names.get(&name) {
        Some(Reply::Silence) => return None,
        Some(Reply::Rubbish) => return Some(rubbish(question.metadata.id)),
        Some(Reply::Code(code)) => response.metadata.response_code = *code,
        None => response.metadata.response_code = ResponseCode::NXDomain,
        Some(Reply::Addresses { .. } | Reply::Alias { .. }) => {
            response.add_answers(records(&zone, query.name(), query.query_type()));
        }
    }
    let whole = bytes(&response);
    let fits = is_tcp || whole.len() <= usize::from(question.max_payload());
    Some(if fits { whole } else { bytes(&response.truncate()) })
}

/// The records of `kind` that `owner` has, aliases first.
fn records(zone: &Zone, owner: &Name, kind: RecordType) -> Vec<Record> {
    let mut records = Vec::new();
    let mut owner = owner.clone();
    for _ in 0..ALIASES {
        match zone.names.get(&plain(&owner)) {
            Some(Reply::Addresses { ttl_s, addresses }) => {
                let all = addresses.iter().map(|one| Record::from_rdata(owner.clone(), *ttl_s, RData::from(*one)));
                records.extend(all.filter(|record| record.record_type() == kind));
                break;
            }
            Some(Reply::Alias { ttl_s, target, is_bare }) => {
                let target = Name::from_ascii(format!("{target}.")).expect("a name");
                records.push(Record::from_rdata(owner, *ttl_s, RData::CNAME(CNAME(target.clone()))));
                if *is_bare {
                    break;
                }
                owner = target;
            }
            Some(Reply::Code(_) | Reply::Silence | Reply::Rubbish) | None => break,
        }
    }
    records
}

/// The head of an answer that promises more than there is.
fn rubbish(id: u16) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend_from_slice(&[0x81, 0x80, 0, 1, 0xff, 0xff, 0, 7, 0, 9]);
    bytes.extend_from_slice(&[0xff; 300]);
    bytes
}

/// A name in small letters, without the last dot.
fn plain(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}

fn bytes(message: &Message) -> Vec<u8> {
    message.to_vec().expect("a message that can be written")
}
