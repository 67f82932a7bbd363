//! Kinds of values that are one word out of a few.

use super::leaf::{Kind, Refusal};
use super::model::{
    Balance, ClientAuth, HashKey, HostHeader, Io, MemoryLimit, NoneHealthy, Priority, ProbeKind, Protocol,
    ProxyProtocol, ProxyVersion, RunAs, TlsVersion, UpstreamProtocol,
};
use super::units::Size;
use super::words;
use crate::limits::WORKERS_MAX;
use crate::policy::auth::Algorithm;

/// Refuses a word, with the nearest of the right ones.
fn refuse<K: Kind>(text: &str, right: &[&str]) -> Refusal {
    let refusal = Refusal::expected::<K>();
    match words::nearest(text, right.iter().copied()) {
        Some(near) => refusal.hint(format!("did you mean `{near}`?")),
        None => refusal,
    }
}

/// The I/O driver.
pub(super) struct IoName;

impl Kind for IoName {
    type Out = Io;
    const EXPECTED: &'static str = "`auto`, `io_uring` or `epoll`";
    const PATTERN: Option<&'static str> = Some("auto|io_uring|epoll");

    fn text(text: &str) -> Result<Io, Refusal> {
        match text {
            "auto" => Ok(Io::Auto),
            "io_uring" => Ok(Io::IoUring),
            "epoll" => Ok(Io::Epoll),
            _ => Err(refuse::<Self>(text, &["auto", "io_uring", "epoll"])),
        }
    }
}

/// Memory that the process may use.
pub(super) struct MemorySize;

/// With less a gateway could not even start.
const MEMORY_MIN: u64 = 1 << 20;

impl Kind for MemorySize {
    type Out = MemoryLimit;
    const EXPECTED: &'static str = "`auto`, `off` or a size such as `512MiB`";
    const PATTERN: Option<&'static str> = Some("auto|off|[1-9][0-9]*([KMG]i?)?B");

    fn text(text: &str) -> Result<MemoryLimit, Refusal> {
        match text {
            "auto" => return Ok(MemoryLimit::Auto),
            "off" => return Ok(MemoryLimit::Off),
            _ if !text.starts_with(|first: char| first.is_ascii_digit()) => {
                return Err(refuse::<Self>(text, &["auto", "off"]));
            }
            _ => {}
        }
        match Size::text(text)? {
            bytes if bytes < MEMORY_MIN => Err(Refusal::new("expected at least `1MiB`, or `off`")),
            bytes => Ok(MemoryLimit::Bytes(bytes)),
        }
    }
}

/// A user, and perhaps a group behind a colon.
pub(super) struct UserName;

impl Kind for UserName {
    type Out = RunAs;
    const EXPECTED: &'static str =
        "a user and perhaps its group, such as `www-data`, `www-data:ssl-cert` or `\"65532:65532\"`";
    const PATTERN: Option<&'static str> = Some("[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?");
    const TYPES: &'static [&'static str] = &["string", "integer"];

    fn text(text: &str) -> Result<RunAs, Refusal> {
        let is_name = |name: &str| {
            let rest = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
            name.len() <= 32 && name.bytes().all(rest) && !name.starts_with(['.', '-']) && !name.is_empty()
        };
        let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
        if !is_name(user) || !group.is_none_or(is_name) {
            return Err(Refusal::expected::<Self>());
        }
        Ok(RunAs { user: user.to_owned(), group: group.map(str::to_owned) })
    }

    fn number(number: u64) -> Result<RunAs, Refusal> {
        Self::text(&number.to_string())
    }
}

/// The names of balancers and what they stand for.
const BALANCERS: [(&str, Balance); 6] = [
    ("round_robin", Balance::RoundRobin),
    ("weighted_round_robin", Balance::WeightedRoundRobin),
    ("least_connections", Balance::LeastConnections),
    ("consistent_hash", Balance::ConsistentHash),
    ("least_saturated", Balance::LeastSaturated),
    ("p2c", Balance::P2c),
];

/// How an endpoint is chosen.
pub(super) struct BalanceName;

impl Kind for BalanceName {
    type Out = Balance;
    const EXPECTED: &'static str =
        "`round_robin`, `weighted_round_robin`, `least_connections`, `consistent_hash`, `least_saturated` or `p2c`";
    const PATTERN: Option<&'static str> =
        Some("round_robin|weighted_round_robin|least_connections|consistent_hash|least_saturated|p2c");

    fn text(text: &str) -> Result<Balance, Refusal> {
        match BALANCERS.iter().find(|(name, _)| *name == text) {
            Some((_, balance)) => Ok(*balance),
            None => Err(refuse::<Self>(text, &BALANCERS.map(|(name, _)| name))),
        }
    }
}

/// The part of a request that is hashed, where it needs no name.
pub(super) struct HashKeyName;

impl Kind for HashKeyName {
    type Out = HashKey;
    const EXPECTED: &'static str = "`client_ip`, `path`, `{ header: NAME }` or `{ cookie: NAME }`";
    const PATTERN: Option<&'static str> = Some("client_ip|path");

    fn text(text: &str) -> Result<HashKey, Refusal> {
        match text {
            "client_ip" => Ok(HashKey::ClientIp),
            "path" => Ok(HashKey::Path),
            "header" | "cookie" => {
                Err(Refusal::expected::<Self>().hint(format!("name the {text}: `{{ {text}: NAME }}`")))
            }
            _ => Err(refuse::<Self>(text, &["client_ip", "path"])),
        }
    }
}

/// What happens when no endpoint is fit.
pub(super) struct NoneHealthyName;

impl Kind for NoneHealthyName {
    type Out = NoneHealthy;
    const EXPECTED: &'static str = "`fail_open` or `fail_closed`";
    const PATTERN: Option<&'static str> = Some("fail_open|fail_closed");

    fn text(text: &str) -> Result<NoneHealthy, Refusal> {
        match text {
            "fail_open" => Ok(NoneHealthy::FailOpen),
            "fail_closed" => Ok(NoneHealthy::FailClosed),
            _ => Err(refuse::<Self>(text, &["fail_open", "fail_closed"])),
        }
    }
}

/// Whether proxies begin with a header of the PROXY protocol.
pub(super) struct ProxyProtocolName;

impl Kind for ProxyProtocolName {
    type Out = ProxyProtocol;
    const EXPECTED: &'static str = "`off`, `optional` or `required`";
    const PATTERN: Option<&'static str> = Some("off|optional|required");
    const TYPES: &'static [&'static str] = &["string", "boolean"];

    fn text(text: &str) -> Result<ProxyProtocol, Refusal> {
        match text {
            "off" => Ok(ProxyProtocol::Off),
            "optional" => Ok(ProxyProtocol::Optional),
            "required" => Ok(ProxyProtocol::Required),
            _ => Err(refuse::<Self>(text, &["off", "optional", "required"])),
        }
    }

    fn switch(on: bool) -> Result<ProxyProtocol, Refusal> {
        // YAML 1.1 reads `off` as false.
        if on { Err(Refusal::expected::<Self>()) } else { Ok(ProxyProtocol::Off) }
    }
}

/// The version of the PROXY protocol that connections to endpoints begin with: `None` for no header.
pub(super) struct ProxyVersionName;

impl Kind for ProxyVersionName {
    type Out = Option<ProxyVersion>;
    const EXPECTED: &'static str = "`off`, `v1` or `v2`";
    const PATTERN: Option<&'static str> = Some("off|v1|v2");
    const TYPES: &'static [&'static str] = &["string", "boolean"];

    fn text(text: &str) -> Result<Option<ProxyVersion>, Refusal> {
        match text {
            "off" => Ok(None),
            "v1" => Ok(Some(ProxyVersion::V1)),
            "v2" => Ok(Some(ProxyVersion::V2)),
            _ => Err(refuse::<Self>(text, &["off", "v1", "v2"])),
        }
    }

    fn switch(on: bool) -> Result<Option<ProxyVersion>, Refusal> {
        // YAML 1.1 reads `off` as false.
        if on { Err(Refusal::expected::<Self>()) } else { Ok(None) }
    }
}

/// What a probe of an endpoint is.
pub(super) struct ProbeKindName;

impl Kind for ProbeKindName {
    type Out = ProbeKind;
    const EXPECTED: &'static str = "`tcp`, `http`, `https` or `grpc`";
    const PATTERN: Option<&'static str> = Some("tcp|http|https|grpc");

    fn text(text: &str) -> Result<ProbeKind, Refusal> {
        match text {
            "tcp" => Ok(ProbeKind::Tcp),
            "http" => Ok(ProbeKind::Http),
            "https" => Ok(ProbeKind::Https),
            "grpc" => Ok(ProbeKind::Grpc),
            _ => Err(refuse::<Self>(text, &["tcp", "http", "https", "grpc"])),
        }
    }
}

/// The oldest version of TLS that is spoken.
pub(super) struct TlsVersionName;

impl Kind for TlsVersionName {
    type Out = TlsVersion;
    const EXPECTED: &'static str = "`\"1.2\"` or `\"1.3\"`, in quotes";
    const PATTERN: Option<&'static str> = Some("1\\.[23]");

    fn text(text: &str) -> Result<TlsVersion, Refusal> {
        match text {
            "1.2" => Ok(TlsVersion::Tls12),
            "1.3" => Ok(TlsVersion::Tls13),
            "1.0" | "1.1" => Err(Refusal::expected::<Self>().hint("older ones are broken (RFC 8996)")),
            _ => Err(Refusal::expected::<Self>()),
        }
    }
}

/// What becomes of a client without a certificate.
pub(super) struct ClientAuthName;

impl Kind for ClientAuthName {
    type Out = ClientAuth;
    const EXPECTED: &'static str = "`required` or `optional`";
    const PATTERN: Option<&'static str> = Some("required|optional");

    fn text(text: &str) -> Result<ClientAuth, Refusal> {
        match text {
            "required" => Ok(ClientAuth::Required),
            "optional" => Ok(ClientAuth::Optional),
            _ => Err(refuse::<Self>(text, &["required", "optional"])),
        }
    }
}

/// What is spoken to the endpoints of a cluster.
pub(super) struct UpstreamProtocolName;

impl Kind for UpstreamProtocolName {
    type Out = UpstreamProtocol;
    const EXPECTED: &'static str = "`http1`, `h2` or `auto`";
    const PATTERN: Option<&'static str> = Some("http1|h2|auto");

    fn text(text: &str) -> Result<UpstreamProtocol, Refusal> {
        match text {
            "http1" => Ok(UpstreamProtocol::Http1),
            "h2" => Ok(UpstreamProtocol::H2),
            "auto" => Ok(UpstreamProtocol::Auto),
            "http/1.1" => Err(Refusal::expected::<Self>().hint("did you mean `http1`?")),
            "http2" | "h2c" => Err(Refusal::expected::<Self>().hint("did you mean `h2`?")),
            _ => Err(refuse::<Self>(text, &["http1", "h2", "auto"])),
        }
    }
}

/// A protocol that a listener speaks, by the name it has in a handshake (RFC 7301).
pub(super) struct ProtocolName;

impl Kind for ProtocolName {
    type Out = Protocol;
    const EXPECTED: &'static str = "`h2` or `http/1.1`";
    const PATTERN: Option<&'static str> = Some("h2|http/1\\.1");

    fn text(text: &str) -> Result<Protocol, Refusal> {
        match text {
            "h2" => Ok(Protocol::Http2),
            "http/1.1" => Ok(Protocol::Http11),
            "h2c" => Err(Refusal::expected::<Self>().hint("without `tls`, `h2` is what others call h2c")),
            _ => Err(refuse::<Self>(text, &["h2", "http/1.1"])),
        }
    }
}

/// How a token may be signed, by its name in RFC 7518.
pub(super) struct AlgorithmName;

impl Kind for AlgorithmName {
    type Out = Algorithm;
    const EXPECTED: &'static str = "an algorithm such as `RS256`, `ES256` or `EdDSA`";
    const PATTERN: Option<&'static str> =
        Some("HS(256|384|512)|RS(256|384|512)|PS(256|384|512)|ES(256|384)|EdDSA|Ed25519");

    fn text(text: &str) -> Result<Algorithm, Refusal> {
        if text.eq_ignore_ascii_case("none") {
            return Err(Refusal::new("tokens that nobody signed never pass"));
        }
        Algorithm::parse(text).ok_or_else(|| refuse::<Self>(text, &Algorithm::ALL.map(Algorithm::name)))
    }
}

/// One thing after which an attempt is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    Connect,
    Reset,
    Timeout,
    /// 500 to 599.
    Status(u16),
}

/// `connect`, `reset`, `timeout`, or a status.
pub(super) struct RetryCause;

impl Kind for RetryCause {
    type Out = Cause;
    const EXPECTED: &'static str = "`connect`, `reset`, `timeout` or a status from 500 to 599";
    const PATTERN: Option<&'static str> = Some("connect|reset|timeout");
    const TYPES: &'static [&'static str] = &["string", "integer"];
    const PLAIN: bool = true;

    fn text(text: &str) -> Result<Cause, Refusal> {
        match text {
            "connect" => Ok(Cause::Connect),
            "reset" => Ok(Cause::Reset),
            "timeout" => Ok(Cause::Timeout),
            "5xx" => Err(Refusal::expected::<Self>().hint("write each status: `502, 503, 504`")),
            _ if text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.parse().map_or_else(|_| Err(Refusal::expected::<Self>()), Self::number)
            }
            _ => Err(refuse::<Self>(text, &["connect", "reset", "timeout"])),
        }
    }

    fn number(number: u64) -> Result<Cause, Refusal> {
        match u16::try_from(number) {
            Ok(status @ 500..=599) => Ok(Cause::Status(status)),
            _ => Err(Refusal::expected::<Self>().hint("any other status is an answer, and the client's to judge")),
        }
    }
}

/// Which methods are tried again: `true` for all.
pub(super) struct RetryMethods;

impl Kind for RetryMethods {
    type Out = bool;
    const EXPECTED: &'static str = "`idempotent` or `any`";
    const PATTERN: Option<&'static str> = Some("idempotent|any");

    fn text(text: &str) -> Result<bool, Refusal> {
        match text {
            "idempotent" => Ok(false),
            "any" => Ok(true),
            _ => Err(refuse::<Self>(text, &["idempotent", "any"])),
        }
    }
}

/// Which `Host` the upstream sees.
pub(super) struct HostHeaderName;

impl Kind for HostHeaderName {
    type Out = HostHeader;
    const EXPECTED: &'static str = "`preserve` or `upstream`";
    const PATTERN: Option<&'static str> = Some("preserve|upstream");

    fn text(text: &str) -> Result<HostHeader, Refusal> {
        match text {
            "preserve" => Ok(HostHeader::Preserve),
            "upstream" => Ok(HostHeader::Upstream),
            _ => Err(refuse::<Self>(text, &["preserve", "upstream"])),
        }
    }
}

/// Who is shed last.
pub(super) struct PriorityName;

impl Kind for PriorityName {
    type Out = Priority;
    const EXPECTED: &'static str = "`low`, `normal` or `high`";
    const PATTERN: Option<&'static str> = Some("low|normal|high");

    fn text(text: &str) -> Result<Priority, Refusal> {
        match text {
            "low" => Ok(Priority::Low),
            "normal" => Ok(Priority::Normal),
            "high" => Ok(Priority::High),
            _ => Err(refuse::<Self>(text, &["low", "normal", "high"])),
        }
    }
}

/// Where the access log goes, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OutputWritten {
    Off,
    Stdout,
    /// A path that may be relative to the file.
    File(String),
}

/// `stdout`, a path, or `off`.
pub(super) struct OutputName;

impl Kind for OutputName {
    type Out = OutputWritten;
    const EXPECTED: &'static str = "`stdout`, the path of a file, or `off`";
    const TYPES: &'static [&'static str] = &["string", "boolean"];

    fn text(text: &str) -> Result<OutputWritten, Refusal> {
        match text {
            "off" => Ok(OutputWritten::Off),
            "stdout" => Ok(OutputWritten::Stdout),
            // A word without a slash or a dot is rather a slip of the pen than a file.
            _ if !text.contains(['/', '.']) || text.contains('\0') => {
                Err(refuse::<Self>(text, &["stdout", "off"]).or_hint("write a path with a `/`: `./access.log`"))
            }
            _ => Ok(OutputWritten::File(text.to_owned())),
        }
    }

    fn switch(on: bool) -> Result<OutputWritten, Refusal> {
        if on { Err(Refusal::expected::<Self>()) } else { Ok(OutputWritten::Off) }
    }
}

/// How many workers: `None` for one on each CPU.
pub(super) struct WorkerCount;

impl Kind for WorkerCount {
    type Out = Option<usize>;
    const EXPECTED: &'static str = "`auto`, a number of workers, or a list of CPUs";
    const PATTERN: Option<&'static str> = Some("auto");
    const TYPES: &'static [&'static str] = &["integer", "string"];
    const PLAIN: bool = true;

    fn text(text: &str) -> Result<Option<usize>, Refusal> {
        match text.parse::<u64>() {
            _ if text == "auto" => Ok(None),
            Ok(number) if !text.starts_with('+') => Self::number(number),
            _ => Err(refuse::<Self>(text, &["auto"])),
        }
    }

    fn number(number: u64) -> Result<Option<usize>, Refusal> {
        match usize::try_from(number) {
            Ok(workers) if (1..=WORKERS_MAX).contains(&workers) => Ok(Some(workers)),
            _ => Err(Refusal::new(format!("expected 1 to {WORKERS_MAX} workers, or `auto`"))),
        }
    }
}
