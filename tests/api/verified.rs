//! If mail is set up, only users with a verified address may make the server write to strangers, create API keys and
//! open their tenant. Names that users choose must not turn a mail into their own message.
use crate::support::{Answer, PASSWORD, Person, TestApp};
use chrono::Duration;
use serde_json::{Value, json};

const INVITATIONS: &str = "/api/v1/invitations";
const KEYS: &str = "/api/v1/api-keys";
const TENANT: &str = "/api/v1/tenant";
const VERIFY: &str = "/api/v1/auth/email/verify";
const REGISTER: &str = "/api/v1/auth/register";

/// A new e-mail address, which no user has.
fn address(app: &TestApp) -> String {
    format!("{}@invited.example", app.unique())
}

async fn invite(by: &Person, email: &str) -> Answer {
    by.post(INVITATIONS).json(&json!({"email": email, "role": "viewer"})).send().await
}

async fn make_key(by: &Person) -> Answer {
    by.post(KEYS).json(&json!({"name": "Robot", "role": "viewer"})).send().await
}

async fn open_registration(by: &Person) -> Answer {
    by.patch(TENANT).json(&json!({"open_registration": true})).send().await
}

#[track_caller]
fn needs_verification(answer: &Answer) {
    assert_eq!(answer.error(), (403, "forbidden".into()), "{answer:?}");
    let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("Your e-mail address has to be verified first"), "{message}");
}

/// Waits until this many mails have come to the address, and returns the token of the last one, which verifies the
/// address.
async fn verification(app: &TestApp, email: &str, count: usize) -> String {
    app.letters_to(email, count).await.pop().unwrap().token("bcv_")
}

#[tokio::test]
async fn to_reach_others_takes_a_verified_address() {
    let app = TestApp::start().await;
    let owner = app.unverified_tenant().await.owner;
    let guest = address(&app);
    for answer in [invite(&owner, &guest).await, make_key(&owner).await, open_registration(&owner).await] {
        needs_verification(&answer);
    }
    for list in [INVITATIONS, KEYS] {
        assert_eq!(owner.get(list).expect(200).await.json()["items"], json!([]), "{list}");
    }
    assert_eq!(owner.get(TENANT).expect(200).await.json()["open_registration"], json!(false));
    let other = json!({"name": "Engines", "open_registration": false});
    owner.patch(TENANT).json(&other).expect(200).await; // this does not let other people register

    let token = json!({"token": verification(&app, &owner.email(), 1).await});
    assert_eq!(app.mailbox.to(&guest).len(), 0);
    owner.post(VERIFY).json(&token).expect(204).await;
    invite(&owner, &guest).await.expect(201);
    make_key(&owner).await.expect(201);
    open_registration(&owner).await.expect(200);
    assert_eq!(app.letters_to(&guest, 1).await.len(), 1);
}

#[tokio::test]
async fn without_mail_there_is_nothing_to_verify() {
    let app = TestApp::with(|config| config.mail.smtp_url = None).await;
    let owner = app.unverified_tenant().await.owner;
    invite(&owner, &address(&app)).await.expect(201);
    make_key(&owner).await.expect(201);
    open_registration(&owner).await.expect(200);
}

/// The token in the first mail may have expired.
#[tokio::test]
async fn a_caller_who_is_refused_gets_the_verification_once_more() {
    let app = TestApp::alone().await;
    let owner = app.unverified_tenant().await.owner;
    let first = verification(&app, &owner.email(), 1).await;
    for (count, minutes) in [(1, 0), (2, 2)] {
        app.clock.advance(Duration::minutes(minutes));
        for answer in [invite(&owner, &address(&app)).await, make_key(&owner).await, open_registration(&owner).await] {
            needs_verification(&answer);
        }
        app.run_jobs().await;
        assert_eq!(app.mailbox.to(&owner.email()).len(), count, "one a minute");
    }
    let token = verification(&app, &owner.email(), 2).await;
    assert_ne!(token, first);
    owner.post(VERIFY).json(&json!({"token": token})).expect(204).await;
    make_key(&owner).await.expect(201);
}

/// The token of an invitation proves no address, because the person who invites also sees it.
#[tokio::test]
async fn to_accept_an_invitation_proves_no_address() {
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    let email = address(&app);
    let input = json!({"email": email, "role": "admin"});
    let token = tenant.owner.post(INVITATIONS).json(&input).expect(201).await.json()["token"].clone();
    let join = json!({"email": email, "password": PASSWORD, "name": "Nora New", "invitation_token": token});
    let joined = app.visitor().post(REGISTER).json(&join).expect(201).await.json();
    assert_eq!((&joined["role"], &joined["email_verified"]), (&json!("admin"), &json!(false)));
    let admin = app.visitor().sign_in(&email).await;
    needs_verification(&invite(&admin, &address(&app)).await);
    invite(&tenant.admin().await, &address(&app)).await.expect(201); // the test made this admin with a verified address
}

#[tokio::test]
async fn a_new_address_has_to_be_verified_before_others_are_reached_again() {
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    let (owner, email) = (&tenant.owner, format!("{}@new.example", app.unique()));
    invite(owner, &address(&app)).await.expect(201);
    let change = json!({"email": email, "current_password": PASSWORD});
    owner.patch("/api/v1/users/me").json(&change).expect(200).await;
    needs_verification(&invite(owner, &address(&app)).await);
    needs_verification(&make_key(owner).await);
    let token = json!({"token": verification(&app, &email, 1).await});
    owner.post(VERIFY).json(&token).expect(204).await;
    invite(owner, &address(&app)).await.expect(201);
}

// --- the words of others

/// The parts of a text that a mail program could display as links.
fn links(text: &str) -> Vec<&str> {
    let marks = ['.', ':', '/', '@', '\\'];
    let is_inside = |word: &&str| word.trim_matches([',', '"']).trim_matches(marks).contains(marks);
    text.split_whitespace().filter(is_inside).collect()
}

#[tokio::test]
async fn no_mail_shows_the_words_of_a_caller_as_ours() {
    let app = TestApp::with(|config| config.mail.app_url = Some("https://app.example.com".into())).await;
    let bad = "Your bank\". Pay now: http://evil.example/pay or www.evil.example or pay@evil.example";
    let email = format!("{}@example.com", app.unique());
    let newcomer = json!({"email": email, "password": PASSWORD, "name": bad, "tenant_name": bad});
    app.visitor().post(REGISTER).json(&newcomer).expect(201).await;
    let person = app.visitor().sign_in(&email).await;
    let token = json!({"token": verification(&app, &email, 1).await});
    person.post(VERIFY).json(&token).expect(204).await;
    let (guest, moved) = (address(&app), format!("{}@new.example", app.unique()));
    invite(&person, &guest).await.expect(201);
    app.visitor().post("/api/v1/auth/password/forgot").json(&json!({"email": email})).expect(202).await;
    app.run_jobs().await;
    let change = json!({"email": moved, "password": "another good password", "current_password": PASSWORD});
    person.patch("/api/v1/users/me").json(&change).expect(200).await;
    app.run_jobs().await;

    let letters: Vec<_> = [&email, &guest, &moved].into_iter().flat_map(|to| app.mailbox.to(to)).collect();
    let mut subjects: Vec<_> = letters.iter().map(|letter| letter.subject.as_str()).collect();
    subjects.sort_unstable();
    let fixed = [
        "Reset your password",
        "Verify your e-mail address",
        "Verify your e-mail address",
        "You are invited to join a company",
        "Your e-mail address was changed",
        "Your password was changed",
    ];
    assert_eq!(subjects, fixed);
    for letter in letters {
        assert!(
            letter.text.contains("\"Your bank'. Pay now: http: / / evil. example/ pay or www. evil. exa"),
            "{}",
            letter.text
        );
        let ours = |link: &&str| link.starts_with("https://app.example.com/");
        assert_eq!(links(&letter.text).into_iter().filter(|link| !ours(link)).collect::<Vec<_>>(), Vec::<&str>::new());
    }
}

#[tokio::test]
async fn names_arrive_whole_in_any_script() {
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    let guest = address(&app);
    tenant.owner.patch(TENANT).json(&json!({"name": "주식회사 가나다"})).expect(200).await;
    invite(&tenant.owner, &guest).await.expect(201);
    let letter = app.letters_to(&guest, 1).await.pop().unwrap();
    assert!(letter.text.contains("\"주식회사 가나다\""), "{}", letter.text);
    let long: Value = json!({"name": "가".repeat(120)});
    let again = address(&app);
    tenant.owner.patch(TENANT).json(&long).expect(200).await;
    invite(&tenant.owner, &again).await.expect(201);
    let letter = app.letters_to(&again, 1).await.pop().unwrap();
    assert!(letter.text.contains(&format!("\"{}…\"", "가".repeat(60))), "{}", letter.text);
}
