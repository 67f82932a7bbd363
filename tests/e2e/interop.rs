//! Clients that others wrote: curl and Python's http.client.

use std::net::SocketAddr;
use std::process::Command;

use super::folder::Folder;
use super::gateway::Gateway;
use super::origin::Origin;
use super::plan::{Io, Plan};

/// An origin that tells what it saw: method and path, framing, length and checksum of the body.
fn telling() -> Origin {
    Origin::answering(|request| {
        let sum = request.body.iter().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(*byte)));
        let framing = if request.chunked { "chunked" } else { "sized" };
        let line = request.start.trim_end_matches(" HTTP/1.1");
        let text = format!("{line} {framing} {} {sum}\n", request.body.len());
        match () {
            () if line.starts_with("HEAD") => b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n".to_vec(),
            () if line.contains("/chunks") => {
                format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{text}\r\n0\r\n\r\n", text.len())
                    .into_bytes()
            }
            () if line.contains("/none") => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
            () => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()).into_bytes(),
        }
    })
}

fn gateway(io: Io) -> (Origin, Gateway) {
    let origin = telling();
    let gateway = Plan::to(io, &[origin.address()])
        .route("name: moved, match: { path: /old/* }, redirect: { to: '/chunks{path}', status: 307 }")
        .start();
    (origin, gateway)
}

/// Runs curl; its standard output.
fn curl(address: SocketAddr, arguments: &[&str], paths: &[&str]) -> String {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--fail", "--max-time", "20", "--noproxy", "*"]).args(arguments);
    command.args(paths.iter().map(|path| format!("http://{address}{path}")));
    let output = command.output().expect("curl is installed");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn sum_of(body: &[u8]) -> u32 {
    body.iter().fold(0, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(*byte)))
}

fn curl_is_served(io: Io) {
    let (_origin, gateway) = gateway(io);
    let at = gateway.address();
    let folder = Folder::new();
    let body: Vec<u8> = (0..300_000_u32).map(|number| number.to_le_bytes()[0] ^ number.to_le_bytes()[1]).collect();
    let file = folder.write("body", &body);
    let data = format!("@{}", file.display());
    let whole = format!("300000 {}\n", sum_of(&body));
    assert_eq!(
        curl(at, &[], &["/a", "/b", "/chunks/c"]),
        "GET /a sized 0 0\nGET /b sized 0 0\nGET /chunks/c sized 0 0\n"
    );
    let count = curl(at, &["--write-out", "%{num_connects} ", "--output", "/dev/null"], &["/a", "/b"]);
    assert!(count.starts_with("1 "), "{count}");
    assert_eq!(curl(at, &["--data-binary", &data], &["/post"]), format!("POST /post sized {whole}"));
    assert_eq!(
        curl(at, &["--data-binary", &data, "-H", "Expect: 100-continue", "--expect100-timeout", "0.2"], &["/expect"]),
        format!("POST /expect sized {whole}")
    );
    assert_eq!(
        curl(at, &["-H", "Transfer-Encoding: chunked", "-H", "Expect:", "--data-binary", &data], &["/up"]),
        format!("POST /up chunked {whole}")
    );
    assert_eq!(curl(at, &["--upload-file", &data[1..]], &["/put"]), format!("PUT /put sized {whole}"));
    assert!(curl(at, &["--head"], &["/head"]).contains("Content-Length: 1234\r\n"));
    assert_eq!(curl(at, &["--http1.0"], &["/chunks/old"]), "GET /chunks/old sized 0 0\n");
    assert_eq!(
        curl(at, &["--location", "--data", "x=1"], &["/old/x"]),
        format!("POST /chunks/old/x sized 3 {}\n", sum_of(b"x=1"))
    );
    assert_eq!(curl(at, &["-X", "OPTIONS", "--request-target", "*"], &["/"]), "OPTIONS * sized 0 0\n");
    assert_eq!(
        curl(at, &["--http2"], &["/h2c"]),
        "GET /h2c sized 0 0\n",
        "an offer of HTTP/2 is not taken up (http.md 85)"
    );
    assert_eq!(curl(at, &["--path-as-is"], &["/a/../b"]), "GET /b sized 0 0\n");
    assert_eq!(curl(at, &[], &["/none"]), "");
    gateway.stop();
}

fn python_is_served(io: Io) {
    let (_origin, gateway) = gateway(io);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/http_client.py");
    let address = gateway.address();
    let output = Command::new("python3")
        .args([script, &address.ip().to_string(), &address.port().to_string()])
        .output()
        .expect("python3 is installed");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    gateway.stop();
}

on_both_drivers![curl_is_served, python_is_served];
