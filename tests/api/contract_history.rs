//! The history of contracts: each change, with its actor, its time, and the values before and after.
use crate::contracts::{assert_refused, path_of, tenant, with};
use crate::support::{Person, TestApp};
use serde_json::{Value, json};

async fn page(person: &Person, contract: &Value, query: &str) -> Value {
    person.get(&format!("{}/history{query}", path_of(contract))).expect(200).await.json()
}

/// Field, old value and new value of all entries, the latest first. The entries of one change are sorted by field.
async fn changes(person: &Person, contract: &Value) -> Vec<Value> {
    let page = page(person, contract, "?per_page=100").await;
    let mut entries = page["items"].as_array().unwrap().clone();
    assert_eq!(page["meta"]["total"], json!(entries.len()));
    entries.sort_by_key(|entry| entry["field"].as_str().unwrap().to_owned());
    entries.sort_by_key(|entry| std::cmp::Reverse(entry["version"].as_i64()));
    entries.iter().map(|entry| json!([entry["field"], entry["from"], entry["to"]])).collect()
}

#[tokio::test]
async fn each_member_that_changes_has_its_entry() {
    let tenant = tenant().await;
    let (owner, editor) = (&tenant.owner, tenant.editor().await);
    let contract = owner.contract(json!({"amount": "5", "tags": ["a", "b"]})).await;
    let path = path_of(&contract);
    assert_eq!(changes(owner, &contract).await, Vec::<Value>::new(), "a new contract has no history");
    for same in [json!({}), json!({"title": contract["title"], "amount": "5.0000", "tags": ["a", "b"]})] {
        owner.patch(&path).json(&same).expect(200).await;
    }
    assert_eq!(changes(owner, &contract).await, Vec::<Value>::new());

    let admin = tenant.admin().await;
    let first = json!({"title": "New", "description": "\u{1}", "tags": [], "amount": "6.5", "status": "active"});
    let first = admin.patch(&path).json(&first).expect(200).await.json();
    owner.put(&path).json(&with(json!({"status": "active", "start_date": "2025-01-01"}))).expect(200).await;
    owner.patch(&path).json(&json!({"amount": "7", "currency": "JPY"})).expect(200).await;
    let expected = json!([
        ["amount", null, "7"],
        ["currency", "USD", "JPY"],
        ["amount", "6.50", null],
        ["description", "\u{1}", null],
        ["start_date", "2026-01-01", "2025-01-01"],
        ["title", "New", "Managed SOC"],
        ["amount", "5.00", "6.50"],
        ["description", null, "\u{1}"],
        ["status", "draft", "active"],
        ["tags", "a, b", ""],
        ["title", "Managed SOC", "New"],
    ]);
    assert_eq!(json!(changes(owner, &contract).await), expected);

    let mut hidden = expected;
    for entry in hidden.as_array_mut().unwrap().iter_mut().filter(|entry| entry[0] == json!("amount")) {
        *entry = json!(["amount", null, null]);
    }
    assert_eq!(json!(changes(&editor, &contract).await), hidden);
    for (person, sees) in [(owner, true), (&editor, false)] {
        for entry in page(person, &contract, "").await["items"].as_array().unwrap() {
            assert_eq!(entry["amount_visible"], json!(sees));
        }
    }
    let entries = page(owner, &contract, "?per_page=100").await["items"].as_array().unwrap().clone();
    let of_first: Vec<_> = entries.iter().filter(|entry| entry["created_at"] == first["updated_at"]).collect();
    assert_eq!(of_first.len(), 5);
    assert!(of_first.iter().all(|entry| entry["version"] == first["version"]));
    assert!(of_first.iter().all(|entry| entry["changed_by"] == json!(admin.id())));
    assert_eq!(entries.iter().filter(|entry| entry["changed_by"] == json!(owner.id())).count(), 6);
}

#[tokio::test]
async fn an_amount_keeps_the_places_that_it_had_then() {
    let owner = tenant().await.owner;
    let contract = owner.contract(json!({"amount": "5", "currency": "KWD"})).await;
    let path = path_of(&contract);
    owner.patch(&path).json(&json!({"currency": "USD"})).expect(200).await;
    assert_eq!(changes(&owner, &contract).await, [json!(["currency", "KWD", "USD"])], "it is worth as much of it");
    owner.patch(&path).json(&json!({"currency": "JPY", "amount": "6"})).expect(200).await;
    owner.patch(&path).json(&json!({"amount": null})).expect(200).await;
    let expected =
        json!([["amount", "6", null], ["amount", "5.00", "6"], ["currency", "USD", "JPY"], ["currency", "KWD", "USD"]]);
    assert_eq!(json!(changes(&owner, &contract).await), expected);
}

#[tokio::test]
async fn what_was_refused_leaves_no_entry() {
    let owner = tenant().await.owner;
    let contract = owner.contract(json!({"amount": "5"})).await;
    let path = path_of(&contract);
    let stale = owner.patch(&path).header("if-match", "\"9.all\"").json(&json!({"title": "x", "amount": "6"}));
    stale.expect(412).await;
    for bad in [json!({"title": "x", "status": "expired"}), json!({"title": "x", "amount": "0.001"})] {
        owner.patch(&path).json(&bad).expect(422).await;
    }
    assert_eq!(changes(&owner, &contract).await, Vec::<Value>::new());
}

#[tokio::test]
async fn long_histories_come_page_by_page() {
    let tenant = tenant().await;
    let owner = &tenant.owner;
    let contract = owner.contract(json!({})).await;
    for n in 0..7 {
        owner.patch(&path_of(&contract)).json(&json!({"title": format!("Title {n}")})).expect(200).await;
    }
    let (mut walked, mut next) = (vec![], String::new());
    loop {
        let page = page(owner, &contract, &format!("?per_page=3{next}")).await;
        walked.extend(page["items"].as_array().unwrap().iter().map(|entry| entry["to"].clone()));
        let Some(cursor) = page["meta"]["next_cursor"].as_str() else { break };
        next = format!("&cursor={cursor}");
    }
    assert_eq!(json!(walked), json!((0..7).rev().map(|n| format!("Title {n}")).collect::<Vec<_>>()));
    let third = page(owner, &contract, "?per_page=3&page=3").await;
    assert_eq!((third["items"].as_array().unwrap().len(), &third["meta"]["total"]), (1, &json!(7)));
    let answer = owner.get(&format!("{}/history?sort=created_at&q=x&field=title", path_of(&contract))).send().await;
    assert_refused(&answer, 400, json!({"sort": ["is not known"], "q": ["is not known"], "field": ["is not known"]}));
}

#[tokio::test]
async fn a_history_is_seen_with_its_contract_and_ends_with_it() {
    let app = TestApp::alone().await;
    let (tenant, other) = (app.tenant().await, app.tenant().await);
    let contract = tenant.owner.contract(json!({"amount": "5"})).await;
    let path = path_of(&contract);
    tenant.owner.patch(&path).json(&json!({"amount": "6", "title": "New"})).expect(200).await;
    let history = format!("{path}/history");
    assert_eq!(other.owner.get(&history).send().await.error(), (404, "not_found".into()));
    assert_eq!(app.rows("SELECT field FROM contract_history").await.len(), 2);
    tenant.owner.delete(&path).expect(204).await;
    assert_eq!(tenant.owner.get(&history).send().await.error(), (404, "not_found".into()));
    assert_eq!(app.rows("SELECT field FROM contract_history").await.len(), 0);
}
