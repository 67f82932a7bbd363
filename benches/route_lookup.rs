//! Nanoseconds of one route lookup at 10, 1,000 and 100,000 routes, for the shapes that tables have in the field.
//!
//! Requests come in a shuffled order over all routes, so large tables are measured with cold caches; the bytes of
//! the requests lie in that order in memory, as those of a request just received are warm.
#![allow(clippy::print_stdout, reason = "a benchmark prints its result")]
#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "a benchmark reads the clock and prints")]

use std::hint::black_box;
use std::time::Instant;

use ringgate::routing::{HostPattern, PathPattern, Predicates, RouteId, RouteSpec, Table};

struct Request {
    host: String,
    path: String,
    tenant: String,
    route: u32,
}

/// A request whose parts lie side by side.
struct Received<'a> {
    host: &'a [u8],
    path: &'a [u8],
    tenant: &'a [u8],
    route: RouteId,
}

impl Predicates for Received<'_> {
    fn method(&self) -> &[u8] {
        b"GET"
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        (name == "x-tenant").then_some(self.tenant)
    }

    fn query(&self) -> Option<&[u8]> {
        None
    }
}

type Shape = (&'static str, fn(usize) -> (RouteSpec, Request));

fn route(host: HostPattern, path: PathPattern) -> RouteSpec {
    RouteSpec { host, path, methods: Vec::new(), headers: Vec::new(), query: Vec::new() }
}

fn request(route: usize, host: &str, path: String) -> Request {
    let route = u32::try_from(route).expect("a benchmark has few routes");
    Request { host: host.to_owned(), path, tenant: format!("tenant-{route}"), route }
}

fn exact_path(at: usize) -> (RouteSpec, Request) {
    let path = format!("/api/v1/service-{at}/status");
    (route(HostPattern::Any, PathPattern::Exact(path.clone())), request(at, "api.example.com", path))
}

fn prefix(at: usize) -> (RouteSpec, Request) {
    let prefix = format!("/api/v1/service-{at}");
    let path = format!("{prefix}/orders/81723/lines");
    (route(HostPattern::Any, PathPattern::Prefix(prefix)), request(at, "api.example.com", path))
}

fn host_and_prefix(at: usize) -> (RouteSpec, Request) {
    let host = format!("shop-{}.example.com", at / 10);
    let prefix = format!("/section-{}", at % 10);
    let path = format!("{prefix}/orders/81723");
    (route(HostPattern::Exact(host.clone()), PathPattern::Prefix(prefix)), request(at, &host, path))
}

fn wildcard(at: usize) -> (RouteSpec, Request) {
    let suffix = format!(".shop-{at}.example.com");
    let pattern = route(HostPattern::Wildcard(suffix.clone()), PathPattern::Prefix(String::new()));
    (pattern, request(at, &format!("www{suffix}"), "/orders/81723".to_owned()))
}

fn header(at: usize) -> (RouteSpec, Request) {
    let mut pattern = route(HostPattern::Any, PathPattern::Prefix("/api".to_owned()));
    let request = request(at, "api.example.com", "/api/orders".to_owned());
    pattern.headers.push(("x-tenant".to_owned(), request.tenant.clone()));
    (pattern, request)
}

const SHAPES: [Shape; 5] = [
    ("exact path", exact_path),
    ("prefix", prefix),
    ("exact host, prefix", host_and_prefix),
    ("wildcard host", wildcard),
    ("one path, header", header),
];

/// A step of a fixed shuffle: 48271 is a primitive root, so the order is the same in every run.
fn shuffle(requests: &mut [Request]) {
    let mut state: u64 = 1;
    for at in (1..requests.len()).rev() {
        state = state * 48_271 % 2_147_483_647;
        let other = usize::try_from(state).expect("fits") % (at + 1);
        requests.swap(at, other);
    }
}

fn receive<'a>(requests: &[Request], wire: &'a mut Vec<u8>) -> Vec<Received<'a>> {
    for request in requests {
        for part in [&request.host, &request.path, &request.tenant] {
            wire.extend_from_slice(part.as_bytes());
        }
    }
    let mut rest: &[u8] = wire;
    let received = requests.iter().map(|request| {
        let mut cut = |len: usize| rest.split_off(..len).expect("the parts were written");
        let (host, path) = (cut(request.host.len()), cut(request.path.len()));
        Received { host, path, tenant: cut(request.tenant.len()), route: RouteId(request.route) }
    });
    received.collect()
}

fn measure(make: fn(usize) -> (RouteSpec, Request), routes: usize) -> (f64, f64) {
    const LOOKUPS: usize = 2_000_000;
    let (specs, mut requests): (Vec<_>, Vec<_>) = (0..routes).map(make).unzip();
    shuffle(&mut requests);
    let mut wire = Vec::new();
    let requests = receive(&requests, &mut wire);
    let compiling = Instant::now();
    let table = Table::compile(&specs);
    let compile_ms = compiling.elapsed().as_secs_f64() * 1e3;
    let lookup = |request: &Received<'_>| table.find(request.host, request.path, request);
    assert!(requests.iter().all(|request| lookup(request) == Some(request.route)));
    let start = Instant::now();
    for request in requests.iter().cycle().take(LOOKUPS) {
        black_box(lookup(black_box(request)));
    }
    (start.elapsed().as_secs_f64() * 1e9 / 2e6, compile_ms)
}

fn main() {
    for (name, make) in SHAPES {
        for routes in [10, 1_000, 100_000] {
            let (ns, compile_ms) = measure(make, routes);
            println!("{name:<20} {routes:>7} routes {ns:>7.0} ns/lookup  (compiled in {compile_ms:.1} ms)");
        }
    }
}
