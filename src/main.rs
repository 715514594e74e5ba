//! The server and its commands, one binary.
use std::process::ExitCode;

fn main() -> ExitCode {
    bizcenter::cli::main()
}
