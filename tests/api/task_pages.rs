//! Lists of tasks: order, pages and cursors.
use crate::support::Person;
use crate::task_lists::{SORTS, assert_invalid, list_path, owner, page, texts};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};
use std::cmp::Ordering;

/// Creates tasks with equal values in every column, some without a due date. Returns all of them, as a list shows them.
async fn many(owner: &Person) -> Vec<Value> {
    let of = |choices: &[&str], n: usize| choices[n % choices.len()].to_owned();
    for n in 0..23 {
        let due = [json!(null), json!("2026-05-14"), json!("9999-12-31"), json!("2026-05-13")][n % 4].clone();
        let task = owner.task(json!({
            "title": of(&["b", "a", "c", "aa", "한", "it's"], n / 2), "due_date": due,
            "status": of(&["todo", "review", "done", "in_progress", "cancelled"], n),
            "priority": of(&["urgent", "low", "high", "medium"], n / 3),
        }));
        let task = task.await;
        if n % 5 == 0 {
            let path = format!("/api/v1/tasks/{}", task["id"].as_str().unwrap());
            owner.patch(&path).json(&json!({"tags": ["again"]})).expect(200).await;
        }
    }
    page(owner, &[("per_page", "100")]).await["items"].as_array().unwrap().clone()
}

/// The order that the contract promises.
fn compare(column: &str, a: &Value, b: &Value) -> Ordering {
    let key = |task: &Value| match (column, task[column].as_str()) {
        ("due_date", None) => "9999-12-31".to_owned(), // last
        ("priority", Some(name)) => {
            ["low", "medium", "high", "urgent"].iter().position(|p| *p == name).unwrap().to_string()
        }
        (_, text) => text.unwrap().to_owned(),
    };
    let id = |task: &Value| task["id"].as_str().unwrap().to_owned();
    (key(a), id(a)).cmp(&(key(b), id(b)))
}

#[tokio::test]
async fn every_order_is_total_and_every_walk_sees_each_task_once() {
    let owner = owner().await;
    let mut all = many(&owner).await;
    for column in SORTS {
        all.sort_by(|a, b| compare(column, a, b));
        let descending = format!("-{column}");
        for (sort, is_descending) in [(column, false), (descending.as_str(), true)] {
            let mut expected: Vec<_> = all.iter().map(|task| task["id"].as_str().unwrap().to_owned()).collect();
            if is_descending {
                expected.reverse();
            }
            assert_eq!(texts(&page(&owner, &[("sort", sort), ("per_page", "100")]).await, "id"), expected, "{sort}");
            for per_page in ["1", "3", "23", "100"] {
                assert_eq!(walk(&owner, sort, per_page).await, expected, "{sort} by {per_page}");
            }
            assert_eq!(leaf(&owner, sort, 4).await, expected, "{sort} by page");
        }
    }
    let newest_first = page(&owner, &[("sort", "-created_at")]).await;
    assert_eq!(page(&owner, &[]).await["items"], newest_first["items"]);
}

/// The ids on all pages, followed by cursor.
async fn walk(owner: &Person, sort: &str, per_page: &str) -> Vec<String> {
    let (mut ids, mut cursor) = (vec![], None::<String>);
    loop {
        let mut parameters = vec![("sort", sort), ("per_page", per_page)];
        parameters.extend(cursor.as_ref().map(|cursor| ("cursor", cursor.as_str())));
        let page = page(owner, &parameters).await;
        let found = texts(&page, "id");
        assert!(!found.is_empty(), "no page of a walk is empty");
        ids.extend(found);
        let counted = ["page", "total", "pages"].map(|name| page["meta"].get(name).is_some());
        assert_eq!(counted, [cursor.is_none(); 3], "with a cursor nothing is counted");
        match page["meta"]["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => return ids,
        }
    }
}

#[tokio::test]
async fn an_empty_cursor_begins_a_walk_without_a_count() {
    let owner = owner().await;
    for title in ["a", "b", "c"] {
        owner.task(json!({"title": title})).await;
    }
    let first = page(&owner, &[("sort", "title"), ("per_page", "2"), ("cursor", "")]).await;
    assert_eq!(texts(&first, "title"), ["a", "b"]);
    let next = first["meta"]["next_cursor"].as_str().unwrap();
    assert_eq!(first["meta"], json!({"per_page": 2, "next_cursor": next}));
    let rest = page(&owner, &[("sort", "title"), ("per_page", "2"), ("cursor", next)]).await;
    assert_eq!((texts(&rest, "title"), &rest["meta"]), (vec!["c".to_owned()], &json!({"per_page": 2})));
    let both = owner.get("/api/v1/tasks?page=1&cursor=").send().await;
    assert_invalid(&both, json!({"page": ["must be absent with `cursor`"]}));
}

/// The ids on all pages, followed by page number.
async fn leaf(owner: &Person, sort: &str, per_page: usize) -> Vec<String> {
    let mut ids = vec![];
    let per_page = per_page.to_string();
    for number in 1.. {
        let page = page(owner, &[("sort", sort), ("per_page", &per_page), ("page", &number.to_string())]).await;
        let found = texts(&page, "id");
        if found.is_empty() {
            return ids;
        }
        ids.extend(found);
    }
    unreachable!()
}

#[tokio::test]
async fn a_walk_misses_nothing_while_others_insert_and_delete() {
    let owner = owner().await;
    for title in ["b", "d", "f", "h", "j", "l"] {
        owner.task(json!({"title": title})).await;
    }
    for (sort, before, after, gone) in [("title", "a", "k", "f"), ("-title", "z", "c", "h")] {
        let first = page(&owner, &[("sort", sort), ("per_page", "2")]).await;
        owner.task(json!({"title": before, "tags": ["new"]})).await;
        owner.task(json!({"title": after, "tags": ["new"]})).await;
        let mut seen = texts(&first, "title");
        let mut cursor = first["meta"]["next_cursor"].as_str().map(str::to_owned);
        while let Some(at) = cursor {
            let next = page(&owner, &[("sort", sort), ("per_page", "1"), ("cursor", &at)]).await;
            seen.extend(texts(&next, "title"));
            // A cursor stays valid if its row is deleted.
            for item in next["items"].as_array().unwrap().iter().filter(|item| item["title"] == gone) {
                owner.delete(&format!("/api/v1/tasks/{}", item["id"].as_str().unwrap())).expect(204).await;
            }
            cursor = next["meta"]["next_cursor"].as_str().map(str::to_owned);
        }
        let mut expected: Vec<_> = ["b", "d", "f", "h", "j", "l", after].map(str::to_owned).into();
        expected.sort();
        if sort == "-title" {
            expected.retain(|title| title != "f"); // deleted in the first round
            expected.reverse();
        }
        assert_eq!(seen, expected, "{sort}");
        for task in page(&owner, &[("tag", "new")]).await["items"].as_array().unwrap() {
            owner.delete(&format!("/api/v1/tasks/{}", task["id"].as_str().unwrap())).expect(204).await;
        }
    }
}

#[tokio::test]
async fn pages_say_where_they_stand() {
    let owner = owner().await;
    let meta = async |parameters: &[(&str, &str)]| {
        let mut page = page(&owner, parameters).await;
        let cursor = page["meta"].as_object_mut().unwrap().remove("next_cursor");
        (page["items"].as_array().unwrap().len(), cursor.is_some(), page["meta"].clone())
    };
    let empty = json!({"page": 1, "per_page": 20, "total": 0, "pages": 0});
    assert_eq!(meta(&[]).await, (0, false, empty));
    for n in 0..5 {
        owner.task(json!({"title": n.to_string()})).await;
    }
    let at =
        |page: i32, per_page: i32, pages: i32| json!({"page": page, "per_page": per_page, "total": 5, "pages": pages});
    assert_eq!(meta(&[]).await, (5, false, at(1, 20, 1)));
    assert_eq!(meta(&[("per_page", "2")]).await, (2, true, at(1, 2, 3)));
    assert_eq!(meta(&[("per_page", "2"), ("page", "3")]).await, (1, false, at(3, 2, 3)));
    assert_eq!(meta(&[("per_page", "5")]).await, (5, false, at(1, 5, 1)));
    assert_eq!(meta(&[("per_page", "2"), ("page", "4")]).await, (0, false, at(4, 2, 3)), "past the end");
    assert_eq!(meta(&[("per_page", "100"), ("page", "1001")]).await, (0, false, at(1001, 100, 1)), "offset 100,000");
    for (page, per_page) in [("1002", "100"), ("100002", "1"), ("2147483647", "100")] {
        let far = owner.get(&list_path(&[("page", page), ("per_page", per_page)])).send().await;
        assert_eq!(far.error(), (422, "unprocessable".into()));
        assert_eq!(far.detail(), json!({"page": ["is too far into the list. Follow `next_cursor` instead."]}));
    }
}

#[tokio::test]
async fn a_cursor_is_for_the_list_and_the_order_that_gave_it() {
    let owner = owner().await;
    for title in ["a", "b", "c"] {
        owner.task(json!({"title": title})).await;
    }
    let first = page(&owner, &[("sort", "title"), ("per_page", "1")]).await;
    let cursor = first["meta"]["next_cursor"].as_str().unwrap();
    let both = owner.get(&list_path(&[("sort", "title"), ("page", "1"), ("cursor", cursor)])).send().await;
    assert_invalid(&both, json!({"page": ["must be absent with `cursor`"]}));
    let faulty = json!({"cursor": ["does not belong to this list in this order"]});
    for sort in ["-title", "status", "priority", "due_date", "-created_at", "updated_at"] {
        let answer = owner.get(&list_path(&[("sort", sort), ("cursor", cursor)])).send().await;
        assert_invalid(&answer, faulty.clone());
    }
    let cut = &cursor[..cursor.len() - 1];
    for bad in ["x", "null", cut, &format!("{cursor}="), &format!(" {cursor}"), &"A".repeat(5_000)] {
        let answer = owner.get(&list_path(&[("sort", "title"), ("cursor", bad)])).send().await;
        assert_invalid(&answer, faulty.clone());
    }
}

#[tokio::test]
async fn a_cursor_that_somebody_made_up_is_refused_or_is_just_a_place() {
    let owner = owner().await;
    owner.task(json!({"title": "a", "due_date": "2026-05-15"})).await;
    let id = owner.id().to_string();
    let keys = [
        json!("a\0b"),
        json!(""),
        json!("x".repeat(20_000)),
        json!(null),
        json!(5),
        json!(-1e300),
        json!([]),
        json!({}),
        json!("+262142-12-31"),
        json!("-262143-01-01"),
        json!("0000-01-01"),
        json!("9999-12-31"),
        json!("10000-01-01"),
        json!("+262142-12-31T23:59:59.999999999Z"),
        json!("-262143-01-01T00:00:00Z"),
        json!("0000-01-01T00:00:00Z"),
        json!("9999-12-31T23:59:59-23:59"),
        json!("0000-01-01T00:00:00+23:59"),
        json!("2016-12-31T23:59:60Z"),
        json!("todo"),
        json!("urgent"),
        json!("\u{fffd}"),
        json!(true),
    ];
    let ids = [json!(id), json!(""), json!(null), json!(7), json!("00000000-0000-0000-0000-000000000000")];
    let mut refused = 0;
    for column in SORTS {
        for sort in [column.to_owned(), format!("-{column}")] {
            for position in keys.iter().flat_map(|key| ids.iter().map(move |id| (key, id))) {
                let cursor = BASE64.encode(json!([sort, position.0, position.1]).to_string());
                let answer = owner.get(&list_path(&[("sort", &sort), ("cursor", &cursor)])).send().await;
                assert!(matches!(answer.status.as_u16(), 200 | 400 | 414 | 431), "{position:?}: {}", answer.text());
                refused += usize::from(answer.status == 400);
            }
        }
    }
    assert!(refused > SORTS.len() * 2 * keys.len(), "{refused} of them were refused");
}
