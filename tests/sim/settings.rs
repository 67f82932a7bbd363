//! What the gateway of a seed is told to do: its clusters and its route, drawn at random and written as YAML.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ringgate::config::{self, Config, Sources};

use crate::chance::Chance;
use crate::plan::Mood;
use crate::seals;

/// Every bound is finite and small, so that a run is short.
pub(crate) const HEADER_MS: u64 = 1_000;
pub(crate) const RESPONSE_HEADER_MS: u64 = 700;
pub(crate) const CONNECT_MS: u64 = 300;
/// Names of clusters by room: the third number of their endpoints' addresses.
pub(crate) const ROOMS: [&str; 3] = ["app", "canary", "shadow"];
/// Names of listeners by what they take.
pub(crate) const LISTENERS: [&str; 4] = ["web", "tls", "h2c", "h2tls"];
/// Most endpoints of a cluster.
pub(crate) const ENDPOINTS: usize = 4;

const BALANCERS: [&str; 6] =
    ["round_robin", "weighted_round_robin", "least_connections", "consistent_hash", "least_saturated", "p2c"];

/// Where an endpoint listens.
pub(crate) fn address(room: usize, number: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, u8::try_from(room).expect("few"), u8::try_from(number + 1).expect("few")], 80))
}

/// The room of an endpoint that listens there.
pub(crate) fn room_of(address: SocketAddr) -> u8 {
    match address.ip() {
        std::net::IpAddr::V4(ip) => ip.octets()[2],
        std::net::IpAddr::V6(_) => u8::MAX,
    }
}

#[derive(Clone, Debug)]
pub(crate) struct EndpointSettings {
    pub(crate) number: usize,
    pub(crate) weight: u32,
    pub(crate) priority: u8,
}

#[derive(Clone, Debug)]
pub(crate) struct BreakerSettings {
    pub(crate) min_requests: u32,
    pub(crate) consecutive: u32,
    pub(crate) open_ms: u64,
    pub(crate) probes: u32,
    pub(crate) close_after: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct PassiveSettings {
    pub(crate) min_requests: u32,
    pub(crate) eject_ms: u64,
    /// In percent.
    pub(crate) max_ejected: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct QueueSettings {
    pub(crate) max: usize,
    pub(crate) timeout_ms: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct ClusterSettings {
    pub(crate) room: usize,
    pub(crate) balance: &'static str,
    pub(crate) key: &'static str,
    pub(crate) endpoints: Vec<EndpointSettings>,
    pub(crate) cap: usize,
    pub(crate) queue: Option<QueueSettings>,
    pub(crate) slow_start_ms: u64,
    pub(crate) fail_open: bool,
    /// Is it probed, and must an endpoint pass first?
    pub(crate) probed: Option<bool>,
    pub(crate) breaker: Option<BreakerSettings>,
    pub(crate) passive: Option<PassiveSettings>,
}

#[derive(Clone, Debug)]
pub(crate) struct RetrySettings {
    pub(crate) attempts: u32,
    pub(crate) on: Vec<&'static str>,
    /// In percent.
    pub(crate) budget: u32,
    pub(crate) backoff_ms: u64,
    pub(crate) any_method: bool,
}

impl RetrySettings {
    pub(crate) fn on(&self, cause: &str) -> bool {
        self.attempts > 1 && self.on.contains(&cause)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct MirrorSettings {
    pub(crate) room: usize,
    /// In percent.
    pub(crate) share: u32,
}

/// What stays the same over all reloads of a seed.
#[derive(Clone, Debug)]
pub(crate) struct Bones {
    pub(crate) mood: Mood,
    pub(crate) workers: usize,
    /// By room: is its first endpoint always there and always well?
    pub(crate) rocks: [bool; 3],
}

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) clusters: Vec<ClusterSettings>,
    /// Weights of the first clusters; a single one is no split.
    pub(crate) split: Vec<u32>,
    pub(crate) is_sticky: bool,
    pub(crate) mirror: Option<MirrorSettings>,
    pub(crate) retry: RetrySettings,
    pub(crate) request_ms: u64,
    /// Are there listeners with TLS and with HTTP/2?
    pub(crate) is_sealed: bool,
    /// Do all endpoints speak TLS?
    pub(crate) endpoints_sealed: bool,
    /// Do all of them speak HTTP/2?
    pub(crate) is_shared: bool,
    /// Connections that a client may have, if there is a cap.
    pub(crate) per_client: Option<usize>,
    /// Are there calls of gRPC and tunnels?
    pub(crate) is_edge: bool,
    /// May clients come through a proxy that says who they are, or must they?
    pub(crate) introduces: Option<bool>,
    /// The version of the words by which endpoints are told whom a connection is for.
    pub(crate) announces: Option<u8>,
}

impl Settings {
    /// One cluster of these endpoints and nothing special.
    pub(crate) fn plain(endpoints: impl IntoIterator<Item = usize>) -> Self {
        let endpoint = |number| EndpointSettings { number, weight: 1, priority: 0 };
        let app = ClusterSettings {
            room: 0,
            balance: "round_robin",
            key: "client_ip",
            endpoints: endpoints.into_iter().map(endpoint).collect(),
            cap: 0,
            queue: None,
            slow_start_ms: 0,
            fail_open: true,
            probed: None,
            breaker: None,
            passive: None,
        };
        let retry =
            RetrySettings { attempts: 2, on: vec!["connect", "reset"], budget: 10, backoff_ms: 100, any_method: false };
        let (is_sealed, endpoints_sealed, is_shared) = (false, false, false);
        let (split, request_ms) = (vec![1], 1_500);
        Self {
            clusters: vec![app],
            split,
            is_sticky: false,
            mirror: None,
            retry,
            request_ms,
            is_sealed,
            endpoints_sealed,
            is_shared,
            per_client: None,
            is_edge: false,
            introduces: None,
            announces: None,
        }
    }

    /// What a seed begins with.
    pub(crate) fn draw(bones: &Bones, chance: &Chance) -> Self {
        let is_split = chance.one_in(3);
        let has_shadow = chance.one_in(3);
        let rooms = (0..ROOMS.len()).filter(|room| [true, is_split, has_shadow][*room]);
        let split = if is_split { chance.pick(&[[1, 1], [3, 1], [2, 5], [1, 0]]).to_vec() } else { vec![1] };
        // A copy may also go where the requests go, and compete with them.
        let room = if has_shadow { 2 } else { 0 };
        let mirrors = has_shadow || bones.mood != Mood::Calm && chance.one_in(8);
        Self {
            clusters: rooms.map(|room| cluster(bones, room, chance)).collect(),
            split,
            is_sticky: chance.one_in(3),
            mirror: mirrors.then(|| MirrorSettings { room, share: chance.pick(&[30, 100]) }),
            retry: retry(bones, chance),
            request_ms: match bones.mood {
                Mood::Calm => 30_000,
                // A rock is never to be blamed for what others took of the time.
                Mood::Stormy if bones.rocks[0] => 4_500,
                Mood::Stormy | Mood::Wild => chance.pick(&[500, 500, 1_500, 3_000]),
            },
            is_sealed: false,
            endpoints_sealed: false,
            is_shared: false,
            per_client: None,
            is_edge: false,
            introduces: None,
            announces: None,
        }
    }

    /// Nothing stands in the way of retries but their budget.
    pub(crate) fn invite_retries(&mut self) {
        self.retry.on = vec!["connect", "reset", "503"];
        (self.retry.attempts, self.retry.backoff_ms) = (4, 1);
        let app = &mut self.clusters[0];
        (app.cap, app.queue, app.breaker, app.passive) = (0, None, None, None);
    }

    pub(crate) fn seal(&mut self, endpoints_too: bool) {
        (self.is_sealed, self.endpoints_sealed) = (true, endpoints_too);
    }

    /// What a reload makes of this: every part changes or stays.
    pub(crate) fn redraw(&self, bones: &Bones, chance: &Chance) -> Self {
        let mut next = self.clone();
        for known in &mut next.clusters {
            known.redraw(bones, chance);
        }
        if chance.one_in(4) {
            next.toggle(bones, 1, chance);
        } else if next.split.len() > 1 && chance.one_in(2) {
            next.split = chance.pick(&[[1, 1], [3, 1], [2, 5], [0, 1]]).to_vec();
        }
        if chance.one_in(4) {
            next.toggle(bones, 2, chance);
        }
        if chance.one_in(3) {
            next.retry = retry(bones, chance);
        }
        next
    }

    /// Takes a cluster out, or brings it back.
    fn toggle(&mut self, bones: &Bones, room: usize, chance: &Chance) {
        let was_there = self.clusters.iter().any(|known| known.room == room);
        if was_there {
            self.clusters.retain(|known| known.room != room);
        } else {
            self.clusters.push(cluster(bones, room, chance));
            self.clusters.sort_by_key(|known| known.room);
        }
        match room {
            1 => self.split = if was_there { vec![1] } else { vec![3, 1] },
            _ => self.mirror = (!was_there).then(|| MirrorSettings { room, share: chance.pick(&[30, 100]) }),
        }
    }

    pub(crate) fn yaml(&self) -> String {
        let scheme = match (self.endpoints_sealed, self.is_shared) {
            (true, _) => "https",
            (false, true) => "h2c",
            (false, false) => "http",
        };
        let pings = if self.is_shared { ", ping_after: 400ms, ping_timeout: 200ms" } else { "" };
        let protocol = match (self.is_shared, self.announces) {
            (true, _) => "protocol: h2, ".to_owned(),
            (false, Some(version)) => format!("proxy_protocol: v{version}, "),
            (false, None) => String::new(),
        };
        let clusters: Vec<String> = self.clusters.iter().map(|cluster| cluster.yaml(scheme, &protocol)).collect();
        let action = match &self.split[..] {
            [_] => format!("cluster: {}", ROOMS[0]),
            weights => {
                let split =
                    weights.iter().zip(ROOMS).map(|(weight, name)| format!("{{ cluster: {name}, weight: {weight} }}"));
                let split: Vec<String> = split.collect();
                let key = if self.is_sticky { ", split_key: client_ip" } else { "" };
                format!("split: [{}]{key}", split.join(", "))
            }
        };
        let mirror = self.mirror.as_ref().map_or(String::new(), |mirror| {
            format!(", mirror: {{ cluster: {}, share: {}% }}", ROOMS[mirror.room], mirror.share)
        });
        let RetrySettings { attempts, on, budget, backoff_ms, any_method } = &self.retry;
        let methods = if *any_method { "any" } else { "idempotent" };
        let request_ms = self.request_ms;
        let tunnel_idle = if self.is_edge { ", tunnel_idle: 900ms" } else { "" };
        format!(
            "version: 1\nadmin: {{ listen: off }}\n\
             listeners: {{ {} }}\n\
             defaults: {{ cluster: {{ keepalive: {{ idle_timeout: 1s, idle_per_endpoint: 4{pings} }} }} }}\n\
             clusters:\n{}\
             routes: [{{ name: all, match: {{ path: /* }}, {action}, body_limit: 1MiB{mirror},\n  \
               timeouts: {{ connect: {CONNECT_MS}ms, response_header: {RESPONSE_HEADER_MS}ms, request: {request_ms}ms, body_idle: 700ms{tunnel_idle} }},\n  \
               retry: {{ attempts: {attempts}, on: [{}], budget: {budget}%, backoff: {backoff_ms}ms, methods: {methods} }} }}]\n\
             observability: {{ reason_header: on, access_log: {{ output: stdout, sample: {{ ok: 100% }} }} }}\n",
            self.listeners(),
            clusters.concat(),
            on.join(", ")
        )
    }

    fn listeners(&self) -> String {
        let cap = self.per_client.map(|most| format!(", connections_per_client: {most}")).unwrap_or_default();
        let bounds = format!(
            "limits: {{ header_timeout: {HEADER_MS}ms, handshake_timeout: 1s, idle_timeout: 2s, \
             body_min_rate: {{ rate: 100B, grace: 1s }}, write_timeout: 1500ms{cap} }}"
        );
        let pair = "tls: { certificates: [{ cert: sim.crt, key: sim.key }] }, ";
        let (names, h2): (&[_], _) =
            if self.is_sealed { (&LISTENERS, "protocols: [h2, http/1.1], ") } else { (&["web"], "") };
        let listeners = names.iter().enumerate().map(|(number, name)| {
            let tls = if name.contains("tls") { pair } else { "" };
            let h2 = if name.contains("h2") { h2 } else { "" };
            let proxy = match self.introduces {
                None => "",
                Some(false) => "proxy_protocol: optional, trusted_proxies: [192.0.2.0/24], ",
                Some(true) => "proxy_protocol: required, trusted_proxies: [192.0.2.0/24], ",
            };
            let port = if names.len() > 1 { number + 1 } else { 0 };
            format!("{name}: {{ address: \"127.0.0.1:{port}\", {tls}{h2}{proxy}{bounds} }}")
        });
        listeners.collect::<Vec<_>>().join(", ")
    }

    pub(crate) fn config(&self) -> Config {
        let text = Text(self.yaml().into_bytes());
        config::load(Path::new("sim.yaml"), &text).unwrap_or_else(|report| panic!("{report}")).config
    }
}

impl ClusterSettings {
    fn redraw(&mut self, bones: &Bones, chance: &Chance) {
        let new = cluster(bones, self.room, chance);
        let changes: [bool; 6] = std::array::from_fn(|_| chance.one_in(2));
        if changes[0] {
            self.endpoints = new.endpoints;
        }
        if changes[1] {
            (self.cap, self.queue) = (new.cap, new.queue);
        }
        if changes[2] {
            (self.balance, self.key) = (new.balance, new.key);
        }
        if changes[3] {
            (self.breaker, self.passive) = (new.breaker, new.passive);
        }
        if changes[4] {
            (self.fail_open, self.probed) = (new.fail_open, new.probed);
        }
        if changes[5] {
            self.slow_start_ms = new.slow_start_ms;
        }
    }

    fn yaml(&self, scheme: &str, protocol: &str) -> String {
        let Self { room, balance, key, .. } = self;
        let endpoints: Vec<String> = (self.endpoints.iter())
            .map(|EndpointSettings { number, weight, priority }| {
                let address = address(*room, *number).ip();
                format!("{{ url: \"{scheme}://{address}:80\", weight: {weight}, priority: {priority} }}")
            })
            .collect();
        let mut text =
            format!("  {}: {{ {protocol}balance: {balance}, endpoints: [{}]", ROOMS[*room], endpoints.join(", "));
        if *balance == "consistent_hash" {
            text += &format!(", hash_key: {key}");
        }
        if scheme == "https" {
            text += ", tls: { ca: ca.crt, server_name: sim.test }";
        }
        if self.cap > 0 {
            text += &format!(", max_connections: {}", self.cap);
        }
        if let Some(QueueSettings { max, timeout_ms }) = &self.queue {
            text += &format!(", queue: {{ max: {max}, timeout: {timeout_ms}ms }}");
        }
        if self.slow_start_ms > 0 {
            text += &format!(", slow_start: {}ms", self.slow_start_ms);
        }
        if !self.fail_open {
            text += ", none_healthy: fail_closed";
        }
        if let Some(BreakerSettings { min_requests, consecutive, open_ms, probes, close_after }) = &self.breaker {
            text += &format!(
                ", breaker: {{ window: 1s, min_requests: {min_requests}, consecutive: {consecutive}, \
                 open_for: {open_ms}ms, probes: {probes}, close_after: {close_after} }}"
            );
        }
        let active = self.probed.map(|required| format!("active: {{ kind: tcp, require_probe: {required} }}"));
        let passive = self.passive.as_ref().map(|PassiveSettings { min_requests, eject_ms, max_ejected }| {
            format!(
                "passive: {{ window: 1s, min_requests: {min_requests}, eject_for: {eject_ms}ms, \
                 max_ejected: {max_ejected}% }}"
            )
        });
        let health: Vec<String> = active.into_iter().chain(passive).collect();
        if !health.is_empty() {
            text += &format!(", health: {{ {} }}", health.join(", "));
        }
        text + " }\n"
    }
}

fn cluster(bones: &Bones, room: usize, chance: &Chance) -> ClusterSettings {
    let is_calm = bones.mood == Mood::Calm;
    let (cap, queue) = if is_calm { calm_cap(chance) } else { cap(bones.workers, chance) };
    let guards = !is_calm && chance.one_in(3);
    ClusterSettings {
        room,
        balance: chance.pick(&BALANCERS),
        key: chance.pick(&["client_ip", "path"]),
        endpoints: endpoints(bones, room, chance),
        cap,
        queue,
        slow_start_ms: chance.pick(&[0, 0, 300, 2_000]),
        fail_open: chance.one_in(2),
        probed: (!is_calm && chance.one_in(2)).then(|| chance.one_in(4)),
        breaker: (guards || !is_calm && chance.one_in(4)).then(|| BreakerSettings {
            min_requests: chance.pick(&[2, 4, 20]),
            consecutive: chance.pick(&[0, 1, 2, 3]),
            open_ms: chance.pick(&[30, 150, 600]),
            probes: chance.pick(&[1, 1, 2]),
            close_after: chance.pick(&[1, 2, 3]),
        }),
        passive: guards.then(|| PassiveSettings {
            min_requests: chance.pick(&[1, 2, 5]),
            eject_ms: chance.pick(&[50, 200, 800]),
            max_ejected: chance.pick(&[25, 34, 50, 100]),
        }),
    }
}

fn endpoints(bones: &Bones, room: usize, chance: &Chance) -> Vec<EndpointSettings> {
    let may_drain = bones.mood != Mood::Calm;
    let endpoint = |number| EndpointSettings {
        number,
        weight: chance.pick(if may_drain && number > 0 { &[1, 1, 2, 3, 0] } else { &[1, 1, 2, 3, 1] }),
        priority: chance.pick(&[0, 0, 0, 1]),
    };
    let mut all: Vec<_> = (0..ENDPOINTS).map(endpoint).collect();
    let kept = chance.pick(&[1, 2, 3, 3, ENDPOINTS]);
    while all.len() > kept {
        // Without a rock the first one may go as well, but somebody must be left who has a weight.
        let first = usize::from(bones.rocks[room]);
        let at = first + chance.below(all.len() - first);
        all.remove(at);
    }
    if all.iter().all(|one| one.weight == 0) {
        all[0].weight = 1;
    }
    all
}

fn cap(workers: usize, chance: &Chance) -> (usize, Option<QueueSettings>) {
    let cap = chance.pick(&[0, 0, 0, 0, 1, 2, workers.max(2) - 1, workers + 1, 8]);
    let queue = (cap > 0 && !chance.one_in(4))
        .then(|| QueueSettings { max: chance.pick(&[2, 50, 50]), timeout_ms: chance.pick(&[20, 300, 600]) });
    (cap, queue)
}

/// A cap that lets everybody have a connection in the end.
fn calm_cap(chance: &Chance) -> (usize, Option<QueueSettings>) {
    match chance.pick(&[0, 0, 2, 3, 8]) {
        0 => (0, None),
        cap => (cap, Some(QueueSettings { max: 1_000, timeout_ms: 20_000 })),
    }
}

fn retry(bones: &Bones, chance: &Chance) -> RetrySettings {
    let all = ["connect", "reset", "timeout", "503", "500"];
    let on: Vec<_> = match chance.below(4) {
        0 => all[..2].to_vec(),
        _ => all.into_iter().filter(|_| !chance.one_in(4)).collect(),
    };
    let is_empty = on.is_empty();
    RetrySettings {
        // A calm answer of 500 is to be relayed, not to be fetched again.
        on: if is_empty || bones.mood == Mood::Calm { all[..2].to_vec() } else { on },
        attempts: chance.pick(&[1, 2, 2, 3, 3, 4]),
        budget: chance.pick(&[0, 10, 10, 50]),
        backoff_ms: chance.pick(&[1, 10, 100]),
        any_method: chance.one_in(6),
    }
}

struct Text(Vec<u8>);

impl Sources for Text {
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        let sealed = path.file_name().and_then(|name| seals::file(name.to_str()?));
        Ok(sealed.map_or_else(|| self.0.clone(), |text| text.as_bytes().to_vec()))
    }

    fn env(&self, _name: &str) -> Option<String> {
        None
    }

    fn glob(&self, _pattern: &str) -> Result<Vec<PathBuf>, String> {
        Ok(Vec::new())
    }
}
