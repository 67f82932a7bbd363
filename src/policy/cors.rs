//! Cross-origin resource sharing: what scripts of other origins may ask, said in the fields that browsers obey
//! (<https://fetch.spec.whatwg.org/#http-cors-protocol>).

use std::time::Duration;

/// Who may share a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Everybody.
    Any,
    /// This origin (RFC 6454) as browsers send it: in lower case, without a default port.
    Exact(String),
    /// Every host below a domain: `https://` and `.example.com:8443` for `https://*.example.com:8443`.
    Below {
        /// `http://` or `https://`.
        scheme: String,
        /// The domain with its first dot and a port, if that is not the default one.
        suffix: String,
    },
}

/// A policy of cross-origin sharing as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorsSpec {
    /// Who may share, at least one.
    pub origins: Vec<Origin>,
    /// Methods that may be used; empty for every one.
    pub methods: Vec<String>,
    /// Fields that a request may have, in lower case; `None` for every one.
    pub headers: Option<Vec<String>>,
    /// Fields of a response that scripts may read, in lower case.
    pub expose: Vec<String>,
    /// May credentials be sent along? Never with [`Origin::Any`].
    pub credentials: bool,
    /// How long a browser may remember the answer to a preflight.
    pub max_age: Duration,
}

/// A policy of cross-origin sharing, its constant fields written out.
#[derive(Debug, PartialEq, Eq)]
pub struct Cors {
    origins: Vec<Origin>,
    any_method: bool,
    any_header: bool,
    /// Fields of the answer to a preflight, each with its CR LF, that do not depend on it.
    on_preflight: Vec<u8>,
    /// The same for every other answer to an origin that may share.
    on_answer: Vec<u8>,
}

impl Cors {
    /// Fields of a response that are the gateway's own where such a policy is in force: an endpoint's are removed.
    pub const FIELDS: [&'static str; 6] = [
        "access-control-allow-origin",
        "access-control-allow-credentials",
        "access-control-expose-headers",
        "access-control-allow-methods",
        "access-control-allow-headers",
        "access-control-max-age",
    ];

    /// Compiles a policy.
    #[must_use]
    pub fn new(spec: &CorsSpec) -> Self {
        let credentials: &[&str] = if spec.credentials { &["true"] } else { &[] };
        let mut on_preflight = Vec::new();
        push_list(&mut on_preflight, "Access-Control-Allow-Credentials", credentials);
        push_list(&mut on_preflight, "Access-Control-Allow-Methods", &spec.methods);
        push_list(&mut on_preflight, "Access-Control-Allow-Headers", spec.headers.as_deref().unwrap_or_default());
        push_list(&mut on_preflight, "Access-Control-Max-Age", &[spec.max_age.as_secs().to_string()]);
        let mut on_answer = Vec::new();
        push_list(&mut on_answer, "Access-Control-Allow-Credentials", credentials);
        push_list(&mut on_answer, "Access-Control-Expose-Headers", &spec.expose);
        Self {
            origins: spec.origins.clone(),
            any_method: spec.methods.is_empty(),
            any_header: spec.headers.is_none(),
            on_preflight,
            on_answer,
        }
    }

    /// May scripts of this origin share?
    #[must_use]
    pub fn shares_with(&self, origin: &[u8]) -> bool {
        self.origins.iter().any(|one| match one {
            Origin::Any => true,
            Origin::Exact(exact) => exact.as_bytes() == origin,
            Origin::Below { scheme, suffix } => {
                let host = origin.strip_prefix(scheme.as_bytes()).and_then(|rest| rest.strip_suffix(suffix.as_bytes()));
                host.is_some_and(|host| !host.is_empty() && !host.contains(&b'/'))
            }
        })
    }

    /// Appends the fields of the answer to a preflight of an origin that may share, which asks for `method` and `headers`.
    pub fn push_preflight(&self, out: &mut Vec<u8>, origin: &[u8], method: &[u8], headers: Option<&[u8]>) {
        self.push_origin(out, origin);
        out.extend_from_slice(&self.on_preflight);
        if self.any_method {
            push_line(out, b"Access-Control-Allow-Methods", method);
        }
        if let Some(headers) = headers.filter(|_| self.any_header) {
            push_line(out, b"Access-Control-Allow-Headers", headers);
        }
        out.extend_from_slice(b"Vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers\r\n");
    }

    /// Appends the fields of every other answer to a request, which may have come from an origin.
    pub fn push_answer(&self, out: &mut Vec<u8>, origin: Option<&[u8]>) {
        if let Some(origin) = origin.filter(|origin| self.shares_with(origin)) {
            self.push_origin(out, origin);
            out.extend_from_slice(&self.on_answer);
        }
        // An answer that differs by origin must not be kept for another one (RFC 9110 section 12.5.5).
        if !self.is_for_all() {
            out.extend_from_slice(b"Vary: Origin\r\n");
        }
    }

    fn is_for_all(&self) -> bool {
        self.origins.contains(&Origin::Any)
    }

    fn push_origin(&self, out: &mut Vec<u8>, origin: &[u8]) {
        push_line(out, b"Access-Control-Allow-Origin", if self.is_for_all() { b"*" } else { origin });
    }
}

fn push_line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for part in [name, b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

/// A field with a list of values, unless there are none.
fn push_list<T: AsRef<str>>(out: &mut Vec<u8>, name: &str, values: &[T]) {
    if !values.is_empty() {
        let values: Vec<&str> = values.iter().map(AsRef::as_ref).collect();
        push_line(out, name.as_bytes(), values.join(", ").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(origins: Vec<Origin>) -> CorsSpec {
        CorsSpec {
            origins,
            methods: vec!["GET".to_owned(), "PUT".to_owned()],
            headers: Some(vec!["content-type".to_owned()]),
            expose: vec!["x-total".to_owned()],
            credentials: false,
            max_age: Duration::from_secs(600),
        }
    }

    fn app() -> Origin {
        Origin::Exact("https://app.example.com".to_owned())
    }

    fn answer(cors: &Cors, origin: Option<&str>) -> String {
        let mut out = Vec::new();
        cors.push_answer(&mut out, origin.map(str::as_bytes));
        String::from_utf8(out).unwrap()
    }

    fn preflight(cors: &Cors, headers: Option<&str>) -> String {
        let mut out = Vec::new();
        cors.push_preflight(&mut out, b"https://app.example.com", b"PUT", headers.map(str::as_bytes));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_origin_matches_as_a_whole_or_by_its_domain() {
        let below = Origin::Below { scheme: "https://".to_owned(), suffix: ".example.org".to_owned() };
        let cors = Cors::new(&spec(vec![app(), below]));
        for (origin, expected) in [
            ("https://app.example.com", true),
            ("http://app.example.com", false),
            ("https://app.example.com:8443", false),
            ("https://app.example.com.evil.test", false),
            ("https://a.example.org", true),
            ("https://a.b.example.org", true),
            ("https://example.org", false),
            ("https://.example.org", false),
            ("https://evil.test/.example.org", false),
            ("http://a.example.org", false),
            ("null", false),
            ("", false),
        ] {
            assert_eq!(cors.shares_with(origin.as_bytes()), expected, "{origin}");
        }
    }

    #[test]
    fn an_answer_names_the_origin_that_may_share_and_varies_by_it() {
        let cors = Cors::new(&spec(vec![app()]));
        assert_eq!(
            answer(&cors, Some("https://app.example.com")),
            "Access-Control-Allow-Origin: https://app.example.com\r\nAccess-Control-Expose-Headers: x-total\r\nVary: Origin\r\n"
        );
        assert_eq!(answer(&cors, Some("https://evil.test")), "Vary: Origin\r\n");
        assert_eq!(answer(&cors, None), "Vary: Origin\r\n");
        let open = Cors::new(&CorsSpec { expose: Vec::new(), ..spec(vec![Origin::Any]) });
        assert_eq!(answer(&open, Some("https://evil.test")), "Access-Control-Allow-Origin: *\r\n");
        assert_eq!(answer(&open, None), "");
    }

    #[test]
    fn a_preflight_is_told_what_may_be_asked() {
        let cors = Cors::new(&CorsSpec { credentials: true, ..spec(vec![app()]) });
        assert_eq!(
            preflight(&cors, Some("x-other")),
            "Access-Control-Allow-Origin: https://app.example.com\r\nAccess-Control-Allow-Credentials: true\r\n\
             Access-Control-Allow-Methods: GET, PUT\r\nAccess-Control-Allow-Headers: content-type\r\n\
             Access-Control-Max-Age: 600\r\n\
             Vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers\r\n"
        );
    }

    /// With credentials a browser takes `*` for a name, so that what was asked for is said instead.
    #[test]
    fn every_method_and_field_is_what_was_asked_for() {
        let cors = Cors::new(&CorsSpec { methods: Vec::new(), headers: None, ..spec(vec![app()]) });
        let told = preflight(&cors, Some("x-a, x-b"));
        assert!(told.contains("Access-Control-Allow-Methods: PUT\r\n"), "{told}");
        assert!(told.contains("Access-Control-Allow-Headers: x-a, x-b\r\n"), "{told}");
        assert!(!preflight(&cors, None).contains("Allow-Headers: "));
    }
}
