//! What `src/db/schema.rs` says, held against the catalogue of a freshly migrated database; and the walls between tenants
//! that the tables themselves must have.
use crate::support::rows::rows;
use crate::support::{Kind, TestDatabase, is_for};
use bizcenter::db::migrations;
use bizcenter::db::schema::TABLES;
use std::collections::{BTreeMap, BTreeSet};

/// Tables whose key does not start with the tenant.
const WITHOUT_TENANT_IN_KEY: [&str; 4] = ["jobs", "key_checks", "logins", "tenants"];

/// The one table that is about no tenant: by what the server knows its own keys again.
const OF_THE_SERVER: &str = "key_checks";

/// The tables with tenants that row-level security leaves open: `logins` is searched before a tenant is known, and `jobs`
/// are taken by every server for whichever tenant.
const WITHOUT_ROW_SECURITY: [&str; 2] = ["jobs", "logins"];

/// The one table whose rows need no tenant and outlive it: what is left to do about a tenant that is gone.
const OUTLIVES_TENANT: &str = "jobs";

/// How PostgreSQL, MariaDB and SQLite call each type of the schema; for `Uid` and its like see `src/db/types.rs`.
const TYPES: [(&str, [&str; 3]); 10] = [
    ("Uid", ["uuid", "binary(16)", "BLOB"]),
    ("UtcInstant", ["timestamptz", "datetime(6)", "TEXT"]),
    ("JsonList", ["jsonb", "json", "TEXT"]),
    ("Text", ["text", "text", "TEXT"]),
    ("Binary", ["bytea", "blob", "BLOB"]),
    ("Bool", ["bool", "tinyint(1)", "INTEGER"]),
    ("SmallInt", ["int2", "smallint(6)", "INTEGER"]),
    ("Integer", ["int4", "int(11)", "INTEGER"]),
    ("BigInt", ["int8", "bigint(20)", "INTEGER"]),
    ("Date", ["date", "date", "TEXT"]),
];

#[derive(Debug, Default, PartialEq, Eq)]
struct Table {
    key: Vec<String>,
    /// Name to `text` or `text null`, in the words of this run's database.
    columns: BTreeMap<String, String>,
}

type Tables = BTreeMap<String, Table>;

/// What the schema says of its tables, in the words of this run's database.
fn declared(kind: Kind) -> Tables {
    let table = |declared: &bizcenter::db::Table| {
        let key = declared.key.iter().map(|column| (*column).to_owned()).collect();
        let columns = declared
            .columns
            .iter()
            .map(|column| (column.name.to_owned(), with_null(stored_as(kind, column.of_type), column.is_nullable)));
        (declared.name.to_owned(), Table { key, columns: columns.collect() })
    };
    TABLES.iter().map(table).collect()
}

fn stored_as(kind: Kind, of_type: &str) -> &'static str {
    let (_, [postgres, mariadb, sqlite]) = TYPES
        .iter()
        .find(|(name, _)| *name == of_type)
        .unwrap_or_else(|| panic!("{of_type} is not in TYPES: add what each database calls it"));
    match kind {
        Kind::Postgres => postgres,
        Kind::Mariadb => mariadb,
        Kind::Sqlite => sqlite,
    }
}

fn with_null(name: &str, nullable: bool) -> String {
    if nullable { format!("{name} null") } else { name.to_owned() }
}

/// A foreign key: the columns here, and those that they refer to.
#[derive(Debug, Default, Clone)]
struct Reference {
    from: Vec<String>,
    table: String,
    to: Vec<String>,
}

/// What this run's database says of itself.
struct Catalogue {
    kind: Kind,
    database: TestDatabase,
}

impl Catalogue {
    async fn of_a_new_database() -> Self {
        let database = TestDatabase::create().await;
        migrations::up(&database.target()).await.unwrap();
        Self { kind: database.kind, database }
    }

    async fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        rows(&mut self.database.connect().await, sql).await
    }

    /// All tables but diesel's own.
    async fn tables(&self) -> Tables {
        let mut tables = Tables::new();
        // Table, column, type, whether it may be null, and its place in the primary key, which may be none.
        let found = self.rows(match self.kind {
            Kind::Postgres => {
                "SELECT c.table_name::text, c.column_name::text, c.udt_name::text, (c.is_nullable = 'YES')::text, k.ordinal_position::text
                 FROM information_schema.columns c
                 LEFT JOIN information_schema.table_constraints t
                   ON t.table_schema = c.table_schema AND t.table_name = c.table_name AND t.constraint_type = 'PRIMARY KEY'
                 LEFT JOIN information_schema.key_column_usage k
                   ON k.constraint_schema = t.constraint_schema AND k.constraint_name = t.constraint_name
                   AND k.table_name = c.table_name AND k.column_name = c.column_name
                 WHERE c.table_schema = 'public' ORDER BY k.ordinal_position"
            }
            Kind::Mariadb => {
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
                 WHERE c.table_schema = database() ORDER BY k.ordinal_position"
            }
            Kind::Sqlite => {
                "SELECT t.name, c.name, c.type, iif(c.\"notnull\", 'false', 'true'), nullif(c.pk, 0)
                 FROM sqlite_schema t, pragma_table_info(t.name) c
                 WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%' ORDER BY c.pk"
            }
        });
        for row in found.await {
            let [table, column, of_type, nullable, place_in_key] = row.try_into().unwrap();
            if table == "__diesel_schema_migrations" {
                continue;
            }
            let table = tables.entry(table).or_default();
            table.columns.insert(column.clone(), with_null(without_size(&of_type), nullable == "true"));
            if place_in_key != "NULL" {
                table.key.push(column);
            }
        }
        tables
    }

    /// By the table that they belong to.
    async fn references(&self) -> Vec<(String, Reference)> {
        // Table, name of the key, column, the table and the column that it refers to; columns in their order.
        let found = self.rows(match self.kind {
            Kind::Postgres => {
                "SELECT f.conrelid::regclass::text, f.conname::text, a.attname::text, f.confrelid::regclass::text, b.attname::text
                 FROM pg_constraint f, generate_subscripts(f.conkey, 1) i, pg_attribute a, pg_attribute b
                 WHERE f.contype = 'f' AND a.attrelid = f.conrelid AND a.attnum = f.conkey[i]
                   AND b.attrelid = f.confrelid AND b.attnum = f.confkey[i]
                 ORDER BY 1, 2, i"
            }
            Kind::Mariadb => {
                "SELECT table_name, constraint_name, column_name, referenced_table_name, referenced_column_name
                 FROM information_schema.key_column_usage
                 WHERE table_schema = database() AND referenced_table_name IS NOT NULL
                 ORDER BY 1, 2, ordinal_position"
            }
            Kind::Sqlite => {
                "SELECT t.name, f.id, f.\"from\", f.\"table\", f.\"to\"
                 FROM sqlite_schema t, pragma_foreign_key_list(t.name) f WHERE t.type = 'table' ORDER BY 1, 2, f.seq"
            }
        });
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
}

/// A size is the contract's business, not the schema's, except where it makes the type: `binary(16)`, `datetime(6)`.
fn without_size(of_type: &str) -> &str {
    match of_type.split('(').next().unwrap() {
        "varchar" | "text" | "mediumtext" => "text",
        "varbinary" | "blob" | "mediumblob" => "blob",
        _ => of_type,
    }
}

fn has_tenant(table: &Table) -> bool {
    table.columns.contains_key("tenant_id")
}

#[test]
fn the_schema_is_read_completely() {
    let tables = declared(Kind::Postgres);
    assert_eq!(tables.len(), TABLES.len(), "two tables of one name");
    assert_eq!(tables["tasks"].key, ["tenant_id", "id"]);
    assert_eq!(tables["tasks"].columns["tags"], "jsonb");
    assert_eq!(tables["tasks"].columns["due_date"], "date null");
}

#[tokio::test]
async fn the_schema_is_what_the_migrations_make() {
    let catalogue = Catalogue::of_a_new_database().await;
    let (declared, found) = (declared(catalogue.kind), catalogue.tables().await);
    assert!(declared.len() >= 7);
    let names = |tables: &Tables| tables.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&declared), names(&found), "in the schema, and in the database");
    for (name, table) in &declared {
        assert_eq!(table, &found[name], "{name}: in the schema, and in the database");
    }
}

#[tokio::test]
async fn every_key_starts_with_the_tenant() {
    let tables = Catalogue::of_a_new_database().await.tables().await;
    let starts = |table: &Table| table.key.first().is_some_and(|column| column == "tenant_id");
    let others: Vec<_> = tables.iter().filter(|(_, table)| !starts(table)).map(|(name, _)| name.as_str()).collect();
    assert_eq!(others, WITHOUT_TENANT_IN_KEY);
    for (name, table) in
        tables.iter().filter(|(name, _)| !["tenants", OUTLIVES_TENANT, OF_THE_SERVER].contains(&name.as_str()))
    {
        assert!(has_tenant(table) && !table.columns["tenant_id"].ends_with("null"), "{name} must know its tenant");
    }
}

#[tokio::test]
async fn no_foreign_key_can_leave_the_tenant() {
    let catalogue = Catalogue::of_a_new_database().await;
    let (tables, references) = (catalogue.tables().await, catalogue.references().await);
    let mut bound = BTreeSet::new(); // tables whose tenant_id must be a tenant's
    for (name, reference) in &references {
        let Reference { from, table, to } = reference;
        assert_eq!((from[0].as_str(), from.len()), ("tenant_id", to.len()), "{name}: {reference:?}");
        if table == "tenants" {
            assert_eq!((from.len(), to[0].as_str()), (1, "id"), "{name}: {reference:?}");
        } else {
            assert!(has_tenant(&tables[table]), "{name}: {reference:?}");
            assert!(to[0] == "tenant_id" && to.len() > 1, "{name} refers to {table} without its tenant: {reference:?}");
            assert_eq!(to, &tables[table].key, "{name}: {reference:?}");
        }
        bound.insert(name.clone());
    }
    let owned: BTreeSet<_> = tables
        .iter()
        .filter(|(name, table)| has_tenant(table) && *name != OUTLIVES_TENANT)
        .map(|(name, _)| name.clone())
        .collect();
    assert_eq!(bound, owned, "every table with a tenant is bound to it by a foreign key");
    assert!(references.len() >= 8, "{references:?}");
}

#[tokio::test]
async fn postgres_hides_every_tenant_from_the_others() {
    let catalogue = Catalogue::of_a_new_database().await;
    if !is_for(Kind::Postgres, "the other databases have no row-level security") {
        return;
    }
    let policies = catalogue
        .rows(
            "SELECT c.relname::text, c.relrowsecurity::text, c.relforcerowsecurity::text, p.polcmd::text, p.polpermissive::text,
                    pg_get_expr(p.polqual, c.oid), coalesce(pg_get_expr(p.polwithcheck, c.oid), 'as for reading')
             FROM pg_class c LEFT JOIN pg_policy p ON p.polrelid = c.oid
             WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace",
        )
        .await;
    let mut hidden = BTreeSet::new();
    for policy in policies.iter().filter(|policy| policy[1] == "true") {
        // In subselects, which PostgreSQL evaluates once for a statement rather than once for each row.
        let expression = "((tenant_id = ( SELECT (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::uuid AS \"nullif\")) \
                          OR ( SELECT (current_setting('app.system'::text, true) = 'on'::text)))";
        assert_eq!(policy[2..], ["true", "*", "true", expression, "as for reading"], "{}", policy[0]);
        assert!(hidden.insert(policy[0].clone()), "{} has two policies: one of them lets in what it likes", policy[0]);
    }
    let tables = catalogue.tables().await;
    let mut owned: BTreeSet<_> =
        tables.iter().filter(|(_, table)| has_tenant(table)).map(|(name, _)| name.clone()).collect();
    for exception in WITHOUT_ROW_SECURITY {
        assert!(owned.remove(exception));
    }
    assert_eq!(hidden, owned);
    assert!(hidden.len() >= 5);
}

#[tokio::test]
async fn mariadb_compares_text_to_the_letter_and_keeps_transactions() {
    let catalogue = Catalogue::of_a_new_database().await;
    if !is_for(Kind::Mariadb, "this is about storage engines and collations, which the others do not have") {
        return;
    }
    let tables = "SELECT table_name, engine, table_collation FROM information_schema.tables
                  WHERE table_schema = database() AND table_name <> '__diesel_schema_migrations'";
    let tables = catalogue.rows(tables).await;
    assert_eq!(tables.len(), declared(Kind::Mariadb).len());
    for table in tables {
        // Without `nopad`, blanks at the end would not count: see `blanks.rs`.
        assert_eq!(table[1..], ["InnoDB", "utf8mb4_nopad_bin"], "{}", table[0]);
    }
    // A column that is JSON has a collation of its own, whatever its table says; the functions of JSON compare to the letter.
    let columns = "SELECT c.table_name, c.column_name, if(j.check_clause IS NULL, c.collation_name, 'json')
                   FROM information_schema.columns c
                   LEFT JOIN information_schema.check_constraints j
                     ON j.constraint_schema = c.table_schema AND j.table_name = c.table_name
                     AND j.check_clause = CONCAT('json_valid(`', c.column_name, '`)')
                   WHERE c.table_schema = database() AND c.collation_name IS NOT NULL
                   AND c.table_name <> '__diesel_schema_migrations'";
    let columns = catalogue.rows(columns).await;
    let is_text = |of_type: &&String| of_type.starts_with("text") || of_type.starts_with("json");
    let declared: usize =
        declared(Kind::Mariadb).values().map(|table| table.columns.values().filter(is_text).count()).sum();
    assert_eq!(columns.len(), declared);
    for column in columns {
        assert!(["utf8mb4_nopad_bin", "json"].contains(&&*column[2]), "{}.{}: {}", column[0], column[1], column[2]);
    }
}

#[tokio::test]
async fn sqlite_is_strict_about_types() {
    let catalogue = Catalogue::of_a_new_database().await;
    if !is_for(Kind::Sqlite, "the other databases always are") {
        return;
    }
    let tables = "SELECT name, strict FROM pragma_table_list
                  WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite_%'
                  AND name <> '__diesel_schema_migrations'";
    let tables = catalogue.rows(tables).await;
    assert_eq!(tables.len(), declared(Kind::Sqlite).len());
    for table in tables {
        assert_eq!(table[1], "1", "{}", table[0]);
    }
}

/// The removal of a tenant goes by what the schema says of them, and so does what is known of people.
#[tokio::test]
async fn the_schema_names_every_foreign_key() {
    let found = Catalogue::of_a_new_database().await.references().await;
    let last = |columns: &[String]| columns.last().unwrap().clone();
    let found: BTreeSet<_> =
        found.into_iter().map(|(table, reference)| (table, last(&reference.from), reference.table)).collect();
    let of_table = |table: &'static bizcenter::db::Table| {
        let target = |column: &'static bizcenter::db::tables::Column| {
            Some((table.name.to_owned(), column.name.to_owned(), column.refers_to?.to_owned()))
        };
        table.columns.iter().filter_map(target)
    };
    let declared: BTreeSet<_> = TABLES.iter().flat_map(of_table).collect();
    assert_eq!(declared, found, "in the schema, and in the database");
}
