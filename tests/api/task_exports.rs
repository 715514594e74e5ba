//! Exports of tasks: a whole list as CSV or NDJSON.
use crate::support::{Answer, Person, TestApp};
use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};
use std::collections::HashSet;

const ALL_FIELDS: &str = "id,title,description,status,priority,week_number,year,tags,due_date,assigned_to,created_by,\
                          completed_at,version,created_at,updated_at";

/// The owner of a new tenant.
async fn owner() -> Person {
    TestApp::start().await.tenant().await.owner
}

async fn export(person: &Person, parameters: &[(&str, &str)]) -> Answer {
    person.get(&export_path(parameters)).expect(200).await
}

fn export_path(parameters: &[(&str, &str)]) -> String {
    format!("/api/v1/tasks/export?{}", serde_urlencoded::to_string(parameters).unwrap())
}

/// The records of a CSV file, including the header.
fn records(answer: &Answer) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(answer.body.as_slice());
    reader.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect()
}

fn lines(answer: &Answer) -> Vec<Value> {
    answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn an_export_holds_what_the_list_shows() {
    let owner = owner().await;
    let task = owner.task(json!({"title": "a", "description": "two\r\nlines, \"quoted\"", "tags": ["x", "y"], "year": 2026, "week_number": 20}));
    let task = task.await;
    let csv = export(&owner, &[]).await;
    assert_eq!(csv.header("content-type"), Some("text/csv"));
    assert_eq!(csv.header("content-disposition"), Some("attachment; filename=\"export.csv\""));
    let [header, row] = records(&csv).try_into().unwrap();
    assert_eq!(header.join(","), ALL_FIELDS);
    for (name, cell) in header.iter().zip(&row) {
        let shown = match &task[name] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            Value::Array(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
            other => other.to_string(),
        };
        assert_eq!(*cell, shown, "{name}");
    }
    let ndjson = export(&owner, &[("format", "ndjson")]).await;
    assert_eq!(ndjson.header("content-type"), Some("application/x-ndjson"));
    assert_eq!(ndjson.header("content-disposition"), Some("attachment; filename=\"export.ndjson\""));
    assert_eq!(lines(&ndjson), [task]);
    assert_eq!(export(&owner, &[("format", "csv")]).await.body, csv.body);
}

#[tokio::test]
async fn columns_come_as_they_are_asked_for() {
    let owner = owner().await;
    owner.task(json!({"title": "a", "tags": ["x"], "due_date": "2026-05-15"})).await;
    let text = async |parameters: &[(&str, &str)]| export(&owner, parameters).await.text();
    assert_eq!(
        text(&[("fields", "due_date,title,week_number")]).await,
        "due_date,title,week_number\r\n2026-05-15,a,\r\n"
    );
    assert_eq!(text(&[("fields", "title")]).await, "title\r\na\r\n");
    let ndjson = [("fields", "tags,version,title,week_number"), ("format", "ndjson")];
    assert_eq!(text(&ndjson).await, "{\"tags\":[\"x\"],\"version\":1,\"title\":\"a\",\"week_number\":null}\n");
    assert_eq!(text(&[("fields", "title"), ("q", "nothing")]).await, "title\r\n", "an empty file has its header");
    assert_eq!(text(&[("q", "nothing"), ("format", "ndjson")]).await, "");
}

#[tokio::test]
async fn bad_parameters_are_reported_at_once() {
    let owner = owner().await;
    let one_of = format!("must be one of {}", ALL_FIELDS.replace(',', ", "));
    let parameters = [
        ("fields", "id,secret,title,"),
        ("format", "xlsx"),
        ("page", "1"),
        ("per_page", "5"),
        ("cursor", "x"),
        ("week", "x"),
    ];
    let answer = owner.get(&export_path(&parameters)).send().await;
    assert_eq!(answer.error(), (400, "validation_error".into()));
    let faults = json!({
        "fields.1": [one_of], "fields.3": [one_of], "format": ["must be one of csv, ndjson"], "page": ["is not known"],
        "per_page": ["is not known"], "cursor": ["is not known"], "week": ["must be an integer"],
    });
    assert_eq!(answer.detail(), faults);
    for fields in ["", "Title", " title", "title;id", "tenant_id", "*"] {
        let answer = owner.get(&export_path(&[("fields", fields)])).send().await;
        assert_eq!(answer.detail(), json!({"fields.0": [one_of]}), "{fields}");
    }
    let repeated = owner.get(&export_path(&[("fields", "id,title,id")])).send().await;
    assert_eq!((repeated.error().0, repeated.detail()), (400, json!({"fields": ["names id twice"]})));
    let twice = owner.get("/api/v1/tasks/export?fields=id&fields=title").send().await;
    assert_eq!(twice.detail(), json!({"fields": ["must be given once"]}));
}

#[tokio::test]
async fn no_cell_becomes_a_formula() {
    let owner = owner().await;
    let texts = [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("＝1+1", "'＝1+1"),
        ("＋1", "'＋1"),
        ("－1", "'－1"),
        ("＠SUM(A1)", "'＠SUM(A1)"),
        (" =1", "' =1"),
        ("\u{a0}\u{3000}=1", "'\u{a0}\u{3000}=1"),
        ("\u{200b}\u{feff}\u{202e}=1", "'\u{200b}\u{feff}\u{202e}=1"),
        ("\t=1", "'\t'=1"),
        ("\r=1", "'\r'=1"),
        ("\n=1", "'\n'=1"),
        ("a;=1+1", "a;'=1+1"),
        ("a; ＝1\t-2\r\n@b", "a;' ＝1\t'-2\r\n'@b"),
        ("a=1", "a=1"),
        ("'=1", "''=1"),
        ("'a", "'a"),
        ("=\"a\",b", "'=\"a\",b"),
        ("=HYPERLINK(\"http://x\")", "'=HYPERLINK(\"http://x\")"),
    ];
    for (text, _) in texts {
        owner.task(json!({"title": "a", "description": text, "tags": [text, "-x"]})).await;
    }
    owner.task(json!({"title": "＝1", "description": "a", "tags": ["b"]})).await;
    let csv = export(&owner, &[("fields", "title,description,tags"), ("sort", "created_at")]).await;
    let mut cells = records(&csv);
    assert_eq!(cells.remove(0), ["title", "description", "tags"]);
    assert_eq!(cells.pop().unwrap(), ["'＝1", "a", "b"]);
    let shown = texts.map(|(_, cell)| vec!["a".to_owned(), cell.to_owned(), format!("{cell}, '-x")]);
    assert_eq!(cells, shown);
    let ndjson = export(&owner, &[("fields", "description"), ("sort", "created_at"), ("format", "ndjson")]).await;
    let texts = texts.iter().map(|(text, _)| *text).chain(["a"]);
    let plain: Vec<_> = texts.map(|text| json!({"description": text})).collect();
    assert_eq!(lines(&ndjson), plain, "JSON has no formulas");
}

#[tokio::test]
async fn a_byte_order_mark_comes_where_it_is_asked_for() {
    let owner = owner().await;
    owner.task(json!({"title": "한글"})).await;
    for path in ["tasks", "items", "meetings", "contracts", "audit-logs"] {
        let export = async |parameters: &str| {
            let path = format!("/api/v1/{path}/export?fields=id{parameters}");
            owner.get(&path).expect(200).await
        };
        let (plain, marked) = (export("").await, export("&bom=true").await);
        assert!(plain.body.starts_with(b"id\r\n"), "{path}");
        assert!(marked.body.starts_with(b"\xef\xbb\xbfid\r\n"), "{path}");
        assert_eq!(marked.body.windows(3).filter(|bytes| *bytes == b"\xef\xbb\xbf").count(), 1, "{path}");
        assert!(export("&bom=false").await.body.starts_with(b"id\r\n"), "{path}");
        let json = owner.get(&format!("/api/v1/{path}/export?format=ndjson&bom=true")).send().await;
        assert_eq!(json.error(), (400, "validation_error".into()), "{path}");
        let told = "is only for `format=csv`, because JSON has no byte order mark";
        assert_eq!(json.detail(), json!({"bom": [told]}), "{path}");
        let unclear = owner.get(&format!("/api/v1/{path}/export?bom=1")).send().await;
        assert_eq!(unclear.detail(), json!({"bom": ["must be a boolean"]}), "{path}");
    }
    let marked = export(&owner, &[("fields", "title"), ("bom", "true")]).await;
    assert_eq!(marked.text(), "\u{feff}title\r\n한글\r\n");
}

#[tokio::test]
async fn a_long_export_holds_every_row_once_and_in_order() {
    const ROWS: usize = 1_200; // several batches
    let owner = owner().await;
    let create = |n: usize| {
        let due = n.is_multiple_of(3).then(|| format!("2026-05-{:02}", n % 28 + 1));
        owner.task(json!({"title": format!("Task {}", n % 7), "due_date": due, "tags": [if n.is_multiple_of(4) { "some" } else { "rest" }]}))
    };
    let created: Vec<_> = stream::iter(0..ROWS).map(create).buffer_unordered(8).collect().await;
    let ids: HashSet<_> = created.iter().map(|task| task["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), ROWS);
    for sort in ["title", "-title", "due_date", "-due_date", "priority", "created_at", "-updated_at"] {
        let column = sort.trim_start_matches('-');
        let mut rows = records(&export(&owner, &[("fields", &format!("{column},id")), ("sort", sort)]).await);
        assert_eq!(rows.remove(0), [column, "id"]);
        assert_eq!(rows.len(), ROWS, "{sort}");
        assert_eq!(rows.iter().map(|row| row[1].clone()).collect::<HashSet<_>>(), ids, "{sort}");
        for row in rows.iter_mut().filter(|row| row[0].is_empty()) {
            row[0] = "9999-12-31".to_owned(); // tasks without a date come last
        }
        let ordered =
            if sort.starts_with('-') { rows.is_sorted_by(|a, b| a > b) } else { rows.is_sorted_by(|a, b| a < b) };
        assert!(ordered, "{sort}");
    }
    let some = lines(&export(&owner, &[("format", "ndjson"), ("tag", "some"), ("q", "TASK"), ("fields", "id")]).await);
    let expected: HashSet<_> =
        created.iter().filter(|task| task["tags"] == json!(["some"])).map(|task| &task["id"]).collect();
    assert_eq!((some.len(), expected.len()), (ROWS / 4, ROWS / 4));
    assert_eq!(some.iter().map(|row| &row["id"]).collect::<HashSet<_>>(), expected);
}
