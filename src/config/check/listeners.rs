//! Listeners: addresses, health paths, limits.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::super::file::{LimitsFile, ListenerFile};
use super::super::leaf::Leaf;
use super::super::model::{BodyMinRate, Listener, ListenerLimits, Protocol, ProxyProtocol};
use super::super::place::At;
use super::super::problems::{Pending, Subject};
use super::super::units::Count;
use super::{Check, Names, Written, tls};
use crate::limits::{
    CONNECTIONS_MAX, CONNECTIONS_PER_CLIENT_MAX, H2_STREAMS_DEFAULT, H2_STREAMS_MAX, HANDSHAKE_MS,
    HEADER_BYTES_DEFAULT, HEADER_BYTES_MAX, HEADER_BYTES_MIN, HEADER_COUNT_DEFAULT, HEADER_COUNT_MAX,
};

/// Where a listener is said to listen when its address was refused.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

pub(super) fn check(check: &mut Check<'_>, files: &[Written]) -> Vec<Listener> {
    let mut listeners: Vec<Listener> = Vec::new();
    let mut names = Names::default();
    for written in files {
        check.base.clone_from(&written.base);
        let root = At::root(written.file);
        let at = root.key("listeners");
        for (name, file) in written.document.listeners.iter().flat_map(|named| &named.0) {
            let at = at.key(name);
            let problem = |message| Pending::error(at.place(), message).at_key();
            names.take(check, "listener", name, listeners.len(), problem);
            let listener = check_one(check, at, name, file);
            let is_same = |other: &&Listener| other.address == listener.address && listener.address.port() != 0;
            if let Some(other) = listeners.iter().find(is_same) {
                let message = format!("the listener `{}` has the same address", other.name);
                check.problems.push(Pending::error(at.key("address").place(), message).subject(Subject::Nothing));
            }
            listeners.push(listener);
        }
    }
    if listeners.is_empty() && !check.is_partial {
        let root = At::root(files[0].file);
        let at = root.key("listeners");
        let is_empty = files[0].document.listeners.is_some();
        check.missing(if is_empty { &at } else { &root }, "no listener is defined, so nothing would be served");
    }
    listeners
}

fn check_one(check: &mut Check<'_>, at: At<'_>, name: &str, file: &ListenerFile) -> Listener {
    let at_limits = at.key("limits");
    let bounds_handshakes = file.limits.as_ref().is_some_and(|limits| limits.handshake_timeout.is_some());
    if bounds_handshakes && file.tls.is_none() && !check.problems.is_broken(&at.place()) {
        let note = "there is no handshake without TLS";
        check.warn(at_limits, "handshake_timeout", "`handshake_timeout` is of no use without `tls`", note);
    }
    let protocols = check_protocols(check, &at, file);
    let bounds_streams = file.limits.as_ref().is_some_and(|limits| limits.h2_streams.is_some());
    if bounds_streams && !protocols.contains(&Protocol::Http2) && !check.problems.is_broken(&at.place()) {
        let note = "a connection of HTTP/1.1 has no streams: add `h2` to `protocols`";
        check.warn(at_limits, "h2_streams", "`h2_streams` is of no use without HTTP/2", note);
    }
    Listener {
        name: name.to_owned(),
        address: check.required(&at, "address", file.address.as_ref()).unwrap_or(NOWHERE),
        health_path: match check.value(at.key("health_path"), file.health_path.as_ref()) {
            Some(path) => path,
            None => Some("/health".to_owned()),
        },
        tls: tls::check_listener(check, at.key("tls"), file.tls.as_ref()),
        protocols,
        limits: check_limits(check, at_limits, file.limits.as_ref().unwrap_or(&LimitsFile::default())),
        trusted_proxies: check.values(at.key("trusted_proxies"), file.trusted_proxies.as_ref()),
        proxy_protocol: check_proxy_protocol(check, at, file),
        strict_host: check.value(at.key("strict_host"), file.strict_host.as_ref()).unwrap_or(false),
    }
}

fn check_proxy_protocol(check: &mut Check<'_>, at: At<'_>, file: &ListenerFile) -> ProxyProtocol {
    let mode = check.value(at.key("proxy_protocol"), file.proxy_protocol.as_ref()).unwrap_or(ProxyProtocol::Off);
    if mode != ProxyProtocol::Off && file.trusted_proxies.as_ref().is_none_or(Vec::is_empty) {
        let note = "a header is only believed from the networks of `trusted_proxies`: name those of your proxies";
        check.error_with(at.key("proxy_protocol"), "`proxy_protocol` without `trusted_proxies`", note);
    }
    mode
}

/// What is spoken: HTTP/1.1 unless more is said, and HTTP/2 where TLS lets a client choose.
fn check_protocols(check: &mut Check<'_>, listener: &At<'_>, file: &ListenerFile) -> Vec<Protocol> {
    let at = listener.key("protocols");
    let Some(list) = &file.protocols else {
        return if file.tls.is_some() { vec![Protocol::Http2, Protocol::Http11] } else { vec![Protocol::Http11] };
    };
    if list.is_empty() {
        check.missing(&at, "expected at least one of `h2` and `http/1.1`");
    }
    let mut protocols: Vec<Protocol> = Vec::new();
    for (index, leaf) in list.iter().enumerate() {
        let Some(protocol) = check.value(at.index(index), Some(leaf)) else { continue };
        if protocols.contains(&protocol) {
            check.error(at.index(index), "this protocol is given twice");
        }
        protocols.push(protocol);
    }
    let is_whole = protocols.len() == list.len() && !list.is_empty();
    if is_whole && !protocols.contains(&Protocol::Http11) {
        let note = "clients that offer nothing else must be answered: add `http/1.1`";
        check.error_with(at, "HTTP/1.1 is always spoken", note);
    }
    protocols
}

fn check_limits(check: &mut Check<'_>, at: At<'_>, file: &LimitsFile) -> ListenerLimits {
    let wait = |seconds| Duration::from_secs(seconds);
    ListenerLimits {
        header_bytes: check_header_bytes(check, at, file),
        header_count: check_header_count(check, at.key("header_count"), file.header_count.as_ref()),
        header_timeout: check.value(at.key("header_timeout"), file.header_timeout.as_ref()).unwrap_or(wait(10)),
        handshake_timeout: check
            .value(at.key("handshake_timeout"), file.handshake_timeout.as_ref())
            .unwrap_or(Duration::from_millis(HANDSHAKE_MS)),
        idle_timeout: check.value(at.key("idle_timeout"), file.idle_timeout.as_ref()).unwrap_or(wait(75)),
        body_min_rate: {
            let at = at.key("body_min_rate");
            let file = file.body_min_rate.as_ref();
            BodyMinRate {
                bytes_per_second: check.value(at.key("rate"), file.and_then(|rate| rate.rate.as_ref())).unwrap_or(1024),
                grace: check.value(at.key("grace"), file.and_then(|rate| rate.grace.as_ref())).unwrap_or(wait(10)),
            }
        },
        write_timeout: check.value(at.key("write_timeout"), file.write_timeout.as_ref()).unwrap_or(wait(30)),
        connections: check_cap(check, at.key("connections"), file.connections.as_ref(), CONNECTIONS_MAX),
        connections_per_client: {
            let at = at.key("connections_per_client");
            check_cap(check, at, file.connections_per_client.as_ref(), CONNECTIONS_PER_CLIENT_MAX)
        },
        h2_streams: check_streams(check, at.key("h2_streams"), file.h2_streams.as_ref()),
    }
}

/// A number of connections up to `most`; 0 is no cap.
fn check_cap(check: &mut Check<'_>, at: At<'_>, leaf: Option<&Leaf<Count>>, most: usize) -> Option<usize> {
    let cap = check.value(at, leaf)?;
    if cap > most {
        check.error(at, format!("expected at most {most} connections, or 0 for no cap"));
    }
    Some(cap).filter(|cap| (1..=most).contains(cap))
}

fn check_streams(check: &mut Check<'_>, at: At<'_>, leaf: Option<&Leaf<Count>>) -> u32 {
    match check.value(at, leaf).map(u32::try_from) {
        Some(Ok(streams)) if (1..=H2_STREAMS_MAX).contains(&streams) => streams,
        Some(_) => {
            check.error(at, format!("expected 1 to {H2_STREAMS_MAX} streams"));
            H2_STREAMS_DEFAULT
        }
        None => H2_STREAMS_DEFAULT,
    }
}

fn check_header_bytes(check: &mut Check<'_>, at: At<'_>, file: &LimitsFile) -> usize {
    let Some(bytes) = check.value(at.key("header_bytes"), file.header_bytes.as_ref()) else {
        return HEADER_BYTES_DEFAULT;
    };
    match usize::try_from(bytes) {
        Ok(bytes) if (HEADER_BYTES_MIN..=HEADER_BYTES_MAX).contains(&bytes) => bytes,
        _ => {
            let (least, most) = (HEADER_BYTES_MIN >> 10, HEADER_BYTES_MAX >> 20);
            check.error(at.key("header_bytes"), format!("expected {least}KiB to {most}MiB"));
            HEADER_BYTES_DEFAULT
        }
    }
}

fn check_header_count(check: &mut Check<'_>, at: At<'_>, leaf: Option<&Leaf<Count>>) -> usize {
    match check.value(at, leaf) {
        Some(count) if (1..=HEADER_COUNT_MAX).contains(&count) => count,
        Some(_) => {
            check.error(at, format!("expected 1 to {HEADER_COUNT_MAX} fields"));
            HEADER_COUNT_DEFAULT
        }
        None => HEADER_COUNT_DEFAULT,
    }
}
