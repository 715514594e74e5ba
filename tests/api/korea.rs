//! A server in Korea: names, titles and mails in Hangul stay complete, in whatever form they are typed.
use crate::support::{Mailbox, PASSWORD, TestApp};
use bizcenter::db::jobs::JobContext;
use bizcenter::services::mail::{Mail, Mailer};
use serde_json::{Value, json};
use unicode_normalization::UnicodeNormalization;
use uuid::Uuid;

const REGISTER: &str = "/api/v1/auth/register";
const FROM: &str = "비즈센터 고객 지원 <no-reply@예시.example>";

/// The decomposed form of a text, in which a Mac may type it and in which it stores file names.
fn decomposed(text: &str) -> String {
    let typed: String = text.nfd().collect();
    assert_ne!(typed, text);
    typed
}

fn query(name: &str, text: &str) -> String {
    serde_urlencoded::to_string([(name, text)]).unwrap()
}

fn job() -> JobContext {
    JobContext { id: Uuid::from_u128(1).into(), tenant: None, is_repeat: false }
}

fn mail(to: &str, subject: &str, text: &str) -> Mail {
    // In the form in which a job has it.
    serde_json::from_value(json!({"to": to, "subject": subject, "text": text})).unwrap()
}

// --- texts

#[tokio::test]
async fn titles_are_found_however_they_are_typed() {
    let tenant = TestApp::start().await.tenant().await;
    let owner = &tenant.owner;
    let (title, tag) = ("보안 관제 보고서", "긴급");
    for (title, tag) in [(title.to_owned(), tag.to_owned()), (decomposed(title), decomposed(tag))] {
        let task = owner.task(json!({"title": title, "description": title, "tags": [tag]})).await;
        assert_eq!(task["title"], json!("보안 관제 보고서"));
        assert_eq!((&task["description"], &task["tags"]), (&task["title"], &json!(["긴급"])));
        let path = format!("/api/v1/tasks/{}", task["id"].as_str().unwrap());
        let changed = owner.patch(&path).json(&json!({"title": title})).expect(200).await.json();
        assert_eq!(changed["title"], json!("보안 관제 보고서"));
    }
    for query in ["관제", "보고서"].into_iter().flat_map(|q| [query("q", q), query("q", &decomposed(q))]) {
        let found = owner.get(&format!("/api/v1/tasks?{query}")).expect(200).await.json();
        assert_eq!(found["meta"]["total"], json!(2), "{query}");
        let export = owner.get(&format!("/api/v1/tasks/export?fields=title&{query}")).expect(200).await;
        assert_eq!(export.text(), "title\r\n보안 관제 보고서\r\n보안 관제 보고서\r\n", "{query}");
    }
    for query in [query("tag", tag), query("tag", &decomposed(tag))] {
        let found = owner.get(&format!("/api/v1/tasks?{query}")).expect(200).await.json();
        assert_eq!(found["meta"]["total"], json!(2), "{query}");
    }
}

#[tokio::test]
async fn what_a_title_may_hold_is_counted_as_people_see_it() {
    let owner = TestApp::start().await.tenant().await.owner;
    let longest = "한".repeat(200);
    let task = owner.task(json!({"title": decomposed(&longest)})).await;
    assert_eq!(task["title"], json!(longest));
    let longer = json!({"title": decomposed(&"한".repeat(201))});
    let answer = owner.post("/api/v1/tasks").json(&longer).send().await;
    assert_eq!(answer.detail(), json!({"title": ["must have at most 200 characters"]}));
}

#[tokio::test]
async fn a_company_and_its_people_have_the_names_that_they_gave() {
    let app = TestApp::start().await;
    let (company, name) = ("주식회사 비즈센터", "김철수");
    let email = format!("{}@example.com", app.unique());
    let input = json!({
        "email": email, "password": PASSWORD, "name": decomposed(name), "tenant_name": decomposed(company),
    });
    let user: Value = app.visitor().post(REGISTER).json(&input).expect(201).await.json();
    assert_eq!(user["name"], json!(name));
    let owner = app.visitor().sign_in(&email).await;
    assert_eq!(owner.get("/api/v1/tenant").expect(200).await.json()["name"], json!(company));
    for q in [name.to_owned(), decomposed(name)] {
        let found = owner.get(&format!("/api/v1/users?{}", query("q", &q))).expect(200).await.json();
        assert_eq!(found["items"][0]["id"], user["id"], "{q:?}");
    }
    app.visitor().post("/api/v1/auth/password/forgot").json(&json!({"email": email})).expect(202).await;
    let letters = app.letters_to(&email, 2).await;
    for prefix in ["bcv_", "bcp_"] {
        let letter = letters.iter().find(|letter| letter.text.contains(prefix)).unwrap();
        assert!(letter.text.contains(name), "{}", letter.text);
        assert!(letter.lines.iter().all(|line| line.is_ascii() && line.len() <= 998), "{:?}", letter.lines);
    }
}

// --- mails

#[tokio::test]
async fn a_mail_in_hangul_arrives_whole_in_short_lines_of_ascii() {
    let (mailbox, url) = Mailbox::start().await;
    let mailer = Mailer::new(Some(&url), FROM, false).unwrap();
    let subject = format!("{}Reset 비밀번호, \"끝\"", "비밀번호를 다시 정하십시오: ".repeat(12));
    let paragraph = "가나다라마바사아자차카타파하".repeat(200); // one line of 8,400 bytes
    let latin = format!("{} 김철수.", "An English line. ".repeat(100)); // this is sent as quoted-printable
    for text in [format!("안녕하세요.\n\n{paragraph}\n\n감사합니다.\n"), format!("Hello,\n\n{latin}\n")] {
        mailer.send(job(), mail("kim@예시.example", &subject, &text)).await.unwrap();
        let letter = mailbox.to("kim@xn--vv4b11d.example").pop().unwrap();
        assert_eq!(letter.from, "비즈센터 고객 지원 <no-reply@xn--vv4b11d.example>");
        assert_eq!(letter.subject, subject);
        assert_eq!(letter.text.trim(), text.trim());
        assert!(letter.id.ends_with("@xn--vv4b11d.example>"), "{}", letter.id);
        let longest = letter.lines.iter().map(String::len).max().unwrap();
        assert!(
            longest <= 100,
            "{longest}: RFC 5322, 2.1.1 forbids more than 998, and what is near to it is cut somewhere"
        );
        assert!(letter.lines.iter().all(|line| line.is_ascii()));
    }
}

/// A mail server without SMTPUTF8 will never accept this mail. If the server lacks something else, the mail is tried
/// again later.
#[tokio::test]
async fn an_address_that_the_mail_server_can_not_write_is_given_up() {
    let (mailbox, url) = Mailbox::start_with(b"250-test\r\n250 8BITMIME\r\n").await;
    let mailer = Mailer::new(Some(&url), FROM, false).unwrap();
    mailer.send(job(), mail("김@예시.example", "Hello", "Hello\n")).await.unwrap();
    mailer.send(job(), mail("kim@예시.example", "Hello", "Hello\n")).await.unwrap();
    assert_eq!(mailbox.to("김@xn--vv4b11d.example").len(), 0);
    assert_eq!(mailbox.to("kim@xn--vv4b11d.example").len(), 1);
    let (mailbox, url) = Mailbox::start().await;
    let mailer = Mailer::new(Some(&url), FROM, false).unwrap();
    mailer.send(job(), mail("김@예시.example", "Hello", "Hello\n")).await.unwrap();
    assert_eq!(mailbox.to("김@xn--vv4b11d.example").len(), 1);
}
