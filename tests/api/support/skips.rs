//! A test that ends early says so here, by one line: `scripts/test` counts the lines, and a full run fails on a skipped test.
use super::database::Kind;
use std::fs::OpenOptions;
use std::io::Write;
use std::panic::Location;

/// Whether this run is about that database. If it is not, the test has nothing to do in it, and says why.
#[track_caller]
pub fn is_for(kind: Kind, why: &str) -> bool {
    let is_for = Kind::of_this_run() == kind;
    if !is_for {
        not_for_this_run(why);
    }
    is_for
}

/// Says why a test has nothing to do in this run. Another run of `scripts/test` has to do it: a full one fails on a test
/// that none of its runs is for.
#[track_caller]
pub fn not_for_this_run(why: &str) {
    say("not for this run", why);
}

/// Says what this run lacks, so that a test is skipped, or the rest of it. A full run lacks nothing: it fails.
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
    let line = format!("{what}: {test}: {why}\n"); // written at once, as other tests write at the same time
    match std::env::var_os("TEST_SKIPS") {
        Some(file) => OpenOptions::new().create(true).append(true).open(file).unwrap().write_all(line.as_bytes()),
        None => std::io::stderr().write_all(line.as_bytes()), // what `eprint!` writes is shown only if the test fails
    }
    .unwrap();
}
