//! Programs that others wrote, run to their end.

use std::ffi::OsStr;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// The system's own Python, which Debian's packages are for.
pub(crate) const PYTHON: &str = "/usr/bin/python3";

/// What a program said, and whether it was content.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) is_content: bool,
    /// Standard output and standard error.
    pub(crate) text: String,
}

/// Runs `program` for at most 30 seconds, with this on its standard input.
pub(crate) fn run<A: AsRef<OsStr>>(program: &str, arguments: &[A], input: &str) -> Said {
    let mut command = Command::new("timeout");
    command.arg("30").arg(program).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    // It may have ended without reading.
    drop(child.stdin.take().expect("a pipe").write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("our own child");
    let both = [output.stdout, output.stderr].concat();
    Said { is_content: output.status.success(), text: String::from_utf8_lossy(&both).into_owned() }
}

/// Runs `program`, which must be content; what it said.
pub(crate) fn runs<A: AsRef<OsStr>>(program: &str, arguments: &[A]) -> String {
    let said = run(program, arguments, "");
    assert!(said.is_content, "{program}: {}", said.text);
    said.text
}

/// Runs a script of `tests/interop` by Python.
pub(crate) fn runs_python(script: &str, arguments: &[String]) {
    let path = format!("{}/tests/interop/{script}", env!("CARGO_MANIFEST_DIR"));
    runs(PYTHON, &[&[path], arguments].concat());
}
