//! Usernames are unique on the whole server, so each try reveals whether a user has that name.
use super::{HIGH, limited, wait};
use crate::support::{Answer, Person};
use bizcenter::config::RateLimitConfig;
use chrono::Duration;
use reqwest::Method;
use serde_json::{Value, json};

const PROFILE: &str = "/api/v1/users/me";

async fn try_name(person: &Person, name: &Value) -> Answer {
    person.patch(PROFILE).json(&json!({"username": name})).send().await
}

#[tokio::test]
async fn a_user_tries_so_many_usernames_an_hour_taken_or_not() {
    let app = limited(RateLimitConfig { username_changes_per_hour: 3, ..*HIGH }).await;
    let (tenant, other) = (app.tenant().await, app.tenant().await);
    let (viewer, theirs) = (tenant.viewer().await, json!(app.unique()));
    try_name(&other.owner, &theirs).await.expect(200);

    let own = json!(app.unique());
    try_name(&viewer, &own).await.expect(200);
    for _ in 0..10 {
        try_name(&viewer, &own).await.expect(200); // the username stays the same
        viewer.patch(PROFILE).json(&json!({"name": "No new username"})).expect(200).await;
    }
    assert_eq!(try_name(&viewer, &theirs).await.error(), (409, "conflict".into()));
    let me = viewer.get(PROFILE).expect(200).await.json();
    let whole = json!({"name": me["name"], "email": me["email"], "username": theirs});
    let replaced = viewer.call(Method::PUT, PROFILE).json(&whole).send().await;
    assert_eq!(replaced.error(), (409, "conflict".into()), "the same by PUT");

    let free = json!(app.unique());
    for name in [&theirs, &free] {
        let refused = try_name(&viewer, name).await;
        assert!((1..=1200).contains(&wait(&refused)), "who waits is told nothing of {name}: {refused:?}");
    }
    try_name(&viewer, &json!(null)).await.expect(200); // removing the username reveals nothing
    try_name(&tenant.owner, &free).await.expect(200); // each user has a limit of their own
    app.clock.advance(Duration::minutes(21));
    assert_eq!(try_name(&viewer, &theirs).await.error(), (409, "conflict".into()));
    wait(&try_name(&viewer, &theirs).await);
}
