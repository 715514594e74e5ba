//! Registration: the people who may register, their roles and their tenants.
use crate::support::{Answer, PASSWORD, Tenant, TestApp};
use futures_util::future::join_all;
use serde_json::{Value, json};

const REGISTER: &str = "/api/v1/auth/register";

async fn register(app: &TestApp, input: &Value) -> Answer {
    app.visitor().post(REGISTER).json(input).send().await
}

/// The body of a registration by a new person, with these members added.
fn newcomer(app: &TestApp, members: Value) -> Value {
    let mut input = json!({"email": format!("{}@example.com", app.unique()), "password": PASSWORD, "name": "Nora New"});
    input.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    input
}

/// Slug, name and settings of this user's tenant.
async fn tenant_of(app: &TestApp, user: &Value) -> Vec<String> {
    let id = app.id(user["tenant_id"].as_str().unwrap().parse().unwrap());
    let door = "CASE WHEN open_registration THEN 'open' ELSE 'closed' END";
    let found = app.rows(&format!("SELECT slug, name, timezone, currency, {door} FROM tenants WHERE id = {id}")).await;
    assert_eq!(found.len(), 1);
    found.concat()
}

async fn slug_of(app: &TestApp, user: &Value) -> String {
    tenant_of(app, user).await.swap_remove(0)
}

/// The slug of a new tenant that is open for registration.
async fn open_tenant(app: &TestApp) -> String {
    let tenant = app.tenant().await;
    app.run(&format!("UPDATE tenants SET open_registration = TRUE WHERE slug = '{}'", tenant.slug)).await;
    tenant.slug
}

fn is_slug(text: &str) -> bool {
    (3..=50).contains(&text.len())
        && text.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-'))
        && !text.starts_with('-')
        && !text.ends_with('-')
}

// --- tenants

#[tokio::test]
async fn without_a_tenant_id_a_tenant_is_made_and_owned() {
    let app = TestApp::start().await;
    let company = format!("{} & Söhne, Inc.", app.unique());
    let answer = register(&app, &newcomer(&app, json!({"tenant_name": company}))).await.expect(201);
    let place = format!("/api/v1/users/{}", answer.json()["id"].as_str().unwrap());
    assert_eq!(answer.header("location"), Some(place.as_str()));
    let me =
        app.visitor().sign_in(answer.json()["email"].as_str().unwrap()).await.get("/api/v1/auth/me").expect(200).await;
    assert_eq!((me.json(), me.header("etag")), (answer.json(), answer.header("etag")));
    let user = answer.json();
    assert_eq!((&user["role"], &user["kind"], &user["name"]), (&json!("owner"), &json!("person"), &json!("Nora New")));
    let flags = (&user["is_active"], &user["is_superuser"], &user["email_verified"], &user["username"]);
    assert_eq!(flags, (&json!(true), &json!(false), &json!(false), &json!(null)));
    let [slug, name, timezone, currency, door] = tenant_of(&app, &user).await.try_into().unwrap();
    assert_eq!([name, timezone, currency, door], [&company, "UTC", "USD", "closed"]);
    assert!(is_slug(&slug) && slug.starts_with(&company[..33]), "{slug}");
}

#[tokio::test]
async fn without_a_tenant_name_the_tenant_is_called_after_its_owner() {
    let app = TestApp::start().await;
    let name = format!("Ada {}", app.unique());
    let user = register(&app, &newcomer(&app, json!({"name": name}))).await.expect(201).json();
    let tenant = tenant_of(&app, &user).await;
    assert_eq!(tenant[..2], [name.to_lowercase().replace(' ', "-"), name]);
}

#[tokio::test]
async fn a_new_tenant_id_becomes_the_slug() {
    let app = TestApp::start().await;
    let slug = app.unique();
    let input = newcomer(&app, json!({"tenant_id": slug, "tenant_name": "Engines 🚂"}));
    let user = register(&app, &input).await.expect(201).json();
    assert_eq!(user["role"], json!("owner"));
    assert_eq!(tenant_of(&app, &user).await[..2], [slug, "Engines 🚂".to_owned()]);
}

#[tokio::test]
async fn a_korean_name_stays_and_its_slug_is_made_up() {
    let app = TestApp::start().await;
    for _ in 0..2 {
        let input = newcomer(&app, json!({"name": "김철수", "tenant_name": "주식회사 비즈센터"}));
        let user = register(&app, &input).await.expect(201).json();
        assert_eq!(user["name"], json!("김철수"));
        let tenant = tenant_of(&app, &user).await;
        assert!(tenant[0].starts_with("tenant-") && is_slug(&tenant[0]), "{tenant:?}");
        assert_eq!(tenant[1], "주식회사 비즈센터");
    }
}

#[tokio::test]
async fn a_taken_slug_is_made_unique() {
    let app = TestApp::start().await;
    let long = format!("{} {}", app.unique(), "x".repeat(80));
    for company in [format!("Twice {}", app.unique()), long, "Al".to_owned(), "-".to_owned()] {
        let mut slugs = vec![];
        for _ in 0..3 {
            let user = register(&app, &newcomer(&app, json!({"tenant_name": company}))).await.expect(201).json();
            slugs.push(slug_of(&app, &user).await);
        }
        assert!(slugs.iter().all(|slug| is_slug(slug)), "{slugs:?}");
        slugs.sort();
        slugs.dedup();
        assert_eq!(slugs.len(), 3, "{slugs:?}");
    }
}

#[tokio::test]
async fn companies_of_one_name_that_register_at_once_all_get_in() {
    let app = TestApp::start().await;
    let company = format!("At once {}", app.unique());
    let inputs: Vec<_> = (0..8).map(|_| newcomer(&app, json!({"tenant_name": company}))).collect();
    for answer in join_all(inputs.iter().map(|input| register(&app, input))).await {
        answer.expect(201);
    }
}

#[tokio::test]
async fn of_those_who_ask_for_one_new_tenant_id_at_once_the_first_gets_it() {
    let app = TestApp::start().await;
    let slug = app.unique();
    let inputs: Vec<_> = (0..8).map(|_| newcomer(&app, json!({"tenant_id": slug}))).collect();
    let answers = join_all(inputs.iter().map(|input| register(&app, input))).await;
    let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 403, 403, 403, 403, 403, 403, 403]);
}

#[tokio::test]
async fn a_closed_tenant_takes_nobody() {
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    for members in [json!({"tenant_id": tenant.slug}), json!({"tenant_id": tenant.slug, "tenant_name": "Mine"})] {
        let input = newcomer(&app, members);
        assert_eq!(register(&app, &input).await.error(), (403, "registration_closed".into()));
        let login = json!({"email": input["email"], "password": PASSWORD});
        app.visitor().post("/api/v1/auth/login").json(&login).expect(401).await;
    }
}

#[tokio::test]
async fn an_open_tenant_takes_anybody_as_a_viewer() {
    let app = TestApp::start().await;
    let slug = open_tenant(&app).await;
    let user = register(&app, &newcomer(&app, json!({"tenant_id": slug}))).await.expect(201).json();
    assert_eq!(user["role"], json!("viewer"));
    assert_eq!(slug_of(&app, &user).await, slug);
    let viewer = app.visitor().sign_in(user["email"].as_str().unwrap()).await;
    viewer.get("/api/v1/tasks").expect(200).await;
    viewer.post("/api/v1/tasks").json(&json!({"title": "Not mine to make"})).expect(403).await;
}

#[tokio::test]
async fn a_tenant_that_exists_can_not_be_named_anew() {
    let app = TestApp::start().await;
    let input = newcomer(&app, json!({"tenant_id": open_tenant(&app).await, "tenant_name": "Mine now"}));
    let answer = register(&app, &input).await;
    assert_eq!(answer.error(), (422, "unprocessable".into()));
    assert_eq!(answer.detail(), json!({"tenant_name": ["is only for a new tenant, but this tenant exists"]}));
}

/// Registers while another transaction changes the tenant. That transaction commits as soon as the registration waits
/// for it.
async fn register_during(change: &str, tenant: &Tenant, input: &Value) -> Answer {
    let app = &tenant.app;
    let open = app.begin(&format!("UPDATE tenants SET {change} WHERE slug = '{}'", tenant.slug)).await;
    let commit = async {
        app.until_waiting_for_lock(1).await;
        open.commit().await;
    };
    tokio::join!(register(app, input), commit).0
}

#[tokio::test]
async fn a_registration_that_waits_while_the_tenant_closes_is_refused() {
    let app = TestApp::alone().await;
    for change in ["open_registration = FALSE", "is_suspended = TRUE"] {
        let tenant = app.tenant().await;
        app.run(&format!("UPDATE tenants SET open_registration = TRUE WHERE slug = '{}'", tenant.slug)).await;
        let input = newcomer(&app, json!({"tenant_id": tenant.slug}));
        let answer = register_during(change, &tenant, &input).await;
        assert_eq!(answer.error(), (403, "registration_closed".into()), "{change}");
    }
    let tenant = app.tenant().await;
    let mut input = newcomer(&app, json!({}));
    let invitation = json!({"email": input["email"], "role": "viewer"});
    let invited = tenant.owner.post("/api/v1/invitations").json(&invitation).expect(201).await.json();
    input["invitation_token"] = invited["token"].clone();
    let answer = register_during("is_suspended = TRUE", &tenant, &input).await;
    assert_eq!(answer.error(), (422, "unprocessable".into()));
}

// --- what one is called

#[tokio::test]
async fn without_a_name_one_is_called_by_the_username_or_by_what_is_before_the_at_sign() {
    let app = TestApp::start().await;
    let register = async |members: Value| {
        let mut input = json!({"email": format!("{}@example.com", app.unique()), "password": PASSWORD});
        input.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        app.visitor().post(REGISTER).json(&input).expect(201).await.json()
    };
    let unique = app.unique();
    let by_address = register(json!({"email": format!(" Nora.{unique}@Example.com")})).await;
    assert_eq!(by_address["name"], json!(format!("nora.{unique}")));
    assert_eq!(tenant_of(&app, &by_address).await[1], format!("nora.{unique}"), "the tenant is called after its owner");
    let username = app.unique();
    assert_eq!(register(json!({"username": username})).await["name"], json!(username));
    let all = json!({"name": "Nora New", "username": app.unique(), "tenant_name": "Engines"});
    assert_eq!(register(all).await["name"], json!("Nora New"));

    let tenant = app.tenant().await;
    let email = format!("{}@example.com", app.unique());
    let invitation = json!({"email": email, "role": "editor"});
    let invited = tenant.owner.post("/api/v1/invitations").json(&invitation).expect(201).await.json();
    let joined = register(json!({"email": email, "invitation_token": invited["token"]})).await;
    assert_eq!(joined["name"], json!(email.split('@').next().unwrap()));
}

// --- names that are taken

#[tokio::test]
async fn an_email_address_is_taken_in_all_its_spellings() {
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    let email = tenant.owner.email();
    let full_width = email.replacen("owner", "\u{ff2f}\u{ff37}\u{ff2e}\u{ff25}\u{ff32}", 1);
    for spelling in [email.clone(), email.to_uppercase(), format!("  {email} "), full_width] {
        let slug = app.unique();
        let answer = register(&app, &newcomer(&app, json!({"email": spelling, "tenant_id": slug}))).await;
        assert_eq!(answer.error(), (409, "conflict".into()), "{spelling}");
        assert_eq!(answer.detail(), json!({"email": ["is taken"]}), "{spelling}");
        let left = app.rows(&format!("SELECT slug FROM tenants WHERE slug = '{slug}'")).await;
        assert_eq!(left.len(), 0, "{spelling}: the tenant is left behind");
        register(&app, &newcomer(&app, json!({"tenant_id": slug}))).await.expect(201);
    }
}

#[tokio::test]
async fn an_email_address_is_kept_in_the_form_that_is_compared() {
    let app = TestApp::start().await;
    let unique = app.unique();
    let input = newcomer(&app, json!({"email": format!(" \u{ff2e}ORA.{}@Example.COM ", unique.to_uppercase())}));
    let user = register(&app, &input).await.expect(201).json();
    assert_eq!(user["email"], json!(format!("nora.{unique}@example.com")));
}

#[tokio::test]
async fn a_username_is_taken_on_the_whole_server() {
    let app = TestApp::start().await;
    let username = app.unique();
    register(&app, &newcomer(&app, json!({"username": username}))).await.expect(201);
    let input = newcomer(&app, json!({"username": username, "tenant_id": open_tenant(&app).await}));
    let answer = register(&app, &input).await;
    assert_eq!(answer.error(), (409, "conflict".into()));
    assert_eq!(answer.detail(), json!({"username": ["is taken"]}));
    let without = newcomer(&app, json!({"email": input["email"]}));
    register(&app, &without).await.expect(201); // nothing is left of the failed registration
}

#[tokio::test]
async fn one_address_registered_20_times_at_once_is_one_user() {
    let app = TestApp::start().await;
    let email = format!("{}@example.com", app.unique());
    let inputs: Vec<_> = (0..20)
        .map(|_| newcomer(&app, json!({"email": email, "tenant_id": app.unique(), "tenant_name": "Racers"})))
        .collect();
    let answers = join_all(inputs.iter().map(|input| register(&app, input))).await;
    let made = answers.iter().filter(|answer| answer.status == 201).count();
    let taken = answers.iter().filter(|answer| answer.status == 409 && answer.detail().get("email").is_some()).count();
    assert_eq!((made, taken), (1, 19));
    assert_eq!(app.rows(&format!("SELECT email FROM users WHERE email = '{email}'")).await.len(), 1);
    let slugs: Vec<_> = inputs.iter().map(|input| input["tenant_id"].to_string().replace('"', "'")).collect();
    let tenants = app.rows(&format!("SELECT slug FROM tenants WHERE slug IN ({})", slugs.join(", "))).await;
    assert_eq!(tenants.len(), 1, "{tenants:?}");
}

// --- what is refused

/// Sends a registration and expects a refusal that names exactly these members.
async fn refused(app: &TestApp, members: Value, status: u16, named: &[&str]) {
    let input = newcomer(app, members);
    let answer = register(app, &input).await;
    let kind = if status == 400 { "validation_error" } else { "unprocessable" };
    assert_eq!(answer.error(), (status, kind.into()), "{input}");
    let detail = answer.detail();
    let members: Vec<_> = detail.as_object().unwrap().keys().collect();
    assert_eq!(members, named, "{input}: {detail}");
}

#[tokio::test]
async fn rights_and_ids_can_not_be_sent() {
    let app = TestApp::start().await;
    for name in ["role", "is_superuser", "id", "is_active", "kind", "email_verified", "version", "password_hash"] {
        refused(&app, json!({name: "owner"}), 400, &[name]).await;
        refused(&app, json!({name: null}), 400, &[name]).await;
    }
}

#[tokio::test]
async fn passwords_have_8_to_72_characters_and_at_most_72_bytes() {
    let app = TestApp::start().await;
    refused(&app, json!({"password": "x".repeat(7)}), 400, &["password"]).await;
    refused(&app, json!({"password": "x".repeat(73)}), 400, &["password"]).await;
    refused(&app, json!({"password": "é".repeat(37)}), 422, &["password"]).await;
    refused(&app, json!({"password": "비".repeat(72)}), 422, &["password"]).await;
    for password in ["x".repeat(8), "y".repeat(72), "비".repeat(24), " leading and trailing ".to_owned()] {
        let input = newcomer(&app, json!({"password": password}));
        register(&app, &input).await.expect(201);
        let login = |password: &str| json!({"email": input["email"], "password": password});
        app.visitor().post("/api/v1/auth/login").json(&login(&password)).expect(200).await;
        for other in [format!("{password}x"), password.trim_end_matches(['x', 'y', '비', ' ']).to_owned()] {
            app.visitor().post("/api/v1/auth/login").json(&login(&other)).expect(401).await;
        }
    }
}

#[tokio::test]
async fn faulty_members_are_refused() {
    let app = TestApp::start().await;
    refused(&app, json!({"name": "   "}), 422, &["name"]).await;
    for name in [json!(""), json!("x".repeat(121)), json!("a\u{0}b"), json!(5), json!(null)] {
        refused(&app, json!({"name": name}), 400, &["name"]).await;
    }
    for username in ["ab", "Ada", "a da", "ada@example.com", "\u{ff41}da", "", "é.é.é", &"x".repeat(51)] {
        refused(&app, json!({"username": username}), 400, &["username"]).await;
    }
    for slug in ["ab", "Acme", "a_b_c", "a.b.c", "주식회사", &"x".repeat(51)] {
        refused(&app, json!({"tenant_id": slug}), 400, &["tenant_id"]).await;
    }
    refused(
        &app,
        json!({"email": "", "name": "", "password": "", "role": 1}),
        400,
        &["email", "name", "password", "role"],
    )
    .await;
}

#[tokio::test]
async fn what_is_no_email_address_is_refused() {
    let app = TestApp::start().await;
    let long = format!("{}@{}.example.com", "x".repeat(60), "d.".repeat(120));
    for email in ["ada", "@example.com", "ada@", "a b@example.com", "ada@example.com, b@example.com", &long] {
        refused(&app, json!({"email": email}), 400, &["email"]).await;
    }
}

#[tokio::test]
async fn an_address_is_judged_in_the_form_that_is_kept() {
    let app = TestApp::start().await;
    let second_at = "ada\u{ff20}home@example.com"; // NFKC turns this into an `@`
    let spaces = "ada\u{fdfa}@example.com"; // NFKC turns this into four words
    let expands = format!("{}@example.com", "\u{fdfa}".repeat(20)); // NFKC turns these into 360 characters
    let comma = "ada\u{ff0c}b@example.com";
    for email in [second_at, spaces, expands.as_str(), comma] {
        refused(&app, json!({"email": email}), 400, &["email"]).await;
    }
    refused(&app, json!({"email": "Ada <ada@example.com>"}), 400, &["email"]).await; // an address with a display name
}

#[tokio::test]
async fn no_answer_tells_a_password_or_its_hash() {
    let app = TestApp::start().await;
    let good = newcomer(&app, json!({}));
    let short = newcomer(&app, json!({"password": "batteri"}));
    let long = newcomer(&app, json!({"password": "batteri 비".repeat(7)}));
    let closed = newcomer(&app, json!({"tenant_id": app.tenant().await.slug}));
    for (input, status) in [(&good, 201), (&good, 409), (&short, 400), (&long, 422), (&closed, 403)] {
        let text = register(&app, input).await.expect(status).text();
        for secret in ["batter", "$2", "hash"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}
