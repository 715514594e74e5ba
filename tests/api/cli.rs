//! The binary, started as users start it. Its environment contains only what a test gives it.
use crate::support::TestDatabase;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::Instant;

pub fn bizcenter(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bizcenter"));
    command.args(arguments).current_dir(folder).env_clear().stdin(Stdio::null()).kill_on_drop(true);
    if let Ok(profile) = std::env::var("LLVM_PROFILE_FILE") {
        command.env("LLVM_PROFILE_FILE", profile); // coverage includes the binary
    }
    command
}

pub async fn run(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// Starts a server on a free port. Returns the address that it prints as well.
pub async fn serve(database: &TestDatabase) -> (Child, String) {
    let mut command = bizcenter(database.folder.path(), &[]);
    let (child, docs) = started(command.env("DATABASE_URL", &database.url), "Documentation at ").await;
    (child, docs.trim_end_matches("/docs").to_owned())
}

/// Starts a server. Returns it, with the text that its log has after these words.
pub async fn started(command: &mut Command, words: &str) -> (Child, String) {
    let mut child = command.env("PORT", "0").stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if let Some((_, said)) = line.split_once(words) {
            let said = said.trim().to_owned();
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return (child, said);
        }
    }
    panic!("the server did not start");
}

fn terminate(child: &Child) {
    let pid = child.id().unwrap().to_string();
    std::process::Command::new("kill").arg(pid).status().unwrap();
}

#[tokio::test]
async fn it_serves_within_a_second_and_ends_in_order() {
    let database = TestDatabase::create().await;
    let (child, _) = serve(&database).await; // this migrates the database
    drop(child);
    let began = Instant::now();
    let (mut child, address) = serve(&database).await;
    assert!(began.elapsed() < Duration::from_secs(1), "ready after {:?}", began.elapsed());
    let health = reqwest::get(format!("{address}/readyz")).await.unwrap();
    assert_eq!(health.status(), 200);
    let secrets = database.folder.path().join("data/secrets");
    assert!(secrets.join("jwt_secret").exists() && secrets.join("encryption_key").exists());

    let (code, _, _) =
        run(&mut bizcenter(database.folder.path(), &["health", "--url", &format!("{address}/livez")])).await;
    assert_eq!(code, 0);
    terminate(&child);
    assert_eq!(child.wait().await.unwrap().code(), Some(0), "SIGTERM is an orderly end");
    let (code, _, error) =
        run(&mut bizcenter(database.folder.path(), &["health", "--url", &format!("{address}/livez")])).await;
    assert_eq!(code, 1, "{error}");
}

#[tokio::test]
async fn metrics_have_a_listener_of_their_own() {
    let database = TestDatabase::create().await;
    let mut command = bizcenter(database.folder.path(), &[]);
    command.env("DATABASE_URL", &database.url).env("METRICS_ADDR", "127.0.0.1:0");
    let (_child, url) = started(&mut command, "Metrics at ").await;
    let metrics = reqwest::get(&url).await.unwrap();
    assert_eq!(metrics.status(), 200);
    assert!(metrics.headers()["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    let text = metrics.text().await.unwrap();
    assert!(text.contains("bizcenter_unsealing_failures_total 0") && text.ends_with("# EOF\n"), "{text}");
    let other = reqwest::get(url.replace("/metrics", "/api/v1/tasks")).await.unwrap();
    assert_eq!(other.status(), 404, "it serves nothing else");
}

#[tokio::test]
async fn the_operator_makes_a_tenant_and_a_user_who_can_sign_in() {
    let database = TestDatabase::create().await;
    let command = |arguments: &[&str]| {
        let mut command = bizcenter(database.folder.path(), arguments);
        command.env("DATABASE_URL", &database.url);
        command
    };
    let (code, out, error) = run(&mut command(&["migrate", "up"])).await;
    assert_eq!((code, out.contains("applied") && !out.contains("missing")), (0, true), "{error}");
    let tenant = ["create-tenant", "--slug", "acme", "--name", "Acme"];
    let (code, out, error) = run(&mut command(&tenant)).await;
    assert_eq!((code, out.starts_with("Created tenant acme")), (0, true), "{error}");
    let (code, _, error) = run(&mut command(&tenant)).await;
    assert_eq!((code, error.contains("there already")), (1, true), "{error}");

    for start in
        [&["create-tenant", "--slug", "other"][..], &["create-user", "--email", "b@example.com", "--tenant", "acme"]]
    {
        let (code, _, error) = run(&mut command(&[start, &["--name", "Ada\nPay here"]].concat())).await;
        assert_eq!((code, error.contains("--name must be one line")), (1, true), "{error}");
    }

    let user = ["create-user", "--email", "Ada@Example.com", "--name", "Ada", "--tenant", "acme", "--role", "owner"];
    let (code, _, error) = run(&mut command(&user)).await;
    assert_eq!((code, error.contains("--password-stdin")), (1, true), "nobody can be asked: {error}");
    let with_password = async |password: &str| {
        let mut child = command(&[&user[..], &["--password-stdin"]].concat())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(format!("{password}\n").as_bytes()).await.unwrap();
        let Output { status, stdout, stderr } = child.wait_with_output().await.unwrap();
        (status.code().unwrap(), String::from_utf8([stdout, stderr].concat()).unwrap())
    };
    let (code, out) = with_password("short").await;
    assert_eq!((code, out.contains("at least 8 characters")), (1, true), "{out}");
    let (code, out) = with_password("correct horse battery").await;
    assert_eq!((code, out.contains("ada@example.com") && out.contains("owner of acme")), (0, true), "{out}");
    let (code, out) = with_password("correct horse battery").await;
    assert_eq!((code, out.contains("email is taken")), (1, true), "{out}");

    let (_child, address) = serve(&database).await;
    let login = serde_json::json!({"email": "ada@example.com", "password": "correct horse battery"});
    let answer = reqwest::Client::new().post(format!("{address}/api/v1/auth/login")).json(&login).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let body: serde_json::Value = answer.json().await.unwrap();
    assert_eq!((&body["user"]["role"], &body["refresh_token"]), (&"owner".into(), &serde_json::Value::Null));
}

#[tokio::test]
async fn migrations_go_down_and_up_again() {
    let database = TestDatabase::create().await;
    let migrate = async |what: &str| {
        let arguments = ["migrate", what, "--yes"];
        let mut command = bizcenter(database.folder.path(), &arguments[..if what == "down" { 3 } else { 2 }]);
        run(command.env("DATABASE_URL", &database.url)).await
    };
    let count = |output: (i32, String, String), word: &str| output.1.matches(word).count();
    assert_eq!(count(migrate("status").await, "applied"), 0);
    let steps = count(migrate("up").await, "applied");
    let mut unasked = bizcenter(database.folder.path(), &["migrate", "down"]);
    let (code, _, error) = run(unasked.env("DATABASE_URL", &database.url)).await;
    assert_eq!((code, error.contains("--yes")), (1, true), "data is not dropped without a question: {error}");
    for undone in 1..=steps {
        assert_eq!(count(migrate("down").await, "missing"), undone);
    }
    let (code, _, error) = migrate("down").await;
    assert_eq!(code, 1, "there is nothing left to undo: {error}");
    assert_eq!(count(migrate("up").await, "applied"), steps);
}

#[tokio::test]
async fn production_does_not_start_without_its_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = bizcenter(folder.path(), &[]);
    command.env("APP_ENV", "production").env("JWT_SECRET", "changeme").env("CORS_ORIGINS", "*");
    let (code, _, error) = run(command.env("BIZCENTER_SERVER__PROT", "1")).await;
    assert_eq!(code, 2);
    for setting in ["auth.jwt_secret", "encryption.key", "cors.origins", "BIZCENTER_SERVER__PROT"] {
        assert!(error.contains(setting), "{setting} is not named: {error}");
    }
    assert!(!folder.path().join("data").exists(), "nothing was made");
}

#[tokio::test]
async fn a_database_that_can_not_be_had_is_said_by_setting_and_without_its_password() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = bizcenter(folder.path(), &["migrate", "status"]);
    command.env("DATABASE_URL", "postgres://somebody:hidden-word@127.0.0.1:1/nowhere");
    let (code, _, error) = run(&mut command).await;
    assert_eq!((code, error.contains("PostgreSQL can't be reached")), (1, true), "{error}");
    assert!(!error.contains("hidden-word"), "{error}");
}

#[tokio::test]
async fn what_only_prints_prints() {
    let folder = tempfile::tempdir().unwrap();
    let (code, out, _) = run(&mut bizcenter(folder.path(), &["openapi"])).await;
    assert_eq!((code, out.trim_end()), (0, bizcenter::contract::JSON.trim_end()));
    let (code, out, _) = run(&mut bizcenter(folder.path(), &["config", "default"])).await;
    assert_eq!((code, out.as_str()), (0, include_str!("../../src/config/default.toml")));
    let (code, out, _) = run(&mut bizcenter(folder.path(), &["config", "check"])).await;
    assert!(code == 0 && out.contains("auth.jwt_secret = ***"), "{out}");
    let (code, out, _) = run(&mut bizcenter(folder.path(), &["completions", "bash"])).await;
    assert!(code == 0 && out.contains("create-tenant"));
    let (code, _, _) = run(&mut bizcenter(folder.path(), &["no-such-command"])).await;
    assert_eq!(code, 2);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was made");
}
