//! Arguments to a command; no decisions.

fn main() -> std::process::ExitCode {
    ringgate::cli::main()
}
