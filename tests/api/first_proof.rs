//! Somebody registers with another person's address. After that person has proved that the address is theirs, nothing
//! that was created before works any more.
use crate::support::{Answer, PASSWORD, Person, TestApp};
use chrono::Duration;
use serde_json::{Value, json};

const VERIFY: &str = "/api/v1/auth/email/verify";
const FORGOT: &str = "/api/v1/auth/password/forgot";
const RESET: &str = "/api/v1/auth/password/reset";
const REGISTER: &str = "/api/v1/auth/register";
const LOGIN: &str = "/api/v1/auth/login";
const ME: &str = "/api/v1/users/me";
const TASKS: &str = "/api/v1/tasks";
const FEED: &str = "/api/v1/users/me/calendar";
const NEW: &str = "another good password";

/// Everything that an account can create and that outlives its sessions.
struct Made {
    key: Value,
    invitation: Value,
    feed: String,
}

impl Made {
    async fn by(person: &Person, app: &TestApp) -> Self {
        let key =
            person.post("/api/v1/api-keys").json(&json!({"name": "Robot", "role": "admin"})).expect(201).await.json();
        let guest = json!({"email": format!("{}@invited.example", app.unique()), "role": "admin"});
        let invitation = person.post("/api/v1/invitations").json(&guest).expect(201).await.json();
        let feed = person.post(FEED).expect(201).await.json()["url"].as_str().unwrap().to_owned();
        Self { key, invitation, feed }
    }

    /// Whether the key, the invitation and the feed work.
    async fn are_good(&self, app: &TestApp) -> [bool; 3] {
        let by_key = app.visitor().get(TASKS).header("x-api-key", self.key["key"].as_str().unwrap()).send().await;
        let join = json!({
            "email": self.invitation["email"], "password": PASSWORD, "name": "Nora", "invitation_token": self.invitation["token"],
        });
        let joined = app.visitor().post(REGISTER).json(&join).send().await;
        let feed = app.visitor().get(&self.feed).send().await;
        assert!([200, 401].contains(&by_key.status.as_u16()), "{by_key:?}");
        assert!([201, 422].contains(&joined.status.as_u16()), "{joined:?}");
        assert!([200, 404].contains(&feed.status.as_u16()), "{feed:?}");
        [by_key.status == 200, joined.status == 201, feed.status == 200]
    }
}

/// Two servers on one database. The first has no mail, so that users with an unverified address can create keys and
/// invitations; the second has mail. This happens if mail is set up later, or if somebody registered with an earlier
/// version of the server.
async fn servers() -> [TestApp; 2] {
    let without_mail = TestApp::with(|config| config.mail.smtp_url = None).await;
    let app = without_mail.replica().await;
    [without_mail, app]
}

/// Registers a user with an unverified address, who owns a tenant.
async fn newcomer(app: &TestApp) -> Person {
    let email = format!("{}@example.com", app.unique());
    let input = json!({"email": email, "password": PASSWORD, "name": "Mallory"});
    app.visitor().post(REGISTER).json(&input).expect(201).await;
    app.visitor().sign_in(&email).await
}

async fn reset(app: &TestApp, email: &str) {
    app.visitor().post(FORGOT).json(&json!({"email": email})).expect(202).await;
    let input = json!({"token": app.mailed(email, "bcp_").await, "password": NEW});
    app.visitor().post(RESET).json(&input).expect(204).await;
}

async fn verify(by: &Person, input: Value) -> Answer {
    by.post(VERIFY).json(&input).send().await
}

async fn goes_on(person: &Person) -> bool {
    let answer = person.get(ME).send().await;
    assert!([200, 401].contains(&answer.status.as_u16()), "{answer:?}");
    answer.status == 200
}

/// What a user did according to the audit log, except signing in and creating things.
async fn ends_in_the_log(app: &TestApp, person: &Person) -> Vec<String> {
    let of = format!("actor_id = {} AND action NOT IN ('create', 'sign_in')", app.id(person.id()));
    let rows = app.rows(&format!("SELECT action, subject_kind FROM audit_logs WHERE {of}")).await;
    let mut ends: Vec<_> = rows.into_iter().map(|row| row.join(" ")).collect();
    ends.sort_unstable();
    ends
}

// --- by a reset

#[tokio::test]
async fn a_reset_by_the_owner_of_an_address_ends_all_that_a_stranger_made_with_it() {
    let [open, app] = servers().await;
    let stranger = newcomer(&open).await;
    let made = Made::by(&stranger, &open).await;
    let again = Made::by(&stranger, &open).await;
    let other = app.tenant().await;
    let of_others = Made::by(&other.owner, &app).await;
    reset(&app, &stranger.email()).await;

    assert!(!goes_on(&stranger.at(&app)).await);
    assert_eq!(made.are_good(&app).await, [false; 3]);
    assert_eq!(again.are_good(&app).await, [false; 3]);
    assert_eq!(of_others.are_good(&app).await, [true; 3]);
    let login = json!({"email": stranger.email(), "password": NEW, "return_refresh_in_body": true});
    let owner = app.visitor().post(LOGIN).json(&login).expect(200).await.json();
    let owner = app.visitor().with_tokens(owner);
    assert_eq!(owner.signed_in["user"]["email_verified"], json!(true));
    for list in ["/api/v1/api-keys", "/api/v1/invitations"] {
        assert_eq!(owner.get(list).expect(200).await.json()["items"], json!([]), "{list}");
    }
    let ends = [
        "delete api_key",
        "delete api_key",
        "delete calendar_feed",
        "delete calendar_feed",
        "delete invitation",
        "delete invitation",
        "email_verify user",
        "password_reset user",
        "sign_out user",
    ];
    assert_eq!(ends_in_the_log(&app, &stranger).await, ends);
}

#[tokio::test]
async fn a_reset_of_an_address_that_was_verified_ends_sessions_and_the_feed_alone() {
    let app = TestApp::alone().await;
    let owner = app.tenant().await.owner;
    let made = Made::by(&owner, &app).await;
    reset(&app, &owner.email()).await;
    assert!(!goes_on(&owner).await);
    assert_eq!(made.are_good(&app).await, [true, true, false]);
}

// --- by a verification

#[tokio::test]
async fn the_first_verification_ends_all_but_the_session_that_it_came_by() {
    let [open, app] = servers().await;
    let person = newcomer(&open).await;
    let (elsewhere, made) = (open.visitor().sign_in(&person.email()).await, Made::by(&person, &open).await);
    let token = app.mailed(&person.email(), "bcv_").await;
    verify(&person.at(&app), json!({"token": token})).await.expect(204);
    assert_eq!([goes_on(&person.at(&app)).await, goes_on(&elsewhere.at(&app)).await], [true, false]);
    assert_eq!(made.are_good(&app).await, [false; 3]);
    let refresh = |person: &Person| {
        let input = json!({"refresh_token": person.refresh_token()});
        app.visitor().post("/api/v1/auth/refresh").json(&input).send()
    };
    assert_eq!(
        [refresh(&person).await.status, refresh(&elsewhere).await.status].map(|status| status.as_u16()),
        [200, 401]
    );
    let ends = ["delete api_key", "delete calendar_feed", "delete invitation", "email_verify user", "sign_out user"];
    assert_eq!(ends_in_the_log(&app, &person).await, ends);
    let anew = Made::by(&person.at(&app), &app).await;
    assert_eq!(anew.are_good(&app).await, [true; 3]);
}

#[tokio::test]
async fn a_verification_by_the_password_ends_every_session() {
    let [open, app] = servers().await;
    let person = newcomer(&open).await;
    let made = Made::by(&person, &open).await;
    let token = app.mailed(&person.email(), "bcv_").await;
    verify(&app.visitor(), json!({"token": token, "password": PASSWORD})).await.expect(204);
    assert!(!goes_on(&person.at(&app)).await);
    assert_eq!(made.are_good(&app).await, [false; 3]);
    assert_eq!(app.visitor().sign_in(&person.email()).await.signed_in["user"]["email_verified"], json!(true));
}

#[tokio::test]
async fn a_token_alone_verifies_nothing_and_is_not_used_up() {
    let app = TestApp::alone().await;
    let (person, other) = (newcomer(&app).await, app.tenant().await.owner);
    let token = app.mailed(&person.email(), "bcv_").await;
    let needed = json!({"password": ["is required, unless the request has an access token of the account"]});
    for by in [&app.visitor(), &other] {
        let answer = verify(by, json!({"token": token})).await;
        assert_eq!((answer.error(), answer.detail()), ((422, "unprocessable".into()), needed.clone()));
    }
    let wrong = verify(&app.visitor(), json!({"token": token, "password": "correct horse batterY"})).await;
    assert_eq!((wrong.error(), wrong.detail()), ((422, "unprocessable".into()), json!({"password": ["is wrong"]})));
    let elsewhere = app.visitor().sign_in(&person.email()).await;
    elsewhere.post("/api/v1/auth/logout").expect(204).await;
    let answer = verify(&elsewhere, json!({"token": token})).await;
    assert_eq!(answer.error(), (401, "invalid_token".into()), "its session is over");
    let by_refresh_token =
        app.visitor().post(VERIFY).header("authorization", &format!("Bearer {}", person.refresh_token()));
    assert_eq!(by_refresh_token.json(&json!({"token": token})).send().await.error(), (401, "invalid_token".into()));
    assert_eq!(person.get(ME).expect(200).await.json()["email_verified"], json!(false));

    // If the password is given, the token of an ended session does no harm: some clients send their token with every
    // request.
    verify(&elsewhere, json!({"token": token, "password": PASSWORD})).await.expect(204);
    let again = verify(&app.visitor(), json!({"token": token, "password": PASSWORD})).await;
    assert_eq!(again.detail(), json!({"token": ["is not valid, was used, or has expired"]}));
}

#[tokio::test]
async fn guesses_of_the_password_have_to_wait_as_those_at_the_door_do() {
    let app = TestApp::with(|config| {
        config.redis.url = None; // all servers of a run may count in one Redis
        config.rate_limit.enabled = true;
        config.rate_limit.anonymous_per_hour = 1_000_000;
    })
    .await;
    let person = newcomer(&app).await;
    let token = app.mailed(&person.email(), "bcv_").await;
    for _ in 0..5 {
        let guess = json!({"token": token, "password": "no such horse"});
        assert_eq!(verify(&app.visitor(), guess).await.error(), (422, "unprocessable".into()));
    }
    app.clock.advance(Duration::seconds(-20)); // within the wait, however slow this machine is
    let answer = verify(&app.visitor(), json!({"token": token, "password": PASSWORD})).await;
    assert_eq!((answer.error(), answer.header("retry-after").is_some()), ((429, "rate_limited".into()), true));
    let login = json!({"email": person.email(), "password": PASSWORD});
    assert_eq!(app.visitor().post(LOGIN).json(&login).send().await.error(), (429, "rate_limited".into()));
    app.clock.advance(Duration::seconds(20));
    verify(&person, json!({"token": token})).await.expect(204); // a request with a session needs no password
    app.clock.advance(Duration::seconds(2));
    app.visitor().post(LOGIN).json(&login).expect(200).await;
}

// --- later addresses

#[tokio::test]
async fn a_new_address_that_its_holder_verifies_ends_nothing() {
    let app = TestApp::alone().await;
    let owner = app.tenant().await.owner;
    let (elsewhere, made) = (app.visitor().sign_in(&owner.email()).await, Made::by(&owner, &app).await);
    let email = format!("{}@new.example", app.unique());
    owner.patch(ME).json(&json!({"email": email, "current_password": PASSWORD})).expect(200).await;
    let token = app.mailed(&email, "bcv_").await;
    verify(&owner, json!({"token": token})).await.expect(204);
    assert_eq!(owner.get(ME).expect(200).await.json()["email_verified"], json!(true));
    assert!(goes_on(&elsewhere).await);
    assert_eq!(made.are_good(&app).await, [true; 3]);
}

/// The stranger created keys while they had an address of their own, and then changed it to another person's address.
/// That other person asks for the reset.
#[tokio::test]
async fn a_reset_of_a_new_address_that_nobody_verified_ends_all_too() {
    let app = TestApp::alone().await;
    let stranger = app.tenant().await.owner;
    let made = Made::by(&stranger, &app).await;
    let email = format!("{}@victim.example", app.unique());
    stranger.patch(ME).json(&json!({"email": email, "current_password": PASSWORD})).expect(200).await;
    reset(&app, &email).await;
    assert!(!goes_on(&stranger).await);
    assert_eq!(made.are_good(&app).await, [false; 3]);
}

// --- what is under way

/// The request is authenticated before the sessions end, and makes its change after that. The change creates a feed,
/// which needs no session later.
#[tokio::test]
async fn a_request_that_waits_while_its_session_ends_changes_nothing() {
    let app = TestApp::alone().await;
    let owner = app.tenant().await.owner;
    let of_owner = app.id(owner.id());
    let ended = format!("UPDATE users SET session_epoch = session_epoch + 1 WHERE id = {of_owner}");
    let open = app.begin(&ended).await;
    let commit = async {
        app.until_waiting_for_lock(1).await;
        open.commit().await;
    };
    let (answer, ()) = tokio::join!(owner.post(FEED).send(), commit);
    assert_eq!(answer.error(), (401, "invalid_token".into()));
    let feeds = format!("SELECT {} FROM calendar_feeds WHERE user_id = {of_owner}", app.id_column("id"));
    assert_eq!(app.rows(&feeds).await, Vec::<Vec<String>>::new());
}
