//! Runs `bizcenter seed` as users run it, and checks the result over HTTP.
use crate::cli::{bizcenter, run, serve};
use crate::support::{Kind, TestDatabase, is_for};
use bizcenter::auth::Role;
use bizcenter::resources::RECORDS;
use reqwest::Client;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::{Output, Stdio};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

fn seed(database: &TestDatabase, arguments: &[&str]) -> Command {
    let mut command = bizcenter(database.folder.path(), &[&["seed"], arguments].concat());
    command.env("DATABASE_URL", &database.url);
    command
}

/// Runs the command. Returns the password and the slugs that it printed.
async fn seeded(database: &TestDatabase, arguments: &[&str]) -> (String, Vec<String>) {
    let (code, out, error) = run(&mut seed(database, arguments)).await;
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    let password = out.lines().nth(1).unwrap().trim().to_owned();
    let slugs = out.lines().filter_map(|line| line.strip_prefix("Tenant ")?.split_once(':'));
    (password, slugs.map(|(slug, _)| slug.to_owned()).collect())
}

struct Person(Client, String, String);

impl Person {
    async fn sign_in(address: &str, email: &str, password: &str) -> (Self, Value) {
        let client = Client::new();
        let login =
            client.post(format!("{address}/api/v1/auth/login")).json(&json!({"email": email, "password": password}));
        let answer = login.send().await.unwrap();
        assert_eq!(answer.status(), 200, "{email}");
        let signed_in: Value = answer.json().await.unwrap();
        let token = signed_in["access_token"].as_str().unwrap().to_owned();
        (Self(client, address.to_owned(), token), signed_in["user"].clone())
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.0.get(format!("{}/api/v1/{path}", self.1)).bearer_auth(&self.2).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.json().await.unwrap()
    }

    /// All titles, in the order in which the tasks were created.
    async fn titles(&self) -> Vec<Value> {
        let tasks = self.get("tasks?sort=created_at&per_page=100").await;
        tasks["items"].as_array().unwrap().iter().map(|task| task["title"].clone()).collect()
    }
}

/// A kind of demo records, and how many of them a test asks for.
struct Wanted {
    /// The name of the option without its dashes. The audit log has the same name.
    name: &'static str,
    amount: u64,
    /// The path of the list, after `/api/v1/`.
    list: String,
    /// The lowest role that may read the list.
    role: Role,
}

/// All kinds of demo records, each with a different amount. There are many tasks, because a test needs many comments.
fn some_of_each_kind() -> Vec<Wanted> {
    let mut all = vec![];
    for (demo, small) in RECORDS.demos().into_iter().zip(6..) {
        let kind = RECORDS.kinds().find(|kind| kind.demo.is_some_and(|it| it.number == demo.number)).unwrap();
        let amount = if demo.name == "tasks" { 60 } else { small };
        let list = kind.href.trim_start_matches("/api/v1/").trim_end_matches("/{id}").to_owned();
        all.push(Wanted { name: demo.name, amount, list, role: kind.role });
    }
    all
}

#[tokio::test]
async fn everybody_of_a_made_up_tenant_can_sign_in_and_see_its_tasks() {
    let database = TestDatabase::create().await;
    let wanted = some_of_each_kind();
    let amounts: Vec<_> = wanted.iter().flat_map(|it| [format!("--{}", it.name), it.amount.to_string()]).collect();
    let options: Vec<_> = ["--users", "30"].into_iter().chain(amounts.iter().map(String::as_str)).collect();
    let (password, slugs) = seeded(&database, &options).await;
    let (again, more) = seeded(&database, &[&options[..], &["--tenants", "2"]].concat()).await;
    assert!(password.len() >= 20 && again.len() >= 20 && password != again, "each run has a password of its own");
    let all: BTreeSet<_> = slugs.iter().chain(&more).collect();
    assert_eq!((slugs.len(), more.len(), all.len()), (1, 2, 3), "{all:?}");

    let (_server, address) = serve(&database).await;
    for role in Role::ALL {
        let name = role.name();
        let (person, user) = Person::sign_in(&address, &format!("{name}@{}.example", slugs[0]), &password).await;
        assert_eq!((&user["role"], &user["email_verified"]), (&json!(name), &json!(true)));
        assert_eq!(person.get("tasks").await["meta"]["total"], 60, "{name}");
        assert_eq!(person.get("users").await["meta"]["total"], 30, "{name}");
        for Wanted { amount, list, .. } in wanted.iter().filter(|it| role >= it.role) {
            assert_eq!(person.get(list).await["meta"]["total"], *amount, "{list} as {name}");
        }
    }
    let (first, _) = Person::sign_in(&address, &format!("owner@{}.example", slugs[0]), &password).await;
    let (same, _) = Person::sign_in(&address, &format!("owner@{}.example", more[0]), &again).await;
    let (other, _) = Person::sign_in(&address, &format!("owner@{}.example", more[1]), &again).await;
    let contracts = first.get("contracts").await;
    let amounts: Vec<_> = contracts["items"].as_array().unwrap().iter().map(|contract| &contract["amount"]).collect();
    assert!(!amounts.is_empty(), "there are no contracts");
    assert!(amounts.iter().all(|amount| amount.as_str().is_some_and(|text| text.ends_with(".00"))), "{amounts:?}");
    let titles = first.titles().await;
    assert_eq!(titles, same.titles().await, "the same seed says the same");
    assert_ne!(titles, other.titles().await, "but no two tenants of a run do");

    let (mut comments, mut mentions) = (0, 0);
    for task in first.get("tasks?per_page=100").await["items"].as_array().unwrap() {
        let said = first.get(&format!("tasks/{}/comments", task["id"].as_str().unwrap())).await;
        for comment in said["items"].as_array().unwrap() {
            comments += 1;
            mentions += comment["mentions"].as_array().unwrap().len();
        }
    }
    assert!(comments > 20 && (1..comments).contains(&mentions), "{comments} comments, {mentions} mentions");
    let (mut invited, mut actions) = (0, 0);
    for meeting in first.get("meetings?per_page=100").await["items"].as_array().unwrap() {
        let path = format!("meetings/{}", meeting["id"].as_str().unwrap());
        invited += first.get(&format!("{path}/attendees")).await["items"].as_array().unwrap().len();
        actions += first.get(&format!("{path}/action-items")).await["items"].as_array().unwrap().len();
    }
    assert!(invited > 8 && actions > 0, "{invited} attendees, {actions} action items");
    let log = first.get("audit-logs?action=seed").await;
    let changes: Value = wanted.iter().map(|it| (it.name, json!([null, it.amount]))).collect();
    assert_eq!((&log["meta"]["total"], &log["items"][0]["changes"]), (&json!(1), &changes));
    assert_eq!(first.get("audit-logs?subject_kind=task").await["meta"]["total"], 0);
}

#[tokio::test]
async fn batches_end_where_they_should() {
    let database = TestDatabase::create().await;
    let (password, slugs) = seeded(&database, &["--tasks", "2001", "--seed", "9"]).await;
    let (_, none) = seeded(&database, &["--tasks", "0", "--seed", "9"]).await;
    assert_eq!((none.len(), format!("{}-2", slugs[0])), (1, none[0].clone()));
    let (_server, address) = serve(&database).await;
    let (owner, _) = Person::sign_in(&address, &format!("owner@{}.example", slugs[0]), &password).await;
    assert_eq!(owner.get("tasks").await["meta"]["total"], 2001);
}

#[tokio::test]
async fn a_password_can_be_given_and_is_not_printed() {
    let database = TestDatabase::create().await;
    let mut command = seed(&database, &["--tasks", "1", "--password-stdin"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"my own secret\n").await.unwrap();
    let Output { status, stdout, .. } = child.wait_with_output().await.unwrap();
    let out = String::from_utf8(stdout).unwrap();
    assert!(status.success() && !out.contains("my own secret"), "{out}");
    let email = out.split_whitespace().find(|word| word.starts_with("viewer@")).unwrap().to_owned();
    let (_server, address) = serve(&database).await;
    Person::sign_in(&address, &email, "my own secret").await;
}

#[tokio::test]
async fn outside_of_development_it_asks() {
    let database = TestDatabase::create().await;
    if !is_for(Kind::Sqlite, "the question comes before any database") {
        return;
    }
    let in_production = |arguments: &[&str]| {
        let mut command = seed(&database, arguments);
        let (jwt, key) = ("x4Kq9vT2mB7wL8zR5cY1nD6fH3jP0sGa", "Vb8nM5kQ2wX9eR4tY7uI1oP6aS3dF0gH");
        command.env("APP_ENV", "production").env("JWT_SECRET", jwt).env("CONTRACT_ENCRYPTION_KEY", key);
        command
    };
    let (code, out, error) = run(&mut in_production(&["--tasks", "1"])).await;
    assert_eq!((code, out.as_str(), error.contains("--yes")), (1, "", true), "{error}");
    assert!(!database.folder.path().join("test.db").exists(), "nothing was made");
    let (code, _, error) = run(&mut in_production(&["--tasks", "1", "--yes"])).await;
    assert_eq!(code, 0, "{error}");
}
