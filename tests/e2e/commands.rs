//! The command line: L1, and a sample of L2.

use std::fs::File;
use std::net::TcpListener;
use std::process::{Output, Stdio};

use super::endpoint::Endpoint;
use super::folder::Folder;
use super::gateway::{Gateway, json};
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::process::binary;

/// Runs a command to its end.
fn run(arguments: &[&str]) -> Output {
    binary().args(arguments).output().expect("a child")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A file with this text, and its path.
fn file(yaml: &str) -> (Folder, String) {
    let folder = Folder::new();
    let path = folder.write("gateway.yaml", yaml);
    let path = path.to_str().expect("UTF-8").to_owned();
    (folder, path)
}

#[test]
fn check_says_what_it_read() {
    let (_folder, path) = file(&Plan::to(Io::Epoll, &[([127, 0, 0, 1], 80).into()]).yaml());
    let output = run(&["check", "-c", &path]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("valid, 1 listener, 1 cluster, 1 route"), "{}", text(&output.stdout));
    for shipped in ["config/minimal.yaml", "config/demo.yaml"] {
        let shipped = format!("{}/{shipped}", env!("CARGO_MANIFEST_DIR"));
        assert_eq!(run(&["check", "-c", &shipped]).status.code(), Some(0), "{shipped}");
    }
}

/// What could not be printed was not done: a dump into a full disk is no copy. A reader that has seen enough is none of that.
#[test]
fn output_that_cannot_be_written_is_exit_code_1() {
    let gateway = Plan::bare(Io::Epoll).start();
    let admin = format!("http://{}", gateway.admin());
    let minimal = concat!(env!("CARGO_MANIFEST_DIR"), "/config/minimal.yaml");
    for command in [
        &["dump", "-c", minimal][..],
        &["dump", "--effective", "--json", "-c", minimal],
        &["schema"],
        &["check", "-c", minimal],
        &["status", "--json", "--admin", &admin],
    ] {
        let ends = |stdout: Stdio| {
            let output = binary().args(command).stdout(stdout).output().expect("a child");
            (output.status.code(), text(&output.stderr))
        };
        let full = File::options().write(true).open("/dev/full").expect("a device of Linux");
        let (code, said) = ends(full.into());
        assert_eq!(code, Some(1), "{command:?}: {said}");
        assert!(said.contains("standard output cannot be written: No space left on device"), "{command:?}: {said}");
        let (reader, writer) = std::io::pipe().expect("two descriptors");
        drop(reader);
        assert_eq!(ends(writer.into()), (Some(0), String::new()), "{command:?}");
    }
    gateway.stop();
}

#[test]
fn check_warns_of_routes_that_never_match() {
    let plan = Plan::bare(Io::Epoll)
        .route("name: first, match: { path: /a }, respond: { status: 200 }")
        .route("name: second, match: { path: /a }, respond: { status: 200 }");
    let (_folder, path) = file(&plan.yaml());
    let output = run(&["check", "-c", &path]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("`second` can never match"), "{}", text(&output.stdout));
}

/// L2: every error at once, with file, line and column, and a guess at what was meant.
#[test]
fn an_invalid_file_is_exit_code_3_with_every_error_at_its_place() {
    let yaml = "version: 1\nlisteners:\n  web: { adress: ':8080' }\nclusters:\n  app: { endpoints: [{ url: 'ftp://a' }] }\n\
                routes:\n  - { name: a, cluster: ap, timeouts: { connect: 5 } }\n  - { name: a, cluster: app }\n";
    let (_folder, path) = file(yaml);
    for command in ["check", "run"] {
        let output = run(&[command, "-c", &path]);
        assert_eq!(output.status.code(), Some(3), "{command}");
        let report = text(&output.stderr);
        for part in ["gateway.yaml:3:", "address", "gateway.yaml:5:", "gateway.yaml:7:", "gateway.yaml:8:"] {
            assert!(report.contains(part), "{part} is missing:\n{report}");
        }
    }
    let output = run(&["check", "-c", "/nonexistent/gateway.yaml"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
}

#[test]
fn wrong_usage_is_exit_code_2() {
    for arguments in [&[][..], &["nonsense"], &["run", "--nonsense"], &["check"], &["explain", "GET"]] {
        assert_eq!(run(arguments).status.code(), Some(2), "{arguments:?}");
    }
    assert_eq!(run(&["--help"]).status.code(), Some(0));
    assert!(text(&run(&["--version"]).stdout).starts_with("ringgate "));
}

#[test]
fn what_the_machine_refuses_is_exit_code_1() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = taken.local_addr().expect("a bound socket").to_string();
    let yaml = Plan::bare(Io::Epoll).yaml().replace("address: '127.0.0.1:0'", &format!("address: '{address}'"));
    let (_folder, path) = file(&yaml);
    let output = run(&["run", "-c", &path]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains(&address), "{}", text(&output.stderr));
}

#[test]
fn the_schema_is_json_that_names_every_section() {
    let output = run(&["schema"]);
    assert_eq!(output.status.code(), Some(0));
    let schema = json(&text(&output.stdout));
    for section in
        ["version", "include", "runtime", "admin", "listeners", "defaults", "clusters", "routes", "observability"]
    {
        assert!(schema["properties"][section].is_object(), "{section}");
    }
}

#[test]
fn explain_names_the_route_of_a_request() {
    let plan = Plan::bare(Io::Epoll)
        .cluster("app", &[([127, 0, 0, 1], 80).into()])
        .route("name: orders, match: { host: a.example, path: /orders/*, methods: [GET] }, cluster: app")
        .route("name: moved, match: { path: /old }, redirect: { to: /new, status: 301 }");
    let (_folder, path) = file(&plan.yaml());
    for (arguments, said) in [
        (&["explain", "GET", "http://a.example/orders/7", "-c", path.as_str()][..], "route `orders`"),
        (&["explain", "POST", "http://a.example/orders/7", "-c", path.as_str()], "404"),
        (&["explain", "GET", "/old", "-c", path.as_str()], "route `moved`: redirected with 301"),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stdout).contains(said), "{}", text(&output.stdout));
    }
    assert_eq!(run(&["explain", "GET", "nonsense", "-c", &path]).status.code(), Some(2));
}

#[test]
fn the_doctor_says_what_is_wrong_and_what_to_do() {
    let (origin, closed) = (Origin::saying("ok"), Endpoint::closed());
    let port = TcpListener::bind("127.0.0.1:0").expect("a port");
    let plan = |endpoint| Plan::to(Io::Epoll, &[endpoint]).yaml();
    let (_folder, path) = file(&plan(origin.address()));
    let output = run(&["doctor", "-c", &path]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}{}", text(&output.stderr));
    for what in
        ["ok   io driver: epoll", "workers: 1;", "open files: ", "clock: ", "ok   listener web: ", "ok   app http://"]
    {
        assert!(said.contains(what), "no `{what}` in\n{said}");
    }
    let taken = plan(closed).replacen("127.0.0.1:0", &port.local_addr().expect("an address").to_string(), 1);
    let (_folder, path) = file(&taken);
    let output = run(&["doctor", "-c", &path]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for what in ["is in use\n     fix: ", "FAIL app http://", "connect_refused", "     fix: nothing listens there"] {
        assert!(said.contains(what), "no `{what}` in\n{said}");
    }
    assert!(text(&output.stderr).contains("1 failed"), "{}", text(&output.stderr));
    assert_eq!(run(&["doctor", "--offline", "-c", &path]).status.code(), Some(0));
    let (folder, path) = file(&format!("{}policy: {{}}\n", plan(origin.address())));
    folder.write(".gateway-policy.json", "{\"rateLimit\": 0}");
    let output = run(&["doctor", "--offline", "-c", &path]);
    assert!(
        output.status.code() == Some(1) && text(&output.stdout).contains("FAIL live policy: "),
        "{}",
        text(&output.stdout)
    );
    let (_folder, path) = file("version: 2\n");
    assert_eq!(run(&["doctor", "-c", &path]).status.code(), Some(3));
}

#[test]
fn health_asks_a_running_gateway() {
    let gateway = Plan::bare(Io::Epoll).start();
    for (url, code) in [
        (format!("http://{}/ready", gateway.admin()), 0),
        (format!("http://{}/health", gateway.address()), 0),
        (format!("http://{}/nothing", gateway.address()), 1),
        (format!("http://{}/health", Endpoint::closed()), 1),
        ("ftp://x".to_owned(), 2),
    ] {
        assert_eq!(run(&["health", "--url", &url]).status.code(), Some(code), "{url}");
    }
    gateway.stop();
}

/// The admin endpoint on a unix socket: nobody else may open it, and `health` finds it by the file.
#[test]
fn the_admin_server_listens_on_a_unix_socket() {
    let folder = Folder::new();
    let socket = folder.path("admin.sock");
    let yaml = Plan::bare(Io::Epoll)
        .yaml()
        .replace("'127.0.0.1:0' }\nlisteners", &format!("'unix:{}' }}\nlisteners", socket.display()));
    let mut gateway = Gateway::start_in(folder, &yaml);
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&socket).expect("a socket").permissions());
    assert_eq!(mode & 0o777, 0o600);
    let path = gateway.folder.path("gateway.yaml");
    assert_eq!(run(&["health", "-c", path.to_str().expect("UTF-8")]).status.code(), Some(0));
    gateway.signal(libc::SIGTERM);
    assert_eq!(gateway.process.exit_code(), Some(0));
    assert!(!socket.exists(), "it is removed at the end");
}

/// L1: no file at all.
#[test]
fn two_variables_make_a_gateway() {
    let origin = Origin::echo();
    let mut command = binary();
    command.arg("run").env("LISTEN_ADDR", "127.0.0.1:0").env("UPSTREAM_URL", format!("http://{}", origin.address()));
    let gateway = Gateway::start_with(Folder::new(), command.env("CONFIG_PORT", "0"));
    let mut client = gateway.client();
    client.asks("/zero-file");
    assert_eq!(client.expects(200).text(), "GET /zero-file HTTP/1.1");
    gateway.stop();
    let output = binary().arg("run").env("LISTEN_ADDR", "127.0.0.1:0").output().expect("a child");
    assert_eq!(output.status.code(), Some(3), "UPSTREAM_URL is required");
    assert!(text(&output.stderr).contains("UPSTREAM_URL"), "{}", text(&output.stderr));
}

#[test]
fn the_demonstration_answers_its_own_requests() {
    let mut command = binary();
    command.args(["demo", "--once"]).env("DEMO_LISTEN", "127.0.0.1:0").env("DEMO_ADMIN", "127.0.0.1:0");
    let output = command.output().expect("a child");
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
    assert!(text(&output.stdout).contains("HTTP/1.1 308") && !text(&output.stdout).contains("UNEXPECTED"));
}
