//! What may be named where: runtimes, `unsafe`, locks, the clock, randomness, sockets.

use crate::source::Source;

/// Words that belong to some places only.
struct Place {
    what: &'static str,
    matches: fn(&Source, usize) -> bool,
    /// Rooms, or files below `src`.
    allowed: &'static [&'static str],
    /// Whether test code is bound as well.
    binds_tests: bool,
}

/// Rooms that decide and never act.
const PURE: [&str; 6] = ["limits", "http1", "http2", "routing", "policy", "cluster"];

const PLACES: [Place; 7] = [
    Place {
        what: "monoio and io_uring",
        matches: |s, i| is_crate(s, i, &["monoio", "io_uring"]),
        allowed: &["net"],
        binds_tests: true,
    },
    Place {
        what: "tokio",
        matches: |s, i| is_crate(s, i, &["tokio"]),
        // `h2` asks for its traits of reading and writing, and for nothing else of it.
        allowed: &["control", "cli", "net/h2/io.rs"],
        binds_tests: true,
    },
    Place {
        what: "the libraries of the control thread",
        matches: |s, i| is_crate(s, i, &CONTROL_CRATES),
        allowed: &["control", "cli"],
        binds_tests: true,
    },
    Place {
        what: "`unsafe`",
        matches: |s, i| s.text_of(i) == "unsafe" && !s.tokens[i].in_attribute,
        allowed: &["net", "telemetry", "cluster"],
        binds_tests: true,
    },
    Place {
        what: "a lock",
        matches: |s, i| matches!(s.text_of(i), "Mutex" | "RwLock" | "Condvar" | "DashMap" | "parking_lot"),
        allowed: &["control", "cli", "snapshot/publish.rs"],
        binds_tests: false,
    },
    Place { what: "the clock", matches: reads_clock, allowed: &["clock.rs"], binds_tests: false },
    Place {
        what: "randomness",
        matches: |s, i| is_crate(s, i, &["getrandom", "rand", "rand_core", "rand_chacha", "fastrand"]),
        allowed: &["rng.rs"],
        binds_tests: false,
    },
];

const CONTROL_CRATES: [&str; 12] = [
    "axum",
    "hickory_resolver",
    "hyper",
    "nix",
    "opentelemetry",
    "opentelemetry_http",
    "opentelemetry_otlp",
    "opentelemetry_proto",
    "opentelemetry_sdk",
    "prost",
    "tracing",
    "tracing_subscriber",
];

/// Words of `source` that stand in the wrong room.
pub(crate) fn problems(source: &Source) -> Vec<String> {
    let below = source.path.strip_prefix("src/").unwrap_or(&source.path);
    let mut problems = Vec::new();
    for (index, token) in source.words() {
        for place in &PLACES {
            let allowed = place.allowed.iter().any(|at| *at == source.room() || *at == below);
            if !allowed && (place.binds_tests || !token.in_test) && (place.matches)(source, index) {
                problems.push(
                    source.at(
                        token.line,
                        format!("`{}`: {} only in {}", token.text, place.what, place.allowed.join(", ")),
                    ),
                );
            }
        }
        if PURE.contains(&source.room()) && !token.in_test && touches_world(source, index) {
            problems.push(
                source.at(
                    token.line,
                    format!("`{}`: `{}` is pure, no socket, file or thread", token.text, source.room()),
                ),
            );
        }
        if needs_reason(source, index) && !has_reason(source, token.line) {
            problems.push(source.at(token.line, "`unsafe` without a `// SAFETY:` comment above it"));
        }
    }
    problems
}

/// Whether token `index` begins a path into, or an import of, one of `crates`.
fn is_crate(source: &Source, index: usize, crates: &[&str]) -> bool {
    crates.contains(&source.text_of(index))
        && !source.follows_path(index)
        && (source.reads(index + 1, &[":", ":"]) || index >= 1 && matches!(source.text_of(index - 1), "use" | "crate"))
}

/// `Instant::now`, `SystemTime::now`, and the ways round them.
fn reads_clock(source: &Source, index: usize) -> bool {
    let type_of_time = matches!(source.text_of(index), "Instant" | "SystemTime");
    type_of_time && source.reads(index + 1, &[":", ":", "now"])
        || source.text_of(index) == "clock_gettime"
        || source.text_of(index) == "elapsed"
            && index >= 1
            && source.text_of(index - 1) == "."
            && source.reads(index + 1, &["(", ")"])
}

/// A socket, a file, a thread, a system call.
fn touches_world(source: &Source, index: usize) -> bool {
    matches!(source.text_of(index), "TcpStream" | "TcpListener" | "UdpSocket" | "UnixStream" | "UnixListener" | "File")
        || is_crate(source, index, &["libc", "socket2"])
        || source.text_of(index) == "std"
            && ["fs", "thread", "env", "process"].iter().any(|part| source.reads(index + 1, &[":", ":", part]))
}

/// An `unsafe` block or implementation, which states why it is sound; an `unsafe fn` states it to its caller instead.
fn needs_reason(source: &Source, index: usize) -> bool {
    source.text_of(index) == "unsafe" && matches!(source.text_of(index + 1), "{" | "impl")
}

/// Whether a `SAFETY:` comment stands on the line or in the comment above the statement that the line belongs to.
fn has_reason(source: &Source, line: usize) -> bool {
    let lines: Vec<&str> = source.text.lines().collect();
    let is_comment = |line: &str| line.trim_start().starts_with("//");
    if lines[line - 1].contains("SAFETY:") {
        return true;
    }
    // A statement may begin some lines above its block; another statement or blank line ends the search.
    let mut at = line - 1;
    let mut own_lines = 0;
    while at > 0 {
        let above = lines[at - 1];
        if is_comment(above) {
            if above.contains("SAFETY:") {
                return true;
            }
        } else {
            let ends_statement = above.trim_end().ends_with([';', '}']) || above.trim().is_empty();
            own_lines += 1;
            if ends_statement || own_lines > 3 {
                return false;
            }
        }
        at -= 1;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, text: &str) -> usize {
        problems(&Source::parse(path, text).expect("sample parses")).len()
    }

    #[test]
    fn runtimes_outside_their_rooms_fail() {
        for (wrong, right, text) in [
            ("src/worker/mod.rs", "src/net/uring.rs", "use monoio::time;"),
            ("src/worker/mod.rs", "src/net/uring.rs", "use ::monoio::time;"),
            ("src/exchange/mod.rs", "src/net/uring.rs", "fn f() { io_uring::opcode::Nop::new(); }"),
            ("src/worker/mod.rs", "src/control/mod.rs", "use tokio as t;"),
            ("src/net/mod.rs", "src/control/mod.rs", "#[tokio::main] async fn f() {}"),
            ("src/net/h2/server.rs", "src/net/h2/io.rs", "use tokio::io::AsyncRead;"),
            ("src/net/h2/io.rs", "src/cli/mod.rs", "use hyper::Request;"),
            ("src/telemetry/mod.rs", "src/cli/mod.rs", "fn f() { tracing::warn!(\"x\"); }"),
            ("src/snapshot/mod.rs", "src/control/watch.rs", "use nix::unistd::Uid;"),
        ] {
            assert_eq!(count(wrong, text), 1, "{text}");
            assert_eq!(count(right, text), 0, "{text}");
        }
        assert_eq!(count("src/worker/mod.rs", "#[cfg(test)] mod tests { use monoio::time; }"), 1, "tests as well");
        assert_eq!(
            count("src/worker/mod.rs", "fn notify() {} fn g() { x.notify(); crate::net::tracing::f(); }"),
            0,
            "our own names"
        );
    }

    #[test]
    fn locks_outside_control_fail() {
        assert_eq!(count("src/exchange/mod.rs", "use std::sync::Mutex;"), 1);
        assert_eq!(count("src/snapshot/mod.rs", "type T = std::sync::RwLock<u8>;"), 1);
        assert_eq!(count("src/snapshot/publish.rs", "use std::sync::Mutex;"), 0);
        assert_eq!(count("src/control/mod.rs", "use std::sync::Mutex;"), 0);
    }

    #[test]
    fn the_clock_is_read_in_one_file() {
        for text in [
            "fn f() { Instant::now(); }",
            "fn f() { std::time::SystemTime::now(); }",
            "fn f() { a.elapsed(); }",
            "fn f() { libc::clock_gettime(); }",
        ] {
            assert_eq!(count("src/net/mod.rs", text), 1, "{text}");
            assert_eq!(count("src/clock.rs", text), 0, "{text}");
        }
        assert_eq!(count("src/net/mod.rs", "#[cfg(test)] mod tests { fn f() { Instant::now(); } }"), 0);
    }

    #[test]
    fn randomness_is_drawn_in_one_file() {
        assert_eq!(count("src/net/mod.rs", "use rand_core::RngCore;"), 1);
        assert_eq!(count("src/rng.rs", "use rand_core::RngCore;"), 0);
    }

    #[test]
    fn pure_rooms_touch_nothing_of_the_world() {
        for text in [
            "use std::net::TcpStream;",
            "fn f() { std::fs::read(p); }",
            "use libc::c_int;",
            "fn f() { std::thread::current(); }",
        ] {
            assert_eq!(count("src/routing/mod.rs", text), 1, "{text}");
            assert_eq!(count("src/net/mod.rs", text), 0, "{text}");
        }
        assert_eq!(count("src/routing/mod.rs", "use std::net::IpAddr;"), 0);
    }

    #[test]
    fn unsafe_needs_its_room_and_its_reason() {
        assert_eq!(count("src/http1/head.rs", "// SAFETY: checked.\nfn f() { unsafe { g() } }"), 1, "wrong room");
        assert_eq!(count("src/net/mod.rs", "fn f() {\n    unsafe { g() }\n}"), 1, "no reason");
        assert_eq!(
            count("src/net/mod.rs", "fn f() {\n    // SAFETY: x.\n    a();\n    unsafe { g() }\n}"),
            1,
            "a reason of another statement"
        );
        assert_eq!(
            count(
                "src/net/mod.rs",
                "fn f() {\n    // SAFETY: the pointer\n    // lives on.\n    let x =\n        unsafe { g() };\n}"
            ),
            0
        );
        assert_eq!(count("src/net/mod.rs", "// SAFETY: one writer.\nunsafe impl Send for S {}\nunsafe fn f() {}"), 0);
    }
}
