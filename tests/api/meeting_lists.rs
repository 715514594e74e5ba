//! Lists of meetings: days in the tenant's time zone, filters, order, search, export.
use crate::support::{Person, TestApp};
use serde_json::json;

async fn owner_in(timezone: &str) -> Person {
    let owner = TestApp::start().await.tenant().await.owner;
    owner.patch("/api/v1/tenant").json(&json!({"timezone": timezone})).expect(200).await;
    owner
}

/// The titles that these parameters find. They are in the order of time, unless the parameters say otherwise.
async fn titles(person: &Person, parameters: &str) -> String {
    let sort = if parameters.contains("sort=") { "" } else { "&sort=starts_at" };
    let page = person.get(&format!("/api/v1/meetings?per_page=100&{parameters}{sort}")).expect(200).await.json();
    let items = page["items"].as_array().unwrap();
    assert_eq!(page["meta"]["total"], json!(items.len()), "{parameters}");
    items.iter().map(|item| item["title"].as_str().unwrap()).collect::<Vec<_>>().join(" ")
}

/// Creates meetings that start at these times. Each takes a microsecond.
async fn make(owner: &Person, times: &[(&str, &str)]) {
    for (title, starts_at) in times {
        let time: chrono::DateTime<chrono::Utc> = starts_at.parse().unwrap();
        let ends_at = (time + chrono::Duration::microseconds(1)).to_rfc3339();
        owner.meeting(json!({"title": title, "starts_at": time.to_rfc3339(), "ends_at": ends_at})).await;
    }
}

#[tokio::test]
async fn days_are_the_tenants_whole_and_inclusive() {
    let owner = owner_in("Asia/Seoul").await;
    let times = [
        ("before", "2026-05-17T23:59:59.999999+09:00"),
        ("first", "2026-05-18T00:00:00+09:00"),
        ("late", "2026-05-18T23:30:00+09:00"),
        ("last", "2026-05-18T23:59:59.999999+09:00"),
        ("after", "2026-05-19T00:00:00+09:00"),
    ];
    make(&owner, &times).await;
    for (parameters, found) in [
        ("from_date=2026-05-18&to_date=2026-05-18", "first late last"),
        ("from_date=2026-05-18", "first late last after"),
        ("to_date=2026-05-18", "before first late last"),
        ("to_date=2026-05-17", "before"),
        ("from_date=2026-05-19&to_date=2026-05-18", ""),
        ("from_date=0001-01-01&to_date=9999-12-31", "before first late last after"),
        ("from_date=9999-12-31", ""),
        ("to_date=0001-01-01", ""),
    ] {
        assert_eq!(titles(&owner, parameters).await, found, "{parameters}");
    }
    owner.patch("/api/v1/tenant").json(&json!({"timezone": "UTC"})).expect(200).await;
    assert_eq!(titles(&owner, "from_date=2026-05-18&to_date=2026-05-18").await, "late last after");
}

#[tokio::test]
async fn days_of_23_and_25_hours_are_whole_too() {
    for (timezone, day, inside, outside) in [
        // The clocks go forward, so the day has 23 hours.
        (
            "America/New_York",
            "2026-03-08",
            ["2026-03-08T05:00:00Z", "2026-03-09T03:30:00Z"],
            ["2026-03-08T04:59:59Z", "2026-03-09T04:00:00Z"],
        ),
        (
            "Pacific/Auckland",
            "2026-09-27",
            ["2026-09-26T12:00:00Z", "2026-09-27T10:30:00Z"],
            ["2026-09-26T11:59:59Z", "2026-09-27T11:00:00Z"],
        ),
        // The clocks go back, so the day has 25 hours.
        (
            "America/New_York",
            "2026-11-01",
            ["2026-11-01T04:00:00Z", "2026-11-02T04:30:00Z"],
            ["2026-11-01T03:59:59Z", "2026-11-02T05:00:00Z"],
        ),
        (
            "Pacific/Auckland",
            "2026-04-05",
            ["2026-04-04T11:00:00Z", "2026-04-05T11:30:00Z"],
            ["2026-04-04T10:59:59Z", "2026-04-05T12:00:00Z"],
        ),
        // The day has no midnight: it began at 01:00.
        (
            "America/Sao_Paulo",
            "2018-11-04",
            ["2018-11-04T03:00:00Z", "2018-11-05T01:59:59Z"],
            ["2018-11-04T02:59:59Z", "2018-11-05T02:00:00Z"],
        ),
    ] {
        let owner = owner_in(timezone).await;
        let times: Vec<_> =
            inside.into_iter().map(|time| ("in", time)).chain(outside.map(|time| ("out", time))).collect();
        make(&owner, &times).await;
        let found = titles(&owner, &format!("from_date={day}&to_date={day}")).await;
        assert_eq!(found, "in in", "{day} in {timezone}");
    }
}

#[tokio::test]
async fn filters_leave_what_fits_all_of_them() {
    let tenant = TestApp::start().await.tenant().await;
    let (owner, viewer) = (&tenant.owner, tenant.viewer().await);
    let a = owner.meeting(json!({"title": "a", "status": "completed", "starts_at": "2026-05-18T08:00:00Z"})).await;
    owner.meeting(json!({"title": "b", "agenda": "100% Ünïcode", "starts_at": "2026-05-18T08:30:00Z"})).await;
    let c = owner.meeting(json!({"title": "c", "location": "Straße 한국", "minutes": "hidden from the search"})).await;
    for meeting in [&a, &c] {
        let path = format!("/api/v1/meetings/{}/attendees", meeting["id"].as_str().unwrap());
        owner.post(&path).json(&json!({"user_id": viewer.id()})).expect(201).await;
        owner.post(&path).json(&json!({"email": "guest@elsewhere.example"})).expect(201).await;
    }
    let elsewhere = TestApp::start().await.tenant().await;
    elsewhere.owner.meeting(json!({"title": "elsewhere"})).await;
    let me = format!("attendee={}", viewer.id());
    for (parameters, found) in [
        ("", "a b c"),
        ("status=completed", "a"),
        ("status=cancelled", ""),
        (&me, "a c"),
        (&format!("{me}&status=scheduled"), "c"),
        (&format!("{me}&to_date=2026-05-17"), ""),
        (&format!("attendee={}", owner.id()), ""),
        (&format!("attendee={}", elsewhere.owner.id()), ""),
        ("q=0%25%20%C3%BCn%C3%AF", "b"),
        ("q=%ED%95%9C%EA%B5%AD", "c"),
        ("q=hidden", ""),
        ("sort=-title", "c b a"),
        ("sort=title", "a b c"),
        ("sort=-starts_at", "c b a"),
        ("sort=status&status=scheduled&q=b", "b"),
        ("sort=created_at", "a b c"),
        ("sort=-updated_at", "c a b"),
    ] {
        assert_eq!(titles(&viewer, parameters).await, found, "{parameters}");
    }
    let latest = viewer.get("/api/v1/meetings?per_page=1").expect(200).await.json();
    assert_eq!(latest["items"][0]["title"], "c", "the latest made stands first");
    let bad = viewer.get("/api/v1/meetings?from_date=2026-02-29&attendee=me&status=done&sort=minutes&x=1").send().await;
    let mut names: Vec<_> = bad.detail().as_object().unwrap().keys().cloned().collect();
    names.sort();
    assert_eq!((bad.error().0, names.join(" ")), (400, "attendee from_date sort status x".into()));
}

#[tokio::test]
async fn every_order_goes_on_by_cursor_and_ends() {
    let owner = owner_in("Europe/Berlin").await;
    let mut all: Vec<_> = (0..7).map(|number| format!("m{number}")).collect();
    for title in &all {
        owner.meeting(json!({"title": title})).await;
    }
    all.sort();
    for sort in ["title", "status", "starts_at", "created_at", "updated_at"] {
        for sign in ["", "-"] {
            let mut found = vec![];
            let mut cursor = String::new();
            loop {
                let path =
                    format!("/api/v1/meetings?sort={sign}{sort}&per_page=2&from_date=2026-05-18&cursor={cursor}");
                let path = if cursor.is_empty() { path.replace("&cursor=", "") } else { path };
                let page = owner.get(&path).expect(200).await.json();
                found.extend(
                    page["items"].as_array().unwrap().iter().map(|item| item["title"].as_str().unwrap().to_owned()),
                );
                match page["meta"]["next_cursor"].as_str() {
                    Some(next) => cursor = next.to_owned(),
                    None => break,
                }
            }
            found.sort();
            assert_eq!(found, all, "{sign}{sort}");
        }
    }
}

#[tokio::test]
async fn an_export_has_the_columns_and_rows_that_are_asked_for() {
    let owner = owner_in("Asia/Seoul").await;
    make(&owner, &[("=late", "2026-05-18T23:30:00+09:00"), ("next", "2026-05-19T00:00:00+09:00")]).await;
    let path = "/api/v1/meetings/export?fields=title,starts_at&to_date=2026-05-18";
    assert_eq!(owner.get(path).expect(200).await.text(), "title,starts_at\r\n'=late,2026-05-18T14:30:00.000000Z\r\n");
    let path = "/api/v1/meetings/export?format=ndjson&fields=title,location&from_date=2026-05-19";
    assert_eq!(owner.get(path).expect(200).await.text(), "{\"title\":\"next\",\"location\":null}\n");
    owner.get("/api/v1/meetings/export?fields=tenant_id").expect(400).await;
}
