//! Lists of tasks: filters, search, parameters.
use crate::support::{Answer, Person, TestApp};
use bizcenter::db::Any;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use serde_json::{Value, json};

pub const SORTS: [&str; 6] = ["title", "status", "priority", "due_date", "created_at", "updated_at"];

/// The owner of a new tenant.
pub async fn owner() -> Person {
    TestApp::start().await.tenant().await.owner
}

pub fn list_path(parameters: &[(&str, &str)]) -> String {
    format!("/api/v1/tasks?{}", serde_urlencoded::to_string(parameters).unwrap())
}

pub async fn page(person: &Person, parameters: &[(&str, &str)]) -> Value {
    person.get(&list_path(parameters)).expect(200).await.json()
}

pub fn texts(page: &Value, member: &str) -> Vec<String> {
    page["items"].as_array().unwrap().iter().map(|item| item[member].as_str().unwrap().to_owned()).collect()
}

/// The titles that these parameters find, in alphabetical order and with commas between.
async fn titles(person: &Person, parameters: &[(&str, &str)]) -> String {
    let parameters = [parameters, &[("sort", "title"), ("per_page", "100")]].concat();
    texts(&page(person, &parameters).await, "title").join(", ")
}

#[track_caller]
pub fn assert_invalid(answer: &Answer, detail: Value) {
    assert_eq!((answer.error(), answer.detail()), ((400, "validation_error".to_owned()), detail));
}

#[tokio::test]
async fn filters_leave_what_fits_all_of_them() {
    let tenant = TestApp::start().await.tenant().await;
    let (owner, editor) = (&tenant.owner, tenant.editor().await);
    let (me, them) = (owner.id().to_string(), editor.id().to_string());
    for task in [
        json!({"title": "a", "week_number": 20, "year": 2026, "status": "done", "priority": "urgent", "tags": ["x", "y"]}),
        json!({"title": "b", "week_number": 20, "year": 2025, "assigned_to": me, "due_date": "2026-05-14"}),
        json!({"title": "c", "week_number": 21, "year": 2026, "assigned_to": them, "due_date": "2026-05-15", "tags": ["y"]}),
        json!({"title": "d", "priority": "urgent", "assigned_to": me, "due_date": "2026-05-16", "tags": ["X"]}),
        json!({"title": "e", "status": "in_progress", "description": "yes"}),
    ] {
        owner.task(task).await;
    }
    TestApp::start().await.tenant().await.owner.task(json!({"title": "elsewhere"})).await;
    let nobody = "01993c3e-6a00-7c3e-8f6e-000000000001";
    let cases: [(&[(&str, &str)], &str); 26] = [
        (&[], "a, b, c, d, e"),
        (&[("week", "20")], "a, b"),
        (&[("week", "53")], ""),
        (&[("year", "2026")], "a, c"),
        (&[("week", "20"), ("year", "2026")], "a"),
        (&[("status", "todo")], "b, c, d"),
        (&[("status", "done")], "a"),
        (&[("status", "cancelled")], ""),
        (&[("priority", "urgent")], "a, d"),
        (&[("priority", "medium")], "b, c, e"),
        (&[("assigned_to", &me)], "b, d"),
        (&[("assigned_to", &them.to_uppercase())], "c"),
        (&[("assigned_to", nobody)], ""),
        (&[("tag", "x")], "a"),
        (&[("tag", "y")], "a, c"),
        (&[("tag", "X")], "d"),
        (&[("tag", "")], ""),
        (&[("due_before", "2026-05-15")], "b"),
        (&[("due_after", "2026-05-15")], "d"),
        (&[("due_after", "2026-05-13"), ("due_before", "2026-05-16")], "b, c"),
        (&[("due_after", "2026-05-16"), ("due_before", "2026-05-14")], ""),
        (&[("due_before", "9999-12-31")], "b, c, d"),
        (&[("due_after", "0001-01-01")], "b, c, d"),
        (&[("assigned_to", &me), ("priority", "urgent"), ("tag", "X")], "d"),
        (&[("assigned_to", &me), ("priority", "urgent"), ("tag", "x")], ""),
        (&[("status", "in_progress"), ("q", "YES")], "e"),
    ];
    for (parameters, expected) in cases {
        assert_eq!(titles(owner, parameters).await, expected, "{parameters:?}");
        let page = page(owner, parameters).await;
        assert_eq!(page["meta"]["total"], json!(page["items"].as_array().unwrap().len()), "{parameters:?}");
    }
}

#[tokio::test]
async fn tags_are_found_exactly_as_they_are() {
    let owner = owner().await;
    let tags = [
        "a\"b",
        "a\\b",
        "a/b",
        "a b",
        "a",
        "A",
        "á",
        "a ",
        "한국",
        "😀",
        "[\"a\"]",
        "\u{1}\n\t",
        "%",
        "_",
        "null",
        "1",
    ];
    for tag in tags {
        owner.task(json!({"title": "Tagged", "description": tag, "tags": ["other", tag]})).await;
    }
    for tag in tags {
        let found = texts(&page(&owner, &[("tag", tag)]).await, "description");
        assert_eq!(found, [tag]);
    }
    assert_eq!(titles(&owner, &[("tag", "\"")]).await, "");
}

#[tokio::test]
async fn search_is_for_the_text_as_typed_in_either_case() {
    let owner = owner().await;
    let titles_to_find = [
        "Résumé ÉCOLE",
        "한국어 보고서",
        "100% sure",
        "100 sure",
        "snake_case",
        "snakeXcase",
        "bang! here",
        "back\\slash",
        "it's \"quoted\"",
        "ΟΔΟΣΑ ΟΔΟΣ",
        "İstanbul ẞ",
        "ПЛАН",
        "Ⱥ Ꭰ",
        "plain",
    ];
    for title in titles_to_find {
        owner.task(json!({"title": title})).await;
    }
    owner.task(json!({"title": "zz", "description": "In the DESCRIPTION: Größe 100%"})).await;
    for (q, expected) in [
        ("é", "Résumé ÉCOLE"),
        ("É", "Résumé ÉCOLE"),
        ("RÉSUMÉ éc", "Résumé ÉCOLE"),
        ("resume", ""),
        ("한국", "한국어 보고서"),
        ("보고서", "한국어 보고서"),
        ("국 보", ""),
        ("%", "100% sure, zz"),
        ("0%", "100% sure, zz"),
        ("%%", ""),
        ("_", "snake_case"),
        ("SNAKE_C", "snake_case"),
        ("!", "bang! here"),
        ("!%", ""),
        ("\\", "back\\slash"),
        ("\\s", "back\\slash"),
        ("\\\\", ""),
        ("'", "it's \"quoted\""),
        ("\"Q", "it's \"quoted\""),
        ("план", "ПЛАН"),
        ("οδοσ", "ΟΔΟΣΑ ΟΔΟΣ"),
        ("ΟΔΟΣ", "ΟΔΟΣΑ ΟΔΟΣ"),
        ("ΔΟΣΑ", "ΟΔΟΣΑ ΟΔΟΣ"),
        ("İstanbul ẞ", "İstanbul ẞ"),
        ("Ⱥ Ꭰ", "Ⱥ Ꭰ"),
        ("größe", "zz"),
        ("description:", "zz"),
        ("nowhere", ""),
    ] {
        assert_eq!(titles(&owner, &[("q", q)]).await, expected, "{q}");
    }
    assert_eq!(page(&owner, &[("q", "")]).await["meta"]["total"], json!(titles_to_find.len() + 1));
    assert_eq!(titles(&owner, &[("q", &"한".repeat(200))]).await, "");
    let long = owner.get(&list_path(&[("q", &"a".repeat(201))])).send().await;
    assert_invalid(&long, json!({"q": ["must have at most 200 characters"]}));
}

diesel::table! { tasks (title) { title -> Text } }

/// If a driver cached statements next to Diesel's cache, it would close statements that Diesel still uses. The
/// connection would then fail for good.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "one connection is needed, and not the server's")]
async fn a_connection_outlives_any_number_of_different_queries() {
    let mut conn = TestApp::start().await.database.connect().await;
    for conditions in (1..=100).chain(1..=100) {
        let mut query = tasks::table.select(tasks::title).into_boxed::<Any>();
        for _ in 0..conditions {
            query = query.filter(tasks::title.eq("no task is called so"));
        }
        assert_eq!(query.load::<String>(&mut conn).await, Ok(vec![]), "with {conditions} conditions");
    }
}

#[tokio::test]
async fn all_bad_parameters_are_reported_at_once() {
    let owner = owner().await;
    let query = "/api/v1/tasks?page=0&per_page=101&per_page=102&sort=id&week=x&year=1.5&status=DONE&priority=1&nope=1\
                 &Page=2&assigned_to=me&tag=%00&due_before=2026-02-30&due_after=&q=a&q=b&week=y";
    let once = "must be given once";
    let columns = SORTS.map(|column| format!("-{column}")).join(", ");
    let faults = json!({
        "page": ["must be at least 1"],
        "per_page": ["must be at most 100", once],
        "sort": [format!("must be one of {}, {columns}", SORTS.join(", "))],
        "week": ["must be an integer", once],
        "year": ["must be an integer"],
        "status": ["must be one of todo, in_progress, review, done, cancelled"],
        "priority": ["must be one of low, medium, high, urgent"],
        "nope": ["is not known"],
        "Page": ["is not known"],
        "assigned_to": ["must be a valid uuid"],
        "tag": ["must not contain a NUL character"],
        "due_before": ["must be a valid date"],
        "due_after": ["must be a valid date"],
        "q": [once],
    });
    assert_invalid(&owner.get(query).send().await, faults);
    for number in ["2147483648", "-1", "9223372036854775808", "-2147483649", "1e2", "0x1", "", " 1", "１"] {
        let answer = owner.get(&list_path(&[("page", number), ("per_page", number)])).send().await;
        assert_eq!(answer.error(), (400, "validation_error".into()), "{number}");
        let detail = answer.detail();
        assert!(detail["page"].is_array() && detail["per_page"].is_array(), "{number}: {detail}");
    }
}
