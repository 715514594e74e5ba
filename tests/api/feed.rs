//! The change feed, with subscribers that a test defines: when they are called, what they see, and that a change is
//! rolled back if they fail.
#![expect(clippy::disallowed_methods, reason = "changes as slices make them, and subscribers that write")]
use crate::support::{Tenant, TestApp};
use bizcenter::auth::Actor;
use bizcenter::base::error::{Error, Result};
use bizcenter::base::key_ring::KeyRing;
use bizcenter::base::metrics::Metrics;
use bizcenter::db::schema::{audit_logs, logins, tasks};
use bizcenter::db::types::UserId;
use bizcenter::db::{Action, Change, Db, DbOptions, Feed, Gone, Origin, RunQueryDsl, Statement, Statements, WriteTx};
use bizcenter::resources::tasks::{Task, TaskId, TaskInput, TaskPriority, TaskStatus};
use diesel::prelude::*;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::json;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use uuid::Uuid;

/// What a subscriber does before or after a change.
type Moment = for<'a> fn(&'a Subscriber, &'a mut WriteTx, &'a Change<'_>) -> BoxFuture<'a, Result<()>>;

/// The moment, and how many tasks and audit rows there were.
type Seen = (&'static str, i64, i64);

#[derive(Clone)]
struct Subscriber {
    before: Moment,
    after: Moment,
    /// What the subscriber saw at each moment.
    seen: Arc<Mutex<Vec<Seen>>>,
    /// A unique name for signing in, which no user has.
    name: String,
}

impl Subscriber {
    fn new(app: &TestApp, before: Moment, after: Moment) -> Self {
        Self { before, after, seen: Arc::default(), name: app.unique() }
    }

    async fn look(&self, moment: &'static str, tx: &mut WriteTx) -> Result<()> {
        let tasks: i64 = tasks::table.filter(tasks::tenant_id.eq(tx.tenant())).count().get_result(tx).await?;
        let of_tasks = audit_logs::tenant_id.eq(tx.tenant()).and(audit_logs::subject_kind.eq("task"));
        let rows: i64 = audit_logs::table.filter(of_tasks).count().get_result(tx).await?;
        self.seen.lock().unwrap().push((moment, tasks, rows));
        Ok(())
    }

    /// A statement that inserts a row. A second insert of this row fails, because the name is taken.
    fn name_once(&self, tx: &WriteTx) -> Statement<'static> {
        let row =
            (logins::name.eq(self.name.clone()), logins::tenant_id.eq(tx.tenant()), logins::user_id.eq(tx.actor()));
        Statement::of(diesel::insert_into(logins::table).values(row))
    }
}

impl Feed for Subscriber {
    fn before<'a>(&'a self, tx: &'a mut WriteTx, change: &'a Change<'_>) -> BoxFuture<'a, Result<Gone>> {
        let moment = (self.before)(self, tx, change);
        async move { moment.await.map(|()| vec![("helpers", 2), ("nothing", 0)]) }.boxed()
    }

    fn after<'a>(&'a self, tx: &'a mut WriteTx, change: &'a Change<'_>) -> BoxFuture<'a, Result<()>> {
        (self.after)(self, tx, change)
    }
}

fn nothing<'a>(_: &'a Subscriber, _: &'a mut WriteTx, _: &'a Change<'_>) -> BoxFuture<'a, Result<()>> {
    done()
}

fn done<'a>() -> BoxFuture<'a, Result<()>> {
    async { Ok(()) }.boxed()
}

fn fails<'a>(_: &'a Subscriber, _: &'a mut WriteTx, _: &'a Change<'_>) -> BoxFuture<'a, Result<()>> {
    async { Err(Error::Forbidden) }.boxed()
}

/// The database of an app, with this subscriber only.
fn database(app: &TestApp, subscriber: Subscriber) -> Db {
    let (encryption, env, metrics) = (&app.config.encryption, app.parts.env.clone(), Metrics::default());
    let keys = KeyRing::new(&encryption.active, &encryption.keys, env.clone(), metrics.clone()).unwrap();
    let time = Duration::from_secs(5);
    let options = DbOptions { pool_size: 4, acquire_timeout: time, statement_timeout: time, long_read_timeout: time };
    Db::new(app.database.target(), options, env, keys, Arc::new(subscriber), &metrics)
}

async fn insert(tx: &mut WriteTx) -> Result<bizcenter::db::Audited<TaskId>> {
    let input = TaskInput {
        title: "a".into(),
        description: None,
        status: TaskStatus::Todo,
        priority: TaskPriority::Low,
        week_number: None,
        year: None,
        tags: Default::default(),
        due_date: None,
        assigned_to: None,
    };
    let task = Task::new(tx.new_id(), input, tx.actor(), tx.now());
    let row = (
        tasks::tenant_id.eq(tx.tenant()),
        tasks::id.eq(task.id),
        task.input.clone(),
        tasks::created_by.eq(task.created_by),
        tasks::version.eq(task.version),
        tasks::created_at.eq(task.created_at),
        tasks::updated_at.eq(task.updated_at),
    );
    let row = diesel::insert_into(tasks::table).values(row);
    Ok(tx.changed(Change::created(task.id, &task), row).await?.with(task.id))
}

/// The owner of a tenant, authenticated by their access token.
async fn owner(tenant: &Tenant) -> Actor {
    let (authenticator, token) = (tenant.app.parts.authenticator.clone(), tenant.owner.token.clone().unwrap());
    let prove = async move { authenticator.session_of(&token, Origin::default()).await.unwrap() };
    let (actor, ..) = tenant.app.by_hand(prove).await;
    actor
}

/// Creates a task on a database with this subscriber.
async fn make(tenant: &Tenant, subscriber: &Subscriber) -> Result<TaskId> {
    let (app, subscriber) = (tenant.app.clone(), subscriber.clone());
    let actor = owner(tenant).await;
    let write =
        async move { database(&app, subscriber).write(&actor, async |tx: &mut WriteTx| insert(tx).await).await };
    tenant.app.by_hand(write).await
}

/// How many tasks a tenant has, how many audit rows are about them, and how many names the subscriber has inserted.
async fn stored(tenant: &Tenant, subscriber: &Subscriber) -> [String; 3] {
    let (app, id) = (&tenant.app, tenant.app.id(tenant.id));
    let count = async |table: &str, condition: &str| {
        let query = format!("SELECT concat(count(*), '') FROM {table} WHERE tenant_id = {id} {condition}");
        app.rows(&query).await.remove(0).remove(0)
    };
    [
        count("tasks", "").await,
        count("audit_logs", "AND subject_kind = 'task'").await,
        count("logins", &format!("AND name = '{}'", subscriber.name)).await,
    ]
}

#[tokio::test]
async fn a_subscriber_that_fails_undoes_the_change() {
    let tenant = TestApp::start().await.tenant().await;
    let moments: [(Moment, Moment); 2] = [(fails, nothing), (nothing, fails)];
    for (before, after) in moments {
        let subscriber = Subscriber::new(&tenant.app, before, after);
        assert!(matches!(make(&tenant, &subscriber).await, Err(Error::Forbidden)));
        assert_eq!(stored(&tenant, &subscriber).await, ["0", "0", "0"]);
    }
    let subscriber = Subscriber::new(&tenant.app, nothing, nothing);
    make(&tenant, &subscriber).await.unwrap(); // without the failing subscriber, the change succeeds
    assert_eq!(stored(&tenant, &subscriber).await, ["1", "1", "0"]);
}

#[tokio::test]
async fn before_comes_before_the_statement_and_after_before_the_audit_row_is_written() {
    let tenant = TestApp::start().await.tenant().await;
    let subscriber = Subscriber::new(
        &tenant.app,
        |own, tx, change| {
            assert_eq!((change.action(), change.kind()), (Action::Create, "task"));
            assert!(change.before().is_none() && change.after().is_some_and(|task| task.is::<Task>()));
            own.look("before", tx).boxed()
        },
        |own, tx, _| own.look("after", tx).boxed(),
    );
    let task = make(&tenant, &subscriber).await.unwrap();
    assert_eq!(*subscriber.seen.lock().unwrap(), [("before", 0, 0), ("after", 1, 0)]);
    assert_eq!(stored(&tenant, &subscriber).await, ["1", "1", "0"]);
    let of_task = format!("subject_id = {}", tenant.app.id(task.0));
    let rows = tenant.app.rows(&format!("SELECT action, changes FROM audit_logs WHERE {of_task}")).await;
    let changes: serde_json::Value = serde_json::from_str(&rows[0][1]).unwrap();
    assert_eq!((rows.len(), rows[0][0].as_str()), (1, "create"));
    assert_eq!((&changes["title"], &changes["helpers"]), (&json!([null, "a"]), &json!([2, null])));
    assert!(changes.get("nothing").is_none(), "{changes}");
}

#[tokio::test]
async fn what_waits_for_the_end_is_written_with_the_change() {
    let tenant = TestApp::start().await.tenant().await;
    let subscriber = Subscriber::new(&tenant.app, nothing, |own, tx, _| {
        let name = own.name_once(tx);
        tx.write_at_end("a test", name);
        done()
    });
    make(&tenant, &subscriber).await.unwrap();
    assert_eq!(stored(&tenant, &subscriber).await, ["1", "1", "1"]);
}

#[tokio::test]
async fn a_failure_at_the_end_means_what_its_statement_says_and_undoes_everything() {
    let tenant = TestApp::start().await.tenant().await;
    // The first statement succeeds and the second is refused, which shows that they run in their order.
    let taken = Subscriber::new(&tenant.app, nothing, |own, tx, _| {
        let (name, again) = (own.name_once(tx), own.name_once(tx).taken("name"));
        for statement in [name, again] {
            tx.write_at_end("a test", statement);
        }
        done()
    });
    let Err(Error::Conflict(detail)) = make(&tenant, &taken).await else { panic!("no conflict") };
    assert!(detail.0.contains_key("name"), "{detail:?}");
    assert_eq!(stored(&tenant, &taken).await, ["0", "0", "0"]);

    let dangling = Subscriber::new(&tenant.app, nothing, |_, tx, change| {
        let task = tasks::table.filter(tasks::tenant_id.eq(tx.tenant()).and(tasks::id.eq(TaskId::from(change.id()))));
        let to_nobody = diesel::update(task).set(tasks::assigned_to.eq(Some(UserId::from(Uuid::from_u128(1)))));
        tx.write_at_end("a test", Statement::of(to_nobody).refers_to("assigned_to"));
        done()
    });
    let Err(Error::Unprocessable(detail)) = make(&tenant, &dangling).await else { panic!("not unprocessable") };
    assert!(detail.0.contains_key("assigned_to"), "{detail:?}");
    assert_eq!(stored(&tenant, &dangling).await, ["0", "0", "0"]);
}

/// PostgreSQL gets these inserts as one statement. The failure is all the same that of the one which it refuses.
#[tokio::test]
async fn of_several_inserts_the_one_that_fails_is_found() {
    let tenant = TestApp::start().await.tenant().await;
    let subscriber = Subscriber::new(&tenant.app, nothing, |own, tx, _| {
        let name = own.name_once(tx).taken("name");
        tx.write_at_end("a test", name);
        done()
    });
    make(&tenant, &subscriber).await.unwrap();
    let Err(Error::Conflict(detail)) = make(&tenant, &subscriber).await else { panic!("no conflict") };
    assert!(detail.0.contains_key("name"), "{detail:?}");
    assert_eq!(stored(&tenant, &subscriber).await, ["1", "1", "1"]);
}

/// The statements of a change run in their order. A statement can be declared to fail if it finds no row.
#[tokio::test]
async fn several_statements_make_one_change() {
    let tenant = TestApp::start().await.tenant().await;
    let subscriber = Subscriber::new(&tenant.app, nothing, nothing);
    let actor = owner(&tenant).await;
    for (is_there, expected) in [(true, ["1", "2", "0"]), (false, ["1", "2", "0"])] {
        let (app, subscriber_of_it, actor) = (tenant.app.clone(), subscriber.clone(), actor.clone());
        let change = async move |tx: &mut WriteTx| {
            let task = if is_there { *insert(tx).await?.get() } else { TaskId::from(Uuid::from_u128(2)) };
            let tenant = tx.tenant();
            let row = || tasks::table.filter(tasks::tenant_id.eq(tenant).and(tasks::id.eq(task)));
            let statements = Statements::default().and(diesel::update(row()).set(tasks::title.eq("b"))).and(
                Statement::of(diesel::update(row().filter(tasks::title.eq("b"))).set(tasks::title.eq("c")))
                    .if_none(Error::NotFound),
            );
            tx.changed(Change::of(Action::Update, task), statements).await
        };
        let write = async move { database(&app, subscriber_of_it).write(&actor, change).await };
        let done = tenant.app.by_hand(write).await;
        assert_eq!(done.is_ok(), is_there);
        assert!(is_there || matches!(done, Err(Error::NotFound)));
        assert_eq!(stored(&tenant, &subscriber).await, expected);
    }
}
