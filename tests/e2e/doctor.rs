//! `ringgate doctor`: what is wrong with the machine, with certificates and with endpoints, each with what to do about it.

use std::time::{Duration, UNIX_EPOCH};

use rcgen::date_time_ymd;
use ringgate::clock;

use super::endpoint::Endpoint;
use super::exhaustion::without_io_uring;
use super::folder::Folder;
use super::origin::Origin;
use super::pki::{Authority, Pair};
use super::plan::{Io, Plan};
use super::process::binary;
use super::site::{VERSIONS, server_of};

/// What was said of something: its grade, what was found, and the fix.
fn said<'a>(output: &'a str, what: &str) -> (&'a str, &'a str, &'a str) {
    let mut lines = output.lines().skip_while(|line| !line.get(5..).is_some_and(|rest| rest.starts_with(what)));
    let line = lines.next().unwrap_or_else(|| panic!("nothing of `{what}` in\n{output}"));
    let fix = lines.next().and_then(|next| next.strip_prefix("     fix: ")).unwrap_or_default();
    (&line[..4], line[5 + what.len()..].trim_start_matches(": "), fix)
}

/// Every cause why `io_uring` is refused has a remedy of its own: more memory locked is no answer to a seccomp profile, nor
/// the other way round.
#[test]
fn each_refusal_of_io_uring_has_its_own_fix() {
    let folder = Folder::new();
    let yaml = Plan::bare(Io::Uring).yaml();
    let auto = folder.write("auto.yaml", yaml.replace("io: io_uring", "io: auto"));
    let demanded = folder.write("demanded.yaml", &yaml);
    for (error, cause, remedy) in [
        (libc::EPERM, "a seccomp profile or the sysctl", "allow io_uring: sysctl kernel.io_uring_disabled=0"),
        (libc::ENOSYS, "this kernel has no io_uring", "allow io_uring: sysctl kernel.io_uring_disabled=0"),
        (libc::ENOMEM, "the memlock limit (ulimit -l)", "LimitMEMLOCK=infinity in its unit"),
        (libc::EINVAL, "older than 6.0", "use a kernel of 6.0 or newer"),
    ] {
        for (file, grade, code) in [(&auto, "warn", 0), (&demanded, "FAIL", 1)] {
            let mut command = without_io_uring(error);
            let output = command.args(["doctor", "--offline", "-c"]).arg(file).output().expect("a child");
            let text = String::from_utf8_lossy(&output.stdout);
            assert_eq!(output.status.code(), Some(code), "{text}");
            let (told, found, fix) = said(&text, "io driver");
            assert_eq!(told, grade, "{text}");
            assert!(found.contains(cause) && fix.starts_with(remedy), "{error}: {found}\n{fix}");
            assert_eq!(fix.contains("seccomp"), remedy.starts_with("allow"), "{fix}");
            assert_eq!(fix.contains("set runtime.io to auto or epoll"), code == 1, "{fix}");
        }
    }
}

/// A certificate for this name that ends so many days from now.
fn ends_in(authority: &Authority, name: &str, days: u64) -> Pair {
    authority.certifies_as(&[name, "*.more.example"], |params| {
        let end = Duration::from_millis(clock::unix_ms()) + Duration::from_secs(days * 86_400 + 3_600);
        params.not_after = (UNIX_EPOCH + end).into();
    })
}

/// Certificates are told with their names and what is left of their time, and what is about to end with its remedy.
#[test]
fn certificates_that_end_are_told_with_their_names() {
    let (folder, authority) = (Folder::new(), Authority::new("inside"));
    let over = authority.certifies_as(&["old.example"], |params| {
        (params.not_before, params.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
    });
    let later = authority.certifies_as(&["late.example"], |params| params.not_before = date_time_ymd(2900, 1, 1));
    let soon = ends_in(&authority, "soon.example", 10);
    let good = ends_in(&authority, "good.example", 90);
    let mut listeners = "listeners:\n".to_owned();
    for (name, pair) in [("over", over), ("later", later), ("soon", soon), ("good", good)] {
        let cert = folder.write(&format!("{name}.crt"), &pair.cert);
        let key = folder.write(&format!("{name}.key"), &pair.key);
        let pair = format!("{{ cert: '{}', key: '{}' }}", cert.display(), key.display());
        listeners += &format!("  {name}: {{ address: '127.0.0.1:0', tls: {{ certificates: [{pair}] }} }}\n");
    }
    let file = folder.write("gateway.yaml", Plan::bare(Io::Epoll).yaml().replace("listeners:\n", &listeners));
    let output = binary().args(["doctor", "--offline", "-c"]).arg(file).output().expect("a child");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let renew = "renew it: the files are watched, so that a new pair is taken up without a reload";
    let (grade, found, fix) = said(&text, "certificate of over");
    assert_eq!((grade, fix), ("FAIL", renew), "{text}");
    assert!(found.starts_with("old.example: expired ") && found.ends_with(" days ago"), "{found}");
    let clock = "look at the clock of this machine, or of who issued it";
    assert_eq!(said(&text, "certificate of later"), ("FAIL", "late.example: not valid yet", clock));
    assert_eq!(said(&text, "certificate of soon"), ("warn", "soon.example, *.more.example: 10 days left", renew));
    assert_eq!(said(&text, "certificate of good"), ("ok  ", "good.example, *.more.example: 90 days left", ""));
}

/// An endpoint that speaks something else than its URL says, one that the name servers do not know, and one that is not
/// believed: each is told with what to change.
#[test]
fn endpoints_that_are_not_as_configured_are_told_what_to_change() {
    let (folder, authority) = (Folder::new(), Authority::new("inside"));
    let ca = folder.write("ca.crt", authority.pem());
    let mut server = server_of(&authority.certifies(&["a.example"]), &VERSIONS, None);
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    let sealed = Origin::secured(server, |_, _| b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec());
    let plain = Origin::serving(|mut wire| {
        assert!(wire.has_bytes());
        wire.sends("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    });
    let believed = format!("tls: {{ ca: '{}', server_name: b.example }}, ", ca.display());
    let cluster = |plan: Plan, name: &str, url: &str, entries: &str| {
        plan.cluster_as(name, &format!("{entries}endpoints: [{{ url: '{url}' }}]"))
    };
    let (sealed, plain) = (sealed.address(), plain.address());
    let mut plan = Plan::bare(Io::Epoll);
    plan = cluster(plan, "speaks_tls", &format!("http://{sealed}"), "");
    plan = cluster(plan, "speaks_plain", &format!("https://{plain}"), &believed);
    plan = cluster(plan, "other_name", &format!("https://{sealed}"), &believed);
    plan = cluster(plan, "nobody", "http://nobody.invalid:81", "");
    plan = plan.and(&format!("dns: {{ servers: ['{}'], timeout: 200ms }}", Endpoint::closed()));
    let file = folder.write("gateway.yaml", plan.yaml());
    let output = binary().args(["doctor", "--timeout", "5", "-c"]).arg(file).output().expect("a child");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}{}", String::from_utf8_lossy(&output.stderr));
    for (what, reason, fix) in [
        (format!("speaks_tls http://{sealed}"), "upstream_speaks_tls: ", "write https:// in its url"),
        (format!("speaks_plain https://{plain}"), "tls_plain_peer: ", "write http:// in its url"),
        (
            format!("other_name https://{sealed}"),
            "tls_wrong_name: ",
            "name what its certificate is for in tls.server_name of the cluster",
        ),
        (
            "nobody http://nobody.invalid:81".to_owned(),
            "unresolved: ",
            "look at the name, and at dns.servers or /etc/resolv.conf",
        ),
    ] {
        let (grade, found, told) = said(&text, &what);
        assert_eq!((grade, told), ("FAIL", fix), "{text}");
        assert!(found.starts_with(reason), "{found}");
    }
}
