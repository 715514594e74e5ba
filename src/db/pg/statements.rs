//! Statements as they are sent, and the prepared statements of one connection.
use super::error;
use diesel::QueryResult;
use diesel::pg::{Pg, PgMetadataLookup, PgQueryBuilder, PgTypeMetadata, TypeOidLookup};
use diesel::query_builder::bind_collector::RawBytesBindCollector;
use diesel::query_builder::{QueryBuilder, QueryFragment};
use diesel::result::Error;
use lru::LruCache;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{IsNull, Kind, ToSql, Type};
use tokio_postgres::{Client, Statement};

/// How many prepared statements with a fixed text a connection keeps. PostgreSQL needs some ten KiB for each.
const KEPT: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");
/// How many prepared statements it keeps in addition whose text depends on the request, as that of a list does. They
/// are kept apart, so that a client that requests many different lists displaces only statements of lists.
const KEPT_OF_MANY: NonZeroUsize = NonZeroUsize::new(64).expect("not zero");
/// How long the SQL of a kept statement may be, in bytes. A longer one inserts many rows, and is rarely sent again.
const MAX_KEPT_BYTES: usize = 8192;

/// A statement with its values. It borrows nothing, so that it can wait until it is sent.
pub struct BoundStatement {
    pub(super) text: Text,
    /// The numbers of the types of the values.
    pub(super) types: Vec<u32>,
    pub(super) values: Vec<Option<Vec<u8>>>,
}

/// The SQL of a statement.
#[derive(Debug, Clone, PartialEq)]
pub struct Text {
    pub sql: Arc<str>,
    /// Whether it does not depend on the request.
    pub is_one_of_few: bool,
}

/// No column type of this project is looked up by name, because each has a fixed number.
pub struct NoLookup;

impl PgMetadataLookup for NoLookup {
    fn lookup_type(&mut self, _: &str, _: Option<&str>) -> PgTypeMetadata {
        PgTypeMetadata::new(0, 0) // "unknown": the server infers it
    }
}

impl BoundStatement {
    /// A query that was written for PostgreSQL alone, as those of the migrations are.
    pub fn of(query: &dyn QueryFragment<Pg>) -> QueryResult<Self> {
        let mut sql = PgQueryBuilder::default();
        query.to_sql(&mut sql, &Pg)?;
        let mut binds = RawBytesBindCollector::<Pg>::new();
        query.collect_binds(&mut binds, &mut NoLookup, &Pg)?;
        let is_one_of_few = query.is_safe_to_cache_prepared(&Pg)?;
        Self::new(Text { sql: sql.finish().into(), is_one_of_few }, &binds.metadata, binds.binds)
    }

    /// The statement that has the others of a transaction planned for their values.
    pub fn plan_anew() -> Self {
        let text = Text { sql: "SET LOCAL plan_cache_mode = force_custom_plan".into(), is_one_of_few: true };
        Self { text, types: vec![], values: vec![] }
    }

    pub fn sql(&self) -> &str {
        &self.text.sql
    }

    /// The values, as PostgreSQL gets them. `None` is `NULL`.
    pub fn values(&self) -> &[Option<Vec<u8>>] {
        &self.values
    }

    pub fn new(text: Text, types: &[PgTypeMetadata], values: Vec<Option<Vec<u8>>>) -> QueryResult<Self> {
        let number = |of: &PgTypeMetadata| of.oid().map_err(|failed| Error::SerializationError(Box::new(failed)));
        let types = types.iter().map(number).collect::<QueryResult<_>>()?;
        Ok(Self { text, types, values })
    }
}

/// The type of a column of a result.
pub(super) struct ColumnType(NonZeroU32);

impl TypeOidLookup for ColumnType {
    fn lookup(&self) -> NonZeroU32 {
        self.0
    }
}

/// A value that is already in PostgreSQL's binary format.
#[derive(Debug)]
pub(super) struct Value(Option<Vec<u8>>);

impl ToSql for Value {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        let Some(bytes) = &self.0 else { return Ok(IsNull::Yes) };
        out.extend_from_slice(bytes);
        Ok(IsNull::No)
    }
    fn accepts(_: &Type) -> bool {
        true
    }
    fn to_sql_checked(
        &self,
        of: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        self.to_sql(of, out)
    }
}

/// A prepared statement.
#[derive(Clone)]
struct Prepared {
    statement: Statement,
    /// The types of the values for which it was prepared. The same SQL can be sent with values of other types.
    types: Vec<u32>,
    columns: Arc<[ColumnType]>,
}

/// A prepared statement with its values, which can be sent at once.
pub(super) struct Ready {
    pub statement: Statement,
    pub columns: Arc<[ColumnType]>,
    pub values: Vec<Value>,
}

/// The prepared statements of a connection, by their SQL. The one that was not used for longest makes room for a new
/// one.
pub(super) struct Statements {
    /// Those that are one of few, and the others.
    kept: Option<(Kept, Kept)>,
}

type Kept = LruCache<Arc<str>, Prepared>;

impl Statements {
    pub fn kept() -> Self {
        Self { kept: Some((LruCache::new(KEPT), LruCache::new(KEPT_OF_MANY))) }
    }

    /// For a session that belongs to others as soon as the transaction has ended.
    pub fn not_kept() -> Self {
        Self { kept: None }
    }

    /// The statement, prepared: at once if it is kept, and after a round trip otherwise.
    pub async fn ready(&mut self, client: &Client, bound: BoundStatement) -> QueryResult<Ready> {
        let BoundStatement { text: Text { sql, is_one_of_few }, types, values } = bound;
        let kept = self.kept.as_mut().filter(|_| sql.len() <= MAX_KEPT_BYTES);
        let kept = kept.map(|(of_few, of_many)| if is_one_of_few { of_few } else { of_many });
        let Prepared { statement, columns, .. } = match kept {
            None => prepare(client, &sql, types).await?,
            Some(kept) => match kept.get(&sql) {
                Some(prepared) if prepared.types == types => prepared.clone(),
                Some(_) | None => {
                    let prepared = prepare(client, &sql, types).await?;
                    kept.put(sql, prepared.clone());
                    prepared
                }
            },
        };
        Ok(Ready { statement, columns, values: values.into_iter().map(Value).collect() })
    }
}

async fn prepare(client: &Client, sql: &str, types: Vec<u32>) -> QueryResult<Prepared> {
    let of_values: Vec<_> = types.iter().map(|number| type_of(*number)).collect();
    let statement = client.prepare_typed(sql, &of_values).await.map_err(error::of)?;
    // The number of a column's type is never 0, so the fallback is never used.
    let of_column = |of: &Type| ColumnType(NonZeroU32::new(of.oid()).unwrap_or(NonZeroU32::MIN));
    let columns = statement.columns().iter().map(|column| of_column(column.type_())).collect();
    Ok(Prepared { statement, types, columns })
}

fn type_of(number: u32) -> Type {
    // The type with number 0 is the one that PostgreSQL finds out itself.
    Type::from_oid(number).unwrap_or_else(|| Type::new("unknown".to_owned(), number, Kind::Simple, "public".to_owned()))
}
