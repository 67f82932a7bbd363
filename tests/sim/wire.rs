//! HTTP/1.1 as strictly as it can be read, written independently of the gateway's codec: it judges the gateway.

/// A message head.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    /// The three parts of the first line.
    pub(crate) first: [String; 3],
    /// Names in lower case.
    pub(crate) fields: Vec<(String, String)>,
}

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

impl Head {
    /// Takes a head off the front of `bytes` once it is all there.
    pub(crate) fn take(bytes: &mut Vec<u8>) -> Result<Option<Self>, String> {
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            return if bytes.len() > 80_000 { Err("an endless head".into()) } else { Ok(None) };
        };
        let head: Vec<u8> = bytes.drain(..end + 4).collect();
        let text = String::from_utf8(head[..end].to_vec()).map_err(|_| "not ASCII".to_owned())?;
        let mut lines = text.split("\r\n");
        let first = lines.next().unwrap_or_default();
        if text.contains('\0') || lines.clone().chain([first]).any(|line| line.contains(['\r', '\n'])) {
            return Err(format!("a bare control character: {text:?}"));
        }
        let mut parts = first.splitn(3, ' ').map(str::to_owned);
        let first = std::array::from_fn(|_| parts.next().unwrap_or_default());
        let fields = lines.map(field).collect::<Result<Vec<_>, _>>()?;
        Ok(Some(Self { first, fields }))
    }

    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    }

    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    pub(crate) fn says_close(&self) -> bool {
        self.all("connection").iter().any(|value| value.to_ascii_lowercase().contains("close"))
    }

    /// Framing by the fields alone; `None` when they name none.
    fn named_framing(&self) -> Result<Option<Framing>, String> {
        match (self.all("content-length").as_slice(), self.all("transfer-encoding").as_slice()) {
            ([], []) => Ok(None),
            ([length], []) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
                Ok(Some(Framing::Length(length.parse().map_err(|_| format!("length {length}"))?)))
            }
            ([], ["chunked"]) => Ok(Some(Framing::Chunked)),
            _ => Err(format!("framing in doubt: {:?}", self.fields)),
        }
    }

    /// Of a request as a gateway may send it.
    pub(crate) fn request_framing(&self) -> Result<Framing, String> {
        let [method, target, version] = &self.first;
        if version != "HTTP/1.1" || !is_token(method) || !target.starts_with('/') || target.contains(['#', ' ']) {
            return Err(format!("a bad request line: {:?}", self.first));
        }
        if self.all("host").len() != 1 || self.all("via").len() != 1 || self.all("x-request-id").len() != 1 {
            return Err(format!("not exactly one Host, Via and X-Request-ID: {:?}", self.fields));
        }
        if ["keep-alive", "proxy-connection", "x-hop"].iter().any(|name| self.one(name).is_some()) {
            return Err(format!("a hop-by-hop field went through: {:?}", self.fields));
        }
        Ok(self.named_framing()?.unwrap_or(Framing::Length(0)))
    }

    /// Of a response to `method`.
    pub(crate) fn response_framing(&self, method: &str) -> Result<Framing, String> {
        let status = self.status()?;
        let named = self.named_framing()?;
        if (status < 200 || status == 204) && named.is_some() {
            return Err(format!("framing on {status}"));
        }
        if method == "HEAD" || status < 200 || status == 204 || status == 304 {
            return Ok(Framing::Length(0));
        }
        Ok(named.unwrap_or(Framing::UntilClose))
    }

    pub(crate) fn status(&self) -> Result<u16, String> {
        let [version, status, _] = &self.first;
        match (version.as_str(), status.len(), status.parse()) {
            ("HTTP/1.1", 3, Ok(status)) => Ok(status),
            _ => Err(format!("a bad status line: {:?}", self.first)),
        }
    }
}

fn field(line: &str) -> Result<(String, String), String> {
    let (name, value) = line.split_once(':').ok_or_else(|| format!("no colon: {line:?}"))?;
    if !is_token(name) {
        return Err(format!("a bad field name: {line:?}"));
    }
    Ok((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()))
}

/// A body as it arrives.
pub(crate) struct Body {
    framing: Framing,
    pub(crate) content: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
    pub(crate) is_done: bool,
    in_trailers: bool,
}

impl Body {
    pub(crate) fn new(framing: Framing) -> Self {
        let is_done = framing == Framing::Length(0);
        Self { framing, content: Vec::new(), trailers: Vec::new(), is_done, in_trailers: false }
    }

    /// Takes what belongs to the body off the front of `bytes`.
    pub(crate) fn take(&mut self, bytes: &mut Vec<u8>) -> Result<(), String> {
        match self.framing {
            Framing::Length(length) => {
                let count = (length - self.content.len()).min(bytes.len());
                self.content.extend(bytes.drain(..count));
                self.is_done = self.content.len() == length;
            }
            Framing::UntilClose => self.content.append(bytes),
            Framing::Chunked => while !self.is_done && self.take_piece(bytes)? {},
        }
        Ok(())
    }

    /// Told that the stream ended in order.
    pub(crate) fn on_end(&mut self) {
        self.is_done |= self.framing == Framing::UntilClose;
    }

    /// Takes one chunk or one trailer line; false when it is not all there.
    fn take_piece(&mut self, bytes: &mut Vec<u8>) -> Result<bool, String> {
        let Some(end) = bytes.windows(2).position(|window| window == b"\r\n") else {
            return if bytes.len() > 20_000 { Err("an endless line in a body".into()) } else { Ok(false) };
        };
        let line = String::from_utf8(bytes[..end].to_vec()).map_err(|_| "a line that is not ASCII".to_owned())?;
        if self.in_trailers {
            bytes.drain(..end + 2);
            if line.is_empty() {
                self.is_done = true;
            } else {
                self.trailers.push(field(&line)?);
            }
            return Ok(true);
        }
        if line.is_empty() || line.len() > 8 || !line.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(format!("a bad chunk size: {line:?}"));
        }
        let size = usize::from_str_radix(&line, 16).map_err(|_| "size")?;
        if size == 0 {
            bytes.drain(..end + 2);
            self.in_trailers = true;
            return Ok(true);
        }
        if bytes.len() < end + 2 + size + 2 {
            return Ok(false);
        }
        if &bytes[end + 2 + size..end + 4 + size] != b"\r\n" {
            return Err("no line end behind a chunk".into());
        }
        self.content.extend_from_slice(&bytes[end + 2..end + 2 + size]);
        bytes.drain(..end + 4 + size);
        Ok(true)
    }
}

/// `content` in chunks of these sizes in turn, with trailer lines.
pub(crate) fn chunked(content: &[u8], sizes: &[usize], trailers: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = content;
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() {
        let size = sizes.next().copied().unwrap_or(rest.len()).clamp(1, rest.len());
        out.extend_from_slice(format!("{size:x}\r\n").as_bytes());
        out.extend_from_slice(&rest[..size]);
        out.extend_from_slice(b"\r\n");
        rest = &rest[size..];
    }
    out.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
    out
}
