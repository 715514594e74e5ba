//! Searches for known amounts everywhere: in the answers to people who may not see them, in the log, in the database.
//! They are also found where they should be, which proves that the search works.
use crate::cli::bizcenter;
use crate::contracts::{CONTRACTS, change_role, path_of, with};
use crate::item_cache::with_redis;
use crate::support::{Call, Kind, Person, Tenant, TestApp, has_servers, redis_url, until};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bizcenter::auth::Role;
use bizcenter::services::redis::{Redis, RedisOptions};
use redis::Script;
use serde_json::json;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

const AMOUNTS: [&str; 2] = ["918273645546372.81", "817263544536271.18"];
/// A mark in the contract's title, which is found wherever the contract is.
const MARK: &str = "marked-contract";

/// The forms in which the amounts could be written somewhere.
fn forms() -> Vec<String> {
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    let of = |amount: &str| {
        let digits = amount.replace('.', "");
        let units: u64 = format!("{digits}00").parse().unwrap();
        let whole = amount.split('.').next().unwrap();
        let grouped: Vec<_> = whole.as_bytes().chunks(3).map(|part| String::from_utf8_lossy(part)).collect();
        let encoded = BASE64_STANDARD.encode(amount).trim_end_matches('=').to_lowercase();
        [
            whole.to_owned(),
            digits.clone(),
            grouped.join(","),
            hex(whole),
            hex(&digits),
            format!("{units:016x}"),
            encoded,
        ]
    };
    AMOUNTS.iter().flat_map(|amount| of(amount)).collect()
}

/// The forms that a text contains.
fn found_in(text: &str) -> Vec<String> {
    let text = text.to_lowercase();
    forms().into_iter().filter(|form| text.contains(form)).collect()
}

/// The whole answer as text: status, headers and body.
async fn got(call: Call) -> String {
    let answer = call.send().await;
    format!("{} {:?} {}", answer.status, answer.headers, answer.text())
}

/// Uses all features with amounts as an admin. The contract exists at the end.
async fn leave_traces(tenant: &Tenant) -> String {
    let admin = tenant.admin().await;
    let input = with(json!({"title": MARK, "description": MARK, "status": "active", "amount": AMOUNTS[0]}));
    let create = || admin.post(CONTRACTS).header("idempotency-key", "once").json(&input);
    let created = create().expect(201).await;
    assert_eq!(create().expect(201).await.body, created.body);
    let path = path_of(&created.json());
    admin.patch(&path).json(&json!({"amount": AMOUNTS[1]})).expect(200).await;
    admin.put(&path).json(&input).expect(200).await;
    for amount in AMOUNTS {
        let too_many_places = json!({"amount": format!("{amount}11"), "title": " "});
        assert_eq!(found_in(&got(admin.patch(&path).json(&too_many_places)).await), [""; 0], "an error repeats it");
        let bad = json!({"amount": format!("-{amount}")});
        assert_eq!(found_in(&got(admin.patch(&path).json(&bad)).await), [""; 0], "an error repeats it");
        for broken in [format!("{{\"amount\": {amount}}}"), format!("{{\"amount\": \"{amount}\"")] {
            let call = admin.patch(&path).body("application/json", broken);
            assert_eq!(found_in(&got(call).await), [""; 0], "an error repeats it");
        }
    }
    change_role(tenant, &admin, Role::Editor).await;
    assert_eq!(found_in(&got(create()).await), [""; 0], "a repeat shows it to who was demoted");
    assert_eq!(found_in(&got(admin.get("/api/v1/users/me/export")).await), [""; 0], "it is no longer theirs to see");
    path
}

/// The paths of all operations that could show a part of a contract.
fn reads(path: &str) -> Vec<String> {
    let mut reads = vec![path.to_owned(), format!("{path}/history"), CONTRACTS.to_owned()];
    for query in ["format=csv", "format=ndjson", "fields=amount,amount_visible,title", "format=ndjson&fields=amount"] {
        reads.push(format!("{CONTRACTS}/export?{query}"));
    }
    for sort in ["title", "-status", "counterparty", "start_date", "-end_date", "updated_at"] {
        reads.push(format!("{CONTRACTS}?sort={sort}&per_page=1"));
    }
    for query in AMOUNTS.iter().flat_map(|amount| [*amount, &amount[..5]]).chain(["12", "marked"]) {
        reads.push(format!("{CONTRACTS}?q={query}"));
        reads.push(format!("{CONTRACTS}?counterparty={query}"));
    }
    reads.extend(["/api/v1/users/me/export", "/api/v1/audit-logs", "/api/v1/audit-logs/export"].map(str::to_owned));
    reads.push("/api/v1/audit-logs/export?format=ndjson".to_owned());
    reads
}

#[tokio::test]
async fn a_caller_who_may_not_see_amounts_gets_them_nowhere() {
    let tenant = TestApp::start().await.tenant().await;
    let path = leave_traces(&tenant).await;
    for role in [Role::Viewer, Role::Analyst, Role::Editor] {
        let person = tenant.person(role).await;
        let mut marked = 0;
        for read in reads(&path) {
            // No answer repeats the search text, but a header might.
            let text = got(person.get(&read)).await;
            assert_eq!(found_in(&text), [""; 0], "{read} as {}", role.name());
            marked += usize::from(text.contains(MARK));
        }
        for call in [
            person.put(&path).json(&with(json!({}))),
            person.patch(&path).json(&json!({})),
            person.patch(&path).json(&json!({"currency": "JPY"})),
            person.delete(&path),
            person.post(CONTRACTS).header("idempotency-key", "once").json(&with(json!({"amount": AMOUNTS[0]}))),
        ] {
            let text = got(call).await;
            assert!(text.starts_with("403"), "{text}");
            assert_eq!(found_in(&text), [""; 0]);
        }
        assert_eq!(marked >= 10, role == Role::Editor, "{marked} answers had the contract as {}", role.name());
    }
    for role in [Role::Admin, Role::Owner] {
        let person = tenant.person(role).await;
        for read in [path.clone(), format!("{path}/history"), CONTRACTS.to_owned(), format!("{CONTRACTS}/export")] {
            assert!(!found_in(&got(person.get(&read)).await).is_empty(), "{read} as {}", role.name());
        }
        for read in ["/api/v1/audit-logs", "/api/v1/audit-logs/export"] {
            let text = got(person.get(read)).await;
            assert!(text.contains(MARK) && text.contains("***"), "{text}");
            assert_eq!(found_in(&text), [""; 0], "{read}");
        }
        for amount in AMOUNTS {
            let found = person.get(&format!("{CONTRACTS}?q={amount}")).expect(200).await.json();
            assert_eq!(found["meta"]["total"], json!(0), "nobody searches by amount");
        }
    }
}

/// A Redis script that returns everything about a tenant, in all types of values.
const DUMP: &str = "
local found = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
    local kind = redis.call('TYPE', key).ok
    table.insert(found, key)
    if kind == 'string' then table.insert(found, redis.call('GET', key)) end
    if kind == 'hash' then for _, part in ipairs(redis.call('HGETALL', key)) do table.insert(found, part) end end
    if kind == 'zset' then for _, part in ipairs(redis.call('ZRANGE', key, 0, -1)) do table.insert(found, part) end end
end
return table.concat(found, '\\n')";

#[tokio::test]
async fn redis_holds_no_amount() {
    if !has_servers() {
        return;
    }
    let tenant = TestApp::with(with_redis).await.tenant().await;
    let path = leave_traces(&tenant).await;
    tenant.owner.item(json!({"title": MARK})).await;
    for read in reads(&path).into_iter().chain(["/api/v1/items".to_owned()]) {
        tenant.owner.get(&read).expect(200).await;
    }
    let redis = Redis::new(&redis_url(), RedisOptions { pool_size: 1, timeout: Duration::from_secs(5) }).unwrap();
    let text: String = redis.run(&Script::new(DUMP).arg(format!("*{}*", tenant.id))).await.unwrap();
    assert!(text.contains("bc:cache:item:") && text.contains(MARK), "it was not looked through: {text}");
    assert_eq!(found_in(&text), [""; 0]);
}

/// Every row of every table as text. Values that are not text are written in hexadecimal.
async fn dump(app: &TestApp) -> String {
    let mut text = String::new();
    for (name, table) in app.catalogue().await.tables {
        let columns: Vec<_> = match app.database.kind {
            Kind::Postgres => vec!["t::text".to_owned()],
            Kind::Sqlite => table.columns.keys().map(|column| format!("quote({column})")).collect(),
            Kind::Mariadb => table.columns.keys().map(|column| format!("hex(`{column}`)")).collect(),
        };
        for row in app.rows(&format!("SELECT {} FROM {name} t", columns.join(", "))).await {
            text += &format!("{name} {}\n", row.join(" "));
        }
    }
    text
}

#[tokio::test]
async fn the_database_holds_no_readable_amount() {
    let app = TestApp::alone().await;
    let tenant = app.tenant().await;
    let path = leave_traces(&tenant).await;
    app.run_jobs().await;
    let text = dump(&app).await;
    let mark = if app.database.kind == Kind::Mariadb {
        MARK.bytes().map(|byte| format!("{byte:02X}")).collect()
    } else {
        MARK.to_owned()
    };
    for table in ["contracts", "audit_logs"] {
        let holds_it = |line: &&str| line.starts_with(&format!("{table} ")) && line.contains(&mark);
        assert!(text.lines().any(|line| holds_it(&line)), "{table} was not looked through");
    }
    for table in ["contract_history", "idempotency_keys", "data_keys", "jobs"] {
        assert!(text.lines().any(|line| line.starts_with(&format!("{table} "))), "{table} has no row");
    }
    assert_eq!(found_in(&text), [""; 0]);
    if app.database.kind == Kind::Sqlite {
        // Overwritten data is still in the files.
        for file in ["test.db", "test.db-wal"] {
            let bytes = std::fs::read(app.database.folder.path().join(file)).unwrap_or_default();
            assert_eq!(found_in(&String::from_utf8_lossy(&bytes)), [""; 0], "{file}");
            let units = AMOUNTS.map(|amount| format!("{}00", amount.replace('.', "")).parse::<u64>().unwrap());
            for units in units {
                assert!(!bytes.windows(8).any(|window| window == units.to_be_bytes()), "{file}");
                assert!(!bytes.windows(8).any(|window| window == units.to_le_bytes()), "{file}");
            }
        }
    }
    let seen = tenant.owner.get(&path).expect(200).await.json();
    assert_eq!(seen["amount"], json!(AMOUNTS[0]), "it is there all the same");
}

/// Starts a server that logs everything. Returns the log as well.
async fn talkative(app: &TestApp) -> (Child, TestApp, Arc<Mutex<Vec<String>>>) {
    let mut command = bizcenter(app.database.folder.path(), &[]);
    command.env("DATABASE_URL", &app.database.url).env("PORT", "0").env("LOG_LEVEL", "trace");
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let log = Arc::new(Mutex::new(vec![]));
    loop {
        let line = lines.next_line().await.unwrap().expect("the server starts");
        log.lock().unwrap().push(line.clone());
        if let Some((_, address)) = line.split_once("Documentation at http://") {
            let address = address.trim().trim_end_matches("/docs").parse().unwrap();
            let (rest, mut app) = (log.clone(), app.clone());
            app.address = address;
            tokio::spawn(async move {
                while let Ok(Some(line)) = lines.next_line().await {
                    rest.lock().unwrap().push(line);
                }
            });
            return (child, app, log);
        }
    }
}

#[tokio::test]
async fn the_log_holds_no_amount() {
    let (_child, app, log) = talkative(&TestApp::alone().await).await;
    let tenant = app.tenant().await;
    let path = leave_traces(&tenant).await;
    let reader: &Person = &tenant.owner;
    for read in [path.clone(), format!("{path}/history"), CONTRACTS.to_owned(), format!("{CONTRACTS}/export")] {
        reader.get(&read).expect(200).await;
    }
    reader.contract(json!({"amount": "5"})).await;
    let swap = "UPDATE contracts SET amount_sealed = (SELECT other FROM (SELECT a.id AS own, b.amount_sealed AS other \
                FROM contracts a, contracts b WHERE a.id <> b.id) AS pairs WHERE own = contracts.id LIMIT 1)";
    app.run(swap).await;
    reader.get(&path).expect(500).await;
    let has = |alert: &str| log.lock().unwrap().iter().any(|line| line.contains(alert));
    until("the log has the alert", async || has("A sealed value was changed or moved")).await;
    let text = log.lock().unwrap().join("\n");
    assert!(text.matches(&path).count() > 5, "there is little in it: {} lines", text.lines().count());
    assert_eq!(found_in(&text), [""; 0]);
}
