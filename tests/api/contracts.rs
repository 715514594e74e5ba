//! Contracts over HTTP: their members, their versions, and what each role may do with them.
use crate::support::{Answer, Person, Tenant, TestApp};
use bizcenter::auth::Role;
use serde_json::{Value, json};

pub const CONTRACTS: &str = "/api/v1/contracts";

pub fn path_of(contract: &Value) -> String {
    format!("{CONTRACTS}/{}", contract["id"].as_str().unwrap())
}

pub async fn tenant() -> Tenant {
    TestApp::start().await.tenant().await
}

/// The required members of a contract, with these members added.
pub fn with(members: Value) -> Value {
    let mut contract = json!({
        "title": "Managed SOC", "counterparty": "Acme", "start_date": "2026-01-01", "end_date": "2026-12-31",
    });
    contract.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    contract
}

/// A contract with every member set.
fn full() -> Value {
    json!({
        "title": "Managed SOC", "counterparty": "Acme 한국", "description": "Round the clock", "status": "active",
        "start_date": "2026-06-01", "end_date": "2029-05-31", "tags": ["soc", "24x7"], "amount": "12500.00",
        "currency": "EUR",
    })
}

/// The members of `contract` that people write.
fn written(contract: &Value) -> Value {
    full().as_object().unwrap().keys().map(|name| (name.clone(), contract[name].clone())).collect()
}

/// Gives a person another role.
pub async fn change_role(tenant: &Tenant, person: &Person, role: Role) {
    let path = format!("/api/v1/users/{}", person.id());
    tenant.owner.patch(&path).json(&json!({"role": role.name()})).expect(200).await;
}

#[track_caller]
pub fn assert_refused(answer: &Answer, status: u16, detail: Value) {
    let kind = if status == 400 { "validation_error" } else { "unprocessable" };
    assert_eq!((answer.error(), answer.detail()), ((status, kind.to_owned()), detail));
}

#[tokio::test]
async fn a_contract_lives_and_ends() {
    let tenant = tenant().await;
    let (owner, admin) = (&tenant.owner, tenant.admin().await);
    let created = admin.post(CONTRACTS).json(&full()).expect(201).await;
    let contract = created.json();
    let path = path_of(&contract);
    assert_eq!(created.header("location"), Some(path.as_str()));
    assert_eq!((created.header("etag"), created.header("cache-control")), (Some("\"1.all\""), Some("no-store")));
    assert_eq!(written(&contract), full());
    assert_eq!((&contract["created_by"], &contract["version"]), (&json!(admin.id()), &json!(1)));
    assert_eq!((&contract["updated_at"], &contract["amount_visible"]), (&contract["created_at"], &json!(true)));
    let found = owner.get(&path).expect(200).await;
    assert_eq!((found.json(), found.header("cache-control")), (contract, Some("no-store")));

    owner.delete(&path).expect(204).await;
    let put = owner.put(&path).json(&full());
    for call in [owner.get(&path), owner.delete(&path), owner.patch(&path).json(&json!({})), put] {
        assert_eq!(call.send().await.error(), (404, "not_found".into()));
    }
}

#[tokio::test]
async fn what_is_left_out_gets_its_default() {
    let owner = tenant().await.owner;
    let mut expected = with(json!({"description": null, "status": "draft", "tags": [], "amount": null}));
    for currency in ["USD", "KRW"] {
        owner.patch("/api/v1/tenant").json(&json!({"currency": currency})).expect(200).await;
        expected["currency"] = json!(currency);
        let contract = owner.contract(json!({})).await;
        assert_eq!(written(&contract), written(&expected));
        let replaced = owner.put(&path_of(&contract)).json(&with(json!({"amount": "5"}))).expect(200).await.json();
        assert_eq!(replaced["amount"], json!(if currency == "USD" { "5.00" } else { "5" }));
    }
}

#[tokio::test]
async fn amounts_have_as_many_places_as_their_currency() {
    let owner = tenant().await.owner;
    for (currency, sent, kept) in [
        ("USD", "0", "0.00"),
        ("USD", "12.5", "12.50"),
        ("USD", "12.5000", "12.50"),
        ("USD", "999999999999999.99", "999999999999999.99"),
        ("JPY", "12500", "12500"),
        ("JPY", "12500.00", "12500"),
        ("KWD", "1.5", "1.500"),
        ("CLF", "999999999999999.9999", "999999999999999.9999"),
        ("XAU", "0.5", "0.5000"),
    ] {
        let contract = owner.contract(json!({"amount": sent, "currency": currency})).await;
        assert_eq!(contract["amount"], json!(kept), "{sent} {currency}");
        assert_eq!(owner.get(&path_of(&contract)).expect(200).await.json(), contract);
    }
    let path = path_of(&owner.contract(json!({"amount": "1", "currency": "USD"})).await);
    for (currency, amount, places) in
        [("USD", "0.001", 2), ("JPY", "0.5", 0), ("KWD", "1.0001", 3), ("USD", "999999999999999.9999", 2)]
    {
        let detail = json!({"amount": [format!("has more than the {places} decimal places of {currency}")]});
        let members = json!({"amount": amount, "currency": currency});
        for call in [
            owner.post(CONTRACTS).json(&with(members.clone())),
            owner.put(&path).json(&with(members.clone())),
            owner.patch(&path).json(&members),
        ] {
            assert_refused(&call.send().await, 422, detail.clone());
        }
    }
    let default = owner.post(CONTRACTS).json(&with(json!({"amount": "0.001"}))).send().await;
    assert_refused(&default, 422, json!({"amount": ["has more than the 2 decimal places of USD"]}));
}

#[tokio::test]
async fn another_currency_must_fit_the_amount() {
    let owner = tenant().await.owner;
    let path = path_of(&owner.contract(json!({"amount": "12.50", "currency": "USD"})).await);
    let yen = json!({"currency": "JPY"});
    let detail = json!({"amount": ["has more than the 0 decimal places of JPY"]});
    assert_refused(&owner.patch(&path).json(&yen).send().await, 422, detail);
    let dinar = owner.patch(&path).json(&json!({"currency": "KWD"})).expect(200).await.json();
    assert_eq!((&dinar["amount"], &dinar["currency"]), (&json!("12.500"), &json!("KWD")));
    assert_eq!(owner.get(&path).expect(200).await.json(), dinar);
    let both = owner.patch(&path).json(&json!({"currency": "JPY", "amount": "13"})).expect(200).await.json();
    assert_eq!((&both["amount"], &both["currency"]), (&json!("13"), &json!("JPY")));
    let none = owner.patch(&path).json(&json!({"amount": null})).expect(200).await.json();
    assert_eq!((&none["amount"], &none["amount_visible"]), (&json!(null), &json!(true)));
}

#[tokio::test]
async fn values_beyond_the_limits_are_refused_by_all_who_write() {
    let owner = tenant().await.owner;
    let path = path_of(&owner.contract(json!({})).await);
    let no_date = "must be a valid date";
    let no_amount = "must match ^(0|[1-9][0-9]{0,14})(\\.[0-9]{1,4})?$";
    let no_code = "must match ^[A-Z]{3}$";
    let status = "must be one of draft, active, expired, terminated";
    let mut cases = vec![
        ("title", json!(""), "title", "must have at least 1 characters"),
        ("title", json!("한".repeat(201)), "title", "must have at most 200 characters"),
        ("title", json!(null), "title", "must not be null"),
        ("counterparty", json!("a".repeat(201)), "counterparty", "must have at most 200 characters"),
        ("counterparty", json!(null), "counterparty", "must not be null"),
        ("description", json!("a".repeat(10_001)), "description", "must have at most 10000 characters"),
        ("description", json!("a\0b"), "description", "must not contain a NUL character"),
        ("status", json!("Active"), "status", status),
        ("status", json!(null), "status", "must not be null"),
        ("start_date", json!(null), "start_date", "must not be null"),
        ("end_date", json!("2026-02-29"), "end_date", no_date),
        ("tags", json!(vec!["t"; 21]), "tags", "must have at most 20 items"),
        ("tags", json!(["a", ""]), "tags.1", "must have at least 1 characters"),
        ("currency", json!(null), "currency", "must not be null"),
        ("currency", json!("usd"), "currency", no_code),
        ("currency", json!("USDX"), "currency", no_code),
        ("amount", json!(12.5), "amount", "must be a string"),
        ("amount", json!({}), "amount", "must be a string"),
    ];
    for bad in ["", "-1", "+1", "1.", ".5", "01", "1e3", "1,5", " 1", "1000000000000000", "0.00001", "１", "NaN", "1\n"]
    {
        cases.push(("amount", json!(bad), "amount", no_amount));
    }
    for (member, value, at, message) in cases {
        let input = with(json!({member: value}));
        let patch = owner.patch(&path).json(&json!({member: value}));
        for call in [owner.post(CONTRACTS).json(&input), owner.put(&path).json(&input), patch] {
            assert_refused(&call.send().await, 400, json!({at: [message]}));
        }
    }
    for (members, detail) in [
        (json!({"title": "  "}), json!({"title": ["must not be blank"]})),
        (json!({"counterparty": "\u{3000}"}), json!({"counterparty": ["must not be blank"]})),
        (json!({"end_date": "2025-12-31"}), json!({"end_date": ["is before `start_date`"]})),
        (json!({"start_date": "2027-01-01"}), json!({"end_date": ["is before `start_date`"]})),
        (json!({"currency": "XYZ", "amount": "1"}), json!({"currency": ["is not a currency of ISO 4217"]})),
        (
            json!({"title": " ", "end_date": "2025-12-31", "currency": "JPY", "amount": "0.1"}),
            json!({
                "title": ["must not be blank"], "end_date": ["is before `start_date`"],
                "amount": ["has more than the 0 decimal places of JPY"],
            }),
        ),
    ] {
        let input = with(members.clone());
        let patch = owner.patch(&path).json(&members);
        for call in [owner.post(CONTRACTS).json(&input), owner.put(&path).json(&input), patch] {
            assert_refused(&call.send().await, 422, detail.clone());
        }
    }
    let made = json!({"id": "x", "amount_visible": true, "created_by": "x", "version": 1, "amount_sealed": "x"});
    let faults: Value = made.as_object().unwrap().keys().map(|name| (name.clone(), json!(["is not known"]))).collect();
    assert_refused(&owner.patch(&path).json(&made).send().await, 400, faults);
    let required = ["title", "counterparty", "start_date", "end_date"].map(|name| (name, "is required"));
    let faults: Value = required.into_iter().map(|(name, message)| (name.to_owned(), json!([message]))).collect();
    assert_refused(&owner.post(CONTRACTS).json(&json!({})).send().await, 400, faults);
    assert_eq!(owner.get(&path).expect(200).await.json()["version"], json!(1));
}

#[tokio::test]
async fn patch_changes_what_is_given_and_put_resets_the_rest() {
    let owner = tenant().await.owner;
    let contract = owner.contract(full()).await;
    let path = path_of(&contract);
    let same = owner.patch(&path).json(&json!({})).expect(200).await.json();
    assert_eq!((written(&same), &same["version"]), (written(&contract), &json!(2)));
    let changed = owner.patch(&path).json(&json!({"title": "New", "description": null})).expect(200).await.json();
    let mut expected = full();
    (expected["title"], expected["description"]) = (json!("New"), json!(null));
    assert_eq!(written(&changed), expected);
    let replaced = owner.put(&path).json(&with(json!({"status": "active"}))).expect(200).await.json();
    let expected =
        with(json!({"description": null, "status": "active", "tags": [], "amount": null, "currency": "USD"}));
    assert_eq!(written(&replaced), written(&expected));
    for member in ["id", "created_by", "created_at"] {
        assert_eq!(replaced[member], contract[member], "{member}");
    }
    assert!(replaced["updated_at"].as_str() > contract["updated_at"].as_str());
}

#[tokio::test]
async fn versions_differ_by_what_one_may_see() {
    let tenant = tenant().await;
    let (owner, editor) = (&tenant.owner, tenant.editor().await);
    let path = path_of(&owner.contract(json!({"amount": "1"})).await);
    let of = async |person: &Person| person.get(&path).expect(200).await.header("etag").unwrap().to_owned();
    let (seen, hidden) = (of(owner).await, of(&editor).await);
    assert_eq!((seen.as_str(), hidden.as_str()), ("\"1.all\"", "\"1\""));
    for (person, own, other) in [(owner, &seen, &hidden), (&editor, &hidden, &seen)] {
        person.get(&path).header("if-none-match", own).expect(304).await;
        person.get(&path).header("if-none-match", other).expect(200).await;
    }
    for stale in ["\"2\"", "\"2.all\"", "W/\"2.all\"", "W/\"2\"", "\"1.all.all\"", ""] {
        let body = json!({"title": "lost"});
        for call in [owner.patch(&path).json(&body), owner.put(&path).json(&with(body.clone())), owner.delete(&path)] {
            let answer = call.header("if-match", stale).send().await;
            assert_eq!(answer.error(), (412, "precondition_failed".into()), "{stale}");
        }
    }
    owner.patch(&path).header("if-match", &seen).json(&json!({"title": "kept"})).expect(200).await;
    owner.delete(&path).header("if-match", &seen).expect(412).await;
    owner.patch(&path).header("if-match", "\"2\"").json(&json!({"title": "by version"})).expect(200).await;
    owner.delete(&path).header("if-match", "\"2\"").expect(412).await;
    owner.delete(&path).header("if-match", "W/\"3.all-gzip\"").expect(204).await;
}

/// Creates an API key with this role.
async fn key(tenant: &Tenant, role: &str) -> String {
    let input = json!({"name": "Robot", "role": role});
    let key = tenant.owner.post("/api/v1/api-keys").json(&input).expect(201).await.json();
    key["key"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn people_and_keys_do_what_their_role_may() {
    let tenant = tenant().await;
    for role in Role::ALL {
        let (person, key) = (tenant.person(role).await, key(&tenant, role.name()).await);
        let path = path_of(&tenant.owner.contract(json!({"amount": "1"})).await);
        let visitor = tenant.app.visitor();
        let least = |least: Role, status| if role >= least { status } else { 403 };
        for by_key in [false, true] {
            let call = |method: &str, path: &str| match by_key {
                true => visitor.call(method.parse().unwrap(), path).header("x-api-key", &key),
                false => person.call(method.parse().unwrap(), path),
            };
            for path in [CONTRACTS, &path, &format!("{CONTRACTS}/export"), &format!("{path}/history")] {
                call("GET", path).expect(least(Role::Editor, 200)).await;
            }
            if role >= Role::Editor {
                let contract = call("GET", &path).expect(200).await.json();
                let sees = role >= Role::Admin;
                let amount = if sees { json!("1.00") } else { json!(null) };
                assert_eq!((&contract["amount"], &contract["amount_visible"]), (&amount, &json!(sees)));
            }
            call("POST", CONTRACTS).json(&with(json!({}))).expect(least(Role::Admin, 201)).await;
            call("PUT", &path).json(&with(json!({"amount": "1"}))).expect(least(Role::Admin, 200)).await;
            call("PATCH", &path).json(&json!({})).expect(least(Role::Admin, 200)).await;
        }
        visitor.delete(&path).header("x-api-key", &key).expect(least(Role::Owner, 204)).await;
        let path = path_of(&tenant.owner.contract(json!({})).await);
        person.delete(&path).expect(least(Role::Owner, 204)).await;
    }
}

#[tokio::test]
async fn a_repeat_after_a_demotion_shows_nothing() {
    let tenant = tenant().await;
    let admin = tenant.admin().await;
    let input = with(json!({"amount": "918273645546372.81"}));
    let create = || admin.post(CONTRACTS).header("idempotency-key", "once").json(&input);
    let first = create().expect(201).await;
    let again = create().expect(201).await;
    assert_eq!((again.header("idempotency-replayed"), &again.body), (Some("true"), &first.body));
    let other = admin.post(CONTRACTS).header("idempotency-key", "once").json(&with(json!({"amount": "1"})));
    assert_eq!(other.send().await.error(), (422, "idempotency_mismatch".into()));
    change_role(&tenant, &admin, Role::Editor).await;
    let refused = create().send().await;
    assert_eq!(refused.error(), (403, "forbidden".into()));
    assert!(!refused.text().contains("918273645546372"));
    change_role(&tenant, &admin, Role::Admin).await;
    assert_eq!(create().expect(201).await.body, first.body);
}

#[tokio::test]
async fn two_changes_at_once_leave_both_their_traces() {
    let tenant = tenant().await;
    let owner = &tenant.owner;
    let contract = owner.contract(json!({"amount": "1"})).await;
    let path = path_of(&contract);
    let calls = (0..10).map(|n| owner.patch(&path).json(&json!({"amount": format!("{}", n + 2)})).expect(200));
    futures_util::future::join_all(calls).await;
    let now = owner.get(&path).expect(200).await.json();
    assert_eq!(now["version"], json!(11));
    let history = owner.get(&format!("{path}/history?per_page=100")).expect(200).await.json();
    let entries = history["items"].as_array().unwrap();
    assert_eq!((entries.len(), &entries[0]["to"]), (10, &now["amount"]));
    for (later, earlier) in entries.iter().zip(&entries[1..]) {
        assert_eq!(later["from"], earlier["to"], "each saw what the one before had left");
    }
}
