//! `ringgate explain`.

use super::{ConfigFile, Error, load, say};
use crate::config::{Action, Config};
use crate::routing::{Outcome, Predicates, Step, Table};
use crate::snapshot::route_spec;

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
        let request = Asked::parse(&self.method, &self.url, &self.headers).map_err(Error::Usage)?;
        let loaded = load(&self.file.path)?;
        for line in explain(&loaded.config, &request) {
            say(line);
        }
        Ok(())
    }
}

/// The request asked about.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    method: String,
    host: String,
    path: String,
    query: Option<String>,
    headers: Vec<(String, String)>,
}

impl Asked {
    fn parse(method: &str, url: &str, headers: &[String]) -> Result<Self, String> {
        let headers = headers.iter().map(|header| parse_header(header)).collect::<Result<Vec<_>, _>>()?;
        let url = url.split_once('#').map_or(url, |(url, _)| url);
        let (authority, target) = match url.split_once("://") {
            Some((_, rest)) => rest.find(['/', '?']).map_or((rest, ""), |at| rest.split_at(at)),
            None if url.starts_with('/') || url == "*" => ("", url),
            None => return Err(format!("`{url}` is neither a URL with a scheme nor a path that begins with /")),
        };
        let field = headers.iter().find(|(name, _)| name == "host").map(|(_, value)| value.as_str());
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        Ok(Self {
            method: method.to_owned(),
            host: host_of(if authority.is_empty() { field.unwrap_or_default() } else { authority }),
            path: if path.is_empty() { "/".to_owned() } else { path.to_owned() },
            query,
            headers,
        })
    }
}

fn parse_header(header: &str) -> Result<(String, String), String> {
    let (name, value) = header.split_once(':').ok_or_else(|| format!("`{header}` is not a field `name: value`"))?;
    Ok((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
}

/// The host of an authority as routes are matched by: lower case, without user, port and final dot.
fn host_of(authority: &str) -> String {
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match host.rfind(']') {
        Some(end) => &host[..=end],
        None => host.split_once(':').map_or(host, |(host, _)| host),
    };
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

impl Predicates for Asked {
    fn method(&self) -> &[u8] {
        self.method.as_bytes()
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_bytes())
    }

    fn query(&self) -> Option<&[u8]> {
        self.query.as_deref().map(str::as_bytes)
    }
}

/// The answer, line by line.
fn explain(config: &Config, request: &Asked) -> Vec<String> {
    let specs: Vec<_> = config.routes.iter().map(route_spec).collect();
    let steps = Table::compile(&specs).explain(request.host.as_bytes(), request.path.as_bytes(), request);
    let name = |step: &Step| config.routes[step.route.0 as usize].name.as_str();
    let mut lines = vec![match steps.iter().find(|step| step.outcome == Outcome::Taken) {
        Some(taken) => format!("route `{}`: {}", name(taken), action(config, taken.route.0 as usize)),
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
  - name: robots
    match: { path: /robots.txt }
    respond: { status: 200, body: none }
";

    fn answer(method: &str, url: &str, headers: &[&str]) -> Vec<String> {
        let headers: Vec<String> = headers.iter().map(|header| (*header).to_owned()).collect();
        explain(&of_text(GATEWAY), &Asked::parse(method, url, &headers).unwrap())
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

    #[test]
    fn urls_and_fields_are_taken_apart() {
        let asked = Asked::parse("GET", "http://u@[::1]:80?a=b#c", &["X-Api: 2".to_owned()]).unwrap();
        assert_eq!((asked.host.as_str(), asked.path.as_str(), asked.query.as_deref()), ("[::1]", "/", Some("a=b")));
        assert_eq!(asked.header("x-api"), Some(b"2".as_slice()));
        assert!(Asked::parse("GET", "example.com", &[]).is_err());
        assert!(Asked::parse("GET", "/", &["nonsense".to_owned()]).is_err());
        assert_eq!(host_of("Example.COM.:8080"), "example.com");
    }
}
