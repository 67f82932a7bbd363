//! The table against a naive reading of the precedence, over random tables and requests.

use super::*;

/// A small generator of its own (SplitMix64): a failure is replayed by its seed.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
    }

    fn one_of(&mut self, choices: &[&str]) -> String {
        choices[self.below(choices.len())].to_owned()
    }

    fn host(&mut self) -> String {
        let labels: Vec<_> = (0..1 + self.below(4)).map(|_| self.one_of(&["a", "b", "longer-label"])).collect();
        labels.join(".")
    }

    fn path(&mut self) -> String {
        (0..self.below(5))
            .map(|_| format!("/{}", self.one_of(&["a", "b", "ab", "", "a-segment-of-some-length"])))
            .collect()
    }

    fn spec(&mut self) -> RouteSpec {
        let host = match self.below(4) {
            0 => HostPattern::Any,
            1 => HostPattern::Wildcard(format!(".{}", self.host())),
            _ => HostPattern::Exact(self.host()),
        };
        let path = match self.below(5) {
            0 => PathPattern::Prefix("/".to_owned()),
            1 | 2 => PathPattern::Prefix(self.path()),
            _ => PathPattern::Exact(self.path()),
        };
        let methods = (0..self.below(3)).map(|_| self.one_of(&["GET", "PUT", "POST"])).collect();
        let headers = (0..self.below(3)).map(|_| (self.one_of(&["x-a", "X-B"]), self.one_of(&["1", "2"]))).collect();
        let query = (0..self.below(2)).map(|_| (self.one_of(&["q", "r"]), self.one_of(&["1", "2 3"]))).collect();
        RouteSpec { host, path, methods, headers, query }
    }

    fn request(&mut self) -> Request {
        let host = if self.below(8) == 0 { self.host().to_ascii_uppercase() } else { self.host() };
        let path = if self.below(16) == 0 { "*".to_owned() } else { self.path() };
        let headers = (0..self.below(3)).map(|_| (self.one_of(&["X-A", "x-b"]), self.one_of(&["1", "2"]))).collect();
        let pairs: Vec<_> = (0..self.below(3))
            .map(|_| format!("{}={}", self.one_of(&["q", "%72"]), self.one_of(&["1", "2+3", "2%203"])))
            .collect();
        let query = (!pairs.is_empty()).then(|| pairs.join("&"));
        Request { host, path, method: self.one_of(&["GET", "PUT", "OTHER"]), headers, query }
    }
}

/// How specific the place of a route is, `None` when the request is elsewhere.
fn place(spec: &RouteSpec, request: &Request) -> Option<(u8, usize, u8, usize)> {
    let name = request.host.to_ascii_lowercase();
    let (host, host_len) = match &spec.host {
        HostPattern::Any => (0, 0),
        HostPattern::Wildcard(suffix) if name.ends_with(suffix) && name.len() > suffix.len() => (1, suffix.len()),
        HostPattern::Exact(exact) if *exact == name => (2, 0),
        HostPattern::Wildcard(_) | HostPattern::Exact(_) => return None,
    };
    let (path, path_len) = match &spec.path {
        PathPattern::Exact(exact) if *exact == request.path => (1, 0),
        PathPattern::Exact(_) => return None,
        PathPattern::Prefix(prefix) => {
            let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
            let rest = request.path.strip_prefix(prefix)?;
            if !prefix.is_empty() && !rest.is_empty() && !rest.starts_with('/') {
                return None;
            }
            (0, prefix.len())
        }
    };
    Some((host, host_len, path, path_len))
}

fn distinct(terms: &[(String, String)]) -> usize {
    let mut terms: Vec<_> = terms.iter().map(|(name, value)| (name.to_lowercase(), value)).collect();
    terms.sort();
    terms.dedup();
    terms.len()
}

fn weight(spec: &RouteSpec) -> usize {
    usize::from(!spec.methods.is_empty()) + distinct(&spec.headers) + distinct(&spec.query)
}

fn accepts(spec: &RouteSpec, request: &Request) -> bool {
    let plain = |raw: &str| raw.replace("%72", "r").replace("%20", " ").replace('+', " ");
    let parameter = |name: &str| {
        let query = request.query.as_deref()?;
        let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.find(|(given, _)| plain(given) == name).map(|(_, value)| plain(value))
    };
    let header = |name: &str| request.header(name).map(<[u8]>::to_vec);
    (spec.methods.is_empty() || spec.methods.contains(&request.method))
        && spec.headers.iter().all(|(name, value)| header(name) == Some(value.clone().into_bytes()))
        && spec.query.iter().all(|(name, value)| parameter(name).as_ref() == Some(value))
}

/// The routes whose place fits, best first.
fn candidates(specs: &[RouteSpec], request: &Request) -> Vec<usize> {
    let mut fit: Vec<usize> = (0..specs.len()).filter(|at| place(&specs[*at], request).is_some()).collect();
    fit.sort_by_key(|at| {
        let place = place(&specs[*at], request).unwrap();
        (core::cmp::Reverse((place, weight(&specs[*at]))), *at)
    });
    fit
}

#[test]
fn lookups_agree_with_a_naive_reading_of_the_precedence() {
    let (mut found, mut missed) = (0, 0);
    for seed in 0..120 {
        let mut random = Seeded(seed);
        let size = [3, 20, 400][random.below(3)];
        let specs: Vec<_> = (0..size).map(|_| random.spec()).collect();
        let table = Table::compile(&specs);
        for _ in 0..100 {
            let request = random.request();
            let fit = candidates(&specs, &request);
            let expected = fit.iter().copied().find(|at| accepts(&specs[*at], &request));
            let actual = find(&table, &request).map(|route| route as usize);
            assert_eq!(actual, expected, "seed {seed}: {request:?}");

            let steps = table.explain(request.host.as_bytes(), request.path.as_bytes(), &request);
            let order: Vec<_> = steps.iter().map(|step| step.route.0 as usize).collect();
            assert_eq!(order, fit, "seed {seed}: {request:?}");
            let taken: Vec<_> = steps.iter().filter(|step| step.outcome == Outcome::Taken).collect();
            assert_eq!(taken.first().map(|step| step.route.0 as usize), expected, "seed {seed}: {request:?}");
            assert!(taken.len() <= 1);
            for step in &steps {
                let refused = !accepts(&specs[step.route.0 as usize], &request);
                assert_eq!(step.outcome == Outcome::Refused, refused, "seed {seed}: {request:?} {step:?}");
            }
            *if expected.is_some() { &mut found } else { &mut missed } += 1;
        }
    }
    assert!(found > 1000 && missed > 1000, "the requests are not balanced: {found} found, {missed} missed");
}

/// A request that only this route and those of the same place or wider ones can take.
fn witness(spec: &RouteSpec, method: &str) -> Request {
    let host = match &spec.host {
        HostPattern::Any => "elsewhere".to_owned(),
        HostPattern::Wildcard(suffix) => format!("elsewhere{suffix}"),
        HostPattern::Exact(name) => name.clone(),
    };
    let path = match &spec.path {
        PathPattern::Exact(path) => path.clone(),
        PathPattern::Prefix(prefix) => format!("{}/elsewhere", prefix.strip_suffix('/').unwrap_or(prefix)),
    };
    let pairs: Vec<_> = spec.query.iter().map(|(name, value)| format!("{name}={}", value.replace(' ', "+"))).collect();
    let query = (!pairs.is_empty()).then(|| pairs.join("&"));
    Request { host, path, method: method.to_owned(), headers: spec.headers.clone(), query }
}

#[test]
fn exactly_the_routes_that_no_request_reaches_are_reported_as_shadowed() {
    let (mut hidden, mut reached) = (0, 0);
    for seed in 0..50 {
        let mut random = Seeded(seed);
        let specs: Vec<_> = (0..200).map(|_| random.spec()).collect();
        let table = Table::compile(&specs);
        let shadows = shadowed(&specs);
        for (at, spec) in specs.iter().enumerate() {
            let other = vec!["OTHER".to_owned()];
            let methods = if spec.methods.is_empty() { &other } else { &spec.methods };
            let reachable = methods.iter().any(|method| find(&table, &witness(spec, method)) == u32::try_from(at).ok());
            let shadow = shadows.iter().find(|shadow| shadow.route.0 as usize == at);
            assert_eq!(shadow.is_none(), reachable, "seed {seed}: route {at} {spec:?}");
            if let Some(shadow) = shadow {
                assert!(shadow.by <= shadow.route, "seed {seed}");
            }
            *if reachable { &mut reached } else { &mut hidden } += 1;
        }
    }
    assert!(hidden > 500 && reached > 500, "{hidden} hidden, {reached} reached");
}
