//! E-mail addresses: a domain in any script is stored as one address in ASCII, and addresses that no mail server
//! accepts are refused.
use crate::support::{Answer, PASSWORD, Person, TestApp};
use serde_json::{Value, json};

const LOGIN: &str = "/api/v1/auth/login";
const REGISTER: &str = "/api/v1/auth/register";
const FORGOT: &str = "/api/v1/auth/password/forgot";
const INVITATIONS: &str = "/api/v1/invitations";
const PROFILE: &str = "/api/v1/users/me";

const STORED: &str = "xn--vv4b11d.example";
/// The last one is decomposed, as a Mac may type it.
const SPELLINGS: [&str; 6] = [
    "예시.example",
    "xn--vv4b11d.example",
    "XN--VV4B11D.Example",
    "예시。example",
    "예시．ＥＸＡＭＰＬＥ",
    "\u{110b}\u{1168}\u{1109}\u{1175}.example",
];

async fn register(app: &TestApp, email: &str, more: Value) -> Answer {
    let mut input = json!({"email": email, "password": PASSWORD, "name": "Kim"});
    input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    app.visitor().post(REGISTER).json(&input).send().await
}

async fn login(app: &TestApp, email: &str) -> Answer {
    app.visitor().post(LOGIN).json(&json!({"email": email, "password": PASSWORD})).send().await
}

fn taken() -> Value {
    json!({"email": ["is taken"]})
}

#[tokio::test]
async fn a_domain_in_any_spelling_is_one_address() {
    let app = TestApp::start().await;
    let name = app.unique();
    let user = register(&app, &format!("{name}@예시.example"), json!({})).await.expect(201).json();
    assert_eq!(user["email"], json!(format!("{name}@{STORED}")));
    for domain in SPELLINGS {
        let email = format!("{name}@{domain}");
        assert_eq!(login(&app, &email).await.expect(200).json()["user"], user, "{email}");
        let by_name = json!({"username": email, "password": PASSWORD});
        assert_eq!(app.visitor().post(LOGIN).json(&by_name).expect(200).await.json()["user"], user, "{email}");
        let form = [("grant_type", "password"), ("username", email.as_str()), ("password", PASSWORD)];
        app.visitor().post("/api/v1/auth/token").form(&form).expect(200).await;
        let again = register(&app, &email, json!({})).await;
        assert_eq!((again.error().0, again.detail()), (409, taken()), "{email}");
    }
}

#[tokio::test]
async fn mail_goes_to_the_domain_in_ascii() {
    let app = TestApp::start().await;
    let name = app.unique();
    register(&app, &format!("{name}@예시.example"), json!({})).await.expect(201);
    app.visitor().post(FORGOT).json(&json!({"email": format!("{name}@예시。example")})).expect(202).await;
    let letters = app.letters_to(&format!("{name}@{STORED}"), 2).await;
    assert!(letters.iter().any(|letter| letter.text.contains("bcp_")), "{letters:?}");
    assert!(letters.iter().flat_map(|letter| &letter.lines).all(|line| line.is_ascii()), "{letters:?}");
}

#[tokio::test]
async fn an_invitation_and_a_meeting_know_the_address_in_any_spelling() {
    let app = TestApp::start().await;
    let admin = app.tenant().await.admin().await;
    let name = app.unique();
    let invite = |domain: &str| {
        let input = json!({"email": format!("{name}@{domain}"), "role": "viewer"});
        admin.post(INVITATIONS).json(&input).send()
    };
    let invitation = invite("예시.example").await.expect(201).json();
    assert_eq!(invitation["email"], json!(format!("{name}@{STORED}")));
    for domain in SPELLINGS {
        assert_eq!(invite(domain).await.error(), (409, "conflict".into()), "{domain}");
    }
    let accept = json!({"invitation_token": invitation["token"]});
    let user = register(&app, &format!("{name}@예시．example"), accept).await.expect(201).json();
    for domain in SPELLINGS {
        let told = json!({"email": ["already belongs to a user of the tenant"]});
        assert_eq!(invite(domain).await.detail(), told, "{domain}");
    }
    for domain in SPELLINGS {
        let meeting = admin.meeting(json!({})).await;
        let path = format!("/api/v1/meetings/{}/attendees", meeting["id"].as_str().unwrap());
        let attendee = admin.post(&path).json(&json!({"email": format!("{name}@{domain}")})).expect(201).await.json();
        assert_eq!((&attendee["user_id"], &attendee["email"]), (&user["id"], &Value::Null), "{domain}");
    }
    for q in ["예시.example", "xn--vv4b11d", &format!("{name}@예시.example")] {
        let query = serde_urlencoded::to_string([("q", q)]).unwrap();
        let found = admin.get(&format!("/api/v1/users?{query}")).expect(200).await.json();
        assert_eq!(found["items"][0]["id"], user["id"], "{q}");
    }
}

#[tokio::test]
async fn what_no_mail_server_takes_is_refused() {
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    let (admin, operator) = (tenant.admin().await, tenant.operator().await);
    let meeting = admin.meeting(json!({})).await;
    let attendees = format!("/api/v1/meetings/{}/attendees", meeting["id"].as_str().unwrap());
    let label = "x".repeat(63);
    let quoted = "must not have a quoted part before the @, which mail servers refuse";
    let no_domain = "must end in a domain name, not in an IP address";
    let bad_domain = "must end in a domain name that IDNA allows";
    for (email, told) in [
        ("\"ada lovelace\"@example.com", quoted),
        ("\"ada\"@example.com", quoted),
        ("ada@[192.0.2.1]", no_domain),
        ("ada@[IPv6:2001:db8::1]", no_domain),
        ("ada@192.0.2.1", no_domain),
        ("ada@exa_mple.com", bad_domain),
        ("ada@xn--a.example", bad_domain),
        ("ada@-예시.example", bad_domain),
        (&format!("{}@example.com", "x".repeat(65)), "must have at most 64 bytes before the @"),
        (&format!("{}@example.com", "김".repeat(22)), "must have at most 64 bytes before the @"),
        (
            // This has 248 characters as it is written and 255 bytes as it is sent.
            &format!("{}@{label}.{label}.{}", "x".repeat(64), "예".repeat(55)),
            "must have at most 254 bytes, with its domain in ASCII",
        ),
        ("ada", "must be a valid email"),
    ] {
        let slug = format!("t-{}", app.unique());
        let calls = [
            ("email", app.visitor().post(REGISTER), json!({"email": email, "password": PASSWORD, "name": "Kim"})),
            ("email", app.visitor().post(LOGIN), json!({"email": email, "password": PASSWORD})),
            ("email", app.visitor().post(FORGOT), json!({"email": email})),
            ("email", admin.post(INVITATIONS), json!({"email": email, "role": "viewer"})),
            ("email", admin.post(&attendees), json!({"email": email})),
            ("email", admin.patch(PROFILE), json!({"email": email, "current_password": PASSWORD})),
            (
                "owner_email",
                operator.post("/api/v1/admin/tenants"),
                json!({"slug": slug, "name": "T", "owner_email": email}),
            ),
        ];
        for (member, call, input) in calls {
            let answer = call.json(&input).send().await;
            assert_eq!(answer.error(), (400, "validation_error".into()), "{input}");
            assert_eq!(answer.detail(), json!({member: [told]}), "{input}");
        }
    }
}

#[tokio::test]
async fn letters_of_any_script_may_stand_before_the_at() {
    let app = TestApp::start().await;
    let email = format!("김{}@예시.example", app.unique());
    let user = register(&app, &email, json!({})).await.expect(201).json();
    let stored = user["email"].as_str().unwrap();
    assert!(stored.starts_with('김') && stored.ends_with(STORED), "{stored}");
    app.letters_to(stored, 1).await; // sent by SMTPUTF8, which this mail server supports
}

// --- addresses from before

/// Gives a person an address as earlier versions stored it: unchanged.
async fn set_former_email(app: &TestApp, person: &Person, former: &str) {
    let id = app.id(person.id());
    app.run(&format!("UPDATE users SET email = '{former}' WHERE id = {id}")).await;
    app.run(&format!("UPDATE logins SET name = '{former}' WHERE user_id = {id}")).await;
}

async fn updates(app: &TestApp, person: &Person) -> usize {
    let of_person = format!("subject_id = {} AND action = 'update'", app.id(person.id()));
    app.rows(&format!("SELECT action FROM audit_logs WHERE {of_person}")).await.len()
}

#[tokio::test]
async fn an_address_from_before_is_the_same_and_is_renewed_at_sign_in() {
    let app = TestApp::alone().await;
    let tenant = app.tenant().await;
    let (viewer, other, admin) = (tenant.viewer().await, tenant.viewer().await, tenant.admin().await);
    let name = app.unique();
    let (former, stored) = (format!("{name}@예시.example"), format!("{name}@{STORED}"));
    set_former_email(&app, &viewer, &former).await;

    // Until then the user has the address in both forms.
    let renamed = viewer.patch(PROFILE).json(&json!({"name": "Kim"})).expect(200).await.json();
    assert_eq!(renamed["email"], json!(former), "a name is changed without a password");
    for email in [&former, &stored] {
        let again = register(&app, email, json!({})).await;
        assert_eq!((again.error().0, again.detail()), (409, taken()), "{email}");
        let invitation = json!({"email": email, "role": "viewer"});
        assert_eq!(admin.post(INVITATIONS).json(&invitation).send().await.error().0, 409, "{email}");
        let moved = json!({"email": email, "current_password": PASSWORD});
        assert_eq!(other.patch(PROFILE).json(&moved).send().await.error().0, 409, "{email}");
    }
    app.visitor().post(FORGOT).json(&json!({"email": stored})).expect(202).await;
    let token = app.letters_to(&stored, 1).await[0].token("bcp_");

    let before = updates(&app, &viewer).await;
    for email in [&stored, &former] {
        let user = login(&app, email).await.expect(200).json()["user"].clone();
        assert_eq!((&user["id"], &user["email"]), (&json!(viewer.id()), &json!(stored)), "{email}");
    }
    assert_eq!(updates(&app, &viewer).await, before + 1);
    let names = format!("SELECT name FROM logins WHERE user_id = {}", app.id(viewer.id()));
    assert_eq!(app.rows(&names).await, [[stored.clone()]]);
    viewer.get(PROFILE).expect(200).await; // sessions continue
    let reset = json!({"token": token, "password": "another good password"});
    app.visitor().post("/api/v1/auth/password/reset").json(&reset).expect(204).await;
}

#[tokio::test]
async fn a_quoted_address_from_before_still_signs_in() {
    let app = TestApp::alone().await;
    let viewer = app.tenant().await.viewer().await;
    let former = format!("\"{} kim\"@example.com", app.unique());
    set_former_email(&app, &viewer, &former).await;
    let by_name = json!({"username": former, "password": PASSWORD});
    let user = app.visitor().post(LOGIN).json(&by_name).expect(200).await.json()["user"].clone();
    assert_eq!(user["email"], json!(former));
    viewer.patch(PROFILE).json(&json!({"name": "Kim"})).expect(200).await;
}
