//! Calls all operations of the contract: without a token, with another tenant's ids, with each role, and with an API
//! key of each role. A new operation is included automatically.
use crate::support::fixtures::filled;
use crate::support::rights::{Line, count, lines, rights};
use crate::support::{Answer, Fixtures, Tenant, TestApp};
use bizcenter::auth::Role;
use bizcenter::contract::{Operation, document, operations};
use serde_json::{Value, json};
use std::collections::BTreeSet;

#[tokio::test]
#[should_panic(expected = "say in `Fixtures::thing`, tests/api/support/fixtures.rs")]
async fn a_path_parameter_that_nothing_makes_fails_and_says_where_to_add_it() {
    let tenant = TestApp::start().await.tenant().await;
    Fixtures::of(&tenant).make("/api/v1/unheard-of/{unheard_id}").await;
}

#[tokio::test]
async fn without_credentials_an_operation_that_needs_some_answers_401() {
    let tenant = TestApp::start().await.tenant().await;
    let (fixtures, visitor) = (Fixtures::of(&tenant), tenant.app.visitor());
    let mut walked = 0;
    for operation in operations(document()).iter().filter(|operation| operation.secured) {
        let answer = fixtures.call(&visitor, operation).await.send().await;
        assert_eq!(answer.error(), (401, "unauthenticated".into()), "{}", operation.id);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{}", operation.id);
        walked += 1;
    }
    assert_eq!(walked, count(|line| line.rights.is_some()), "all but the public ones");
}

#[tokio::test]
async fn an_operation_that_is_public_in_the_contract_needs_no_credentials() {
    let app = TestApp::start().await;
    let (tenant, unverified) = (app.tenant().await, app.unverified_tenant().await);
    let (viewer, visitor) = (tenant.viewer().await, app.visitor());
    let fixtures = Fixtures::of_person(&tenant, &viewer); // not the owner, because signing out is one of the operations
    let (mut walked, mut with_credential_in_body) = (0, vec![]);
    for operation in operations(document()).iter().filter(|operation| !operation.secured) {
        let stated = &document()["paths"][&operation.path][operation.method.to_lowercase()]["security"];
        let answer = if *stated == json!([]) {
            // The call has no body, because the body of a registration would register somebody.
            visitor.call(operation.method.parse().unwrap(), &fixtures.path(operation).await).send().await
        } else {
            with_credential_in_body.push(operation.id.clone());
            match operation.id.as_str() {
                // Only an address without a proof has a token in a mail.
                "auth_email_verify" => Fixtures::of(&unverified).call(&visitor, operation).await.send().await,
                _ => fixtures.call(&visitor, operation).await.send().await,
            }
        };
        let is_success = answer.status.is_success();
        assert!(is_success || answer.error().1 != "unauthenticated", "{} says {stated}: {answer:?}", operation.id);
        walked += 1;
    }
    for id in ["auth_refresh", "auth_logout"] {
        assert!(
            with_credential_in_body.iter().any(|found| found == id),
            "{id} needs a credential beside the one in its body"
        );
    }
    assert_eq!(walked, count(|line| line.rights.is_none()));
}

#[tokio::test]
async fn ids_of_another_tenant_are_answered_like_ids_that_never_existed() {
    let app = TestApp::start().await;
    let (ours, theirs) = (app.tenant().await, app.tenant().await);
    let (our_fixtures, their_fixtures, rights) = (Fixtures::of(&ours), Fixtures::of(&theirs), rights());
    let is_walked = |line: &Line| line.is_about_one() && line.rights.is_some() && !line.is_for_operators();
    let all = operations(document());
    let mut walked = 0;
    for operation in all.iter().filter(|operation| operation.path.contains('{')) {
        if rights[operation.id.as_str()].is_none_or(|rights| rights.is_for_operators) {
            continue;
        }
        let answered = async |path: &str| -> (u16, Value) {
            let answer: Answer = our_fixtures.call_at(&ours.owner, operation, path).await.send().await;
            let mut body = answer.json();
            body["error"]["request_id"] = Value::Null;
            (answer.status.as_u16(), body)
        };
        let theirs_path = their_fixtures.path(operation).await;
        let of_theirs = answered(&theirs_path).await;
        assert_eq!(of_theirs.0, 404, "{}", operation.id);
        let never = filled(&operation.path, |_| app.parts.env.uuid().to_string());
        assert_eq!(of_theirs, answered(&never).await, "{}", operation.id);
        if all.iter().any(|other| (other.method.as_str(), &other.path) == ("GET", &operation.path)) {
            theirs.owner.get(&theirs_path).expect(200).await; // the record still exists
        }
        walked += 1;
    }
    assert_eq!(walked, count(is_walked));
    theirs.owner.get("/api/v1/auth/me").expect(200).await;
}

/// Operations that do not succeed for callers who may call them, with the status and the reason.
const NO_SUCCESS: [(&str, u16, &str); 5] = [
    ("auth_session_end", 404, "only the user of a session ends it"),
    ("calendar_feed_get", 404, "the caller has no feed"),
    ("calendar_feed_delete", 404, "the caller has no feed"),
    ("file_complete", 404, "only the user who began an upload completes it"),
    ("tenant_delete", 422, "another tenant is named"),
];

/// Asserts that the operation succeeded or is an exception. Records the exceptions that occurred.
#[track_caller]
fn assert_done(operation: &Operation, answer: &Answer, exceptions: &mut BTreeSet<&'static str>) {
    if answer.status.is_success() {
        return;
    }
    let status = answer.status.as_u16();
    let exception = NO_SUCCESS.iter().find(|(id, other, _)| *id == operation.id && *other == status);
    let (id, ..) = exception.unwrap_or_else(|| panic!("{}: {} {}", operation.id, status, answer.text()));
    exceptions.insert(id);
}

#[tokio::test]
async fn every_role_may_do_what_the_table_says_and_no_more() {
    let tenant: Tenant = TestApp::start().await.tenant().await;
    let (rights, mut exceptions) = (rights(), BTreeSet::new());
    let mut walked = 0;
    for operation in operations(document()) {
        let Some(needed) = rights[operation.id.as_str()] else { continue };
        for role in Role::ALL {
            let person = tenant.person(role).await; // a new person, because signing out is one of the operations
            let answer = Fixtures::of(&tenant).call(&person, &operation).await.send().await;
            let is_about_one = operation.path.contains('{');
            let least = if is_about_one { needed.others } else { Some(needed.own) };
            let is_refused = least.is_none_or(|least| role < least) || needed.is_for_operators;
            match is_refused {
                true => assert_eq!(answer.error(), (403, "forbidden".into()), "{} as {}", operation.id, role.name()),
                false => assert_done(&operation, &answer, &mut exceptions),
            }
            walked += 1;
            let has_owner = Some(needed.own) != needed.others;
            if is_about_one
                && has_owner
                && role >= Role::Analyst
                && person.get("/api/v1/auth/me").send().await.status == 200
            {
                let own = Fixtures::of_person(&tenant, &person);
                let answer = own.call(&person, &operation).await.send().await;
                match role < needed.own {
                    true => assert_eq!(answer.status, 403, "{} of one's own as {}", operation.id, role.name()),
                    false => assert_done(&operation, &answer, &mut exceptions),
                }
            }
        }
    }
    assert_eq!(walked, count(|line| line.rights.is_some()) * Role::ALL.len());
    assert_eq!(exceptions, BTreeSet::from(NO_SUCCESS.map(|(id, ..)| id)), "an exception is not needed any more");
}

#[tokio::test]
async fn a_key_of_every_role_may_do_what_the_table_says_and_nothing_that_is_for_people() {
    let tenant = TestApp::start().await.tenant().await;
    let (visitor, fixtures) = (tenant.app.visitor(), Fixtures::of(&tenant));
    let (rights, mut exceptions) = (rights(), BTreeSet::new());
    let mut refused = 0;
    for role in Role::ALL {
        let input = json!({"name": role.name(), "role": role.name()});
        let made = tenant.owner.post("/api/v1/api-keys").json(&input).expect(201).await.json();
        for operation in operations(document()) {
            let Some(needed) = rights[operation.id.as_str()] else { continue };
            let call = fixtures.call(&visitor, &operation).await;
            let answer = call.header("x-api-key", made["key"].as_str().unwrap()).send().await;
            let least = if operation.path.contains('{') { needed.others } else { Some(needed.own) };
            match least.is_some_and(|least| role >= least) && !needed.is_for_people {
                true => assert_done(&operation, &answer, &mut exceptions),
                false => assert_eq!(answer.error(), (403, "forbidden".into()), "{} as {}", operation.id, role.name()),
            }
            refused += usize::from(needed.is_for_people);
        }
    }
    assert!(rights.values().flatten().all(|rights| rights.is_for_people || !rights.is_for_operators));
    assert_eq!(refused, count(|line| line.rights.is_some_and(|rights| rights.is_for_people)) * Role::ALL.len());
}

#[tokio::test]
async fn operators_reach_the_operations_for_operators_and_no_tenants_records() {
    let app = TestApp::start().await;
    let (home, other) = (app.tenant().await, app.tenant().await);
    let operator = home.operator().await; // a viewer in their own tenant
    let fixtures = Fixtures::of(&other);
    let (mut allowed, mut refused) = (0, 0);
    for line in lines().iter().filter(|line| line.rights.is_some()) {
        let operation = operations(document()).into_iter().find(|operation| operation.id == line.id).unwrap();
        if line.is_for_operators() {
            let answer = fixtures.call(&operator, &operation).await.send().await;
            assert!(answer.status.is_success(), "{}: {}", operation.id, answer.text());
            allowed += 1;
        } else if line.is_about_one() {
            let answer = fixtures.call(&operator, &operation).await.send().await;
            assert!(matches!(answer.status.as_u16(), 403 | 404), "{}: {}", operation.id, answer.text());
            refused += 1;
        }
    }
    assert!(allowed > 0 && refused > 0, "{allowed} allowed, {refused} refused");
}
