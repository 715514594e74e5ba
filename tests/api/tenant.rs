//! The caller's own tenant: its settings, who may join it, and its deletion.
use crate::support::fixtures::{Everything, everything};
use crate::support::{Answer, PASSWORD, Person, TestApp, shares_redis};
use bizcenter::auth::Role;
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use uuid::Uuid;

const TENANT: &str = "/api/v1/tenant";
const REGISTER: &str = "/api/v1/auth/register";

fn error(status: u16, kind: &str) -> (u16, String) {
    (status, kind.to_owned())
}

/// Registers a new person, with these members added to the body.
async fn register(app: &TestApp, members: Value) -> Answer {
    let mut input = json!({"email": format!("{}@example.com", app.unique()), "password": PASSWORD, "name": "Nora New"});
    input.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    app.visitor().post(REGISTER).json(&input).send().await
}

// --- settings

#[tokio::test]
async fn everybody_reads_the_settings_and_the_owner_writes_them() {
    let app = TestApp::start().await;
    let (tenant, other) = (app.tenant().await, app.tenant().await);
    let (owner, viewer) = (&tenant.owner, tenant.viewer().await);
    let found = viewer.get(TENANT).expect(200).await;
    let (before, tag) = (found.json(), found.header("etag").unwrap());
    let members = ["id", "slug", "timezone", "currency", "open_registration", "version"];
    let expected = [json!(tenant.id), json!(tenant.slug), json!("UTC"), json!("USD"), json!(false), json!(1)];
    assert_eq!(members.map(|member| before[member].clone()), expected);
    viewer.get(TENANT).header("if-none-match", tag).expect(304).await;
    other.owner.get(TENANT).header("if-none-match", tag).expect(200).await; // the other tenant has another tag

    let all = json!({"name": "Engines", "timezone": "Asia/Seoul", "currency": "KRW", "open_registration": true});
    for role in [Role::Viewer, Role::Analyst, Role::Editor, Role::Admin] {
        let answer = tenant.person(role).await.patch(TENANT).json(&all).send().await;
        assert_eq!(answer.error(), error(403, "forbidden"), "{}", role.name());
    }
    let changed = owner.patch(TENANT).header("if-match", tag).json(&all).expect(200).await;
    let mut after = before.clone();
    after.as_object_mut().unwrap().extend(all.as_object().unwrap().clone());
    (after["version"], after["updated_at"]) = (json!(2), changed.json()["updated_at"].clone());
    assert_eq!(changed.json(), after);
    let now = viewer.get(TENANT).header("if-none-match", tag).expect(200).await;
    assert_eq!((now.json(), now.header("etag")), (after, changed.header("etag")));
    let stale = owner.patch(TENANT).header("if-match", tag).json(&json!({"name": "Lost"})).send().await;
    assert_eq!(stale.error(), error(412, "precondition_failed"));
    let one = owner.patch(TENANT).json(&json!({"timezone": "America/Argentina/Buenos_Aires"})).expect(200).await.json();
    assert_eq!((&one["name"], &one["currency"], &one["version"]), (&json!("Engines"), &json!("KRW"), &json!(3)));
    assert_eq!(other.owner.get(TENANT).expect(200).await.json()["version"], 1);
}

#[tokio::test]
async fn faulty_settings_are_refused_and_change_nothing() {
    let owner = TestApp::start().await.tenant().await.owner;
    let before = owner.get(TENANT).expect(200).await.json();
    let faults = [
        (json!({"timezone": "Mars/Olympus", "currency": "ABC"}), 422, "currency timezone"),
        (json!({"timezone": "europe/berlin"}), 422, "timezone"),
        (json!({"timezone": "+02:00"}), 422, "timezone"),
        (json!({"timezone": " Europe/Berlin"}), 422, "timezone"),
        (json!({"timezone": ""}), 400, "timezone"),
        (json!({"timezone": "x".repeat(65)}), 400, "timezone"),
        (json!({"timezone": null, "currency": null, "name": null}), 400, "currency name timezone"),
        (json!({"currency": "XYZ"}), 422, "currency"),
        (json!({"currency": "eur"}), 400, "currency"),
        (json!({"currency": "EURO"}), 400, "currency"),
        (json!({"name": " \t"}), 422, "name"),
        (json!({"name": "x".repeat(121)}), 400, "name"),
        (json!({"open_registration": "yes"}), 400, "open_registration"),
        (json!({"name": "Mine", "slug": "mine", "id": Uuid::nil()}), 400, "id slug"),
        (json!({"is_suspended": false, "version": 9, "deleted_at": null}), 400, "deleted_at is_suspended version"),
        (json!({"user_requests_per_hour": 1_000_000}), 400, "user_requests_per_hour"),
    ];
    for (patch, status, members) in faults {
        let answer = owner.patch(TENANT).json(&patch).expect(status).await;
        let detail = answer.detail();
        let named: Vec<_> = detail.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(named.join(" "), members, "{patch}: {detail}");
    }
    assert_eq!(owner.get(TENANT).expect(200).await.json(), before);
}

#[tokio::test]
async fn the_owner_opens_the_door_to_visitors_and_closes_it() {
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    let knock = || register(&app, json!({"tenant_id": tenant.slug}));
    assert_eq!(knock().await.error(), error(403, "registration_closed"));
    tenant.owner.patch(TENANT).json(&json!({"open_registration": true})).expect(200).await;
    let user = knock().await.expect(201).json();
    assert_eq!((&user["role"], &user["tenant_id"]), (&json!("viewer"), &json!(tenant.id)));
    let newcomer = app.visitor().sign_in(user["email"].as_str().unwrap()).await;
    assert_eq!(newcomer.get(TENANT).expect(200).await.json()["slug"], json!(tenant.slug));
    tenant.owner.patch(TENANT).json(&json!({"open_registration": false})).expect(200).await;
    assert_eq!(knock().await.error(), error(403, "registration_closed"));
    newcomer.get(TENANT).expect(200).await; // users who have joined stay in the tenant
}

// --- the end

/// How many rows of this tenant each table has: all tables with rows that are deleted with their tenant, and the table
/// of tenants.
async fn rows_of(app: &TestApp, tenant: Uuid) -> BTreeMap<String, usize> {
    let catalogue = app.catalogue().await;
    let of_tenants = catalogue.tables_of_tenants().filter(|table| *table != "sessions" || !shares_redis());
    let columns = of_tenants.map(|table| (table, "tenant_id")).chain([("tenants", "id")]);
    let mut counts = BTreeMap::new();
    for (table, column) in columns {
        let rows = format!("SELECT '1' FROM {table} WHERE {column} = {}", app.id(tenant));
        counts.insert(table.to_owned(), app.rows(&rows).await.len());
    }
    counts
}

async fn is_out(app: &TestApp, person: &Person) {
    assert_eq!(person.get(TENANT).send().await.error(), error(401, "invalid_token"));
    let refresh = json!({"refresh_token": person.refresh_token()});
    let refreshed = app.visitor().post("/api/v1/auth/refresh").json(&refresh).send().await;
    assert_eq!(refreshed.error(), error(401, "invalid_token"));
}

#[tokio::test]
async fn a_tenant_is_deleted_only_by_its_owner_who_names_it() {
    let app = TestApp::start().await;
    let (tenant, other) = (app.tenant().await, app.tenant().await);
    let path = |confirm: &str| format!("{TENANT}?confirm={confirm}");
    for role in [Role::Viewer, Role::Editor, Role::Admin] {
        let answer = tenant.person(role).await.delete(&path(&tenant.slug)).send().await;
        assert_eq!(answer.error(), error(403, "forbidden"), "{}", role.name());
    }
    let shout = tenant.slug.to_uppercase();
    for wrong in ["", other.slug.as_str(), shout.as_str(), &tenant.slug[1..]] {
        let answer = tenant.owner.delete(&path(wrong)).send().await;
        assert_eq!(answer.error(), error(422, "unprocessable"), "{wrong}");
        assert_eq!(answer.detail(), json!({"confirm": ["is not the tenant's slug"]}), "{wrong}");
    }
    let answer = tenant.owner.delete(TENANT).expect(400).await;
    assert_eq!(answer.detail(), json!({"confirm": ["is required"]}));
    for still in [&tenant, &other] {
        assert_eq!(still.owner.get(TENANT).expect(200).await.json()["slug"], json!(still.slug));
    }
}

/// Otherwise owners could remove operators by deleting the tenant, although owners have no power over operators.
#[tokio::test]
async fn a_tenant_that_operators_belong_to_stays() {
    let tenant = TestApp::start().await.tenant().await;
    let (operator, almighty, path) =
        (tenant.operator().await, tenant.almighty().await, format!("{TENANT}?confirm={}", tenant.slug));
    for owner in [&tenant.owner, &almighty] {
        let answer = owner.delete(&path).send().await;
        assert_eq!(answer.error(), error(409, "conflict"));
        assert_eq!(answer.detail(), json!({"confirm": ["names a tenant that operators of the server belong to"]}));
    }
    for person in [&operator, &almighty] {
        almighty.delete(&format!("/api/v1/users/{}", person.id())).expect(204).await;
    }
    tenant.owner.delete(&path).expect(204).await;
}

#[tokio::test]
async fn a_deleted_tenant_is_gone_at_once_and_its_rows_soon() {
    let app = TestApp::alone().await;
    let Everything { tenant, made } = everything(&app).await;
    let [invitation, key] = [("invitation_id", "token"), ("api_key_id", "key")].map(|(of, name)| &made[of].thing[name]);
    let other = everything(&app).await.tenant;
    let viewer = tenant.viewer().await;
    let by_key = || app.visitor().get(TENANT).header("x-api-key", key.as_str().unwrap());
    by_key().expect(200).await;
    app.run_jobs().await;
    let (before, of_other) = (rows_of(&app, tenant.id).await, rows_of(&app, other.id).await);
    let empty: Vec<_> = before.iter().chain(&of_other).filter(|(_, count)| **count == 0).collect();
    assert!(empty.is_empty(), "make a row of each in `everything`, tests/api/support/fixtures.rs: {empty:?}");

    tenant.owner.delete(&format!("{TENANT}?confirm={}", tenant.slug)).expect(204).await;
    for person in [&tenant.owner, &viewer] {
        is_out(&app, person).await;
        let login = json!({"email": person.email(), "password": PASSWORD});
        let answer = app.visitor().post("/api/v1/auth/login").json(&login).send().await;
        assert_eq!(answer.error(), error(401, "invalid_credentials"));
    }
    assert_eq!(by_key().send().await.error(), error(401, "invalid_token"));
    let invited = register(&app, json!({"invitation_token": invitation})).await;
    assert_eq!(invited.error(), error(422, "unprocessable"));
    // Slug and address are free again, and give no access to what was deleted.
    let (email, slug) = (tenant.owner.email(), &tenant.slug);
    let anew = register(&app, json!({"email": email, "tenant_id": slug})).await.expect(201).json();
    assert_eq!(anew["role"], "owner");
    assert_ne!(anew["tenant_id"], json!(tenant.id));
    let anew = app.visitor().sign_in(&email).await;
    assert_eq!(anew.get("/api/v1/tasks").expect(200).await.json()["meta"]["total"], 0);
    is_out(&app, &tenant.owner).await;

    app.run_jobs().await;
    let left: Vec<_> = rows_of(&app, tenant.id).await.into_iter().filter(|(_, count)| *count > 0).collect();
    assert!(left.is_empty(), "rows of these tables are left: {left:?}");
    assert_eq!(rows_of(&app, other.id).await, of_other);
    assert_eq!(anew.get(TENANT).expect(200).await.json()["slug"], json!(slug));
    other.owner.get(TENANT).expect(200).await;
    is_out(&app, &tenant.owner).await;
    is_out(&app, &viewer).await;
}

#[tokio::test]
async fn a_tenant_that_is_deleted_several_times_at_once_is_deleted() {
    let app = TestApp::start().await;
    for _ in 0..4 {
        let tenant = app.tenant().await;
        let path = format!("{TENANT}?confirm={}", tenant.slug);
        let (first, second) = (tenant.owner.clone(), tenant.person(Role::Owner).await);
        let calls = [&first, &second, &first, &second].map(|owner| owner.delete(&path).send());
        let statuses: Vec<_> = join_all(calls).await.iter().map(|answer| answer.status.as_u16()).collect();
        assert!(statuses.contains(&204), "{statuses:?}");
        assert!(statuses.iter().all(|status| [204, 401].contains(status)), "{statuses:?}");
        is_out(&app, &first).await;
        is_out(&app, &second).await;
    }
}

#[tokio::test]
async fn nobody_can_take_the_name_that_a_deleted_tenant_gets() {
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    let slug = format!("deleted-{}", tenant.id.simple()); // all users of the tenant know its id
    register(&app, json!({"tenant_id": slug})).await.expect(201);
    tenant.owner.delete(&format!("{TENANT}?confirm={}", tenant.slug)).expect(204).await;
    is_out(&app, &tenant.owner).await;
}
