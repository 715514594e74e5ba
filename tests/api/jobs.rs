//! Jobs: work that follows a commit. No job is lost, whatever crashes or fails, and none is done for a change that was
//! rolled back.
mod loops;

use crate::support::{Kind, Tenant, TestApp};
use bizcenter::base::error::Error;
use bizcenter::db::Origin;
use bizcenter::db::jobs::{Claimed, Job, JobContext, RegisteredJob};
use bizcenter::services::jobs::Jobs;
use chrono::Duration;
use futures_util::future::{join, join_all};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use uuid::Uuid;

const FORGOT: &str = "/api/v1/auth/password/forgot";
const INVITATIONS: &str = "/api/v1/invitations";

/// A server whose mail server does not answer.
async fn without_mail_server() -> TestApp {
    TestApp::with(|config| config.mail.smtp_url = Some("smtp://127.0.0.1:1".into())).await
}

/// A new tenant. All jobs are deleted, so that none is waiting.
async fn idle(app: &TestApp) -> Tenant {
    let tenant = app.tenant().await;
    app.run("DELETE FROM jobs").await;
    tenant
}

/// Invites somebody, for which a mail is due. Returns the invitation with its token.
async fn invite(tenant: &Tenant) -> Value {
    let input = json!({"email": format!("{}@invited.example", tenant.app.unique()), "role": "viewer"});
    tenant.owner.post(INVITATIONS).json(&input).expect(201).await.json()
}

/// The number of jobs that are not recurring.
async fn count(app: &TestApp) -> i64 {
    let db = app.parts.db.clone();
    app.by_hand(async move { db.count_jobs().await.unwrap() }).await
}

/// Claims the jobs of mails that are due, as a server does.
async fn claim(app: &TestApp) -> Vec<Claimed> {
    let jobs = app.parts.jobs.clone();
    let claim = async move {
        let mut mails = vec![];
        while let Some(job) = jobs.claim(&jobs.once()).await.unwrap() {
            mails.extend(Some(job).filter(|job| job.kind == "mail"));
        }
        mails
    };
    app.by_hand(claim).await
}

/// Marks a job as done by deleting it.
async fn done(app: &TestApp, job: Claimed) {
    let db = app.parts.db.clone();
    app.by_hand(async move { db.delete_job(&job).await.unwrap() }).await;
}

/// How often the only waiting mail was tried.
async fn attempts(app: &TestApp) -> String {
    let attempts = match app.database.kind {
        Kind::Postgres => "attempts::text",
        Kind::Sqlite | Kind::Mariadb => "CAST(attempts AS CHAR)",
    };
    app.rows(&format!("SELECT {attempts} FROM jobs WHERE kind = 'mail'")).await.concat().concat()
}

fn email(invitation: &Value) -> String {
    invitation["email"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_was_undone_leaves_no_job() {
    let app = TestApp::alone().await;
    let tenant = idle(&app).await;
    let register = |email: &str, name: &str| {
        let input = json!({"email": email, "password": "correct horse battery", "name": name, "username": name});
        app.visitor().post("/api/v1/auth/register").json(&input)
    };
    register(&tenant.owner.email(), "taken.email").expect(409).await;
    assert_eq!(count(&app).await, 0, "there is nobody to verify");
    register("ada@example.com", "ada").expect(201).await;
    assert_eq!(count(&app).await, 1);
    register("eda@example.com", "ada").expect(409).await; // refused after its job was written
    let member = json!({"email": tenant.owner.email(), "role": "viewer"});
    tenant.owner.post(INVITATIONS).json(&member).expect(409).await;
    assert_eq!(count(&app).await, 1);

    let guest = json!({"email": "guest@example.com", "role": "viewer"});
    for _ in 0..3 {
        tenant.owner.post(INVITATIONS).header("idempotency-key", "once").json(&guest).expect(201).await;
    }
    assert_eq!(count(&app).await, 2, "a repeat is no second invitation");
    app.run_jobs().await;
    let letters = ["ada@example.com", "guest@example.com", "eda@example.com"].map(|to| app.mailbox.to(to).len());
    assert_eq!((letters, count(&app).await), ([1, 1, 0], 0));
    let nobody = json!({"email": "nobody@example.com"});
    app.visitor().post(FORGOT).json(&nobody).expect(202).await;
    app.run_jobs().await;
    assert_eq!((app.mailbox.to("nobody@example.com").len(), count(&app).await), (0, 0));
}

// --- failures

#[tokio::test]
async fn what_fails_is_tried_twelve_times_with_growing_pauses() {
    let app = without_mail_server().await;
    let invitation = invite(&idle(&app).await).await;
    for attempt in 1..12 {
        app.run_jobs().await;
        assert_eq!(attempts(&app).await, attempt.to_string());
        let pause = Duration::seconds(5_i64 << (attempt - 1));
        if attempt > 3 {
            // Real time passes as well, so that the middle of short pauses can't be tested.
            app.clock.advance(pause / 2);
            app.run_jobs().await;
            assert_eq!(attempts(&app).await, attempt.to_string(), "it was tried too early");
        }
        app.clock.advance(pause);
    }
    let reason = app.rows("SELECT last_error FROM jobs WHERE kind = 'mail'").await.concat().concat();
    let token = invitation["token"].as_str().unwrap();
    assert!(reason.len() > 10 && !reason.contains(token) && !reason.contains(&email(&invitation)), "{reason}");
    assert_eq!(count(&app).await, 1);
    app.run_jobs().await;
    assert_eq!(count(&app).await, 0, "after the twelfth time it is given up");
}

#[tokio::test]
async fn mail_goes_out_when_the_mail_server_is_back() {
    let down = without_mail_server().await;
    let up = down.replica_with(|_| {}).await;
    let tenant = idle(&down).await;
    let invitation = invite(&tenant).await;
    down.run_jobs().await;
    down.clock.advance(Duration::seconds(6));
    let [letter] = up.letters_to(&email(&invitation), 1).await.try_into().unwrap();
    assert_eq!(letter.token("bci_"), invitation["token"].as_str().unwrap());
    assert_eq!(count(&up).await, 0);
}

#[tokio::test]
async fn mail_with_a_token_goes_out_too_when_the_mail_server_is_back() {
    let down = without_mail_server().await;
    let up = down.replica_with(|_| {}).await;
    let tenant = down.unverified_tenant().await; // a mail to verify the owner's address is due
    let email = tenant.owner.email();
    down.visitor().post(FORGOT).json(&json!({"email": email})).expect(202).await;
    down.run_jobs().await;
    down.clock.advance(Duration::seconds(6)); // less than the pause between two mails of a kind to one person
    let letters = up.letters_to(&email, 2).await;
    let token = |prefix: &str| letters.iter().find(|letter| letter.text.contains(prefix)).unwrap().token(prefix);
    let verify = json!({"token": token("bcv_")});
    tenant.owner.at(&up).post("/api/v1/auth/email/verify").json(&verify).expect(204).await;
    let reset = json!({"token": token("bcp_"), "password": "staple and more"});
    up.visitor().post("/api/v1/auth/password/reset").json(&reset).expect(204).await;
}

#[tokio::test]
async fn a_job_whose_end_can_not_be_written_down_is_in_nobodys_way() {
    let app = TestApp::alone().await;
    let tenant = idle(&app).await;
    let mut invitations = vec![];
    for _ in 0..3 {
        invitations.push(invite(&tenant).await);
    }
    let first =
        app.rows(&format!("SELECT {} FROM jobs ORDER BY run_at, id", app.id_column("id"))).await.remove(0).concat();
    app.refuse("DELETE", "jobs", &format!("old.id = {}", app.id(first.parse().unwrap()))).await;
    app.run_jobs().await;
    for to in invitations.iter().map(email) {
        assert_eq!(app.mailbox.to(&to).len(), 1);
    }
    assert_eq!(count(&app).await, 1);
}

#[tokio::test]
async fn a_job_that_ends_its_server_each_time_is_given_up_too() {
    let app = TestApp::alone().await;
    let invitation = invite(&idle(&app).await).await;
    app.run("UPDATE jobs SET attempts = 12").await; // as if the server had crashed in all of them
    app.run_jobs().await;
    assert_eq!((app.mailbox.to(&email(&invitation)).len(), count(&app).await), (0, 0));
}

#[tokio::test]
async fn what_has_expired_in_one_tenant_goes_though_another_can_not_be_cleared() {
    let app = TestApp::alone().await;
    let tenants = [app.tenant().await, app.tenant().await, app.tenant().await];
    for broken in &tenants {
        for tenant in &tenants {
            let owner = app.visitor().sign_in(&tenant.owner.email()).await;
            let input = json!({"email": format!("{}@invited.example", app.unique()), "role": "viewer"});
            owner.post(INVITATIONS).json(&input).expect(201).await;
        }
        app.clock.advance(Duration::days(30));
        app.refuse("DELETE", "invitations", &format!("old.tenant_id = {}", app.id(broken.id))).await;
        assert!(remove_expired(&app).await.is_err(), "it is told");
        let left = app.rows(&format!("SELECT {} FROM invitations", app.id_column("tenant_id"))).await.concat();
        assert_eq!(left.iter().map(|id| id.parse::<Uuid>().unwrap()).collect::<Vec<_>>(), [broken.id]);
        app.allow("invitations").await;
        remove_expired(&app).await.unwrap();
    }
}

async fn remove_expired(app: &TestApp) -> Result<(), Error> {
    let db = app.parts.db.clone();
    app.by_hand(async move { db.remove_expired().await }).await
}

// --- several servers

/// This happens while a new version of the server replaces an old one.
#[tokio::test]
async fn a_job_of_a_kind_that_nobody_knows_yet_waits_untouched() {
    let app = TestApp::alone().await;
    idle(&app).await;
    let enqueue = {
        let db = app.parts.db.clone();
        async move { db.enqueue(OfTomorrow {}, &Origin::default()).await.unwrap() }
    };
    app.by_hand(enqueue).await;
    for _ in 0..3 {
        app.run_jobs().await;
        app.clock.advance(Duration::hours(6));
    }
    let rows = "SELECT kind FROM jobs WHERE kind = 'of_tomorrow' AND attempts = 0 AND locked_until IS NULL";
    assert_eq!(app.rows(rows).await.len(), 1);
    let (db, done) = (app.parts.db.clone(), Arc::new(AtomicUsize::new(0)));
    let seen = done.clone();
    let newer = Jobs::new(db).register::<OfTomorrow>(seen);
    app.by_hand(async move { newer.run_due().await.unwrap() }).await;
    assert_eq!((done.load(Ordering::SeqCst), app.rows(rows).await.len()), (1, 0));
}

/// A job that counts how often it was done.
#[derive(Serialize, Deserialize)]
struct OfTomorrow {}

impl RegisteredJob for OfTomorrow {}
impl Job for OfTomorrow {
    const KIND: &'static str = "of_tomorrow";
    type Needs = Arc<AtomicUsize>;

    async fn run(self, _: JobContext, done: Arc<AtomicUsize>) -> Result<(), Error> {
        done.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// Two types of one kind would each take the jobs of the other.
#[tokio::test]
#[should_panic(expected = "two types of jobs are of the kind of_tomorrow")]
async fn a_kind_belongs_to_one_type() {
    let (db, done) = (TestApp::start().await.parts.db, Arc::new(AtomicUsize::new(0)));
    let _ = Jobs::new(db).register::<OfTomorrow>(done.clone()).register::<OfTomorrow>(done);
}

#[tokio::test]
async fn servers_that_work_at_once_send_each_mail_once() {
    let app = TestApp::alone().await;
    let replica = app.replica().await;
    let tenant = idle(&app).await;
    let invitations = join_all((0..20).map(|_| invite(&tenant))).await;
    assert_eq!(count(&app).await, 20);
    join(app.run_jobs(), replica.run_jobs()).await;
    let mut ids = HashSet::new();
    for to in invitations.iter().map(email) {
        let letters = [app.mailbox.to(&to), replica.mailbox.to(&to)].concat();
        assert_eq!(letters.len(), 1, "{to}");
        ids.extend(letters.into_iter().map(|letter| letter.id));
    }
    assert_eq!((ids.len(), count(&app).await), (20, 0));
}

#[tokio::test]
async fn what_a_dead_server_had_taken_is_done_by_another_after_five_minutes() {
    let app = TestApp::alone().await;
    let replica = app.replica().await;
    let invitation = invite(&idle(&app).await).await;
    assert_eq!(claim(&app).await.len(), 1); // then the server that took it dies
    assert_eq!(claim(&replica).await.len(), 0);
    app.clock.advance(Duration::minutes(4));
    replica.run_jobs().await;
    assert_eq!((replica.mailbox.to(&email(&invitation)).len(), count(&app).await), (0, 1));
    app.clock.advance(Duration::seconds(61));
    replica.run_jobs().await;
    assert_eq!((replica.mailbox.to(&email(&invitation)).len(), count(&app).await), (1, 0));
}

#[tokio::test]
async fn a_server_that_was_slow_has_no_say_in_what_another_has_taken() {
    let app = TestApp::alone().await;
    let replica = app.replica().await;
    invite(&idle(&app).await).await;
    let [slow] = claim(&app).await.try_into().ok().unwrap();
    app.clock.advance(Duration::seconds(301));
    let [taken] = claim(&replica).await.try_into().ok().unwrap();
    assert_eq!((slow.id, slow.attempts, taken.attempts), (taken.id, 1, 2));
    done(&app, slow).await;
    assert_eq!(count(&app).await, 1, "the other one is at it");
    done(&replica, taken).await;
    assert_eq!(count(&app).await, 0);
}

#[tokio::test]
async fn recurring_jobs_are_there_once_for_all_servers_and_stay() {
    let app = TestApp::alone().await;
    let (replica, tenant) = (app.replica().await, app.tenant().await);
    let sealed = format!("SELECT action FROM audit_logs WHERE tenant_id = {} AND seq IS NOT NULL", app.id(tenant.id));
    let kinds = "SELECT kind FROM jobs WHERE unique_key IS NOT NULL ORDER BY kind";
    for round in 1..=3 {
        join(app.run_jobs(), replica.run_jobs()).await;
        let all =
            ["expire_contracts", "prune_audit", "remove_expired", "remove_leftovers", "remove_tenants", "seal_audit"];
        assert_eq!(app.rows(kinds).await.concat(), all, "round {round}");
        assert_eq!(app.rows(&sealed).await.len(), 2 + round, "it was done in round {round}");
        app.clock.advance(Duration::seconds(3));
        tenant.app.visitor().sign_in(&tenant.owner.email()).await; // one more row to seal
    }
    assert_eq!(count(&app).await, 0, "they are not counted among those that pass");
}

#[tokio::test]
async fn sealing_goes_on_half_a_minute_after_a_server_has_died_in_it() {
    let app = TestApp::alone().await;
    let replica = app.replica().await;
    app.run_jobs().await; // the recurring jobs are there
    app.tenant().await;
    app.clock.advance(Duration::seconds(3));
    let jobs = app.parts.jobs.clone();
    let taken = app.by_hand(async move { jobs.claim(&jobs.recurring()).await.unwrap() }).await;
    assert_eq!(taken.map(|job| job.kind), Some("seal_audit".into())); // then the server that took it dies
    replica.run_jobs().await;
    assert_ne!(unsealed(&app).await, 0);
    app.clock.advance(Duration::seconds(31));
    replica.run_jobs().await;
    assert_eq!(unsealed(&app).await, 0);
}

/// How many rows of the audit log are not sealed yet.
async fn unsealed(app: &TestApp) -> usize {
    app.rows("SELECT action FROM audit_logs WHERE seq IS NULL").await.len()
}

// --- secrets

#[tokio::test]
async fn with_another_encryption_key_recurring_jobs_go_on_and_what_can_not_be_read_waits() {
    let before = TestApp::alone().await;
    let tenant = before.tenant().await;
    before.run_jobs().await; // the recurring jobs are there
    let unreadable = invite(&tenant).await;
    let other_key = "another encryption key than that of the tests";
    let after = before.replica_with(|config| config.encryption.keys[0].secret = other_key.into()).await;
    let owner = after.visitor().sign_in(&tenant.owner.email()).await;
    let input = json!({"email": format!("{}@invited.example", after.unique()), "role": "viewer"});
    let readable = owner.post(INVITATIONS).json(&input).expect(201).await.json();
    before.clock.advance(Duration::seconds(3));
    after.run_jobs().await;
    assert_eq!(unsealed(&after).await, 0);
    let letters = [&unreadable, &readable].map(|invitation| after.mailbox.to(&email(invitation)).len());
    assert_eq!((letters, attempts(&after).await), ([0, 1], "1".to_owned()));
    before.clock.advance(Duration::seconds(6));
    before.run_jobs().await;
    assert_eq!((before.mailbox.to(&email(&unreadable)).len(), count(&before).await), (1, 0));
}

#[tokio::test]
async fn nobody_reads_in_the_table_what_is_to_be_sent() {
    let app = TestApp::alone().await;
    let tenant = idle(&app).await;
    let (invitation, again) = (invite(&tenant).await, json!({"email": tenant.owner.email()}));
    app.visitor().post(FORGOT).json(&again).expect(202).await;
    let payload = match app.database.kind {
        Kind::Postgres => "encode(payload, 'hex')",
        Kind::Sqlite | Kind::Mariadb => "lower(hex(payload))",
    };
    let payloads = app.rows(&format!("SELECT {payload} FROM jobs ORDER BY kind")).await.concat();
    assert_eq!(payloads.len(), 2);
    assert!(payloads[0].len() > 2 * 200, "the mail is in it: {}", payloads[0]);
    let token = invitation["token"].as_str().unwrap().to_owned();
    for secret in [token, email(&invitation), tenant.owner.email(), "invited".to_owned(), "email".to_owned()] {
        let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        assert!(payloads.iter().all(|payload| !payload.contains(&hex)), "{secret}");
    }
    let moved = app.id(app.parts.env.uuid());
    app.run(&format!("UPDATE jobs SET id = {moved} WHERE kind = 'mail'")).await;
    app.run_jobs().await;
    assert_eq!(app.mailbox.to(&email(&invitation)).len(), 0, "it opens in its own row alone");
    assert_eq!(app.mailbox.to(&tenant.owner.email()).len(), 1, "the others are done all the same");
}
