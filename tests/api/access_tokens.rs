//! Access tokens over HTTP: forged tokens, tokens of others, expired tokens, and tokens of users who have changed
//! since.
use crate::support::{Answer, Person, Tenant, TestApp};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use chrono::Duration;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use uuid::Uuid;

const ME: &str = "/api/v1/auth/me";

fn part(token: &str, index: usize) -> Value {
    serde_json::from_slice(&BASE64.decode(token.split('.').nth(index).unwrap()).unwrap()).unwrap()
}

fn claims(person: &Person) -> Value {
    part(person.token.as_ref().unwrap(), 1)
}

fn secret(app: &TestApp) -> String {
    app.config.auth.jwt_secret.expose_secret().to_owned()
}

fn sign(algorithm: Algorithm, secret: &str, claims: &Value) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::new(algorithm), claims, &key).unwrap()
}

/// The person's claims with this change, signed with the server's key.
fn resigned(app: &TestApp, person: &Person, change: impl FnOnce(&mut Value)) -> String {
    let mut claims = claims(person);
    change(&mut claims);
    sign(Algorithm::HS256, &secret(app), &claims)
}

async fn me(app: &TestApp, authorization: &str) -> Answer {
    app.visitor().get(ME).header("authorization", authorization).send().await
}

async fn refused(app: &TestApp, token: &str, why: &str) {
    let answer = me(app, &format!("Bearer {token}")).await;
    assert_eq!(answer.error(), (401, "invalid_token".into()), "{why}");
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{why}");
}

async fn signed_in() -> (TestApp, Tenant) {
    let tenant = TestApp::start().await.tenant().await;
    (tenant.app.clone(), tenant)
}

#[tokio::test]
async fn the_claims_are_the_products_and_no_others() {
    let (app, tenant) = signed_in().await;
    let token = tenant.owner.token.clone().unwrap();
    assert_eq!(part(&token, 0), json!({"typ": "JWT", "alg": "HS256"}));
    let claims = claims(&tenant.owner);
    let mut names: Vec<_> = claims.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    let expected = ["aud", "email", "exp", "iat", "iss", "jti", "nbf", "role", "sid", "sub", "tenant_id", "type"];
    assert_eq!(names, expected);
    assert_eq!((&claims["iss"], &claims["aud"]), (&json!("bizcenter"), &json!("bizcenter")));
    assert_eq!((&claims["sub"], &claims["tenant_id"]), (&json!(tenant.owner.id()), &json!(tenant.id)));
    assert_eq!((&claims["type"], &claims["role"]), (&json!("access"), &json!("owner")));
    assert_eq!(claims["email"], json!(tenant.owner.email()));
    let sessions = tenant.owner.get("/api/v1/auth/sessions").expect(200).await.json();
    assert_eq!(claims["sid"], sessions["items"][0]["id"]);
    let [iat, nbf, exp] = ["iat", "nbf", "exp"].map(|name| claims[name].as_i64().unwrap());
    assert_eq!((nbf, exp), (iat, iat + 900));
    assert!((app.parts.env.now().timestamp() - iat).abs() < 60, "{iat}");
    let again = app.visitor().sign_in(&tenant.owner.email()).await;
    assert_ne!(self::claims(&again)["jti"], claims["jti"]);
    assert_ne!(self::claims(&again)["sid"], claims["sid"]);
}

#[tokio::test]
async fn without_a_bearer_token_nobody_is_known() {
    let (app, tenant) = signed_in().await;
    let token = tenant.owner.token.unwrap();
    let nothing = app.visitor().get(ME).send().await;
    let basic = me(&app, "Basic b3duZXI6cGFzc3dvcmQ=").await;
    let bare = me(&app, &token).await;
    let cookie = app.visitor().get(ME).header("cookie", &format!("access_token={token}")).send().await;
    let query = app.visitor().get(&format!("{ME}?access_token={token}")).send().await;
    for answer in [nothing, basic, bare, cookie, query] {
        assert_eq!(answer.error(), (401, "unauthenticated".into()));
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
}

#[tokio::test]
async fn the_schemes_case_does_not_matter() {
    let (app, tenant) = signed_in().await;
    let token = tenant.owner.token.unwrap();
    for scheme in ["Bearer", "bearer", "BEARER"] {
        me(&app, &format!("{scheme} {token}")).await.expect(200);
    }
}

#[tokio::test]
async fn garbage_is_no_token() {
    let (app, tenant) = signed_in().await;
    let token = tenant.owner.token.clone().unwrap();
    let (rest, signature) = token.rsplit_once('.').unwrap();
    refused(&app, "x", "one character").await;
    refused(&app, "..", "three empty parts").await;
    refused(&app, "a.b.c.d.e", "an encrypted one's five parts").await;
    refused(&app, &"a".repeat(5000), "too long to look at").await;
    refused(&app, &format!("{token}{}", "=".repeat(4)), "padded").await;
    refused(&app, &format!("{rest}."), "no signature").await;
    refused(&app, &format!("{rest}.{}", &signature[..signature.len() - 4]), "a part of the signature").await;
    refused(&app, &format!("{token}.{signature}"), "two signatures").await;
    refused(&app, &tenant.owner.refresh_token(), "a refresh token").await;
    me(&app, &format!("Bearer {token}")).await.expect(200);
}

#[tokio::test]
async fn a_token_can_not_choose_its_algorithm_or_its_key() {
    let (app, tenant) = signed_in().await;
    let claims = claims(&tenant.owner);
    let encoded = BASE64.encode(claims.to_string());
    for name in ["none", "None", "NONE", "nOnE", ""] {
        let header = BASE64.encode(json!({"alg": name, "typ": "JWT"}).to_string());
        refused(&app, &format!("{header}.{encoded}."), name).await;
    }
    refused(&app, &sign(Algorithm::HS512, &secret(&app), &claims), "HS512").await;
    refused(&app, &sign(Algorithm::HS384, &secret(&app), &claims), "HS384").await;
    refused(&app, &sign(Algorithm::HS256, "another secret, which is long enough", &claims), "another secret").await;
    refused(&app, &sign(Algorithm::HS256, "", &claims), "an empty secret").await;
    // A signature that is right for HS256, with a header that names another algorithm.
    let token = tenant.owner.token.as_ref().unwrap();
    let signature = token.rsplit('.').next().unwrap();
    for name in ["RS256", "EdDSA", "none", "HS512"] {
        let header = BASE64.encode(json!({"alg": name, "typ": "JWT"}).to_string());
        refused(&app, &format!("{header}.{encoded}.{signature}"), name).await;
    }
    // This token contains its own key.
    let own = "the key of somebody who would like to be let in";
    let key = json!({"kty": "oct", "k": BASE64.encode(own)});
    let header = Header { jwk: Some(serde_json::from_value(key).unwrap()), ..Header::new(Algorithm::HS256) };
    let token = jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(own.as_bytes())).unwrap();
    refused(&app, &token, "its own key").await;
}

#[tokio::test]
async fn a_former_secret_is_good_while_it_is_named() {
    const FORMER: &str = "the former secret, and long enough";
    let app = TestApp::with(|config| config.auth.jwt_secret_previous = Some(FORMER.into())).await;
    let claims = claims(&app.tenant().await.owner);
    me(&app, &format!("Bearer {}", sign(Algorithm::HS256, FORMER, &claims))).await.expect(200);
    refused(&app, &sign(Algorithm::HS512, FORMER, &claims), "HS512").await;
    refused(&app, &sign(Algorithm::HS256, "one that was never in use at this server", &claims), "never in use").await;
}

#[tokio::test]
async fn changed_claims_break_the_signature() {
    let (app, tenant) = signed_in().await;
    let viewer = tenant.viewer().await;
    let token = viewer.token.clone().unwrap();
    let [header, _, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
    for (name, value) in [("role", json!("owner")), ("sub", json!(tenant.owner.id())), ("exp", json!(i64::MAX))] {
        let mut claims = claims(&viewer);
        claims[name] = value;
        refused(&app, &format!("{header}.{}.{signature}", BASE64.encode(claims.to_string())), name).await;
    }
}

#[tokio::test]
async fn each_claim_must_be_there_and_be_right() {
    let (app, tenant) = signed_in().await;
    let owner = &tenant.owner;
    me(&app, &format!("Bearer {}", resigned(&app, owner, |_| {}))).await.expect(200);
    for name in ["iss", "aud", "sub", "jti", "iat", "nbf", "exp", "type", "sid", "tenant_id", "role", "email"] {
        let without = resigned(&app, owner, |claims| drop(claims.as_object_mut().unwrap().remove(name)));
        refused(&app, &without, &format!("without {name}")).await;
        let null = resigned(&app, owner, |claims| claims[name] = Value::Null);
        refused(&app, &null, &format!("{name} is null")).await;
    }
    let foreign = [("iss", "other"), ("aud", "other"), ("type", "refresh"), ("type", "Access"), ("role", "god")];
    let no_ids = [("sub", "1"), ("sid", "1"), ("tenant_id", "1"), ("jti", "1"), ("exp", "never"), ("nbf", "0")];
    for (name, value) in foreign.into_iter().chain(no_ids) {
        let wrong = resigned(&app, owner, |claims| claims[name] = json!(value));
        refused(&app, &wrong, &format!("{name} is {value}")).await;
    }
}

#[tokio::test]
async fn ids_must_belong_together_even_under_a_right_signature() {
    let (app, tenant) = signed_in().await;
    let other = app.tenant().await;
    let colleague = tenant.editor().await;
    let owner = &tenant.owner;
    let (colleagues, foreign) = (claims(&colleague), claims(&other.owner));
    let nobody = json!(Uuid::nil());
    let changes = [
        ("tenant_id", &foreign["tenant_id"]),
        ("tenant_id", &nobody),
        ("sub", &colleagues["sub"]),
        ("sub", &foreign["sub"]),
        ("sub", &nobody),
        ("sid", &colleagues["sid"]),
        ("sid", &foreign["sid"]),
        ("sid", &nobody),
    ];
    for (name, value) in changes {
        let token = resigned(&app, owner, |claims| claims[name] = value.clone());
        refused(&app, &token, &format!("{name} is {value}")).await;
    }
    // All claims except one are those of another user.
    for kept in ["tenant_id", "sub", "sid"] {
        let token = resigned(&app, &other.owner, |theirs| theirs[kept] = claims(owner)[kept].clone());
        refused(&app, &token, &format!("only {kept} is one's own")).await;
    }
}

#[tokio::test]
async fn a_token_ends_after_15_minutes_with_30_seconds_of_leeway() {
    let app = TestApp::alone().await;
    let owner = app.tenant().await.owner;
    app.clock.advance(Duration::seconds(15 * 60 + 20));
    owner.get(ME).expect(200).await;
    app.clock.advance(Duration::seconds(10));
    refused(&app, owner.token.as_ref().unwrap(), "expired").await;
}

#[tokio::test]
async fn a_token_of_tomorrow_is_not_valid_today() {
    let (app, tenant) = signed_in().await;
    let later = |name: &'static str, seconds: i64| {
        let change = |claims: &mut Value| claims[name] = json!(claims[name].as_i64().unwrap() + seconds);
        resigned(&app, &tenant.owner, change)
    };
    for name in ["nbf", "iat"] {
        refused(&app, &later(name, 3600), name).await;
        me(&app, &format!("Bearer {}", later(name, 20))).await.expect(200); // the clocks of two machines may differ
    }
    refused(&app, &later("exp", -3600), "exp").await;
}

#[tokio::test]
async fn the_role_is_that_of_now() {
    let (app, tenant) = signed_in().await;
    let editor = tenant.editor().await;
    let input = json!({"title": "Who may?"});
    let path = format!("/api/v1/users/{}", editor.id());
    editor.post("/api/v1/tasks").json(&input).expect(201).await;
    for (role, status) in [("viewer", 403), ("analyst", 403), ("owner", 201)] {
        tenant.owner.patch(&path).json(&json!({"role": role})).expect(200).await;
        editor.post("/api/v1/tasks").json(&input).expect(status).await;
    }
    assert_eq!(editor.get(ME).expect(200).await.json()["role"], json!("owner"));
    let promoted = resigned(&app, &tenant.viewer().await, |claims| claims["role"] = json!("owner"));
    let call = app.visitor().post("/api/v1/tasks").header("authorization", &format!("Bearer {promoted}"));
    assert_eq!(call.json(&input).send().await.error(), (403, "forbidden".into()));
}

#[tokio::test]
async fn a_disabled_user_is_out_at_the_next_request() {
    let (app, tenant) = signed_in().await;
    let editor = tenant.editor().await;
    let path = format!("/api/v1/users/{}", editor.id());
    editor.get(ME).expect(200).await;
    tenant.owner.patch(&path).json(&json!({"is_active": false})).expect(200).await;
    for path in [ME, "/api/v1/tasks", "/api/v1/auth/sessions"] {
        assert_eq!(editor.get(path).send().await.error(), (401, "invalid_token".into()), "{path}");
    }
    let refresh = json!({"refresh_token": editor.refresh_token()});
    let refreshed = app.visitor().post("/api/v1/auth/refresh").json(&refresh).send().await;
    assert_eq!(refreshed.error(), (401, "invalid_token".into()));
    tenant.owner.patch(&path).json(&json!({"is_active": true})).expect(200).await;
    assert_eq!(editor.get(ME).send().await.error(), (401, "invalid_token".into()), "what was ended stays so");
    app.visitor().sign_in(&editor.email()).await.get(ME).expect(200).await;
}
