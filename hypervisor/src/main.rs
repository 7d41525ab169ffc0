//! The `casemate` program. Everything it does is in [`casemate::cli`].

fn main() -> std::process::ExitCode {
    casemate::cli::main()
}
