//! Mails that users can make the server send: names in them have one line, and their number for one address is limited.
use crate::support::{Answer, PASSWORD, Person, TestApp};
use bizcenter::config::Config;
use chrono::Duration;
use futures_util::future::join_all;
use serde_json::{Value, json};

const INVITATIONS: &str = "/api/v1/invitations";
const REGISTER: &str = "/api/v1/auth/register";

fn text(value: &Value, member: &str) -> String {
    value[member].as_str().unwrap().to_owned()
}

// --- what is in them

#[tokio::test]
async fn a_name_is_one_line_wherever_one_is_given() {
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    let (owner, operator, viewer) = (&tenant.owner, tenant.operator().await, tenant.viewer().await);
    let new = || format!("{}@example.com", app.unique());
    let names =
        ["Olga,\n\npay here: https://evil.example", "a\rb", "a\tb", "\u{1b}[31m", "a\u{85}b", "a\u{2028}b", "\u{7f}"];
    for name in names {
        let newcomer = json!({"email": new(), "password": PASSWORD, "name": name});
        let of_new_tenant = json!({"email": new(), "password": PASSWORD, "name": "Nora", "tenant_name": name});
        let tenant = json!({"slug": app.unique(), "name": name, "owner_email": new()});
        let calls = [
            ("name", app.visitor().post(REGISTER).json(&newcomer)),
            ("tenant_name", app.visitor().post(REGISTER).json(&of_new_tenant)),
            ("name", owner.patch("/api/v1/users/me").json(&json!({"name": name}))),
            ("name", owner.patch(&format!("/api/v1/users/{}", viewer.id())).json(&json!({"name": name}))),
            ("name", owner.patch("/api/v1/tenant").json(&json!({"name": name}))),
            ("name", owner.post("/api/v1/api-keys").json(&json!({"name": name, "role": "viewer"}))),
            ("name", operator.post("/api/v1/admin/tenants").json(&tenant)),
            ("title", owner.post("/api/v1/tasks").json(&json!({"title": name}))),
        ];
        for (member, call) in calls {
            let answer = call.send().await;
            assert_eq!(answer.error(), (422, "unprocessable".into()), "{name:?}: {answer:?}");
            let told = "must be one line, without control characters";
            assert_eq!(answer.detail(), json!({member: [told]}), "{name:?}: {answer:?}");
        }
    }
    let blank = json!({"email": new(), "password": PASSWORD, "name": "Nora", "tenant_name": "  "});
    let answer = app.visitor().post(REGISTER).json(&blank).send().await;
    assert_eq!(answer.detail(), json!({"tenant_name": ["must not be blank"]}));
}

// --- how many there are

/// Settings with limits of five mails of a kind to one address and twenty to one mailbox. No other limit interferes.
fn capped(config: &mut Config) {
    let limits = &mut config.rate_limit;
    limits.enabled = true;
    for limit in [
        &mut limits.invitations_per_day_new_tenant,
        &mut limits.invitations_per_day_per_ip,
        &mut limits.invitations_per_day_in_all,
        &mut limits.anonymous_per_hour,
        &mut limits.user_per_hour,
        &mut limits.register_per_minute,
        &mut limits.login_per_minute,
        &mut limits.writes_per_minute,
    ] {
        *limit = 1_000_000;
    }
}

async fn invite(by: &Person, email: &str) -> Answer {
    by.post(INVITATIONS).json(&json!({"email": email, "role": "viewer"})).send().await
}

/// Invites somebody and withdraws the invitation.
async fn invite_in_vain(by: &Person, email: &str) {
    let invitation = invite(by, email).await.expect(201).json();
    by.delete(&format!("{INVITATIONS}/{}", text(&invitation, "id"))).expect(204).await;
}

async fn forgot(app: &TestApp, email: &str) {
    app.visitor().post("/api/v1/auth/password/forgot").json(&json!({"email": email})).expect(202).await;
    app.run_jobs().await;
    app.clock.advance(Duration::seconds(61));
}

fn tokens(app: &TestApp, email: &str, prefix: &str) -> Vec<String> {
    let letters = app.mailbox.to(email);
    letters.iter().filter(|letter| letter.text.contains(prefix)).map(|letter| letter.token(prefix)).collect()
}

#[tokio::test]
async fn forgotten_passwords_are_mailed_five_times_an_hour_and_the_last_token_stays_good() {
    let app = TestApp::with(capped).await;
    let tenant = app.tenant().await;
    let (email, other) = (tenant.viewer().await.email(), tenant.viewer().await.email());
    for _ in 0..8 {
        forgot(&app, &email).await;
    }
    let mailed = tokens(&app, &email, "bcp_");
    assert_eq!(mailed.len(), 5);
    forgot(&app, &other).await;
    assert_eq!(tokens(&app, &other, "bcp_").len(), 1);
    let reset = json!({"token": mailed[4], "password": "another good password"});
    app.visitor().post("/api/v1/auth/password/reset").json(&reset).expect(204).await;
    app.clock.advance(Duration::hours(1));
    forgot(&app, &email).await;
    assert_eq!(tokens(&app, &email, "bcp_").len(), 6);
}

#[tokio::test]
async fn an_address_is_invited_five_times_an_hour_whoever_does_it() {
    let app = TestApp::with(capped).await;
    let (tenant, other) = (app.tenant().await, app.tenant().await);
    let unique = app.unique();
    let email = format!("{unique}@invited.example");
    for _ in 0..5 {
        invite_in_vain(&tenant.owner, &email).await;
    }
    for (by, spelling) in [(&tenant.owner, email.clone()), (&other.owner, email.to_uppercase())] {
        let answer = invite(by, &spelling).await;
        assert_eq!(answer.error(), (429, "rate_limited".into()), "{spelling}");
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((600..=720).contains(&wait), "{wait}");
        assert_eq!(by.get(INVITATIONS).expect(200).await.json()["items"], json!([]), "{spelling}");
    }
    invite(&tenant.owner, &format!("{}@invited.example", app.unique())).await.expect(201);
    // Allowed until its mailbox has reached its limit.
    invite(&other.owner, &format!("{unique}+more@invited.example")).await.expect(201);
    app.clock.advance(Duration::minutes(12));
    let token = text(&invite(&other.owner, &email).await.expect(201).json(), "token");
    app.run_jobs().await;
    assert_eq!(tokens(&app, &email, "bci_").len(), 6);
    let newcomer = json!({"email": email, "password": PASSWORD, "name": "Nora", "invitation_token": token});
    app.visitor().post(REGISTER).json(&newcomer).expect(201).await;
    app.run_jobs().await;
    assert_eq!(tokens(&app, &email, "bcv_").len(), 1, "other mail is not kept away by it");
}

/// A repeated and a conflicting invitation send no mail.
#[tokio::test]
async fn an_invitation_that_is_repeated_or_refused_uses_nothing_up() {
    let app = TestApp::with(|config| {
        capped(config);
        config.rate_limit.invitations_per_day = 5;
    })
    .await;
    let tenant = app.tenant().await;
    let email = format!("{}@invited.example", app.unique());
    let repeat = || {
        let call = tenant.owner.post(INVITATIONS).header("idempotency-key", "once");
        call.json(&json!({"email": email, "role": "viewer"})).expect(201)
    };
    let first = repeat().await;
    for _ in 0..5 {
        assert_eq!(invite(&tenant.owner, &email).await.error(), (409, "conflict".into()));
        assert_eq!(invite(&tenant.owner, &tenant.owner.email()).await.error(), (409, "conflict".into()));
    }
    for _ in 0..4 {
        invite(&tenant.owner, &format!("{}@invited.example", app.unique())).await.expect(201);
    }
    for _ in 0..5 {
        let again = repeat().await;
        assert_eq!((&again.body, again.header("idempotency-replayed")), (&first.body, Some("true")));
    }
    let other = json!({"email": email, "role": "editor"});
    let other = tenant.owner.post(INVITATIONS).header("idempotency-key", "once").json(&other);
    assert_eq!(other.send().await.error(), (422, "idempotency_mismatch".into()));
    assert_eq!(invite(&tenant.owner, "one-more@invited.example").await.error(), (429, "rate_limited".into()));
    app.run_jobs().await;
    assert_eq!(tokens(&app, &email, "bci_").len(), 1);
}

#[tokio::test]
async fn a_tenant_invites_so_many_a_day() {
    let app = TestApp::with(|config| {
        capped(config);
        config.rate_limit.invitations_per_day = 3;
        config.auth.access_lifetime = std::time::Duration::from_secs(864_000);
    })
    .await;
    let (tenant, other) = (app.tenant().await, app.tenant().await);
    let admin = tenant.admin().await;
    let new = || format!("{}@invited.example", app.unique());
    for by in [&tenant.owner, &admin, &tenant.owner] {
        invite(by, &new()).await.expect(201);
    }
    for by in [&tenant.owner, &admin] {
        assert_eq!(invite(by, &new()).await.error(), (429, "rate_limited".into()));
    }
    invite(&other.owner, &new()).await.expect(201);
    app.clock.advance(Duration::hours(8));
    invite(&admin, &new()).await.expect(201);
    assert_eq!(invite(&admin, &new()).await.error(), (429, "rate_limited".into()));
}

/// Like [`capped`], but counted in this server alone. In Redis, the limits for one IP address and for the whole server
/// would be shared by all tests of a run.
fn counted_here(config: &mut Config) {
    capped(config);
    config.redis.url = None;
    config.auth.access_lifetime = std::time::Duration::from_secs(864_000); // tests advance the clock by days
    config.server.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
}

async fn invite_from(place: &str, by: &Person, app: &TestApp) -> Answer {
    let input = json!({"email": format!("{}@invited.example", app.unique()), "role": "viewer"});
    by.post(INVITATIONS).header("x-forwarded-for", place).json(&input).send().await
}

/// The hours that a refused request has to wait.
#[track_caller]
fn wait(answer: &Answer) -> f64 {
    assert_eq!(answer.error(), (429, "rate_limited".into()), "{answer:?}");
    answer.header("retry-after").unwrap().parse::<f64>().unwrap() / 3600.0
}

#[tokio::test]
async fn a_tenant_invites_fewer_people_in_its_first_week() {
    let app = TestApp::with(|config| {
        counted_here(config);
        config.rate_limit.invitations_per_day_new_tenant = 2;
        config.rate_limit.invitations_per_day = 4;
    })
    .await;
    let (tenant, other) = (app.tenant().await, app.tenant().await);
    let new = || format!("{}@invited.example", app.unique());
    for _ in 0..2 {
        invite(&tenant.owner, &new()).await.expect(201);
    }
    let hours = wait(&invite(&tenant.owner, &new()).await);
    assert!(hours > 11.0 && hours <= 12.0, "{hours}");
    invite(&other.owner, &new()).await.expect(201);
    app.clock.advance(Duration::days(7));
    for _ in 0..4 {
        invite(&tenant.owner, &new()).await.expect(201);
    }
    let hours = wait(&invite(&tenant.owner, &new()).await);
    assert!(hours > 5.0 && hours <= 6.0, "{hours}");
}

/// One person could soon register many tenants, so the limit is for the IP address. Refused invitations do not count
/// for the tenant.
#[tokio::test]
async fn so_many_people_are_invited_from_one_address_in_a_day() {
    let app = TestApp::with(|config| {
        counted_here(config);
        config.rate_limit.invitations_per_day = 3;
        config.rate_limit.invitations_per_day_per_ip = 2;
    })
    .await;
    let (tenant, other) = (app.tenant().await, app.tenant().await);
    for by in [&tenant.owner, &other.owner] {
        invite_from("192.0.2.1", by, &app).await.expect(201);
    }
    for by in [&tenant.owner, &other.owner, &tenant.owner, &tenant.owner] {
        wait(&invite_from("192.0.2.1", by, &app).await);
    }
    for _ in 0..2 {
        invite_from("192.0.2.2", &tenant.owner, &app).await.expect(201);
    }
    wait(&invite_from("192.0.2.3", &tenant.owner, &app).await);
    invite_from("192.0.2.3", &other.owner, &app).await.expect(201);
}

#[tokio::test]
async fn the_server_invites_so_many_in_all_and_sends_other_mail_all_the_same() {
    let app = TestApp::with(|config| {
        counted_here(config);
        config.rate_limit.invitations_per_day_in_all = 4;
    })
    .await;
    let old = app.tenant().await;
    app.clock.advance(Duration::days(7));
    let (tenant, other) = (app.tenant().await, app.tenant().await);
    for by in [&tenant.owner, &other.owner] {
        invite_from("192.0.2.1", by, &app).await.expect(201);
    }
    // New tenants may use only half of the limit.
    wait(&invite_from("192.0.2.2", &app.tenant().await.owner, &app).await);
    for _ in 0..2 {
        invite_from("192.0.2.3", &old.owner, &app).await.expect(201);
    }
    wait(&invite_from("192.0.2.3", &old.owner, &app).await);
    let viewer = tenant.viewer().await.email();
    forgot(&app, &viewer).await;
    assert_eq!(tokens(&app, &viewer, "bcp_").len(), 1);
    let newcomer = app.unverified_tenant().await.owner.email();
    app.run_jobs().await;
    assert_eq!(tokens(&app, &newcomer, "bcv_").len(), 1);
    let owner = format!("{}@invited.example", app.unique());
    let by_operator = json!({"slug": app.unique(), "name": "Engines", "owner_email": owner});
    tenant.operator().await.post("/api/v1/admin/tenants").json(&by_operator).expect(201).await;
    app.run_jobs().await;
    assert_eq!(tokens(&app, &owner, "bci_").len(), 1, "an operator is not held back either");
}

#[tokio::test]
async fn of_invitations_that_conflict_only_the_one_that_is_made_counts() {
    let app = TestApp::with(|config| {
        counted_here(config);
        config.rate_limit.invitations_per_day = 3;
    })
    .await;
    let owner = app.tenant().await.owner;
    let email = format!("{}@invited.example", app.unique());
    let answers = join_all((0..8).map(|_| invite(&owner, &email))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1, "{answers:?}");
    for _ in 0..2 {
        invite_from("192.0.2.1", &owner, &app).await.expect(201);
    }
    wait(&invite_from("192.0.2.1", &owner, &app).await);
}

/// Registers a person with an unverified address.
async fn register(app: &TestApp, email: &str) {
    let input = json!({"email": email, "password": PASSWORD, "name": "Nora"});
    app.visitor().post(REGISTER).json(&input).expect(201).await;
}

#[tokio::test]
async fn a_verified_address_shares_its_mail_with_no_other_spelling_of_its_mailbox() {
    let app = TestApp::with(capped).await;
    let name = app.unique();
    let email = format!("{name}@example.com");
    register(&app, &email).await;
    app.run_jobs().await;
    let verify = json!({"token": tokens(&app, &email, "bcv_")[0], "password": PASSWORD});
    app.visitor().post("/api/v1/auth/email/verify").json(&verify).expect(204).await;
    let others = [0, 1, 2, 3, 4].map(|n| format!("{name}+{n}@example.com"));
    for other in &others {
        register(&app, other).await;
    }
    for _ in 0..5 {
        for other in &others {
            app.visitor().post("/api/v1/auth/password/forgot").json(&json!({"email": other})).expect(202).await;
        }
        app.run_jobs().await;
        app.clock.advance(Duration::seconds(61));
    }
    let mailed: usize = others.iter().map(|other| tokens(&app, other, "bcp_").len()).sum();
    assert!((20..=22).contains(&mailed), "{mailed} mails to one mailbox");
    for count in 1..=5 {
        forgot(&app, &email).await;
        assert_eq!(tokens(&app, &email, "bcp_").len(), count);
    }
}

#[tokio::test]
async fn addresses_of_one_mailbox_that_nobody_verified_share_what_it_gets() {
    let app = TestApp::with(|config| {
        capped(config);
        config.mail.per_mailbox_per_hour = 3;
    })
    .await;
    let (name, owner) = (app.unique(), app.tenant().await.owner);
    let (first, rest) = name.split_at(1);
    let spellings = [name.clone(), format!("{name}+1"), format!("{first}.{rest}"), format!("{first}.{rest}+a.b")];
    let emails = spellings.map(|name| format!("{name}@example.com"));
    for email in &emails {
        register(&app, email).await;
        forgot(&app, email).await;
    }
    let mailed = |prefix: &str| -> usize { emails.iter().map(|email| tokens(&app, email, prefix).len()).sum() };
    assert_eq!([mailed("bcv_"), mailed("bcp_")], [3, 3], "each kind counts by itself");
    let guest = app.unique();
    for tag in ["", "+1", "+2"] {
        invite(&owner, &format!("{guest}{tag}@invited.example")).await.expect(201);
    }
    wait(&invite(&owner, &format!("{guest}+3@invited.example")).await);
}

/// Each new address gets a mail, and the answer reveals whether an address is taken.
#[tokio::test]
async fn a_user_has_five_new_addresses_an_hour_and_only_verified_ones_are_told() {
    let app = TestApp::with(capped).await;
    let tenant = app.tenant().await;
    let (viewer, taken) = (tenant.viewer().await, tenant.owner.email());
    let change = |email: &str| {
        let input = json!({"email": email, "current_password": PASSWORD});
        viewer.patch("/api/v1/users/me").json(&input).send()
    };
    let strangers = [0; 4].map(|_| format!("{}@stranger.example", app.unique()));
    for stranger in &strangers {
        change(stranger).await.expect(200);
        change(stranger).await.expect(200); // the address stays the same
    }
    assert_eq!(change(&taken).await.error(), (409, "conflict".into()));
    for email in [&taken, &format!("{}@stranger.example", app.unique())] {
        assert_eq!(change(email).await.error(), (429, "rate_limited".into()));
    }
    let name = json!({"name": "No new address"});
    viewer.patch("/api/v1/users/me").json(&name).expect(200).await;
    app.run_jobs().await;
    let told =
        |email: &str| -> Vec<String> { app.mailbox.to(email).into_iter().map(|letter| letter.subject).collect() };
    assert_eq!(told(&viewer.email()), ["Your e-mail address was changed"], "it was verified");
    for stranger in &strangers {
        assert!(!told(stranger).contains(&"Your e-mail address was changed".to_owned()), "{stranger}");
    }
    app.clock.advance(Duration::minutes(12));
    let both = json!({"email": viewer.email(), "password": "another good password", "current_password": PASSWORD});
    viewer.patch("/api/v1/users/me").json(&both).expect(200).await;
    app.run_jobs().await;
    assert!(!told(&strangers[3]).contains(&"Your password was changed".to_owned()));
}

#[tokio::test]
async fn what_was_done_to_an_account_is_told_five_times_an_hour() {
    let app = TestApp::with(capped).await;
    let owner = app.tenant().await.owner;
    for n in 0..7 {
        let [current, new] = [n, n + 1].map(|n| format!("{PASSWORD}{}", "!".repeat(n)));
        let change = json!({"current_password": current, "new_password": new});
        owner.post("/api/v1/auth/password").json(&change).expect(204).await;
    }
    app.run_jobs().await;
    let letters = app.mailbox.to(&owner.email());
    assert_eq!(letters.iter().filter(|letter| letter.subject == "Your password was changed").count(), 5);
}

#[tokio::test]
async fn where_limits_are_off_no_mail_is_held_back() {
    let app = TestApp::start().await;
    let (owner, email) = (app.tenant().await.owner, format!("{}@invited.example", app.unique()));
    for _ in 0..7 {
        invite_in_vain(&owner, &email).await;
    }
}
