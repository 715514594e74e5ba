//! How invalid tokens and keys count against the address that sends them.
use super::{FORWARDED, HIGH, ME, REFRESH, TASKS, address, api_key, counts, limited, settings, status, wait};
use crate::support::{Answer, Person, TestApp, has_servers};
use bizcenter::auth::Role;
use bizcenter::auth::access_token::Bearer;
use bizcenter::base::opaque::{OpaqueToken, TokenKind};
use bizcenter::config::{RateLimitConfig, SessionStore};
use chrono::Duration;
use serde_json::json;

async fn me(person: &Person, address: &str) -> Answer {
    person.get(ME).header(FORWARDED, address).send().await
}

async fn by_key(app: &TestApp, key: &str, address: &str) -> Answer {
    app.visitor().get(TASKS).header("x-api-key", key).header(FORWARDED, address).send().await
}

/// This happens when an office comes back from lunch, or when somebody signs out with other tabs open.
#[tokio::test]
async fn tokens_of_ours_that_are_over_cost_their_address_nothing() {
    let app = limited(RateLimitConfig { anonymous_per_hour: 2, ..*HIGH }).await;
    let (tenant, here) = (app.tenant().await, address(&app));
    let (expired, ended) = (&tenant.owner, app.visitor().sign_in(&tenant.owner.email()).await);
    let disabled = tenant.viewer().await;
    let path = format!("/api/v1/users/{}", disabled.id());
    tenant.owner.patch(&path).json(&json!({"is_active": false})).expect(200).await;
    ended.post("/api/v1/auth/logout").expect(204).await;
    for person in [&ended, &disabled] {
        for _ in 0..4 {
            assert_eq!(me(person, &here).await.error(), (401, "invalid_token".into()));
        }
    }
    app.clock.advance(Duration::days(11));
    for _ in 0..4 {
        let answer = me(expired, &here).await;
        assert_eq!(answer.error(), (401, "invalid_token".into()));
        assert_eq!((answer.header("ratelimit"), answer.header("www-authenticate")), (None, Some("Bearer")));
    }
    let token = json!({"refresh_token": expired.refresh_token()});
    let refreshed = app.visitor().post(REFRESH).header(FORWARDED, &here).json(&token).expect(200).await;
    me(&app.visitor().with_tokens(refreshed.json()), &here).await.expect(200);

    let forged = app.visitor().get(ME).header("authorization", "Bearer a.b.c").header(FORWARDED, &here);
    assert_eq!(counts(&forged.expect(401).await), ["anonymous 2/3600: 1"]);
    assert_eq!(counts(&status(&app, &here).await.expect(200)), ["anonymous 2/3600: 0"]);
    wait(&status(&app, &here).await);
    assert_eq!(me(expired, &here).await.error(), (401, "invalid_token".into()), "however used up that is");
}

/// An access token of an ended session can still cause look-ups until it expires.
#[tokio::test]
async fn a_session_that_is_over_has_so_many_requests_and_takes_none_of_its_users() {
    let app = limited(RateLimitConfig { user_per_hour: 4, ..*HIGH }).await;
    let owner = app.tenant().await.owner;
    let ended = app.visitor().sign_in(&owner.email()).await;
    ended.post("/api/v1/auth/logout").expect(204).await;
    for remaining in [3, 2, 1, 0] {
        let answer = me(&ended, "::1").await;
        assert_eq!(answer.error(), (401, "invalid_token".into()));
        assert_eq!(counts(&answer), [format!("user 4/3600: {remaining}")]);
    }
    app.run("ALTER TABLE users RENAME TO gone").await;
    assert!(wait(&me(&ended, "::1").await) <= 900, "and nobody looks it up");
    app.run("ALTER TABLE gone RENAME TO users").await;
    for remaining in [2, 1, 0] {
        let answer = me(&owner, "::1").await.expect(200);
        assert_eq!(counts(&answer), [format!("user 4/3600: {remaining}")]); // one request was for signing out
    }
    app.clock.advance(Duration::seconds(900));
    assert_eq!(me(&ended, "::1").await.error(), (401, "invalid_token".into()));
    wait(&me(&ended, "::1").await);
}

#[tokio::test]
async fn an_expired_token_is_looked_up_nowhere() {
    let app = limited(*HIGH).await;
    let owner = app.tenant().await.owner;
    app.run("ALTER TABLE users RENAME TO gone").await;
    me(&owner, "::1").await.expect(500);
    app.clock.advance(Duration::days(11));
    assert_eq!(me(&owner, "::1").await.error(), (401, "invalid_token".into()));
    if !has_servers() {
        return;
    }
    let app = TestApp::with(|config| {
        settings(*HIGH)(config);
        config.redis.url = Some("redis://127.0.0.1:1/0".to_owned().into()); // no Redis runs there
        config.auth.session_store = SessionStore::Redis;
    })
    .await;
    let (tokens, env) = (&app.parts.access_tokens, &app.parts.env);
    let (user, tenant, session) = (env.uuid().into(), env.uuid().into(), env.uuid().into());
    let bearer = Bearer { user, tenant, session, role: Role::Owner, email: "ada@example.com" };
    for (days, status) in [(0, 503), (11, 401)] {
        let token = tokens.sign(&bearer, env.uuid(), (env.now() - Duration::days(days)).into()).unwrap();
        app.visitor().get(ME).header("authorization", &format!("Bearer {token}")).expect(status).await;
    }
}

#[tokio::test]
async fn who_guesses_keys_is_refused_before_the_database_is_asked() {
    let app = limited(RateLimitConfig { anonymous_per_hour: 2, ..*HIGH }).await;
    let (tenant, here) = (app.tenant().await, address(&app));
    let (known, unknown) = (api_key(&tenant.owner).await, api_key(&tenant.owner).await);
    let guess = || {
        let id = app.parts.env.uuid();
        OpaqueToken::new(TokenKind::ApiKey, tenant.id, id, &app.parts.env).print()
    };
    let used = by_key(&app, &known, &here).await.expect(200);
    assert_eq!(counts(&used), ["api-key 1000000/3600: 999999"]);
    for remaining in ["1", "0"] {
        let refused = by_key(&app, &guess(), &here).await.expect(401);
        assert_eq!(counts(&refused), [format!("anonymous 2/3600: {remaining}")]);
    }
    by_key(&app, &known, &here).await.expect(200); // wrong guesses by others do not stop a key in use
    assert!(wait(&by_key(&app, &unknown, &here).await) <= 1800);
    by_key(&app, &unknown, &address(&app)).await.expect(200);
    by_key(&app, &unknown, &here).await.expect(200);

    app.run("ALTER TABLE api_keys RENAME TO gone").await;
    by_key(&app, &guess(), &address(&app)).await.expect(500);
    let refused = by_key(&app, &guess(), &here).await;
    assert!(wait(&refused) <= 1800);
    assert_eq!(counts(&refused), ["anonymous 2/3600: 0"]);
    app.run("ALTER TABLE gone RENAME TO api_keys").await;

    // A deleted key counts as a guess. The first request finds this out with a query, and the next ones need no query.
    let keys = tenant.owner.get("/api/v1/api-keys").expect(200).await.json()["items"].clone();
    for key in keys.as_array().unwrap() {
        tenant.owner.delete(&format!("/api/v1/api-keys/{}", key["id"].as_str().unwrap())).expect(204).await;
    }
    wait(&by_key(&app, &known, &here).await);
    app.run("ALTER TABLE api_keys RENAME TO gone").await;
    wait(&by_key(&app, &known, &here).await);
}

#[tokio::test]
async fn a_grant_of_a_token_counts_as_what_it_stands_for() {
    let limits = RateLimitConfig { login_per_minute: 3, refresh_per_minute: 2, anonymous_per_hour: 2, ..*HIGH };
    let app = limited(limits).await;
    let (owner, here) = (app.tenant().await.owner, address(&app));
    let (email, token) = (owner.email(), owner.refresh_token());
    let ask = async |form: &[(&str, &str)]| {
        app.visitor().post("/api/v1/auth/token").header(FORWARDED, &here).form(form).send().await
    };
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", &token)];
    for remaining in [1, 0] {
        assert_eq!(counts(&ask(&refresh).await.expect(200)), [format!("refresh 2/60: {remaining}")]);
    }
    wait(&ask(&refresh).await);
    let forged = [("grant_type", "refresh_token"), ("refresh_token", "bcr_forged")];
    for remaining in [1, 0] {
        assert_eq!(counts(&ask(&forged).await.expect(401)), [format!("anonymous 2/3600: {remaining}")]);
    }
    wait(&ask(&forged).await);
    assert_eq!(counts(&ask(&[("grant_type", "implicit")]).await.expect(400)), ["login 3/60: 2"]);
    assert_eq!(counts(&ask(&[("grant_type", "refresh_token")]).await.expect(400)), ["login 3/60: 1"]);
    let password = [("grant_type", "password"), ("username", &email), ("password", "correct horse battery")];
    let signed_in = ask(&password).await.expect(200);
    assert_eq!(counts(&signed_in), ["login 3/60: 0"]);
    wait(&ask(&password).await);
    let token = signed_in.json()["refresh_token"].as_str().unwrap().to_owned();
    let other = ask(&[("grant_type", "refresh_token"), ("refresh_token", &token)]).await;
    assert_eq!(
        counts(&other.expect(200)),
        ["refresh 2/60: 1"],
        "those of another session, whatever its address has used up"
    );
}

#[tokio::test]
async fn signing_out_costs_the_one_that_the_credential_is_of() {
    let limits = RateLimitConfig {
        user_per_hour: 10,
        writes_per_minute: 5,
        refresh_per_minute: 2,
        anonymous_per_hour: 3,
        ..*HIGH
    };
    let app = limited(limits).await;
    let (owner, here) = (app.tenant().await.owner, address(&app));
    let other = app.visitor().sign_in(&owner.email()).await;
    let logout = |person: &Person| person.post("/api/v1/auth/logout").header(FORWARDED, &here);
    let by_access_token = logout(&owner).expect(204).await;
    assert_eq!(counts(&by_access_token), ["user 10/3600: 9", "writes 5/60: 4"]);
    let token = json!({"refresh_token": other.refresh_token()});
    for remaining in [1, 0] {
        let answer = logout(&app.visitor()).json(&token).expect(204).await;
        assert_eq!(counts(&answer), [format!("refresh 2/60: {remaining}")]);
    }
    wait(&logout(&app.visitor()).json(&token).send().await);
    let forged = logout(&app.visitor()).json(&json!({"refresh_token": "bcr_forged"})).expect(401).await;
    assert_eq!(counts(&forged), ["anonymous 3/3600: 2"]);
    assert_eq!(counts(&logout(&app.visitor()).expect(401).await), ["anonymous 3/3600: 1"]);
    let both =
        logout(&app.visitor()).header("authorization", "Bearer a.b.c").header("cookie", "refresh_token=bcr_forged");
    wait(&both.send().await); // two guesses, and the second exceeds the limit
}
