//! Lists of contracts: filters, search, order, cursors.
use crate::contracts::{CONTRACTS, assert_refused, path_of, tenant};
use crate::support::{Person, TestApp};
use serde_json::{Value, json};

const SORTS: [&str; 7] = ["title", "counterparty", "status", "start_date", "end_date", "created_at", "updated_at"];

fn list_path(parameters: &[(&str, &str)]) -> String {
    format!("{CONTRACTS}?{}", serde_urlencoded::to_string(parameters).unwrap())
}

async fn page(person: &Person, parameters: &[(&str, &str)]) -> Value {
    person.get(&list_path(parameters)).expect(200).await.json()
}

fn texts(page: &Value, member: &str) -> Vec<String> {
    page["items"].as_array().unwrap().iter().map(|item| item[member].as_str().unwrap().to_owned()).collect()
}

/// The titles that these parameters find, in alphabetical order and with commas between.
async fn titles(person: &Person, parameters: &[(&str, &str)]) -> String {
    let parameters = [parameters, &[("sort", "title"), ("per_page", "100")]].concat();
    texts(&page(person, &parameters).await, "title").join(", ")
}

#[tokio::test]
async fn filters_leave_what_fits_all_of_them() {
    let tenant = tenant().await;
    let (owner, editor) = (&tenant.owner, tenant.editor().await);
    for (title, counterparty, first, last, more) in [
        ("a", "Acme", "2026-01-01", "2026-12-31", json!({"status": "active", "tags": ["soc", "x"], "amount": "1"})),
        ("b", "ACME Logistics", "2026-02-01", "2027-01-31", json!({"currency": "EUR", "amount": "2"})),
        ("c", "Größe 100%", "2026-03-01", "2026-03-01", json!({"currency": "EUR", "tags": ["X"]})),
        ("d", "snake_case", "2025-01-01", "2026-06-30", json!({"status": "active", "description": "with Acme"})),
    ] {
        let mut contract = json!({"title": title, "counterparty": counterparty, "start_date": first, "end_date": last});
        contract.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        owner.contract(contract).await;
    }
    TestApp::start().await.tenant().await.owner.contract(json!({"title": "elsewhere"})).await;
    let cases: [(&[(&str, &str)], &str); 26] = [
        (&[], "a, b, c, d"),
        (&[("status", "active")], "a, d"),
        (&[("status", "expired")], ""),
        (&[("counterparty", "acme")], "a, b"),
        (&[("counterparty", "CME l")], "b"),
        (&[("counterparty", "GRÖSSE")], ""),
        (&[("counterparty", "gröSSe")], ""),
        (&[("counterparty", "GRÖ")], "c"),
        (&[("counterparty", "%")], "c"),
        (&[("counterparty", "_")], "d"),
        (&[("counterparty", "")], "a, b, c, d"),
        (&[("currency", "EUR")], "b, c"),
        (&[("currency", "USD")], "a, d"),
        (&[("currency", "ZZZ")], ""),
        (&[("tag", "x")], "a"),
        (&[("tag", "X")], "c"),
        (&[("starts_before", "2026-01-01")], "d"),
        (&[("starts_after", "2026-01-01")], "b, c"),
        (&[("ends_before", "2026-12-31")], "c, d"),
        (&[("ends_after", "2026-12-31")], "b"),
        (&[("starts_after", "2025-12-31"), ("ends_before", "2027-01-01")], "a, c"),
        (&[("q", "acme")], "a, b, d"),
        (&[("q", "100%")], "c"),
        (&[("q", "WITH")], "d"),
        (&[("q", "acme"), ("status", "active"), ("currency", "USD"), ("tag", "soc")], "a"),
        (&[("q", "nowhere")], ""),
    ];
    for (parameters, expected) in cases {
        for person in [owner, &editor] {
            assert_eq!(titles(person, parameters).await, expected, "{parameters:?}");
        }
        let page = page(owner, parameters).await;
        assert_eq!(page["meta"]["total"], json!(page["items"].as_array().unwrap().len()), "{parameters:?}");
    }
}

#[tokio::test]
async fn every_order_is_total_and_every_walk_sees_each_contract_once() {
    let owner = tenant().await.owner;
    for n in 0..13 {
        let day = ["2026-05-14", "2026-05-13", "2025-01-01"][n % 3];
        let contract = owner.contract(json!({
            "title": (["b", "a", "한"][n / 3 % 3]), "counterparty": (["y", "x"][n % 2]), "amount": n.to_string(),
            "status": (["draft", "active"][n / 2 % 2]), "start_date": day, "end_date": day,
        }));
        let contract = contract.await;
        if n % 5 == 0 {
            owner.patch(&path_of(&contract)).json(&json!({"tags": ["again"]})).expect(200).await;
        }
    }
    let mut all = page(&owner, &[("per_page", "100")]).await["items"].as_array().unwrap().clone();
    for column in SORTS {
        let key = |contract: &Value| [column, "id"].map(|name| contract[name].as_str().unwrap().to_owned());
        all.sort_by_key(key);
        let mut expected: Vec<_> = all.iter().map(|contract| contract["id"].as_str().unwrap().to_owned()).collect();
        for sort in [column.to_owned(), format!("-{column}")] {
            if sort.starts_with('-') {
                expected.reverse();
            }
            let (mut walked, mut next) = (vec![], None::<String>);
            loop {
                let mut parameters = vec![("sort", sort.as_str()), ("per_page", "4")];
                parameters.extend(next.as_deref().map(|cursor| ("cursor", cursor)));
                let page = page(&owner, &parameters).await;
                walked.extend(texts(&page, "id"));
                next = page["meta"]["next_cursor"].as_str().map(str::to_owned);
                if next.is_none() {
                    break;
                }
            }
            assert_eq!(walked, expected, "{sort}");
        }
    }
}

#[tokio::test]
async fn there_is_no_order_and_no_filter_by_amount() {
    let owner = tenant().await.owner;
    let columns = SORTS.map(|column| format!("-{column}")).join(", ");
    let one_of = format!("must be one of {}, {columns}", SORTS.join(", "));
    for sort in ["amount", "-amount", "currency", "amount_visible", "amount_sealed"] {
        let answer = owner.get(&list_path(&[("sort", sort)])).send().await;
        assert_refused(&answer, 400, json!({"sort": [one_of]}));
    }
    let parameters = [
        ("amount", "1"),
        ("amount_min", "1"),
        ("currency", "eur"),
        ("status", "over"),
        ("starts_after", "2026-02-30"),
        ("counterparty", &"a".repeat(201)),
    ];
    let faults = json!({
        "amount": ["is not known"], "amount_min": ["is not known"], "currency": ["must match ^[A-Z]{3}$"],
        "status": ["must be one of draft, active, expired, terminated"], "starts_after": ["must be a valid date"],
        "counterparty": ["must have at most 200 characters"],
    });
    assert_refused(&owner.get(&list_path(&parameters)).send().await, 400, faults);
}

#[tokio::test]
async fn lists_show_amounts_to_who_may_see_them() {
    let tenant = tenant().await;
    for amount in ["1", "2"] {
        tenant.owner.contract(json!({"amount": amount, "title": amount})).await;
    }
    let admin = tenant.admin().await;
    assert_eq!(texts(&page(&admin, &[("sort", "title")]).await, "amount"), ["1.00", "2.00"]);
    let list = tenant.editor().await.get(CONTRACTS).expect(200).await;
    assert_eq!(list.header("cache-control"), Some("no-store"));
    for contract in list.json()["items"].as_array().unwrap() {
        assert_eq!((&contract["amount"], &contract["amount_visible"]), (&json!(null), &json!(false)));
    }
}
