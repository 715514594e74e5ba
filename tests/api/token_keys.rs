//! Access tokens that are signed by a key pair: everybody can get the public key, and keys can be rotated.
use crate::support::{Person, Tenant, TestApp};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD as BASE64};
use bizcenter::app;
use bizcenter::config::{Config, JwtAlgorithm};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

const ME: &str = "/api/v1/auth/me";
const REFRESH: &str = "/api/v1/auth/refresh";
const JWKS: &str = "/.well-known/jwks.json";

const ED25519: &str = include_str!("../../src/auth/testdata/ed25519.pem");
const OTHER_ED25519: &str = include_str!("../../src/auth/testdata/other_ed25519.pem");
const RSA: &str = include_str!("../../src/auth/testdata/rsa2048.pem");
const SHORT_RSA: &str = include_str!("../../src/auth/testdata/rsa1024.pem");

/// The settings of a server that signs with this key.
fn signing(
    algorithm: JwtAlgorithm,
    key: &'static str,
    previous: Option<&'static str>,
) -> impl FnOnce(&mut Config) + Send + 'static {
    move |config: &mut Config| {
        config.auth.jwt_algorithm = algorithm;
        config.auth.jwt_key = Some(key.into());
        config.auth.jwt_key_previous = previous.map(Into::into);
    }
}

async fn eddsa() -> (TestApp, Tenant) {
    let app = TestApp::with(signing(JwtAlgorithm::EdDsa, ED25519, None)).await;
    let tenant = app.tenant().await;
    (app, tenant)
}

fn part(token: &str, index: usize) -> Value {
    serde_json::from_slice(&BASE64.decode(token.split('.').nth(index).unwrap()).unwrap()).unwrap()
}

fn token(person: &Person) -> String {
    person.token.clone().unwrap()
}

/// The id of the key that signed the person's token.
fn kid(person: &Person) -> Value {
    part(&token(person), 0)["kid"].clone()
}

/// The server's public keys.
async fn keys(app: &TestApp) -> Vec<Value> {
    app.visitor().get(JWKS).expect(200).await.json()["keys"].as_array().unwrap().clone()
}

async fn refused(app: &TestApp, token: &str, why: &str) {
    let answer = app.visitor().get(ME).header("authorization", &format!("Bearer {token}")).send().await;
    assert_eq!(answer.error(), (401, "invalid_token".into()), "{why}");
}

fn sign(algorithm: Algorithm, kid: Option<&str>, key: &EncodingKey, claims: &Value) -> String {
    let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
    jsonwebtoken::encode(&header, claims, key).unwrap()
}

#[tokio::test]
async fn others_verify_tokens_by_the_public_keys() {
    let servers = [
        (JwtAlgorithm::EdDsa, ED25519, "EdDSA", &["alg", "crv", "kid", "kty", "use", "x"]),
        (JwtAlgorithm::Rs256, RSA, "RS256", &["alg", "e", "kid", "kty", "n", "use"]),
    ];
    for (algorithm, key, name, members) in servers {
        let app = TestApp::with(signing(algorithm, key, None)).await;
        let owner = app.tenant().await.owner;
        owner.get(ME).expect(200).await;
        owner.task(json!({"title": "Signed"})).await;
        let input = json!({"refresh_token": owner.refresh_token()});
        let owner = app.visitor().with_tokens(app.visitor().post(REFRESH).json(&input).expect(200).await.json());
        owner.get(ME).expect(200).await;

        let answer = app.visitor().get(JWKS).expect(200).await;
        let keys = keys(&app).await;
        let mut names: Vec<_> = keys[0].as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!((keys.len(), names.as_slice()), (1, members.as_slice()), "nothing private");
        assert_eq!((&keys[0]["alg"], &keys[0]["use"]), (&json!(name), &json!("sig")));
        let header = part(&token(&owner), 0);
        assert_eq!(header, json!({"typ": "JWT", "alg": name, "kid": keys[0]["kid"]}));

        let set: JwkSet = serde_json::from_value(answer.json()).unwrap();
        let key = DecodingKey::from_jwk(set.find(header["kid"].as_str().unwrap()).unwrap()).unwrap();
        let mut validation = Validation::new(name.parse().unwrap());
        validation.set_issuer(&["bizcenter"]);
        validation.set_audience(&["bizcenter"]);
        let read = |token: &str| jsonwebtoken::decode::<Value>(token, &key, &validation);
        assert_eq!(read(&token(&owner)).unwrap().claims["sub"], json!(owner.id()));
        let (rest, signature) = token(&owner).rsplit_once('.').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        assert!(read(&format!("{rest}.{}", signature.chars().rev().collect::<String>())).is_err());
    }
}

#[tokio::test]
async fn a_shared_secret_has_no_public_half() {
    let app = TestApp::start().await;
    assert_eq!(app.visitor().get(JWKS).expect(200).await.json(), json!({"keys": []}));
    assert_eq!(kid(&app.tenant().await.owner), json!(null));
}

#[tokio::test]
async fn a_new_key_signs_nobody_out_while_the_old_one_is_named() {
    let (old, tenant) = eddsa().await;
    let owner = &tenant.owner;
    let new = old.replica_with(signing(JwtAlgorithm::EdDsa, OTHER_ED25519, Some(ED25519))).await;
    owner.at(&new).get(ME).expect(200).await;
    let anew = new.visitor().sign_in(&owner.email()).await;
    anew.get(ME).expect(200).await;
    assert_ne!(kid(&anew), kid(owner));
    let kids: Vec<_> = keys(&new).await.iter().map(|key| key["kid"].clone()).collect();
    assert_eq!(kids, [kid(&anew), kid(owner)]); // others can verify with both
    assert_eq!(keys(&old).await[0]["kid"], kid(owner));
    refused(&old, &token(&anew), "a key that this server does not know yet").await;

    // The last step: the settings no longer have the old key.
    let last = old.replica_with(signing(JwtAlgorithm::EdDsa, OTHER_ED25519, None)).await;
    refused(&last, &token(owner), "the former key").await;
    anew.at(&last).get(ME).expect(200).await;
    let input = json!({"refresh_token": owner.refresh_token()});
    let refreshed = last.visitor().post(REFRESH).json(&input).expect(200).await.json(); // sessions continue
    let refreshed = last.visitor().with_tokens(refreshed);
    refreshed.get(ME).expect(200).await;
    assert_eq!(kid(&refreshed), kid(&anew));
}

#[tokio::test]
async fn tokens_of_another_algorithm_are_refused_on_the_same_database() {
    let (eddsa, tenant) = eddsa().await;
    let rs256 = eddsa.replica_with(signing(JwtAlgorithm::Rs256, RSA, None)).await;
    let hs256 = eddsa.replica_with(|_| {}).await;
    let servers = [&eddsa, &rs256, &hs256];
    for signer in servers {
        let owner = signer.visitor().sign_in(&tenant.owner.email()).await;
        for verifier in servers {
            match verifier.address == signer.address {
                true => drop(owner.at(verifier).get(ME).expect(200).await),
                false => refused(verifier, &token(&owner), "another algorithm").await,
            }
        }
    }
}

#[tokio::test]
async fn a_public_key_is_not_taken_for_a_secret() {
    for (algorithm, key, member) in [(JwtAlgorithm::EdDsa, ED25519, "x"), (JwtAlgorithm::Rs256, RSA, "n")] {
        let app = TestApp::with(signing(algorithm, key, None)).await;
        let owner = app.tenant().await.owner;
        let (claims, public) = (part(&token(&owner), 1), keys(&app).await.swap_remove(0));
        let text = public[member].as_str().unwrap();
        let raw = BASE64.decode(text).unwrap();
        let spki = [b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\0".as_slice(), &raw].concat(); // RFC 8410
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", BASE64_STANDARD.encode(&spki));
        let secret = app.config.auth.jwt_secret.expose_secret().to_owned();
        let guesses = [
            text.as_bytes().to_vec(),
            raw,
            spki,
            pem.trim_end().as_bytes().to_vec(),
            pem.into_bytes(),
            public.to_string().into_bytes(),
            public["kid"].as_str().unwrap().as_bytes().to_vec(),
            vec![],
            secret.into_bytes(), // the key for refresh tokens is still derived from it
        ];
        for guess in guesses {
            for kid in [public["kid"].as_str(), None] {
                let forged = sign(Algorithm::HS256, kid, &EncodingKey::from_secret(&guess), &claims);
                refused(&app, &forged, &format!("HS256 by {guess:?}")).await;
            }
        }
        owner.get(ME).expect(200).await;
    }
}

#[tokio::test]
async fn forged_tokens_are_refused_whatever_key_they_name() {
    let (app, tenant) = eddsa().await;
    let owner = &tenant.owner;
    let (claims, named) = (part(&token(owner), 1), kid(owner));
    let named = named.as_str();
    let own = EncodingKey::from_ed_pem(ED25519.as_bytes()).unwrap();
    let foreign = EncodingKey::from_ed_pem(OTHER_ED25519.as_bytes()).unwrap();
    let rsa = EncodingKey::from_rsa_pem(RSA.as_bytes()).unwrap();
    let right = sign(Algorithm::EdDSA, named, &own, &claims);
    app.visitor().get(ME).header("authorization", &format!("Bearer {right}")).expect(200).await;

    for kid in [None, Some(""), Some("other"), Some("../../etc/passwd"), Some("' OR 1=1 --")] {
        refused(&app, &sign(Algorithm::EdDSA, kid, &own, &claims), &format!("kid {kid:?}")).await;
    }
    refused(&app, &sign(Algorithm::EdDSA, named, &foreign, &claims), "another key under our name").await;
    refused(&app, &sign(Algorithm::RS256, named, &rsa, &claims), "RS256 under our name").await;
    // This token contains its own key.
    let other = app.replica_with(signing(JwtAlgorithm::EdDsa, OTHER_ED25519, None)).await;
    let jwk = keys(&other).await.swap_remove(0);
    let kids = [named.map(str::to_owned), jwk["kid"].as_str().map(str::to_owned)];
    for kid in kids {
        let jwk = Some(serde_json::from_value(jwk.clone()).unwrap());
        let url = Some(other.url(JWKS));
        let header = Header { kid, jwk, jku: url, ..Header::new(Algorithm::EdDSA) };
        refused(&app, &jsonwebtoken::encode(&header, &claims, &foreign).unwrap(), "its own key").await;
    }
    let encoded = right.split('.').nth(1).unwrap();
    for name in ["none", "None", "NONE", "HS256", "RS256", ""] {
        let header = BASE64.encode(json!({"alg": name, "typ": "JWT", "kid": named}).to_string());
        refused(&app, &format!("{header}.{encoded}."), name).await;
        refused(&app, &format!("{header}.{encoded}.{}", right.rsplit('.').next().unwrap()), name).await;
    }
    let past = json!(claims["exp"].as_i64().unwrap() - 3600);
    let changes = [
        ("iss", json!("other")),
        ("aud", json!("other")),
        ("aud", json!(["other"])),
        ("type", json!("refresh")),
        ("exp", past),
        ("sid", json!(tenant.id)),
        ("tenant_id", json!(owner.id())),
        ("sub", json!(tenant.viewer().await.id())),
    ];
    for (member, value) in changes {
        let mut changed = claims.clone();
        changed[member] = value;
        refused(&app, &sign(Algorithm::EdDSA, named, &own, &changed), &changed.to_string()).await;
    }
}

#[tokio::test]
async fn other_credentials_are_no_access_tokens() {
    let (app, tenant) = eddsa().await;
    let owner = &tenant.owner;
    let input = json!({"name": "Robot", "role": "viewer"});
    let made = owner.post("/api/v1/api-keys").json(&input).expect(201).await.json();
    let key = made["key"].as_str().unwrap();
    app.visitor().get("/api/v1/tasks").header("x-api-key", key).expect(200).await;
    refused(&app, key, "an API key").await;
    refused(&app, &owner.refresh_token(), "a refresh token").await;
    let swapped = app.visitor().get(ME).header("x-api-key", &token(owner)).send().await;
    assert_eq!(swapped.error(), (401, "invalid_token".into()));
    let refresh = json!({"refresh_token": token(owner)});
    let swapped = app.visitor().post(REFRESH).json(&refresh).send().await;
    assert_eq!(swapped.error(), (401, "invalid_token".into()));
}

#[tokio::test]
async fn a_server_does_not_start_with_a_key_that_does_not_fit() {
    let running = TestApp::start().await;
    let faults = [
        (JwtAlgorithm::EdDsa, RSA, None),
        (JwtAlgorithm::Rs256, ED25519, None),
        (JwtAlgorithm::Rs256, SHORT_RSA, None),
        (JwtAlgorithm::EdDsa, ED25519, Some(RSA)),
        (JwtAlgorithm::Rs256, RSA, Some(OTHER_ED25519)),
    ];
    for (algorithm, key, previous) in faults {
        let mut config = (*running.config).clone();
        signing(algorithm, key, previous)(&mut config);
        let error = app::connect(&config, running.parts.env.clone()).await.err().unwrap();
        let text = format!("{error:#}");
        assert!(text.contains("auth.jwt_key"), "{algorithm:?}: {text}");
        let secret = key.lines().nth(1).unwrap();
        assert!(!text.contains(secret) && !format!("{error:?}").contains(secret), "{algorithm:?}: the key is told");
    }
}
