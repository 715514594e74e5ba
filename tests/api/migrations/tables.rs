//! The tables that a list of migrations creates, read from their SQL. It knows enough of three dialects to compare them
//! without a database.
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Table {
    /// Whether each column may be null, by its name. The types differ by database. The catalogue tests compare them
    /// with `src/db/schema.rs`.
    columns: BTreeMap<String, bool>,
    /// Keys and constraints, as they are written.
    constraints: BTreeSet<String>,
    /// Indexes, as they are written.
    indexes: BTreeSet<String>,
}

/// The tables of one database after its migrations.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tables(BTreeMap<String, Table>);

impl Tables {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn column_count(&self) -> usize {
        self.0.values().map(|table| table.columns.len()).sum()
    }

    /// Applies a file of statements. Panics on a statement that this reader does not know, because the comparison would
    /// otherwise ignore it.
    pub fn apply(&mut self, sql: &str) {
        for statement in statements(sql) {
            let words: Vec<_> = statement.split(' ').collect();
            match words[..] {
                ["CREATE", "TABLE", name, ..] => self.create(name, &statement),
                ["DROP", "TABLE", name] => {
                    self.0.remove(name).unwrap_or_else(|| panic!("{statement}: there is no such table"));
                }
                ["CREATE", "INDEX", _, "ON", table, ..] | ["CREATE", "UNIQUE", "INDEX", _, "ON", table, ..] => {
                    // MariaDB has neither indexes on expressions nor partial ones. Where the others have a partial
                    // index, it has one on all rows.
                    if statement.matches('(').count() == 1 {
                        let on_all = statement.split(" WHERE ").next().unwrap().to_owned();
                        self.table(table, &statement).indexes.insert(on_all);
                    }
                }
                ["DROP", "INDEX", name, ..] => {
                    let name = format!(" {name} ON ");
                    self.0.values_mut().for_each(|table| table.indexes.retain(|index| !index.contains(&name)));
                }
                ["ALTER", "TABLE", table, ..] => self.alter(table, &statement),
                // These statements fill tables, or exist in only one of the databases, such as policies and blocks of
                // statements.
                ["INSERT" | "UPDATE" | "DELETE" | "SELECT" | "DO" | "BEGIN" | "END", ..]
                | ["CREATE" | "ALTER" | "DROP", "POLICY", ..] => {}
                _ => panic!("tests/api/migrations/tables.rs does not know this statement, teach it: {statement}"),
            }
        }
    }

    fn table(&mut self, name: &str, statement: &str) -> &mut Table {
        self.0.get_mut(name).unwrap_or_else(|| panic!("{statement}: there is no such table"))
    }

    fn create(&mut self, name: &str, statement: &str) {
        let (_, body) = statement.split_once('(').unwrap();
        let (body, _) = body.rsplit_once(')').unwrap();
        let mut table = Table::default();
        for part in split_at(body, ',') {
            match part.split(' ').next().unwrap() {
                "CONSTRAINT" | "PRIMARY" => {
                    table.constraints.insert(part);
                }
                "UNIQUE" | "FOREIGN" | "CHECK" | "KEY" | "INDEX" => {
                    panic!("{name}: give it a name: CONSTRAINT … {part}")
                }
                column => table.add(column, &part),
            }
        }
        assert!(self.0.insert(name.to_owned(), table).is_none(), "{statement}: the table exists");
    }

    fn alter(&mut self, name: &str, statement: &str) {
        let (_, actions) = statement.split_once(&format!("{name} ")).unwrap();
        for action in split_at(actions, ',') {
            let words: Vec<_> = action.split(' ').collect();
            match words[..] {
                ["ADD", "COLUMN", column, ..] => self.table(name, statement).add(column, &action),
                ["DROP", "COLUMN", column] => {
                    let dropped = self.table(name, statement).columns.remove(column);
                    assert!(dropped.is_some(), "{statement}: there is no such column");
                }
                ["RENAME", "COLUMN", from, "TO", to] => {
                    let nullable = self.table(name, statement).columns.remove(from);
                    let nullable = nullable.unwrap_or_else(|| panic!("{statement}: there is no such column"));
                    self.table(name, statement).columns.insert(to.to_owned(), nullable);
                }
                ["ALTER", "COLUMN", column, "SET", "NOT", "NULL"] => self.set_nullable(name, column, false, statement),
                ["ALTER", "COLUMN", column, "DROP", "NOT", "NULL"] => self.set_nullable(name, column, true, statement),
                ["MODIFY", "COLUMN", column, ..] => {
                    self.set_nullable(name, column, !action.contains("NOT NULL"), statement);
                }
                ["RENAME", "TO", to] => {
                    let table = std::mem::take(self.table(name, statement));
                    self.0.remove(name);
                    assert!(self.0.insert(to.to_owned(), table).is_none(), "{statement}: the table exists");
                }
                ["ADD", "CONSTRAINT", ..] => {
                    let constraint = action.strip_prefix("ADD ").unwrap().to_owned();
                    self.table(name, statement).constraints.insert(constraint);
                }
                ["DROP", "CONSTRAINT", constraint] | ["DROP", "FOREIGN", "KEY", constraint] => {
                    let dropped = format!("CONSTRAINT {constraint} ");
                    self.table(name, statement).constraints.retain(|written| !written.starts_with(&dropped));
                }
                ["DROP", "INDEX", index] => {
                    let dropped = format!(" {index} ON ");
                    self.table(name, statement).indexes.retain(|written| !written.contains(&dropped));
                }
                ["ADD", "INDEX", index, ..] => {
                    let columns = action.split_once('(').unwrap().1;
                    let written = format!("CREATE INDEX {index} ON {name} ({columns}");
                    self.table(name, statement).indexes.insert(written);
                }
                ["ENABLE" | "DISABLE" | "FORCE", "ROW", ..] | ["CONVERT", "TO", ..] => {}
                _ => panic!("tests/api/migrations/tables.rs does not know this change, teach it: {statement}"),
            }
        }
    }

    fn set_nullable(&mut self, name: &str, column: &str, nullable: bool, statement: &str) {
        let known = self.table(name, statement).columns.insert(column.to_owned(), nullable);
        assert!(known.is_some(), "{statement}: there is no such column");
    }

    /// Describes how the other tables differ from these. Empty if they are equal.
    pub fn differences(&self, own: &str, others: &Self, other: &str) -> Vec<String> {
        let mut found = vec![];
        let names: BTreeSet<_> = self.0.keys().chain(others.0.keys()).collect();
        for name in names {
            let (here, there) = match (self.0.get(name), others.0.get(name)) {
                (Some(here), Some(there)) => (here, there),
                (here, _) => {
                    let (has, lacks) = if here.is_some() { (own, other) } else { (other, own) };
                    found.push(format!("{has} has the table `{name}`, {lacks} does not"));
                    continue;
                }
            };
            let columns: BTreeSet<_> = here.columns.keys().chain(there.columns.keys()).collect();
            for column in columns {
                let says = |table: &Table| match table.columns.get(column) {
                    None => "does not have it",
                    Some(true) => "lets it be null",
                    Some(false) => "has it NOT NULL",
                };
                if says(here) != says(there) {
                    found.push(format!("`{name}.{column}`: {own} {}, {other} {}", says(here), says(there)));
                }
            }
            for (what, here, there) in
                [("constraint", &here.constraints, &there.constraints), ("index", &here.indexes, &there.indexes)]
            {
                let missing = |from: &str, in_which: &str, text: &String| {
                    format!("`{name}`: {in_which} has no {what} that {from} has: {text}")
                };
                found.extend(here.difference(there).map(|text| missing(own, other, text)));
                found.extend(there.difference(here).map(|text| missing(other, own, text)));
            }
        }
        found
    }
}

impl Table {
    fn add(&mut self, column: &str, definition: &str) {
        let nullable = !definition.contains("NOT NULL") && !definition.contains("PRIMARY KEY");
        assert!(self.columns.insert(column.to_owned(), nullable).is_none(), "{definition}: there is such a column");
    }
}

/// The statements of a file, each on one line, without comments and MariaDB's quotes.
fn statements(sql: &str) -> Vec<String> {
    let lines = sql.lines().map(|line| line.split("--").next().unwrap_or_default().trim());
    let text = lines.collect::<Vec<_>>().join(" ").replace('`', "");
    split_at(&text, ';')
}

/// Splits at the character where it is not in brackets, in a text or in a `$$` block. Empty parts are left out, and
/// several blanks become one.
fn split_at(text: &str, separator: char) -> Vec<String> {
    let (mut parts, mut depth, mut is_text, mut is_block) = (vec![String::new()], 0, false, false);
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '$' if characters.peek() == Some(&'$') => {
                characters.next();
                is_block = !is_block;
            }
            _ if is_block => {}
            '\'' => is_text = !is_text,
            _ if is_text => {}
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if c == separator && depth == 0 && !is_text && !is_block {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    let joined = parts.iter().map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "));
    joined.filter(|part| !part.is_empty()).collect()
}

fn made_by(sql: &str) -> Tables {
    let mut tables = Tables::default();
    tables.apply(sql);
    tables
}

const NOTES: &str = "CREATE TABLE notes (
    id uuid NOT NULL, -- a comment; with a separator
    `title` varchar(20) NOT NULL DEFAULT 'a;(b',
    due date,
    PRIMARY KEY (id)
);
CREATE INDEX notes_title ON notes (title, id);";

#[test]
fn columns_are_compared_by_name_and_by_null() {
    let (mut one, mut other) = (made_by(NOTES), made_by(&NOTES.replace("uuid", "BLOB")));
    assert_eq!((one.len(), one.column_count()), (1, 3));
    assert_eq!(one.differences("MariaDB", &other, "SQLite"), [""; 0]);
    one.apply("ALTER TABLE notes ADD COLUMN color VARCHAR(9);");
    assert_eq!(
        one.differences("MariaDB", &other, "SQLite"),
        ["`notes.color`: MariaDB lets it be null, SQLite does not have it"]
    );
    other.apply("ALTER TABLE notes\n    ADD COLUMN color TEXT NOT NULL DEFAULT 'red';");
    assert_eq!(
        one.differences("MariaDB", &other, "SQLite"),
        ["`notes.color`: MariaDB lets it be null, SQLite has it NOT NULL"]
    );
    one.apply("ALTER TABLE notes MODIFY COLUMN color VARCHAR(9) NOT NULL;");
    assert_eq!(one, other);
    one.apply("ALTER TABLE notes DROP COLUMN color, DROP COLUMN due;");
    assert_eq!(one.column_count(), 2);
}

#[test]
fn keys_and_indexes_are_compared_as_they_are_written() {
    let (one, mut other) = (made_by(NOTES), made_by(&NOTES.replace("(title, id)", "(title)")));
    assert_eq!(one.differences("A", &other, "B").len(), 2, "each has an index that the other has not");
    other.apply("DROP INDEX notes_title; CREATE INDEX notes_lower ON notes (lower(title)); CREATE INDEX notes_title ON notes (title, id);");
    assert_eq!(one, other, "MariaDB can't have the index on an expression");
    other.apply("ALTER TABLE notes ADD CONSTRAINT notes_due CHECK (due > 0);");
    assert_eq!(
        one.differences("A", &other, "B"),
        ["`notes`: A has no constraint that B has: CONSTRAINT notes_due CHECK (due > 0)"]
    );
}

/// Migrations of SQLite have to do this, because SQLite can't change a column.
#[test]
fn a_table_that_is_built_anew_is_the_same_table() {
    let mut tables = made_by(NOTES);
    let anew = NOTES.replace("CREATE TABLE notes", "CREATE TABLE notes_new").replace("due date", "due date NOT NULL");
    let (create, index) = anew.split_once("CREATE INDEX").unwrap();
    tables.apply(create);
    tables.apply("INSERT INTO notes_new SELECT * FROM notes; DROP TABLE notes; ALTER TABLE notes_new RENAME TO notes;");
    tables.apply(&format!("CREATE INDEX{index}"));
    let mut changed = made_by(NOTES);
    changed.apply("ALTER TABLE notes ALTER COLUMN due SET NOT NULL;");
    assert_eq!(tables, changed);
}

#[test]
fn blocks_are_passed_over() {
    let tables = made_by("DO $$ BEGIN x; DROP TABLE a; END $$;\nBEGIN NOT ATOMIC SELECT 1; END;");
    assert_eq!(tables.len(), 0);
}

#[test]
#[should_panic(expected = "does not know this change")]
fn what_it_does_not_know_is_not_passed_over() {
    made_by(&format!("{NOTES} ALTER TABLE notes ALTER COLUMN title TYPE text;"));
}
