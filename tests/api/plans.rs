//! What the pages of long lists cost PostgreSQL if it has no statistics, as after a restore. It then takes all rows of a
//! tenant for a few, and without care it would read and sort all of them for a page.
use crate::support::fixtures::{Everything, everything};
use crate::support::{Kind, Person, TestApp, is_for, is_pooled};
use bizcenter::contract::{document, operations};
use serde_json::{Value, json};
use std::time::Duration;
use tokio_postgres::{Client, NoTls};

/// The rows of each list. On PostgreSQL, 20,000 tasks fill some 500 blocks of 8 kB.
const ROWS: usize = 20_000;
/// The most blocks that PostgreSQL may read for a page of 20 rows, or for a batch of an export: those of the rows and of the
/// index on the way to them.
const MAX_BLOCKS: i64 = 100;
/// Lists that stay short, because a tenant has few of their records.
const SHORT: [&str; 4] = ["/admin/tenants", "/api-keys", "/invitations", "/users"];

/// A superuser's connection to the database of a test, in which each statement is counted.
async fn counting(app: &TestApp) -> Client {
    let server = std::env::var("TEST_POSTGRES_SUPERUSER_URL").unwrap();
    let name = app.rows("SELECT current_database()::text").await.concat().concat();
    let url = format!("{}/{name}", server.rsplit_once('/').unwrap().0);
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let count = format!(
        "CREATE SCHEMA counts; CREATE EXTENSION pg_stat_statements SCHEMA counts;
         ALTER DATABASE \"{name}\" SET pg_stat_statements.track = 'top'"
    );
    client.batch_execute(&count).await.unwrap();
    client
}

fn resolved(mut value: &'static Value) -> &'static Value {
    while let Some(reference) = value["$ref"].as_str() {
        value = document().pointer(reference.trim_start_matches('#')).unwrap();
    }
    value
}

/// The orders of a list, in both directions. Empty if the operation is not a list that can be sorted.
fn orders(path: &str) -> Vec<&'static str> {
    let parameters = document()["paths"][path]["get"]["parameters"].as_array();
    let sort = parameters.into_iter().flatten().map(resolved).find(|parameter| parameter["name"] == "sort");
    let choices = sort.map(|sort| resolved(&sort["schema"]["allOf"][0])["enum"].as_array().unwrap());
    choices.into_iter().flatten().map(|order| order.as_str().unwrap()).collect()
}

/// Copies one row of the tenant many times, with other ids and times.
async fn fill(app: &TestApp, table: &str, tenant: &str) {
    let catalogue = app.catalogue().await;
    let columns = catalogue.tables.get(table).unwrap_or_else(|| panic!("there is no table {table}")).columns.keys();
    let value = |column: &String| match column.as_str() {
        "id" => "gen_random_uuid()".to_owned(),
        "at" | "created_at" | "updated_at" => format!("\"{column}\" + n * interval '1 second'"),
        // A row of the audit log is not sealed yet, and a sealed amount can be read in its own row only.
        name if matches!(name, "seq" | "hash") || name.ends_with("_sealed") => "NULL".to_owned(),
        _ => format!("\"{column}\""),
    };
    let names: Vec<_> = columns.clone().map(|column| format!("\"{column}\"")).collect();
    let values: Vec<_> = columns.map(value).collect();
    app.run(&format!("ALTER TABLE {table} SET (autovacuum_enabled = off)")).await; // which would make statistics
    let (names, values) = (names.join(", "), values.join(", "));
    let one = format!("SELECT * FROM {table} WHERE tenant_id = {tenant} LIMIT 1");
    let copy =
        format!("INSERT INTO {table} ({names}) SELECT {values} FROM ({one}) AS one, generate_series(1, {ROWS}) AS n");
    app.run(&copy).await;
    let known = app.rows(&format!("SELECT attname::text FROM pg_stats WHERE tablename = '{table}'")).await;
    assert!(known.is_empty(), "{table} has statistics already: {known:?}");
}

/// The first page and the next one, in this order.
async fn two_pages(person: &Person, path: &str, order: &str) {
    let page = async |cursor: &str| {
        let page = person.get(&format!("{path}?sort={order}&per_page=20&cursor={cursor}")).expect(200).await.json();
        assert_eq!(page["items"].as_array().unwrap().len(), 20, "{path}, {order}");
        page["meta"]["next_cursor"].as_str().unwrap().to_owned()
    };
    let cursor = page("").await;
    page(&cursor).await;
}

/// A whole export, in the order in which the rows were inserted.
async fn export(person: &Person, path: &str) {
    let export = person.get(&format!("{path}/export?format=ndjson&sort=created_at")).send().await;
    assert_eq!((export.status.as_u16(), export.text().lines().count() > ROWS), (200, true), "{path}");
}

/// The most blocks that one of the two pages has read, and its SQL. A statement is counted when its transaction has ended.
async fn dearest(counts: &Client, table: &str) -> (i64, String) {
    let sql = "SELECT ((shared_blks_hit + shared_blks_read) / calls)::bigint, query, (sum(calls) OVER ())::bigint
               FROM counts.pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid
               WHERE d.datname = current_database() AND query LIKE $1 ORDER BY 1 DESC";
    for _ in 0..200 {
        let rows = counts.query(sql, &[&format!("SELECT \"{table}\".%LIMIT%")]).await.unwrap();
        if let Some(row) = rows.first().filter(|row| row.get::<_, i64>(2) >= 2) {
            return (row.get(0), row.get(1));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the two pages of {table} were not counted")
}

#[tokio::test]
async fn without_statistics_a_page_of_a_long_list_costs_no_more_than_a_page() {
    if !is_for(Kind::Postgres, "only PostgreSQL counts the blocks of each statement")
        || is_pooled("the pooler keeps sessions that don't count")
    {
        return;
    }
    let app = TestApp::alone().await;
    let Everything { tenant, .. } = everything(&app).await;
    let counts = counting(&app).await;
    let counted = app.replica().await; // its sessions begin after the counting was turned on
    let person = tenant.almighty().await.at(&counted);
    let (mut lists, mut exports) = (vec![], 0);
    for operation in operations(document()).iter().filter(|of| of.method == "GET" && !of.path.contains('{')) {
        let list = operation.path.trim_start_matches("/api/v1");
        let orders = orders(&operation.path);
        if orders.is_empty() || operation.path.ends_with("/export") || SHORT.contains(&list) {
            continue;
        }
        let table = list.trim_start_matches('/').replace('-', "_");
        for order in &orders {
            // The plan that a connection keeps may be from when the list was short. Another size is in no cache.
            person.get(&format!("{}?sort={order}&per_page=19&cursor=", operation.path)).expect(200).await;
        }
        fill(&app, &table, &app.id(tenant.id)).await;
        for order in orders {
            counts.batch_execute("SELECT counts.pg_stat_statements_reset()").await.unwrap();
            two_pages(&person, &operation.path, order).await;
            let (blocks, query) = dearest(&counts, &table).await;
            assert!(blocks <= MAX_BLOCKS, "{list} by {order} reads {blocks} blocks for a page: {query}");
        }
        if document()["paths"][format!("{}/export", operation.path)].is_object() {
            counts.batch_execute("SELECT counts.pg_stat_statements_reset()").await.unwrap();
            export(&person, &operation.path).await;
            let (blocks, query) = dearest(&counts, &table).await;
            assert!(blocks <= MAX_BLOCKS, "an export of {list} reads {blocks} blocks for a batch: {query}");
            exports += 1;
        }
        lists.push(table);
    }
    for list in ["tasks", "items", "meetings", "contracts", "audit_logs"] {
        assert!(lists.iter().any(|table| table == list), "{list} is not among {lists:?}");
    }
    assert_eq!(exports, 5, "not each of these lists was exported");
}

/// How many rows of tasks MariaDB has read in the database of a test.
async fn tasks_read(app: &TestApp) -> i64 {
    let sql = "SELECT concat('', coalesce(sum(rows_read), 0)) FROM information_schema.table_statistics
               WHERE table_schema = database() AND table_name = 'tasks'";
    app.rows(sql).await.concat().concat().parse().unwrap()
}

/// MariaDB takes a tenant to have as many rows as the average tenant. If fewer than that follow a cursor, it would begin at
/// the tenant's first row instead of at the cursor.
#[tokio::test]
async fn mariadb_begins_a_page_at_its_cursor() {
    if !is_for(Kind::Mariadb, "the others begin there") {
        return;
    }
    let app = TestApp::alone().await;
    let tenant = app.tenant().await;
    let task = tenant.owner.task(json!({"title": "One of many"})).await;
    app.tenant().await.owner.task(json!({"title": "The only one of a small tenant"})).await;
    let id = app.id(task["id"].as_str().unwrap().parse().unwrap());
    let catalogue = app.catalogue().await;
    let columns: Vec<_> = catalogue.tables["tasks"].columns.keys().map(String::as_str).collect();
    let value = |column: &&str| match *column {
        "id" => "unhex(replace(uuid(), '-', ''))".to_owned(),
        "created_at" => "created_at - interval seq second".to_owned(),
        name => name.to_owned(),
    };
    let values: Vec<_> = columns.iter().map(value).collect();
    let copy = "INSERT INTO tasks (COLUMNS) SELECT VALUES FROM tasks, seq_1_to_ROWS WHERE id = ID";
    let copy = copy.replace("COLUMNS", &columns.join(", ")).replace("VALUES", &values.join(", "));
    app.run(&copy.replace("ROWS", &ROWS.to_string()).replace("ID", &id)).await;
    app.rows("ANALYZE TABLE tasks").await;
    for page in [1, ROWS / 200, ROWS / 160, ROWS / 110] {
        let page = tenant.owner.get(&format!("/api/v1/tasks?per_page=100&page={page}")).expect(200).await.json();
        let cursor = page["meta"]["next_cursor"].as_str().unwrap();
        let before = tasks_read(&app).await;
        tenant.owner.get(&format!("/api/v1/tasks?per_page=100&cursor={cursor}")).expect(200).await;
        let read = tasks_read(&app).await - before;
        assert!((100..=200).contains(&read), "{read} rows were read for 100, after {}", page["meta"]["page"]);
    }
}
