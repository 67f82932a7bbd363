//! The last step of an exchange: counted and logged once, however it ends.

use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::failure::{Failure, Fault, Verdict};
use super::held::{Client, Exchange};
use super::shard::Shard;
use crate::http1::{FieldKind, Version};
use crate::net::{Env, Stream};
use crate::telemetry::{Ending, PROTOCOLS, Record, method_index};

impl<E: Env> Exchange<'_, E> {
    /// Notes how the exchange failed, for its log line and its counters.
    pub(super) fn on_failure(&self, failure: Failure) {
        let counters = &self.shard.counters;
        self.tally.failure.set(Some(failure));
        if failure == Failure::ClientAbort {
            counters.client_aborts.add(1);
        }
        if self.tally.is_answered() {
            counters.cut[failure.index()].add(1);
        }
    }

    /// Counts a failure that becomes the client's answer, or all that comes of its request. One who left is not refused.
    pub(super) fn on_rejected(&self, failure: Failure) {
        self.shard.counters.rejected[failure.index()].add(1);
    }

    /// The last step of an exchange that came to its end.
    pub(super) fn end(self) {
        self.tally.is_over.set(true);
    }

    /// The future that serves the exchange is dropped on its way: its worker stops, or a bug unwinds.
    #[cold]
    fn on_dropped(&self, failure: Failure) {
        // One that was being refused stays so.
        if self.tally.failure.get().is_none() {
            self.on_failure(failure);
            if !self.tally.is_answered() {
                self.on_rejected(failure);
            }
        }
        if self.tally.open_ended.get() {
            // What the client has must not pass for a complete response (RFC 9112 section 8).
            self.client.reset_on_close();
        }
    }

    /// Notes an attempt that failed upstream, whether or not another one follows.
    pub(super) fn on_attempt_failed(&self, failure: Failure) {
        if failure.verdict().fault == Fault::Upstream {
            self.shard.counters.upstream_errors[failure.index()].add(1);
        }
        self.on_attempt_over(Some(failure), None);
    }

    /// One count, and one record if it is sampled.
    fn settle(&self) {
        let tally = &self.tally;
        let duration_ns = self.shard.env.now_ns().saturating_sub(tally.started_ns);
        let status = match tally.status.get() {
            0 => tally.failure.get().unwrap_or(Failure::ClientAbort).verdict().status,
            status => status,
        };
        let method = self.head.method_name(self.bytes);
        let series = self.route().map(|route| route.series);
        let cluster = tally.cluster.get().map(|cluster| self.adopted.snapshot.clusters[cluster].series);
        self.shard.counters.protocols[usize::from(self.protocol())].add(1);
        // A tunnel says nothing about how long answers take, but for the one that opened it.
        let answered_ns = match tally.switched_ns.get() {
            0 => duration_ns,
            switched_ns => switched_ns.saturating_sub(tally.started_ns),
        };
        self.shard.counters.on_exchange(method_index(method), status, series, cluster, answered_ns);
        self.count_stages(duration_ns);
        if let Some(cells) = self.adopted.on_trial(self.shard.worker) {
            cells.on_request(ending(status, tally.failure.get(), tally.grpc_status.get()), answered_ns);
        }
        let failed = tally.failure.get().is_some() || is_failed_call(tally.grpc_status.get());
        let class = self.adopted.sampler.class(status, failed, answered_ns);
        let is_logged = self.adopted.sampler.keep(class, || self.shard.rng.borrow_mut().u64());
        let is_recorded = self.is_recorded(status, answered_ns);
        if is_logged || is_recorded {
            self.tell(status, duration_ns, is_logged, is_recorded);
        }
    }

    /// Tells the log and the trace's collector, those of them that are to know, what there is to tell.
    fn tell(&self, status: u16, duration_ns: u64, is_logged: bool, is_recorded: bool) {
        let tally = &self.tally;
        let failure = tally.failure.get();
        let snapshot = &self.adopted.snapshot;
        let route = tally.route.get().map(|id| snapshot.route(id));
        let cluster = tally.cluster.get().map(|cluster| snapshot.clusters[cluster].name.as_bytes());
        let mut trace_id = [0; 32];
        let record = Record {
            unix_ms: self.shard.unix_ms(),
            protocol: Some(self.protocol()),
            method: self.head.method_name(self.bytes),
            path: self.head.path(self.bytes),
            query: self.head.query(self.bytes).is_some(),
            host: self.head.host(),
            status,
            duration_ns,
            client: self.client_ip(),
            request_id: self.request_id(),
            trace_id: self.trace_id(&mut trace_id),
            route: route.map_or(&[], |route| route.name.as_bytes()),
            cluster: cluster.unwrap_or_default(),
            endpoint: tally.endpoint.get(),
            upstream_protocol: tally.upstream_protocol.get(),
            attempts: tally.attempts.get(),
            grpc_status: tally.grpc_status.get(),
            bytes_in: tally.bytes_in.get(),
            bytes_out: tally.bytes_out.get(),
            reason: failure.map(|failure| failure.verdict().label),
            fault: failure.map_or("", |failure| failure.verdict().fault.name()),
            stage: failure.map_or("", |failure| failure.stage().name()),
            detail: failure.map_or("", Failure::detail),
            user_agent: self.head.find(self.bytes, FieldKind::UserAgent).unwrap_or_default(),
            sni: self.connection.server_name().as_bytes(),
            client_cert: self.certificate().map_or(&[], |certificate| &certificate.subject),
            identity: self.identities.name().unwrap_or_default().as_bytes(),
            head_ns: tally.head_ns,
            admit_ns: tally.admit_ns.get(),
            queue_ns: tally.queue_ns.get(),
            connect_ns: tally.connect_ns.get(),
            first_byte_ns: tally.first_byte_ns.get(),
            body_ns: self.body_ns(duration_ns),
            reused: tally.reused.get(),
            epoch: snapshot.epoch,
        };
        if is_recorded {
            self.trace_out(&record);
        }
        if is_logged {
            self.shard.push(&record);
        }
    }

    /// What the client speaks, as its place in [`crate::telemetry::PROTOCOLS`].
    fn protocol(&self) -> u8 {
        match self.head.version() {
            _ if self.client.is_h2() => 2,
            Version::Http11 => 1,
            Version::Http10 => 0,
        }
    }

    /// The address of the client: the peer, or behind trusted proxies the last address that is not one of theirs. One of IPv4
    /// is never mapped into IPv6.
    pub(super) fn client_ip(&self) -> IpAddr {
        let peer = self.peer.ip();
        if !self.is_trusted {
            return peer.to_canonical();
        }
        self.tally.client_ip.get().unwrap_or_else(|| {
            let lines = self.head.all(self.bytes, FieldKind::XForwardedFor);
            let client = client_behind(lines, peer, |ip| self.listener.trusts(ip)).to_canonical();
            self.tally.client_ip.set(Some(client));
            client
        })
    }
}

impl<E: Env> Drop for Exchange<'_, E> {
    fn drop(&mut self) {
        if self.tally.is_over.get() {
            self.settle();
        } else if std::thread::panicking() {
            // A bug that the last step runs into as well must not end the process.
            let _settled = catch_unwind(AssertUnwindSafe(|| {
                self.on_dropped(Failure::Bug);
                self.settle();
            }));
        } else {
            self.on_dropped(Failure::Stopped);
            self.settle();
        }
    }
}

impl<E: Env> Client<E> {
    /// Counts and logs a request on this connection that was refused before its head could be told apart, with this much
    /// content: there is only a reason to tell, and what is known of the connection.
    pub(super) fn settle_refused(&self, failure: Failure, started_ns: u64, bytes_out: usize) {
        let (shard, adopted) = (&self.shard, self.adopt());
        let verdict = failure.verdict();
        let duration_ns = shard.env.now_ns().saturating_sub(started_ns);
        shard.counters.rejected[failure.index()].add(1);
        shard.counters.protocols[PROTOCOLS.len()].add(1);
        shard.counters.on_exchange(method_index(b""), verdict.status, None, None, duration_ns);
        if let Some(cells) = adopted.on_trial(shard.worker) {
            cells.on_request(ending(verdict.status, Some(failure), None), duration_ns);
        }
        let class = adopted.sampler.class(verdict.status, true, duration_ns);
        if !adopted.sampler.keep(class, || shard.rng.borrow_mut().u64()) {
            return;
        }
        let record = Record {
            unix_ms: shard.unix_ms(),
            protocol: None,
            method: b"",
            path: b"",
            query: false,
            host: b"",
            status: verdict.status,
            duration_ns,
            client: self.peer.ip().to_canonical(),
            request_id: b"",
            trace_id: b"",
            route: b"",
            cluster: b"",
            endpoint: None,
            upstream_protocol: None,
            attempts: 0,
            grpc_status: None,
            bytes_in: 0,
            bytes_out: bytes_out as u64,
            reason: Some(verdict.label),
            fault: verdict.fault.name(),
            stage: failure.stage().name(),
            detail: failure.detail(),
            user_agent: b"",
            sni: self.server_name().as_bytes(),
            client_cert: b"",
            identity: b"",
            head_ns: duration_ns,
            admit_ns: 0,
            queue_ns: 0,
            connect_ns: 0,
            first_byte_ns: 0,
            body_ns: 0,
            reused: false,
            epoch: adopted.snapshot.epoch,
        };
        shard.push(&record);
    }
}

impl<E: Env> Shard<E> {
    fn push(&self, record: &Record<'_>) {
        if !self.log.borrow_mut().try_push(record) {
            self.counters.untold[0].add(1);
        }
    }
}

/// How an exchange ended, for the configuration that served it.
fn ending(status: u16, failure: Option<Failure>, grpc_status: Option<u8>) -> Ending {
    match failure.map(|failure| failure.verdict()) {
        Some(Verdict { fault: Fault::Gateway, .. }) => Ending::GatewayFailed,
        Some(Verdict { fault: Fault::Upstream, .. }) => Ending::UpstreamFailed,
        // Whether a client takes its answer, or sends what it began, is its own affair.
        Some(Verdict { fault: Fault::Client, status: 408 | 499, .. }) => Ending::Passed,
        Some(Verdict { fault: Fault::Client, .. }) => Ending::Refused,
        None if status >= 500 || is_failed_call(grpc_status) => Ending::UpstreamFailed,
        None => Ending::Passed,
    }
}

/// Did a call of gRPC fail by its server? Its response has status 200 all the same.
pub(super) fn is_failed_call(grpc_status: Option<u8>) -> bool {
    grpc_status.is_some_and(|status| GRPC_FAILED.contains(&status))
}

/// What of gRPC would be a status from 500 on: UNKNOWN, `DEADLINE_EXCEEDED`, INTERNAL, UNAVAILABLE, `DATA_LOSS`.
const GRPC_FAILED: [u8; 5] = [2, 4, 13, 14, 15];

/// The right-most address of an `X-Forwarded-For` chain that is not trusted; the last good one when it is rubbish. All lines
/// are one chain (RFC 9110 section 5.3): a proxy may add its hop as a further line behind those of whoever came to it.
fn client_behind<'a>(
    lines: impl DoubleEndedIterator<Item = &'a [u8]>,
    peer: IpAddr,
    trusts: impl Fn(IpAddr) -> bool,
) -> IpAddr {
    let mut client = peer;
    let hops = lines.rev().flat_map(|line| line.rsplit(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    // RFC 9110 section 5.6.1.2: empty elements count for nothing.
    for hop in hops.filter(|hop| !hop.is_empty()) {
        let Some(ip) = std::str::from_utf8(hop).ok().and_then(address_of) else {
            return client;
        };
        client = ip;
        if !trusts(ip) {
            return client;
        }
    }
    client
}

/// The address of a hop, without the port that some proxies write behind it; an IPv6 address may stand in brackets.
fn address_of(hop: &str) -> Option<IpAddr> {
    let in_brackets = || hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    let with_port = || hop.parse().ok().map(|socket: SocketAddr| socket.ip());
    hop.parse().ok().or_else(with_port).or_else(in_brackets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_charged_with_what_failed_and_what_it_refused_but_not_with_what_its_clients_did() {
        for (status, failure, grpc, expected) in [
            (200, None, None, Ending::Passed),
            (404, None, None, Ending::Passed),
            (500, None, None, Ending::UpstreamFailed),
            (200, None, Some(14), Ending::UpstreamFailed),
            (200, None, Some(5), Ending::Passed),
            (502, Some(Failure::ConnectRefused), None, Ending::UpstreamFailed),
            (503, Some(Failure::Overloaded), None, Ending::GatewayFailed),
            (404, Some(Failure::RouteNotFound), None, Ending::Refused),
            (499, Some(Failure::ClientAbort), None, Ending::Passed),
            (408, Some(Failure::ClientHeaderTimeout), None, Ending::Passed),
            (200, Some(Failure::UpstreamTruncated), None, Ending::UpstreamFailed),
        ] {
            assert_eq!(ending(status, failure, grpc), expected, "{status} {failure:?} {grpc:?}");
        }
    }

    #[test]
    fn the_client_is_the_last_address_that_is_not_a_trusted_proxy() {
        let peer: IpAddr = "10.0.0.1".parse().expect("an address");
        let trusts = |ip: IpAddr| ip.to_string().starts_with("10.");
        for (chain, client) in [
            (&[][..], "10.0.0.1"),
            (&[""], "10.0.0.1"),
            (&["192.0.2.7"], "192.0.2.7"),
            (&["6.6.6.6, 192.0.2.7, 10.0.0.2"], "192.0.2.7"),
            (&["rubbish, 10.0.0.2"], "10.0.0.2"),
            (&["2001:db8::1"], "2001:db8::1"),
            (&["192.0.2.7:4711"], "192.0.2.7"),
            (&["6.6.6.6:1, 192.0.2.7:4711, 10.0.0.2:80"], "192.0.2.7"),
            (&["[2001:db8::1]:1"], "2001:db8::1"),
            (&["[2001:db8::1]"], "2001:db8::1"),
            (&["[192.0.2.7]"], "10.0.0.1"),
            (&["192.0.2.7:"], "10.0.0.1"),
            (&["6.6.6.6", "192.0.2.7"], "192.0.2.7"),
            (&["6.6.6.6, 192.0.2.7", "", "10.0.0.3, 10.0.0.2"], "192.0.2.7"),
            (&["6.6.6.6", "rubbish", "10.0.0.2"], "10.0.0.2"),
            (&["192.0.2.7,, ", " ,10.0.0.2 ,"], "192.0.2.7"),
        ] {
            let lines = chain.iter().map(|line| line.as_bytes());
            assert_eq!(client_behind(lines, peer, trusts).to_string(), client, "{chain:?}");
        }
    }
}
