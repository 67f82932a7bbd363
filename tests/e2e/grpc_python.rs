//! gRPC with Python's grpcio at either end.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};

use super::endpoint::Endpoint;
use super::gateway::Gateway;
use super::plan::{Io, Plan};
use super::rpc::RpcServer;

/// Debian's own Python, for which `scripts/test` installs grpcio.
fn python() -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command.arg("-B").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/grpc_calls.py"));
    // A proxy of the machine is none of ours.
    command.env("no_grpc_proxy", "127.0.0.1").env_remove("http_proxy").env_remove("https_proxy");
    command
}

fn calls(what: &str, address: SocketAddr) -> String {
    let output = python().arg(what).arg(address.to_string()).output().expect("python3 is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// A server that ends with the test.
struct PythonServer {
    address: SocketAddr,
    child: Child,
    stdin: Option<ChildStdin>,
}

impl PythonServer {
    fn start() -> Self {
        let mut child =
            python().arg("serve").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3 is installed");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("a port");
        let port: u16 = line.trim().parse().expect("a port");
        let stdin = child.stdin.take();
        Self { address: SocketAddr::from(([127, 0, 0, 1], port)), child, stdin }
    }
}

impl Drop for PythonServer {
    fn drop(&mut self) {
        drop(self.stdin.take());
        drop(self.child.wait());
    }
}

fn before(io: Io, server: SocketAddr) -> Gateway {
    let endpoint = format!("endpoints: [{{ url: 'h2c://{server}' }}]");
    Plan::bare(io).speaks_h2().cluster_as("app", &endpoint).route("name: everything, cluster: app").start()
}

/// What a client sees of a server, whoever that is.
const ANSWERS: &str = "unary hello\nup 100 700\ndown 0 1 2 3 4 OK\nboth 0 1 2 3 4 5 6 7 8 9 [] OK\nlarge True\n\
                       fail DATA_LOSS 'all l\\xf6st: 100%' because b'\\x00\\xff\\n'\n";

/// grpcio at both ends, and at the client's with tonic behind.
fn calls_of_every_kind_go_through(io: Io) {
    let server = PythonServer::start();
    let gateway = before(io, server.address);
    assert_eq!(calls("call", gateway.address()), ANSWERS);
    gateway.stop();
    let server = RpcServer::start(None);
    let gateway = before(io, server.address);
    assert_eq!(calls("call", gateway.address()), ANSWERS);
    gateway.stop();
}

/// A failure of the gateway's own is a status with words.
fn failures_of_the_gateway_are_statuses(io: Io) {
    let gateway = Plan::to(io, &[Endpoint::closed()]).speaks_h2().start();
    assert_eq!(calls("fail", gateway.address()), "UNAVAILABLE upstream refused the connection\n");
    gateway.stop();
    let gateway = Plan::bare(io).speaks_h2().route("name: x, match: { path: /x }, respond: { status: 200 }").start();
    assert_eq!(calls("fail", gateway.address()), "UNIMPLEMENTED route not found\n");
    gateway.stop();
}

on_both_drivers![calls_of_every_kind_go_through, failures_of_the_gateway_are_statuses];
