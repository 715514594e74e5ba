//! Raw SQL, for tests that look behind the queries.
#![expect(clippy::disallowed_methods, reason = "tests look behind the queries")]
use bizcenter::db::{Any, AnyConnection};
use diesel::QueryResult;
use diesel::deserialize::FromSql;
use diesel::row::{Field, Row};
use diesel::sql_types::{Nullable, Text};
use diesel_async::{AsyncConnectionCore, SimpleAsyncConnection};
use futures_util::{StreamExt, TryStreamExt};

/// The rows of a query with text columns only. Null is returned as the text `NULL`.
pub async fn rows(conn: &mut AnyConnection, sql: &str) -> Vec<Vec<String>> {
    let found = AsyncConnectionCore::load(conn, diesel::sql_query(sql)).await;
    let found = found.unwrap_or_else(|error| panic!("{sql}: {error}"));
    let texts = |row| -> Vec<String> {
        let text = |column| field(&row, column).unwrap_or_else(|error| panic!("{sql}: {error}"));
        (0..Row::<Any>::field_count(&row)).map(text).collect()
    };
    found.map(|row| row.map(texts)).try_collect().await.unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// The only text that a query finds.
pub async fn text(conn: &mut AnyConnection, sql: &str) -> String {
    let found = rows(conn, sql).await;
    assert_eq!((found.len(), found.first().map(Vec::len)), (1, Some(1)), "{sql}");
    found.concat().concat()
}

/// Runs statements and returns the result, because some tests expect them to fail.
pub async fn run(conn: &mut AnyConnection, sql: &str) -> QueryResult<()> {
    conn.batch_execute(sql).await
}

fn field<'a>(row: &impl Row<'a, Any>, column: usize) -> diesel::deserialize::Result<String> {
    let field = row.get(column).ok_or("no such column")?;
    let text = <Option<String> as FromSql<Nullable<Text>, Any>>::from_nullable_sql(field.value())?;
    Ok(text.unwrap_or_else(|| "NULL".to_owned()))
}
