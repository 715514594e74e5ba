//! The search over all records: what it finds, who finds it, and that it follows every change.
use crate::cli::{bizcenter, run};
use crate::support::{Kind, Person, Tenant, TestApp, TestDatabase, is_for};
use bizcenter::db::schema;
use bizcenter::resources::{RECORDS, search};
use futures_util::future::{join, join_all};
use serde_json::{Value, json};
use std::collections::BTreeSet;

async fn tenant() -> Tenant {
    TestApp::start().await.tenant().await
}

async fn page(person: &Person, query: &[(&str, &str)]) -> Value {
    let query = serde_urlencoded::to_string(query).unwrap();
    person.get(&format!("/api/v1/search?{query}")).expect(200).await.json()
}

/// The titles of what a person finds, the best first.
async fn found(person: &Person, q: &str) -> Vec<String> {
    let page = page(person, &[("q", q)]).await;
    let results = page["items"].as_array().unwrap();
    assert_eq!(page["meta"]["total"], results.len(), "{q}");
    results.iter().map(|result| result["title"].as_str().unwrap().to_owned()).collect()
}

/// The snippet of the only thing that is found, with the hits in brackets.
async fn snippet(person: &Person, q: &str) -> String {
    let page = page(person, &[("q", q)]).await;
    assert_eq!(page["items"].as_array().unwrap().len(), 1, "{q}");
    let parts = page["items"][0]["snippet"].as_array().unwrap();
    let shown = |part: &Value| match (part["text"].as_str().unwrap(), part["hit"] == true) {
        (text, true) => format!("[{text}]"),
        (text, false) => text.to_owned(),
    };
    parts.iter().map(shown).collect()
}

fn id_of(thing: &Value) -> &str {
    thing["id"].as_str().unwrap()
}

async fn count(app: &TestApp, condition: &str) -> String {
    app.rows(&format!("SELECT concat('', COUNT(*)) FROM search_terms WHERE {condition}")).await.concat().concat()
}

#[tokio::test]
async fn it_finds_records_of_all_kinds_by_all_their_words() {
    let tenant = tenant().await;
    let owner = &tenant.owner;
    let task = owner.task(json!({"title": "Quokka plan", "description": "Feed the animals\nof Perth"})).await;
    let comments = format!("/api/v1/tasks/{}/comments", id_of(&task));
    owner.post(&comments).json(&json!({"body": "The quokka is fed"})).expect(201).await;
    let times = json!({"starts_at": "2030-01-01T10:00:00Z", "ends_at": "2030-01-01T11:00:00Z"});
    let mut meeting = json!({"title": "Weekly", "minutes": "We spoke of the quokka"});
    meeting.as_object_mut().unwrap().extend(times.as_object().unwrap().clone());
    let meeting = owner.meeting(meeting).await;
    let items = format!("/api/v1/meetings/{}/action-items", id_of(&meeting));
    owner.post(&items).json(&json!({"description": "Wash the quokka"})).expect(201).await;
    owner.item(json!({"title": "Quokka food", "price": 1})).await;
    let dates = json!({"start_date": "2030-01-01", "end_date": "2031-01-01"});
    let mut contract = json!({"title": "Supply", "counterparty": "Quokka Ltd", "amount": "987654.00"});
    contract.as_object_mut().unwrap().extend(dates.as_object().unwrap().clone());
    owner.contract(contract).await;
    owner.upload("quokka.txt", "text", &[("task_id", id_of(&task))]).expect(201).await;

    let results = page(owner, &[("q", "QUOKKA")]).await;
    let results = results["items"].as_array().unwrap();
    let kinds: BTreeSet<_> = results.iter().map(|result| result["kind"].as_str().unwrap()).collect();
    let searched = RECORDS.kinds().filter(|kind| !kind.text.is_empty() && kind.name != "user").map(|kind| kind.name);
    assert_eq!(kinds, searched.collect(), "each kind with texts is found: {results:?}");
    for result in results {
        let href = result["href"].as_str().unwrap();
        assert_eq!(owner.get(href).expect(200).await.json()["id"], result["id"], "{href}");
    }
    assert_eq!(results.last().unwrap()["title"], "Weekly", "what has it in its minutes comes last");
    assert_eq!(
        results.iter().map(|result| result["score"].as_i64().unwrap()).collect::<Vec<_>>(),
        [4, 4, 4, 4, 4, 2, 1]
    );
    for kind in ["task", "file"] {
        let only = page(owner, &[("q", "quokka"), ("kind", kind)]).await;
        assert_eq!((&only["meta"]["total"], &only["items"][0]["kind"]), (&json!(1), &json!(kind)));
    }

    assert_eq!(found(owner, "plan quok").await, ["Quokka plan"], "all words, and the last by its beginning");
    assert!(found(owner, "quok plan").await.is_empty());
    assert!(found(owner, "quokka nowhere").await.is_empty());
    assert_eq!(snippet(owner, "perth").await, "Feed the animals of [Perth]");
    assert_eq!(snippet(owner, "food").await, "Quokka [food]");
    for amount in ["987654", "987654.00"] {
        assert!(found(owner, amount).await.is_empty(), "amounts are not searched");
    }
}

#[tokio::test]
async fn korean_is_found_by_its_parts_and_in_every_form() {
    let owner = tenant().await.owner;
    owner.task(json!({"title": "정기총회 회의록을 보낸다"})).await;
    owner.task(json!({"title": "Ｃａｆé STRASSE"})).await;
    for q in ["회의록", "총회", "회", "회의ㄹ", "정기 보낸", "\u{1112}\u{116c}\u{110b}\u{1174}"] {
        assert_eq!(found(&owner, q).await, ["정기총회 회의록을 보낸다"], "{q}");
    }
    assert!(found(&owner, "의총").await.is_empty());
    for q in ["cafe\u{301}", "CAFÉ", "straße"] {
        assert_eq!(found(&owner, q).await, ["Ｃａｆé STRASSE"], "{q}");
    }
    assert_eq!(snippet(&owner, "회의").await, "정기총회 [회의]록을 보낸다");
}

#[tokio::test]
async fn it_follows_every_change() {
    let tenant = TestApp::alone().await.tenant().await;
    let (app, owner) = (&tenant.app, &tenant.owner);
    let task = owner.task(json!({"title": "First wombat", "description": "Grey"})).await;
    let path = format!("/api/v1/tasks/{}", id_of(&task));
    owner.patch(&path).json(&json!({"title": "Second wombat"})).expect(200).await;
    assert!(found(owner, "first").await.is_empty());
    assert_eq!(found(owner, "second grey").await, ["Second wombat"]);
    owner.patch(&path).json(&json!({"description": "Second"})).expect(200).await;
    assert!(found(owner, "grey").await.is_empty());
    owner.patch(&path).json(&json!({"title": "Third", "description": "Second"})).expect(200).await;
    let page = page(owner, &[("q", "second")]).await;
    assert_eq!(page["items"][0]["score"], 1, "the word has left the title");

    let comment = owner.post(&format!("{path}/comments")).json(&json!({"body": "Numbat"})).expect(201).await.json();
    owner.post(&format!("{path}/comments")).json(&json!({"body": "Numbat"})).expect(201).await;
    owner.upload("numbat.txt", "text", &[("task_id", id_of(&task))]).expect(201).await;
    assert_eq!(found(owner, "numbat").await.len(), 3);
    owner.delete(&format!("{path}/comments/{}", id_of(&comment))).expect(204).await;
    assert_eq!(found(owner, "numbat").await.len(), 2);
    owner.delete(&path).expect(204).await;
    assert!(found(owner, "numbat").await.is_empty());
    assert_eq!(count(app, "kind <> 'user'").await, "0", "nothing is left of what was deleted");

    let key = json!({"name": "Robot kowari", "role": "viewer"});
    let key = owner.post("/api/v1/api-keys").json(&key).expect(201).await.json();
    let person = tenant.viewer().await;
    person.patch("/api/v1/users/me").json(&json!({"name": "Kowari"})).expect(200).await;
    assert_eq!(found(owner, "kowari").await, ["Kowari", "Robot kowari"]);
    owner.delete(&format!("/api/v1/api-keys/{}", id_of(&key))).expect(204).await;
    assert_eq!(found(owner, "kowari").await, ["Kowari"]);
    owner.delete(&format!("/api/v1/users/{}", person.id())).expect(204).await;
    assert!(found(owner, "kowari").await.is_empty());
}

#[tokio::test]
async fn everybody_finds_what_they_may_read_and_nothing_else() {
    let tenant = tenant().await;
    let (owner, admin, editor, viewer) =
        (&tenant.owner, tenant.admin().await, tenant.editor().await, tenant.viewer().await);
    let other = tenant.app.tenant().await.owner;
    owner.task(json!({"title": "Okapi task"})).await;
    let contract = json!({
        "title": "Okapi contract", "counterparty": "Okapi", "start_date": "2030-01-01", "end_date": "2031-01-01",
    });
    let contract = owner.contract(contract).await;
    owner.upload("okapi of contract.txt", "text", &[("contract_id", id_of(&contract))]).expect(201).await;
    editor.upload("okapi of editor.txt", "text", &[]).expect(201).await;
    owner.upload("okapi of owner.txt", "text", &[]).expect(201).await;
    let all = ["okapi of owner.txt", "okapi of editor.txt", "okapi of contract.txt", "Okapi task"];
    let sorted = |mut titles: Vec<String>| {
        titles.sort();
        titles
    };
    let expect = |titles: &[&str]| sorted(titles.iter().map(|title| (*title).to_owned()).collect());
    for person in [owner, &admin] {
        assert_eq!(sorted(found(person, "okapi").await), expect(&[&all[..], &["Okapi contract"]].concat()));
    }
    let seen = [&all[1..], &["Okapi contract"]].concat();
    assert_eq!(sorted(found(&editor, "okapi").await), expect(&seen));
    assert_eq!(found(&viewer, "okapi").await, ["Okapi task"]);
    assert!(found(&other, "okapi").await.is_empty());
    for kind in ["contract", "file", "user"] {
        assert_eq!(page(&viewer, &[("q", "okapi"), ("kind", kind)]).await["meta"]["total"], 0, "{kind}");
    }
    // Users are found by those who may see their addresses.
    let name = tenant.app.unique();
    viewer.patch("/api/v1/users/me").json(&json!({"name": format!("Okapi {name}")})).expect(200).await;
    assert_eq!(found(&admin, &name).await, [format!("Okapi {name}")]);
    assert!(found(&editor, &name).await.is_empty());
}

#[tokio::test]
async fn what_can_t_be_searched_for_is_said() {
    let owner = tenant().await.owner;
    let refused = [
        ("q=", 400, "q"),
        ("", 400, "q"),
        ("q=a&sort=score", 400, "sort"),
        ("q=%21%3F", 422, "q"),
        ("q=a+b+c+d+e+f+g+h+i", 422, "q"),
        ("q=a&kind=amount", 422, "kind"),
        ("q=a&kind=session", 422, "kind"),
        ("q=a&cursor=x", 400, "cursor"),
    ];
    for (query, status, member) in refused {
        let answer = owner.get(&format!("/api/v1/search?{query}")).expect(status).await;
        assert!(answer.detail()[member].is_array(), "{query}: {}", answer.text());
    }
    owner.get(&format!("/api/v1/search?q={}", "x".repeat(201))).expect(400).await;
    assert!(found(&owner, &"가".repeat(200)).await.is_empty());
    assert!(found(&owner, "' OR 1=1 --").await.is_empty());
}

#[tokio::test]
async fn pages_follow_each_other() {
    let owner = tenant().await.owner;
    for number in 0..25 {
        owner.task(json!({"title": format!("Dingo {number}")})).await;
    }
    let mut titles = vec![];
    let mut cursor = String::new();
    loop {
        let page = page(&owner, &[("q", "dingo"), ("per_page", "10"), ("cursor", &cursor)]).await;
        titles.extend(page["items"].as_array().unwrap().iter().map(|item| item["title"].as_str().unwrap().to_owned()));
        match page["meta"]["next_cursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => break,
        }
    }
    let newest_first: Vec<_> = (0..25).rev().map(|number| format!("Dingo {number}")).collect();
    assert_eq!(titles, newest_first);
    let third = page(&owner, &[("q", "dingo"), ("per_page", "10"), ("page", "3")]).await;
    assert_eq!((third["items"].as_array().unwrap().len(), &third["meta"]["total"]), (5, &json!(25)));
}

#[tokio::test]
async fn a_long_text_is_indexed_by_a_job_and_not_without_end() {
    let tenant = TestApp::alone().await.tenant().await;
    let (app, owner) = (&tenant.app, &tenant.owner);
    let words = |range: std::ops::Range<usize>| range.map(|n| format!("w{n}")).collect::<Vec<_>>().join(" ");
    let minutes = words(0..3000);
    let meeting = owner
        .meeting(json!({
            "title": "Protocol", "starts_at": "2030-01-01T10:00:00Z", "ends_at": "2030-01-01T11:00:00Z",
            "minutes": minutes,
        }))
        .await;
    assert_eq!(found(owner, "protocol w10").await, ["Protocol"], "the beginning is found at once");
    let of_meeting = format!("id = {}", app.id(id_of(&meeting).parse().unwrap()));
    assert_eq!(count(app, &of_meeting).await, "200");
    assert!(found(owner, "w1500").await.is_empty());
    app.run_jobs().await;
    assert_eq!(found(owner, "w1500").await, ["Protocol"]);
    assert_eq!(count(app, &of_meeting).await, "2000");
    assert!(found(owner, "w2999").await.is_empty());

    let path = format!("/api/v1/meetings/{}", id_of(&meeting));
    owner.patch(&path).json(&json!({"status": "in_progress"})).expect(200).await;
    assert_eq!(count(app, &of_meeting).await, "2000", "the texts are as they were");
    owner.patch(&path).json(&json!({"minutes": words(5000..5300)})).expect(200).await;
    owner.delete(&path).expect(204).await;
    app.run_jobs().await;
    assert_eq!(count(app, &of_meeting).await, "0", "the job came after the deletion");
}

#[tokio::test]
async fn only_the_rows_of_existing_records_have_terms() {
    let tenant = TestApp::alone().await.tenant().await;
    let (app, owner) = (&tenant.app, &tenant.owner);
    owner.task(json!({"title": "Kept emu"})).await;
    let gone = owner.task(json!({"title": "Gone emu"})).await;
    let id = app.id(id_of(&gone).parse().unwrap());
    app.run(&format!("DELETE FROM tasks WHERE id = {id}")).await; // by hand
    assert_eq!(found(owner, "kept").await, ["Kept emu"]);
    let page = page(owner, &[("q", "emu")]).await;
    assert_eq!(page["items"].as_array().unwrap().len(), 1, "what is not there is not shown");
    app.run("UPDATE tasks SET title = 'Kept emus'").await;
    let mut seen = 0;
    search::rebuild(&app.parts.db, tenant.id.into(), |count| seen += count).await.unwrap();
    assert_eq!(found(owner, "emu").await, ["Kept emus"]);
    assert_eq!(seen, 2, "the task and the owner");
    for source in RECORDS.kinds().filter_map(|kind| kind.texts()) {
        assert!(schema::table(source.table).is_some());
        let orphans = format!("kind = '{}' AND id NOT IN (SELECT id FROM {})", source.kind, source.table);
        assert_eq!(count(app, &orphans).await, "0", "{}", source.kind);
    }
}

#[tokio::test]
async fn the_command_rebuilds_what_is_missing() {
    if !is_for(Kind::Sqlite, "the command is the same on all databases") {
        return;
    }
    let database = TestDatabase::create().await;
    let command = |arguments: &[&str]| {
        let mut command = bizcenter(database.folder.path(), arguments);
        command.env("DATABASE_URL", &database.url);
        command
    };
    let few = ["seed", "--users", "5", "--tasks", "20", "--items", "3", "--meetings", "0", "--contracts", "0"];
    let (code, out, _) = run(&mut command(&few)).await;
    assert_eq!(code, 0, "{out}");
    let terms = async || {
        database.rows("SELECT concat(hex(id), audience, term, kind, weight) FROM search_terms ORDER BY 1").await
    };
    let made = terms().await;
    assert!(made.len() > 100, "{}", made.len());
    database.rows("DELETE FROM search_terms").await;
    let (code, out, error) = run(&mut command(&["search", "rebuild"])).await;
    assert_eq!((code, &*error), (0, ""), "{out}");
    assert!(out.contains("records of 1 tenants are indexed"), "{out}");
    assert_eq!(terms().await, made);
    let (code, _, error) = run(&mut command(&["search", "rebuild", "--tenant", "nobody"])).await;
    assert_eq!((code, error.contains("there is no tenant nobody")), (1, true), "{error}");
}

/// Many changes of one record at once, and rebuilds beside them, leave the terms of the last change.
#[tokio::test]
async fn changes_at_once_leave_the_terms_of_the_record() {
    let tenant = TestApp::alone().await.tenant().await;
    let (app, owner) = (&tenant.app, &tenant.owner);
    let task = owner.task(json!({"title": "Lynx"})).await;
    let path = &format!("/api/v1/tasks/{}", id_of(&task));
    let change = async |n: usize| owner.patch(path).json(&json!({"title": format!("Lynx number{n}")})).send().await;
    let rebuild = async {
        for _ in 0..3 {
            search::rebuild(&app.parts.db, tenant.id.into(), |_| {}).await.unwrap();
        }
    };
    let (answers, ()) = join(join_all((0..12).map(change)), rebuild).await;
    assert!(answers.iter().any(|answer| answer.status == 200));
    let title = owner.get(path).expect(200).await.json()["title"].as_str().unwrap().to_owned();
    assert_eq!(found(owner, &title).await, [title.as_str()]);
    assert_eq!(count(app, "kind = 'task'").await, "2", "{title}");
}
