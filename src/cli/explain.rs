//! `ringgate explain`.

use super::{ConfigFile, Error, decision, load, say};
use crate::config::{Action, Config, Listener};
use crate::http1::{HeadError, HeadLimits, Progress, RequestHead};
use crate::limits;
use crate::routing::{Outcome, Predicates, RouteId, Step, Table};
use crate::snapshot::route_spec;

/// What is asked about meets no bounds but those that hold for every listener.
const WIDEST: HeadLimits =
    HeadLimits { bytes: limits::HEADER_BYTES_MAX, count: limits::HEADER_COUNT_MAX, line: limits::REQUEST_LINE_BYTES };

/// Answers from the file alone, nothing is sent.
#[derive(Debug, clap::Args)]
pub(super) struct Explain {
    /// The method, such as GET.
    method: String,
    /// The URL: `http://api.example.com/orders/7?x=1`, or `/orders/7` for a request without a known host.
    url: String,
    #[command(flatten)]
    file: ConfigFile,
    /// A field of the request; may be given several times.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
}

impl Explain {
    pub(super) fn run(self) -> Result<(), Error> {
        let request = written(&self.method, &self.url, &self.headers).map_err(Error::Usage)?;
        let loaded = load(&self.file.path)?;
        for line in explain(&loaded.config, &request) {
            say(line);
        }
        Ok(())
    }
}

/// The head of the request asked about, as a client would send it.
fn written(method: &str, url: &str, headers: &[String]) -> Result<Vec<u8>, String> {
    let url = url.split_once('#').map_or(url, |(url, _)| url);
    let (authority, target) = match url.split_once("://") {
        Some((_, rest)) => rest.find(['/', '?']).map_or((rest, ""), |at| rest.split_at(at)),
        None if url.starts_with('/') || url == "*" => ("", url),
        None => return Err(format!("`{url}` is neither a URL with a scheme nor a path that begins with /")),
    };
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let root = if target.starts_with('?') || target.is_empty() { "/" } else { "" };
    let mut fields = if host.is_empty() { String::new() } else { format!("Host: {host}\r\n") };
    for header in headers {
        let (name, value) = header.split_once(':').ok_or_else(|| format!("`{header}` is not a field `name: value`"))?;
        let (name, value) = (name.trim(), value.trim());
        if host.is_empty() || !name.eq_ignore_ascii_case("host") {
            fields += &format!("{name}: {value}\r\n");
        }
    }
    // RFC 9112 section 3.2: only a request of HTTP/1.0 may name no host.
    let names_host = fields.to_ascii_lowercase().lines().any(|line| line.starts_with("host:"));
    let version = if names_host { "HTTP/1.1" } else { "HTTP/1.0" };
    Ok(format!("{method} {root}{target} {version}\r\n{fields}\r\n").into_bytes())
}

/// The request as the routing table looks at it.
struct Asked<'a> {
    head: &'a RequestHead,
    bytes: &'a [u8],
    /// Its own, or the one that a preflight asks about.
    method: &'a [u8],
}

impl Predicates for Asked<'_> {
    fn method(&self) -> &[u8] {
        self.method
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        self.head.field(self.bytes, name)
    }

    fn query(&self) -> Option<&[u8]> {
        self.head.query(self.bytes)
    }
}

/// The answer, line by line.
fn explain(config: &Config, request: &[u8]) -> Vec<String> {
    let mut head = RequestHead::new();
    let parsed = head.parse(request, &WIDEST);
    if let Err(refused) = parsed.and_then(|progress| match progress {
        Progress::Complete => Ok(()),
        Progress::Partial => Err(HeadError::HeadTooLarge),
    }) {
        return vec![format!("no route: answered with {}, because it is no request: {refused}", refused.status())];
    }
    let (method, path) = (head.method_name(request), head.path(request));
    if decision::is_refused_by_method(method) {
        return vec!["no route: answered with 405 `method refused`".to_owned()];
    }
    let specs: Vec<_> = config.routes.iter().map(route_spec).collect();
    let table = Table::compile(&specs);
    let is_routed = table.is_exact(head.host(), path, &Asked { head: &head, bytes: request, method });
    let asks_for_health = |listener: &&Listener| !is_routed && decision::asks_for_health(listener, method, path);
    let health: Vec<String> =
        config.listeners.iter().filter(asks_for_health).map(|listener| format!("`{}`", listener.name)).collect();
    let mut lines = Vec::new();
    if !health.is_empty() {
        lines.push(format!(
            "health of the gateway: answered with 200, while it drains with 503, by {}",
            health.join(", ")
        ));
    }
    if health.len() < config.listeners.len() {
        lines.extend(explain_route(config, &table, request, &head));
    }
    lines
}

/// What a preflight asks about (<https://fetch.spec.whatwg.org/#cors-preflight-request>).
fn preflight<'a>(head: &'a RequestHead, request: &'a [u8]) -> Option<&'a [u8]> {
    let is_asked = head.method_name(request) == b"OPTIONS" && head.field(request, "origin").is_some();
    head.field(request, "access-control-request-method").filter(|_| is_asked)
}

/// Which route it takes, line by line: of a preflight that of the request which it asks about, if scripts may share it.
fn explain_route(config: &Config, table: &Table, request: &[u8], head: &RequestHead) -> Vec<String> {
    let look = |method| table.explain(head.host(), head.path(request), &Asked { head, bytes: request, method });
    let is_taken = |step: &&Step| step.outcome == Outcome::Taken;
    let shares = |id: RouteId| decision::shares(config, &config.routes[id.0 as usize]);
    let asked_about = preflight(head, request);
    let theirs =
        asked_about.map(look).filter(|steps| steps.iter().find(is_taken).is_some_and(|step| shares(step.route)));
    let steps = theirs.unwrap_or_else(|| look(head.method_name(request)));
    let is_strict = config.listeners.iter().any(|listener| listener.strict_host);
    let name = |step: &Step| config.routes[step.route.0 as usize].name.as_str();
    let mut lines = vec![match steps.iter().find(is_taken) {
        Some(taken) if asked_about.is_some() && shares(taken.route) => {
            format!("route `{}`: a preflight, answered by its `cors` with 204, or 403 for other origins", name(taken))
        }
        Some(taken) => format!("route `{}`: {}", name(taken), action(config, taken.route.0 as usize)),
        None if is_strict && !table.names_host(head.host()) => {
            "no route: answered with 421, and by listeners without `strict_host` with 404".to_owned()
        }
        None => "no route: answered with 404 `route not found`".to_owned(),
    }];
    for step in &steps {
        let outcome = match step.outcome {
            Outcome::Taken => "taken",
            Outcome::Refused => "refused",
            Outcome::Outranked => "outranked",
        };
        let reason = if step.reason.is_empty() { String::new() } else { format!(": {}", step.reason) };
        lines.push(format!("  {outcome:<9} `{}` ({}){reason}", name(step), step.class));
    }
    lines
}

fn action(config: &Config, route: usize) -> String {
    match &config.routes[route].action {
        Action::Forward { cluster } => format!("forwarded to {}", shown(config, *cluster)),
        Action::Split { to, .. } => {
            let total: u32 = to.iter().map(|(_, weight)| weight).sum();
            let share =
                |(cluster, weight): &(usize, u32)| format!("{weight} of {total} to {}", shown(config, *cluster));
            format!("split: {}", to.iter().map(share).collect::<Vec<_>>().join(", "))
        }
        Action::Redirect { to, status } => format!("redirected with {status} to {to}"),
        Action::Respond { status, .. } => format!("answered with {status}"),
    }
}

/// A cluster with its endpoints.
fn shown(config: &Config, cluster: usize) -> String {
    let cluster = &config.clusters[cluster];
    let endpoints: Vec<String> =
        cluster.endpoints.iter().map(|endpoint| format!("{}:{}", endpoint.host, endpoint.port)).collect();
    format!("cluster `{}` ({})", cluster.name, endpoints.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::of_text;

    const GATEWAY: &str = "
version: 1
listeners: { web: { address: 127.0.0.1:8080 } }
clusters: { app: { endpoints: [{ url: 'http://127.0.0.1:3000' }] } }
routes:
  - name: orders
    match: { host: api.example.com, path: /orders/*, methods: [GET] }
    cluster: app
  - name: ops
    match: { path: '/%7Eops/*' }
    cluster: app
  - name: robots
    match: { path: /robots.txt }
    respond: { status: 200, body: none }
";

    fn answer(method: &str, url: &str, headers: &[&str]) -> Vec<String> {
        let headers: Vec<String> = headers.iter().map(|header| (*header).to_owned()).collect();
        explain(&of_text(GATEWAY), &written(method, url, &headers).unwrap())
    }

    #[test]
    fn the_route_and_what_it_does_come_first() {
        let lines = answer("GET", "https://API.example.com:443/orders/7?x=1", &[]);
        assert_eq!(lines[0], "route `orders`: forwarded to cluster `app` (127.0.0.1:3000)");
        assert!(lines[1].starts_with("  taken     `orders` ("), "{lines:?}");
        assert_eq!(answer("GET", "/robots.txt", &[])[0], "route `robots`: answered with 200");
    }

    #[test]
    fn a_refused_candidate_says_why() {
        let lines = answer("POST", "/orders/7", &["Host: api.example.com"]);
        assert_eq!(lines[0], "no route: answered with 404 `route not found`");
        assert!(lines[1].starts_with("  refused   `orders` (") && lines[1].contains("POST"), "{lines:?}");
    }

    /// It is looked up as the gateway does it, and so is the path of its route.
    #[test]
    fn a_request_has_its_normal_form() {
        for url in ["/%7eops/x", "/%7Eops/x", "/~ops/x", "/a/../~ops/./x", "http://h?x", "http://h"] {
            let named = if url.starts_with('/') { "route `ops`" } else { "no route" };
            assert!(answer("GET", url, &[])[0].starts_with(named), "{url}");
        }
        assert!(answer("GET", "/robots%2Etxt", &[])[0].starts_with("route `robots`"));
        let refused = answer("GET", "/a/..%2fb", &[]);
        assert!(refused[0].starts_with("no route: answered with 400, ") && refused.len() == 1, "{refused:?}");
    }

    #[test]
    fn a_host_that_no_route_names_may_be_refused_as_such() {
        let strict = of_text(&GATEWAY.replace("127.0.0.1:8080", "127.0.0.1:8080, strict_host: on"));
        for (url, said) in [
            ("http://b.example/", "no route: answered with 421"),
            ("http://api.example.com/", "no route: answered with 404"),
            ("http://b.example/robots.txt", "route `robots`"),
        ] {
            let lines = explain(&strict, &written("GET", url, &[]).unwrap());
            assert!(lines[0].starts_with(said), "{lines:?}");
        }
    }

    /// What no route is asked about, where no route is there for it.
    #[test]
    fn what_the_gateway_answers_by_itself_is_told() {
        for (method, url) in [("TRACE", "/robots.txt"), ("TRACE", "/health")] {
            assert_eq!(answer(method, url, &[]), ["no route: answered with 405 `method refused`"]);
        }
        let health = "health of the gateway: answered with 200, while it drains with 503, by `web`";
        for method in ["GET", "HEAD"] {
            assert_eq!(answer(method, "/health", &[]), [health]);
        }
        let posted = &answer("POST", "/health", &[])[0];
        assert_eq!(posted, "no route: answered with 404 `route not found`");
        let explained = |text: &str| explain(&of_text(text), &written("GET", "/health", &[]).unwrap());
        let two = GATEWAY.replace("listeners: {", "listeners: { in: { address: 127.0.0.1:8081, health_path: off },");
        assert_eq!(explained(&two)[..2], [health, "no route: answered with 404 `route not found`"]);
        let named = GATEWAY.replace("/robots.txt", "/health");
        assert_eq!(explained(&named)[0], "route `robots`: answered with 200");
        let posted = named.replace("path: /health", "path: /health, methods: [POST]");
        assert_eq!(explained(&posted), [health]);
    }

    #[test]
    fn a_preflight_belongs_to_the_route_of_what_it_asks_about() {
        let shared = of_text(&format!(
            "policies: {{ open: {{ cors: {{ origins: [https://a.example] }} }} }}{}",
            GATEWAY.replace("methods: [GET] }", "methods: [GET] }\n    policies: [open]")
        ));
        let lines = |method: &str, asked: &str| {
            let headers = ["Origin: https://a.example".to_owned(), format!("Access-Control-Request-Method: {asked}")];
            explain(&shared, &written(method, "http://api.example.com/orders/7", &headers).unwrap()).swap_remove(0)
        };
        let preflight = "route `orders`: a preflight, answered by its `cors` with 204, or 403 for other origins";
        assert_eq!(lines("OPTIONS", "GET"), preflight);
        assert_eq!(lines("OPTIONS", "PUT"), "no route: answered with 404 `route not found`");
        assert!(lines("GET", "GET").starts_with("route `orders`: forwarded to"));
    }

    #[test]
    fn urls_and_fields_are_taken_apart() {
        let written = |url: &str, header: &str| written("GET", url, &[header.to_owned()]);
        let text = |url, header| String::from_utf8(written(url, header).unwrap()).unwrap();
        assert_eq!(
            text("http://u@[::1]:80?a=b#c", "X-Api: 2"),
            "GET /?a=b HTTP/1.1\r\nHost: [::1]:80\r\nX-Api: 2\r\n\r\n"
        );
        assert_eq!(text("https://a.example/x", "Host: b"), "GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n");
        assert_eq!(text("/x", "host : b"), "GET /x HTTP/1.1\r\nhost: b\r\n\r\n");
        assert_eq!(text("/x", "X-Host: b"), "GET /x HTTP/1.0\r\nX-Host: b\r\n\r\n");
        assert!(written("example.com", "X-Api: 2").is_err());
        assert!(written("/", "nonsense").is_err());
    }
}
