//! Calendars as calendar programs read them: the file of a meeting, and the feed of a person.
use crate::meetings::path_of;
use crate::support::{Answer, Person, Tenant, TestApp};
use chrono::Duration;
use serde_json::{Value, json};

mod feed;

/// A content line: its name, its parameters, and its value, still escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    name: String,
    parameters: Vec<(String, String)>,
    value: String,
}

/// Reads a calendar according to RFC 5545 and checks the form of its lines.
fn lines(answer: &Answer) -> Vec<Line> {
    assert_eq!(answer.header("content-type"), Some("text/calendar; charset=utf-8"));
    let text = std::str::from_utf8(&answer.body).unwrap();
    assert!(text.ends_with("\r\n"));
    assert!(!text.replace("\r\n", "").contains(['\r', '\n', '\u{85}', '\u{2028}', '\u{2029}']), "{text:?}");
    for line in text.split("\r\n") {
        assert!(line.len() <= 75, "{} octets: {line}", line.len());
    }
    text.replace("\r\n ", "").trim_end_matches("\r\n").split("\r\n").map(line).collect()
}

fn line(text: &str) -> Line {
    // `:` and `;` within quotation marks belong to the value of a parameter.
    let mut parts = vec![String::new()];
    let (mut is_quoted, mut rest) = (false, text.chars());
    for c in rest.by_ref() {
        match c {
            '"' => is_quoted = !is_quoted,
            ':' if !is_quoted => break,
            ';' if !is_quoted => parts.push(String::new()),
            c => parts.last_mut().unwrap().push(c),
        }
    }
    let value = rest.collect();
    let name = parts.remove(0);
    assert!(!name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '-'), "{text}");
    let parameter = |part: String| {
        let (name, value) = part.split_once('=').unwrap();
        (name.to_owned(), value.to_owned())
    };
    Line { name, parameters: parts.into_iter().map(parameter).collect(), value }
}

/// The value of the only property with this name.
fn value(lines: &[Line], name: &str) -> String {
    let found: Vec<_> = lines.iter().filter(|line| line.name == name).collect();
    assert_eq!(found.len(), 1, "{name} in {lines:?}");
    found[0].value.clone()
}

/// The text of an escaped text value.
fn unescaped(value: &str) -> String {
    let (mut text, mut rest) = (String::new(), value.chars());
    while let Some(c) = rest.next() {
        match c {
            '\\' => match rest.next().unwrap() {
                'n' | 'N' => text.push('\n'),
                c @ ('\\' | ';' | ',') => text.push(c),
                c => panic!("\\{c} in {value}"),
            },
            ';' | ',' => panic!("a bare {c} in {value}"),
            c => text.push(c),
        }
    }
    text
}

async fn tenant() -> Tenant {
    TestApp::start().await.tenant().await
}

async fn file(person: &Person, meeting: &Value) -> Answer {
    person.get(&format!("{}/calendar", path_of(meeting))).expect(200).await
}

#[tokio::test]
async fn a_meeting_is_an_event() {
    let owner = tenant().await.owner;
    let input = json!({
        "title": "Kick-off", "agenda": "Goals", "minutes": "Secret minutes", "location": "Room 4",
        "starts_at": "2026-05-18T09:00:00.25+09:00", "ends_at": "2026-05-18T10:00:00+09:00",
    });
    let meeting = owner.meeting(input).await;
    let first = file(&owner, &meeting).await;
    let read = lines(&first);
    let frame: Vec<_> = read.iter().filter(|line| ["BEGIN", "END"].contains(&line.name.as_str())).collect();
    let frame: Vec<_> = frame.iter().map(|line| format!("{}:{}", line.name, line.value)).collect();
    assert_eq!(frame, ["BEGIN:VCALENDAR", "BEGIN:VEVENT", "END:VEVENT", "END:VCALENDAR"]);
    let stamp: String = meeting["updated_at"].as_str().unwrap()[..19].replace(['-', ':'], "") + "Z";
    for (name, expected) in [
        ("VERSION", "2.0"),
        ("PRODID", "-//BizCenter//BizCenter//EN"),
        ("UID", &format!("{}@bizcenter", meeting["id"].as_str().unwrap())),
        ("DTSTAMP", &stamp),
        ("CREATED", &stamp),
        ("LAST-MODIFIED", &stamp),
        ("SEQUENCE", "0"),
        ("DTSTART", "20260518T000000Z"),
        ("DTEND", "20260518T010000Z"),
        ("SUMMARY", "Kick-off"),
        ("DESCRIPTION", "Goals"),
        ("LOCATION", "Room 4"),
        ("STATUS", "CONFIRMED"),
    ] {
        assert_eq!(value(&read, name), expected, "{name}");
    }
    assert!(!first.text().contains("minutes") && !first.text().contains("ORGANIZER"), "{}", first.text());

    // The same version of a meeting is the same file. Another version is another file about the same event.
    let tag = first.header("etag").unwrap();
    assert_eq!(first.header("cache-control"), Some("private, no-cache"));
    let path = format!("{}/calendar", path_of(&meeting));
    let known = owner.get(&path).header("if-none-match", tag).expect(304).await;
    assert_eq!((known.body.len(), known.header("etag")), (0, Some(tag)));
    let change = json!({"status": "cancelled", "agenda": null, "location": ""});
    owner.patch(&path_of(&meeting)).json(&change).expect(200).await;
    let second = owner.get(&path).header("if-none-match", tag).expect(200).await;
    let changed = lines(&second);
    assert_eq!((value(&changed, "SEQUENCE"), value(&changed, "STATUS")), ("1".into(), "CANCELLED".into()));
    assert_eq!(value(&changed, "UID"), value(&read, "UID"));
    assert!(!second.text().contains("DESCRIPTION") && !second.text().contains("LOCATION"));
}

#[tokio::test]
async fn texts_of_any_kind_come_back_as_they_are() {
    let owner = tenant().await.owner;
    for title in [
        "한".repeat(200),
        "😀".repeat(200),
        "a".repeat(200),
        format!("x{}", " ".repeat(198) + "y"),
        "comma, semicolon; colon: backslash\\ \"quotes\" \\n".to_owned(),
        "x\u{301}\u{200d}👩\u{200d}💻".to_owned(), // this has no composed form
    ] {
        let meeting = owner.meeting(json!({"title": title, "agenda": title.repeat(20), "location": title})).await;
        let read = lines(&file(&owner, &meeting).await);
        assert_eq!(unescaped(&value(&read, "SUMMARY")), title);
        assert_eq!(unescaped(&value(&read, "DESCRIPTION")), title.repeat(20));
        assert_eq!(unescaped(&value(&read, "LOCATION")), title);
    }
    let agenda = "😀\n".repeat(10_000);
    let meeting = owner.meeting(json!({"agenda": agenda})).await;
    assert_eq!(unescaped(&value(&lines(&file(&owner, &meeting).await), "DESCRIPTION")), agenda);
}

#[tokio::test]
async fn nothing_that_people_write_becomes_a_property() {
    let tenant = tenant().await;
    let owner = &tenant.owner;
    for line_break in ["\r\n", "\n", "\r", "\u{b}", "\u{c}", "\u{85}", "\u{2028}", "\u{2029}", "\r\n "] {
        let evil = format!("x{line_break}END:VEVENT{line_break}ATTENDEE:mailto:evil@example.com{line_break}X-EVIL:1");
        owner.patch("/api/v1/users/me").json(&json!({"name": "x\";X-P=\"1"})).expect(200).await;
        let meeting = owner.meeting(json!({"agenda": evil, "location": evil})).await;
        let attendees = format!("{}/attendees", path_of(&meeting));
        owner.post(&attendees).json(&json!({"user_id": owner.id()})).expect(201).await;
        let odd = json!({"email": "\"a;X-P=1:b,c\"@elsewhere.example"});
        let is_taken = owner.post(&attendees).json(&odd).send().await.status == 201;
        let read = lines(&file(owner, &meeting).await);
        let events = read.iter().filter(|line| line.name == "BEGIN").count();
        let guests: Vec<_> = read.iter().filter(|line| line.name == "ATTENDEE").collect();
        assert_eq!((events, guests.len()), (2, 1 + usize::from(is_taken)), "{line_break:?}: {read:?}");
        assert!(read.iter().all(|line| line.name != "X-EVIL"), "{read:?}");
        for guest in guests {
            let names: Vec<_> = guest.parameters.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, ["CN", "PARTSTAT"], "{guest:?}");
            assert!(!guest.value.contains([';', ',', '"', ' ']), "{guest:?}");
        }
        let agenda = unescaped(&value(&read, "DESCRIPTION"));
        assert!(agenda.starts_with("x\n") && agenda.ends_with("\nX-EVIL:1") || line_break == "\r\n ", "{agenda:?}");
    }
}

#[tokio::test]
async fn colleagues_are_named_without_their_addresses() {
    let tenant = tenant().await;
    let (editor, viewer) = (tenant.editor().await, tenant.viewer().await);
    let meeting = editor.meeting(json!({})).await;
    let attendees = format!("{}/attendees", path_of(&meeting));
    for (rsvp, shown) in [("none", "NEEDS-ACTION"), ("yes", "ACCEPTED"), ("maybe", "TENTATIVE"), ("no", "DECLINED")] {
        let guest = format!("{rsvp}+한@elsewhere.example");
        let made = editor.post(&attendees).json(&json!({"email": guest})).expect(201).await;
        editor.patch(made.header("location").unwrap()).json(&json!({"rsvp": rsvp})).expect(200).await;
        let read = lines(&file(&viewer, &meeting).await);
        let address = format!("mailto:{rsvp}+%ED%95%9C@elsewhere.example");
        let guest = read.iter().find(|line| line.value == address).unwrap_or_else(|| panic!("{read:?}"));
        assert_eq!(guest.parameters[1], ("PARTSTAT".into(), shown.into()));
    }
    // The owner may see that this is the viewer's address.
    tenant.owner.post(&attendees).json(&json!({"email": viewer.email()})).expect(201).await;
    let answer = file(&viewer, &meeting).await;
    let read = lines(&answer);
    let colleague = read.iter().find(|line| line.value == format!("urn:uuid:{}", viewer.id())).unwrap();
    assert_eq!((colleague.name.as_str(), &colleague.parameters[0]), ("ATTENDEE", &("CN".into(), "A viewer".into())));
    let organizer = read.iter().find(|line| line.name == "ORGANIZER").unwrap();
    assert_eq!(organizer.value, format!("urn:uuid:{}", editor.id()));
    let text = answer.text().replace("\r\n ", "");
    assert!(!text.contains(&viewer.email()) && !text.contains(&editor.email()), "{text}");
}

#[tokio::test]
async fn a_file_is_of_a_meeting_of_the_tenant() {
    let (ours, theirs) = (tenant().await, tenant().await);
    let path = format!("{}/calendar", path_of(&theirs.owner.meeting(json!({})).await));
    assert_eq!(ours.owner.get(&path).send().await.error(), (404, "not_found".into()));
    ours.app.visitor().get(&path).expect(401).await;
}

#[tokio::test]
async fn calendar_programs_notice_who_is_invited_and_what_they_answer() {
    let app = TestApp::alone().await;
    let tenant = app.tenant().await;
    let (owner, guest) = (&tenant.owner, tenant.viewer().await);
    let meeting = owner.meeting(json!({})).await;
    let list = format!("{}/attendees", path_of(&meeting));
    let mut stamps = vec![];
    let mut look = async || {
        app.clock.advance(Duration::seconds(2));
        let read = lines(&file(owner, &meeting).await);
        stamps.push(value(&read, "DTSTAMP"));
        let answers = read.iter().filter(|line| line.name == "ATTENDEE").count();
        (value(&read, "SEQUENCE"), answers)
    };
    assert_eq!(look().await, ("0".into(), 0));
    let invited = owner.post(&list).json(&json!({"user_id": guest.id()})).expect(201).await.json();
    assert_eq!(look().await, ("1".into(), 1), "another revision");
    let path = format!("{list}/{}", invited["id"].as_str().unwrap());
    guest.patch(&path).json(&json!({"rsvp": "yes"})).expect(200).await;
    assert_eq!(look().await, ("1".into(), 1), "an answer is none");
    owner.delete(&path).expect(204).await;
    assert_eq!(look().await, ("2".into(), 0));
    assert!(stamps.is_sorted_by(|one, next| one < next), "{stamps:?}");
    let now = owner.get(&path_of(&meeting)).expect(200).await;
    assert_eq!((now.header("etag"), &now.json()["version"]), (Some("\"3\""), &json!(3)));
    let stale = owner.patch(&path_of(&meeting)).header("if-match", "\"1\"").json(&json!({"title": "x"}));
    stale.expect(412).await;
}

#[tokio::test]
async fn the_last_second_of_all_can_be_written() {
    let owner = tenant().await.owner;
    let times = json!({"starts_at": "9999-12-31T23:59:59.1Z", "ends_at": "9999-12-31T23:59:59.9Z"});
    let read = lines(&file(&owner, &owner.meeting(times).await).await);
    assert_eq!(
        (value(&read, "DTSTART").as_str(), value(&read, "DTEND").as_str()),
        ("99991231T235959Z", "99991231T235959Z")
    );
}
