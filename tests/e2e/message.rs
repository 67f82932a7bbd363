//! One HTTP/1 message as a peer of the gateway received it, read without any leniency.

use std::fmt;

/// A request or a response.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    /// Request line or status line.
    pub(crate) start: String,
    /// Field lines in order, values without white space around them.
    pub(crate) fields: Vec<(String, String)>,
    /// The content, without its framing.
    pub(crate) body: Vec<u8>,
    /// Trailer lines in order.
    pub(crate) trailers: Vec<(String, String)>,
    /// Did the content come in chunks?
    pub(crate) chunked: bool,
    /// Interim responses before this one.
    pub(crate) interims: Vec<Self>,
}

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// So many bytes.
    Exact(u64),
    /// In chunks.
    Chunked,
    /// No field speaks of a body.
    Unsaid,
}

impl Message {
    /// Parses a head, its final CR LF CR LF included.
    pub(crate) fn parse(head: &[u8]) -> Self {
        let text: String = head.iter().map(|byte| char::from(*byte)).collect();
        let text = text.strip_suffix("\r\n\r\n").expect("a head ends with an empty line");
        let mut lines = text.split("\r\n");
        let start = lines.next().expect("a head has a first line").to_owned();
        let fields: Vec<_> = lines.map(parse_line).collect();
        let message = Self { start, fields, ..Self::default() };
        assert!(!text.replace("\r\n", "").contains(['\r', '\n', '\0']), "a control character in {message}");
        message
    }

    /// What the fields say of the body; both framings at once, or one twice, is a failure (RFC 9112 section 6.2).
    pub(crate) fn framing(&self) -> Framing {
        let (lengths, codings) = (self.all("content-length"), self.all("transfer-encoding"));
        match (&lengths[..], &codings[..]) {
            ([], []) => Framing::Unsaid,
            ([length], []) => Framing::Exact(length.parse().unwrap_or_else(|_| panic!("no length: {self}"))),
            ([], ["chunked"]) => Framing::Chunked,
            _ => panic!("ambiguous framing: {self}"),
        }
    }

    /// The status of a response.
    pub(crate) fn status(&self) -> u16 {
        let code = self.start.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
        code.and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("not a response: {self}"))
    }

    /// The value of a field that occurs once, or nothing; twice is a failure.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let values = self.all(name);
        assert!(values.len() <= 1, "`{name}` occurs {} times in {self}", values.len());
        values.first().copied()
    }

    /// The values of every line of a field.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let lines = self.fields.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        lines.map(|(_, value)| value.as_str()).collect()
    }

    /// The field lines without those named, as `name: value` in lower case names.
    pub(crate) fn lines_without(&self, names: &[&str]) -> Vec<String> {
        let others = self.fields.iter().filter(|(name, _)| !names.iter().any(|one| name.eq_ignore_ascii_case(one)));
        others.map(|(name, value)| format!("{}: {value}", name.to_ascii_lowercase())).collect()
    }

    /// The content as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap_or_else(|_| panic!("no text: {self}"))
    }

    /// The reason that the gateway gives for an answer of its own.
    pub(crate) fn reason(&self) -> &str {
        self.field("x-gateway-reason").unwrap_or_default()
    }

    /// Does it announce the end of its connection?
    pub(crate) fn announces_close(&self) -> bool {
        self.all("connection").contains(&"close")
    }
}

fn parse_line(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no field line: {line:?}"));
    assert!(!name.is_empty() && !name.contains([' ', '\t']), "no field name: {line:?}");
    (name.to_owned(), value.trim_matches([' ', '\t']).to_owned())
}

/// Parses the lines of a trailer section.
pub(crate) fn parse_trailers(section: &str) -> Vec<(String, String)> {
    section.split("\r\n").filter(|line| !line.is_empty()).map(parse_line).collect()
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.start)?;
        for (name, value) in &self.fields {
            writeln!(f, "{name}: {value}")?;
        }
        writeln!(
            f,
            "({} bytes: {:?})",
            self.body.len(),
            String::from_utf8_lossy(&self.body[..self.body.len().min(200)])
        )
    }
}
