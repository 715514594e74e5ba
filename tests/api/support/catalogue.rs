//! The tables, keys and references of a database, read from its catalogue. Tests take their lists of tables and columns
//! from here, so that a new table is included in all of them.
use super::database::{Kind, TestDatabase};
use bizcenter::db::migrations;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The only table with a tenant column in which rows can exist without a tenant: jobs can remain to be done after their
/// tenant was deleted.
pub const OUTLIVES_TENANT: &str = "jobs";

/// The tables with a tenant column that have no row-level security. `logins` is searched before a tenant is known, and
/// each server takes `jobs` of all tenants.
pub const WITHOUT_ROW_SECURITY: [&str; 2] = ["jobs", "logins"];

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// The columns of the primary key, in their order.
    pub key: Vec<String>,
    /// The type of each column by its name, such as `text` or `text null`, as this run's database writes types.
    pub columns: BTreeMap<String, String>,
}

impl Table {
    pub fn has_tenant(&self) -> bool {
        self.columns.contains_key("tenant_id")
    }
}

pub type Tables = BTreeMap<String, Table>;

/// A foreign key: its columns, and the table and columns that they refer to.
#[derive(Debug, Default, Clone)]
pub struct Reference {
    pub from: Vec<String>,
    pub table: String,
    pub to: Vec<String>,
}

/// All tables except diesel's own, with their foreign keys and unique texts.
pub struct Catalogue {
    pub database: Arc<TestDatabase>,
    pub tables: Tables,
    /// Each foreign key, with the table that has it.
    pub references: Vec<(String, Reference)>,
    /// Table and column of each text column that is part of a unique key.
    pub unique_texts: BTreeSet<(String, String)>,
}

impl Catalogue {
    pub async fn of_a_new_database() -> Self {
        let database = TestDatabase::create().await;
        migrations::up(&database.target()).await.unwrap();
        Self::of(Arc::new(database)).await
    }

    pub async fn of(database: Arc<TestDatabase>) -> Self {
        let tables = tables(&database).await;
        assert!(!tables.is_empty(), "the database has no tables");
        let is_text = |table: &Table, column: &String| {
            let stored_as = table.columns[column].trim_end_matches(" null");
            stored_as.eq_ignore_ascii_case("text")
        };
        let unique = unique_columns(&database).await.into_iter();
        let unique_texts = unique.filter(|(table, column)| is_text(&tables[table], column)).collect();
        let references = references(&database).await;
        Self { database, tables, references, unique_texts }
    }

    pub async fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        self.database.rows(sql).await
    }

    /// The tables whose rows belong to a tenant and are deleted with it. `tenants` is not among them.
    pub fn tables_of_tenants(&self) -> impl Iterator<Item = &str> {
        let of_tenants = self.tables.iter().filter(|(name, table)| table.has_tenant() && *name != OUTLIVES_TENANT);
        of_tenants.map(|(name, _)| name.as_str())
    }
}

/// The name of a column's type, with ` null` at its end if the column may be null.
pub fn with_null(name: &str, nullable: bool) -> String {
    if nullable { format!("{name} null") } else { name.to_owned() }
}

/// Removes the size of a text or blob, because the contract limits it and not the schema. Other sizes are part of the
/// type and stay: `binary(16)`, `datetime(6)`.
fn without_size(of_type: &str) -> &str {
    match of_type.split('(').next().unwrap() {
        "varchar" | "text" | "mediumtext" => "text",
        "varbinary" | "blob" | "mediumblob" => "blob",
        _ => of_type,
    }
}

/// Runs the query for this kind of database. The first column must name a table, and rows about diesel's own table are
/// left out.
async fn rows_of(database: &TestDatabase, [postgres, mariadb, sqlite]: [&str; 3]) -> Vec<Vec<String>> {
    let sql = match database.kind {
        Kind::Postgres => postgres,
        Kind::Mariadb => mariadb,
        Kind::Sqlite => sqlite,
    };
    database.rows(sql).await.into_iter().filter(|row| row[0] != "__diesel_schema_migrations").collect()
}

async fn tables(database: &TestDatabase) -> Tables {
    // Table, column, type, whether the column may be null, and its place in the primary key, if it has one.
    let found = rows_of(
        database,
        [
            "SELECT c.table_name::text, c.column_name::text, c.udt_name::text, (c.is_nullable = 'YES')::text, k.ordinal_position::text
             FROM information_schema.columns c
             LEFT JOIN information_schema.table_constraints t
               ON t.table_schema = c.table_schema AND t.table_name = c.table_name AND t.constraint_type = 'PRIMARY KEY'
             LEFT JOIN information_schema.key_column_usage k
               ON k.constraint_schema = t.constraint_schema AND k.constraint_name = t.constraint_name
               AND k.table_name = c.table_name AND k.column_name = c.column_name
             WHERE c.table_schema = 'public' ORDER BY k.ordinal_position",
            "SELECT c.table_name, c.column_name,
                    if(j.check_clause IS NULL, c.column_type, 'json'), if(c.is_nullable = 'YES', 'true', 'false'),
                    CAST(k.ordinal_position AS CHAR)
             FROM information_schema.columns c
             LEFT JOIN information_schema.key_column_usage k
               ON k.table_schema = c.table_schema AND k.table_name = c.table_name AND k.column_name = c.column_name
               AND k.constraint_name = 'PRIMARY'
             LEFT JOIN information_schema.check_constraints j
               ON j.constraint_schema = c.table_schema AND j.table_name = c.table_name
               AND j.check_clause = CONCAT('json_valid(`', c.column_name, '`)')
             WHERE c.table_schema = database() ORDER BY k.ordinal_position",
            "SELECT t.name, c.name, c.type, iif(c.\"notnull\", 'false', 'true'), nullif(c.pk, 0)
             FROM sqlite_schema t, pragma_table_info(t.name) c
             WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%' ORDER BY c.pk",
        ],
    );
    let mut tables = Tables::new();
    for row in found.await {
        let [table, column, of_type, nullable, place_in_key] = row.try_into().unwrap();
        let table = tables.entry(table).or_default();
        table.columns.insert(column.clone(), with_null(without_size(&of_type), nullable == "true"));
        if place_in_key != "NULL" {
            table.key.push(column);
        }
    }
    tables
}

async fn references(database: &TestDatabase) -> Vec<(String, Reference)> {
    // Table, name of the key, column, and the table and column that it refers to. The columns of a key are in their
    // order.
    let found = rows_of(
        database,
        [
            "SELECT f.conrelid::regclass::text, f.conname::text, a.attname::text, f.confrelid::regclass::text, b.attname::text
             FROM pg_constraint f, generate_subscripts(f.conkey, 1) i, pg_attribute a, pg_attribute b
             WHERE f.contype = 'f' AND a.attrelid = f.conrelid AND a.attnum = f.conkey[i]
               AND b.attrelid = f.confrelid AND b.attnum = f.confkey[i]
             ORDER BY 1, 2, i",
            "SELECT table_name, constraint_name, column_name, referenced_table_name, referenced_column_name
             FROM information_schema.key_column_usage
             WHERE table_schema = database() AND referenced_table_name IS NOT NULL
             ORDER BY 1, 2, ordinal_position",
            "SELECT t.name, f.id, f.\"from\", f.\"table\", f.\"to\"
             FROM sqlite_schema t, pragma_foreign_key_list(t.name) f WHERE t.type = 'table' ORDER BY 1, 2, f.seq",
        ],
    );
    let mut references = BTreeMap::<_, Reference>::new();
    for row in found.await {
        let [table, name, from, to_table, to] = row.try_into().unwrap();
        let reference = references.entry((table, name)).or_default();
        reference.table = to_table;
        reference.from.push(from);
        reference.to.push(to);
    }
    references.into_iter().map(|((table, _), reference)| (table, reference)).collect()
}

/// Table and column of all columns that are in a primary key or in a unique index.
async fn unique_columns(database: &TestDatabase) -> BTreeSet<(String, String)> {
    let found = rows_of(
        database,
        [
            "SELECT i.indrelid::regclass::text, a.attname::text FROM pg_index i
             JOIN pg_class c ON c.oid = i.indrelid AND c.relnamespace = 'public'::regnamespace
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
             WHERE i.indisunique",
            "SELECT table_name, column_name FROM information_schema.statistics
             WHERE table_schema = database() AND non_unique = 0",
            "SELECT t.name, x.name FROM sqlite_schema t, pragma_index_list(t.name) i, pragma_index_info(i.name) x
             WHERE t.type = 'table' AND i.\"unique\" = 1",
        ],
    );
    let pair = |row: Vec<String>| {
        let [table, column] = row.try_into().unwrap();
        (table, column)
    };
    found.await.into_iter().map(pair).collect()
}
