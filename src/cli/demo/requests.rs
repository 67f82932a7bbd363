//! The requests of the demonstration.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::cli::say;

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a body that are shown.
const SHOWN: usize = 400;
/// Fields that are shown.
const FIELDS: [&str; 5] = ["location", "via", "x-request-id", "x-gateway-reason", "content-type"];

/// One request and the status that must answer it.
struct Shown {
    title: &'static str,
    status: u16,
    request: String,
}

/// Sends every request over a connection of its own and prints the answers; whether all statuses are as expected.
pub(super) fn send_all(gateway: SocketAddr) -> io::Result<bool> {
    let mut as_expected = true;
    for shown in requests(gateway) {
        let answer = send(gateway, &shown.request)?;
        let status = answer.split(' ').nth(1).and_then(|code| code.parse::<u16>().ok());
        let verdict = if status == Some(shown.status) { "" } else { "   UNEXPECTED" };
        as_expected &= status == Some(shown.status);
        let line = shown.request.lines().next().unwrap_or_default();
        say(format_args!("{}: {line}{verdict}", shown.title));
        for line in summary(&answer) {
            say(format_args!("    {line}"));
        }
    }
    Ok(as_expected)
}

fn requests(gateway: SocketAddr) -> Vec<Shown> {
    let shown = |title, status, line: &str, rest: &str| Shown {
        title,
        status,
        request: format!("{line} HTTP/1.1\r\nHost: {gateway}\r\nConnection: close\r\n{rest}"),
    };
    let upload = format!("Transfer-Encoding: chunked\r\n\r\n1000\r\n{}\r\n0\r\n\r\n", "x".repeat(0x1000));
    let smuggled = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    vec![
        shown("Forwarded", 200, "GET /hello", "\r\n"),
        shown("Prefix rewritten, field added", 200, "GET /api/orders/7?x=1", "\r\n"),
        shown("Chunked upload", 200, "POST /upload", &upload),
        shown("Redirected", 308, "GET /old/page?x=1", "\r\n"),
        shown("Answered by the gateway", 200, "GET /robots.txt", "\r\n"),
        shown("Its own health", 200, "GET /health", "\r\n"),
        shown("Request smuggling refused", 400, "POST /hello", smuggled),
    ]
}

fn send(gateway: SocketAddr, request: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&gateway, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Status line, a few fields, and the beginning of the body.
fn summary(answer: &str) -> Vec<String> {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let is_shown = |line: &str| {
        let name = line.split_once(':').map_or("", |(name, _)| name);
        FIELDS.iter().any(|field| name.eq_ignore_ascii_case(field))
    };
    let mut lines: Vec<String> = head.lines().take(1).map(str::to_owned).collect();
    lines.extend(head.lines().skip(1).filter(|line| is_shown(line)).map(str::to_owned));
    let beginning: String = body.chars().take(SHOWN).collect();
    lines.extend(beginning.lines().filter(|line| !line.is_empty()).map(str::to_owned));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_the_status_the_fields_that_matter_and_the_body() {
        let answer = "HTTP/1.1 308 Permanent Redirect\r\nLocation: /new\r\nDate: x\r\nVia: 1.1 r\r\n\r\nsee\nthere";
        assert_eq!(
            summary(answer),
            ["HTTP/1.1 308 Permanent Redirect", "Location: /new", "Via: 1.1 r", "see", "there"]
        );
        assert_eq!(summary(""), [""; 0]);
    }

    #[test]
    fn every_request_has_a_host_and_ends_its_connection() {
        for shown in requests("127.0.0.1:80".parse().unwrap()) {
            assert!(shown.request.contains("\r\nHost: 127.0.0.1:80\r\n"), "{}", shown.title);
            assert!(shown.request.contains("\r\nConnection: close\r\n"), "{}", shown.title);
        }
    }
}
