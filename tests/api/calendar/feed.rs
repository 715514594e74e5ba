//! The feed of a person: what it shows, and when it ends.
use super::*;
use crate::support::PASSWORD;
use bizcenter::config::RateLimitConfig;
use bizcenter::db::WriteTx;
use bizcenter::db::types::Instant;
use bizcenter::resources::meetings;
use bizcenter::resources::meetings::{Meeting, MeetingInput, MeetingStatus};

const OWN: &str = "/api/v1/users/me/calendar";

/// Creates a person's feed and returns its address.
async fn make(person: &Person) -> String {
    let made = person.post(OWN).expect(201).await;
    assert_eq!((made.header("location"), made.header("cache-control")), (Some(OWN), Some("no-store")));
    made.json()["url"].as_str().unwrap().to_owned()
}

/// The titles that the feed at this address shows.
async fn titles(app: &TestApp, url: &str) -> String {
    let read = lines(&app.visitor().get(url).expect(200).await);
    let is = |line: &&Line, name: &str, value: &str| line.name == name && line.value == value;
    let begun = |component: &str| read.iter().filter(|line| is(line, "BEGIN", component)).count();
    let titles = read.iter().filter(|line| line.name == "SUMMARY").map(|line| line.value.clone());
    let titles: Vec<_> = titles.collect();
    assert_eq!(begun("VEVENT"), titles.len());
    assert_eq!(begun("VTIMEZONE"), usize::from(titles.is_empty()), "a calendar has at least one component");
    titles.join(" ")
}

async fn is_gone(app: &TestApp, url: &str) {
    assert_eq!(app.visitor().get(url).send().await.error(), (404, "not_found".into()), "{url}");
}

#[tokio::test]
async fn a_feed_is_made_replaced_and_revoked() {
    let tenant = tenant().await;
    let (app, viewer) = (&tenant.app, tenant.viewer().await);
    for call in [viewer.get(OWN), viewer.delete(OWN)] {
        assert_eq!(call.send().await.error(), (404, "not_found".into()));
    }
    let made = viewer.post(OWN).expect(201).await;
    let first = made.json()["url"].as_str().unwrap().to_owned();
    assert!(first.starts_with("/calendar/bcf_") && first.ends_with(".ics"), "{first}");
    let known = viewer.get(OWN).expect(200).await;
    assert_eq!(known.json(), json!({"id": made.json()["id"], "created_at": made.json()["created_at"], "version": 1}));
    viewer.get(OWN).header("if-none-match", known.header("etag").unwrap()).expect(304).await;
    assert_eq!(titles(app, &first).await, "");

    let second = make(&viewer).await;
    is_gone(app, &first).await;
    assert_eq!(titles(app, &second).await, "");
    let others = make(&tenant.owner).await;
    viewer.delete(OWN).expect(204).await;
    is_gone(app, &second).await;
    assert_eq!(titles(app, &others).await, "");
    viewer.get(OWN).expect(404).await;
    let rows = format!("SELECT changes FROM audit_logs WHERE tenant_id = {}", app.id(tenant.id));
    let rows = app.rows(&rows).await.concat().concat();
    let is_told = |url: &str| rows.contains(url.trim_start_matches("/calendar/").trim_end_matches(".ics"));
    assert!(!is_told(&first) && !is_told(&second) && !rows.contains("url"), "{rows}");
}

#[tokio::test]
async fn of_many_feeds_at_once_one_is_left() {
    let tenant = tenant().await;
    let made = futures_util::future::join_all((0..5).map(|_| make(&tenant.owner))).await;
    let mut served = 0;
    for url in made {
        let status = tenant.app.visitor().get(&url).send().await.status;
        assert!(status == 200 || status == 404);
        served += usize::from(status == 200);
    }
    assert_eq!(served, 1);
}

#[tokio::test]
async fn it_shows_what_the_person_made_or_comes_to() {
    let tenant = tenant().await;
    let (app, editor, other) = (&tenant.app, tenant.editor().await, tenant.editor().await);
    let now = app.parts.env.now();
    let at = |title: &str, by: Duration| {
        let (starts_at, ends_at) = (now + by, now + by + Duration::hours(1));
        json!({"title": title, "agenda": "Secret", "starts_at": starts_at.to_rfc3339(), "ends_at": ends_at.to_rfc3339()})
    };
    for (title, by) in [
        ("long-ago", Duration::days(-91)),
        ("past", Duration::days(-89)),
        ("now", Duration::zero()),
        ("ahead", Duration::days(364)),
        ("too-far", Duration::days(368)),
    ] {
        editor.meeting(at(title, by)).await;
    }
    let invite = async |title: &str, days: i64, rsvp: &str| {
        let meeting = other.meeting(at(title, Duration::days(days))).await;
        let attendees = format!("{}/attendees", path_of(&meeting));
        other.post(&attendees).json(&json!({"email": "guest@elsewhere.example"})).expect(201).await;
        let made = other.post(&attendees).json(&json!({"user_id": editor.id()})).expect(201).await;
        editor.patch(made.header("location").unwrap()).json(&json!({"rsvp": rsvp})).expect(200).await;
        meeting
    };
    invite("asked", 1, "none").await;
    let comes = invite("comes", 2, "yes").await;
    invite("declined", 3, "no").await;
    other.meeting(at("not-theirs", Duration::days(4))).await;
    let elsewhere = super::tenant().await.owner;
    elsewhere.meeting(at("elsewhere", Duration::days(5))).await;

    let url = make(&editor).await;
    assert_eq!(titles(app, &url).await, "past now asked comes ahead");
    let answer = app.visitor().get(&url).expect(200).await;
    for hidden in ["Secret", "ATTENDEE", "ORGANIZER", "@elsewhere.example", &editor.email()] {
        assert!(!answer.text().contains(hidden), "{hidden} in {}", answer.text());
    }
    assert_eq!(answer.header("cache-control"), Some("private, no-cache"));
    let tag = answer.header("etag").unwrap();
    app.visitor().get(&url).header("if-none-match", tag).expect(304).await;
    app.visitor().get(&format!("{url}?refresh=1")).expect(200).await;
    other.patch(&path_of(&comes)).json(&json!({"title": "moved"})).expect(200).await;
    let changed = app.visitor().get(&url).header("if-none-match", tag).expect(200).await;
    assert!(changed.text().contains("SUMMARY:moved\r\n"));
}

#[tokio::test]
async fn a_wrong_address_is_one_that_never_was() {
    let tenant = tenant().await;
    let (app, owner) = (&tenant.app, &tenant.owner);
    let revoked = make(owner).await;
    let url = make(owner).await;
    let key = json!({"name": "Robot", "role": "viewer"});
    let key = owner.post("/api/v1/api-keys").json(&key).expect(201).await.json()["key"].as_str().unwrap().to_owned();
    let cut = |count: usize| format!("{}.ics", &url[..url.len() - 4 - count]);
    let other = if url.contains("A.ics") { "B" } else { "A" };
    for wrong in [
        revoked,
        cut(1),
        cut(2),
        cut(40),
        format!("{}{other}.ics", cut(5).trim_end_matches(".ics")),
        url.trim_end_matches(".ics").to_owned(),
        format!("{url}.ics"),
        url.replace(".ics", "AA.ics"),
        url.replace(".ics", ".ICS"),
        url.replace("bcf_", "bci_"),
        url.replace("bcf_", "BCF_"),
        format!("/calendar/{key}.ics"),
        "/calendar/.ics".to_owned(),
        "/calendar/bcf_.ics".to_owned(),
        "/calendar/%00.ics".to_owned(),
        format!("/calendar/{}.ics", "A".repeat(4000)),
    ] {
        let answer = app.visitor().get(&wrong).send().await;
        assert_eq!((answer.error(), answer.detail()), ((404, "not_found".into()), json!({})), "{wrong}");
        assert_eq!(answer.json()["error"]["message"], "The resource was not found.", "{wrong}");
    }
    app.visitor().get(&url).expect(200).await;
}

#[tokio::test]
async fn it_ends_with_the_password_and_the_person() {
    let tenant = tenant().await;
    let (app, owner) = (&tenant.app, &tenant.owner);
    let change = json!({"current_password": PASSWORD, "new_password": "another horse battery"});
    let person = tenant.viewer().await;
    let url = make(&person).await;
    person.post("/api/v1/auth/password").json(&change).expect(204).await;
    is_gone(app, &url).await;

    let person = tenant.viewer().await;
    let url = make(&person).await;
    let change = json!({"current_password": PASSWORD, "password": "another horse battery"});
    person.patch("/api/v1/users/me").json(&change).expect(200).await;
    is_gone(app, &url).await;

    let person = tenant.viewer().await;
    let url = make(&person).await;
    app.visitor().post("/api/v1/auth/password/forgot").json(&json!({"email": person.email()})).expect(202).await;
    let token = app.letters_to(&person.email(), 1).await[0].token("bcp_");
    let reset = json!({"token": token, "password": "another horse battery"});
    app.visitor().post("/api/v1/auth/password/reset").json(&reset).expect(204).await;
    is_gone(app, &url).await;

    // The feed of a disabled user is not served until the user is enabled again. The feed of a removed user is never
    // served again.
    let person = tenant.viewer().await;
    let url = make(&person).await;
    let path = format!("/api/v1/users/{}", person.id());
    owner.patch(&path).json(&json!({"is_active": false})).expect(200).await;
    is_gone(app, &url).await;
    owner.patch(&path).json(&json!({"is_active": true})).expect(200).await;
    assert_eq!(titles(app, &url).await, "");
    owner.delete(&path).expect(204).await;
    is_gone(app, &url).await;
    let rows = format!("SELECT 'left' FROM calendar_feeds WHERE tenant_id = {}", app.id(tenant.id));
    assert!(app.rows(&rows).await.is_empty());

    let url = make(owner).await;
    let operator = super::tenant().await.operator().await;
    let path = format!("/api/v1/admin/tenants/{}", tenant.id);
    operator.patch(&path).json(&json!({"is_suspended": true})).expect(200).await;
    is_gone(app, &url).await;
}

#[tokio::test]
async fn an_api_key_has_none() {
    let tenant = tenant().await;
    let key = json!({"name": "Robot", "role": "admin"});
    let key =
        tenant.owner.post("/api/v1/api-keys").json(&key).expect(201).await.json()["key"].as_str().unwrap().to_owned();
    let visitor = tenant.app.visitor();
    for call in [visitor.post(OWN), visitor.delete(OWN)] {
        assert_eq!(call.header("x-api-key", &key).send().await.error(), (403, "forbidden".into()));
    }
    visitor.get(OWN).header("x-api-key", &key).expect(404).await;
    visitor.post(OWN).expect(401).await;
}

#[tokio::test]
async fn a_wrong_secret_counts_for_the_visitor_and_a_right_one_for_the_feed() {
    let app = TestApp::with(|config| {
        config.redis.url = None; // in Redis, all servers of a run would share the count of 127.0.0.1
        config.rate_limit =
            RateLimitConfig { enabled: true, anonymous_per_hour: 2, feed_per_hour: 3, ..config.rate_limit };
    })
    .await;
    let owner = app.tenant().await.owner;
    let url = make(&owner).await;
    app.visitor().get(&url).expect(200).await; // the feed is now known: guesses from the same address no longer stop it
    for expected in [404, 404, 429, 429] {
        app.visitor().get("/calendar/bcf_x.ics").expect(expected).await;
    }
    let well_formed = url.replace("bcf_", "bcf_A");
    let refused = app.visitor().get(&well_formed).expect(429).await;
    assert!(refused.header("ratelimit-policy").unwrap().contains("anonymous"), "{refused:?}");
    for expected in [200, 200, 429] {
        app.visitor().get(&url).expect(expected).await;
    }
    owner.get(OWN).expect(200).await; // another limit applies to the owner
}

#[tokio::test]
async fn of_too_many_meetings_the_nearest_are_shown() {
    let tenant = tenant().await;
    let now = tenant.app.parts.env.now();
    let meeting = |hours: i64| {
        let starts_at = Instant::from(now + Duration::hours(hours));
        let ends_at = Instant::from(starts_at.0 + Duration::minutes(30));
        let (agenda, minutes, location, status) = (None, None, None, MeetingStatus::Scheduled);
        let input = MeetingInput { title: format!("{hours}"), agenda, minutes, location, status, starts_at, ends_at };
        Meeting::new(tenant.app.parts.env.uuid().into(), input, tenant.owner.id().into(), now.into())
    };
    let made: Vec<_> = (-600..=-1).chain(1..=600).map(meeting).collect();
    let (db, id) = (tenant.app.parts.db.clone(), tenant.id.into());
    let store = async move |tx: &mut WriteTx| {
        for some in made.chunks(100) {
            meetings::store(tx, some).await?;
        }
        Ok(())
    };
    tenant.app.by_hand(async move { db.write_seeded(id, store).await.unwrap() }).await;
    let url = make(&tenant.owner).await;
    let expected: Vec<_> = (-400..=-1).chain(1..=600).map(|hours: i64| hours.to_string()).collect();
    assert_eq!(titles(&tenant.app, &url).await, expected.join(" "));
}
