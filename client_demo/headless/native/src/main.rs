//! `farstage-load`: started by `farstage loadtest`.

fn main() {}
