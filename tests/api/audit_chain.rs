//! The hash chain of the sealed audit log. A log that was not changed has no faults, and rows that were tampered with
//! behind the server's back are reported.
use crate::cli::{self, bizcenter};
use crate::support::rows::run;
use crate::support::{Kind, Tenant, TestApp, not_for_this_run};
use bizcenter::base::error::Error;
use bizcenter::db::audit_chain::{Head, KnownHead, Verification};
use chrono::Duration;
use futures_util::future::{join, join_all};
use serde_json::{Value, json};
use tokio::time::Instant;

async fn seal(app: &TestApp) {
    let db = app.parts.db.clone();
    app.by_hand(async move { db.seal_audit().await.unwrap() }).await;
}

async fn prune(app: &TestApp) {
    let (db, key) = (app.parts.db.clone(), app.parts.checkpoint_key.clone());
    app.by_hand(async move { db.prune_audit(Duration::days(90), &key).await.unwrap() }).await;
}

/// Like [`prune`], but it may fail.
async fn prune_or_not(app: &TestApp) {
    let (db, key) = (app.parts.db.clone(), app.parts.checkpoint_key.clone());
    let _ = app.by_hand(async move { db.prune_audit(Duration::days(90), &key).await }).await;
}

async fn verify(tenant: &Tenant, known: &[Head]) -> Verification {
    let (db, key, known) = (tenant.app.parts.db.clone(), tenant.app.parts.checkpoint_key.clone(), known.to_vec());
    let id = tenant.id.into();
    tenant.app.by_hand(async move { db.verify_audit(id, &known, &key).await.unwrap() }).await
}

/// A new tenant with eight sealed rows, and the head of its chain. The fourth row is about a task.
async fn sealed(app: &TestApp) -> (Tenant, Head) {
    let tenant = app.tenant().await; // three rows: the tenant, its owner, a sign-in
    for n in 0..5 {
        tenant.owner.task(json!({"title": format!("Task {n}")})).await;
    }
    seal(app).await;
    let head = verify(&tenant, &[]).await.head.unwrap();
    assert_eq!(head.seq, 8);
    (tenant, head)
}

/// The entries that the tenant's admins see, sorted by time.
async fn entries(tenant: &Tenant) -> Vec<Value> {
    // A new session, because the clock may have been advanced.
    let owner = tenant.app.visitor().sign_in(&tenant.owner.email()).await;
    let page = owner.get("/api/v1/audit-logs?sort=created_at&per_page=100").expect(200).await.json();
    page["items"].as_array().unwrap().clone()
}

/// Bytes as an SQL literal of this database.
fn bytes(app: &TestApp, hex: &str) -> String {
    match app.database.kind {
        Kind::Postgres => format!("decode('{hex}', 'hex')"),
        Kind::Sqlite | Kind::Mariadb => format!("x'{hex}'"),
    }
}

/// A time as an SQL literal of this database.
fn instant(app: &TestApp, time: &str) -> String {
    match app.database.kind {
        Kind::Mariadb => format!("'{}'", time.replace('T', " ").trim_end_matches('Z')),
        Kind::Postgres | Kind::Sqlite => format!("'{time}'"),
    }
}

/// Runs a statement on the tenant's rows. `{of}` is replaced by the condition on the tenant, `{zeros}` and `{short}` by
/// false hashes, and `{past}` by a time long ago.
async fn tamper(tenant: &Tenant, sql: &str) {
    let app = &tenant.app;
    let past = instant(app, "2020-01-01T00:00:00.000000Z");
    let sql = sql.replace("{of}", &format!("tenant_id = {}", app.id(tenant.id))).replace("{past}", &past);
    let sql = sql.replace("{zeros}", &bytes(app, &"00".repeat(32))).replace("{short}", &bytes(app, "00"));
    app.run(&sql).await;
}

/// Inserts rows into the log directly, because a thousand changes would take too long.
async fn add_rows(tenant: &Tenant, count: usize) {
    let app = &tenant.app;
    let at = instant(app, tenant.owner.signed_in["user"]["created_at"].as_str().unwrap());
    let row = |_| {
        let (tenant, id) = (app.id(tenant.id), app.id(app.parts.env.uuid()));
        format!("({tenant}, {id}, {at}, {id}, 'update', 'task', {id}, '{{}}')")
    };
    let rows: Vec<_> = (0..count).map(row).collect();
    let into = "INSERT INTO audit_logs (tenant_id, id, at, actor_id, action, subject_kind, subject_id, changes)";
    app.run(&format!("{into} VALUES {}", rows.join(", "))).await;
}

fn no_problems() -> Vec<String> {
    vec![]
}

// --- an honest log

#[tokio::test]
async fn rows_are_sealed_in_order_and_an_honest_log_has_no_faults() {
    let app = TestApp::alone().await;
    let (tenant, first) = sealed(&app).await;
    let places = |entries: &[Value]| entries.iter().map(|entry| entry["seq"].as_i64()).collect::<Vec<_>>();
    let shown = entries(&tenant).await; // signs in, which adds one row
    let expected: Vec<_> = (1..=8).map(Some).chain([None]).collect();
    assert_eq!(places(&shown), expected);
    let found = Verification { checked: 8, unsealed: 1, head: Some(first), problems: vec![] };
    assert_eq!(verify(&tenant, &[first]).await, found, "what is not sealed yet is counted");

    let (other, _) = sealed(&app).await;
    tenant.owner.task(json!({"title": "Later"})).await;
    seal(&app).await;
    seal(&app).await; // there is nothing left
    let found = verify(&tenant, &[first]).await;
    assert_eq!((found.checked, found.unsealed, found.problems), (10, 0, no_problems()));
    let last = found.head.unwrap();
    assert!(last.seq == 10 && last.hash != first.hash);
    let others = verify(&other, &[]).await;
    assert_eq!((others.checked, others.problems), (8, no_problems()), "each tenant has a chain of its own");
    assert_eq!(verify(&other, &[last]).await.problems.len(), 1, "another tenant's head is not in it");
}

async fn seal_or_lose(app: &TestApp) {
    let db = app.parts.db.clone();
    match app.by_hand(async move { db.seal_audit().await }).await {
        Ok(()) | Err(Error::Unavailable(_)) => {} // another sealing was running: the job would be tried again
        Err(error) => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn servers_that_seal_at_once_make_one_chain() {
    let app = TestApp::alone().await;
    let tenant = app.tenant().await;
    let servers = [app.clone(), app.replica().await, app.replica().await];
    for _ in 0..10 {
        let tasks = join_all((0..6).map(|_| tenant.owner.task(json!({"title": "At once"}))));
        join(tasks, join_all(servers.iter().map(seal_or_lose))).await;
    }
    seal(&app).await;
    let found = verify(&tenant, &[]).await;
    assert_eq!((found.checked, found.unsealed, found.problems), (63, 0, no_problems()));
    assert_eq!(found.head.unwrap().seq, 63);
}

#[tokio::test]
async fn who_looks_while_rows_are_sealed_sees_no_faults() {
    let app = TestApp::alone().await;
    let (tenant, known) = sealed(&app).await;
    add_rows(&tenant, 600).await; // more than is read at once
    seal(&app).await;
    let known = [known];
    for _ in 0..30 {
        tenant.owner.task(json!({"title": "Meanwhile"})).await;
        let ((), found) = join(seal(&app), join_all((0..4).map(|_| verify(&tenant, &known)))).await;
        for found in found {
            assert_eq!(found.problems, no_problems());
        }
    }
}

// --- faults

async fn try_to_seal(app: &TestApp) -> Result<(), Error> {
    let db = app.parts.db.clone();
    app.by_hand(async move { db.seal_audit().await }).await
}

#[tokio::test]
async fn where_sealing_fails_for_one_tenant_the_others_are_sealed() {
    let app = TestApp::alone().await;
    let tenants = [sealed(&app).await.0, sealed(&app).await.0, sealed(&app).await.0];
    for broken in &tenants {
        for tenant in &tenants {
            tenant.owner.task(json!({"title": "One more"})).await;
        }
        app.refuse("UPDATE", "audit_logs", &format!("old.tenant_id = {}", app.id(broken.id))).await;
        assert!(try_to_seal(&app).await.is_err(), "it is told");
        for tenant in &tenants {
            assert_eq!(verify(tenant, &[]).await.unsealed, i64::from(tenant.id == broken.id));
        }
        app.allow("audit_logs").await;
        seal(&app).await;
        assert_eq!(verify(broken, &[]).await.unsealed, 0);
    }
}

#[tokio::test]
async fn where_somebody_holds_a_lock_on_one_tenant_the_others_are_sealed() {
    if Kind::of_this_run() == Kind::Sqlite {
        return not_for_this_run("SQLite has one lock for all tenants");
    }
    let app = TestApp::alone().await;
    let tenants = [sealed(&app).await.0, sealed(&app).await.0, sealed(&app).await.0];
    for tenant in &tenants {
        tenant.owner.task(json!({"title": "One more"})).await;
    }
    let mut conn = app.database.connect().await;
    let head = format!("SELECT seq FROM audit_heads WHERE tenant_id = {} FOR UPDATE", app.id(tenants[0].id));
    run(&mut conn, &format!("BEGIN; {head}")).await.unwrap();
    let began = Instant::now();
    assert!(try_to_seal(&app).await.is_err(), "it is told");
    assert!(began.elapsed() < std::time::Duration::from_secs(10), "{:?}", began.elapsed());
    let unsealed = join_all(tenants.iter().map(async |tenant| verify(tenant, &[]).await.unsealed)).await;
    assert_eq!(unsealed, [1, 0, 0]);
}

#[tokio::test]
async fn where_pruning_fails_for_one_tenant_the_others_are_pruned() {
    let app = TestApp::alone().await;
    let tenants = [sealed(&app).await.0, sealed(&app).await.0, sealed(&app).await.0];
    app.clock.advance(Duration::days(91));
    for broken in &tenants {
        for tenant in &tenants {
            add_rows(tenant, 1).await; // a row as old as the tenant
        }
        seal(&app).await;
        app.refuse("DELETE", "audit_logs", &format!("old.tenant_id = {}", app.id(broken.id))).await;
        let (db, key) = (app.parts.db.clone(), app.parts.checkpoint_key.clone());
        let pruned = app.by_hand(async move { db.prune_audit(Duration::days(90), &key).await }).await;
        assert!(pruned.is_err(), "it is told");
        for tenant in &tenants {
            assert_eq!(verify(tenant, &[]).await.checked > 0, tenant.id == broken.id);
        }
        app.allow("audit_logs").await;
        prune(&app).await;
        assert_eq!(verify(broken, &[]).await.checked, 0);
    }
}

#[tokio::test]
async fn rows_that_can_not_be_sealed_are_told_and_not_left_in_silence() {
    for sql in ["UPDATE audit_heads SET seq = 5 WHERE {of}", "DELETE FROM audit_heads WHERE {of}"] {
        let app = TestApp::alone().await;
        let (tenant, _) = sealed(&app).await;
        tamper(&tenant, sql).await;
        tenant.owner.task(json!({"title": "Later"})).await;
        assert!(try_to_seal(&app).await.is_err(), "{sql}");
        let found = verify(&tenant, &[]).await;
        assert_eq!((found.checked, found.unsealed), (8, 1), "{sql}");
    }
}

// --- tampering

#[tokio::test]
async fn what_was_edited_or_removed_is_named() {
    let app = TestApp::alone().await;
    let (honest, _) = sealed(&app).await;
    for (sql, fault) in [
        ("UPDATE audit_logs SET changes = '{}' WHERE {of} AND seq = 4", "row 4 ("),
        ("UPDATE audit_logs SET action = 'delete' WHERE {of} AND seq = 4", "row 4 ("),
        ("UPDATE audit_logs SET subject_kind = 'user' WHERE {of} AND seq = 4", "row 4 ("),
        ("UPDATE audit_logs SET actor_id = subject_id WHERE {of} AND seq = 4", "row 4 ("),
        ("UPDATE audit_logs SET subject_id = actor_id WHERE {of} AND seq = 4", "row 4 ("),
        ("UPDATE audit_logs SET ip = '203.0.113.9' WHERE {of} AND seq = 4", "row 4 ("),
        ("UPDATE audit_logs SET request_id = NULL WHERE {of} AND seq = 4", "row 4 ("),
        ("UPDATE audit_logs SET at = {past} WHERE {of} AND seq = 4", "row 4 ("),
        ("UPDATE audit_logs SET hash = {zeros} WHERE {of} AND seq = 4", "row 4 ("),
        ("UPDATE audit_logs SET changes = '{}' WHERE {of} AND seq = 8", "row 8 ("),
        ("DELETE FROM audit_logs WHERE {of} AND seq = 1", "rows 1 to 1 were removed"),
        ("DELETE FROM audit_logs WHERE {of} AND seq IN (4, 5)", "rows 4 to 5 were removed"),
        ("UPDATE audit_logs SET seq = NULL WHERE {of} AND seq = 4", "rows 4 to 4 were removed"),
        ("UPDATE audit_logs SET seq = 99 WHERE {of} AND seq = 4", "rows 4 to 4 were removed"),
        ("DELETE FROM audit_logs WHERE {of} AND seq = 8", "its end was cut off"),
        ("DELETE FROM audit_logs WHERE {of}", "its end was cut off"),
        ("UPDATE audit_heads SET hash = {zeros} WHERE {of}", "its end was cut off or edited"),
        ("DELETE FROM audit_heads WHERE {of}", "was sealed up to 0:"),
    ] {
        let (tenant, _) = sealed(&app).await;
        let row = entries(&tenant).await[3]["id"].clone();
        tamper(&tenant, sql).await;
        let problems = verify(&tenant, &[]).await.problems;
        assert!(problems.first().is_some_and(|problem| problem.contains(fault)), "{sql}: {problems:?}");
        if fault == "row 4 (" {
            assert!(problems[0].contains(row.as_str().unwrap()), "{sql}: {problems:?}");
        }
        if sql.contains("changes") {
            assert_eq!(problems.len(), 1, "one fault is told once: {problems:?}");
        }
    }
    assert_eq!(verify(&honest, &[]).await.problems, no_problems(), "it is the others' rows that were touched");
}

#[tokio::test]
async fn a_hash_that_is_none_is_named_and_hides_nothing() {
    let app = TestApp::alone().await;
    for (sql, fault) in [
        ("UPDATE audit_logs SET hash = {short} WHERE {of} AND seq = 4", "row 4 ("),
        ("UPDATE audit_logs SET hash = NULL WHERE {of} AND seq = 4", "row 4 ("),
        ("UPDATE audit_heads SET hash = {short} WHERE {of}", ""),
    ] {
        let (tenant, _) = sealed(&app).await;
        tamper(&tenant, sql).await;
        let problems = verify(&tenant, &[]).await.problems;
        assert!(problems.first().is_some_and(|problem| problem.contains(fault)), "{sql}: {problems:?}");
    }
}

#[tokio::test]
async fn a_cut_off_end_and_a_rewritten_log_show_against_a_known_head() {
    let app = TestApp::alone().await;
    let (cut, known) = sealed(&app).await;
    let back = "DELETE FROM audit_logs WHERE {of} AND seq > 5;
                UPDATE audit_heads SET seq = 5, hash = (SELECT hash FROM audit_logs WHERE {of} AND seq = 5) WHERE {of}";
    tamper(&cut, back).await;
    let found = verify(&cut, &[]).await;
    assert_eq!((found.checked, found.problems), (5, no_problems()), "by itself it looks whole");
    let early = found.head.unwrap();
    let problems = verify(&cut, &[early, known]).await.problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].contains(&known.to_string()), "{problems:?}");

    let (rewritten, known) = sealed(&app).await;
    let anew = "UPDATE audit_logs SET seq = NULL, hash = NULL WHERE {of};
                UPDATE audit_logs SET changes = '{}' WHERE {of};
                DELETE FROM audit_heads WHERE {of}";
    tamper(&rewritten, anew).await;
    seal(&app).await;
    let found = verify(&rewritten, &[]).await;
    assert_eq!((found.checked, found.problems), (8, no_problems()));
    let problems = verify(&rewritten, &[known]).await.problems;
    assert!(problems.len() == 1 && problems[0].contains(&known.to_string()), "{problems:?}");
}

// --- pruning

#[tokio::test]
async fn a_pruned_log_begins_at_a_signed_checkpoint() {
    let app = TestApp::alone().await;
    let (tenant, early) = sealed(&app).await;
    add_rows(&tenant, 1_100).await; // more than is sealed, pruned and read at once
    seal(&app).await;
    let before = verify(&tenant, &[early]).await;
    assert_eq!((before.checked, before.problems), (1_108, no_problems()));
    let pruned = before.head.unwrap();
    app.clock.advance(Duration::days(89));
    prune(&app).await;
    assert_eq!(verify(&tenant, &[]).await.checked, 1_108, "none is old enough");

    app.clock.advance(Duration::days(2));
    entries(&tenant).await; // adds a sign-in, which is not sealed yet
    prune(&app).await;
    let found = verify(&tenant, &[early, pruned]).await;
    assert_eq!((found.checked, found.unsealed, found.problems), (0, 1, no_problems()));
    seal(&app).await;
    prune(&app).await;
    let found = verify(&tenant, &[early, pruned]).await;
    assert_eq!((found.checked, found.head.unwrap().seq, found.problems), (1, 1_109, no_problems()));
    let forged = Head { hash: [7; 32], ..pruned };
    assert_eq!(verify(&tenant, &[forged]).await.problems.len(), 1, "of where it was cut, the hash is known");

    tamper(&tenant, "UPDATE audit_heads SET checkpoint_mac = {zeros} WHERE {of}").await;
    let problems = verify(&tenant, &[]).await.problems;
    assert!(problems.len() == 1 && problems[0].contains("has no valid signature"), "{problems:?}");
}

#[tokio::test]
async fn rows_that_were_made_to_look_old_are_not_pruned_out_of_sight() {
    let app = TestApp::alone().await;
    let (tenant, known) = sealed(&app).await;
    tamper(&tenant, "UPDATE audit_logs SET at = {past} WHERE {of} AND seq <= 4").await;
    assert_ne!(verify(&tenant, &[known]).await.problems, no_problems());
    prune_or_not(&app).await;
    assert_ne!(verify(&tenant, &[known]).await.problems, no_problems(), "pruning has made it right");
}

#[tokio::test]
async fn a_forged_checkpoint_is_not_signed_by_the_next_pruning() {
    let app = TestApp::alone().await;
    let (tenant, known) = sealed(&app).await;
    let forge = "UPDATE audit_heads SET checkpoint_seq = 4, checkpoint_mac = {zeros},
                 checkpoint_hash = (SELECT hash FROM audit_logs WHERE {of} AND seq = 4) WHERE {of};
                 DELETE FROM audit_logs WHERE {of} AND seq <= 4";
    tamper(&tenant, forge).await;
    let problems = verify(&tenant, &[known]).await.problems;
    assert!(problems.len() == 1 && problems[0].contains("has no valid signature"), "{problems:?}");
    app.clock.advance(Duration::days(91));
    prune_or_not(&app).await;
    assert_ne!(verify(&tenant, &[known]).await.problems, no_problems(), "pruning has made it right");
}

// --- the command

#[tokio::test]
async fn the_command_says_by_its_exit_code_whether_there_are_faults() {
    let app = TestApp::alone().await;
    let (tenant, head) = sealed(&app).await;
    let audit_verify = async |arguments: &[&str]| {
        let mut command = bizcenter(app.database.folder.path(), &[&["audit", "verify"], arguments].concat());
        let key = "the encryption key of all the tests"; // it signs the checkpoints too
        command.env("DATABASE_URL", &app.database.url).env("CONTRACT_ENCRYPTION_KEY", key);
        let (code, out, error) = cli::run(&mut command).await;
        (code, out + &error)
    };
    let known = KnownHead { tenant: tenant.id.into(), head }.to_string();
    let (code, out) = audit_verify(&[]).await;
    assert!(code == 0 && out.contains(&format!("8 rows checked, 0 not sealed yet, {known}")), "{code}: {out}");
    let (code, out) = audit_verify(&["--head", &known, "--tenant", &tenant.slug]).await;
    assert_eq!(code, 0, "{out}");
    for head in ["nonsense", known.split_once(':').unwrap().1, &known[..known.len() - 1]] {
        let (code, out) = audit_verify(&["--head", head]).await;
        assert!(code == 2 && out.contains("is no head as the server logs it"), "{code}: {out}");
    }
    let nobodys = KnownHead { tenant: app.parts.env.uuid().into(), head }.to_string();
    for arguments in [["--head", nobodys.as_str()], ["--tenant", "no-such-tenant"]] {
        let (code, out) = audit_verify(&arguments).await;
        assert!(code == 1 && out.contains("there is no tenant"), "{code}: {out}");
    }

    app.clock.advance(Duration::days(91));
    prune(&app).await;
    let (code, out) = audit_verify(&["--head", &known]).await;
    assert_eq!(code, 0, "{out}");
    let (other, head) = sealed(&app).await;
    tamper(&other, "UPDATE audit_logs SET changes = '{}' WHERE {of} AND seq = 4").await;
    let (code, out) = audit_verify(&["--head", &KnownHead { tenant: other.id.into(), head }.to_string()]).await;
    assert!(code == 1 && out.contains("row 4 (") && out.contains("has 1 fault"), "{code}: {out}");
}
