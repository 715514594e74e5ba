//! A test that ends early reports this here, in one line. `scripts/test` counts these lines, and a full run fails on a
//! skipped test.
use super::database::Kind;
use std::fs::OpenOptions;
use std::io::Write;
use std::panic::Location;

/// Whether this run tests that kind of database. If not, reports why the test does not apply to this run.
#[track_caller]
pub fn is_for(kind: Kind, why: &str) -> bool {
    let is_for = Kind::of_this_run() == kind;
    if !is_for {
        not_for_this_run(why);
    }
    is_for
}

/// Reports why a test does not apply to this run. The test must apply to another run of `scripts/test`: the full test
/// fails on a test that applies to none of its runs.
#[track_caller]
pub fn not_for_this_run(why: &str) {
    say("not for this run", why);
}

/// Reports what this run lacks, so that a test or the rest of it is skipped. A full run must lack nothing, so there
/// this panics.
#[track_caller]
pub fn skipped(lack: &str) {
    assert!(std::env::var_os("TEST_FULL").is_none(), "a full run skips no test, but {lack}");
    say("skipped", lack);
}

#[track_caller]
fn say(what: &str, why: &str) {
    let thread = std::thread::current();
    // The thread has the test's path as its name, unless all tests share the main thread.
    let test = thread.name().filter(|name| name.contains("::")).map(str::to_owned);
    let test = test.unwrap_or_else(|| Location::caller().to_string());
    let line = format!("{what}: {test}: {why}\n"); // written by one call, because other tests write at the same time
    match std::env::var_os("TEST_SKIPS") {
        Some(file) => OpenOptions::new().create(true).append(true).open(file).unwrap().write_all(line.as_bytes()),
        None => std::io::stderr().write_all(line.as_bytes()), // what `eprint!` writes is shown only if the test fails
    }
    .unwrap();
}
