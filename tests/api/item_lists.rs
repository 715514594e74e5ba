//! Lists and exports of items: filters, search, order, pages.
use crate::items::{ITEMS, made};
use crate::support::{Person, TestApp};
use serde_json::{Value, json};
use std::cmp::Ordering;

const SORTS: [&str; 4] = ["title", "price", "created_at", "updated_at"];
const ALL_FIELDS: &str = "id,title,description,price,currency,owner_id,version,created_at,updated_at";

fn query(parameters: &[(&str, &str)]) -> String {
    serde_urlencoded::to_string(parameters).unwrap()
}

async fn page(person: &Person, parameters: &[(&str, &str)]) -> Value {
    person.get(&format!("{ITEMS}?{}", query(parameters))).expect(200).await.json()
}

fn texts(page: &Value, member: &str) -> Vec<String> {
    page["items"].as_array().unwrap().iter().map(|item| item[member].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn filters_leave_what_fits_all_of_them() {
    let app = TestApp::start().await;
    let (tenant, other) = (app.tenant().await, app.tenant().await);
    let (owner, editor) = (&tenant.owner, tenant.editor().await);
    let (me, them) = (owner.id().to_string(), editor.id().to_string());
    made(
        owner,
        vec![
            json!({"title": "a", "price": 100, "currency": "EUR"}),
            json!({"title": "b", "price": 200, "currency": "KRW", "description": "100% Größe"}),
            json!({"title": "c 한국", "price": 9_007_199_254_740_991_i64, "currency": "EUR", "owner_id": them}),
        ],
    )
    .await;
    editor.item(json!({"title": "d_x"})).await;
    other.owner.item(json!({"title": "a", "price": 100, "currency": "EUR"})).await;
    let foreign = other.owner.id().to_string();
    let cases: [(&[(&str, &str)], &str); 24] = [
        (&[], "a, b, c 한국, d_x"),
        (&[("owner_id", &me)], "a, b"),
        (&[("owner_id", &them.to_uppercase())], "c 한국, d_x"),
        (&[("owner_id", &foreign)], ""),
        (&[("currency", "EUR")], "a, c 한국"),
        (&[("currency", "USD")], "d_x"),
        (&[("currency", "ZZZ")], ""),
        (&[("min_price", "100")], "a, b, c 한국"),
        (&[("min_price", "101")], "b, c 한국"),
        (&[("max_price", "100")], "a, d_x"),
        (&[("max_price", "0")], "d_x"),
        (&[("min_price", "100"), ("max_price", "200")], "a, b"),
        (&[("min_price", "200"), ("max_price", "100")], ""),
        (&[("min_price", "9007199254740991")], "c 한국"),
        (&[("owner_id", &them), ("currency", "EUR"), ("min_price", "1")], "c 한국"),
        (&[("owner_id", &me), ("currency", "USD")], ""),
        (&[("q", "A")], "a"),
        (&[("q", "grö")], "b"),
        (&[("q", "GRÖSSE")], ""),
        (&[("q", "0%")], "b"),
        (&[("q", "%")], "b"),
        (&[("q", "_")], "d_x"),
        (&[("q", "한국"), ("currency", "EUR")], "c 한국"),
        (&[("q", "")], "a, b, c 한국, d_x"),
    ];
    for (parameters, expected) in cases {
        let parameters = [parameters, &[("sort", "title")]].concat();
        for _ in ["found", "kept"] {
            let page = page(owner, &parameters).await;
            let titles = texts(&page, "title");
            assert_eq!(titles.join(", "), expected, "{parameters:?}");
            assert_eq!(page["meta"]["total"], json!(titles.len()), "{parameters:?}");
        }
        let exported = query(&[&parameters[..], &[("format", "ndjson"), ("fields", "title")]].concat());
        let exported = owner.get(&format!("{ITEMS}/export?{exported}")).expect(200).await.text();
        let lines = exported.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["title"].clone());
        let titles: Vec<_> = lines.map(|title| title.as_str().unwrap().to_owned()).collect();
        assert_eq!(titles.join(", "), expected, "the export of {parameters:?}");
    }
}

/// The order that the contract promises.
fn compare(column: &str, a: &Value, b: &Value) -> Ordering {
    let text = |item: &Value| item[column].as_str().unwrap_or_default().to_owned();
    let id = |item: &Value| item["id"].as_str().unwrap().to_owned();
    (a["price"].as_i64().filter(|_| column == "price"), text(a), id(a)).cmp(&(
        b["price"].as_i64().filter(|_| column == "price"),
        text(b),
        id(b),
    ))
}

#[tokio::test]
async fn every_order_is_total_and_every_walk_sees_each_item_once() {
    let owner = TestApp::start().await.tenant().await.owner;
    let prices = [100, 20, 3, 9_007_199_254_740_991_i64, 20, 0];
    let titles = ["b", "a", "한", "aa"];
    let input = |n: usize| json!({"title": titles[n / 2 % 4], "price": prices[n % 6], "currency": "EUR"});
    let mut all = made(&owner, (0..13).map(input).collect()).await;
    for item in all.iter_mut().step_by(5) {
        let path = format!("{ITEMS}/{}", item["id"].as_str().unwrap());
        *item = owner.patch(&path).json(&json!({"description": "again"})).expect(200).await.json();
    }
    for column in SORTS {
        all.sort_by(|a, b| compare(column, a, b));
        for (sort, is_descending) in [(column.to_owned(), false), (format!("-{column}"), true)] {
            let mut expected: Vec<_> = all.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect();
            if is_descending {
                expected.reverse();
            }
            assert_eq!(texts(&page(&owner, &[("sort", &sort), ("per_page", "100")]).await, "id"), expected, "{sort}");
            for turn in ["found", "kept"] {
                let (mut ids, mut cursor) = (vec![], None::<String>);
                loop {
                    let mut parameters = vec![("sort", sort.as_str()), ("per_page", "3")];
                    parameters.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
                    let page = page(&owner, &parameters).await;
                    ids.extend(texts(&page, "id"));
                    cursor = page["meta"]["next_cursor"].as_str().map(str::to_owned);
                    if cursor.is_none() {
                        break;
                    }
                }
                assert_eq!(ids, expected, "{sort} by cursor, {turn}");
            }
        }
    }
    let default = texts(&page(&owner, &[]).await, "id");
    assert_eq!(default, texts(&page(&owner, &[("sort", "-created_at")]).await, "id"));
    let last = page(&owner, &[("per_page", "5"), ("page", "3")]).await;
    assert_eq!(last["meta"], json!({"page": 3, "per_page": 5, "total": 13, "pages": 3}));
    let past = page(&owner, &[("per_page", "5"), ("page", "4")]).await;
    assert_eq!((&past["items"], &past["meta"]["total"]), (&json!([]), &json!(13)));
}

#[tokio::test]
async fn bad_parameters_are_reported_at_once() {
    let owner = TestApp::start().await.tenant().await.owner;
    let parameters = [
        ("page", "0"),
        ("sort", "owner_id"),
        ("owner_id", "me"),
        ("currency", "eur"),
        ("min_price", "-1"),
        ("max_price", "9007199254740992"),
        ("nope", "1"),
    ];
    let columns = SORTS.map(|column| format!("-{column}")).join(", ");
    let faults = json!({
        "page": ["must be at least 1"],
        "sort": [format!("must be one of {}, {columns}", SORTS.join(", "))],
        "owner_id": ["must be a valid uuid"],
        "currency": ["must match ^[A-Z]{3}$"],
        "min_price": ["must be at least 0"],
        "max_price": ["must be at most 9007199254740991"],
        "nope": ["is not known"],
    });
    for _ in ["first", "again"] {
        let answer = owner.get(&format!("{ITEMS}?{}", query(&parameters))).send().await;
        assert_eq!((answer.error(), answer.detail()), ((400, "validation_error".into()), faults.clone()));
        let far = owner.get(&format!("{ITEMS}?page=100002&per_page=1")).send().await;
        assert_eq!(far.error(), (422, "unprocessable".into()));
        let cursor = owner.get(&format!("{ITEMS}?cursor=x")).send().await;
        assert_eq!(cursor.detail(), json!({"cursor": ["does not belong to this list in this order"]}));
    }
}

#[tokio::test]
async fn an_export_holds_what_the_list_shows() {
    let owner = TestApp::start().await.tenant().await.owner;
    let item = owner.item(json!({"title": "=1+1", "description": "two\r\nlines, \"quoted\"", "price": 5})).await;
    let csv = owner.get(&format!("{ITEMS}/export")).expect(200).await;
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(csv.body.as_slice());
    let records: Vec<_> = reader.records().map(|record| record.unwrap()).collect();
    assert_eq!(records.len(), 2);
    assert_eq!(records[0].iter().collect::<Vec<_>>().join(","), ALL_FIELDS);
    for (name, cell) in records[0].iter().zip(&records[1]) {
        let shown = match &item[name] {
            Value::String(text) if name == "title" => format!("'{text}"),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        assert_eq!(cell, shown, "{name}");
    }
    let ndjson = owner.get(&format!("{ITEMS}/export?format=ndjson&fields=price,title")).expect(200).await;
    assert_eq!(ndjson.text(), "{\"price\":5,\"title\":\"=1+1\"}\n");
    let one_of = format!("must be one of {}", ALL_FIELDS.replace(',', ", "));
    let unknown = owner.get(&format!("{ITEMS}/export?fields=id,tenant_id")).send().await;
    assert_eq!(unknown.detail(), json!({"fields.1": [one_of]}));
}
