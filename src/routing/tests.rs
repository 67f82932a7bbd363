use super::*;

mod reference;

/// A request of a test; a header or parameter may be given twice, the first counts.
#[derive(Clone, Debug, Default)]
struct Request {
    host: String,
    path: String,
    method: String,
    headers: Vec<(String, String)>,
    query: Option<String>,
}

impl Predicates for Request {
    fn method(&self) -> &[u8] {
        self.method.as_bytes()
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        let field = self.headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name));
        field.map(|(_, value)| value.as_bytes())
    }

    fn query(&self) -> Option<&[u8]> {
        self.query.as_deref().map(str::as_bytes)
    }
}

fn get(host: &str, path: &str) -> Request {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query.to_owned())));
    Request { host: host.to_owned(), path: path.to_owned(), method: "GET".to_owned(), headers: Vec::new(), query }
}

fn find(table: &Table, request: &Request) -> Option<u32> {
    table.find(request.host.as_bytes(), request.path.as_bytes(), request).map(|route| route.0)
}

/// `"*.a.com /x/*"`, `"a.com /x"`, `"* /"`: the notation of the configuration.
fn route(pattern: &str) -> RouteSpec {
    let (host, path) = pattern.split_once(' ').unwrap();
    let host = match (host, host.strip_prefix('*')) {
        ("*", _) => HostPattern::Any,
        (_, Some(suffix)) => HostPattern::Wildcard(suffix.to_owned()),
        _ => HostPattern::Exact(host.to_owned()),
    };
    let path = match path.strip_suffix('*') {
        Some(prefix) => PathPattern::Prefix(prefix.to_owned()),
        None => PathPattern::Exact(path.to_owned()),
    };
    RouteSpec { host, path, methods: Vec::new(), headers: Vec::new(), query: Vec::new() }
}

fn with_methods(pattern: &str, methods: &[&str]) -> RouteSpec {
    RouteSpec { methods: methods.iter().map(|method| (*method).to_owned()).collect(), ..route(pattern) }
}

fn with_header(pattern: &str, name: &str, value: &str) -> RouteSpec {
    RouteSpec { headers: vec![(name.to_owned(), value.to_owned())], ..route(pattern) }
}

fn with_query(pattern: &str, name: &str, value: &str) -> RouteSpec {
    RouteSpec { query: vec![(name.to_owned(), value.to_owned())], ..route(pattern) }
}

#[test]
fn an_exact_host_goes_before_the_longest_wildcard_and_that_before_any_host() {
    let table = Table::compile(&[
        route("* /a/b"),
        route("*.example.com /*"),
        route("*.api.example.com /*"),
        route("v1.api.example.com /*"),
    ]);
    assert_eq!(find(&table, &get("v1.api.example.com", "/a/b")), Some(3));
    assert_eq!(find(&table, &get("v2.api.example.com", "/a/b")), Some(2));
    assert_eq!(find(&table, &get("x.y.api.example.com", "/a/b")), Some(2));
    assert_eq!(find(&table, &get("api.example.com", "/a/b")), Some(1));
    assert_eq!(find(&table, &get("example.com", "/a/b")), Some(0));
    assert_eq!(find(&table, &get("", "/a/b")), Some(0));
    assert_eq!(find(&table, &get("example.com", "/a")), None);
}

#[test]
fn hosts_match_in_any_letter_case_and_with_the_dot_of_a_full_name() {
    let table = Table::compile(&[route("a.example.com /*"), route("*.example.com /*")]);
    assert_eq!(find(&table, &get("A.Example.COM", "/")), Some(0));
    assert_eq!(find(&table, &get("a.example.com.", "/")), Some(0));
    assert_eq!(find(&table, &get("B.Example.com.", "/")), Some(1));
    assert_eq!(find(&table, &get(".example.com", "/")), None);
    assert_eq!(find(&table, &get("badexample.com", "/")), None);
    assert_eq!(find(&table, &get(&format!("{}.example.com", "a".repeat(300)), "/")), None);
}

#[test]
fn an_exact_path_goes_before_the_longest_prefix() {
    let table = Table::compile(&[route("* /*"), route("* /a/*"), route("* /a/b/*"), route("* /a/b")]);
    assert_eq!(find(&table, &get("h", "/a/b")), Some(3));
    assert_eq!(find(&table, &get("h", "/a/b/")), Some(2));
    assert_eq!(find(&table, &get("h", "/a/b/c/d/e")), Some(2));
    assert_eq!(find(&table, &get("h", "/a/bc")), Some(1));
    assert_eq!(find(&table, &get("h", "/a")), Some(1));
    assert_eq!(find(&table, &get("h", "/ab")), Some(0));
    assert_eq!(find(&table, &get("h", "/")), Some(0));
}

#[test]
fn a_target_that_is_no_path_matches_only_routes_of_every_path() {
    let mut specs = vec![route("* /a/*"), route("* //*")];
    assert_eq!(find(&Table::compile(&specs), &get("h", "*")), None);
    specs.push(route("* /*"));
    assert_eq!(find(&Table::compile(&specs), &get("h", "*")), Some(2));
    assert_eq!(find(&Table::compile(&specs), &get("h", "a/b")), Some(2));
    assert_eq!(find(&Table::compile(&specs), &get("h", "")), Some(2));
}

#[test]
fn more_predicates_go_before_fewer_and_then_the_order_written_decides() {
    let both = RouteSpec { methods: vec!["GET".to_owned()], ..with_header("* /a", "X-V", "2") };
    let table = Table::compile(&[route("* /a"), with_methods("* /a", &["GET"]), with_header("* /a", "x-v", "2"), both]);
    let mut request = get("h", "/a");
    assert_eq!(find(&table, &request), Some(1));
    request.headers.push(("x-v".to_owned(), "2".to_owned()));
    assert_eq!(find(&table, &request), Some(3));
    request.method = "PUT".to_owned();
    assert_eq!(find(&table, &request), Some(2));
    request.headers[0].1 = "3".to_owned();
    assert_eq!(find(&table, &request), Some(0));
    request.method = "get".to_owned();
    assert_eq!(find(&table, &request), Some(0), "methods are case-sensitive");
}

#[test]
fn a_class_whose_predicates_all_refuse_leaves_the_request_to_the_next_over_hosts_too() {
    let table = Table::compile(&[
        with_methods("a.b.c /x/y", &["PUT"]),
        with_methods("a.b.c /x/*", &["POST"]),
        with_methods("*.b.c /*", &["PATCH"]),
        with_methods("*.c /x/*", &["DELETE"]),
        with_methods("* /x/y", &["GET"]),
    ]);
    for (route, method) in ["PUT", "POST", "PATCH", "DELETE", "GET"].into_iter().enumerate() {
        let request = Request { method: method.to_owned(), ..get("a.b.c", "/x/y") };
        assert_eq!(find(&table, &request), u32::try_from(route).ok());
    }
    assert_eq!(find(&table, &Request { method: "HEAD".to_owned(), ..get("a.b.c", "/x/y") }), None);
}

#[test]
fn query_values_are_compared_decoded_and_the_first_of_a_name_counts() {
    let table = Table::compile(&[with_query("* /a", "k y", "a&b"), with_query("* /a", "flag", "")]);
    assert_eq!(find(&table, &get("h", "/a?x=1&k+y=a%26b")), Some(0));
    assert_eq!(find(&table, &get("h", "/a?k%20y=%61%26%62")), Some(0));
    assert_eq!(find(&table, &get("h", "/a?k+y=c&k+y=a%26b")), None);
    assert_eq!(find(&table, &get("h", "/a?k+y=a&b")), None);
    assert_eq!(find(&table, &get("h", "/a?flag")), Some(1));
    assert_eq!(find(&table, &get("h", "/a?flag=%")), None);
    assert_eq!(find(&table, &get("h", "/a")), None);
}

#[test]
fn thousands_of_routes_on_one_path_are_told_apart_by_their_values() {
    let mut specs: Vec<_> = (0..3000).map(|n| with_header("* /a", "x-n", &n.to_string())).collect();
    specs.extend((0..3000).map(|n| with_query("* /a", "n", &format!("value {n}"))));
    specs.push(route("* /a"));
    let table = Table::compile(&specs);
    for n in 0..3000 {
        let by_header = Request { headers: vec![("X-N".to_owned(), n.to_string())], ..get("h", "/a") };
        assert_eq!(find(&table, &by_header), Some(n));
        assert_eq!(find(&table, &get("h", &format!("/a?n=value+{n}"))), Some(3000 + n));
    }
    assert_eq!(find(&table, &get("h", "/a?n=value+3000")), Some(6000));
}

#[test]
fn a_host_is_named_by_a_route_of_any_path_but_not_by_one_for_any_host() {
    let table = Table::compile(&[route("a.com /x"), route("*.b.com /x"), route("* /x")]);
    for (host, named) in [("a.com", true), ("x.y.b.com", true), ("b.com", false), ("x.a.com", false), ("", false)] {
        assert_eq!(table.names_host(host.as_bytes()), named, "{host}");
    }
    assert!(!Table::compile(&[]).names_host(b"whatever"));
}

#[test]
fn the_route_of_a_request_is_exact_when_it_names_its_path_and_fits_it() {
    let table = Table::compile(&[
        route("a.com /health/*"),
        route("b.com /*"),
        with_methods("*.com /health", &["POST"]),
        route("* /ready"),
    ]);
    for (host, path, method, is_exact) in [
        ("a.com", "/health", "POST", false),
        ("c.com", "/health", "POST", true),
        ("c.com", "/health", "GET", false),
        ("b.com", "/health", "POST", false),
        ("b.org", "/health", "POST", false),
        ("c.com", "/ready", "GET", true),
        ("b.com", "/ready", "GET", false),
        ("c.com", "/ready/", "GET", false),
    ] {
        let request = Request { method: method.to_owned(), ..Request::default() };
        assert_eq!(table.is_exact(host.as_bytes(), path.as_bytes(), &request), is_exact, "{method} {host}{path}");
    }
}

#[test]
fn an_explanation_names_every_candidate_in_order_with_its_reason() {
    let table = Table::compile(&[
        route("* /*"),
        with_header("a.com /x/*", "x-v", "2"),
        with_methods("*.com /x", &["PUT", "POST"]),
        route("a.com /y/*"),
        with_query("* /x", "v", "1"),
    ]);
    let request = get("a.com", "/x?v=%32");
    let steps = table.explain(b"a.com", b"/x", &request);
    let lines: Vec<String> = steps
        .iter()
        .map(|step| format!("{} {:?}: {}: {}", step.route.0, step.outcome, step.class, step.reason))
        .collect();
    assert_eq!(
        lines,
        [
            "1 Refused: host a.com, path prefix /x: header x-v is absent, the route wants \"2\"",
            "2 Refused: host *.com, path /x: the method is GET, the route wants POST or PUT",
            "4 Refused: any host, path /x: query parameter v is \"2\", the route wants \"1\"",
            "0 Taken: any host, any path: every predicate holds",
        ]
    );
    let request = Request { headers: vec![("x-v".to_owned(), "2".to_owned())], ..request };
    let outcomes: Vec<_> =
        table.explain(b"a.com", b"/x", &request).iter().map(|step| (step.route.0, step.outcome)).collect();
    use Outcome::{Outranked, Refused, Taken};
    assert_eq!(outcomes, [(1, Taken), (2, Refused), (4, Refused), (0, Outranked)]);
}

#[test]
fn a_route_is_shadowed_when_earlier_ones_of_its_place_take_all_its_methods() {
    let shadows = shadowed(&[
        with_methods("a.com /x/*", &["GET"]),
        with_methods("A.com /x*", &["POST", "PUT"]),
        with_methods("a.com /x/*", &["GET", "PUT"]),
        with_methods("a.com /x/*", &["GET", "DELETE"]),
        route("a.com /x"),
        route("a.com /x/*"),
        route("a.com /x/*"),
        RouteSpec {
            headers: vec![("a".to_owned(), "1".to_owned()), ("A".to_owned(), "2".to_owned())],
            ..route("* /*")
        },
    ]);
    let shadows: Vec<_> = shadows.iter().map(|shadow| (shadow.route.0, shadow.by.0)).collect();
    assert_eq!(shadows, [(2, 0), (6, 5), (7, 7)]);
}

/// A request of which the method and whether there was a query are known.
struct Traced<'a>(&'a Request);

impl Trace for Traced<'_> {
    fn method(&self) -> Known<'_> {
        Known::Is(self.0.method.as_bytes())
    }

    fn header(&self, name: &str) -> Known<'_> {
        if name == "x-known" { Known::Is(b"1") } else { Known::Unknown }
    }

    fn lacks_query(&self) -> bool {
        self.0.query.is_none()
    }
}

#[test]
fn of_a_request_that_is_partly_known_every_route_is_named_that_it_may_take_and_no_other() {
    let table = Table::compile(&[
        route("* /*"),
        with_header("a.com /x/*", "x-v", "2"),
        with_methods("*.com /x", &["PUT", "POST"]),
        with_query("* /x", "v", "1"),
        with_header("a.com /*", "x-known", "1"),
        with_header("b.com /*", "x-known", "2"),
    ]);
    for (host, path, expected, is_sure) in [
        // Without a query, no route that asks for one.
        ("a.com", "/x", &[1, 4][..], true),
        ("b.com", "/x", &[0], true),
        ("b.com", "/x?v=%31", &[3, 0], true),
        ("c.org", "/y?v=1", &[0], true),
    ] {
        let asked = get(host, path);
        let mut found = Vec::new();
        let sure = table.possible(asked.host.as_bytes(), asked.path.as_bytes(), &Traced(&asked), &mut found);
        let found: Vec<u32> = found.iter().map(|id| id.0).collect();
        assert_eq!((&*found, sure), (expected, is_sure), "{host}{path}");
        // Whatever was not known.
        let mut taken: Vec<u32> = Vec::new();
        for (version, query) in ["1", "2"].into_iter().flat_map(|version| ["v=1", "v=2"].map(|query| (version, query)))
        {
            let headers = [("x-known", "1"), ("x-v", version)].map(|(name, value)| (name.to_owned(), value.to_owned()));
            let query = asked.query.is_some().then(|| query.to_owned());
            taken.extend(find(&table, &Request { headers: headers.to_vec(), query, ..asked.clone() }));
        }
        taken.sort_unstable();
        taken.dedup();
        let mut sorted = found;
        sorted.sort_unstable();
        assert_eq!(taken, sorted, "{host}{path}");
    }
    let table = Table::compile(&[with_header("* /*", "x-v", "2")]);
    let (mut found, asked) = (Vec::new(), get("a.com", "/"));
    assert!(!table.possible(b"a.com", b"/", &Traced(&asked), &mut found), "it may be refused");
    assert_eq!(found, [RouteId(0)]);
}
