//! `farstage-load`: started by `farstage loadtest`, with which it speaks lines of JSON.

use std::io::{BufReader, Write, stdin, stdout};
use std::process::ExitCode;

use farstage_load::protocol::Output;

fn main() -> ExitCode {
    let mut output = stdout();
    let Err(reason) = farstage_load::run::run(BufReader::new(stdin()), &mut output) else {
        return ExitCode::SUCCESS;
    };
    if let Ok(line) = serde_json::to_string(&Output::Error { reason }) {
        // Where the other side is gone, nobody is left to be told.
        let _ = writeln!(output, "{line}");
    }
    ExitCode::FAILURE
}
