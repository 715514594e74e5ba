//! The tenants of the server: how operators create, suspend and limit them.
use crate::support::{Answer, PASSWORD, Person, Tenant, TestApp};
use futures_util::future::join_all;
use serde_json::{Value, json};

const TENANTS: &str = "/api/v1/admin/tenants";
const LOGS: &str = "/api/v1/audit-logs";
const REGISTER: &str = "/api/v1/auth/register";
const TASKS: &str = "/api/v1/tasks";

fn error(status: u16, kind: &str) -> (u16, String) {
    (status, kind.to_owned())
}

fn text(value: &Value, member: &str) -> String {
    value[member].as_str().unwrap().to_owned()
}

fn path_of(tenant: &Tenant) -> String {
    format!("{TENANTS}/{}", tenant.id)
}

/// The body with which an operator creates a tenant.
fn newcomer(app: &TestApp) -> Value {
    let slug = app.unique();
    json!({"slug": slug, "name": format!("Company {slug}"), "owner_email": format!("{slug}@invited.example")})
}

/// Registers a new person, with these members added to the body.
async fn register(app: &TestApp, members: Value) -> Answer {
    let mut input = json!({"email": format!("{}@example.com", app.unique()), "password": PASSWORD, "name": "Nora New"});
    input.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    app.visitor().post(REGISTER).json(&input).send().await
}

/// The entries of the audit log in this person's tenant for these parameters, the latest first.
async fn entries(person: &Person, parameters: &str) -> Vec<Value> {
    person.get(&format!("{LOGS}?{parameters}")).expect(200).await.json()["items"].as_array().unwrap().clone()
}

// --- who, and making tenants

#[tokio::test]
async fn operators_alone_reach_the_tenants() {
    let app = TestApp::start().await;
    let tenant = app.tenant().await;
    for person in [tenant.owner.clone(), tenant.admin().await, tenant.viewer().await] {
        let calls = [
            person.get(TENANTS),
            person.post(TENANTS).json(&newcomer(&app)),
            person.get(&path_of(&tenant)),
            person.patch(&path_of(&tenant)).json(&json!({"user_requests_per_hour": 1_000_000})),
        ];
        for call in calls {
            assert_eq!(call.send().await.error(), error(403, "forbidden"));
        }
    }
    let operator = tenant.operator().await;
    let found = operator.get(&path_of(&tenant)).expect(200).await;
    let members = ["id", "slug", "is_suspended", "user_requests_per_hour", "version"];
    let expected = [json!(tenant.id), json!(tenant.slug), json!(false), json!(null), json!(1)];
    assert_eq!(members.map(|member| found.json()[member].clone()), expected);
    operator.get(&path_of(&tenant)).header("if-none-match", found.header("etag").unwrap()).expect(304).await;
    let never = app.parts.env.uuid();
    operator.get(&format!("{TENANTS}/{never}")).expect(404).await;
    operator.patch(&format!("{TENANTS}/{never}")).json(&json!({"is_suspended": true})).expect(404).await;
    for path in ["/api/v1/tenant", LOGS] {
        let status = operator.get(path).send().await.status;
        assert_eq!(status == 200, path != LOGS, "at home they are a viewer: {path}");
    }
}

#[tokio::test]
async fn a_new_tenant_is_owned_by_who_is_invited_to_it() {
    let app = TestApp::start().await;
    let home = app.tenant().await;
    let (operator, input) = (home.operator().await, newcomer(&app));
    let email = text(&input, "owner_email");
    let answer = operator.post(TENANTS).json(&input).expect(201).await;
    let mut made = answer.json();
    let (id, path, token) =
        (text(&made, "id"), format!("{TENANTS}/{}", text(&made, "id")), text(&made, "invitation_token"));
    assert_eq!(answer.header("location"), Some(path.as_str()));
    let members = ["slug", "name", "is_suspended", "api_key_requests_per_hour", "version"];
    let expected = [input["slug"].clone(), input["name"].clone(), json!(false), json!(null), json!(1)];
    assert_eq!(members.map(|member| made[member].clone()), expected);
    made.as_object_mut().unwrap().remove("invitation_token");
    let found = operator.get(&path).expect(200).await;
    assert_eq!((found.json(), found.header("etag")), (made, answer.header("etag")));
    let letters = app.letters_to(&email, 1).await;
    assert_eq!((letters.len(), letters[0].token("bci_")), (1, token.clone()));

    assert_eq!(register(&app, json!({"tenant_id": input["slug"]})).await.error(), error(403, "registration_closed"));
    assert_eq!(register(&app, json!({"invitation_token": token})).await.error(), error(422, "unprocessable"));
    let user = register(&app, json!({"invitation_token": token, "email": email})).await.expect(201).json();
    let members = ["role", "tenant_id", "is_superuser"].map(|member| user[member].clone());
    assert_eq!(members, [json!("owner"), json!(id), json!(false)]);
    let owner = app.visitor().sign_in(&email).await;
    assert_eq!(owner.get("/api/v1/tenant").expect(200).await.json()["slug"], input["slug"]);

    let by_operator = format!("actor_id={}", operator.id());
    let logged = entries(&owner, &by_operator).await;
    let mut logged: Vec<_> = logged.iter().map(|entry| (text(entry, "action"), text(entry, "subject_kind"))).collect();
    logged.sort();
    assert_eq!(logged, ["invitation", "tenant"].map(|kind| ("create".to_owned(), kind.to_owned())));
    for kind in ["tenant", "invitation"] {
        let at_home = entries(&home.owner, &format!("{by_operator}&subject_kind={kind}")).await;
        assert_eq!(at_home, Vec::<Value>::new());
    }
    let member = format!("/api/v1/users/{}", owner.id());
    assert_eq!(operator.get(&member).send().await.error(), error(404, "not_found"), "operators see nobody's rows");
}

#[tokio::test]
async fn slugs_are_taken_once_and_faults_are_named() {
    let app = TestApp::start().await;
    let home = app.tenant().await;
    let operator = home.operator().await;
    let mut taken = newcomer(&app);
    taken["slug"] = json!(home.slug);
    let answer = operator.post(TENANTS).json(&taken).send().await;
    assert_eq!((answer.error(), answer.detail()), (error(409, "conflict"), json!({"slug": ["is taken"]})));

    let mut rivals: Vec<_> = (0..8).map(|_| newcomer(&app)).collect();
    rivals.iter_mut().for_each(|input| input["slug"] = json!(format!("{}-s", home.slug)));
    let answers = join_all(rivals.iter().map(|input| operator.post(TENANTS).json(input).send())).await;
    let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409, 409, 409, 409, 409]);

    let faults = [
        (json!({"slug": "Acme"}), 400, "slug"),
        (json!({"slug": "ab"}), 400, "slug"),
        (json!({"name": "  "}), 422, "name"),
        (json!({"owner_email": "nobody"}), 400, "owner_email"),
        (json!({"is_suspended": true}), 400, "is_suspended"),
        (json!({"id": home.id}), 400, "id"),
    ];
    for (members, status, named) in faults {
        let mut input = newcomer(&app);
        input.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        let answer = operator.post(TENANTS).json(&input).expect(status).await;
        assert_eq!(answer.detail().as_object().unwrap().keys().collect::<Vec<_>>(), [named], "{members}");
    }
}

#[tokio::test]
async fn a_tenant_made_again_with_its_idempotency_key_is_the_first_one() {
    let app = TestApp::start().await;
    let (operator, input) = (app.tenant().await.operator().await, newcomer(&app));
    let send = |input: &Value| operator.post(TENANTS).header("idempotency-key", "k").json(input).send();
    let answers = join_all((0..10).map(|_| send(&input))).await;
    let answers: Vec<_> = answers.into_iter().map(|answer| answer.expect(201)).collect();
    let again = send(&input).await.expect(201);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert!(answers.iter().all(|answer| answer.body == again.body));
    let found = operator.get(&format!("{TENANTS}?q={}", text(&input, "slug"))).expect(200).await.json();
    assert_eq!((&found["meta"]["total"], &found["items"][0]["id"]), (&json!(1), &again.json()["id"]));
    assert_eq!(send(&newcomer(&app)).await.error(), error(422, "idempotency_mismatch"));
    let anew = operator.post(TENANTS).json(&input).send().await;
    assert_eq!(anew.detail(), json!({"slug": ["is taken"]}));
    let owner = json!({"invitation_token": again.json()["invitation_token"], "email": input["owner_email"]});
    assert_eq!(register(&app, owner).await.expect(201).json()["role"], "owner");
}

// --- changing them

#[tokio::test]
async fn limits_are_set_and_cleared_one_by_one() {
    let app = TestApp::start().await;
    let (home, tenant) = (app.tenant().await, app.tenant().await);
    let (operator, path) = (home.operator().await, path_of(&tenant));
    let before = operator.get(&path).expect(200).await;
    let tag = before.header("etag").unwrap();
    let limits = json!({"user_requests_per_hour": 5000, "user_writes_per_minute": 1});
    let changed = operator.patch(&path).header("if-match", tag).json(&limits).expect(200).await;
    let mut expected = before.json();
    expected.as_object_mut().unwrap().extend(limits.as_object().unwrap().clone());
    (expected["version"], expected["updated_at"]) = (json!(2), changed.json()["updated_at"].clone());
    assert_eq!(changed.json(), expected);
    let now = operator.get(&path).header("if-none-match", tag).expect(200).await;
    assert_eq!((now.json(), now.header("etag")), (expected, changed.header("etag")));
    let stale = operator.patch(&path).header("if-match", tag).json(&json!({"is_suspended": true})).send().await;
    assert_eq!(stale.error(), error(412, "precondition_failed"));
    let cleared = operator.patch(&path).json(&json!({"user_writes_per_minute": null})).expect(200).await.json();
    let members = ["user_requests_per_hour", "user_writes_per_minute", "is_suspended"];
    assert_eq!(members.map(|member| cleared[member].clone()), [json!(5000), json!(null), json!(false)]);
    for (patch, named) in [
        (json!({"is_suspended": null}), "is_suspended"),
        (json!({"api_key_requests_per_hour": 0}), "api_key_requests_per_hour"),
        (json!({"user_requests_per_hour": 1_000_001}), "user_requests_per_hour"),
        (json!({"slug": "mine"}), "slug"),
        (json!({"name": "Mine"}), "name"),
    ] {
        let answer = operator.patch(&path).json(&patch).expect(400).await;
        assert_eq!(answer.detail().as_object().unwrap().keys().collect::<Vec<_>>(), [named], "{patch}");
    }
    let of_others = operator.get(&path_of(&home)).expect(200).await.json();
    assert_eq!((&of_others["version"], &of_others["user_requests_per_hour"]), (&json!(1), &json!(null)));
}

#[tokio::test]
async fn nobody_of_a_suspended_tenant_is_served_until_it_goes_on() {
    let app = TestApp::start().await;
    let (home, tenant) = (app.tenant().await, app.tenant().await);
    let (operator, owner, editor) = (home.operator().await, &tenant.owner, tenant.editor().await);
    let key = owner.post("/api/v1/api-keys").json(&json!({"name": "Robot", "role": "viewer"})).expect(201).await.json();
    let by_key = || app.visitor().get(TASKS).header("x-api-key", key["key"].as_str().unwrap()).send();
    let guest = format!("{}@invited.example", app.unique());
    let invitation = json!({"email": guest, "role": "viewer"});
    let invitation = owner.post("/api/v1/invitations").json(&invitation).expect(201).await.json();
    let join = || register(&app, json!({"email": guest, "invitation_token": invitation["token"]}));
    owner.patch("/api/v1/tenant").json(&json!({"open_registration": true})).expect(200).await;
    let knock = || register(&app, json!({"tenant_id": tenant.slug}));
    let login = async |person: &Person, password: &str| {
        let input = json!({"email": person.email(), "password": password});
        app.visitor().post("/api/v1/auth/login").json(&input).send().await
    };
    let refresh = async |person: &Person| {
        let input = json!({"refresh_token": person.refresh_token()});
        app.visitor().post("/api/v1/auth/refresh").json(&input).send().await
    };
    by_key().await.expect(200);
    editor.get(TASKS).expect(200).await;

    let suspended = operator.patch(&path_of(&tenant)).json(&json!({"is_suspended": true})).expect(200).await.json();
    assert_eq!(suspended["is_suspended"], true);
    for person in [owner, &editor] {
        assert_eq!(person.get(TASKS).send().await.error(), error(401, "invalid_token"));
        assert_eq!(refresh(person).await.error(), error(401, "invalid_token"));
        assert_eq!(login(person, PASSWORD).await.error(), error(403, "inactive_user"));
        assert_eq!(login(person, "a wrong password").await.error(), error(401, "invalid_credentials"));
    }
    assert_eq!(by_key().await.error(), error(401, "invalid_token"));
    assert_eq!(knock().await.error(), error(403, "registration_closed"));
    assert_eq!(join().await.error(), error(422, "unprocessable"));
    home.owner.get(TASKS).expect(200).await;

    operator.patch(&path_of(&tenant)).json(&json!({"is_suspended": false})).expect(200).await;
    for person in [owner, &editor] {
        person.get(TASKS).expect(200).await;
        login(person, PASSWORD).await.expect(200);
        refresh(person).await.expect(200);
    }
    by_key().await.expect(200);
    knock().await.expect(201);
    join().await.expect(201);
    let logged = entries(owner, &format!("actor_id={}", operator.id())).await;
    let told: Vec<_> = logged.iter().map(|entry| (text(entry, "action"), entry["changes"].clone())).collect();
    let update = |before: bool| ("update".to_owned(), json!({"is_suspended": [before, !before]}));
    assert_eq!(told, [update(true), update(false)]);
    assert!(logged.iter().all(|entry| entry["subject_id"] == json!(tenant.id)), "{logged:?}");
    assert_eq!(entries(&home.owner, &format!("subject_id={}", tenant.id)).await, Vec::<Value>::new());
}

/// Operators who shut themselves out could not undo it.
#[tokio::test]
async fn operators_do_not_shut_themselves_out() {
    let app = TestApp::start().await;
    let (home, other) = (app.tenant().await, app.tenant().await);
    let (operator, path) = (home.operator().await, path_of(&home));
    let both = json!({"is_suspended": true, "user_requests_per_hour": 7});
    let answer = operator.patch(&path).json(&both).send().await;
    assert_eq!(answer.error(), error(409, "conflict"));
    assert_eq!(
        answer.detail(),
        json!({"is_suspended": ["can't be set for your own tenant, because you would lose access"]})
    );
    let limits = json!({"is_suspended": false, "user_requests_per_hour": 7000});
    assert_eq!(operator.patch(&path).json(&limits).expect(200).await.json()["user_requests_per_hour"], 7000);
    let elsewhere = other.operator().await;
    elsewhere.patch(&path).json(&json!({"is_suspended": true})).expect(200).await;
    elsewhere.patch(&path).json(&json!({"is_suspended": false})).expect(200).await;
}

// --- lists

#[tokio::test]
async fn tenants_are_listed_in_any_order_page_by_page() {
    let app = TestApp::alone().await; // no other test creates tenants on this server
    let home = app.tenant().await;
    let operator = home.operator().await;
    for (slug, name) in
        [("zulu", "Alpha Crew"), ("yankee", "Bravo crew"), ("xray", "Charlie CREW"), ("whisky", "Delta 9% crew")]
    {
        let input = json!({"slug": slug, "name": name, "owner_email": format!("{slug}@invited.example")});
        let made = operator.post(TENANTS).json(&input).expect(201).await.json();
        if slug == "xray" {
            let path = format!("{TENANTS}/{}", text(&made, "id"));
            operator.patch(&path).json(&json!({"is_suspended": true})).expect(200).await;
        }
    }
    let page = async |query: &str| operator.get(&format!("{TENANTS}?{query}")).expect(200).await.json();
    let slugs = |page: &Value| -> Vec<String> {
        page["items"].as_array().unwrap().iter().map(|tenant| text(tenant, "slug")).collect()
    };
    let own = home.slug.as_str();
    for (query, expected) in [
        ("", vec!["whisky", "xray", "yankee", "zulu", own]),
        ("sort=created_at", vec![own, "zulu", "yankee", "xray", "whisky"]),
        ("q=crew&sort=name", vec!["zulu", "yankee", "xray", "whisky"]),
        ("q=crew&sort=-name", vec!["whisky", "xray", "yankee", "zulu"]),
        ("q=Crew&sort=slug", vec!["whisky", "xray", "yankee", "zulu"]),
        ("q=crew&sort=-updated_at", vec!["whisky", "xray", "yankee", "zulu"]),
        ("q=ANKE", vec!["yankee"]),
        ("q=%25", vec!["whisky"]),
        ("q=9_", vec![]),
        ("is_suspended=true", vec!["xray"]),
        ("is_suspended=false&q=crew&sort=name", vec!["zulu", "yankee", "whisky"]),
        ("per_page=2&page=2&sort=name&q=crew", vec!["xray", "whisky"]),
        ("per_page=2&page=3&sort=name&q=crew", vec![]),
    ] {
        assert_eq!(slugs(&page(query).await), expected, "{query}");
    }
    let first = page("per_page=3&sort=-slug&q=crew").await;
    assert_eq!((&first["meta"]["total"], &first["meta"]["pages"]), (&json!(4), &json!(2)));
    let rest = page(&format!("per_page=3&sort=-slug&q=crew&cursor={}", text(&first["meta"], "next_cursor"))).await;
    assert_eq!((slugs(&rest), rest["meta"].get("next_cursor")), (vec!["whisky".to_owned()], None));
    for (query, named) in [("sort=role", "sort"), ("is_suspended=maybe", "is_suspended"), ("name=Alpha", "name")] {
        let answer = operator.get(&format!("{TENANTS}?{query}")).expect(400).await;
        assert_eq!(answer.detail().as_object().unwrap().keys().collect::<Vec<_>>(), [named]);
    }

    let gone = app.tenant().await;
    gone.owner.delete(&format!("/api/v1/tenant?confirm={}", gone.slug)).expect(204).await;
    operator.get(&path_of(&gone)).expect(404).await;
    operator.patch(&path_of(&gone)).json(&json!({"is_suspended": false})).expect(404).await;
    assert_eq!(page("").await["meta"]["total"], 5);
}
