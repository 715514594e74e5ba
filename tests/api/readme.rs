//! Runs the walkthrough of the README as a new user copies it, and checks the statuses that it promises.
use crate::support::TestApp;
use std::process::Stdio;
use tokio::process::Command;

/// A `curl` that also records the status of each call.
const NOTING_CURL: &str = r#"
curl() {
    local answer
    answer=$(command curl --max-time 20 -w '\n%{http_code}' "$@")
    echo "${answer##*$'\n'}" >> "$STATUSES"
    printf '%s' "${answer%$'\n'*}"
}
"#;

#[tokio::test]
async fn the_walk_of_the_readme_is_answered_as_it_says() {
    let app = TestApp::alone().await;
    let readme = include_str!("../../README.md");
    let walk = readme.split("```").find(|block| block.starts_with("sh\napi=")).unwrap().trim_start_matches("sh\n");
    let promised: Vec<_> = walk.split("→ ").skip(1).map(|rest| &rest[..3]).collect();
    assert_eq!(promised.len(), walk.matches("curl ").count(), "each call says its status");

    let statuses = app.database.folder.path().join("statuses");
    let script = format!("set -eu\n{NOTING_CURL}\n{}", walk.replace("http://127.0.0.1:8000", &app.url("")));
    let output = Command::new("bash")
        .args(["-c", &script])
        .env("STATUSES", &statuses)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let got = std::fs::read_to_string(statuses).unwrap();
    assert_eq!(got.lines().collect::<Vec<_>>(), promised);
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("title,status,completed_at\r\nWrite the offer,done,2"), "{shown}");
}
