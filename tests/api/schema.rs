//! Compares `src/db/schema.rs` with the catalogue of a freshly migrated database, and checks that the tables themselves
//! isolate tenants.
use crate::support::catalogue::{OUTLIVES_TENANT, Reference, Table, Tables, WITHOUT_ROW_SECURITY, with_null};
use crate::support::{Catalogue, Kind, is_for};
use bizcenter::db::schema::TABLES;
use std::collections::BTreeSet;

/// Tables with a primary key that does not start with the tenant, and the reasons.
const WITHOUT_TENANT_IN_KEY: [(&str, &str); 4] = [
    ("jobs", "every server takes the next one, of whichever tenant"),
    ("key_checks", OF_THE_SERVER),
    ("logins", "it is searched before a tenant is known"),
    ("tenants", OF_TENANTS),
];

/// Tables with rows that name no tenant, and the reasons.
const WITHOUT_TENANT: [(&str, &str); 3] = [
    (OUTLIVES_TENANT, "what is left to do about a tenant that is gone"),
    ("key_checks", OF_THE_SERVER),
    ("tenants", OF_TENANTS),
];

const OF_THE_SERVER: &str = "by it the server recognises its own keys";
const OF_TENANTS: &str = "its rows are the tenants";

/// The name of each type of the schema in PostgreSQL, MariaDB and SQLite. `Uid` and similar types are defined in
/// `src/db/types.rs`.
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

/// The tables that the schema declares, with the types of this run's database.
pub fn declared(kind: Kind) -> Tables {
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
    let (declared, found) = (declared(Kind::of_this_run()), Catalogue::of_a_new_database().await.tables);
    let names = |tables: &Tables| tables.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&declared), names(&found), "in the schema, and in the database");
    for (name, table) in &declared {
        assert_eq!(table, &found[name], "{name}: in the schema, and in the database");
    }
}

#[tokio::test]
async fn every_key_starts_with_the_tenant() {
    let tables = Catalogue::of_a_new_database().await.tables;
    let names = |is_one: &dyn Fn(&Table) -> bool| -> Vec<_> {
        tables.iter().filter(|(_, table)| is_one(table)).map(|(name, _)| name.as_str()).collect()
    };
    let starts = |table: &Table| table.key.first().is_some_and(|column| column == "tenant_id");
    assert_eq!(names(&|table| !starts(table)), WITHOUT_TENANT_IN_KEY.map(|(name, _)| name));
    let may_be_null = |table: &Table| table.columns.get("tenant_id").is_none_or(|column| column.ends_with("null"));
    assert_eq!(names(&may_be_null), WITHOUT_TENANT.map(|(name, _)| name));
}

#[tokio::test]
async fn no_foreign_key_can_leave_the_tenant() {
    let catalogue = Catalogue::of_a_new_database().await;
    let (tables, references) = (&catalogue.tables, &catalogue.references);
    let mut bound = BTreeSet::new(); // tables with a foreign key to the tenant
    for (name, reference) in references {
        let Reference { from, table, to } = reference;
        assert_eq!((from[0].as_str(), from.len()), ("tenant_id", to.len()), "{name}: {reference:?}");
        if table == "tenants" {
            assert_eq!((from.len(), to[0].as_str()), (1, "id"), "{name}: {reference:?}");
        } else {
            assert!(tables[table].has_tenant(), "{name}: {reference:?}");
            assert!(to[0] == "tenant_id" && to.len() > 1, "{name} refers to {table} without its tenant: {reference:?}");
            assert_eq!(to, &tables[table].key, "{name}: {reference:?}");
        }
        bound.insert(name.clone());
    }
    let mut owned: BTreeSet<_> = catalogue.tables_of_tenants().map(str::to_owned).collect();
    // A key would be checked for each term of a new record. The record itself has one.
    assert!(owned.remove("search_terms"));
    assert_eq!(bound, owned, "every table with a tenant is bound to it by a foreign key");
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
        // The settings are read in subselects, because PostgreSQL evaluates them once for a statement and not for each
        // row.
        let expression = "((tenant_id = ( SELECT (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::uuid AS \"nullif\")) \
                          OR ( SELECT (current_setting('app.system'::text, true) = 'on'::text)))";
        assert_eq!(policy[2..], ["true", "*", "true", expression, "as for reading"], "{}", policy[0]);
        assert!(hidden.insert(policy[0].clone()), "{} has two policies: one of them lets in what it likes", policy[0]);
    }
    let with_tenant = catalogue.tables.iter().filter(|(_, table)| table.has_tenant());
    let mut owned: BTreeSet<_> = with_tenant.map(|(name, _)| name.clone()).collect();
    for exception in WITHOUT_ROW_SECURITY {
        assert!(owned.remove(exception));
    }
    assert_eq!(hidden, owned);
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
        // Without `nopad`, comparisons would ignore blanks at the end: see `blanks.rs`.
        assert_eq!(table[1..], ["InnoDB", "utf8mb4_nopad_bin"], "{}", table[0]);
    }
    // A JSON column has a collation of its own, whatever the table's is. The JSON functions compare exactly.
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

/// The code that removes tenants and collects what is stored about a person relies on the foreign keys in the schema.
#[tokio::test]
async fn the_schema_names_every_foreign_key() {
    let found = Catalogue::of_a_new_database().await.references;
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
