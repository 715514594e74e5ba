//! How many round trips to the database an operation takes. Times differ from run to run; these counts do not.
use crate::support::proxy::{Proxy, on_a_line};
use crate::support::{Kind, Person, is_for, is_pooled};
use bizcenter::config::{Config, SessionStore};
use serde_json::{Value, json};

/// The least number of turns that a request takes, of several tries. A message that belongs to another may be sent
/// later, if the thread that sends it is quicker than the one that makes it.
async fn turns(proxy: &Proxy, request: impl AsyncFn(usize)) -> usize {
    let mut least = usize::MAX;
    for number in 0..20 {
        let before = proxy.turns();
        request(number).await;
        // Nobody waits for the last `COMMIT`, which is counted all the same.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        least = least.min(proxy.turns() - before);
    }
    least
}

/// The counts for one task: read it, list tasks with the total and by cursor, create one, also with an idempotency key, change
/// it. Then for one contract: read it, and change its amount.
async fn of_operations(proxy: &Proxy, person: &Person) -> Vec<(&'static str, usize)> {
    let task = person.task(json!({"title": "Count"})).await;
    let path = format!("/api/v1/tasks/{}", task["id"].as_str().unwrap());
    let get = async |path: &str| drop(person.get(path).expect(200).await);
    let contract = person.contract(json!({"amount": "1.00"})).await;
    let contract = format!("/api/v1/contracts/{}", contract["id"].as_str().unwrap());
    let amount = async |number| {
        let amount = json!({"amount": format!("{number}.50")});
        drop(person.patch(&contract).json(&amount).expect(200).await);
    };
    let title = |number: usize| -> Value { json!({"title": format!("Count {number}")}) };
    let once = async |title: &Value, number: usize| {
        let create = person.post("/api/v1/tasks").json(title).header("Idempotency-Key", &format!("once-{number}"));
        drop(create.expect(201).await);
    };
    vec![
        ("get", turns(proxy, async |_| get(&path).await).await),
        ("list", turns(proxy, async |_| get("/api/v1/tasks").await).await),
        ("cursor", turns(proxy, async |_| get("/api/v1/tasks?cursor=").await).await),
        ("create", turns(proxy, async |number| drop(person.task(title(number)).await)).await),
        ("create once", turns(proxy, async |number| once(&title(number), number).await).await),
        ("change", turns(proxy, async |number| drop(person.patch(&path).json(&title(number)).expect(200).await)).await),
        ("contract", turns(proxy, async |_| get(&contract).await).await),
        ("amount", turns(proxy, amount).await),
    ]
}

fn with_sessions_in_database(config: &mut Config) {
    config.auth.session_store = SessionStore::Database;
    config.rate_limit.enabled = false;
}

/// The most turns that an operation may take. The first is for the session, which is in the database here. A list has one
/// turn more, its `COMMIT`, for which nobody waits; it often goes out together with the next transaction. A contract is
/// read like a list, in one turn with its keys. An idempotency key is claimed before anything is written. A change of an amount takes one turn each for the session, the contract,
/// the lock of the keys, the keys, and all that is written.
const MOST: [(&str, usize); 8] = [
    ("get", 2),
    ("list", 3),
    ("cursor", 3),
    ("create", 2),
    ("create once", 3),
    ("change", 3),
    ("contract", 3),
    ("amount", 5),
];

#[tokio::test]
async fn what_belongs_together_is_sent_together() {
    if !is_for(Kind::Postgres, "only PostgreSQL's driver sends without waiting")
        || is_pooled("behind a pooler, each transaction begins by itself")
    {
        return;
    }
    let Some((app, proxy)) = on_a_line(with_sessions_in_database).await else { return };
    let tenant = app.tenant().await;
    let counts = of_operations(&proxy, &tenant.owner).await;
    let too_many: Vec<_> = counts.iter().zip(MOST).filter(|((_, count), (_, most))| count > most).collect();
    assert!(too_many.is_empty(), "more round trips than before: {too_many:?} of {counts:?}");
}
