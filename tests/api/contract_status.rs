//! The status of contracts: changed by users, and automatically after the last day.
use crate::contracts::{CONTRACTS, assert_refused, path_of, tenant, with};
use crate::support::{Person, Tenant, TestApp};
use bizcenter::db::jobs::{Job, JobContext};
use bizcenter::resources::contracts::ExpireContracts;
use chrono::{Days, Duration, NaiveDate};
use futures_util::future::{join, join_all};
use serde_json::{Value, json};

const STATUSES: [&str; 4] = ["draft", "active", "expired", "terminated"];

/// Runs the job that lets contracts expire.
async fn expire(app: &TestApp) {
    let db = app.parts.db.clone();
    let job = JobContext { id: app.parts.env.uuid().into(), tenant: None, is_repeat: false };
    app.by_hand(async move { ExpireContracts::default().run(job, db).await.unwrap() }).await;
}

/// A contract with this status. Its last day was long ago.
async fn in_status(tenant: &Tenant, status: &str) -> Value {
    let first = if status == "expired" || status == "active" { "active" } else { "draft" };
    let days = json!({"status": first, "start_date": "2020-01-01", "end_date": "2020-12-31"});
    let contract = tenant.owner.contract(days).await;
    match status {
        "expired" => expire(&tenant.app).await,
        "terminated" => {
            tenant.owner.patch(&path_of(&contract)).json(&json!({"status": status})).expect(200).await;
        }
        _ => {}
    }
    let contract = tenant.owner.get(&path_of(&contract)).expect(200).await.json();
    assert_eq!(contract["status"], json!(status));
    contract
}

fn today_in(app: &TestApp, zone: &str) -> NaiveDate {
    app.parts.env.now().with_timezone(&zone.parse::<chrono_tz::Tz>().unwrap()).date_naive()
}

async fn tenant_in(app: &TestApp, zone: &str) -> Tenant {
    let tenant = app.tenant().await;
    tenant.owner.patch("/api/v1/tenant").json(&json!({"timezone": zone})).expect(200).await;
    tenant
}

async fn active_until(person: &Person, last: NaiveDate) -> Value {
    person.contract(json!({"status": "active", "start_date": "2020-01-01", "end_date": last.to_string()})).await
}

async fn status_of(person: &Person, contract: &Value) -> String {
    let contract = person.get(&path_of(contract)).expect(200).await.json();
    contract["status"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_whole_table_of_moves() {
    // This needs a database of its own, because other tests let contracts expire meanwhile.
    let tenant = TestApp::alone().await.tenant().await;
    let table = [
        ("draft", [200, 200, 422, 200]),
        ("active", [422, 200, 422, 200]),
        ("expired", [422, 422, 200, 422]),
        ("terminated", [422, 422, 422, 200]),
    ];
    let mut seen = 0;
    for (from, row) in table {
        for (to, expected) in STATUSES.into_iter().zip(row) {
            for whole in [false, true] {
                let contract = in_status(&tenant, from).await;
                let (path, days) = (path_of(&contract), json!({"start_date": "2020-01-01", "end_date": "2020-12-31"}));
                let mut body = if whole { with(days) } else { json!({}) };
                body["status"] = json!(to);
                let call = if whole { tenant.owner.put(&path) } else { tenant.owner.patch(&path) };
                let answer = call.json(&body).send().await;
                assert_eq!(answer.status, expected, "{from} to {to}: {}", answer.text());
                if expected == 422 {
                    let message = match to {
                        "expired" => "is set only by the server, after `end_date`",
                        _ => "can't follow the present status",
                    };
                    assert_refused(&answer, 422, json!({"status": [message]}));
                    assert_eq!(tenant.owner.get(&path).expect(200).await.json(), contract);
                }
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 32);
    for (status, expected) in STATUSES.into_iter().zip([201, 201, 422, 422]) {
        tenant.owner.post(CONTRACTS).json(&with(json!({"status": status}))).expect(expected).await;
    }
}

#[tokio::test]
async fn what_has_expired_does_not_come_back() {
    let tenant = TestApp::alone().await.tenant().await;
    let path = path_of(&in_status(&tenant, "expired").await);
    let longer = tenant.owner.patch(&path).json(&json!({"end_date": "2999-12-31"})).send().await;
    let refused = json!({"end_date": ["can't be changed, because the contract has expired"]});
    assert_refused(&longer, 422, refused);
    let corrected = tenant.owner.patch(&path).json(&json!({"title": "Corrected", "amount": "5"})).expect(200).await;
    assert_eq!(corrected.json()["status"], json!("expired"));
    let terminated = path_of(&in_status(&tenant, "terminated").await);
    let shorter = tenant.owner.patch(&terminated).json(&json!({"end_date": "2020-06-30"})).expect(200).await;
    assert_eq!(shorter.json()["status"], json!("terminated"));
}

#[tokio::test]
async fn contracts_expire_the_day_after_their_last_one_where_the_tenant_is() {
    let app = TestApp::alone().await;
    let (east, west) = ("Pacific/Kiritimati", "Pacific/Pago_Pago"); // 25 hours apart
    let (eastern, western) = (tenant_in(&app, east).await.owner, tenant_in(&app, west).await.owner);
    let (today, yesterday) = (today_in(&app, east), today_in(&app, east) - Days::new(1));
    let (over, last_day) = (active_until(&eastern, yesterday).await, active_until(&eastern, today).await);
    let still_on = active_until(&western, yesterday).await;
    let draft = eastern.contract(json!({"start_date": "2020-01-01", "end_date": "2020-12-31"})).await;
    app.run_jobs().await;
    assert_eq!(status_of(&eastern, &over).await, "expired");
    assert_eq!(status_of(&eastern, &last_day).await, "active", "its last day is not over");
    assert_eq!(status_of(&western, &still_on).await, "active", "there it is {}", today_in(&app, west));
    assert_eq!(status_of(&eastern, &draft).await, "draft");

    app.clock.advance(Duration::hours(25));
    app.run_jobs().await;
    // They sign in again, because their access tokens have expired.
    let (eastern, western) = (eastern.sign_in(&eastern.email()).await, western.sign_in(&western.email()).await);
    assert_eq!(status_of(&eastern, &last_day).await, "expired");
    assert_eq!(status_of(&western, &still_on).await, "expired");
}

#[tokio::test]
async fn it_is_written_down_that_a_contract_has_expired() {
    let app = TestApp::alone().await;
    let tenant = app.tenant().await;
    let contract = in_status(&tenant, "expired").await;
    assert_eq!(contract["version"], json!(2));
    let history = tenant.owner.get(&format!("{}/history", path_of(&contract))).expect(200).await.json();
    let [entry] = history["items"].as_array().unwrap().as_slice() else { panic!("{history}") };
    assert_eq!((&entry["field"], &entry["changed_by"]), (&json!("status"), &json!(null)));
    assert_eq!((&entry["from"], &entry["to"]), (&json!("active"), &json!("expired")));
    let query = format!("/api/v1/audit-logs?subject_id={}&action=update", contract["id"].as_str().unwrap());
    let audit = tenant.owner.get(&query).expect(200).await.json();
    assert_eq!(audit["items"].as_array().unwrap().len(), 1);
    let entry = &audit["items"][0];
    assert_eq!(entry["changes"], json!({"status": ["active", "expired"]}));
    assert_eq!(entry["actor_id"], json!("00000000-0000-0000-0000-000000000000"));
    expire(&app).await;
    assert_eq!(tenant.owner.get(&path_of(&contract)).expect(200).await.json(), contract, "once is enough");
}

#[tokio::test]
async fn servers_that_expire_at_once_do_it_once() {
    let app = TestApp::alone().await;
    let (replica, tenant) = (app.replica().await, app.tenant().await);
    let day = NaiveDate::from_ymd_opt(2020, 12, 31).unwrap();
    let contracts = join_all((0..20).map(|_| active_until(&tenant.owner, day))).await;
    join(expire(&app), expire(&replica)).await;
    for contract in &contracts {
        let now = tenant.owner.get(&path_of(contract)).expect(200).await.json();
        assert_eq!((&now["status"], &now["version"]), (&json!("expired"), &json!(2)));
    }
    assert_eq!(app.rows("SELECT field FROM contract_history").await.len(), 20);
    let rows = app.rows("SELECT action FROM audit_logs WHERE subject_kind = 'contract' AND action = 'update'").await;
    assert_eq!(rows.len(), 20);
}

#[tokio::test]
async fn a_tenant_that_is_deleted_leaves_no_contract() {
    let app = TestApp::alone().await;
    let (tenant, other) = (app.tenant().await, app.tenant().await);
    in_status(&tenant, "expired").await;
    let kept = in_status(&other, "active").await;
    tenant.owner.delete(&format!("/api/v1/tenant?confirm={}", tenant.slug)).expect(204).await;
    expire(&app).await;
    app.run_jobs().await;
    for table in ["contracts", "contract_history"] {
        let of_tenant = format!("SELECT {} FROM {table}", app.id_column("tenant_id"));
        let left = app.rows(&of_tenant).await.concat();
        assert!(left.iter().all(|id| id.parse::<uuid::Uuid>().unwrap() == other.id), "{table}: {left:?}");
    }
    assert_eq!(status_of(&other.owner, &kept).await, "expired");
}

#[tokio::test]
async fn an_active_contract_may_begin_with_its_end_behind_it() {
    let owner = tenant().await.owner;
    let contract = active_until(&owner, NaiveDate::from_ymd_opt(2020, 1, 1).unwrap()).await;
    assert_eq!(contract["start_date"], contract["end_date"], "one day is enough");
}
