//! Exports of contracts, and the export of a person who created some.
use crate::contracts::{CONTRACTS, change_role, tenant};
use crate::support::{Person, Tenant};
use bizcenter::auth::Role;
use futures_util::future::join_all;
use reqwest::Response;
use serde_json::{Value, json};

const ALL_FIELDS: &str = "id,title,counterparty,description,status,start_date,end_date,tags,amount,currency,amount_visible,\
                          created_by,version,created_at,updated_at";

async fn export(person: &Person, parameters: &str) -> String {
    let answer = person.get(&format!("{CONTRACTS}/export?{parameters}")).expect(200).await;
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    answer.text()
}

/// The contracts in a person's export of their own data.
async fn held_about(person: &Person) -> Vec<Value> {
    let text = person.get("/api/v1/users/me/export").expect(200).await.text();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["kind"] == json!("contract")).map(|line| line["data"].clone()).collect()
}

#[tokio::test]
async fn an_export_holds_what_the_list_shows() {
    let tenant = tenant().await;
    let (owner, editor) = (&tenant.owner, tenant.editor().await);
    let contract = owner.contract(json!({"title": "=a", "amount": "5", "tags": ["x", "y"]})).await;
    owner.contract(json!({"title": "b", "status": "active"})).await;
    let csv = export(owner, "").await;
    assert_eq!(csv.lines().next(), Some(ALL_FIELDS));
    let columns = "fields=title,amount,amount_visible,tags&sort=title";
    let header = "title,amount,amount_visible,tags\r\n";
    assert_eq!(export(owner, columns).await, format!("{header}'=a,5.00,true,\"x, y\"\r\nb,,true,\r\n"));
    assert_eq!(export(&editor, columns).await, format!("{header}'=a,,false,\"x, y\"\r\nb,,false,\r\n"));
    assert_eq!(
        export(&editor, "fields=amount&status=draft").await,
        "amount\r\n\r\n".replace("\r\n\r\n", "\r\n\"\"\r\n")
    );
    let ndjson = export(owner, "format=ndjson&status=draft").await;
    assert_eq!(serde_json::from_str::<Value>(&ndjson).unwrap(), contract);
    let ndjson = export(&editor, "format=ndjson&status=draft&fields=amount,amount_visible").await;
    assert_eq!(ndjson, "{\"amount\":null,\"amount_visible\":false}\n");
}

#[tokio::test]
async fn what_is_held_about_somebody_shows_what_their_role_may_see() {
    let tenant = tenant().await;
    let admin = tenant.admin().await;
    let contract = admin.contract(json!({"amount": "5"})).await;
    tenant.owner.contract(json!({})).await;
    assert_eq!(held_about(&admin).await, [contract]);
    change_role(&tenant, &admin, Role::Editor).await;
    let [held] = held_about(&admin).await.try_into().unwrap();
    assert_eq!((&held["amount"], &held["amount_visible"]), (&json!(null), &json!(false)));
    change_role(&tenant, &admin, Role::Analyst).await;
    assert_eq!(held_about(&admin).await, Vec::<Value>::new(), "analysts see no contracts");
}

/// Two batches of contracts. They are so large that the server does not read the second batch until the client takes
/// the first.
async fn many(tenant: &Tenant, admin: &Person) {
    let contract = json!({"description": "\u{d55c}".repeat(10_000), "amount": "918273645546372.81"});
    for _ in 0..12 {
        join_all((0..50).map(|_| admin.contract(contract.clone()))).await;
    }
    assert_eq!(tenant.owner.get(CONTRACTS).expect(200).await.json()["meta"]["total"], json!(600));
}

/// An answer of which only the head was read.
async fn begun(person: &Person, tenant: &Tenant, path: &str) -> Response {
    let call = tenant.app.http.get(tenant.app.url(path)).bearer_auth(person.token.as_ref().unwrap());
    let response = call.header("accept-encoding", "identity").send().await.unwrap();
    assert_eq!(response.status(), 200);
    response
}

/// The rest of an answer, and whether it is complete.
async fn rest(mut response: Response) -> (String, bool) {
    let mut text = vec![];
    let is_whole = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => text.extend(chunk),
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    (String::from_utf8_lossy(&text).into_owned(), is_whole)
}

#[tokio::test]
async fn who_is_demoted_gets_no_more_amounts() {
    let tenant = tenant().await;
    let admin = tenant.admin().await;
    many(&tenant, &admin).await;
    let path = format!("{CONTRACTS}/export?format=ndjson");
    let held = "/api/v1/users/me/export";
    let (text, is_whole) = rest(begun(&admin, &tenant, &path).await).await;
    assert!(is_whole && text.matches("918273645546372.81").count() == 600);
    let (export, about) = (begun(&admin, &tenant, &path).await, begun(&admin, &tenant, held).await);
    change_role(&tenant, &admin, Role::Editor).await;
    let (text, is_whole) = rest(export).await;
    assert!(!is_whole && text.matches("918273645546372.81").count() <= 500, "it went on with amounts");
    let (text, is_whole) = rest(about).await;
    assert!(is_whole, "it goes on, without amounts");
    assert!(text.matches("918273645546372.81").count() <= 500, "it went on with amounts");
    assert!(text.contains("\"amount\":null"));
}
