//! Calls all operations of the contract that change something: each of them adds a row to the tenant's audit log. A new
//! operation is included automatically.
use crate::support::rights::count;
use crate::support::s3::S3;
use crate::support::{Call, Fixtures, Tenant, TestApp};
use bizcenter::contract::{Operation, document, operations};
use uuid::Uuid;

/// Operations that add no row, and the reasons.
const NOT_AUDITED: [(&str, &str); 3] = [
    ("auth_refresh", "happens every 15 minutes, and changes nothing that people see"),
    ("file_reserve", "makes no file yet: that is made, with its row, when the upload is completed"),
    ("auth_password_forgot", "anybody can ask, for anybody; the reset itself is what changes something"),
];

/// A successful call of the operation, by a person who may do everything, or by a visitor if the operation is for
/// visitors.
async fn call(tenant: &Tenant, operation: &Operation) -> Call {
    if operation.id == "tenant_delete" {
        // The caller is another person, because a tenant with operators can't be deleted.
        return tenant.owner.delete(&format!("{}?confirm={}", operation.path, tenant.slug));
    }
    let person = tenant.almighty().await;
    let fixtures = Fixtures::of_person(tenant, &person);
    let path = fixtures.path(operation).await;
    if operation.id == "calendar_feed_delete" {
        person.post(&path).expect(201).await;
    }
    let caller = if operation.secured { &person } else { &tenant.app.visitor() };
    fixtures.call_at(caller, operation, &path).await
}

async fn rows_of(app: &TestApp, tenant: Uuid) -> usize {
    app.rows(&format!("SELECT action FROM audit_logs WHERE tenant_id = {}", app.id(tenant))).await.len()
}

#[tokio::test]
async fn every_operation_that_changes_something_leaves_a_row() {
    // A server of its own, so that no other test removes the rows of the deleted tenant. Its files are in S3, so that none of
    // their operations is refused.
    let s3 = S3::start().await;
    let settings = s3.clone();
    let app = TestApp::with(move |config| settings.configure(config)).await;
    let (mut walked, mut excepted) = (0, vec![]);
    for operation in operations(document()).iter().filter(|operation| operation.method != "GET") {
        let tenant = match operation.id.as_str() {
            "auth_email_verify" => app.unverified_tenant().await, // otherwise there would be nothing to verify
            _ => app.tenant().await,
        };
        let call = call(&tenant, operation).await;
        let before = rows_of(&app, tenant.id).await;
        let answer = call.send().await;
        assert!(answer.status.is_success(), "{}: {}: {}", operation.id, answer.status, answer.text());
        let new = match operation.id.as_str() {
            "admin_tenant_create" => rows_of(&app, answer.json()["id"].as_str().unwrap().parse().unwrap()).await,
            _ => rows_of(&app, tenant.id).await - before,
        };
        let exception = NOT_AUDITED.into_iter().find(|(id, _)| *id == operation.id);
        assert_eq!(new == 0, exception.is_some(), "{}: {new} new rows", operation.id);
        excepted.extend(exception);
        walked += 1;
    }
    assert_eq!(walked, count(|line| line.method != "GET"), "not all were walked");
    assert_eq!(excepted.len(), NOT_AUDITED.len(), "an exception is of no operation that there is");
}
