//! The same work as BizCenter's with nothing around it, as a measure: handlers of poem with SQL written by hand on
//! tokio-postgres. A token is checked and its user loaded, as BizCenter does; there are no limits, no audit log, no
//! metrics, no row-level security, no transactions. `scripts/bench http` runs it on BizCenter's own tables:
//! `baseline PORT DATABASE_URL EMAIL` prints a token of that user.
#![expect(clippy::disallowed_methods, reason = "it takes time and ids as they come")]
use bytes::BytesMut;
use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation, decode, encode};
use poem::error::{BadRequest, InternalServerError, NotFoundError, Unauthorized};
use poem::listener::TcpListener;
use poem::web::{Data, Json, Path, Query};
use poem::{EndpointExt, FromRequest, Request, RequestBody, Result, Route, Server, get, handler, post};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};
use tokio_postgres::{Client, NoTls, Row, Statement};
use uuid::Uuid;

type Failure = Box<dyn Error + Sync + Send>;

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Id(Uuid);

impl<'a> FromSql<'a> for Id {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Failure> {
        Ok(Self(Uuid::from_slice(raw)?))
    }
    accepts!(UUID);
}
impl ToSql for Id {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Failure> {
        out.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }
    accepts!(UUID);
    to_sql_checked!();
}

/// A time or a date of PostgreSQL: microseconds or days since the year 2000.
struct Since2000(i64);

impl<'a> FromSql<'a> for Since2000 {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Failure> {
        Ok(Self(match raw.len() {
            4 => i32::from_be_bytes(raw.try_into()?).into(),
            _ => i64::from_be_bytes(raw.try_into()?),
        }))
    }
    accepts!(TIMESTAMPTZ, DATE);
}

impl Since2000 {
    fn time(&self) -> Option<String> {
        let time = DateTime::<Utc>::from_timestamp_micros(self.0 + 946_684_800_000_000)?;
        Some(time.to_rfc3339_opts(SecondsFormat::Micros, true))
    }
    fn day(&self) -> Option<NaiveDate> {
        NaiveDate::from_ymd_opt(2000, 1, 1)?.checked_add_signed(chrono::Duration::days(self.0))
    }
}

const COLUMNS: &str = "id, title, description, status, priority, week_number, year, tags::text, due_date, assigned_to, \
                       created_by, completed_at, version, created_at, updated_at";

#[derive(Serialize)]
struct Task {
    id: Id,
    title: String,
    description: Option<String>,
    status: String,
    priority: i16,
    week_number: Option<i32>,
    year: Option<i32>,
    tags: Value,
    due_date: Option<NaiveDate>,
    assigned_to: Option<Id>,
    created_by: Id,
    completed_at: Option<String>,
    version: i64,
    created_at: Option<String>,
    updated_at: Option<String>,
}

impl Task {
    fn of(row: &Row) -> Result<Self> {
        let time = |column| row.get::<_, Option<Since2000>>(column).and_then(|time| time.time());
        Ok(Self {
            id: row.get(0),
            title: row.get(1),
            description: row.get(2),
            status: row.get(3),
            priority: row.get(4),
            week_number: row.get(5),
            year: row.get(6),
            tags: serde_json::from_str(row.get(7)).map_err(InternalServerError)?,
            due_date: row.get::<_, Option<Since2000>>(8).and_then(|day| day.day()),
            assigned_to: row.get(9),
            created_by: row.get(10),
            completed_at: time(11),
            version: row.get(12),
            created_at: time(13),
            updated_at: time(14),
        })
    }
}

/// One connection with its prepared statements.
struct Line {
    client: Client,
    user: Statement,
    task: Statement,
    count: Statement,
    page: Statement,
    filtered_count: Statement,
    filtered_page: Statement,
    after: Statement,
    insert: Statement,
    update: Statement,
    password: Statement,
}

impl Line {
    async fn open(url: &str) -> Result<Self, tokio_postgres::Error> {
        let (client, line) = tokio_postgres::connect(url, NoTls).await?;
        tokio::spawn(line);
        client.batch_execute("SET app.system = 'on'").await?; // past row-level security
        let page = |more: &str| {
            format!("SELECT {COLUMNS} FROM tasks WHERE tenant_id = $1{more} ORDER BY created_at DESC, id DESC LIMIT $2")
        };
        let one = "tenant_id = $1 AND id = $2";
        Ok(Self {
            user: client
                .prepare("SELECT role::text, is_superuser, session_epoch FROM users WHERE tenant_id = $1 AND id = $2 AND is_active")
                .await?,
            task: client.prepare(&format!("SELECT {COLUMNS} FROM tasks WHERE {one}")).await?,
            count: client.prepare("SELECT count(*) FROM tasks WHERE tenant_id = $1").await?,
            page: client.prepare(&page("")).await?,
            filtered_count: client.prepare("SELECT count(*) FROM tasks WHERE tenant_id = $1 AND status = $2").await?,
            filtered_page: client.prepare(&page(" AND status = $3")).await?,
            after: client.prepare(&page("")).await?,
            insert: client
                .prepare(&format!(
                    "INSERT INTO tasks (tenant_id, id, title, status, priority, tags, created_by, version, created_at, updated_at) \
                     VALUES ($1, $2, $3, 'todo', 2, '[]', $4, 1, now(), now()) RETURNING {COLUMNS}"
                ))
                .await?,
            update: client
                .prepare(&format!(
                    "UPDATE tasks SET title = $3, version = version + 1, updated_at = now() WHERE {one} RETURNING {COLUMNS}"
                ))
                .await?,
            password: client.prepare("SELECT password_hash FROM users WHERE email = $1").await?,
            client,
        })
    }
}

struct App {
    lines: Vec<Line>,
    next: AtomicUsize,
    encoding: EncodingKey,
    decoding: DecodingKey,
}

impl App {
    fn line(&self) -> &Line {
        &self.lines[self.next.fetch_add(1, Ordering::Relaxed) % self.lines.len()]
    }
}

#[derive(Serialize, Deserialize)]
struct Claims {
    sub: Id,
    tenant_id: Id,
    exp: i64,
}

/// The user of the request's token, loaded.
struct Caller(Claims);

impl<'a> FromRequest<'a> for Caller {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> Result<Self> {
        let app: &Arc<App> = request.data().ok_or(NotFoundError)?;
        let header = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let claims = decode::<Claims>(header.unwrap_or_default(), &app.decoding, &Validation::default());
        let claims = claims.map_err(Unauthorized)?.claims;
        let line = app.line();
        let user = line.client.query_opt(&line.user, &[&claims.tenant_id, &claims.sub]).await;
        let user = user.map_err(InternalServerError)?.ok_or(NotFoundError)?;
        let _: (String, bool, i64) = (user.get(0), user.get(1), user.get(2));
        Ok(Self(claims))
    }
}

#[handler]
fn health() -> &'static str {
    "ok"
}

#[handler]
async fn find(Caller(user): Caller, Data(app): Data<&Arc<App>>, Path(id): Path<Uuid>) -> Result<Json<Task>> {
    let line = app.line();
    let row = line.client.query_opt(&line.task, &[&user.tenant_id, &Id(id)]).await.map_err(InternalServerError)?;
    Ok(Json(Task::of(&row.ok_or(NotFoundError)?)?))
}

#[derive(Deserialize)]
struct Asked {
    per_page: i64,
    status: Option<String>,
    cursor: Option<String>,
}

#[derive(Serialize)]
struct Page {
    items: Vec<Task>,
    total: Option<i64>,
}

#[handler]
async fn list(
    Caller(user): Caller,
    Data(app): Data<&Arc<App>>,
    Query(Asked { per_page, status, cursor }): Query<Asked>,
) -> Result<Json<Page>> {
    let (line, tenant) = (app.line(), user.tenant_id);
    let (rows, total) = match (&status, cursor) {
        (_, Some(_)) => (line.client.query(&line.after, &[&tenant, &per_page]).await, None),
        (None, None) => {
            let total = line.client.query_one(&line.count, &[&tenant]).await.map_err(InternalServerError)?;
            (line.client.query(&line.page, &[&tenant, &per_page]).await, Some(total.get(0)))
        }
        (Some(status), None) => {
            let total = line.client.query_one(&line.filtered_count, &[&tenant, status]).await;
            let rows = line.client.query(&line.filtered_page, &[&tenant, &per_page, status]).await;
            (rows, Some(total.map_err(InternalServerError)?.get(0)))
        }
    };
    let items = rows.map_err(InternalServerError)?.iter().map(Task::of).collect::<Result<_>>()?;
    Ok(Json(Page { items, total }))
}

#[derive(Deserialize)]
struct Input {
    title: String,
}

#[handler]
async fn create(Caller(user): Caller, Data(app): Data<&Arc<App>>, Json(input): Json<Input>) -> Result<Json<Task>> {
    let line = app.line();
    let id = Id(Uuid::now_v7());
    let row = line.client.query_one(&line.insert, &[&user.tenant_id, &id, &input.title, &user.sub]).await;
    Ok(Json(Task::of(&row.map_err(InternalServerError)?)?))
}

#[handler]
async fn change(
    Caller(user): Caller,
    Data(app): Data<&Arc<App>>,
    Path(id): Path<Uuid>,
    Json(input): Json<Input>,
) -> Result<Json<Task>> {
    let line = app.line();
    let row = line.client.query_opt(&line.update, &[&user.tenant_id, &Id(id), &input.title]).await;
    Ok(Json(Task::of(&row.map_err(InternalServerError)?.ok_or(NotFoundError)?)?))
}

#[derive(Deserialize)]
struct SignIn {
    email: String,
    password: String,
}

#[handler]
async fn sign_in(Data(app): Data<&Arc<App>>, Json(input): Json<SignIn>) -> Result<String> {
    let line = app.line();
    let row = line.client.query_opt(&line.password, &[&input.email]).await.map_err(InternalServerError)?;
    let hash: String = row.ok_or(NotFoundError)?.get(0);
    let verified = tokio::task::spawn_blocking(move || bcrypt::verify(input.password, &hash)).await;
    match verified.map_err(InternalServerError)?.map_err(BadRequest)? {
        true => Ok("right".to_owned()),
        false => Err(NotFoundError.into()),
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let (Some(port), Some(url), Some(email)) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("usage: baseline PORT DATABASE_URL EMAIL".into());
    };
    let mut lines = Vec::new();
    for _ in 0..10 {
        lines.push(Line::open(&url).await?);
    }
    let secret = Uuid::new_v4();
    let (encoding, decoding) =
        (EncodingKey::from_secret(secret.as_bytes()), DecodingKey::from_secret(secret.as_bytes()));
    let app = Arc::new(App { lines, next: AtomicUsize::new(0), encoding, decoding });
    let user = app.line().client.query_one("SELECT id, tenant_id FROM users WHERE email = $1", &[&email]).await?;
    let claims = Claims { sub: user.get(0), tenant_id: user.get(1), exp: Utc::now().timestamp() + 86_400 };
    println!("{}", encode(&Header::default(), &claims, &app.encoding)?);
    let route = Route::new()
        .at("/livez", get(health))
        .at("/api/v1/tasks", get(list).post(create))
        .at("/api/v1/tasks/:id", get(find).patch(change))
        .at("/api/v1/auth/login", post(sign_in))
        .data(app);
    Server::new(TcpListener::bind(format!("127.0.0.1:{port}"))).run(route).await?;
    Ok(())
}
